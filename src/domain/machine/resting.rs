//! An idle endpoint: it frees memory, and leaves its state to the endpoint's next subscriber.

use std::collections::{BTreeMap, VecDeque};

use super::forgetting::Forgotten;
use super::under_way::UnderWay;
use super::{Action, EndpointMachine, REST_AFTER, REST_SOON_AFTER};
use crate::domain::machine::tally::{RetiredState, Tally};
use crate::domain::policy::breaker::Circuit;
use crate::domain::value::time::Timestamp;

/// Whether the endpoint has had nothing to do for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Awake,
    /// It is quiet, and rests from this instant on if it stays so.
    At(Timestamp),
    /// It has given back what it needs only while it works.
    Resting,
}

impl Rest {
    pub(super) fn at(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Awake | Self::Resting => None,
        }
    }
}

impl EndpointMachine {
    /// Returns `true` if nothing is in flight and everything is recorded.
    pub(crate) fn is_drained(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Returns `true` if nothing is in flight and nothing is about to start.
    pub(crate) fn is_quiet(&self) -> bool {
        let waits = !self.queue.is_blocked() || !self.by_hand.is_empty() || !self.due.is_empty();
        self.is_drained() && !waits
    }

    /// Returns `true` if the endpoint has rested and nothing has happened since.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.rest == Rest::Resting
    }

    /// Frees memory and schedules an early rest, for a quiet endpoint without a connection worth
    /// keeping.
    pub(crate) fn rest_soon(&mut self, now: Timestamp) {
        self.rest = Rest::At(now + REST_SOON_AFTER);
        self.shrink();
    }

    /// Returns `true` if only the tally is left of the endpoint, so that its subscriber can end and
    /// another can go on later.
    pub(crate) fn may_retire(&self) -> bool {
        !self.control.draining
            && !self.control.changing
            && self.is_quiet()
            && self.waiting.is_empty()
            && self.hold.is_none()
            && self.circuit.open_until().is_none()
            && self.unread.is_read()
            && self.tally.open == 0
    }

    /// Returns the state for the endpoint's next subscriber, when this one retires or panics.
    pub(crate) fn past(&self) -> RetiredState {
        let circuit = match self.circuit {
            // Its probe ends with the subscriber.
            Circuit::HalfOpen { wait, .. } => Circuit::HalfOpen { wait, probe: None },
            Circuit::Closed | Circuit::Open { .. } => self.circuit,
        };
        RetiredState {
            run: self.control.run.clone(),
            // The next subscriber counts open deliveries again.
            tally: Tally {
                open: 0,
                ..self.tally
            },
            window: self.window,
            circuit,
            pacer: self.pacer,
            pace: self.pace.overloaded_at().map(|_| Box::new(self.pace)),
            hold: self.hold.map(Box::new),
            class: self.class,
            reports_lost: 0,
            is_known: self.is_known || self.endpoint_is_read(),
        }
    }

    pub(super) fn rest(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        match self.rest {
            Rest::At(_) | Rest::Resting if !self.is_quiet() => self.rest = Rest::Awake,
            Rest::At(at) if at <= now => {
                self.rest = Rest::Resting;
                self.shrink();
                actions.push(Action::Rest);
            }
            Rest::Awake if self.is_quiet() => self.rest = Rest::At(now + REST_AFTER),
            Rest::Awake | Rest::At(_) | Rest::Resting => {}
        }
    }

    /// Frees memory: an empty map keeps its capacity, and many endpoints may be at rest.
    pub(super) fn shrink(&mut self) {
        self.queue.shrink();
        if self.under_way.is_empty() {
            self.under_way = UnderWay::default();
        }
        self.refused = Vec::new();
        if self.by_hand.is_empty() {
            self.by_hand = VecDeque::new();
        }
        if !self.reads_deliveries() {
            self.forgotten = Forgotten::default();
        }
        (self.due, self.loading) = (BTreeMap::new(), 0);
        if self.waiting.is_empty() {
            self.waiting = BTreeMap::new();
        }
    }
}
