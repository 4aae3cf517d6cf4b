//! Redelivering by hand, and taking dead letters off the list.
//!
//! A reader finds the deliveries: a filter may scan everything that is stored, and publishers would
//! wait if the writer did it. The writer gets the ids, a few at a time.

use rusqlite::{OptionalExtension as _, params};

use super::error::store_error;
use super::rows::{self, int};
use super::writer::Writer;
use super::{SqliteStore, query};
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::{DeadLetterQuery, ENDED_AT_ONCE, Overflow, Redelivery, Store as _, StoreError};

/// The redelivered deliveries, and the limit that stopped others of the same call.
#[derive(Default)]
struct Again {
    fresh: Vec<(DeliveryId, WebhookUrl)>,
    full: Option<Overflow>,
}

/// The result for one delivery.
pub(super) enum One {
    Fresh(DeliveryId, WebhookUrl),
    Full(Overflow),
    /// Its endpoint was removed.
    Removed(WebhookUrl),
    /// It does not exist, or is no longer a dead letter.
    Gone,
}

/// A delivery to redeliver.
pub(super) struct RedeliverableRow {
    endpoint: i64,
    alert: i64,
    url: WebhookUrl,
    bytes: u64,
}

impl SqliteStore {
    pub(super) async fn deliver_again(
        self,
        which: Redelivery,
        now: Timestamp,
    ) -> Result<Vec<(DeliveryId, WebhookUrl)>, StoreError> {
        // Everything requested before has then taken effect, and a reader sees it.
        self.flush().await?;
        let again = match which {
            Redelivery::One(id) => self.deliver_one_again(id, now).await?,
            Redelivery::DeadLetters(query) => self.deliver_letters_again(query, now).await?,
            Redelivery::Ended(_) => return Err(StoreError::Unsupported(ENDED_AT_ONCE)),
        };
        match again.full {
            Some(overflow) if again.fresh.is_empty() => Err(StoreError::Full(overflow)),
            Some(overflow) => {
                log::warn!(
                    "some dead letters were not redelivered, because there is no room: {overflow}"
                );
                Ok(again.fresh)
            }
            None => Ok(again.fresh),
        }
    }

    async fn deliver_one_again(&self, id: DeliveryId, now: Timestamp) -> Result<Again, StoreError> {
        let open_at = self.inquire(move |connection| query::open_at(connection, id));
        let open_at = open_at.await?;
        let again = move |writer: &mut Writer<'_>| {
            let found = match writer.ended(id, false)? {
                None => writer.open(id, open_at)?,
                found => found,
            };
            writer.redeliver(id, found, now)
        };
        let mut all = Again::default();
        match self
            .write(0, move |writer| again(writer).map_err(store_error))
            .await?
        {
            One::Fresh(fresh, url) => all.fresh.push((fresh, url)),
            One::Full(overflow) => all.full = Some(overflow),
            One::Removed(url) => return Err(StoreError::EndpointRemoved(url)),
            One::Gone => return Err(StoreError::UnknownDelivery(id)),
        }
        Ok(all)
    }

    async fn deliver_letters_again(
        &self,
        query: DeadLetterQuery,
        now: Timestamp,
    ) -> Result<Again, StoreError> {
        let ids = self.inquire(move |connection| query::oldest_dead_letters(connection, &query));
        let mut all = Again::default();
        for some in ids.await?.chunks(AT_ONCE) {
            let some = some.to_vec();
            let again = move |writer: &mut Writer<'_>| {
                let one = |id: &DeliveryId| {
                    let found = writer.ended(*id, true)?;
                    writer.redeliver(*id, found, now)
                };
                some.iter().map(one).collect::<rusqlite::Result<Vec<One>>>()
            };
            let done = self.write(0, move |writer| again(writer).map_err(store_error));
            for one in done.await? {
                match one {
                    One::Fresh(fresh, url) => all.fresh.push((fresh, url)),
                    One::Full(overflow) => all.full = Some(overflow),
                    // The endpoint was removed, or the dead letter taken, after the query found it.
                    One::Removed(_) | One::Gone => {}
                }
            }
        }
        Ok(all)
    }

    pub(super) async fn take_off_list(self, query: DeadLetterQuery) -> Result<u64, StoreError> {
        self.flush().await?;
        let ids = self.inquire(move |connection| query::newest_dead_letters(connection, &query));
        let mut taken = 0;
        for some in ids.await?.chunks(AT_ONCE) {
            let some = some.to_vec();
            let unlist = move |writer: &mut Writer<'_>| {
                let one = |id: &DeliveryId| writer.unlist(*id);
                let done = some.iter().map(one).sum::<rusqlite::Result<u64>>();
                done.map_err(store_error)
            };
            taken += self.write(0, unlist).await?;
        }
        Ok(taken)
    }
}

impl Writer<'_> {
    /// Returns an ended delivery; with `only_listed`, only a listed dead letter.
    pub(super) fn ended(
        &self,
        id: DeliveryId,
        only_listed: bool,
    ) -> rusqlite::Result<Option<RedeliverableRow>> {
        let tables = "webhook_ended d JOIN webhook_endpoint e ON e.id = d.endpoint";
        let listed = i64::from(only_listed);
        self.find(tables, "d.id = ?1 AND d.listed >= ?2", id, listed)
    }

    /// Returns a delivery that is open at an endpoint.
    fn open(
        &self,
        id: DeliveryId,
        endpoint: Option<i64>,
    ) -> rusqlite::Result<Option<RedeliverableRow>> {
        let tables = "webhook_open d JOIN webhook_endpoint e ON e.id = d.endpoint";
        let Some(endpoint) = endpoint else {
            return Ok(None);
        };
        self.find(tables, "d.id = ?1 AND d.endpoint = ?2", id, endpoint)
    }

    fn find(
        &self,
        tables: &str,
        which: &str,
        id: DeliveryId,
        second: i64,
    ) -> rusqlite::Result<Option<RedeliverableRow>> {
        let sql = format!(
            "SELECT d.endpoint, d.alert, e.url, LENGTH(a.body) FROM {tables} \
             JOIN webhook_alert a ON a.seq = d.alert WHERE {which}"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let found = statement.query_row(params![int(id.get()), second], |row| {
            Ok(RedeliverableRow {
                endpoint: row.get(0)?,
                alert: row.get(1)?,
                url: rows::url(row, 2)?,
                bytes: row.get(3)?,
            })
        });
        found.optional()
    }

    /// Redelivers a delivery, if there is room for it.
    pub(super) fn redeliver(
        &mut self,
        id: DeliveryId,
        found: Option<RedeliverableRow>,
        now: Timestamp,
    ) -> rusqlite::Result<One> {
        let Some(RedeliverableRow {
            endpoint,
            alert,
            url,
            bytes,
        }) = found
        else {
            return Ok(One::Gone);
        };
        if self.is_removed(&url) {
            return Ok(One::Removed(url));
        }
        if let Some(overflow) = self.ledger.overflow(endpoint, &url, bytes) {
            return Ok(One::Full(overflow));
        }
        let fresh = self.insert_open(endpoint, alert, now, bytes)?;
        let more = "UPDATE webhook_alert SET refs = refs + 1 WHERE seq = ?1";
        self.connection.prepare_cached(more)?.execute([alert])?;
        let note = "INSERT INTO webhook_redelivered (alert, id, of) VALUES (?1, ?2, ?3)";
        let mut note = self.connection.prepare_cached(note)?;
        note.execute(params![alert, int(fresh.get()), int(id.get())])?;
        self.index_again(alert, int(fresh.get()))?;
        self.unlist(id)?;
        Ok(One::Fresh(fresh, url))
    }

    /// Takes a dead letter off the list; the delivery stays on record. Returns the number taken.
    fn unlist(&self, id: DeliveryId) -> rusqlite::Result<u64> {
        let sql = "UPDATE webhook_ended SET listed = 0 WHERE id = ?1 AND listed = 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let taken = statement.execute([int(id.get())])?;
        Ok(u64::try_from(taken).unwrap_or(u64::MAX))
    }
}

/// The number of dead letters that one transaction redelivers or takes off the list.
const AT_ONCE: usize = 100;
