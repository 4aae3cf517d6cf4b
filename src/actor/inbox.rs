//! What arrives for a subscriber: a short list beside its mailbox.
//!
//! Deliveries are not messages of their own. A subscriber that waits for a permit has no use for being woken by each of them: it finds them when its
//! turn comes, and one that is about to need a permit has somebody else wait for it. What the list has no room for is only counted; it is in the store.

use std::sync::Arc;

use actix::Addr;
use parking_lot::{Mutex, MutexGuard};

use super::permits::{Claim, Need, Permits, Waiter};
use super::subscriber::SubscriberActor;
use crate::domain::deliveries::delivery::OpenDelivery;

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
#[derive(Debug)]
pub(crate) struct Inbox {
    arrived: Mutex<Arrived>,
    permits: Arc<Permits>,
    waiter: Arc<Waiter>,
}

#[derive(Debug, Default)]
struct Arrived {
    /// In the order of their ids.
    deliveries: Vec<OpenDelivery>,
    /// How many came after those and are in the store alone.
    missed: u64,
    on_arrival: OnArrival,
    /// What was claimed when the first of them came.
    claim: Option<Claim>,
    closed: bool,
}

/// What the first arrival does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnArrival {
    /// It wakes the subscriber.
    #[default]
    Wake,
    /// It takes a permit and wakes the subscriber, or queues for a permit on its behalf: a subscriber could do no more with it.
    Claim(Need),
    /// It waits until the subscriber looks by itself.
    Wait,
}

impl Inbox {
    /// Returns the inbox of a subscriber that takes its permits from these.
    pub(crate) fn new(permits: Arc<Permits>) -> Self {
        Self {
            arrived: Mutex::default(),
            permits,
            waiter: Arc::default(),
        }
    }

    /// Returns where its subscriber is woken.
    pub(crate) fn waiter(&self) -> Arc<Waiter> {
        Arc::clone(&self.waiter)
    }

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
        let was_empty = arrived.is_empty();
        change(&mut arrived);
        let wakes = was_empty && !arrived.is_empty() && self.first_wakes(&mut arrived);
        drop(arrived);
        if wakes {
            self.waiter.wake();
        }
        Ok(())
    }

    /// Does what the first arrival does, and says whether the subscriber has to be woken.
    fn first_wakes(&self, arrived: &mut Arrived) -> bool {
        match arrived.on_arrival {
            OnArrival::Wait => false,
            OnArrival::Wake => true,
            OnArrival::Claim(need) => {
                let Some(first) = arrived.deliveries.first() else {
                    // What is in the store alone has to be read before a permit is of use.
                    return true;
                };
                let claim = self
                    .permits
                    .claim(need, &first.alert.client_id, &self.waiter);
                let has_permit = matches!(claim, Claim::Permit(_));
                arrived.claim = Some(claim);
                has_permit
            }
        }
    }

    /// Exchanges an empty list for what has arrived, and returns how many were missed after that, and what was claimed. Until
    /// [`until_next_look`](Self::until_next_look) says otherwise, arrivals wake the subscriber.
    pub(crate) fn take(&self, deliveries: &mut Vec<OpenDelivery>) -> (u64, Option<Claim>) {
        debug_assert!(deliveries.is_empty(), "what was taken before is used up");
        let mut arrived = self.lock();
        arrived.on_arrival = OnArrival::Wake;
        std::mem::swap(&mut arrived.deliveries, deliveries);
        (std::mem::take(&mut arrived.missed), arrived.claim.take())
    }

    /// Says what the first arrival does before the subscriber looks the next time.
    pub(crate) fn until_next_look(&self, on_arrival: OnArrival) {
        let mut arrived = self.lock();
        // What has arrived meanwhile has woken it.
        if arrived.is_empty() {
            arrived.on_arrival = on_arrival;
        }
    }

    /// Closes the inbox, unless something is in it. Says whether it is closed.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut arrived = self.lock();
        arrived.closed = arrived.is_empty();
        arrived.closed
    }

    /// Closes the inbox, whatever is in it: that is in the store. Returns what was claimed.
    pub(crate) fn close(&self) -> Option<Claim> {
        let mut arrived = self.lock();
        arrived.closed = true;
        arrived.deliveries = Vec::new();
        arrived.claim.take()
    }

    /// Gives back memory.
    pub(crate) fn shrink(&self) {
        self.lock().deliveries.shrink_to_fit();
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock()
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
    use std::task::{Context, Wake, Waker};

    use super::*;
    use crate::actor::permits::Holdings;
    use crate::domain::deliveries::alert::Alert;
    use crate::domain::machine::permits::PermitClass;
    use crate::domain::value::id::DeliveryId;

    use crate::domain::policy::retry::Progress;

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

    const CLASS: PermitClass = PermitClass::Prompt;

    /// Returns what an arrival does for a subscriber that may start.
    fn claims(inbox: &Inbox) -> OnArrival {
        let holdings = Holdings::new(Arc::clone(&inbox.permits), inbox.waiter(), 0);
        OnArrival::Claim(holdings.need(CLASS))
    }

    fn inbox() -> Inbox {
        Inbox::new(Permits::new(4))
    }

    /// Delivers one, and says whether the subscriber was woken for it.
    fn wakes(inbox: &Inbox, count: &Count) -> bool {
        let before = count.0.load(Ordering::Relaxed);
        inbox.deliver(&mut deliveries(0..1)).unwrap();
        count.0.load(Ordering::Relaxed) > before
    }

    #[test]
    fn what_has_no_room_is_counted_and_nothing_passes_it() {
        let inbox = inbox();
        inbox
            .deliver(&mut deliveries(0..CAPACITY as u64 + 3))
            .unwrap();
        let mut taken = Vec::new();
        // Room again, but not before the subscriber has looked.
        inbox.deliver(&mut deliveries(100..101)).unwrap();
        assert_eq!(inbox.take(&mut taken).0, 4);
        assert_eq!(taken.len(), CAPACITY);
        taken.clear();
        inbox.deliver(&mut deliveries(101..102)).unwrap();
        assert_eq!((inbox.take(&mut taken).0, taken.len()), (0, 1));
    }

    #[test]
    fn a_subscriber_is_woken_by_the_first_arrival_unless_it_looks_by_itself() {
        let (inbox, count) = (inbox(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));
        inbox.waiter().listen(&Context::from_waker(&waker));
        assert!(wakes(&inbox, &count));
        assert!(!wakes(&inbox, &count), "it is on its way");
        inbox.until_next_look(OnArrival::Wait);
        let mut taken = Vec::new();
        let _ = inbox.take(&mut taken);
        taken.clear();
        assert!(wakes(&inbox, &count), "it has looked since");
        let _ = inbox.take(&mut taken);
        inbox.until_next_look(OnArrival::Wait);
        assert!(!wakes(&inbox, &count));
    }

    #[test]
    fn the_first_arrival_takes_a_place_or_waits_for_one() {
        let (permits, count) = (Permits::new(4), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));
        let claiming = || {
            let inbox = Inbox::new(Arc::clone(&permits));
            inbox.waiter().listen(&Context::from_waker(&waker));
            inbox.until_next_look(claims(&inbox));
            inbox
        };
        let inboxes: Vec<Inbox> = (0..5).map(|_| claiming()).collect();
        let woken: Vec<bool> = inboxes.iter().map(|inbox| wakes(inbox, &count)).collect();
        assert_eq!(woken, [true, true, true, true, false]);
        // The last is woken once a permit is free, with its arrival and its turn.
        let first = inboxes[0].take(&mut Vec::new()).1;
        assert!(matches!(first, Some(Claim::Permit(_))), "{first:?}");
        drop(first);
        assert_eq!(count.0.load(Ordering::Relaxed), 5);
        let mut holdings = Holdings::new(Arc::clone(&permits), inboxes[4].waiter(), 0);
        let mut taken = Vec::new();
        let (_, claim) = inboxes[4].take(&mut taken);
        holdings.adopt(claim.expect("it has waited"));
        holdings.accept();
        assert_eq!(taken.len(), 1);
        assert!(holdings.take(CLASS, &"c".into()).is_some());
    }

    #[test]
    fn what_was_claimed_for_a_subscriber_that_ends_goes_to_others() {
        let permits = Permits::new(4);
        let claim = |inbox: &Inbox| {
            inbox.until_next_look(claims(inbox));
            inbox.deliver(&mut deliveries(0..1)).unwrap();
        };
        let inboxes: Vec<Inbox> = (0..5).map(|_| Inbox::new(Arc::clone(&permits))).collect();
        inboxes.iter().for_each(claim);
        for inbox in inboxes {
            let mut holdings = Holdings::new(Arc::clone(&permits), inbox.waiter(), 0);
            holdings.adopt(inbox.close().expect("something was claimed"));
        }
        let others = (0..5).map(|_| Holdings::new(Arc::clone(&permits), Arc::default(), 0));
        let mut others: Vec<Holdings> = others.collect();
        let taken = others
            .iter_mut()
            .filter_map(|other| other.take(CLASS, &"c".into()));
        assert_eq!(taken.count(), 4);
    }

    #[test]
    fn a_backlog_in_the_store_claims_nothing() {
        let (inbox, count) = (inbox(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));
        inbox.waiter().listen(&Context::from_waker(&waker));
        inbox.until_next_look(claims(&inbox));
        inbox.nudge(1).unwrap();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(inbox.close().is_none());
    }

    #[test]
    fn a_closed_inbox_takes_nothing_and_one_with_something_in_it_stays_open() {
        let inbox = inbox();
        inbox.nudge(1).unwrap();
        assert!(!inbox.close_if_empty());
        let _ = inbox.take(&mut Vec::new());
        assert!(inbox.close_if_empty());
        let mut late = deliveries(0..1);
        assert!(inbox.deliver(&mut late).is_err());
        assert_eq!(late.len(), 1);
        assert!(inbox.nudge(1).is_err());
    }
}
