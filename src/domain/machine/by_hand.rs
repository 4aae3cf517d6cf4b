//! Tests that operators send: each is attempted once, at once, and says nothing about the endpoint.
//!
//! A test waits for nothing but a permit. It passes a pause, a disabling, a hold, an open circuit,
//! the pace, the window and the order, and changes none of them.

use super::{Action, EndpointMachine, MAX_UNRECORDED, Rest, WaitingRetry};
use crate::domain::deliveries::attempt::Exchange;
use crate::domain::deliveries::delivery::OpenDelivery;
use crate::domain::deliveries::outcome::{DeadLetterReason, Outcome};
use crate::domain::machine::read::Read;
use crate::domain::policy::response::ResponseClass;
use crate::domain::value::id::DeliveryId;

impl EndpointMachine {
    /// Takes the id of a test that was just stored, unless it has arrived already. It is read even
    /// if nothing else may be.
    pub(crate) fn on_test(&mut self, id: DeliveryId, actions: &mut Vec<Action>) {
        self.rest = Rest::Awake;
        if self.is_in_memory(id) || self.forgotten.contains(id) {
            return;
        }
        // It was counted when it was handed over, or is when the endpoint is read.
        self.unread.see(id);
        let test = WaitingRetry {
            may_have_ended: true,
            ..WaitingRetry::default()
        };
        self.due.insert(id, test);
        self.loading += 1;
        actions.push(Action::Read(Read::Due(vec![id])));
    }

    /// Puts a delivery that was never attempted into memory.
    pub(super) fn enqueue(&mut self, delivery: OpenDelivery) {
        if delivery.alert.is_test() {
            self.by_hand.push_back(delivery);
        } else {
            self.queue.push(self.policy.ordering, delivery);
        }
    }

    /// Returns the next test, if it may start.
    pub(super) fn next_test(&self) -> Option<&OpenDelivery> {
        let may_start = !self.control.withheld
            && !self.control.draining
            && self.endpoint_is_read()
            && self.in_flight() < self.policy.max_in_flight.max(1)
            && self.under_way.unrecorded() < MAX_UNRECORDED;
        self.by_hand.front().filter(|_| may_start)
    }

    /// Takes the next test out of memory, if it may start.
    pub(super) fn pop_test(&mut self) -> Option<OpenDelivery> {
        self.next_test()?;
        self.by_hand.pop_front()
    }

    pub(super) fn has_test(&self, id: DeliveryId) -> bool {
        self.by_hand.iter().any(|delivery| delivery.id == id)
    }

    /// Returns the number of bytes of bodies of tests in memory.
    pub(super) fn bytes_by_hand(&self) -> usize {
        let bodies = self.by_hand.iter().map(|test| test.alert.body.len());
        bodies.sum()
    }

    /// Returns the number of tests in memory that no other place counts.
    pub(super) fn count_by_hand(&self) -> usize {
        let counted = |test: &&OpenDelivery| !self.due.contains_key(&test.id);
        self.by_hand.iter().filter(counted).count()
    }

    /// Decides the end of a test: delivered, or given up. It is never retried.
    pub(super) fn judge_test(&self, exchange: &Exchange) -> Outcome {
        let (failure, transient) = match &exchange.result {
            Ok(answer) => match self.policy.responses.classify(answer.status) {
                ResponseClass::Delivered => return Outcome::Delivered,
                ResponseClass::Transient => (exchange.refused_with(answer.status), true),
                ResponseClass::Permanent | ResponseClass::Redirected => {
                    (exchange.refused_with(answer.status), false)
                }
            },
            Err(failure) => (*failure, failure.is_transient().unwrap_or(false)),
        };
        let reason = if transient {
            DeadLetterReason::AttemptsExhausted(failure)
        } else {
            DeadLetterReason::Permanent(failure)
        };
        Outcome::DeadLettered { reason }
    }
}
