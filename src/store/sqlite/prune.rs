//! Forgetting what is old, in steps so small that nobody waits for them.

use rusqlite::params;

use super::SqliteStore;
use super::error::store_error;
use super::writer::Writer;
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// What is forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Deliveries that ended before.
    pub(super) ended: Timestamp,
    /// Dead letters given up before.
    pub(super) dead: Timestamp,
    /// Ids of events accepted before.
    pub(super) events: Timestamp,
    /// When it is: what is later than that was written when a clock was wrong, and says nothing about what comes after it.
    pub(super) now: Timestamp,
    /// Deliveries that have ended, dead letters not counted, with ids up to this one, whenever they ended.
    pub(super) through: i64,
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    forgotten: u64,
    /// Where the next step goes on; `None` when there is nothing more.
    next: Option<i64>,
}

/// A delivery that may be old enough.
struct Candidate {
    id: i64,
    alert: i64,
    forget: bool,
}

impl SqliteStore {
    /// Forgets deliveries step by step, with room for others in between, and returns how many.
    async fn prune_ended(&self, cut: Cut) -> Result<u64, StoreError> {
        let (mut forgotten, mut next) = (0, Some(0));
        while let Some(after) = next {
            let step = self
                .write(0, move |writer| writer.prune_ended(after, cut))
                .await?;
            let Step {
                forgotten: more,
                next: following,
            } = step;
            forgotten += more;
            next = following;
        }
        Ok(forgotten)
    }

    pub(super) async fn prune_all(self, keep: Cut) -> Result<u64, StoreError> {
        let mut forgotten = self.prune_ended(keep).await?;
        let mut next = Some(0);
        while let Some(after) = next {
            next = self
                .write(0, move |writer| writer.prune_events(after, keep))
                .await?;
        }
        let max_bytes = self.shared.options.max_bytes;
        while let Some(through) = self
            .write(0, move |writer| writer.oldest_beyond(max_bytes))
            .await?
        {
            let cut = Cut { through, ..keep };
            let more = self.prune_ended(cut).await?;
            forgotten += more;
            if more == 0 {
                break;
            }
        }
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method itself is for one lifetime of a writer, and any is asked for"
        )]
        while self.write(0, |writer| writer.shrink()).await? {}
        if forgotten > 0 {
            // What was given up is in the log; the file gets shorter when that is moved.
            let ask = |writer: &mut Writer<'_>| {
                writer.move_log();
                Ok(())
            };
            self.write(0, ask).await?;
        }
        Ok(forgotten)
    }
}

impl Writer<'_> {
    /// Forgets some of the deliveries with ids after `after` that ended before the cut.
    fn prune_ended(&mut self, after: i64, cut: Cut) -> Result<Step, StoreError> {
        self.prune_some(after, cut).map_err(store_error)
    }

    fn prune_some(&mut self, after: i64, cut: Cut) -> rusqlite::Result<Step> {
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
        let mut step = Step::default();
        for (candidate, _) in candidates.iter().filter(|(candidate, _)| candidate.forget) {
            self.forget(candidate)?;
            step.forgotten += 1;
        }
        // Ids ascend with the time of acceptance, and nothing ends before it is accepted.
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
        // Most alerts have one delivery; the others are rewritten until the last is forgotten.
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

    /// Forgets some of the event ids after `after`. Returns where the next step goes on; `None` when there is nothing more.
    fn prune_events(&mut self, after: i64, cut: Cut) -> Result<Option<i64>, StoreError> {
        self.prune_some_events(after, cut).map_err(store_error)
    }

    fn prune_some_events(&self, after: i64, cut: Cut) -> rusqlite::Result<Option<i64>> {
        // With MAX, the other columns are those of the last one: ids ascend with the time of acceptance.
        let sql = "SELECT MAX(seq), COUNT(*), accepted_at < ?3 OR accepted_at > ?4 FROM \
                   (SELECT seq, accepted_at FROM webhook_event WHERE seq > ?1 ORDER BY seq LIMIT ?2)";
        let (old, now) = (cut.events.unix_millis(), cut.now.unix_millis());
        let (last, count, goes_on): (Option<i64>, usize, Option<bool>) = self
            .connection
            .prepare_cached(sql)?
            .query_row(params![after, STEP, old, now], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let Some(last) = last else { return Ok(None) };
        let sql = "DELETE FROM webhook_event WHERE seq > ?1 AND seq <= ?2 AND accepted_at < ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute(params![after, last, old])?;
        Ok((count == STEP && goes_on == Some(true)).then_some(last))
    }

    /// Returns through which id deliveries that have ended are to be forgotten, so that the file comes closer to `max_bytes`; `None` when it is small
    /// enough, or when nothing has ended.
    fn oldest_beyond(&mut self, max_bytes: u64) -> Result<Option<i64>, StoreError> {
        let pragma = |name: &str| -> Result<u64, StoreError> {
            let value = self
                .connection
                .pragma_query_value(None, name, |row| row.get(0));
            value.map_err(store_error)
        };
        let used = (pragma("page_count")?.saturating_sub(pragma("freelist_count")?))
            .saturating_mul(pragma("page_size")?);
        if used <= max_bytes {
            return Ok(None);
        }
        // A tenth of the log at a time.
        let sql = "SELECT MAX(id) FROM (SELECT id FROM webhook_ended WHERE listed = 0 ORDER BY id \
                   LIMIT MAX(1000, (SELECT COUNT(*) FROM webhook_ended) / 10))";
        let last = self.connection.query_row(sql, [], |row| row.get(0));
        last.map_err(store_error)
    }

    /// Gives some free pages back to the file system when there are many. Says whether there are more.
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
        // A file that the application made may not be able to shrink.
        Ok(pragma("freelist_count")? < free)
    }
}

/// How many rows one step looks at.
const STEP: usize = 500;

/// How many free pages the file keeps for what comes next.
const KEPT_FREE: u64 = 1_024;
