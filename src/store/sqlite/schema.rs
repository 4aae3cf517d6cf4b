//! The tables and their migrations. Any SQLite shell can read them.

use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::store_error;
use super::search::index_all;
use crate::store::StoreError;

/// The migrations; each raises the version of a file by one. A released one is never changed.
const MIGRATIONS: [&str; 5] = [
    // The store assigns ids in ascending order and never reuses one. `webhook_open` is small and
    // separate from what has ended, so that the hot path does not depend on how much is kept. Its
    // order is endpoint, then id, so that both reads of a subscriber are one walk.
    "CREATE TABLE webhook_endpoint (
         id INTEGER PRIMARY KEY,
         url TEXT NOT NULL UNIQUE,
         held_until INTEGER
     );
     CREATE TABLE webhook_event (
         seq INTEGER PRIMARY KEY,
         id TEXT NOT NULL UNIQUE,
         accepted_at INTEGER NOT NULL,
         first_alert INTEGER NOT NULL,
         alerts INTEGER NOT NULL,
         first_delivery INTEGER NOT NULL,
         deliveries INTEGER NOT NULL
     );
     CREATE TABLE webhook_alert (
         seq INTEGER PRIMARY KEY,
         id BLOB NOT NULL,
         event_id TEXT NOT NULL,
         rule_id TEXT NOT NULL,
         rule_type TEXT NOT NULL,
         client_id TEXT NOT NULL,
         company_id TEXT,
         format TEXT NOT NULL,
         accepted_at INTEGER NOT NULL,
         refs INTEGER NOT NULL,
         body BLOB NOT NULL
     );
     CREATE TABLE webhook_open (
         endpoint INTEGER NOT NULL,
         id INTEGER NOT NULL,
         alert INTEGER NOT NULL,
         accepted_at INTEGER NOT NULL,
         bytes INTEGER NOT NULL,
         attempts_made INTEGER NOT NULL DEFAULT 0,
         window_ends_at INTEGER,
         due_at INTEGER,
         PRIMARY KEY (endpoint, id)
     ) WITHOUT ROWID;
     CREATE INDEX webhook_waiting ON webhook_open (endpoint, due_at, id) WHERE due_at IS NOT NULL;
     CREATE TABLE webhook_ended (
         id INTEGER PRIMARY KEY,
         endpoint INTEGER NOT NULL,
         alert INTEGER NOT NULL,
         accepted_at INTEGER NOT NULL,
         ended_at INTEGER NOT NULL,
         attempts_made INTEGER NOT NULL,
         reason TEXT,
         listed INTEGER NOT NULL,
         -- The last attempt; those before it are in webhook_attempt.
         duration_ms INTEGER,
         status INTEGER,
         failure TEXT,
         redirects INTEGER,
         sent_twice INTEGER,
         excerpt BLOB
     );
     CREATE INDEX webhook_ended_by_endpoint ON webhook_ended (endpoint, id);
     CREATE INDEX webhook_dead_letter_by_endpoint ON webhook_ended (endpoint, id) WHERE listed = 1;
     CREATE INDEX webhook_dead_letter ON webhook_ended (id) WHERE listed = 1;
     CREATE TABLE webhook_attempt (
         delivery INTEGER NOT NULL,
         number INTEGER NOT NULL,
         at INTEGER NOT NULL,
         duration_ms INTEGER NOT NULL,
         status INTEGER,
         failure TEXT,
         redirects INTEGER NOT NULL,
         sent_twice INTEGER NOT NULL,
         excerpt BLOB NOT NULL,
         PRIMARY KEY (delivery, number)
     ) WITHOUT ROWID;
     CREATE TABLE webhook_redelivered (
         alert INTEGER NOT NULL,
         id INTEGER NOT NULL,
         PRIMARY KEY (alert, id)
     ) WITHOUT ROWID;
     CREATE TABLE webhook_rule (id TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE webhook_client (id TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE webhook_setting (url TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE webhook_paused (url TEXT PRIMARY KEY) WITHOUT ROWID;
     CREATE TABLE webhook_outbox (
         seq INTEGER PRIMARY KEY AUTOINCREMENT,
         event TEXT NOT NULL,
         refused TEXT
     );
     CREATE TABLE webhook_store (
         only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
         version INTEGER NOT NULL,
         last_delivery INTEGER NOT NULL,
         last_alert INTEGER NOT NULL
     );
     INSERT INTO webhook_store VALUES (1, 1, 0, 0);",
    "ALTER TABLE webhook_endpoint ADD COLUMN health TEXT;
     ALTER TABLE webhook_endpoint ADD COLUMN disabled TEXT;",
    // `webhook_past`: credentials that are no longer given, but that deliveries made under them may
    // still show. All times in the file are the engine's: `wall_ahead_ms` is the wall clock's lead
    // over it, `latest_at` the time of the latest write.
    "CREATE TABLE webhook_past (id TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
     ALTER TABLE webhook_store ADD COLUMN wall_ahead_ms INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE webhook_store ADD COLUMN latest_at INTEGER;
     -- Endpoints that were removed and are not to be called until they are asked for again.
     CREATE TABLE webhook_removed (url TEXT PRIMARY KEY) WITHOUT ROWID;
     -- What was agreed on with a receiver that asked for something, as JSON; NULL of all others.
     ALTER TABLE webhook_endpoint ADD COLUMN agreed TEXT;
     -- Ids of events are per client. The first client to use one has it as it is; with every other client it is
     -- followed by a line break and the client's id, which no id can hold. A row without a client is from before
     -- this version and counts for all of them. `content` is a digest.
     ALTER TABLE webhook_event ADD COLUMN client TEXT;
     ALTER TABLE webhook_event ADD COLUMN content BLOB;
     ALTER TABLE webhook_event ADD COLUMN shared INTEGER;
     CREATE INDEX webhook_event_shared ON webhook_event (seq) WHERE shared = 1;",
    // `webhook_term` finds deliveries by client, company, event, alert and rule; see
    // `search/terms.rs`, which also fills it.
    "CREATE TABLE webhook_term (
         block INTEGER NOT NULL,
         term INTEGER NOT NULL,
         first INTEGER NOT NULL,
         count INTEGER NOT NULL,
         PRIMARY KEY (block, term, first)
     ) WITHOUT ROWID;
     CREATE INDEX webhook_open_by_id ON webhook_open (id);
     CREATE INDEX webhook_given_up ON webhook_ended (reason, id) WHERE reason IS NOT NULL;
     CREATE INDEX webhook_given_up_by_id ON webhook_ended (id) WHERE reason IS NOT NULL;
     -- The type and the company of an event that no rule matched, as JSON.
     ALTER TABLE webhook_event ADD COLUMN unmatched TEXT;
     -- The delivery that was redelivered; NULL of redeliveries from before this version.
     ALTER TABLE webhook_redelivered ADD COLUMN of INTEGER;
     -- Redeliveries of everything that a filter finds, with their progress.
     CREATE TABLE webhook_redelivery (id INTEGER PRIMARY KEY AUTOINCREMENT, json TEXT NOT NULL);
     -- When an endpoint was paused or disabled, by whom, and why; NULL where it is not known.
     ALTER TABLE webhook_paused ADD COLUMN paused_at INTEGER;
     ALTER TABLE webhook_paused ADD COLUMN paused_by TEXT;
     ALTER TABLE webhook_paused ADD COLUMN note TEXT;
     ALTER TABLE webhook_endpoint ADD COLUMN disabled_at INTEGER;
     ALTER TABLE webhook_endpoint ADD COLUMN disabled_by TEXT;
     ALTER TABLE webhook_endpoint ADD COLUMN disabled_note TEXT;",
    // Where the last answer of an attempt came from, and what it was, as JSON; NULL of ordinary
    // successes, and of all attempts from before this version.
    "ALTER TABLE webhook_attempt ADD COLUMN trace TEXT;
     ALTER TABLE webhook_ended ADD COLUMN trace TEXT;",
];

/// The version from which on deliveries are in the index by terms.
const INDEXED: i64 = 4;

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
}

/// Opens a connection and applies its settings.
pub(super) fn connect(path: &std::path::Path, role: Role) -> Result<Connection, StoreError> {
    let flags = match role {
        Role::Writer => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Role::Reader => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    // Every connection stays on its thread.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(store_error)?;
    connection.busy_timeout(BUSY).map_err(store_error)?;
    connection.set_prepared_statement_cache_capacity(64);
    if role == Role::Writer {
        // Both affect a new file only. Setting `auto_vacuum` again would write to the file even if
        // nothing changes.
        pragma(&connection, "page_size = 8192")?;
        let vacuum: i64 = connection
            .pragma_query_value(None, "auto_vacuum", |row| row.get(0))
            .map_err(store_error)?;
        if vacuum != INCREMENTAL {
            pragma(&connection, "auto_vacuum = INCREMENTAL")?;
        }
    }
    pragma(&connection, "journal_mode = WAL")?;
    // A commit is on the disk before it is acknowledged.
    pragma(&connection, "synchronous = FULL")?;
    // The store runs checkpoints itself, so that none happens inside a commit.
    pragma(&connection, "wal_autocheckpoint = 0")?;
    pragma(&connection, "cache_size = -16384")?;
    pragma(&connection, "temp_store = MEMORY")?;
    if role == Role::Reader {
        pragma(&connection, "query_only = ON")?;
    }
    Ok(connection)
}

/// Migrates a file to the newest version, and runs `then` in the same transaction. The version is
/// kept in a table of ours, because the application may keep its own tables in the file.
pub(super) fn migrate(
    connection: &mut Connection,
    then: impl FnOnce(&Connection) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(store_error)?;
    let found = version(&transaction)?;
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration).map_err(store_error)?;
    }
    if found < INDEXED {
        index_all(&transaction).map_err(store_error)?;
    }
    if found < known {
        transaction
            .execute("UPDATE webhook_store SET version = ?1", [known])
            .map_err(store_error)?;
    }
    then(&transaction)?;
    transaction.commit().map_err(store_error)
}

/// Gives an empty file the schema of an earlier version.
#[cfg(test)]
pub(super) fn as_of(connection: &Connection, version: usize) -> rusqlite::Result<()> {
    for migration in MIGRATIONS.iter().take(version) {
        connection.execute_batch(migration)?;
    }
    connection
        .execute("UPDATE webhook_store SET version = ?1", [version])
        .map(drop)
}

/// Returns the version of a file; 0 if it has none of our tables.
fn version(connection: &Connection) -> Result<i64, StoreError> {
    let ours = connection
        .table_exists(None, "webhook_store")
        .map_err(store_error)?;
    if !ours {
        return Ok(0);
    }
    connection
        .query_row("SELECT version FROM webhook_store", [], |row| row.get(0))
        .map_err(store_error)
}

fn pragma(connection: &Connection, text: &str) -> Result<(), StoreError> {
    connection
        .execute_batch(&format!("PRAGMA {text}"))
        .map_err(store_error)
}

/// SQLite's number for `INCREMENTAL`.
const INCREMENTAL: i64 = 2;

/// The longest wait of a connection for another one to end its transaction: the application may
/// write to the same file.
pub(super) const BUSY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoredClock;
    use crate::store::sqlite::clock::clock;

    /// Earlier versions have no engine's time. Their times are wall times, from which the engine's
    /// time continues.
    #[test]
    fn a_file_of_the_version_before_is_one_whose_clock_was_never_set() {
        let mut file = Connection::open_in_memory().unwrap();
        for migration in &MIGRATIONS[..2] {
            file.execute_batch(migration).unwrap();
        }
        file.execute(
            "UPDATE webhook_store SET version = 2, last_delivery = 7",
            [],
        )
        .unwrap();
        migrate(&mut file, |_| Ok(())).unwrap();
        assert_eq!(clock(&file).unwrap(), StoredClock::default());
    }
}
