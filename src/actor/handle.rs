//! How a subscriber is reached by those who only have news for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::Addr;
use actix::prelude::SendError;

use super::message::{Deliver, Nudge};
use super::subscriber::SubscriberActor;
use crate::domain::delivery::OpenDelivery;

/// The address of a running subscriber, and what its full mailbox had no place for.
#[derive(Clone, Debug)]
pub(crate) struct SubscriberHandle {
    pub(crate) addr: Addr<SubscriberActor>,
    /// Deliveries that are in the store and that the subscriber has not been told of.
    pub(crate) missed: Arc<AtomicU64>,
}

/// The subscriber has ended; its supervisor has to start it again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

impl SubscriberHandle {
    /// Hands over deliveries that are in the store. What a full mailbox has no place for, the subscriber reads from the store.
    pub(crate) fn deliver(&self, deliveries: Vec<OpenDelivery>) -> Result<(), Gone> {
        match self.addr.try_send(Deliver(deliveries)) {
            Ok(()) => Ok(()),
            Err(SendError::Full(Deliver(deliveries))) => self.note_missed(deliveries.len()),
            Err(SendError::Closed(_)) => Err(Gone),
        }
    }

    /// Tells the subscriber that the store holds `count` deliveries more than it was told of.
    pub(crate) fn nudge(&self, count: u64) -> Result<(), Gone> {
        match self.addr.try_send(Nudge(count)) {
            Ok(()) => Ok(()),
            Err(SendError::Full(Nudge(count))) => {
                self.note_missed(usize::try_from(count).unwrap_or(usize::MAX))
            }
            Err(SendError::Closed(_)) => Err(Gone),
        }
    }

    fn note_missed(&self, count: usize) -> Result<(), Gone> {
        self.missed.fetch_add(
            u64::try_from(count).unwrap_or(u64::MAX).max(1),
            Ordering::Relaxed,
        );
        // The subscriber looks at the count after every message. If the mailbox was drained between the failure and the count, this wakes
        // it; if it is full again, there is a message after which it looks.
        match self.addr.try_send(Nudge(0)) {
            Ok(()) | Err(SendError::Full(_)) => Ok(()),
            Err(SendError::Closed(_)) => Err(Gone),
        }
    }
}
