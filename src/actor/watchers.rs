//! Watchers of statuses and reports, of all endpoints or of one. A slow watcher loses updates,
//! which are counted; it never slows a delivery.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use actix::prelude::SendError;
use actix::{Message, Recipient};
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::domain::endpoint::status::{DeliveryReport, EndpointStatus};
use crate::domain::value::url::WebhookUrl;

/// The watchers of an engine.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    pub(crate) statuses: WatchList<EndpointStatus>,
    pub(crate) reports: WatchList<DeliveryReport>,
}

/// The destination of updates: an actor or a channel.
#[derive(Debug)]
pub(crate) enum Watcher<M>
where
    M: Message<Result = ()> + Send + 'static,
{
    Actor(Recipient<M>),
    Channel(mpsc::Sender<M>),
    /// A channel whose consumer wants no more than fits, and asks for the number of the others.
    Sample(mpsc::Sender<M>, Arc<AtomicU64>),
}

/// The result of sending to a watcher.
enum Told {
    Taken,
    /// The watcher's mailbox or channel is full.
    Full,
    /// The watcher is gone.
    Gone,
}

impl<M> Watcher<M>
where
    M: Message<Result = ()> + Clone + Send + 'static,
{
    fn is_there(&self) -> bool {
        match self {
            Self::Actor(recipient) => recipient.connected(),
            Self::Channel(updates) | Self::Sample(updates, _) => !updates.is_closed(),
        }
    }

    /// Sends the message, which is made only if there is room for it.
    fn tell(&self, message: &LazyCell<M, impl FnOnce() -> M>) -> Told {
        match self {
            Self::Actor(recipient) => match recipient.try_send((**message).clone()) {
                Ok(()) => Told::Taken,
                Err(SendError::Full(_)) => Told::Full,
                Err(SendError::Closed(_)) => Told::Gone,
            },
            Self::Channel(updates) => match updates.try_reserve() {
                Ok(room) => {
                    room.send((**message).clone());
                    Told::Taken
                }
                Err(TrySendError::Full(())) => Told::Full,
                Err(TrySendError::Closed(())) => Told::Gone,
            },
            Self::Sample(updates, missed) => match updates.try_reserve() {
                Ok(room) => {
                    room.send((**message).clone());
                    Told::Taken
                }
                Err(TrySendError::Full(())) => {
                    missed.fetch_add(1, Ordering::Relaxed);
                    Told::Taken
                }
                Err(TrySendError::Closed(())) => Told::Gone,
            },
        }
    }
}

/// The watchers of one kind of message.
#[derive(Debug)]
pub(crate) struct WatchList<M>
where
    M: Message<Result = ()> + Send + 'static,
{
    /// Whether there are watchers of all endpoints, and of single ones.
    watched: AtomicU8,
    watchers: RwLock<Lists<M>>,
}

#[derive(Debug)]
struct Lists<M>
where
    M: Message<Result = ()> + Send + 'static,
{
    of_all: Vec<Watcher<M>>,
    of_one: HashMap<WebhookUrl, Vec<Watcher<M>>>,
}

impl<M> Default for WatchList<M>
where
    M: Message<Result = ()> + Send + 'static,
{
    fn default() -> Self {
        let lists = Lists {
            of_all: Vec::new(),
            of_one: HashMap::new(),
        };
        Self {
            watched: AtomicU8::new(0),
            watchers: RwLock::new(lists),
        }
    }
}

impl<M> WatchList<M>
where
    M: Message<Result = ()> + Clone + Send + 'static,
{
    /// Adds a watcher of all endpoints, or of one.
    pub(crate) fn add(&self, watcher: Watcher<M>, of: Option<WebhookUrl>) {
        let mut lists = self.watchers.write();
        lists.drop_gone();
        match of {
            None => lists.of_all.push(watcher),
            Some(url) => lists.of_one.entry(url).or_default().push(watcher),
        }
        self.watched.store(lists.watched(), Ordering::Relaxed);
    }

    /// Returns `true` if the endpoint has watchers, so that no update is built without one.
    pub(crate) fn is_watched(&self, url: &WebhookUrl) -> bool {
        match self.watched.load(Ordering::Relaxed) {
            0 => false,
            OF_ONE => self.watchers.read().of_one.contains_key(url),
            _ => true,
        }
    }

    /// Sends a message to every watcher of the endpoint, and returns the number that had no room
    /// for it.
    pub(crate) fn tell(&self, url: &WebhookUrl, make: impl FnOnce() -> M) -> u64 {
        let (mut full, mut gone) = (0, false);
        let message = LazyCell::new(make);
        let lists = self.watchers.read();
        let of_one = lists.of_one.get(url).into_iter().flatten();
        for watcher in lists.of_all.iter().chain(of_one) {
            match watcher.tell(&message) {
                Told::Taken => {}
                Told::Full => full += 1,
                Told::Gone => gone = true,
            }
        }
        drop(lists);
        if gone {
            let mut lists = self.watchers.write();
            lists.drop_gone();
            self.watched.store(lists.watched(), Ordering::Relaxed);
        }
        full
    }
}

impl<M> Lists<M>
where
    M: Message<Result = ()> + Clone + Send + 'static,
{
    fn drop_gone(&mut self) {
        self.of_all.retain(Watcher::is_there);
        self.of_one.retain(|_, watchers| {
            watchers.retain(Watcher::is_there);
            !watchers.is_empty()
        });
    }

    fn watched(&self) -> u8 {
        let of_all = if self.of_all.is_empty() { 0 } else { OF_ALL };
        let of_one = if self.of_one.is_empty() { 0 } else { OF_ONE };
        of_all | of_one
    }
}

const OF_ALL: u8 = 1;
const OF_ONE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, Message)]
    #[rtype(result = "()")]
    struct Update(u8);

    fn url(text: &str) -> WebhookUrl {
        WebhookUrl::parse(text).unwrap()
    }

    #[test]
    fn a_watcher_of_one_endpoint_gets_nothing_of_another() {
        let list = WatchList::default();
        let (all, mut all_told) = mpsc::channel(10);
        let (one, mut one_told) = mpsc::channel(10);
        let (watched, other) = (url("https://a.test/"), url("https://b.test/"));
        assert!(!list.is_watched(&watched));
        list.add(Watcher::Channel(one), Some(watched.clone()));
        assert!(list.is_watched(&watched) && !list.is_watched(&other));
        list.add(Watcher::Channel(all), None);
        assert!(list.is_watched(&other));
        assert_eq!(list.tell(&watched, || Update(1)), 0);
        assert_eq!(list.tell(&other, || Update(2)), 0);
        assert_eq!(one_told.try_recv(), Ok(Update(1)));
        assert!(one_told.try_recv().is_err());
        assert_eq!(
            (all_told.try_recv(), all_told.try_recv()),
            (Ok(Update(1)), Ok(Update(2)))
        );
    }

    #[test]
    fn nothing_is_watched_once_all_watchers_are_gone() {
        let list = WatchList::default();
        let watched = url("https://a.test/");
        for of in [None, Some(watched.clone())] {
            let (updates, told) = mpsc::channel(10);
            list.add(Watcher::Channel(updates), of);
            drop(told);
            assert!(list.is_watched(&watched), "nobody has noticed");
            list.tell(&watched, || Update(1));
            assert!(!list.is_watched(&watched));
        }
    }

    /// Building a report for each of many thousand attempts a second would slow deliveries down.
    #[test]
    fn what_does_not_fit_into_a_sample_is_counted_and_never_built() {
        let list = WatchList::default();
        let (updates, mut told) = mpsc::channel(1);
        let (watched, missed) = (url("https://a.test/"), Arc::default());
        list.add(Watcher::Sample(updates, Arc::clone(&missed)), None);
        let mut built = 0;
        for number in 1..=5 {
            let full = list.tell(&watched, || {
                built += 1;
                Update(number)
            });
            assert_eq!(full, 0, "it is no loss");
        }
        assert_eq!((built, missed.load(Ordering::Relaxed)), (1, 4));
        assert_eq!(told.try_recv(), Ok(Update(1)));
    }

    #[test]
    fn a_watcher_without_room_counts_as_one_that_missed_something() {
        let list = WatchList::default();
        let (updates, _told) = mpsc::channel(1);
        list.add(Watcher::Channel(updates), None);
        let watched = url("https://a.test/");
        assert_eq!(list.tell(&watched, || Update(1)), 0);
        assert_eq!(list.tell(&watched, || Update(2)), 1);
    }
}
