//! Reads of the store, from request to result, handled alike for every kind.

use super::unread::ReadKind;
use super::{EndpointMachine, Rest, STORE_AGAIN_AFTER};
use crate::domain::deliveries::delivery::{Loaded, OpenPage, WaitingDelivery};
use crate::domain::endpoint::stored::StoredEndpoint;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;

/// A read of the store for the endpoint.
#[derive(Clone, Debug)]
pub(crate) enum Read {
    /// The stored state of the endpoint itself.
    Endpoint,
    /// At most `limit` never-attempted deliveries with an id above `after`.
    Queued { after: DeliveryId, limit: usize },
    /// The `limit` earliest deliveries that wait for a retry.
    Waiting { limit: usize },
    /// These deliveries, with their alerts.
    Due(Vec<DeliveryId>),
}

/// The result of a read.
#[derive(Debug)]
pub(crate) enum Found {
    Endpoint(StoredEndpoint),
    Queued(OpenPage),
    Waiting(Vec<WaitingDelivery>),
    Due(Loaded),
}

impl Read {
    /// Returns `true` if the read brings bodies into memory.
    pub(crate) fn brings_bodies(&self) -> bool {
        matches!(self, Self::Queued { .. } | Self::Due(_))
    }
}

impl EndpointMachine {
    /// Takes the result of [`Action::Read`](super::Action::Read).
    pub(crate) fn on_read(&mut self, read: &Read, found: Found) {
        // Else one that rested while the store could not be read would never retire.
        self.rest = Rest::Awake;
        match (read, found) {
            (Read::Endpoint, Found::Endpoint(known)) => self.on_endpoint_read(&known),
            (Read::Queued { .. }, Found::Queued(page)) => self.on_queued_read(page),
            (Read::Waiting { limit }, Found::Waiting(found)) => self.on_waiting_read(found, *limit),
            (Read::Due(asked), Found::Due(loaded)) => self.on_loaded(asked, loaded),
            (read, found) => debug_assert!(false, "{read:?} finds no {found:?}"),
        }
    }

    /// Schedules a failed [`Action::Read`](super::Action::Read) again, [`STORE_AGAIN_AFTER`] from
    /// now.
    pub(crate) fn on_read_failed(&mut self, now: Timestamp, read: &Read) {
        let again_at = now + STORE_AGAIN_AFTER;
        match read {
            Read::Endpoint => self.unread.failed(ReadKind::Endpoint, again_at),
            Read::Queued { .. } => self.unread.failed(ReadKind::Queued, again_at),
            Read::Waiting { .. } => self.unread.failed(ReadKind::Waiting, again_at),
            Read::Due(asked) => self.on_load_failed(again_at, asked),
        }
    }
}
