//! The bodies that the subscribers of one engine have read from the store and hold in memory, under
//! one shared limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::domain::machine::bodies::{A_LITTLE, BodyBook};

/// The limit and its current use.
#[derive(Debug)]
pub(crate) struct Bodies {
    book: Mutex<BodyBook>,
    /// `true` if the limit is used up. Checked in every turn, without the lock.
    tight: AtomicBool,
}

impl Bodies {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            book: Mutex::new(BodyBook::new(limit)),
            tight: AtomicBool::new(limit == 0),
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut BodyBook) -> T) -> T {
        let mut book: MutexGuard<'_, _> = self.book.lock();
        let changed = change(&mut book);
        self.tight.store(book.is_tight(), Ordering::Relaxed);
        changed
    }
}

/// The share of one subscriber.
///
/// Nothing is counted for a subscriber that gets its deliveries from the router and reads none.
/// Dropping the share returns everything.
#[derive(Debug)]
pub(crate) struct BodyShare {
    bodies: Arc<Bodies>,
    counted: usize,
    /// The part of it that is being read.
    reading: usize,
}

impl BodyShare {
    pub(crate) fn new(bodies: Arc<Bodies>) -> Self {
        Self {
            bodies,
            counted: 0,
            reading: 0,
        }
    }

    /// Returns `true` if the limit is used up, so that each read gets only a little.
    pub(crate) fn is_tight(&self) -> bool {
        self.bodies.tight.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes that a read may bring, up to `room`.
    pub(crate) fn begin_read(&mut self, room: usize) -> usize {
        let wanted = room.saturating_sub(self.reading).max(1);
        let granted = self.bodies.change(|book| book.reserve(wanted));
        self.counted += granted;
        self.reading += granted;
        granted
    }

    /// Notes that a read has ended.
    pub(crate) fn end_read(&mut self, granted: usize) {
        self.reading = self.reading.saturating_sub(granted);
    }

    /// Counts the bytes that the subscriber holds in memory at the end of a turn.
    pub(crate) fn settle(&mut self, in_memory: usize) {
        let now = in_memory + self.reading;
        if self.counted == now || (self.counted.abs_diff(now) < A_LITTLE && now > 0) {
            return;
        }
        let before = std::mem::replace(&mut self.counted, now);
        self.bodies.change(|book| book.recount(before, now));
    }

    /// Returns `true` if any bytes are counted.
    pub(crate) fn is_counted(&self) -> bool {
        self.counted > 0
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        if self.counted > 0 {
            self.bodies.change(|book| book.recount(self.counted, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_counted_until_it_is_gone_and_at_the_latest_when_its_subscriber_ends() {
        let bodies = Bodies::new(4 * A_LITTLE);
        let mut one = BodyShare::new(Arc::clone(&bodies));
        one.settle(0);
        assert!(!one.is_counted());
        let granted = one.begin_read(4 * A_LITTLE);
        assert_eq!(granted, 4 * A_LITTLE);
        assert!(one.is_tight());
        assert_eq!(one.begin_read(4 * A_LITTLE), 1, "its room is being read");
        one.end_read(1);
        one.settle(0);
        assert!(one.is_tight(), "it is still being read");
        one.end_read(granted);
        one.settle(A_LITTLE);
        assert!(!one.is_tight() && one.is_counted());
        let mut other = BodyShare::new(Arc::clone(&bodies));
        assert_eq!(other.begin_read(8 * A_LITTLE), 3 * A_LITTLE);
        assert!(one.is_tight());
        drop(other);
        assert!(!one.is_tight());
        one.settle(0);
        assert!(!one.is_counted());
    }
}
