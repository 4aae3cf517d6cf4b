//! Events that the application stores in a transaction of its own.

use rusqlite::{Connection, Transaction, params};

use super::SqliteStore;
use super::error::{damaged, store_error};
use super::query::all;
use super::rows::{self, int, uint};
use super::writer::Writer;
use crate::domain::event::{Event, InvalidEvent};
use crate::store::{OutboxEntry, StoreError};

/// Why an event was not put into the outbox. The transaction can go on without it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The event cannot be published as it is; correct it.
    #[error("event is not valid: {0}")]
    Invalid(#[from] InvalidEvent),
    /// It could not be written. Has the store been opened on this file?
    #[error("event could not be written to the outbox")]
    Store(#[source] StoreError),
}

impl SqliteStore {
    /// Stores an event in a transaction of the application on the same file: both are committed, or neither.
    ///
    /// The engine routes the event after the commit: at once when it is told by [`Engine::notify_outbox`](crate::Engine::notify_outbox), and otherwise
    /// at its next look, within a second. Each endpoint gets events in the order in which they were stored. One that has as much open as it may holds up
    /// those for itself alone; they come out when it has room. One that turns out to be too large for the engine's limit, or whose id its client has used for
    /// something else, is set aside with the reason in column `refused` of table `webhook_outbox`, and logged as an error.
    ///
    /// The engine writes to the same file. A transaction that reads before it writes has to be begun as one that writes (`BEGIN IMMEDIATE`): one that
    /// becomes so in the middle fails at once with "database is locked" if the engine has written meanwhile. And one that is kept open for longer
    /// than 5 s makes publishing fail with a transient [`StoreError::Unavailable`].
    ///
    /// ```
    /// use actix_webhooks::Event;
    /// use actix_webhooks::store::SqliteStore;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("shop.db");
    /// let store = SqliteStore::open(&path)?;
    ///
    /// let mut shop = rusqlite::Connection::open(&path)?;
    /// let order = shop.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    /// order.execute("CREATE TABLE orders (number INTEGER)", [])?;
    /// order.execute("INSERT INTO orders VALUES (42)", [])?;
    /// SqliteStore::publish_in(&order, &Event::new("order.placed", "client-1"))?;
    /// order.commit()?;
    /// # drop(store);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OutboxError`]; nothing was written.
    pub fn publish_in(transaction: &Transaction<'_>, event: &Event) -> Result<(), OutboxError> {
        event.check()?;
        let text =
            serde_json::to_string(event).map_err(|error| OutboxError::Store(damaged(error)))?;
        // What cannot be read again, because it is nested too deeply inside an event, would never be routed.
        serde_json::from_str::<Event>(&text).map_err(|_| InvalidEvent::DataTooDeep)?;
        let write = || {
            transaction
                .prepare_cached("INSERT INTO webhook_outbox (event) VALUES (?1)")?
                .execute([&text])
        };
        let written = write().map_err(store_error);
        written.map(drop).map_err(OutboxError::Store)
    }
}

pub(super) fn outbox(
    connection: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<OutboxEntry>, StoreError> {
    let sql = "SELECT seq, event FROM webhook_outbox WHERE seq > ?1 AND refused IS NULL ORDER BY seq LIMIT ?2";
    let parameters = params![int(after), int(u64::try_from(limit).unwrap_or(u64::MAX))];
    all(connection, sql, parameters, |row| {
        Ok(OutboxEntry {
            seq: uint(row.get(0)?),
            event: rows::from_json(row, 1).map_err(|error| error.to_string()),
        })
    })
}

impl Writer<'_> {
    pub(super) fn refuse_outbox(&mut self, seq: u64, reason: &str) -> Result<(), StoreError> {
        let sql = "UPDATE webhook_outbox SET refused = ?2 WHERE seq = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(store_error)?;
        let refused = statement.execute(params![int(seq), reason]);
        refused.map(drop).map_err(store_error)
    }
}
