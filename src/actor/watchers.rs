//! Watchers of statuses and reports. A slow watcher loses updates, which are counted; it never
//! slows a delivery.

use std::sync::atomic::{AtomicBool, Ordering};

use actix::prelude::SendError;
use actix::{Message, Recipient};
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::domain::endpoint::status::{DeliveryReport, EndpointStatus};

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
    M: Message<Result = ()> + Send + 'static,
{
    fn is_there(&self) -> bool {
        match self {
            Self::Actor(recipient) => recipient.connected(),
            Self::Channel(updates) => !updates.is_closed(),
        }
    }

    fn tell(&self, message: M) -> Told {
        match self {
            Self::Actor(recipient) => match recipient.try_send(message) {
                Ok(()) => Told::Taken,
                Err(SendError::Full(_)) => Told::Full,
                Err(SendError::Closed(_)) => Told::Gone,
            },
            Self::Channel(updates) => match updates.try_send(message) {
                Ok(()) => Told::Taken,
                Err(TrySendError::Full(_)) => Told::Full,
                Err(TrySendError::Closed(_)) => Told::Gone,
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
    watched: AtomicBool,
    watchers: RwLock<Vec<Watcher<M>>>,
}

impl<M> Default for WatchList<M>
where
    M: Message<Result = ()> + Send + 'static,
{
    fn default() -> Self {
        Self {
            watched: AtomicBool::new(false),
            watchers: RwLock::default(),
        }
    }
}

impl<M> WatchList<M>
where
    M: Message<Result = ()> + Clone + Send + 'static,
{
    pub(crate) fn add(&self, watcher: Watcher<M>) {
        let mut watchers = self.watchers.write();
        watchers.retain(Watcher::is_there);
        watchers.push(watcher);
        self.watched.store(true, Ordering::Relaxed);
    }

    /// Returns `true` if there are watchers, so that no update is built without one.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Sends a message to every watcher, and returns the number that had no room for it.
    pub(crate) fn tell(&self, message: &M) -> u64 {
        let (mut full, mut gone) = (0, false);
        for watcher in &*self.watchers.read() {
            match watcher.tell(message.clone()) {
                Told::Taken => {}
                Told::Full => full += 1,
                Told::Gone => gone = true,
            }
        }
        if gone {
            let mut watchers = self.watchers.write();
            watchers.retain(Watcher::is_there);
            self.watched.store(!watchers.is_empty(), Ordering::Relaxed);
        }
        full
    }
}
