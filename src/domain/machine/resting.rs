//! Having nothing to do: giving memory back, and leaving the rest to the endpoint's next subscriber.

use std::collections::BTreeMap;

use super::forgetting::Forgotten;
use super::under_way::UnderWay;
use super::{Action, EndpointMachine, REST_AFTER, REST_SOON_AFTER};
use crate::domain::machine::tally::{RetiredState, Tally};
use crate::domain::policy::breaker::Circuit;
use crate::domain::value::time::Timestamp;

impl EndpointMachine {
    /// Says whether nothing is in flight and everything is on record.
    pub(crate) fn is_drained(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Says whether nothing is in flight and nothing is about to start.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_drained() && self.queue.is_blocked() && self.due.is_empty()
    }

    /// Says whether it has rested, and nothing has happened since.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.rest_at == Some(Timestamp::NEVER)
    }

    /// Gives back memory and rests soon; for an endpoint that is quiet and has no connection worth keeping.
    pub(crate) fn rest_soon(&mut self, now: Timestamp) {
        self.rest_at = Some(now + REST_SOON_AFTER);
        self.shrink();
    }

    /// Says whether nothing is left of the endpoint but its tally, so that its subscriber can end and another can go on later.
    pub(crate) fn may_retire(&self) -> bool {
        !self.draining
            && !self.changing
            && self.is_quiet()
            && self.waiting.is_empty()
            && self.hold.is_none()
            && self.circuit.open_until().is_none()
            && self.unread.is_read()
            && self.tally.open == 0
    }

    /// Returns what the endpoint's next subscriber goes on from, when this one retires or panics.
    pub(crate) fn past(&self) -> RetiredState {
        let circuit = match self.circuit {
            // Its probe ends with the subscriber.
            Circuit::HalfOpen { wait, .. } => Circuit::HalfOpen { wait, probe: None },
            Circuit::Closed | Circuit::Open { .. } => self.circuit,
        };
        RetiredState {
            run: self.run,
            // What is open is counted again.
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
        match self.rest_at {
            Some(_) if !self.is_quiet() => self.rest_at = None,
            Some(Timestamp::NEVER) => {}
            Some(at) if at <= now => {
                self.rest_at = Some(Timestamp::NEVER);
                self.shrink();
                actions.push(Action::Rest);
            }
            None if self.is_quiet() => self.rest_at = Some(now + REST_AFTER),
            Some(_) | None => {}
        }
    }

    /// Gives back memory: an empty map keeps room for its next entries, and there may be many endpoints at rest.
    pub(super) fn shrink(&mut self) {
        self.queue.shrink();
        if self.under_way.is_empty() {
            self.under_way = UnderWay::default();
        }
        self.refused = Vec::new();
        self.forgotten = Forgotten::default();
        (self.due, self.loading) = (BTreeMap::new(), 0);
        if self.waiting.is_empty() {
            self.waiting = BTreeMap::new();
        }
    }
}
