//! The threads that read. Each has a connection of its own, so that a slow query of an operator
//! keeps nobody from writing.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::Connection;

use super::error::store_error;
use crate::store::StoreError;

/// A read. It sends its answer itself.
pub(super) type Question = Box<dyn FnOnce(&Connection) + Send>;

/// The time limit of a query: while a query reads, the write-ahead log cannot start again.
pub(super) struct Deadline {
    begun: Arc<Mutex<Option<Instant>>>,
}

impl Deadline {
    /// Interrupts queries of a connection that take longer than `longest`.
    pub(super) fn new(connection: &mut Connection, longest: Duration) -> Result<Self, StoreError> {
        let begun = Arc::<Mutex<Option<Instant>>>::default();
        let watched = Arc::clone(&begun);
        let is_over = move || {
            let begun = *watched.lock();
            begun.is_some_and(|begun| begun.elapsed() > longest)
        };
        let watched = connection.progress_handler(STEPS, Some(is_over));
        watched.map_err(store_error)?;
        Ok(Self { begun })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how long it takes is no rule's business"
    )]
    fn begin(&self) {
        *self.begun.lock() = Some(Instant::now());
    }
}

/// Answers questions until the last sender is dropped.
pub(super) fn serve(
    connection: &Connection,
    questions: &Mutex<Receiver<Question>>,
    deadline: Option<&Deadline>,
) {
    loop {
        // The lock is held while waiting: one reader waits for the next question, the others for
        // the lock.
        let next = questions.lock().recv();
        let Ok(question) = next else { return };
        if let Some(deadline) = deadline {
            deadline.begin();
        }
        question(connection);
    }
}

/// The number of SQLite's virtual machine instructions between two looks at the clock: well under a
/// millisecond.
const STEPS: i32 = 10_000;
