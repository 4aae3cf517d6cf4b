//! The circuit breaker of an endpoint (Nygard, *Release It!*). Opt-in: the alert service has none.
//!
//! After several transient failures in a row nothing is sent for a while. Then one attempt probes
//! whether the receiver is back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::value::backoff::Backoff;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;

/// When a circuit breaker opens, and for how long.
///
/// While it is open, no attempt is made and none is counted. The time does not count against a
/// delivery's retry window.
///
/// ```
/// use std::time::Duration;
/// use actix_webhooks::CircuitBreaker;
///
/// let breaker = CircuitBreaker::after(3).waits(Duration::from_secs(1), Duration::from_secs(30));
/// assert_eq!(breaker, CircuitBreaker::after(3).waits(Duration::from_secs(1), Duration::from_secs(30)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "GivenBreaker")]
pub struct CircuitBreaker {
    failures: u32,
    #[serde(
        rename = "firstWaitMs",
        alias = "firstWait",
        with = "crate::domain::value::millis::exact"
    )]
    first_wait: Duration,
    #[serde(
        rename = "longestWaitMs",
        alias = "longestWait",
        with = "crate::domain::value::millis::exact"
    )]
    longest_wait: Duration,
}

/// A breaker as read from JSON, before limits apply.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GivenBreaker {
    failures: u32,
    #[serde(
        rename = "firstWaitMs",
        alias = "firstWait",
        with = "crate::domain::value::millis::exact"
    )]
    first_wait: Duration,
    #[serde(
        rename = "longestWaitMs",
        alias = "longestWait",
        with = "crate::domain::value::millis::exact"
    )]
    longest_wait: Duration,
}

impl From<GivenBreaker> for CircuitBreaker {
    fn from(given: GivenBreaker) -> Self {
        Self::after(given.failures).waits(given.first_wait, given.longest_wait)
    }
}

impl CircuitBreaker {
    /// Returns the number of transient failures in a row that open it.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns how long it is open the first time.
    pub fn first_wait(&self) -> Duration {
        self.first_wait
    }

    /// Returns how long it is open at most.
    pub fn longest_wait(&self) -> Duration {
        self.longest_wait
    }

    /// Returns a breaker that opens after `failures` transient failures in a row (0 counts as 1).
    ///
    /// It opens for 5 s first, then twice as long after every failed probe, at most 60 s.
    pub fn after(failures: u32) -> Self {
        Self {
            failures: failures.max(1),
            first_wait: Duration::from_secs(5),
            longest_wait: Duration::from_mins(1),
        }
    }

    /// Sets the first and the longest wait while the circuit is open. Defaults to 5 s and 60 s.
    ///
    /// Waits over 24 h count as 24 h. The longest wait is at least the first.
    #[must_use]
    pub fn waits(mut self, first: Duration, longest: Duration) -> Self {
        const MOST: Duration = Duration::from_hours(24);
        self.first_wait = first.min(MOST);
        self.longest_wait = longest.clamp(self.first_wait, MOST);
        self
    }
}

/// The state of a circuit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Circuit {
    /// Attempts may start.
    #[default]
    Closed,
    /// No attempt starts.
    Open { until: Timestamp, wait: Duration },
    /// One attempt at a time probes whether the receiver is back.
    HalfOpen {
        wait: Duration,
        probe: Option<DeliveryId>,
    },
}

impl Circuit {
    /// Returns `true` if an attempt may start.
    pub(crate) fn lets_through(self) -> bool {
        match self {
            Self::Closed | Self::HalfOpen { probe: None, .. } => true,
            Self::Open { .. } | Self::HalfOpen { probe: Some(_), .. } => false,
        }
    }

    /// Returns when the open circuit allows a probe; `None` unless it is open.
    pub(crate) fn open_until(self) -> Option<Timestamp> {
        match self {
            Self::Open { until, .. } => Some(until),
            Self::Closed | Self::HalfOpen { .. } => None,
        }
    }

    /// Advances to `now`. Returns `true` if the circuit has become half-open.
    pub(crate) fn on_wake(&mut self, now: Timestamp) -> bool {
        match *self {
            Self::Open { until, wait } if until <= now => {
                *self = Self::HalfOpen { wait, probe: None };
                true
            }
            Self::Open { .. } | Self::Closed | Self::HalfOpen { .. } => false,
        }
    }

    /// Probes at once, because the settings changed or the application asked for it. Closes the
    /// circuit if there is no breaker.
    pub(crate) fn look_again(&mut self, breaker: Option<&CircuitBreaker>) {
        let wanted = breaker.is_some();
        *self = match *self {
            Self::Open { wait, .. } if wanted => Self::HalfOpen { wait, probe: None },
            Self::HalfOpen { .. } if wanted => return,
            Self::Open { .. } | Self::HalfOpen { .. } | Self::Closed => Self::Closed,
        };
    }

    /// Records the start of an attempt.
    pub(crate) fn on_start(&mut self, id: DeliveryId) {
        if let Self::HalfOpen { probe, .. } = self {
            *probe = Some(id);
        }
    }

    /// Records any answer that is not transient: the receiver is back.
    pub(crate) fn on_answer(&mut self) {
        *self = Self::Closed;
    }

    /// Records a transient failure, the `in_a_row`th in a row. Returns the end of the wait if the
    /// circuit has just opened.
    pub(crate) fn on_failure(
        &mut self,
        breaker: &CircuitBreaker,
        id: DeliveryId,
        in_a_row: u32,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let wait = match *self {
            Self::Closed if in_a_row >= breaker.failures => breaker.first_wait,
            Self::HalfOpen { wait, probe } if probe == Some(id) => {
                Backoff::new(breaker.first_wait, breaker.longest_wait).longer_than(wait)
            }
            // Attempts that were in flight when the circuit opened reveal nothing new.
            Self::Closed | Self::Open { .. } | Self::HalfOpen { .. } => return None,
        };
        let until = now + wait;
        *self = Self::Open { until, wait };
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_millis(0);

    fn second(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    fn id(number: u64) -> DeliveryId {
        DeliveryId::new(number)
    }

    #[test]
    fn without_a_breaker_a_circuit_that_is_looked_at_again_is_closed() {
        let breaker = CircuitBreaker::after(1);
        for open in [
            Circuit::Open {
                until: Timestamp::NEVER,
                wait: Duration::from_secs(9),
            },
            Circuit::HalfOpen {
                wait: Duration::from_secs(9),
                probe: None,
            },
        ] {
            let mut circuit = open;
            circuit.look_again(Some(&breaker));
            let (wait, probe) = (Duration::from_secs(9), None);
            assert_eq!(circuit, Circuit::HalfOpen { wait, probe });
            circuit.look_again(None);
            assert_eq!(circuit, Circuit::Closed);
        }
    }

    #[test]
    fn it_opens_after_so_many_failures_in_a_row() {
        let breaker = CircuitBreaker::after(3);
        let mut circuit = Circuit::default();
        for in_a_row in 1..3 {
            assert_eq!(circuit.on_failure(&breaker, id(1), in_a_row, START), None);
            assert!(circuit.lets_through());
        }
        assert_eq!(
            circuit.on_failure(&breaker, id(1), 3, START),
            Some(second(5))
        );
        assert!(!circuit.lets_through());
        assert_eq!(
            circuit.on_failure(&breaker, id(2), 4, second(1)),
            None,
            "it is open already"
        );
        assert!(!circuit.on_wake(second(4)));
        assert_eq!(circuit.open_until(), Some(second(5)));
    }

    #[test]
    fn a_failed_probe_opens_the_circuit_again_for_twice_as_long() {
        let breaker = CircuitBreaker::after(1);
        let mut circuit = Circuit::default();
        let mut now = START;
        let mut waits = Vec::new();
        circuit.on_failure(&breaker, id(0), 1, now);
        for number in 1..7 {
            let until = circuit.open_until().unwrap();
            waits.push(until.since(now).as_secs());
            now = until;
            assert!(circuit.on_wake(now));
            assert!(circuit.lets_through());
            circuit.on_start(id(number));
            assert!(!circuit.lets_through(), "one probe at a time");
            assert_eq!(
                circuit.on_failure(&breaker, id(0), 9, now),
                None,
                "not the probe"
            );
            assert!(circuit.on_failure(&breaker, id(number), 9, now).is_some());
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn an_answer_closes_it() {
        let mut circuit = Circuit::default();
        circuit.on_failure(&CircuitBreaker::after(1), id(1), 1, START);
        circuit.on_wake(second(5));
        circuit.on_start(id(1));
        circuit.on_answer();
        assert_eq!(circuit, Circuit::Closed);
    }

    #[test]
    fn settings_that_make_no_sense_are_brought_into_range() {
        let breaker = CircuitBreaker::after(0).waits(Duration::MAX, Duration::ZERO);
        assert_eq!(breaker.failures, 1);
        assert_eq!(breaker.first_wait, breaker.longest_wait);
    }

    #[test]
    fn a_breaker_tells_what_it_was_given() {
        let breaker =
            CircuitBreaker::after(7).waits(Duration::from_secs(3), Duration::from_secs(9));
        assert_eq!(breaker.failures(), 7);
        let waits = (breaker.first_wait(), breaker.longest_wait());
        assert_eq!(waits, (Duration::from_secs(3), Duration::from_secs(9)));
    }

    #[test]
    fn a_half_open_circuit_that_is_looked_at_again_keeps_its_probe() {
        let probing = Circuit::HalfOpen {
            wait: Duration::from_secs(9),
            probe: Some(id(1)),
        };
        let mut circuit = probing;
        circuit.look_again(Some(&CircuitBreaker::after(1)));
        assert_eq!(circuit, probing);
        circuit.look_again(None);
        assert_eq!(circuit, Circuit::Closed);
    }
}
