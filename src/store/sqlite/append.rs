//! Writing what is new: events with their alerts and deliveries.

use rusqlite::{OptionalExtension as _, params};

use super::error::store_error;
use super::record::Ending;
use super::rows::{self, int, uint};
use super::writer::Writer;
use crate::domain::dead_letter::DeadLetterReason;
use crate::domain::id::{CompanyId, DeliveryId};
use crate::domain::time::Timestamp;
use crate::store::backlog::Room;
use crate::store::{Alert, Appended, NewEvent, StoreError};

impl Writer<'_> {
    pub(super) fn append(&mut self, batch: &[NewEvent]) -> Result<Vec<Appended>, StoreError> {
        let append = |event| self.append_one(event).map_err(store_error);
        batch.iter().map(append).collect()
    }

    fn append_one(&mut self, event: &NewEvent) -> rusqlite::Result<Appended> {
        self.note_time(event.at);
        let (targets, room) = self.room(event)?;
        let full = match room {
            Room::Enough => Vec::new(),
            Room::NotFor(full) => full,
            Room::None(overflow) => {
                let Some(remembered) = self.remembered(event)? else {
                    return Ok(Appended::Full(overflow));
                };
                self.take_from_outbox(event)?;
                return Ok(remembered);
            }
        };
        if !self.insert_event(event, targets.len())? {
            self.take_from_outbox(event)?;
            let remembered = self.remembered(event)?;
            return Ok(remembered.unwrap_or(Appended::Remembered { deliveries: 0 }));
        }
        let mut ids = Vec::with_capacity(targets.len());
        let mut dead = Vec::new();
        let mut endpoints = targets.into_iter();
        for new in &event.alerts {
            let alert = self.insert_alert(&new.alert, event.at, new.urls.len())?;
            for endpoint in endpoints.by_ref().take(new.urls.len()) {
                let given_up = full.contains(&endpoint);
                let id = if given_up {
                    self.give_up(endpoint, alert, event.at)?
                } else {
                    self.insert_open(endpoint, alert, event.at, rows::size(&new.alert))?
                };
                ids.push(id);
                dead.extend(given_up.then_some(id));
            }
        }
        self.take_from_outbox(event)?;
        Ok(if dead.is_empty() {
            Appended::Stored(ids)
        } else {
            Appended::StoredInPart { ids, dead }
        })
    }

    /// Returns the endpoint of each delivery, and whether there is room for them.
    fn room(&mut self, event: &NewEvent) -> rusqlite::Result<(Vec<i64>, Room<i64>)> {
        let deliveries = event
            .alerts
            .iter()
            .flat_map(|new| new.urls.iter().map(|url| (&new.alert, url)));
        let endpoints: Vec<i64> = deliveries
            .clone()
            .map(|(_, url)| self.endpoint(url))
            .collect::<rusqlite::Result<_>>()?;
        let sizes = deliveries
            .zip(&endpoints)
            .map(|((alert, url), endpoint)| (*endpoint, url, rows::size(alert)));
        let room = self.ledger.room(sizes);
        Ok((endpoints, room))
    }

    fn remembered(&self, event: &NewEvent) -> rusqlite::Result<Option<Appended>> {
        let sql = "SELECT deliveries FROM webhook_event WHERE id = ?1";
        self.connection
            .prepare_cached(sql)?
            .query_row([event.id.as_str()], |row| {
                let deliveries = row.get(0)?;
                Ok(Appended::Remembered { deliveries })
            })
            .optional()
    }

    /// Says whether the event is new.
    fn insert_event(&mut self, event: &NewEvent, deliveries: usize) -> rusqlite::Result<bool> {
        let insert = self.hot.insert_event.get(self.connection)?;
        let inserted = insert.execute(params![
            event.id.as_str(),
            event.at.unix_millis(),
            self.last.alert + 1,
            event.alerts.len(),
            self.last.delivery + 1,
            deliveries,
        ])?;
        Ok(inserted > 0)
    }

    fn insert_alert(&mut self, alert: &Alert, at: Timestamp, refs: usize) -> rusqlite::Result<i64> {
        self.last.alert += 1;
        let insert = self.hot.insert_alert.get(self.connection)?;
        insert.execute(params![
            self.last.alert,
            alert.id.as_uuid().as_bytes(),
            alert.event_id.as_str(),
            alert.rule_id.as_str(),
            alert.rule_type,
            alert.client_id.as_str(),
            alert.company_id.as_ref().map(CompanyId::as_str),
            rows::format_name(alert.format),
            at.unix_millis(),
            refs,
            &alert.body[..],
        ])?;
        Ok(self.last.alert)
    }

    pub(super) fn insert_open(
        &mut self,
        endpoint: i64,
        alert: i64,
        at: Timestamp,
        bytes: u64,
    ) -> rusqlite::Result<DeliveryId> {
        self.last.delivery += 1;
        let insert = self.hot.insert_open.get(self.connection)?;
        insert.execute(params![
            endpoint,
            self.last.delivery,
            alert,
            at.unix_millis(),
            int(bytes),
        ])?;
        self.note_opened(endpoint, bytes);
        Ok(DeliveryId::new(uint(self.last.delivery)))
    }

    fn give_up(
        &mut self,
        endpoint: i64,
        alert: i64,
        at: Timestamp,
    ) -> rusqlite::Result<DeliveryId> {
        self.last.delivery += 1;
        let ending = Ending {
            alert,
            accepted_at: at.unix_millis(),
            attempts_made: 0,
            bytes: 0,
        };
        let (id, reason) = (self.last.delivery, DeadLetterReason::BacklogFull);
        self.insert_given_up(endpoint, id, &ending, at, reason)?;
        Ok(DeliveryId::new(uint(id)))
    }

    fn take_from_outbox(&self, event: &NewEvent) -> rusqlite::Result<()> {
        let Some(seq) = event.outbox else {
            return Ok(());
        };
        let sql = "DELETE FROM webhook_outbox WHERE seq = ?1";
        let deleted = self.connection.prepare_cached(sql)?.execute([int(seq)]);
        deleted.map(drop)
    }
}
