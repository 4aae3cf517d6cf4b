//! A delivery that waits for a retry and is to be attempted now, as an operator asks.
//!
//! The store makes it due first, so that a restart in between changes nothing. Its attempts and its
//! deadline stay as they are.

use super::{EndpointMachine, Rest, WaitingRetry};
use crate::domain::deliveries::delivery::WaitingDelivery;
use crate::domain::endpoint::due::AttemptNowAnswer;
use crate::domain::endpoint::policy::Ordering;
use crate::domain::endpoint::status::EndpointState;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;

impl EndpointMachine {
    /// Returns why a delivery cannot be made due, or `None` if the store is to do so; then
    /// [`on_made_due`](Self::on_made_due) follows. Asked once the endpoint is read.
    pub(crate) fn make_due(&mut self, now: Timestamp, id: DeliveryId) -> Option<AttemptNowAnswer> {
        if self.under_way.contains(id) {
            return Some(AttemptNowAnswer::UnderWay);
        }
        let by = self.status().state;
        match by {
            EndpointState::Paused
            | EndpointState::Disabled { .. }
            | EndpointState::RateLimited { .. }
            | EndpointState::CircuitOpen { .. } => return Some(AttemptNowAnswer::Blocked { by }),
            EndpointState::Idle | EndpointState::Delivering | EndpointState::BackingOff { .. } => {}
        }
        if self.forgotten.contains(id) {
            return Some(AttemptNowAnswer::NotOpen);
        }
        let is_due = self.waiting_since(id).is_some_and(|due_at| due_at <= now);
        if is_due || self.is_due_or_queued(id) {
            return Some(AttemptNowAnswer::UnderWay);
        }
        self.making_due = Some(id);
        None
    }

    /// Takes the store's answer: the delivery as it waits now, or `None` if it does not wait for a
    /// retry or the store failed. Returns `None` likewise.
    pub(crate) fn on_made_due(
        &mut self,
        found: Option<WaitingDelivery>,
    ) -> Option<AttemptNowAnswer> {
        let asked = self.making_due.take();
        let delivery = found?;
        let id = delivery.id;
        // An attempt recorded meanwhile has set another time, in the store too.
        let was_attempted = asked != Some(id) || self.under_way.contains(id);
        if was_attempted || self.forgotten.contains(id) || self.is_due_or_queued(id) {
            return Some(AttemptNowAnswer::UnderWay);
        }
        self.rest = Rest::Awake;
        let key = (delivery.due_at, id);
        let retry = WaitingRetry::retry(delivery.company_id, delivery.due_at);
        if let Some(due_at) = self.waiting_since(id) {
            self.waiting.remove(&(due_at, id));
            self.waiting.insert(key, retry);
            return Some(AttemptNowAnswer::Started);
        }
        // It was only in the store.
        self.waiting.insert(key, retry);
        self.spill();
        if self.policy.ordering != Ordering::Unordered {
            self.reorder(self.policy.ordering);
        }
        self.correct_count();
        Some(AttemptNowAnswer::Started)
    }

    /// Notes that an attempt of a delivery was recorded, which may be about to be made due.
    pub(super) fn note_attempted(&mut self, id: DeliveryId) {
        self.making_due = self.making_due.filter(|asked| *asked != id);
    }

    fn waiting_since(&self, id: DeliveryId) -> Option<Timestamp> {
        let mut keys = self.waiting.keys();
        keys.find(|(_, waiting)| *waiting == id)
            .map(|(due_at, _)| *due_at)
    }

    fn is_due_or_queued(&self, id: DeliveryId) -> bool {
        self.due.contains_key(&id) || self.has_test(id) || self.queue.contains(id)
    }
}
