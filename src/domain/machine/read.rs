//! Reads of the store, from asking to answer: one way for every kind.

use super::unread::ReadKind;
use super::{Action, EndpointMachine, STORE_AGAIN_AFTER};
use crate::domain::deliveries::delivery::{Loaded, OpenPage, WaitingDelivery};
use crate::domain::endpoint::stored::StoredEndpoint;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;

/// What is to be read of the endpoint.
#[derive(Clone, Debug)]
pub(crate) enum Read {
    /// What the store knows of the endpoint itself.
    Endpoint,
    /// At most `limit` deliveries that were never attempted, those after this id.
    Queued { after: DeliveryId, limit: usize },
    /// The `limit` earliest deliveries that wait for a retry.
    Waiting { limit: usize },
    /// These deliveries, with their alerts.
    Due(Vec<DeliveryId>),
}

/// What a read has found.
#[derive(Debug)]
pub(crate) enum Found {
    Endpoint(StoredEndpoint),
    Queued(OpenPage),
    Waiting(Vec<WaitingDelivery>),
    Due(Loaded),
}

impl Read {
    /// Returns `true` if it brings bodies into memory.
    pub(crate) fn brings_bodies(&self) -> bool {
        matches!(self, Self::Queued { .. } | Self::Due(_))
    }
}

impl EndpointMachine {
    /// Takes what [`Action::Read`] has found.
    pub(crate) fn on_read(&mut self, read: &Read, found: Found) {
        match (read, found) {
            (Read::Endpoint, Found::Endpoint(known)) => self.on_endpoint_read(&known),
            (Read::Queued { .. }, Found::Queued(page)) => self.on_queued_read(page),
            (Read::Waiting { limit }, Found::Waiting(found)) => self.on_waiting_read(found, *limit),
            (Read::Due(asked), Found::Due(loaded)) => self.on_loaded(asked, loaded),
            (read, found) => debug_assert!(false, "{read:?} finds no {found:?}"),
        }
    }

    /// Notes that [`Action::Read`] failed: it is tried again a little later.
    pub(crate) fn on_read_failed(&mut self, now: Timestamp, read: &Read) {
        let again_at = now + STORE_AGAIN_AFTER;
        match read {
            Read::Endpoint => self.unread.failed(ReadKind::Endpoint, again_at),
            Read::Queued { .. } => self.unread.failed(ReadKind::Queued, again_at),
            Read::Waiting { .. } => self.unread.failed(ReadKind::Waiting, again_at),
            Read::Due(asked) => self.on_load_failed(again_at, asked),
        }
    }

    pub(super) fn read(&mut self, read: Read, actions: &mut Vec<Action>) {
        actions.push(Action::Read(read));
    }
}
