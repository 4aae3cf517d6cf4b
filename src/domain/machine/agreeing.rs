//! The endpoint's agreement with its receiver: when attempts may start, and which part of that is
//! stored.
//!
//! Changes made by an attempt are written with its record. The turns of a rate limit are written
//! *before* attempts start, several at a time, because attempts in flight at a crash leave no
//! record.

use std::time::Duration;

use super::{Action, EndpointMachine, Rest, STORE_AGAIN_AFTER, WaitingRetry};
use crate::domain::policy::agreed::{Agreed, Hold, OpenCircuit, Overload};
use crate::domain::policy::breaker::Circuit;
use crate::domain::policy::pace::Pace;
use crate::domain::policy::rate::{Pacer, RateLimit};
use crate::domain::value::time::Timestamp;

/// The time until which the store has reserved attempts of an endpoint with a rate limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reserved {
    until: Option<Timestamp>,
    /// The time that the store was asked to write.
    asked_for: Option<Timestamp>,
    /// When the store is asked again after a failure.
    again_at: Option<Timestamp>,
}

/// The state before an attempt, for the parts that the attempt may change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreement {
    pub(super) hold: Option<Hold>,
    overloaded_at: Option<Timestamp>,
    circuit: Circuit,
    failures_in_a_row: u32,
}

impl EndpointMachine {
    /// Returns the time to keep between two attempts; `None` if they may follow at once.
    pub(super) fn interval(&self) -> Option<Duration> {
        let limit = self.policy.rate_limit.map(RateLimit::interval);
        limit.max(self.pace.interval())
    }

    pub(super) fn held_until(&self) -> Option<Timestamp> {
        self.hold.map(|hold| hold.until)
    }

    /// Returns when the rate limit or the receiver's pace allows the next attempt; `None` if it may
    /// start now.
    pub(super) fn pace(&self, now: Timestamp) -> Option<Timestamp> {
        self.pacer.not_before(self.interval()?, now)
    }

    /// Records when the next attempt may start, if a delivery waits only for that.
    pub(super) fn pace_next(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.pace.on_wake(now) {
            self.window.forget();
        }
        self.paced_until = None;
        // Any other obstacle to asking has its own wake-up.
        self.reserved.again_at = self.reserved.again_at.filter(|at| *at > now);
        if self.interval().is_none() {
            return;
        }
        self.pacer.forget_future(now);
        if !self.queue.is_blocked() {
            self.paced_until = self.pace(now);
            self.reserve(now, actions);
        }
    }

    /// Records that an attempt starts.
    pub(super) fn take_turn(&mut self, now: Timestamp) {
        let Some(interval) = self.interval() else {
            return;
        };
        self.pacer.on_start(interval, now);
        if is_slow(interval) {
            // The next turn lies beyond the reserved time.
            self.reserved.until = None;
        }
    }

    /// Returns `true` if the store has reserved an attempt for now.
    pub(super) fn is_reserved(&self, now: Timestamp) -> bool {
        self.policy.rate_limit.is_none() || self.reserved.until.is_some_and(|until| now <= until)
    }

    /// Reserves turns in the store before their attempts start.
    fn reserve(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(limit) = self.policy.rate_limit else {
            return;
        };
        let may_ask = self.reserved.asked_for.is_none() && self.reserved.again_at.is_none();
        // For short intervals, reserve the next turns before the current ones run out.
        let ahead = ahead(limit.interval());
        let left = self.reserved.until.map(|until| until.since(now));
        if may_ask && self.would_start(now) && left.is_none_or(|left| left < ahead / 4) {
            let until = now + ahead;
            self.reserved.asked_for = Some(until);
            actions.push(Action::Agree(self.agreed()));
        }
    }

    /// Records that the store has written `Action::Agree`.
    pub(crate) fn on_agreed(&mut self) {
        if let Some(until) = self.reserved.asked_for.take() {
            self.reserved.until = self.reserved.until.max(Some(until));
        }
    }

    /// Schedules another `Action::Agree`, because the store could not write it.
    pub(crate) fn on_agree_failed(&mut self, now: Timestamp) {
        if self.reserved.asked_for.take().is_some() {
            self.reserved.again_at = Some(now + STORE_AGAIN_AFTER);
        }
    }

    /// Returns when a failed reservation is repeated, if a delivery waits for it.
    pub(super) fn reserve_again_at(&self) -> Option<Timestamp> {
        self.reserved.again_at.filter(|_| !self.queue.is_blocked())
    }

    pub(super) fn agreement(&self) -> Agreement {
        Agreement {
            hold: self.hold,
            overloaded_at: self.pace.overloaded_at(),
            circuit: self.circuit,
            failures_in_a_row: self.tally.consecutive_transient,
        }
    }

    /// Returns the agreement to store, if an attempt has changed it.
    pub(super) fn agreed_since(&self, before: Agreement) -> Option<Box<Agreed>> {
        let breaker = self.policy.circuit_breaker.is_some();
        let changed = self.hold != before.hold
            || self.pace.overloaded_at() != before.overloaded_at
            || self.circuit != before.circuit
            || (breaker && self.tally.consecutive_transient != before.failures_in_a_row);
        let slow = |limit: RateLimit| is_slow(limit.interval());
        let changed = changed || self.policy.rate_limit.is_some_and(slow);
        changed.then(|| Box::new(self.agreed()))
    }

    /// Returns the agreement to store.
    pub(super) fn agreed(&self) -> Agreed {
        let breaker = self.policy.circuit_breaker.is_some();
        let circuit = match self.circuit {
            Circuit::Closed => None,
            Circuit::Open { until, wait } => Some(OpenCircuit { until, wait }),
            Circuit::HalfOpen { wait, .. } => Some(OpenCircuit {
                until: Timestamp::default(),
                wait,
            }),
        };
        let overload = self.pace.overloaded_at().map(|at| Overload {
            at,
            interval_us: self
                .pace
                .interval()
                .map(|interval| u64::try_from(interval.as_micros()).unwrap_or(u64::MAX)),
            too_many: self.window.too_many(),
        });
        let reserved = self.reserved.asked_for.max(self.reserved.until);
        Agreed {
            hold: self.hold,
            last_turn: self
                .policy
                .rate_limit
                .and_then(|_| reserved.max(self.pacer.last())),
            circuit,
            failures_in_a_row: if breaker {
                self.tally.consecutive_transient
            } else {
                0
            },
            overload,
        }
    }

    /// Restores the state that another process stored for the endpoint.
    pub(super) fn remember(&mut self, hold: Option<Hold>, agreed: &Agreed) {
        let longer = |hold: &Hold| self.hold.is_none_or(|known| known.until < hold.until);
        self.hold = hold.filter(longer).or(self.hold);
        if self.policy.circuit_breaker.is_some() {
            self.circuit = agreed.circuit();
            self.tally.consecutive_transient = agreed.failures_in_a_row;
        }
        if let Some(last) = agreed.last_turn {
            self.pacer = Pacer::after(last);
        }
        if let Some(overload) = agreed.overload {
            let interval = overload.interval_us.map(Duration::from_micros);
            self.pace = Pace::known(interval, overload.at);
            self.pacer.begin(overload.at);
            if let Some(too_many) = overload.too_many {
                self.window.on_overload(too_many);
            }
        }
    }

    /// Lifts the hold and the open circuit, because an operator knows better. The rate limit stays.
    pub(super) fn lift(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        self.lifted |= !self.endpoint_is_read();
        let opens = self.circuit.open_until().is_some();
        self.circuit
            .look_again(self.policy.circuit_breaker.as_ref());
        if let Some(hold) = self.hold.take() {
            self.window.restart();
            let waited = |due_at: &Timestamp| hold.made_wait(*due_at);
            let keys: Vec<_> = self.waiting.keys().copied().collect();
            for key in keys.iter().filter(|(due_at, _)| waited(due_at)) {
                if let Some(due) = self.waiting.remove(key) {
                    let due = WaitingRetry { at: now, ..due };
                    self.waiting.insert((now, key.1), due);
                }
            }
            for record in &mut self.refused {
                record.hold_until = None;
                record.next_attempt_at = record
                    .next_attempt_at
                    .map(|due_at| if waited(&due_at) { now } else { due_at });
            }
        } else if !opens {
            return;
        }
        // The endpoint rested with only that to wait for.
        self.rest = Rest::Awake;
        let agreed = self.agreed();
        for record in &mut self.refused {
            record.agreed = record.agreed.take().map(|_| Box::new(agreed.clone()));
        }
        // The store has lifted it too, but an attempt that ended meanwhile may have been written
        // later.
        actions.push(Action::Agree(agreed));
    }
}

/// Returns `true` if attempts are so rare that each is reserved separately.
fn is_slow(interval: Duration) -> bool {
    interval >= Duration::from_secs(1)
}

/// Returns how far ahead turns are reserved. After a crash an endpoint may wait too long by up to
/// this much.
fn ahead(interval: Duration) -> Duration {
    if is_slow(interval) {
        Duration::from_millis(500)
    } else {
        Duration::from_secs(1)
    }
}
