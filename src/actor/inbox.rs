//! What arrives for a subscriber: a short list beside its mailbox.
//!
//! Deliveries are not messages of their own. A subscriber that waits for a place has no use for being woken by each of them: it finds them when its
//! turn comes. What the list has no room for is only counted; it is in the store.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};

use actix::Addr;

use super::subscriber::SubscriberActor;
use crate::domain::delivery::OpenDelivery;

/// How a running subscriber is reached.
#[derive(Clone, Debug)]
pub(crate) struct SubscriberHandle {
    pub(crate) addr: Addr<SubscriberActor>,
    pub(crate) inbox: Arc<Inbox>,
}

/// The subscriber has ended; its supervisor has to start it again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

/// Deliveries that are in the store and on their way to a subscriber.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    arrived: Mutex<Arrived>,
    /// Set in the subscriber's first turn, before it looks.
    waker: OnceLock<Waker>,
}

#[derive(Debug, Default)]
struct Arrived {
    /// In the order of their ids.
    deliveries: Vec<OpenDelivery>,
    /// How many came after those and are in the store alone.
    missed: u64,
    /// Whether the subscriber will look by itself.
    looks_later: bool,
    closed: bool,
}

impl Inbox {
    /// Hands over deliveries that are in the store, in the order of their ids, and leaves `deliveries` empty.
    pub(crate) fn deliver(&self, deliveries: &mut Vec<OpenDelivery>) -> Result<(), Gone> {
        self.put(|arrived| {
            // Nothing may pass what was missed.
            let room = if arrived.missed == 0 {
                CAPACITY.saturating_sub(arrived.deliveries.len())
            } else {
                0
            };
            if arrived.deliveries.is_empty() && deliveries.len() <= room {
                std::mem::swap(&mut arrived.deliveries, deliveries);
                return;
            }
            let taken = deliveries.len().min(room);
            arrived.deliveries.extend(deliveries.drain(..taken));
            arrived.missed += u64::try_from(deliveries.len()).unwrap_or(u64::MAX);
        })?;
        deliveries.clear();
        Ok(())
    }

    /// Tells the subscriber that the store holds `count` deliveries more than it was told of.
    pub(crate) fn nudge(&self, count: u64) -> Result<(), Gone> {
        self.put(|arrived| arrived.missed += count)
    }

    fn put(&self, change: impl FnOnce(&mut Arrived)) -> Result<(), Gone> {
        let mut arrived = self.lock();
        if arrived.closed {
            return Err(Gone);
        }
        let is_first = arrived.is_empty() && !arrived.looks_later;
        change(&mut arrived);
        let wakes = is_first && !arrived.is_empty();
        drop(arrived);
        if wakes && let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
        Ok(())
    }

    /// Has the task of `cx`, which is always the same one, woken when something arrives.
    pub(crate) fn listen(&self, cx: &Context<'_>) {
        self.waker.get_or_init(|| cx.waker().clone());
    }

    /// Exchanges an empty list for what has arrived, and returns how many were missed after that.
    pub(crate) fn take(&self, deliveries: &mut Vec<OpenDelivery>) -> u64 {
        debug_assert!(deliveries.is_empty(), "what was taken before is used up");
        let mut arrived = self.lock();
        arrived.looks_later = false;
        std::mem::swap(&mut arrived.deliveries, deliveries);
        std::mem::take(&mut arrived.missed)
    }

    /// Has nobody wake the subscriber before it looks the next time.
    pub(crate) fn look_later(&self) {
        let mut arrived = self.lock();
        arrived.looks_later = arrived.is_empty();
    }

    /// Closes the inbox, unless something is in it. Says whether it is closed.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut arrived = self.lock();
        arrived.closed = arrived.is_empty();
        arrived.closed
    }

    /// Closes the inbox, whatever is in it: that is in the store.
    pub(crate) fn close(&self) {
        let mut arrived = self.lock();
        arrived.closed = true;
        arrived.deliveries = Vec::new();
    }

    /// Gives back memory.
    pub(crate) fn shrink(&self) {
        self.lock().deliveries.shrink_to_fit();
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrived {
    fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.missed == 0
    }
}

/// How many deliveries wait here with their alerts at most.
const CAPACITY: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::domain::alert::Alert;
    use crate::domain::id::DeliveryId;

    use crate::domain::retry::Progress;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn deliveries(ids: std::ops::Range<u64>) -> Vec<OpenDelivery> {
        let alert = Arc::new(Alert::example(None));
        let delivery = |id| OpenDelivery {
            id: DeliveryId::new(id),
            alert: Arc::clone(&alert),
            progress: Progress::default(),
            due_at: None,
        };
        ids.map(delivery).collect()
    }

    #[test]
    fn what_has_no_room_is_counted_and_nothing_passes_it() {
        let inbox = Inbox::default();
        inbox
            .deliver(&mut deliveries(0..CAPACITY as u64 + 3))
            .unwrap();
        let mut taken = Vec::new();
        // Room again, but not before the subscriber has looked.
        inbox.deliver(&mut deliveries(100..101)).unwrap();
        assert_eq!(inbox.take(&mut taken), 4);
        assert_eq!(taken.len(), CAPACITY);
        taken.clear();
        inbox.deliver(&mut deliveries(101..102)).unwrap();
        assert_eq!((inbox.take(&mut taken), taken.len()), (0, 1));
    }

    #[test]
    fn a_subscriber_is_woken_by_the_first_arrival_unless_it_looks_later() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let inbox = Inbox::default();
        inbox.listen(&Context::from_waker(&waker));
        let woken = |inbox: &Inbox| {
            let before = count.0.load(Ordering::Relaxed);
            inbox.deliver(&mut deliveries(0..1)).unwrap();
            count.0.load(Ordering::Relaxed) - before
        };
        assert_eq!([woken(&inbox), woken(&inbox)], [1, 0], "it is on its way");
        inbox.look_later();
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        taken.clear();
        assert_eq!(woken(&inbox), 1, "it has looked since");
        inbox.take(&mut taken);
        inbox.look_later();
        assert_eq!(woken(&inbox), 0);
    }

    #[test]
    fn a_closed_inbox_takes_nothing_and_one_with_something_in_it_stays_open() {
        let inbox = Inbox::default();
        inbox.nudge(1).unwrap();
        assert!(!inbox.close_if_empty());
        inbox.take(&mut Vec::new());
        assert!(inbox.close_if_empty());
        let mut late = deliveries(0..1);
        assert!(inbox.deliver(&mut late).is_err());
        assert_eq!(late.len(), 1);
        assert!(inbox.nudge(1).is_err());
    }
}
