//! Who wants to be told: watchers of statuses and of reports. A slow one loses updates, counted; it never slows a delivery.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use actix::prelude::SendError;
use actix::{Message, Recipient};

use crate::domain::status::{DeliveryReport, EndpointStatus};

/// The watchers of an engine.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    pub(crate) statuses: WatchList<EndpointStatus>,
    pub(crate) reports: WatchList<DeliveryReport>,
}

/// The watchers of one kind of message.
#[derive(Debug)]
pub(crate) struct WatchList<M>
where
    M: Message<Result = ()> + Send + 'static,
{
    watched: AtomicBool,
    recipients: RwLock<Vec<Recipient<M>>>,
}

impl<M> Default for WatchList<M>
where
    M: Message<Result = ()> + Send + 'static,
{
    fn default() -> Self {
        Self {
            watched: AtomicBool::new(false),
            recipients: RwLock::default(),
        }
    }
}

impl<M> WatchList<M>
where
    M: Message<Result = ()> + Clone + Send + 'static,
{
    pub(crate) fn add(&self, recipient: Recipient<M>) {
        let mut recipients = self
            .recipients
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        recipients.retain(Recipient::connected);
        recipients.push(recipient);
        self.watched.store(true, Ordering::Relaxed);
    }

    /// Says whether anyone watches, so that nothing is made for nobody.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Tells every watcher, and returns how many had no place for it.
    pub(crate) fn tell(&self, message: &M) -> u64 {
        let (mut full, mut gone) = (0, false);
        for recipient in &*self
            .recipients
            .read()
            .unwrap_or_else(PoisonError::into_inner)
        {
            match recipient.try_send(message.clone()) {
                Ok(()) => {}
                Err(SendError::Full(_)) => full += 1,
                Err(SendError::Closed(_)) => gone = true,
            }
        }
        if gone {
            let mut recipients = self
                .recipients
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            recipients.retain(Recipient::connected);
            self.watched
                .store(!recipients.is_empty(), Ordering::Relaxed);
        }
        full
    }
}
