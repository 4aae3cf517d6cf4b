//! Remembered event ids, kept per client.
//!
//! The table has one row per id and client. The first client to use an id has it unchanged, so that
//! the one statement that every event needs shows whether the id is new. Further look-ups are
//! needed only if it is not new, or if clients are known to use the same ids.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::store_error;
use super::query::all;
use super::rows;
use super::writer::Writer;
use crate::domain::events::content::ContentDigest;
use crate::domain::value::id::{ClientId, EventId};
use crate::store::{Appended, NewEvent, StoreError, StoredEvent};

/// The result of looking up an event id.
pub(super) enum EventIdFound {
    Nothing,
    /// Only another client has used it.
    UsedByAnother,
    /// The client itself has used it.
    Own {
        deliveries: usize,
        content: Option<ContentDigest>,
    },
}

impl EventIdFound {
    /// Returns the answer to an event with this id, if the event is not to be stored.
    pub(super) fn answer(&self, event: &NewEvent) -> Option<Appended> {
        match self {
            Self::Nothing => None,
            Self::UsedByAnother => (!event.alerts_are_its_own).then_some(Appended::UsedByAnother),
            Self::Own { content, .. }
                if content
                    .zip(event.content)
                    .is_some_and(|(one, other)| one != other) =>
            {
                Some(Appended::IdTaken)
            }
            Self::Own { deliveries, .. } => Some(Appended::Remembered {
                deliveries: *deliveries,
            }),
        }
    }
}

impl Writer<'_> {
    /// Remembers an event, or returns the answer if the event is not to be stored.
    pub(super) fn remember(
        &mut self,
        event: &NewEvent,
        deliveries: usize,
    ) -> rusqlite::Result<Option<Appended>> {
        if !self.ids_are_shared && self.insert_event(event, deliveries, false)? {
            return Ok(None);
        }
        let found = self.find_event(event)?;
        if let Some(answer) = found.answer(event) {
            return Ok(Some(answer));
        }
        let shared = matches!(found, EventIdFound::UsedByAnother);
        self.ids_are_shared |= shared;
        self.insert_event(event, deliveries, shared)?;
        Ok(None)
    }

    /// Inserts the id and returns `true` if it is new.
    fn insert_event(
        &mut self,
        event: &NewEvent,
        deliveries: usize,
        shared: bool,
    ) -> rusqlite::Result<bool> {
        let shared_id = shared.then(|| shared_id(&event.id, &event.client_id));
        let insert = self.hot.insert_event.get(self.connection)?;
        let inserted = insert.execute(params![
            shared_id.as_deref().unwrap_or(event.id.as_str()),
            event.at.unix_millis(),
            self.last.alert + 1,
            event.alerts.len(),
            self.last.delivery + 1,
            deliveries,
            event.client_id.as_str(),
            event.content.as_ref().map(ContentDigest::as_bytes),
            shared.then_some(true),
            event.unmatched.as_ref().map(rows::json).transpose()?,
        ])?;
        Ok(inserted > 0)
    }

    /// Looks up the id of an event.
    pub(super) fn find_event(&self, event: &NewEvent) -> rusqlite::Result<EventIdFound> {
        let shared = shared_id(&event.id, &event.client_id);
        if let Some((deliveries, content, _)) = self.remembered(&shared)? {
            return Ok(EventIdFound::Own {
                deliveries,
                content,
            });
        }
        Ok(match self.remembered(event.id.as_str())? {
            None => EventIdFound::Nothing,
            Some((_, _, Some(client))) if event.client_id != *client => EventIdFound::UsedByAnother,
            Some((deliveries, content, _)) => EventIdFound::Own {
                deliveries,
                content,
            },
        })
    }

    fn remembered(&self, id: &str) -> rusqlite::Result<Option<Row>> {
        let sql = "SELECT deliveries, content, client FROM webhook_event WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_row([id], |row| {
            let content: Option<[u8; 16]> = row.get(1)?;
            let content = content.map(ContentDigest::from_bytes);
            Ok((row.get(0)?, content, row.get(2)?))
        });
        found.optional()
    }
}

/// Returns the events with this id, oldest first.
pub(super) fn events(
    connection: &Connection,
    id: &EventId,
) -> Result<Vec<StoredEvent>, StoreError> {
    let sql = "SELECT accepted_at, deliveries, client, unmatched FROM webhook_event \
               WHERE id = ?1 OR (id > ?1 || char(10) AND id < ?1 || char(11)) ORDER BY seq";
    all(connection, sql, [id.as_str()], |row| {
        let client: Option<String> = row.get(2)?;
        Ok(StoredEvent {
            client_id: client.map(Into::into),
            unmatched: rows::maybe_json(row, 3).unwrap_or_default(),
            ..StoredEvent::new(id.clone(), rows::time(row, 0)?, row.get(1)?)
        })
    })
}

/// The number of deliveries, the content and the client of an event.
type Row = (usize, Option<ContentDigest>, Option<String>);

/// Returns `true` if some id is used by more than one client.
pub(super) fn are_shared(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM webhook_event WHERE shared = 1)";
    let found = connection.query_row(sql, [], |row| row.get(0));
    found.map_err(store_error)
}

/// Returns the id under which an event is stored if another client had used its id first. No id
/// holds a line break.
fn shared_id(event: &EventId, client: &ClientId) -> String {
    format!("{event}\n{client}")
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::domain::value::time::Timestamp;
    use crate::store::DeliveryQuery;
    use crate::store::prelude::*;
    use crate::store::sqlite::SqliteStore;
    use crate::store::sqlite::schema::as_of;

    fn event(id: &str, client: &str, content: u8) -> NewEvent {
        NewEvent {
            id: id.into(),
            client_id: client.into(),
            content: Some(ContentDigest::from_bytes([content; 16])),
            alerts_are_its_own: true,
            at: Timestamp::default(),
            alerts: Vec::new(),
            unmatched: None,
            outbox: None,
        }
    }

    /// Ids remembered before they were kept per client must not be delivered again.
    #[actix_rt::test]
    async fn an_id_in_a_file_of_an_earlier_version_counts_for_every_client() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("webhooks.db");
        let old = Connection::open(&file).unwrap();
        as_of(&old, 2).unwrap();
        let row = "INSERT INTO webhook_event (id, accepted_at, first_alert, alerts, first_delivery, deliveries) \
                   VALUES ('e1', 0, 1, 1, 1, 3)";
        old.execute(row, []).unwrap();
        drop(old);
        for _ in 0..2 {
            let store = SqliteStore::open(&file).unwrap();
            let batch = [
                event("e1", "c1", 1),
                event("e1", "c2", 2),
                event("e2", "c1", 1),
            ];
            let appended = store.append(batch.into()).await.unwrap();
            let known = Appended::Remembered { deliveries: 3 };
            assert_eq!(appended[..2], [known.clone(), known]);
            let query = DeliveryQuery {
                event_id: Some("e1".into()),
                ..DeliveryQuery::default()
            };
            assert!(store.deliveries(query).await.unwrap().is_empty());
        }
    }
}
