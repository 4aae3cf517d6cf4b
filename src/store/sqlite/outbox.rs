//! Events that the application stores in its own transaction.

use rusqlite::{Connection, Transaction, params};
use serde::Deserialize as _;

use super::SqliteStore;
use super::error::store_error;
use super::query::all;
use super::rows::{self, int, uint, where_unreadable};
use super::writer::Writer;
use crate::domain::events::event::{Event, InvalidEvent, MAX_DATA_DEPTH};
use crate::store::{Count, OldestInOutbox, OutboxEntry, OutboxSummary, RefusedEntry, StoreError};

/// Why an event was not put into the outbox. The transaction can go on without it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The event is not valid; correct it.
    #[error("event is not valid: {0}")]
    Invalid(#[from] InvalidEvent),
    /// The event could not be written; check that the store has been opened on this file.
    #[error("event could not be written to the outbox")]
    Store(#[source] StoreError),
}

impl SqliteStore {
    /// Stores an event in the application's own transaction on the same file: both are committed,
    /// or neither.
    ///
    /// The engine routes the event after the commit: at once if
    /// [`Engine::notify_outbox`](crate::Engine::notify_outbox) is called, otherwise at its next
    /// look, within a second. Each endpoint gets events in the order in which they were stored. An
    /// endpoint whose backlog is full holds up only the events that go to it alone; they are routed
    /// when it has room.
    ///
    /// An event that exceeds the engine's size limit, or whose id its client has used for another
    /// event, is set aside: the reason is in column `refused` of table `webhook_outbox`, and is
    /// logged as an error. The event stays there until 10,000 more events have come and another one
    /// is set aside, or until the file exceeds
    /// [`SqliteOptions::max_bytes`](super::SqliteOptions::max_bytes) and only dead letters are left
    /// to forget.
    ///
    /// The engine writes to the same file. Begin a transaction that reads before it writes with
    /// `BEGIN IMMEDIATE`: one that turns into a write transaction midway fails at once with
    /// "database is locked" if the engine has written meanwhile. A write transaction kept open
    /// longer than 5 s makes publishing fail with a transient [`StoreError::Unavailable`].
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
        let text = serde_json::to_string(event).map_err(|error| InvalidEvent::not_json(&error))?;
        // An event that is not read back equal would become another event, or never be routed.
        let read = read(&text).map_err(InvalidEvent::NotJson)?;
        if read != *event {
            let why = "it reads back as a different event";
            return Err(InvalidEvent::NotJson(why.to_owned()).into());
        }
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
            event: match row.get_ref(1)?.as_str() {
                Ok(text) => read(text),
                Err(_) => Err("event is not text".to_owned()),
            },
        })
    })
}

impl Writer<'_> {
    pub(super) fn reject_outbox(&mut self, seq: u64, reason: &str) -> Result<(), StoreError> {
        let sql = "UPDATE webhook_outbox SET refused = ?2 WHERE seq = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(store_error)?;
        let refused = statement.execute(params![int(seq), reason]);
        refused.map_err(store_error)?;
        self.forget_rejected(seq.saturating_sub(REJECTED_KEPT))
            .map(drop)
    }

    /// Forgets up to a hundred of the oldest events set aside before `seq`, and returns how many.
    pub(super) fn forget_rejected(&mut self, seq: u64) -> Result<u64, StoreError> {
        let sql = "DELETE FROM webhook_outbox WHERE seq IN \
                   (SELECT seq FROM webhook_outbox WHERE seq < ?1 AND refused IS NOT NULL ORDER BY seq LIMIT 100)";
        let mut statement = self.connection.prepare_cached(sql).map_err(store_error)?;
        let forgotten = statement.execute([int(seq)]).map_err(store_error)?;
        if forgotten > 0 {
            log::warn!(
                forgotten;
                "oldest {forgotten} of the events set aside in table webhook_outbox were forgotten, because there are too many"
            );
        }
        Ok(u64::try_from(forgotten).unwrap_or(u64::MAX))
    }
}

/// The number of later events after which an event that was set aside may be forgotten.
const REJECTED_KEPT: u64 = 10_000;

/// Returns events that were set aside, the oldest first.
pub(super) fn refused(
    connection: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<RefusedEntry>, StoreError> {
    let sql = "SELECT seq, event, refused FROM webhook_outbox \
               WHERE seq > ?1 AND refused IS NOT NULL ORDER BY seq LIMIT ?2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    all(connection, sql, params![int(after), limit], |row| {
        let event = row
            .get_ref(1)?
            .as_str()
            .ok()
            .and_then(|text| read(text).ok());
        let seq = uint(row.get(0)?);
        let reason = rows::shown_text(row, 2);
        Ok(RefusedEntry::new(seq, event.map(|event| event.id), reason))
    })
}

/// Counts the events in the outbox, the oldest first.
pub(super) fn summary(connection: &Connection, at_most: u64) -> Result<OutboxSummary, StoreError> {
    // All reads see the same state.
    let _snapshot = connection.unchecked_transaction().map_err(store_error)?;
    let (waiting, refused) = count(connection, at_most).map_err(store_error)?;
    let oldest = outbox(connection, 0, 1)?.pop();
    Ok(OutboxSummary::new(
        waiting,
        oldest.map(OldestInOutbox::from),
        refused,
    ))
}

fn count(connection: &Connection, at_most: u64) -> rusqlite::Result<(Count, Count)> {
    // Asked for the type only, SQLite does not read past a large event for the reason beyond it.
    let sql = "SELECT typeof(refused) = 'null' FROM webhook_outbox ORDER BY seq";
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query([])?;
    let (mut waiting, mut refused) = (Count::default(), Count::default());
    while let Some(row) = found.next()? {
        let is_waiting: bool = row.get(0)?;
        if waiting.count + refused.count == LOOKED_AT || (is_waiting && waiting.count >= at_most) {
            (waiting.at_least, refused.at_least) = (true, true);
            break;
        }
        let count = if is_waiting {
            &mut waiting
        } else {
            &mut refused
        };
        count.count += 1;
    }
    Ok((waiting, refused))
}

/// The most events that a summary looks at.
const LOOKED_AT: u64 = 50_000;

/// Reads an event from its JSON, to the full depth that an event may have: JSON readers stop
/// earlier by default.
fn read(text: &str) -> Result<Event, String> {
    // Beyond this depth the stack might overflow.
    if is_deeper_than(text, MAX_DATA_DEPTH + 1) {
        return Err(InvalidEvent::DataTooDeep.to_string());
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    let event = Event::deserialize(&mut reader);
    let event = event.and_then(|event| reader.end().map(|()| event));
    event.map_err(|error| where_unreadable("event", &error))
}

/// Returns `true` if a JSON text nests deeper than `limit`; for a text that is not JSON, it may be
/// `true` anyway.
fn is_deeper_than(text: &str, limit: usize) -> bool {
    let (mut depth, mut inside, mut escaped) = (0_usize, false, false);
    text.bytes().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b'[' | b'{' if !inside => depth += 1,
            b']' | b'}' if !inside => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > limit
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::value::time::Timestamp;

    /// The outbox once refused valid events: JSON readers stop before the depth that events may
    /// have.
    #[test]
    fn whatever_may_be_published_is_read_as_it_was_written() {
        let nested = |depth: usize| {
            (0..depth).fold(Value::from("[{\\\"]"), |inner, level| match level % 2 {
                0 => Value::Array(vec![inner]),
                _ => Value::Object([("a\"[".to_owned(), inner)].into_iter().collect()),
            })
        };
        let event = || Event::identified("e", Timestamp::MAX, "t", "c");
        for depth in [0, 1, 100, MAX_DATA_DEPTH - 1, MAX_DATA_DEPTH] {
            let event = event().data(nested(depth));
            assert_eq!(event.check(), Ok(()));
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(read(&text).as_ref(), Ok(&event), "{depth}");
        }
        let deeper = event().data(nested(MAX_DATA_DEPTH + 1));
        let refused = read(&serde_json::to_string(&deeper).unwrap());
        assert_eq!(refused, Err(InvalidEvent::DataTooDeep.to_string()));
        let endless = read(&"[".repeat(1_000_000));
        assert_eq!(endless, Err(InvalidEvent::DataTooDeep.to_string()));
        for wrong in ["", "{}", "hush", r#"{"id":"hush"} {}"#] {
            let error = read(wrong).unwrap_err();
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn brackets_in_texts_do_not_count_and_closed_ones_no_longer() {
        assert!(!is_deeper_than("[[]][[]]", 2));
        assert!(is_deeper_than("[[[]]]", 2));
        assert!(is_deeper_than(r#"["]]]",[["#, 2), "the text closes nothing");
        assert!(!is_deeper_than(r#"["[[["]"#, 1));
        assert!(
            !is_deeper_than(r#"["\"[[["]"#, 1),
            "the quotation mark is escaped"
        );
    }
}
