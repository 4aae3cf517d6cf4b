//! What an endpoint has agreed on with its receiver: what outlives the subscriber, a panic and the process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::policy::breaker::Circuit;
use crate::domain::value::time::Timestamp;
use crate::domain::value::wall::{OnWall, WallOffset};

/// Until when a receiver asked that nothing be sent to it, and by which answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Hold {
    /// When deliveries go on.
    pub until: Timestamp,
    /// The status of the answer: 429 or 503. `None` when it is not known, as of a hold that was
    /// stored by an older version of this crate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// When it came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<Timestamp>,
    /// What its `Retry-After` asked for, before it was cut to the policy's `max_retry_after`.
    #[serde(
        rename = "askedMs",
        with = "crate::domain::value::millis::maybe",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub asked: Option<Duration>,
}

impl Hold {
    /// Returns a hold of which only the end is known.
    pub(crate) fn until(until: Timestamp) -> Self {
        Self {
            until,
            status: None,
            at: None,
            asked: None,
        }
    }

    /// Returns `true` if a delivery that is due at this instant waits for the hold's end, rather
    /// than by its own schedule: it was refused by the same answer, or by one beside it.
    pub(crate) fn made_wait(&self, due_at: Timestamp) -> bool {
        (self.waited_from()..=self.until).contains(&due_at)
    }

    /// Returns the first instant at which those may be due that wait for the hold's end.
    pub(crate) fn waited_from(&self) -> Timestamp {
        self.until.before(BESIDE)
    }
}

/// What has to be known of an endpoint when its next subscriber starts, in this process or in the
/// next one. A store keeps it as it is, as JSON, and gives it back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Agreed {
    /// How long the receiver asked for a pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hold: Option<Hold>,
    /// When the last attempt had its turn by the rate limit, or the latest instant at which one may
    /// have: attempts that were not on record when the process ended count as made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_turn: Option<Timestamp>,
    /// The circuit, unless it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) circuit: Option<OpenCircuit>,
    /// How many attempts in a row have failed by a transient failure, where a circuit breaker
    /// counts them.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) failures_in_a_row: u32,
    /// What the last overload has taught.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) overload: Option<Overload>,
}

/// An open circuit, or one that looks whether the receiver is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpenCircuit {
    pub(crate) until: Timestamp,
    #[serde(rename = "waitMs", with = "crate::domain::value::millis::exact")]
    pub(crate) wait: Duration,
}

/// What is known since a receiver had too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Overload {
    pub(crate) at: Timestamp,
    /// The time between two attempts that it takes, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) interval_us: Option<u64>,
    /// How many attempts at once were too many.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) too_many: Option<u32>,
}

impl Agreed {
    /// Returns `true` if there is nothing to be kept.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Returns what is left once somebody has resumed the endpoint: neither the hold nor the open
    /// circuit. What it may be sent in a time stays as it was.
    #[must_use]
    pub fn lifted(mut self) -> Self {
        self.hold = None;
        self.circuit = None;
        self.failures_in_a_row = 0;
        self
    }

    /// Returns the hold, if there is one; it may be over.
    pub fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// Returns `true` if none of it means anything any more, a day after the last of it.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let instants = [
            self.hold.map(|hold| hold.until),
            self.last_turn,
            self.circuit.map(|circuit| circuit.until),
            self.overload.map(|overload| overload.at),
        ];
        let last = instants.into_iter().flatten().max();
        last.is_none_or(|last| now.since(last) > MEANS_NOTHING_AFTER)
    }

    /// Returns the circuit as it goes on: one that looked whether the receiver is back looks again.
    pub(crate) fn circuit(&self) -> Circuit {
        self.circuit.map_or(Circuit::Closed, |open| Circuit::Open {
            until: open.until,
            wait: open.wait,
        })
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it like this"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Deliveries that a receiver refuses at the same moment are due at nearly the same one.
const BESIDE: Duration = Duration::from_secs(1);

/// No rate limit and no circuit breaker waits longer.
const MEANS_NOTHING_AFTER: Duration = Duration::from_hours(24);

impl OnWall for Hold {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            until: self.until.on_wall(offset),
            at: self.at.on_wall(offset),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);

    fn everything() -> Agreed {
        Agreed {
            hold: Some(Hold {
                until: NOW,
                status: Some(429),
                at: Some(NOW),
                asked: Some(Duration::from_millis(1_250)),
            }),
            last_turn: Some(NOW),
            circuit: Some(OpenCircuit {
                until: NOW,
                wait: Duration::from_secs(5),
            }),
            failures_in_a_row: 3,
            overload: Some(Overload {
                at: NOW,
                interval_us: Some(400_000),
                too_many: Some(4),
            }),
        }
    }

    #[test]
    fn it_is_read_as_it_was_written_and_nothing_is_little() {
        let json = serde_json::to_string(&everything()).unwrap();
        assert_eq!(serde_json::from_str::<Agreed>(&json).unwrap(), everything());
        assert!(json.contains(r#""askedMs":1250"#), "{json}");
        assert_eq!(serde_json::to_string(&Agreed::default()).unwrap(), "{}");
        let newer = r#"{"failuresInARow":2,"somethingNew":{}}"#;
        let read = serde_json::from_str::<Agreed>(newer).unwrap();
        assert_eq!(read.failures_in_a_row, 2);
    }

    #[test]
    fn a_resume_leaves_the_rate() {
        let lifted = everything().lifted();
        assert_eq!((lifted.hold(), lifted.circuit()), (None, Circuit::Closed));
        assert_eq!(lifted.last_turn, Some(NOW));
    }

    #[test]
    fn it_is_over_a_day_after_the_last_of_it() {
        assert!(Agreed::default().is_over(NOW));
        assert!(!everything().is_over(NOW + Duration::from_hours(24)));
        assert!(everything().is_over(NOW + Duration::from_hours(25)));
    }
}
