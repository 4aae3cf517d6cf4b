//! The agreement of an endpoint with its receiver: state that outlives the subscriber, a panic and
//! the process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::policy::breaker::Circuit;
use crate::domain::value::time::Timestamp;
use crate::domain::value::wall::{OnWall, WallOffset};

/// How long a receiver asked for a pause, and which answer asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Hold {
    /// When deliveries resume.
    pub until: Timestamp,
    /// The status of the answer: 429 or 503. `None` if unknown, as for a hold stored by an older
    /// version of this crate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// When the answer came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<Timestamp>,
    /// The wait in its `Retry-After`, before it was cut to the policy's `max_retry_after`.
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

    /// Returns `true` if a delivery due at `due_at` waits for the end of the hold rather than by
    /// its own schedule. The same answer, or one at nearly the same time, refused it.
    pub(crate) fn made_wait(&self, due_at: Timestamp) -> bool {
        (self.waited_from()..=self.until).contains(&due_at)
    }

    /// Returns the earliest due time of deliveries that wait for the end of the hold.
    pub(crate) fn waited_from(&self) -> Timestamp {
        self.until.before(BESIDE)
    }
}

/// State of an endpoint that its next subscriber needs, in this process or in the next one.
///
/// A store keeps it unchanged, as JSON, and returns it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Agreed {
    /// The pause that the receiver asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hold: Option<Hold>,
    /// Slot of the last attempt under the rate limit, or the latest instant that it may have had.
    /// Attempts not on record when the process ended count as made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_turn: Option<Timestamp>,
    /// The circuit, unless it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) circuit: Option<OpenCircuit>,
    /// Number of transient failures in a row, where a circuit breaker counts them.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) failures_in_a_row: u32,
    /// Knowledge from the last overload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) overload: Option<Overload>,
}

/// A circuit that is open or half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpenCircuit {
    pub(crate) until: Timestamp,
    #[serde(rename = "waitMs", with = "crate::domain::value::millis::exact")]
    pub(crate) wait: Duration,
}

/// Knowledge about a receiver since its last overload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Overload {
    pub(crate) at: Timestamp,
    /// The interval between attempts that the receiver takes, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) interval_us: Option<u64>,
    /// Number of attempts in flight that overloaded the receiver.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) too_many: Option<u32>,
}

impl Agreed {
    /// Returns `true` if there is nothing to keep.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the state after the endpoint was resumed: without the hold and the open circuit.
    ///
    /// The rate limit and the pace stay as they are.
    #[must_use]
    pub fn lifted(mut self) -> Self {
        self.hold = None;
        self.circuit = None;
        self.failures_in_a_row = 0;
        self
    }

    /// Returns the hold, if there is one. It may be over.
    pub fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// Returns `true` if all of it is obsolete: more than a day after its last instant.
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

    /// Returns the circuit to continue with. A half-open one probes again.
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

/// Deliveries that a receiver refuses at the same moment are due at nearly the same instant.
const BESIDE: Duration = Duration::from_secs(1);

/// No rate limit and no circuit breaker waits longer than this.
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

    #[test]
    fn a_hold_made_those_wait_that_are_due_in_its_last_second() {
        let hold = Hold::until(NOW + Duration::from_mins(1));
        assert_eq!(hold.waited_from(), NOW + Duration::from_secs(59));
        for (seconds, waited) in [(58, false), (59, true), (60, true), (61, false)] {
            let due_at = NOW + Duration::from_secs(seconds);
            assert_eq!(hold.made_wait(due_at), waited, "{seconds} s");
        }
    }

    #[test]
    fn what_was_agreed_is_gone_on_with() {
        assert!(Agreed::default().is_nothing() && !everything().is_nothing());
        assert_eq!(everything().hold(), everything().hold);
        assert!(everything().hold().is_some());
        let open = everything().circuit.unwrap();
        assert_eq!(everything().circuit().open_until(), Some(open.until));
        assert_eq!(Agreed::default().circuit().open_until(), None);
    }

    #[test]
    fn a_hold_is_shown_in_wall_time() {
        let hold = everything().hold.unwrap();
        let offset = WallOffset::from_millis(60_000);
        let moved = NOW + Duration::from_mins(1);
        let shown = hold.on_wall(offset);
        assert_eq!((shown.until, shown.at), (moved, Some(moved)));
        assert_eq!((shown.status, shown.asked), (hold.status, hold.asked));
    }
}
