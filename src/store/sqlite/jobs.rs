//! Redeliveries of everything that a filter finds, step by step.
//!
//! A reader finds the next deliveries in a window of ids, so that no step takes long. The writer
//! redelivers them and stores the progress in the same transaction: after a crash a redelivery goes
//! on where it was, and repeats none.

use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::error::store_error;
use super::query::{ENDED_FROM, all, delivery, ended_columns};
use super::redeliver::One;
use super::rows::{self, int, uint};
use super::search::{Conditions, first_from};
use super::writer::Writer;
use super::{SqliteStore, query, search};
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::store::search::Search;
use crate::store::{
    DeliveryQuery, DeliveryStage, REMEMBERED, Redelivery, RedeliveryId, RedeliveryJob,
    RedeliveryState, RedeliveryStep, Store as _, StoreError,
};

/// The deliveries that a step redelivers.
#[derive(Clone, Debug)]
struct NextStep {
    /// The delivery after which the step began.
    began: DeliveryId,
    ids: Vec<DeliveryId>,
    /// The delivery after which the next step begins.
    after: DeliveryId,
}

impl SqliteStore {
    pub(super) async fn begin(
        self,
        which: Redelivery,
        now: Timestamp,
    ) -> Result<RedeliveryJob, StoreError> {
        self.flush().await?;
        let asked = which.clone();
        let total = self
            .inquire(move |connection| total(connection, &asked))
            .await?;
        let begin = move |writer: &mut Writer<'_>| {
            writer
                .begin_redelivery(which.clone(), now, total)
                .map_err(store_error)
        };
        self.write(0, begin).await
    }

    pub(super) async fn go_on(
        self,
        id: RedeliveryId,
        limit: usize,
        now: Timestamp,
    ) -> Result<Option<RedeliveryStep>, StoreError> {
        let next = self.inquire(move |connection| next(connection, id, limit));
        let Some((job, next)) = next.await? else {
            return Ok(None);
        };
        let Some(next) = next else {
            return Ok(Some((job, Vec::new())));
        };
        let listed = matches!(job.which, Redelivery::DeadLetters(_));
        let step = move |writer: &mut Writer<'_>| {
            let done = writer.redeliver_some(id, &next, listed, now);
            done.map_err(store_error)
        };
        self.write(0, step).await
    }
}

/// Returns all redeliveries that are remembered, oldest first.
pub(super) fn jobs(connection: &Connection) -> Result<Vec<RedeliveryJob>, StoreError> {
    let sql = "SELECT id, json FROM webhook_redelivery ORDER BY id";
    all(connection, sql, [], read)
}

fn read(row: &Row<'_>) -> rusqlite::Result<RedeliveryJob> {
    Ok(RedeliveryJob {
        id: RedeliveryId::new(uint(row.get(0)?)),
        ..rows::from_json(row, 1)?
    })
}

fn job(connection: &Connection, id: RedeliveryId) -> rusqlite::Result<Option<RedeliveryJob>> {
    let sql = "SELECT id, json FROM webhook_redelivery WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row([int(id.get())], read).optional()
}

/// Returns the number of deliveries that a redelivery finds, counted up to a bound unless they are
/// dead letters.
fn total(connection: &Connection, which: &Redelivery) -> Result<u64, StoreError> {
    match which {
        Redelivery::DeadLetters(letters) => query::count_dead_letters(connection, letters),
        Redelivery::Ended(ended) => {
            let count = |stage| {
                let ended = DeliveryQuery {
                    stage: Some(stage),
                    ..ended.clone()
                };
                Ok(search::count(connection, &Search::from(&ended), u64::MAX)?.count)
            };
            match ended.stage {
                None => Ok(count(DeliveryStage::Delivered)? + count(DeliveryStage::DeadLettered)?),
                Some(DeliveryStage::Open) => Ok(0),
                Some(stage) => count(stage),
            }
        }
        Redelivery::One(_) => Search::of_redelivery(which).map(|_| 1),
    }
}

/// Returns a redelivery and its next step; `None` if it is unknown, and no step if it has ended.
fn next(
    connection: &Connection,
    id: RedeliveryId,
    limit: usize,
) -> Result<Option<(RedeliveryJob, Option<NextStep>)>, StoreError> {
    let Some(job) = job(connection, id).map_err(store_error)? else {
        return Ok(None);
    };
    if !job.is_on() {
        return Ok(Some((job, None)));
    }
    let search = Search::of_redelivery(&job.which)?;
    let next = step(connection, &search, &job, limit).map_err(store_error)?;
    Ok(Some((job, Some(next))))
}

fn step(
    connection: &Connection,
    search: &Search,
    job: &RedeliveryJob,
    limit: usize,
) -> rusqlite::Result<NextStep> {
    let mut next = NextStep {
        began: job.after,
        ids: Vec::new(),
        after: job.through,
    };
    let _snapshot = connection.unchecked_transaction()?;
    let Some(conditions) = Conditions::of(connection, search)? else {
        return Ok(next);
    };
    let Some((first, _)) = first_from(connection, int(job.after.get()) + 1)? else {
        return Ok(next);
    };
    let end = first.saturating_add(WINDOW).min(int(job.through.get()));
    next.after = DeliveryId::new(uint(end));
    let listed = if search.listed {
        " AND d.listed = 1"
    } else {
        ""
    };
    let sql = format!(
        "SELECT {} FROM {ENDED_FROM} LEFT JOIN webhook_alert a ON a.seq = d.alert \
         LEFT JOIN webhook_endpoint e ON e.id = d.endpoint \
         WHERE d.id >= {first} AND d.id <= {end}{listed}{} ORDER BY d.id",
        ended_columns(),
        conditions.sql
    );
    let mut statement = connection.prepare(&sql)?;
    let mut found = statement.query(params_from_iter(conditions.values))?;
    while let Some(row) = found.next()? {
        let delivery = delivery(row, true)?;
        let last = delivery.last_attempt.and_then(|last| last.failure);
        if search.finds_end(delivery.state, last) {
            next.ids.push(delivery.id);
        }
        if next.ids.len() == limit {
            next.after = delivery.id;
            break;
        }
    }
    Ok(next)
}

impl Writer<'_> {
    fn begin_redelivery(
        &mut self,
        which: Redelivery,
        now: Timestamp,
        total: u64,
    ) -> rusqlite::Result<RedeliveryJob> {
        let forget = "DELETE FROM webhook_redelivery WHERE json ->> 'endedAt' IS NOT NULL AND id <= \
                      (SELECT MAX(id) FROM webhook_redelivery) - ?1";
        self.connection
            .prepare_cached(forget)?
            .execute([REMEMBERED])?;
        let through = DeliveryId::new(uint(self.last.delivery));
        let mut job = RedeliveryJob::new(RedeliveryId::default(), which, now, through, total);
        if job.through == DeliveryId::default() {
            job.end(RedeliveryState::Finished, now);
        }
        let sql = "INSERT INTO webhook_redelivery (json) VALUES (?1)";
        let mut insert = self.connection.prepare_cached(sql)?;
        job.id = RedeliveryId::new(uint(insert.insert([rows::json(&job)?])?));
        Ok(job)
    }

    fn save(&self, job: &RedeliveryJob) -> rusqlite::Result<()> {
        let sql = "UPDATE webhook_redelivery SET json = ?2 WHERE id = ?1";
        let mut update = self.connection.prepare_cached(sql)?;
        update
            .execute(params![int(job.id.get()), rows::json(job)?])
            .map(drop)
    }

    /// Redelivers the deliveries of a step, and stores the progress.
    fn redeliver_some(
        &mut self,
        id: RedeliveryId,
        next: &NextStep,
        listed: bool,
        now: Timestamp,
    ) -> rusqlite::Result<Option<RedeliveryStep>> {
        let Some(mut job) = job(self.connection, id)? else {
            return Ok(None);
        };
        let mut fresh = Vec::new();
        // It may have been stopped after the step was read.
        if !job.is_on() || job.after != next.began {
            return Ok(Some((job, fresh)));
        }
        job.state = RedeliveryState::Running;
        for delivery in &next.ids {
            let found = self.ended(*delivery, listed)?;
            match self.redeliver(*delivery, found, now)? {
                One::Fresh(id, url) => {
                    job.done += 1;
                    fresh.push((id, url));
                }
                One::Full(_) => {
                    job.state = RedeliveryState::WaitingForRoom;
                    break;
                }
                One::Removed(_) | One::Gone => job.skipped += 1,
            }
            job.after = *delivery;
        }
        if job.state == RedeliveryState::Running {
            job.after = next.after;
            if job.after >= job.through {
                job.end(RedeliveryState::Finished, now);
            }
        }
        self.save(&job)?;
        Ok(Some((job, fresh)))
    }

    /// Stops a redelivery, unless it has ended.
    pub(super) fn stop_redelivery(
        &self,
        id: RedeliveryId,
        now: Timestamp,
    ) -> Result<Option<RedeliveryJob>, StoreError> {
        let stop = || {
            let Some(mut job) = job(self.connection, id)? else {
                return Ok(None);
            };
            job.end(RedeliveryState::Stopped, now);
            self.save(&job)?;
            Ok(Some(job))
        };
        stop().map_err(store_error)
    }
}

/// The number of ids that a step looks at.
const WINDOW: i64 = 20_000;
