//! The offset between the engine's time and the wall clock, from which the next engine continues.

use rusqlite::Connection;

use super::error::store_error;
use super::rows;
use super::writer::Writer;
use crate::domain::value::time::Timestamp;
use crate::store::{StoreError, StoredClock};

pub(super) fn clock(connection: &Connection) -> Result<StoredClock, StoreError> {
    let sql = "SELECT wall_ahead_ms, latest_at FROM webhook_store";
    let stored = connection.query_row(sql, [], |row| {
        Ok(StoredClock {
            wall_ahead_ms: row.get(0)?,
            latest: rows::maybe_time(row, 1)?,
        })
    });
    stored.map_err(store_error)
}

impl Writer<'_> {
    pub(super) fn keep_clock(&mut self, wall_ahead_ms: i64) -> Result<(), StoreError> {
        let sql = "UPDATE webhook_store SET wall_ahead_ms = ?1";
        let kept = self.connection.execute(sql, [wall_ahead_ms]);
        kept.map(drop).map_err(store_error)
    }

    /// Notes the time of a write. It is saved together with the ids, which costs nothing extra, or
    /// once a second.
    pub(super) fn note_time(&mut self, at: Timestamp) {
        self.latest.noted = self.latest.noted.max(Some(at.unix_millis()));
    }
}

/// The time of the latest write, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latest {
    pub(super) noted: Option<i64>,
    pub(super) saved: Option<i64>,
}

impl Latest {
    pub(super) fn is_worth_saving(self) -> bool {
        let saved = self.saved.unwrap_or(i64::MIN);
        let noted = self.noted.unwrap_or(i64::MIN);
        noted > saved.saturating_add(SAVED_EVERY_MS)
    }
}

const SAVED_EVERY_MS: i64 = 1_000;
