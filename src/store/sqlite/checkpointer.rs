//! WAL checkpoints that do not stall the writer.
//!
//! A thread with a connection of its own checkpoints the bulk of the write-ahead log while the
//! writer goes on. The writer itself checkpoints the few pages written meanwhile, between two
//! commits. Then the log starts again from its beginning.
//!
//! A reader of an older state blocks the checkpoint of later pages, for example a shell left in a
//! transaction, or a slow copy. Then the log grows. The store reports since when and how long the
//! log is, and retries with exponential backoff, so that the writer does not stall repeatedly.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::error::store_error;
use super::schema::BUSY;
use crate::domain::value::time::Timestamp;
use crate::store::StoreError;

/// The state of the log, shared by the writer and the thread.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The number of pages in the log as of the last commit.
    pages: AtomicU64,
    page_bytes: AtomicU64,
    /// The number of pages from which the log counts as long.
    long: AtomicU64,
    /// Set by the thread when it has checkpointed the bulk.
    moved: AtomicBool,
    stuck: Mutex<Stuck>,
}

/// The state of a checkpoint that a reader blocks.
#[derive(Debug, Default)]
struct Stuck {
    /// The number of pages checkpointed the last time.
    moved: u64,
    /// The time since which the checkpoint makes no progress.
    since: Option<Timestamp>,
    /// Set once this was reported.
    told: bool,
}

impl Log {
    fn length(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    fn is_long(&self, times: u64) -> bool {
        self.length() > times * self.long.load(Ordering::Relaxed)
    }

    fn stuck(&self) -> MutexGuard<'_, Stuck> {
        self.stuck.lock()
    }

    /// Notes the result of a checkpoint.
    fn note(&self, checkpoint: Checkpoint, now: Timestamp) {
        let mut stuck = self.stuck();
        let goes_on = checkpoint.moved == checkpoint.pages || checkpoint.moved != stuck.moved;
        stuck.moved = checkpoint.moved;
        if goes_on {
            if std::mem::take(&mut stuck.told) {
                log::info!("delivery store's write-ahead log can be checkpointed again");
            }
            stuck.since = None;
            return;
        }
        stuck.since.get_or_insert(now);
        if self.is_long(MUCH_TOO_LONG) && !std::mem::replace(&mut stuck.told, true) {
            log::warn!("{}", self.describe(stuck.since));
        }
    }

    /// Returns a description of the problem, if the log is long enough to need attention.
    pub(super) fn trouble(&self) -> Option<String> {
        let stuck = self.stuck();
        stuck.told.then(|| self.describe(stuck.since))
    }

    fn describe(&self, since: Option<Timestamp>) -> String {
        let bytes = self.length() * self.page_bytes.load(Ordering::Relaxed);
        let since = since
            .map(|since| format!(" since {since}"))
            .unwrap_or_default();
        format!(
            "delivery store's write-ahead log could not be checkpointed{since} and has grown to {} KiB: a long read \
             transaction blocks it; end that transaction (a shell, a slow copy of the file)",
            bytes / 1_024
        )
    }
}

thread_local! {
    /// The number of pages in the log at the last commit of this thread, the writer's. It is
    /// thread-local because SQLite's WAL hook is a plain function without state of its own.
    static PAGES: Cell<u64> = const { Cell::new(0) };
}

#[expect(clippy::unnecessary_wraps, reason = "that is what a hook returns")]
fn note_pages(_: &Wal, pages: i32) -> rusqlite::Result<()> {
    PAGES.set(u64::try_from(pages).unwrap_or(0));
    Ok(())
}

/// The writer's part: it watches the length of the log.
pub(super) struct Checkpointer {
    log: Arc<Log>,
    wake: SyncSender<()>,
    asked: bool,
    /// When the thread may be asked again (`ask`), and when the writer may wait for readers again
    /// (`insist`).
    ask: Pause,
    insist: Pause,
}

/// An exponential backoff.
#[derive(Default)]
struct Pause {
    until: Option<Instant>,
    length: Duration,
}

impl Pause {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// Doubles the pause.
    fn lengthen(&mut self, now: Instant, first: Duration, longest: Duration) {
        self.length = (self.length * 2).clamp(first, longest);
        self.until = Some(now + self.length);
    }
}

impl Checkpointer {
    pub(super) fn new(
        connection: &mut Connection,
        wake: SyncSender<()>,
        log: Arc<Log>,
        log_bytes: u64,
    ) -> Result<Self, StoreError> {
        connection.wal_hook(Some(note_pages));
        let page: u64 = connection
            .pragma_query_value(None, "page_size", |row| row.get(0))
            .map_err(store_error)?;
        let long = (log_bytes / page.max(1)).max(SHORTEST);
        log.page_bytes.store(page, Ordering::Relaxed);
        log.long.store(long, Ordering::Relaxed);
        // After a restart the log's file keeps its length up to this limit: overwriting costs much
        // less than extending a file.
        let kept = page
            .saturating_mul(long + long / 4)
            .min(i64::MAX.unsigned_abs());
        connection
            .execute_batch(&format!("PRAGMA journal_size_limit = {kept}"))
            .map_err(store_error)?;
        Ok(Self {
            log,
            wake,
            asked: false,
            ask: Pause::default(),
            insist: Pause::default(),
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how often the log is moved is no rule's business"
    )]
    pub(super) fn after_commit(&mut self, connection: &Connection) {
        self.log.pages.store(PAGES.get(), Ordering::Relaxed);
        if self.asked {
            if self.log.moved.swap(false, Ordering::Acquire) {
                self.asked = false;
                self.finish(connection, Instant::now());
            }
            return;
        }
        if self.log.is_long(1) && self.ask.is_over(Instant::now()) {
            self.ask();
        }
    }

    /// Checkpoints the pages written while the thread checkpointed the bulk.
    fn finish(&mut self, connection: &Connection, now: Instant) {
        if checkpoint(connection, Mode::Passive).is_some_and(Checkpoint::is_complete) {
            (self.ask, self.insist) = (Pause::default(), Pause::default());
            return;
        }
        self.ask.lengthen(now, FIRST_PAUSE, LONGEST_PAUSE);
        if self.log.is_long(MUCH_TOO_LONG) && self.insist.is_over(now) {
            // Readers that begin now do not need the log. Older ones are waited for, but not for
            // long.
            let waited = connection.busy_timeout(LONGEST_WAIT);
            let done = checkpoint(connection, Mode::Restart).is_some_and(Checkpoint::is_complete);
            if let Err(error) = waited.and_then(|()| connection.busy_timeout(BUSY)) {
                log::warn!(error:? = error; "busy timeout of the delivery store's writer could not be set: {error}");
            }
            if done {
                (self.ask, self.insist) = (Pause::default(), Pause::default());
            } else {
                self.insist
                    .lengthen(now, LONGEST_PAUSE, LONGEST_INSIST_PAUSE);
            }
        }
    }

    /// Requests a checkpoint, however short the log is.
    pub(super) fn ask(&mut self) {
        if !self.asked {
            // A checkpoint that was made for an earlier request does not count.
            self.log.moved.store(false, Ordering::Relaxed);
            // The channel holds one signal, which is enough.
            self.asked = self.wake.try_send(()).is_ok();
        }
    }
}

/// The thread's part.
#[expect(
    clippy::disallowed_methods,
    reason = "for the record: since when the log is stuck"
)]
pub(super) fn keep(connection: &Connection, woken: &Receiver<()>, log: &Log) {
    loop {
        let wanted = if log.stuck().since.is_some() {
            // Check again even if nothing more is written: the reader may have ended.
            woken.recv_timeout(LONGEST_PAUSE)
        } else {
            woken.recv().map_err(RecvTimeoutError::from)
        };
        if wanted == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        if let Some(moved) = checkpoint(connection, Mode::Passive) {
            log.note(moved, Timestamp::from(std::time::SystemTime::now()));
        }
        if wanted.is_ok() {
            log.moved.store(true, Ordering::Release);
        }
    }
}

/// The kind of checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Checkpoints as many pages as no reader blocks.
    Passive,
    /// Waits for readers and checkpoints everything, so that the log starts again.
    Restart,
}

/// The result of a checkpoint.
#[derive(Clone, Copy, Debug)]
struct Checkpoint {
    /// Whether another connection blocked it.
    busy: bool,
    pages: u64,
    moved: u64,
}

impl Checkpoint {
    fn is_complete(self) -> bool {
        !self.busy && self.moved == self.pages
    }
}

fn checkpoint(connection: &Connection, mode: Mode) -> Option<Checkpoint> {
    let sql = match mode {
        Mode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Mode::Restart => "PRAGMA wal_checkpoint(RESTART)",
    };
    let pages = |row: &rusqlite::Row<'_>, column| {
        let pages: i64 = row.get(column)?;
        Ok::<_, rusqlite::Error>(u64::try_from(pages).unwrap_or(0))
    };
    let done = connection.query_row(sql, [], |row| {
        Ok(Checkpoint {
            busy: row.get(0)?,
            pages: pages(row, 1)?,
            moved: pages(row, 2)?,
        })
    });
    done.inspect_err(|error| {
        log::warn!(error:? = error; "WAL checkpoint failed; the log grows until one succeeds: {error}");
    })
    .ok()
}

/// The multiple of the long length at which the writer waits for readers, and the problem is
/// reported.
const MUCH_TOO_LONG: u64 = 4;

/// The longest time for which the writer waits for readers.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// The first and the longest pause between two checkpoints that readers block.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause before the writer waits for readers again.
const LONGEST_INSIST_PAUSE: Duration = Duration::from_mins(1);

/// The number of pages up to which the log never counts as long.
const SHORTEST: u64 = 4;
