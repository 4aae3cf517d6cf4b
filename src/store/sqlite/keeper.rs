//! Moving the write-ahead log into the file, without stalling the writer.
//!
//! A thread with a connection of its own does the bulk of it beside the writer. What was written meanwhile the writer moves itself, between two
//! commits: little enough not to be felt. Then the log starts again from its beginning.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::error::store_error;
use super::schema::BUSY;
use crate::store::StoreError;

/// The writer's part: it looks at how long the log is.
pub(super) struct Keeper {
    /// How many pages are in the log, as of the last commit.
    pages: Arc<AtomicU64>,
    wake: SyncSender<()>,
    /// Set by the thread when the bulk is moved.
    moved: Arc<AtomicBool>,
    asked: bool,
}

impl Keeper {
    pub(super) fn new(
        connection: &mut Connection,
        wake: SyncSender<()>,
        moved: Arc<AtomicBool>,
    ) -> Result<Self, StoreError> {
        let pages = Arc::<AtomicU64>::default();
        let told = Arc::clone(&pages);
        let note = move |_: &mut Wal, pages: i32| {
            told.store(u64::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(note)).map_err(store_error)?;
        let page: u64 = connection
            .pragma_query_value(None, "page_size", |row| row.get(0))
            .map_err(store_error)?;
        // The file of a log that starts again keeps its length, up to this: to write over what is there costs much less than to make a file longer.
        connection
            .execute_batch(&format!("PRAGMA journal_size_limit = {}", page * KEPT_LOG))
            .map_err(store_error)?;
        Ok(Self {
            pages,
            wake,
            moved,
            asked: false,
        })
    }

    fn length(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    pub(super) fn after_commit(&mut self, connection: &Connection) {
        if self.asked {
            if self.moved.swap(false, Ordering::Acquire) {
                self.asked = false;
                checkpoint(connection);
                if self.length() > MUCH_TOO_LONG * LONG_LOG {
                    insist(connection);
                }
            }
            return;
        }
        if self.length() > LONG_LOG {
            self.ask();
        }
    }

    /// Has the log moved into the file, however short it is.
    pub(super) fn ask(&mut self) {
        if !self.asked {
            // Nothing that was moved for somebody else before counts.
            self.moved.store(false, Ordering::Relaxed);
            // One signal fits, and one is all that is needed.
            self.asked = self.wake.try_send(()).is_ok();
        }
    }
}

/// Has the log start again although others read from it all the time: they are waited for, but not for long. Those that begin to read now do
/// not need the log any more.
fn insist(connection: &Connection) {
    let restarted = connection
        .busy_timeout(LONGEST_WAIT)
        .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())))
        .and_then(|()| connection.busy_timeout(BUSY));
    if let Err(error) = restarted {
        log::warn!(error:? = error; "log could not be moved into the file; it grows until it can");
    }
}

/// The thread's part.
pub(super) fn keep(connection: &Connection, woken: &Receiver<()>, moved: &AtomicBool) {
    while woken.recv().is_ok() {
        checkpoint(connection);
        moved.store(true, Ordering::Release);
    }
}

/// Moves as much of the log as nobody reads any more.
fn checkpoint(connection: &Connection) {
    let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = moved {
        log::warn!(error:? = error; "log could not be moved into the file; it grows until it can");
    }
}

/// At how many times that length readers are waited for.
const MUCH_TOO_LONG: u64 = 4;

/// For how long the writer waits for them.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// From how many pages on the log is moved into the file.
const LONG_LOG: u64 = 8_000;

/// To how many pages the file of a log that starts again is cut.
const KEPT_LOG: u64 = LONG_LOG + LONG_LOG / 4;
