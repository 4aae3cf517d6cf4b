//! Recording outcomes: finished attempts, removed endpoints, deliveries that were given up.

use rusqlite::{OptionalExtension as _, params};

use super::error::store_error;
use super::query::{Damaged, NO_ALERT};
use super::rows::{self, int, uint};
use super::writer::Writer;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::deliveries::outcome::Outcome;
use crate::domain::policy::health::Health;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::{
    Agreed, AttemptRecord, EndedDelivery, GivenUp, Stopped, StoreError, WaitingDelivery,
};

/// The data of an open delivery that `webhook_ended` needs.
pub(super) struct Ending {
    pub(super) alert: i64,
    pub(super) accepted_at: i64,
    pub(super) attempts_made: u32,
    pub(super) bytes: u64,
}

impl Writer<'_> {
    pub(super) fn record(&mut self, batch: &[AttemptRecord]) -> Result<(), StoreError> {
        for record in batch {
            self.record_one(record).map_err(store_error)?;
        }
        Ok(())
    }

    fn record_one(&mut self, record: &AttemptRecord) -> rusqlite::Result<()> {
        self.note_time(record.summary.at);
        let Some(endpoint) = self.known_endpoint(&record.url)? else {
            return Ok(());
        };
        let reason = match record.outcome {
            Outcome::Failed { .. } => {
                if self.reschedule(endpoint, record)? {
                    self.insert_attempt(record)?;
                    self.note_endpoint(endpoint, record)?;
                }
                return Ok(());
            }
            Outcome::Delivered => None,
            Outcome::DeadLettered { reason } => Some(reason),
        };
        let Some(ending) = self.take_open(endpoint, record.delivery_id)? else {
            // It has ended already.
            return Ok(());
        };
        self.note_endpoint(endpoint, record)?;
        self.insert_ended(endpoint, record, &ending, reason)
    }

    /// Returns `true` if the attempt is new.
    fn reschedule(&self, endpoint: i64, record: &AttemptRecord) -> rusqlite::Result<bool> {
        let sql = "UPDATE webhook_open SET attempts_made = ?3, window_ends_at = ?4, due_at = ?5 \
                   WHERE endpoint = ?1 AND id = ?2 AND attempts_made < ?3";
        let due_at = record.next_attempt_at.unwrap_or(record.summary.at);
        let updated = self.connection.prepare_cached(sql)?.execute(params![
            endpoint,
            int(record.delivery_id.get()),
            record.progress.attempts_made,
            record.progress.deadline.map(Timestamp::unix_millis),
            due_at.unix_millis(),
        ])?;
        Ok(updated > 0)
    }

    /// Updates the endpoint of an attempt, together with the attempt. Most attempts change nothing.
    fn note_endpoint(&self, endpoint: i64, record: &AttemptRecord) -> rusqlite::Result<()> {
        self.hold(endpoint, record.hold_until)?;
        if let Some(health) = record.health {
            let health = (health != Health::default()).then(|| rows::json(&health));
            let sql = "UPDATE webhook_endpoint SET health = ?2 WHERE id = ?1";
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.execute(params![endpoint, health.transpose()?])?;
        }
        if let Some(agreed) = &record.agreed {
            self.write_agreed(endpoint, agreed)?;
        }
        if let Some(reason) = record.disabled {
            self.disable_endpoint(endpoint, reason, &Stopped::at(record.summary.at))?;
        }
        Ok(())
    }

    fn hold(&self, endpoint: i64, until: Option<Timestamp>) -> rusqlite::Result<()> {
        let Some(until) = until else { return Ok(()) };
        let sql = "UPDATE webhook_endpoint SET held_until = MAX(?2, COALESCE(held_until, ?2)) WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement
            .execute(params![endpoint, until.unix_millis()])
            .map(drop)
    }

    pub(super) fn agree(&mut self, url: &WebhookUrl, agreed: &Agreed) -> Result<(), StoreError> {
        let written = self.known_endpoint(url).and_then(|endpoint| {
            endpoint.map_or(Ok(()), |endpoint| self.write_agreed(endpoint, agreed))
        });
        written.map_err(store_error)
    }

    fn write_agreed(&self, endpoint: i64, agreed: &Agreed) -> rusqlite::Result<()> {
        let json = (!agreed.is_nothing()).then(|| rows::json(agreed));
        let sql = "UPDATE webhook_endpoint SET agreed = ?2 WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement
            .execute(params![endpoint, json.transpose()?])
            .map(drop)
    }

    /// Ends the hold and the open circuit of an endpoint, and makes the deliveries due that waited
    /// for the hold to end.
    pub(super) fn lift(&mut self, url: &WebhookUrl) -> Result<(), StoreError> {
        self.lift_hold(url).map_err(store_error)
    }

    fn lift_hold(&mut self, url: &WebhookUrl) -> rusqlite::Result<()> {
        let Some(endpoint) = self.known_endpoint(url)? else {
            return Ok(());
        };
        let agreed = self
            .connection
            .prepare_cached("SELECT agreed FROM webhook_endpoint WHERE id = ?1")?
            .query_row([endpoint], |row| Ok(rows::agreed(row, 0, url)))?;
        if let Some(hold) = agreed.hold()
            && let Some(since) = hold.at
        {
            let sql = "UPDATE webhook_open SET due_at = ?3 \
                       WHERE endpoint = ?1 AND due_at BETWEEN ?2 AND ?4";
            self.connection.prepare_cached(sql)?.execute(params![
                endpoint,
                hold.waited_from().unix_millis(),
                since.unix_millis(),
                hold.until.unix_millis(),
            ])?;
        }
        self.connection
            .prepare_cached("UPDATE webhook_endpoint SET held_until = NULL WHERE id = ?1")?
            .execute([endpoint])?;
        self.write_agreed(endpoint, &agreed.lifted())
    }

    fn insert_attempt(&self, record: &AttemptRecord) -> rusqlite::Result<()> {
        let sql = "INSERT OR IGNORE INTO webhook_attempt \
                   (delivery, number, at, duration_ms, status, failure, redirects, sent_twice, excerpt, trace) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let summary = &record.summary;
        let failure = summary.failure.as_ref().map(rows::json).transpose()?;
        let inserted = self.connection.prepare_cached(sql)?.execute(params![
            int(record.delivery_id.get()),
            summary.number,
            summary.at.unix_millis(),
            rows::millis(summary.duration),
            summary.status,
            failure,
            summary.redirects,
            summary.sent_twice,
            &record.excerpt[..],
            record.trace.as_ref().map(rows::json).transpose()?,
        ]);
        inserted.map(drop)
    }

    /// Removes a delivery from the open ones.
    fn take_open(&mut self, endpoint: i64, id: DeliveryId) -> rusqlite::Result<Option<Ending>> {
        let key = params![endpoint, int(id.get())];
        let find = self.hot.find_open.get(self.connection)?;
        let found = find.query_row(key, |row| {
            Ok(Ending {
                alert: row.get(0)?,
                accepted_at: row.get(1)?,
                attempts_made: row.get(2)?,
                bytes: row.get(3)?,
            })
        });
        let taken = match found.optional() {
            // An unreadable row must end too.
            Err(error) if rows::is_of_row(&error) => self.find_damaged(endpoint, id)?,
            other => other?,
        };
        if let Some(ending) = &taken {
            self.hot.delete_open.get(self.connection)?.execute(key)?;
            self.note_ended(endpoint, ending.bytes);
        }
        Ok(taken)
    }

    /// Returns the readable parts of an open delivery whose row is damaged.
    fn find_damaged(&self, endpoint: i64, id: DeliveryId) -> rusqlite::Result<Option<Ending>> {
        let sql = "SELECT CAST(alert AS INTEGER), CAST(accepted_at AS INTEGER), CAST(attempts_made AS INTEGER), \
                          CAST(bytes AS INTEGER) \
                   FROM webhook_open WHERE endpoint = ?1 AND id = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_row(params![endpoint, int(id.get())], |row| {
            Ok(Ending {
                alert: row.get(0).unwrap_or_default(),
                accepted_at: row.get(1).unwrap_or_default(),
                attempts_made: row.get(2).unwrap_or_default(),
                bytes: row.get(3).unwrap_or_default(),
            })
        });
        found.optional()
    }

    /// Makes open deliveries with unreadable rows dead letters, so that the endpoint's others go
    /// on.
    pub(super) fn set_aside(
        &mut self,
        url: &WebhookUrl,
        damaged: &[Damaged],
    ) -> Result<(), StoreError> {
        let mut set_aside = || {
            let Some(endpoint) = self.known_endpoint(url)? else {
                return Ok(());
            };
            for Damaged { id, why } in damaged {
                let Some(ending) = self.take_open(endpoint, *id)? else {
                    continue;
                };
                // A reader passes no present time. The time of the latest write is close to it.
                let at = self.latest.noted.max(Some(ending.accepted_at));
                let at = Timestamp::from_unix_millis(at.unwrap_or_default());
                self.insert_given_up(
                    endpoint,
                    int(id.get()),
                    &ending,
                    at,
                    DeadLetterReason::Unreadable,
                )?;
                self.tell_given_up(url, *id, &ending, DeadLetterReason::Unreadable)?;
                let (endpoint, delivery_id) = (url.without_query(), id.get());
                log::error!(
                    endpoint, delivery_id;
                    "delivery {delivery_id} to {endpoint} cannot be read in the delivery store and is now a dead letter: {why}"
                );
            }
            Ok(())
        };
        set_aside().map_err(store_error)
    }

    /// Stores a delivery that an attempt has ended.
    fn insert_ended(
        &mut self,
        endpoint: i64,
        record: &AttemptRecord,
        ending: &Ending,
        reason: Option<DeadLetterReason>,
    ) -> rusqlite::Result<()> {
        let summary = &record.summary;
        let insert = self.hot.insert_ended.get(self.connection)?;
        let inserted = insert.execute(params![
            int(record.delivery_id.get()),
            endpoint,
            ending.alert,
            ending.accepted_at,
            summary.at.unix_millis(),
            summary.number,
            reason.as_ref().map(rows::json).transpose()?,
            reason.is_some(),
            rows::millis(summary.duration),
            summary.status,
            summary.failure.as_ref().map(rows::json).transpose()?,
            summary.redirects,
            summary.sent_twice,
            &record.excerpt[..],
            record.trace.as_ref().map(rows::json).transpose()?,
        ]);
        inserted.map(drop)
    }

    /// Stores a delivery that ended without an attempt, as a dead letter.
    pub(super) fn insert_given_up(
        &self,
        endpoint: i64,
        id: i64,
        ending: &Ending,
        at: Timestamp,
        reason: DeadLetterReason,
    ) -> rusqlite::Result<()> {
        let sql = "INSERT INTO webhook_ended \
                   (id, endpoint, alert, accepted_at, ended_at, attempts_made, reason, listed) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)";
        let inserted = self.connection.prepare_cached(sql)?.execute(params![
            id,
            endpoint,
            ending.alert,
            ending.accepted_at,
            at.unix_millis(),
            ending.attempts_made,
            rows::json(&reason)?,
        ]);
        inserted.map(drop)
    }

    /// Makes up to `limit` open deliveries of an endpoint dead letters, and returns how many.
    pub(super) fn dead_letter_open(
        &mut self,
        url: &WebhookUrl,
        at: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.dead_letter_some(url, at, limit).map_err(store_error)
    }

    fn dead_letter_some(
        &mut self,
        url: &WebhookUrl,
        at: Timestamp,
        limit: usize,
    ) -> rusqlite::Result<usize> {
        let Some(endpoint) = self.known_endpoint(url)? else {
            return Ok(0);
        };
        let ids: Vec<i64> = self
            .connection
            .prepare_cached("SELECT id FROM webhook_open WHERE endpoint = ?1 LIMIT ?2")?
            .query_map(params![endpoint, limit], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for id in &ids {
            self.dead_letter_one(url, endpoint, *id, Some(at))?;
        }
        self.connection
            .prepare_cached(
                "UPDATE webhook_endpoint SET held_until = NULL, agreed = NULL WHERE id = ?1",
            )?
            .execute([endpoint])?;
        Ok(ids.len())
    }

    /// Makes all open deliveries of an endpoint dead letters, each as of when it was accepted.
    pub(super) fn dead_letter_rest(&mut self, url: &WebhookUrl) -> rusqlite::Result<()> {
        let Some(endpoint) = self.known_endpoint(url)? else {
            return Ok(());
        };
        let ids: Vec<i64> = self
            .connection
            .prepare_cached("SELECT id FROM webhook_open WHERE endpoint = ?1")?
            .query_map([endpoint], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        ids.into_iter()
            .try_for_each(|id| self.dead_letter_one(url, endpoint, id, None))
    }

    fn dead_letter_one(
        &mut self,
        url: &WebhookUrl,
        endpoint: i64,
        id: i64,
        at: Option<Timestamp>,
    ) -> rusqlite::Result<()> {
        let delivery = DeliveryId::new(uint(id));
        let Some(ending) = self.take_open(endpoint, delivery)? else {
            return Ok(());
        };
        let at = at.unwrap_or(Timestamp::from_unix_millis(ending.accepted_at));
        let reason = DeadLetterReason::EndpointRemoved;
        self.insert_given_up(endpoint, id, &ending, at, reason)?;
        self.tell_given_up(url, delivery, &ending, reason)
    }

    /// Queues a delivery that the store gave up by itself for the engine to report.
    fn tell_given_up(
        &mut self,
        url: &WebhookUrl,
        id: DeliveryId,
        ending: &Ending,
        reason: DeadLetterReason,
    ) -> rusqlite::Result<()> {
        if let Some(delivery) = self.ended_delivery(id, ending)? {
            self.note_given_up(GivenUp {
                url: url.clone(),
                delivery,
                reason,
            });
        }
        Ok(())
    }

    /// Makes a delivery of an endpoint due that waits for a retry, and returns it.
    pub(super) fn make_due(
        &mut self,
        url: &WebhookUrl,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<WaitingDelivery>, StoreError> {
        self.note_time(now);
        self.make_one_due(url, id, now).map_err(store_error)
    }

    fn make_one_due(
        &self,
        url: &WebhookUrl,
        id: DeliveryId,
        now: Timestamp,
    ) -> rusqlite::Result<Option<WaitingDelivery>> {
        let Some(endpoint) = self.known_endpoint(url)? else {
            return Ok(None);
        };
        let sql = "UPDATE webhook_open SET due_at = MIN(due_at, ?3) \
                   WHERE endpoint = ?1 AND id = ?2 AND due_at IS NOT NULL \
                   RETURNING due_at, (SELECT company_id FROM webhook_alert a WHERE a.seq = alert)";
        let mut statement = self.connection.prepare_cached(sql)?;
        let key = params![endpoint, int(id.get()), now.unix_millis()];
        let made_due = statement.query_row(key, |row| {
            let company: Option<String> = row.get(1)?;
            Ok(WaitingDelivery {
                id,
                due_at: rows::time(row, 0)?,
                company_id: company.map(Into::into),
            })
        });
        made_due.optional()
    }

    /// Makes those of the given deliveries that are open dead letters.
    pub(super) fn end(
        &mut self,
        url: &WebhookUrl,
        ids: &[DeliveryId],
        reason: DeadLetterReason,
        at: Timestamp,
    ) -> Result<Vec<EndedDelivery>, StoreError> {
        let Some(endpoint) = self.known_endpoint(url).map_err(store_error)? else {
            return Ok(Vec::new());
        };
        self.note_time(at);
        let mut ended = Vec::with_capacity(ids.len());
        for id in ids {
            let one = self.end_one(endpoint, *id, reason, at);
            ended.extend(one.map_err(store_error)?);
        }
        Ok(ended)
    }

    fn end_one(
        &mut self,
        endpoint: i64,
        id: DeliveryId,
        reason: DeadLetterReason,
        at: Timestamp,
    ) -> rusqlite::Result<Option<EndedDelivery>> {
        let Some(ending) = self.take_open(endpoint, id)? else {
            return Ok(None);
        };
        self.insert_given_up(endpoint, int(id.get()), &ending, at, reason)?;
        self.ended_delivery(id, &ending)
    }

    /// Returns the report data of a delivery that was given up.
    fn ended_delivery(
        &self,
        id: DeliveryId,
        ending: &Ending,
    ) -> rusqlite::Result<Option<EndedDelivery>> {
        let sql = "SELECT id, event_id, rule_id FROM webhook_alert WHERE seq = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let ended = statement.query_row([ending.alert], |row| {
            Ok(EndedDelivery {
                id,
                alert_id: rows::alert_id(row, 0).unwrap_or(NO_ALERT),
                event_id: rows::shown_text(row, 1).into(),
                rule_id: rows::shown_text(row, 2).into(),
                attempts_made: ending.attempts_made,
            })
        });
        // Without its alert a delivery ends as usual; only its report has no data.
        ended.optional()
    }
}
