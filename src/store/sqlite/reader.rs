//! The threads that read, each with a connection of its own, so that a slow question of an operator keeps nobody from writing.

use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

/// Something to be read. It answers whoever waits.
pub(super) type Question = Box<dyn FnOnce(&Connection) + Send>;

/// Answers until the last sender is gone.
pub(super) fn serve(connection: &Connection, questions: &Mutex<Receiver<Question>>) {
    loop {
        // The lock is held while waiting: one reader waits for the next question, the others for the lock.
        let next = questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        match next {
            Ok(question) => question(connection),
            Err(_) => return,
        }
    }
}
