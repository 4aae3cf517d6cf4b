//! Pruning old rows, in steps so small that nobody waits for them.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::SqliteStore;
use super::error::store_error;
use super::query::all;
use super::rows::{self, int};
use super::writer::Writer;
use crate::domain::policy::agreed::Agreed;
use crate::domain::value::time::Timestamp;
use crate::store::StoreError;

/// The cuts of one pass of pruning.
#[derive(Clone, Copy, Debug)]
pub(super) struct PruneCut {
    /// The present time. A row with a later time was written while a clock was wrong: it says
    /// nothing about the age of the rows after it, so the walk goes on.
    pub(super) now: Timestamp,
    /// Deliveries that ended before this time are forgotten.
    pub(super) ended: Timestamp,
    /// Dead letters given up before this time are forgotten.
    pub(super) dead: Timestamp,
    /// Ids of events accepted before this time may be forgotten.
    pub(super) young_events: Timestamp,
    /// Ended deliveries up to this id are forgotten whenever they ended, unless they are listed
    /// dead letters.
    pub(super) through: i64,
}

/// The result of one step.
#[derive(Clone, Copy, Debug, Default)]
struct PruneStep {
    forgotten: u64,
    /// The id after which the next step begins; `None` if nothing is left.
    next: Option<i64>,
}

/// A delivery that may be old enough to forget.
struct Candidate {
    id: i64,
    alert: i64,
    forget: bool,
}

impl SqliteStore {
    /// Forgets ended deliveries step by step, so that other jobs run in between, and returns how
    /// many.
    async fn prune_ended(&self, cut: PruneCut) -> Result<u64, StoreError> {
        let (mut forgotten, mut next) = (0, Some(0));
        while let Some(after) = next {
            let step = self
                .write(0, move |writer| writer.prune_ended(after, cut))
                .await?;
            let PruneStep {
                forgotten: more,
                next: following,
            } = step;
            forgotten += more;
            next = following;
        }
        Ok(forgotten)
    }

    pub(super) async fn prune_all(self, keep: PruneCut) -> Result<u64, StoreError> {
        let mut forgotten = self.prune_ended(keep).await?;
        let until = Until::Accepted(keep.young_events.min(keep.ended));
        self.prune_events(until, keep.now).await?;
        forgotten += self.prune_by_size(keep).await?;
        self.prune_endpoints(keep.now).await?;
        self.prune_terms().await?;
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method itself is for one lifetime of a writer, and any is asked for"
        )]
        while self.write(0, |writer| writer.shrink()).await? {}
        if forgotten > 0 {
            // The freed pages are recorded in the write-ahead log; the file shrinks at the next
            // checkpoint.
            let ask = |writer: &mut Writer<'_>| {
                writer.move_log();
                Ok(())
            };
            self.write(0, ask).await?;
        }
        Ok(forgotten)
    }

    /// Forgets event ids, oldest first, and returns how many.
    async fn prune_events(&self, until: Until, now: Timestamp) -> Result<u64, StoreError> {
        let (mut forgotten, mut next) = (0, Some(0));
        while let Some(after) = next {
            let step = self.write(0, move |writer| writer.prune_events(after, until, now));
            let (some, following) = step.await?;
            forgotten += some;
            next = following;
        }
        Ok(forgotten)
    }

    /// Forgets rows early until the file fits. Readers find the rows, so that the writer does not
    /// search.
    async fn prune_by_size(&self, keep: PruneCut) -> Result<u64, StoreError> {
        let max_bytes = self.shared.options.max_bytes;
        let mut forgotten = 0;
        while self.inquire(used).await? > max_bytes {
            let ids = self.inquire(move |connection| ids_beyond(connection, max_bytes / 4));
            let mut ids_forgotten = 0;
            if let Some(through) = ids.await? {
                ids_forgotten += self.prune_events(Until::Seq(through), keep.now).await?;
                self.shared.forgotten.ids(ids_forgotten);
            }
            let mut more = 0;
            if ids_forgotten == 0 {
                if let Some(through) = self.inquire(oldest_ended).await? {
                    more += self.prune_ended(PruneCut { through, ..keep }).await?;
                }
                let oldest = self.inquire(oldest_kept).await?;
                let until = Until::Accepted(oldest.min(keep.young_events));
                ids_forgotten += self.prune_events(until, keep.now).await?;
                if more + ids_forgotten == 0 {
                    more += self.forget_all_rejected().await?;
                }
                if more + ids_forgotten == 0 {
                    more += self.prune_dead_letters().await?;
                }
            }
            forgotten += more;
            if more + ids_forgotten == 0 {
                break;
            }
        }
        Ok(forgotten)
    }

    /// Forgets all events set aside in the outbox.
    async fn forget_all_rejected(&self) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        loop {
            let some = self.write(0, |writer| writer.forget_rejected(u64::MAX));
            match some.await? {
                0 => return Ok(forgotten),
                some => forgotten += some,
            }
        }
    }

    /// Forgets a tenth of the dead letters: the oldest ones of the endpoints that have the most.
    async fn prune_dead_letters(&self) -> Result<u64, StoreError> {
        let shares = self.inquire(dead_letter_shares).await?;
        let all: u64 = shares.iter().map(|(_, bytes)| bytes).sum();
        let level = level(
            shares.iter().map(|(_, bytes)| *bytes).collect(),
            all / 10 + 1,
        );
        let mut forgotten = 0;
        for (endpoint, bytes) in shares {
            let mut excess = bytes.saturating_sub(level);
            while excess > 0 {
                let some = self
                    .inquire(move |connection| oldest_letters(connection, endpoint, excess))
                    .await?;
                let Some(found) = some.iter().map(|(_, bytes)| *bytes).reduce(|a, b| a + b) else {
                    break;
                };
                excess = excess.saturating_sub(found);
                let forget = move |writer: &mut Writer<'_>| writer.forget_letters(&some);
                forgotten += self.write(0, forget).await?;
            }
        }
        self.shared.forgotten.letters(forgotten);
        Ok(forgotten)
    }

    /// Forgets unused endpoints: there may be a new URL every day. Each call looks at a part of
    /// them.
    async fn prune_endpoints(&self, now: Timestamp) -> Result<(), StoreError> {
        let after = self.shared.swept.load(Ordering::Relaxed);
        let unused = self.inquire(move |connection| unused_endpoints(connection, after, now));
        let (unused, next) = unused.await?;
        for some in unused.chunks(STEP) {
            let some = some.to_vec();
            let forget = move |writer: &mut Writer<'_>| writer.forget_endpoints(&some, now);
            self.write(0, forget).await?;
        }
        self.shared.swept.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// Returns what was forgotten early since the store was opened, because the file was full.
    pub fn forgotten_early(&self) -> ForgottenEarly {
        let forgotten = &self.shared.forgotten;
        ForgottenEarly {
            dead_letters: forgotten.letters.load(Ordering::Relaxed),
            event_ids: forgotten.ids.load(Ordering::Relaxed),
        }
    }
}

/// Rows forgotten earlier than the options say, because of
/// [`SqliteOptions::max_bytes`](super::SqliteOptions::max_bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForgottenEarly {
    /// Dead letters that were neither redelivered nor discarded.
    pub dead_letters: u64,
    /// Ids of events: publishing one of these events again delivers it again.
    pub event_ids: u64,
}

/// The counters behind [`ForgottenEarly`].
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    letters: AtomicU64,
    ids: AtomicU64,
}

impl Forgotten {
    fn letters(&self, count: u64) {
        if count > 0 {
            self.letters.fetch_add(count, Ordering::Relaxed);
            log::warn!(
                "{count} dead letters forgotten early, the oldest of the endpoints with the most: the file is larger \
                 than max_bytes; redeliver or discard dead letters, or raise max_bytes"
            );
        }
    }

    fn ids(&self, count: u64) {
        if count > 0 {
            self.ids.fetch_add(count, Ordering::Relaxed);
            log::warn!(
                "ids of {count} events forgotten early: the file is larger than max_bytes, and these ids take up more than a \
                 quarter of it; such an event published again is delivered again"
            );
        }
    }
}

/// The range of event ids to forget.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// Ids of events accepted before this time.
    Accepted(Timestamp),
    /// Ids with numbers up to this one.
    Seq(i64),
}

/// Returns the number of bytes in use in the file.
fn used(connection: &Connection) -> Result<u64, StoreError> {
    let pragma = |name: &str| -> rusqlite::Result<u64> {
        connection.pragma_query_value(None, name, |row| row.get(0))
    };
    let used = || {
        let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
        Ok(pages.saturating_mul(pragma("page_size")?))
    };
    used().map_err(store_error)
}

/// Returns the number up to which event ids must be forgotten to take up about `bytes`.
fn ids_beyond(connection: &Connection, bytes: u64) -> Result<Option<i64>, StoreError> {
    // Each id is in the table and in its index.
    let sql = "SELECT COUNT(*), COALESCE((SELECT AVG(LENGTH(id)) FROM (SELECT id FROM webhook_event ORDER BY seq DESC LIMIT 100)), 0) \
               FROM webhook_event";
    let (count, length): (u64, f64) = connection
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(store_error)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the mean length of a text"
    )]
    let each = 2 * (length as u64) + 64;
    let excess = count.saturating_sub(bytes / each);
    if excess == 0 {
        return Ok(None);
    }
    let sql = "SELECT seq FROM webhook_event ORDER BY seq LIMIT 1 OFFSET ?1";
    let through = connection.query_row(sql, [int(excess - 1)], |row| row.get(0));
    through.optional().map_err(store_error)
}

/// Returns the id up to which ended deliveries are to be forgotten: the oldest tenth, at least
/// 1,000, without listed dead letters. `None` if there are none.
fn oldest_ended(connection: &Connection) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT MAX(id) FROM (SELECT id FROM webhook_ended WHERE listed = 0 ORDER BY id \
               LIMIT MAX(1000, (SELECT COUNT(*) FROM webhook_ended) / 10))";
    let last = connection.query_row(sql, [], |row| row.get(0));
    last.map_err(store_error)
}

/// Returns when the oldest ended delivery was accepted, without listed dead letters;
/// `Timestamp::MAX` if there is none.
fn oldest_kept(connection: &Connection) -> Result<Timestamp, StoreError> {
    let sql = "SELECT accepted_at FROM webhook_ended WHERE listed = 0 ORDER BY id LIMIT 1";
    let oldest = connection.query_row(sql, [], |row| row.get(0)).optional();
    let oldest = oldest.map_err(store_error)?.unwrap_or(i64::MAX);
    Ok(Timestamp::from_unix_millis(oldest))
}

/// The approximate size of a dead letter in bytes.
const LETTER: &str = "COALESCE(LENGTH(a.body), 0) + COALESCE(LENGTH(d.excerpt), 0) + 300";

/// Returns the number of bytes that the dead letters of each endpoint take up.
fn dead_letter_shares(connection: &Connection) -> Result<Vec<(i64, u64)>, StoreError> {
    let sql = format!(
        "SELECT d.endpoint, SUM({LETTER}) FROM webhook_ended d LEFT JOIN webhook_alert a ON a.seq = d.alert \
         WHERE d.listed = 1 GROUP BY d.endpoint"
    );
    all(connection, &sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Returns the oldest dead letters of an endpoint, up to a total of `bytes`, each with its size.
fn oldest_letters(
    connection: &Connection,
    endpoint: i64,
    bytes: u64,
) -> Result<Vec<(i64, u64)>, StoreError> {
    let sql = format!(
        "SELECT d.id, {LETTER} FROM webhook_ended d LEFT JOIN webhook_alert a ON a.seq = d.alert \
         WHERE d.endpoint = ?1 AND d.listed = 1 ORDER BY d.id LIMIT {STEP}"
    );
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let mut letters: Vec<(i64, u64)> = all(connection, &sql, [endpoint], read)?;
    let mut sum = 0;
    letters.retain(|(_, size)| {
        let wanted = sum < bytes;
        sum += size;
        wanted
    });
    Ok(letters)
}

/// Returns the level to which the largest shares must fall for the total to fall by `by` (reverse
/// water-filling).
fn level(mut shares: Vec<u64>, by: u64) -> u64 {
    shares.sort_unstable_by(|a, b| b.cmp(a));
    let mut above = 0_u64;
    for (count, share) in (1_u64..).zip(&shares) {
        above = above.saturating_add(*share);
        let next = usize::try_from(count)
            .ok()
            .and_then(|next| shares.get(next));
        let level = above.saturating_sub(by) / count;
        if next.is_none_or(|next| level >= *next) {
            return level;
        }
    }
    0
}

/// The condition that nothing but the URL is left of an endpoint `e`; `?2` is the present time.
const UNUSED: &str = "e.health IS NULL AND e.disabled IS NULL AND (e.held_until IS NULL OR e.held_until < ?2) \
     AND NOT EXISTS (SELECT 1 FROM webhook_open o WHERE o.endpoint = e.id) \
     AND NOT EXISTS (SELECT 1 FROM webhook_ended d WHERE d.endpoint = e.id)";

/// Looks at some endpoints after a number. Returns the unused ones, and where the next look begins.
fn unused_endpoints(
    connection: &Connection,
    after: i64,
    now: Timestamp,
) -> Result<(Vec<i64>, i64), StoreError> {
    let sql = format!(
        "SELECT e.id, {UNUSED}, e.agreed FROM webhook_endpoint e WHERE e.id > ?1 ORDER BY e.id LIMIT {LOOKED_AT}"
    );
    let parameters = params![after, now.unix_millis()];
    let found = all(connection, &sql, parameters, |row| {
        // Agreements with a receiver are kept until they are over.
        let agreed: Option<Agreed> = rows::maybe_json(row, 2).unwrap_or_default();
        let over = agreed.is_none_or(|agreed| agreed.is_over(now));
        Ok((row.get::<_, i64>(0)?, over && row.get::<_, bool>(1)?))
    })?;
    let next = found.last().filter(|_| found.len() == LOOKED_AT);
    let next = next.map_or(0, |(id, _)| *id);
    let unused = found.into_iter().filter(|(_, unused)| *unused);
    Ok((unused.map(|(id, _)| id).collect(), next))
}

impl Writer<'_> {
    /// Forgets one step of deliveries with ids after `after` that ended before the cut.
    fn prune_ended(&mut self, after: i64, cut: PruneCut) -> Result<PruneStep, StoreError> {
        self.prune_some(after, cut).map_err(store_error)
    }

    fn prune_some(&mut self, after: i64, cut: PruneCut) -> rusqlite::Result<PruneStep> {
        let latest = cut.ended.max(cut.dead).unix_millis();
        let sql = "SELECT id, alert, CASE listed WHEN 1 THEN ended_at < ?4 ELSE ended_at < ?3 OR id <= ?6 END, \
                          accepted_at < ?5 OR accepted_at > ?7 OR id <= ?6 \
                   FROM webhook_ended WHERE id > ?1 ORDER BY id LIMIT ?2";
        let candidates: Vec<(Candidate, bool)> = self
            .connection
            .prepare_cached(sql)?
            .query_map(
                params![
                    after,
                    STEP,
                    cut.ended.unix_millis(),
                    cut.dead.unix_millis(),
                    latest,
                    cut.through,
                    cut.now.unix_millis(),
                ],
                |row| {
                    let candidate = Candidate {
                        id: row.get(0)?,
                        alert: row.get(1)?,
                        forget: row.get(2)?,
                    };
                    Ok((candidate, row.get(3)?))
                },
            )?
            .collect::<rusqlite::Result<_>>()?;
        let mut step = PruneStep::default();
        for (candidate, _) in candidates.iter().filter(|(candidate, _)| candidate.forget) {
            self.forget(candidate)?;
            step.forgotten += 1;
        }
        // Ids ascend with the time of acceptance, and no delivery ends before it is accepted.
        let full = candidates.len() == STEP;
        let last = candidates.last().filter(|(_, old)| *old && full);
        step.next = last.map(|(candidate, _)| candidate.id);
        Ok(step)
    }

    fn forget(&self, candidate: &Candidate) -> rusqlite::Result<()> {
        let delivery = [candidate.id];
        for sql in [
            "DELETE FROM webhook_ended WHERE id = ?1",
            "DELETE FROM webhook_attempt WHERE delivery = ?1",
        ] {
            self.connection.prepare_cached(sql)?.execute(delivery)?;
        }
        // Most alerts have one delivery. The others count down until their last delivery is
        // forgotten.
        let alert = [candidate.alert];
        let deleted = self
            .connection
            .prepare_cached("DELETE FROM webhook_alert WHERE seq = ?1 AND refs <= 1")?
            .execute(alert)?;
        if deleted == 0 {
            self.connection
                .prepare_cached("UPDATE webhook_alert SET refs = refs - 1 WHERE seq = ?1")?
                .execute(alert)?;
        } else {
            self.connection
                .prepare_cached("DELETE FROM webhook_redelivered WHERE alert = ?1")?
                .execute(alert)?;
        }
        Ok(())
    }

    /// Forgets one step of event ids after `after`. Returns how many, and where the next step
    /// begins; `None` if nothing is left.
    fn prune_events(
        &mut self,
        after: i64,
        until: Until,
        now: Timestamp,
    ) -> Result<(u64, Option<i64>), StoreError> {
        self.prune_some_events(after, until, now)
            .map_err(store_error)
    }

    fn prune_some_events(
        &self,
        after: i64,
        until: Until,
        now: Timestamp,
    ) -> rusqlite::Result<(u64, Option<i64>)> {
        let (old, now, through) = match until {
            Until::Accepted(before) => (before.unix_millis(), now.unix_millis(), i64::MIN),
            Until::Seq(through) => (i64::MIN, i64::MAX, through),
        };
        // With MAX, SQLite takes the other columns from the row with the maximum: ids ascend with
        // the time of acceptance.
        let sql = "SELECT MAX(seq), COUNT(*), accepted_at < ?3 OR accepted_at > ?4 OR seq <= ?5 FROM \
                   (SELECT seq, accepted_at FROM webhook_event WHERE seq > ?1 ORDER BY seq LIMIT ?2)";
        let (last, count, goes_on): (Option<i64>, usize, Option<bool>) = self
            .connection
            .prepare_cached(sql)?
            .query_row(params![after, STEP, old, now, through], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let Some(last) = last else {
            return Ok((0, None));
        };
        let sql = "DELETE FROM webhook_event WHERE seq > ?1 AND seq <= ?2 AND (accepted_at < ?3 OR seq <= ?4)";
        let mut statement = self.connection.prepare_cached(sql)?;
        let forgotten = statement.execute(params![after, last, old, through])?;
        let next = (count == STEP && goes_on == Some(true)).then_some(last);
        Ok((u64::try_from(forgotten).unwrap_or(u64::MAX), next))
    }

    /// Forgets those of the dead letters that are still listed, and returns how many.
    fn forget_letters(&self, letters: &[(i64, u64)]) -> Result<u64, StoreError> {
        let sql = "SELECT alert FROM webhook_ended WHERE id = ?1 AND listed = 1";
        let forget = |(id, _): &(i64, u64)| {
            let mut statement = self.connection.prepare_cached(sql)?;
            let alert = statement.query_row([id], |row| row.get(0)).optional()?;
            let Some(alert) = alert else { return Ok(0) };
            let letter = Candidate {
                id: *id,
                alert,
                forget: true,
            };
            self.forget(&letter).map(|()| 1)
        };
        let forgotten: rusqlite::Result<u64> = letters.iter().map(forget).sum();
        forgotten.map_err(store_error)
    }

    /// Forgets those of the endpoints that are still unused.
    fn forget_endpoints(&mut self, numbers: &[i64], now: Timestamp) -> Result<(), StoreError> {
        let sql =
            format!("DELETE FROM webhook_endpoint AS e WHERE e.id = ?1 AND {UNUSED} RETURNING url");
        for number in numbers {
            let mut statement = self.connection.prepare_cached(&sql).map_err(store_error)?;
            let parameters = params![number, now.unix_millis()];
            let url = statement.query_row(parameters, |row| Ok(rows::url(row, 0).ok()));
            if let Some(Some(url)) = url.optional().map_err(store_error)? {
                self.forget_endpoint(&url);
            }
        }
        Ok(())
    }

    /// Returns some free pages to the file system if there are many (incremental vacuum). Returns
    /// `true` if there are more.
    fn shrink(&mut self) -> Result<bool, StoreError> {
        let pragma = |name: &str| -> Result<u64, StoreError> {
            let value = self
                .connection
                .pragma_query_value(None, name, |row| row.get(0));
            value.map_err(store_error)
        };
        let free = pragma("freelist_count")?;
        if free <= (pragma("page_count")? / 4).max(KEPT_FREE) {
            return Ok(false);
        }
        let mut statement = self
            .connection
            .prepare("PRAGMA incremental_vacuum(512)")
            .map_err(store_error)?;
        let mut rows = statement.query([]).map_err(store_error)?;
        while rows.next().map_err(store_error)?.is_some() {}
        drop(rows);
        drop(statement);
        // A file that the application created may be unable to shrink.
        Ok(pragma("freelist_count")? < free)
    }
}

/// The number of rows that one step looks at.
const STEP: usize = 500;

/// The number of endpoints that one look covers.
const LOOKED_AT: usize = 5_000;

/// The number of free pages that the file keeps for later rows.
const KEPT_FREE: u64 = 1_024;
