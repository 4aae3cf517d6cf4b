//! The threads that read, each with a connection of its own, so that a slow question of an operator keeps nobody from writing.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::Connection;

use super::error::store_error;
use crate::store::StoreError;

/// Something to be read. It answers whoever waits.
pub(super) type Question = Box<dyn FnOnce(&Connection) + Send>;

/// By when an answer must be there: what is read meanwhile keeps the log from starting again.
pub(super) struct Deadline {
    begun: Arc<Mutex<Option<Instant>>>,
}

impl Deadline {
    /// Has questions of a connection broken off that take longer.
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

/// Answers until the last sender is gone.
pub(super) fn serve(
    connection: &Connection,
    questions: &Mutex<Receiver<Question>>,
    deadline: Option<&Deadline>,
) {
    loop {
        // The lock is held while waiting: one reader waits for the next question, the others for the lock.
        let next = questions.lock().recv();
        let Ok(question) = next else { return };
        if let Some(deadline) = deadline {
            deadline.begin();
        }
        question(connection);
    }
}

/// After how many steps of SQLite's machine the time is looked at: well under a millisecond.
const STEPS: i32 = 10_000;
