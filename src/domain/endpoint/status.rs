//! Reports to the application: the status of each endpoint, and how each attempt ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::deliveries::alert::Alert;
use crate::domain::deliveries::attempt::{AttemptRecord, AttemptSummary};
use crate::domain::deliveries::delivery::EndedDelivery;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::deliveries::outcome::Outcome;
use crate::domain::endpoint::recent::RecentResults;
use crate::domain::policy::agreed::Hold;
use crate::domain::policy::health::DisabledReason;
use crate::domain::value::id::{AlertId, DeliveryId, EventId, RuleId};
use crate::domain::value::operator::{Note, Operator};
use crate::domain::value::tagged::{Has, tagged};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::{OnWall, WallOffset};

/// The state of an endpoint. In JSON an object: `{"state":"backing_off","until":"…"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum EndpointState {
    /// There is nothing to send.
    #[default]
    Idle,
    /// Attempts are in flight or about to start.
    Delivering,
    /// Every open delivery waits for a retry.
    BackingOff {
        /// When the next retry is due.
        until: Timestamp,
    },
    /// The receiver asked for a pause by 429 or 503 with `Retry-After`; all deliveries wait.
    RateLimited {
        /// When deliveries resume.
        until: Timestamp,
    },
    /// The circuit breaker is open: nothing is sent because attempts have failed.
    CircuitOpen {
        /// When the next probe starts.
        until: Timestamp,
    },
    /// The application paused it; its events are kept.
    Paused,
    /// It is no longer attempted; its events are kept. `ResumeEndpoint` enables it again.
    Disabled {
        /// Why it is disabled.
        reason: DisabledReason,
    },
}

tagged!(
    EndpointState,
    "state",
    [
        ("backing_off", Has::Fields(&["until"])),
        ("rate_limited", Has::Fields(&["until"])),
        ("circuit_open", Has::Fields(&["until"])),
        ("disabled", Has::Fields(&["reason"])),
    ]
);

impl fmt::Display for EndpointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Delivering => f.write_str("delivering"),
            Self::BackingOff { until } => write!(f, "backing off until {until}"),
            Self::RateLimited { until } => write!(f, "on hold until {until}"),
            Self::CircuitOpen { until } => write!(f, "circuit open until {until}"),
            Self::Paused => f.write_str("paused"),
            Self::Disabled { reason } => write!(f, "disabled: {reason}"),
        }
    }
}

/// When an endpoint was paused or disabled, by whom, and what they wrote about it.
///
/// Each part is `None` if it is not known: the pause is from a file of an earlier version, or no
/// operator was named, or no note was written. An endpoint that disables itself has a time alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Stopped {
    /// When it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The operator who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Operator>,
    /// The operator's note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
}

impl Stopped {
    /// Returns that it happened then, without an operator or a note.
    pub fn at(at: Timestamp) -> Self {
        Self {
            at: Some(at),
            ..Self::default()
        }
    }

    /// Sets the operator. `None`, the default, means that none was named.
    #[must_use]
    pub fn by(self, by: Option<Operator>) -> Self {
        Self { by, ..self }
    }

    /// Sets the note. `None`, the default, means that there is none.
    #[must_use]
    pub fn note(self, note: Option<Note>) -> Self {
        Self { note, ..self }
    }
}

impl OnWall for Stopped {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            at: self.at.on_wall(offset),
            ..self
        }
    }
}

/// The status of one endpoint.
///
/// Times are wall-clock times, as of the moment the status is sent. If the wall clock is set, the
/// times in the next status move with it.
///
/// Counts, the last attempt and failures in a row cover the time since the engine started. Earlier
/// attempts are in the store ([`ListAttempts`](crate::ListAttempts)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointStatus {
    /// The endpoint's URL.
    pub url: WebhookUrl,
    /// Its state. In JSON its fields are flattened into the status.
    #[serde(flatten)]
    pub state: EndpointState,
    /// When it was paused or disabled, by whom, and with which note; `None` if it is neither, or if
    /// its stored settings cannot be read.
    ///
    /// It belongs to the state that is shown: an endpoint that is paused and disabled shows the
    /// disabling. [`ResumeEndpoint`](crate::ResumeEndpoint) clears both.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stopped: Option<Stopped>,
    /// Number of open deliveries not in flight: not attempted yet, or waiting for a retry.
    pub queued: u64,
    /// Number of attempts in flight.
    pub in_flight: u32,
    /// The current window: the most attempts that may be in flight now.
    pub window: u32,
    /// Number of deliveries that the receiver accepted.
    pub delivered: u64,
    /// Number of deliveries given up.
    pub dead_lettered: u64,
    /// Number of finished attempts.
    pub attempts: u64,
    /// Number of failed attempts in a row; 0 after a success.
    pub consecutive_failures: u32,
    /// When it began to fail; `None` after a success. It survives a restart if a
    /// [`FailingRule`](crate::FailingRule) needs it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failing_since: Option<Timestamp>,
    /// When the warning was given that a [`FailingRule`](crate::FailingRule) will disable it if it
    /// keeps failing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub warned_at: Option<Timestamp>,
    /// The last finished attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_attempt: Option<AttemptSummary>,
    /// The results of the last 20 attempts, oldest first.
    #[serde(default)]
    pub recent: RecentResults,
    /// The pause that its receiver asked for, and by which answer; `None` if it asked for none, or
    /// if the pause is over.
    ///
    /// Independent of the state: an endpoint may be paused and held.
    /// [`ResumeEndpoint`](crate::ResumeEndpoint) lifts the hold.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<Hold>,
    /// When the next attempt may start, if known and not now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_attempt_at: Option<Timestamp>,
    /// Why the last use of the store failed; `None` if it succeeded.
    ///
    /// Nothing is lost: refused writes are kept and retried.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub store_error: Option<Arc<str>>,
    /// Number of statuses and reports that watchers missed because their mailboxes were full.
    pub reports_lost: u64,
    /// Number of restarts of the subscriber after a panic.
    pub restarts: u32,
}

impl EndpointStatus {
    /// Returns the status of an endpoint that has never had a delivery.
    pub(crate) fn untouched(url: WebhookUrl) -> Self {
        Self {
            url,
            state: EndpointState::Idle,
            stopped: None,
            queued: 0,
            in_flight: 0,
            window: 1,
            delivered: 0,
            dead_lettered: 0,
            attempts: 0,
            consecutive_failures: 0,
            failing_since: None,
            warned_at: None,
            last_attempt: None,
            recent: RecentResults::default(),
            held: None,
            next_attempt_at: None,
            store_error: None,
            reports_lost: 0,
            restarts: 0,
        }
    }
}

/// How one attempt ended. One report per finished attempt, sent once the attempt is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeliveryReport {
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// The alert, the same on every attempt.
    pub alert_id: AlertId,
    /// The event that raised the alert.
    pub event_id: EventId,
    /// The rule that raised the alert.
    pub rule_id: RuleId,
    /// The URL that it goes to.
    pub url: WebhookUrl,
    /// Number of the attempt, from 1.
    ///
    /// If something other than an attempt ended the delivery: the number of attempts made before,
    /// from 0, and [`duration`](Self::duration) is 0.
    pub attempt: u32,
    /// The outcome; `Delivered` and `DeadLettered` are final. In JSON its fields are flattened into
    /// the report.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The status of the receiver's answer; `None` if there was no answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// When the attempt ended.
    pub at: Timestamp,
    /// Duration of the attempt, redirects included.
    #[serde(
        rename = "durationMs",
        alias = "duration",
        with = "crate::domain::value::millis::exact"
    )]
    pub duration: Duration,
    /// Number of redirects followed.
    pub redirects: u32,
    /// Whether a kept-alive connection turned out to be closed, so that the request was sent a
    /// second time within the attempt.
    pub sent_twice: bool,
    /// When the delivery is retried; `None` if the outcome is final.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_attempt_at: Option<Timestamp>,
}

impl DeliveryReport {
    /// Returns the report of an attempt.
    pub(crate) fn of_attempt(alert: &Alert, record: &AttemptRecord) -> Self {
        Self {
            delivery_id: record.delivery_id,
            alert_id: alert.id,
            event_id: alert.event_id.clone(),
            rule_id: alert.rule_id.clone(),
            url: record.url.clone(),
            attempt: record.summary.number,
            outcome: record.outcome,
            status: record.summary.status,
            at: record.summary.at,
            duration: record.summary.duration,
            redirects: record.summary.redirects,
            sent_twice: record.summary.sent_twice,
            next_attempt_at: record.next_attempt_at,
        }
    }

    /// Returns the report of a delivery that was given up without an attempt.
    pub(crate) fn given_up(
        url: &WebhookUrl,
        ended: &EndedDelivery,
        reason: DeadLetterReason,
        at: Timestamp,
    ) -> Self {
        Self {
            delivery_id: ended.id,
            alert_id: ended.alert_id,
            event_id: ended.event_id.clone(),
            rule_id: ended.rule_id.clone(),
            url: url.clone(),
            attempt: ended.attempts_made,
            outcome: Outcome::DeadLettered { reason },
            status: None,
            at,
            duration: Duration::ZERO,
            redirects: 0,
            sent_twice: false,
            next_attempt_at: None,
        }
    }
}

/// The result of shutting down an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Number of deliveries completed while shutting down.
    pub delivered: u64,
    /// Number of deliveries still open. They are in the store and continue when an engine is
    /// started on it again; with a [`MemoryStore`](crate::store::MemoryStore) they are lost.
    ///
    /// If the store cannot count them in time, this is the number that the engine knew of.
    pub pending: u64,
    /// Number of attempts aborted at the deadline. Their deliveries count as pending.
    pub aborted: u64,
}

impl OnWall for EndpointState {
    fn on_wall(self, offset: WallOffset) -> Self {
        match self {
            Self::BackingOff { until } => Self::BackingOff {
                until: until.on_wall(offset),
            },
            Self::RateLimited { until } => Self::RateLimited {
                until: until.on_wall(offset),
            },
            Self::CircuitOpen { until } => Self::CircuitOpen {
                until: until.on_wall(offset),
            },
            Self::Idle | Self::Delivering | Self::Paused | Self::Disabled { .. } => self,
        }
    }
}

impl OnWall for EndpointStatus {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            state: self.state.on_wall(offset),
            stopped: self.stopped.on_wall(offset),
            failing_since: self.failing_since.on_wall(offset),
            warned_at: self.warned_at.on_wall(offset),
            held: self.held.on_wall(offset),
            last_attempt: self.last_attempt.on_wall(offset),
            next_attempt_at: self.next_attempt_at.on_wall(offset),
            ..self
        }
    }
}

impl OnWall for DeliveryReport {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            at: self.at.on_wall(offset),
            next_attempt_at: self.next_attempt_at.on_wall(offset),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);
    const LATER: Timestamp = Timestamp::from_unix_millis(1_060_000);

    #[test]
    fn every_time_of_a_status_is_shown_in_wall_time() {
        let mut status = EndpointStatus::untouched(WebhookUrl::parse("http://a.test/").unwrap());
        status.state = EndpointState::RateLimited { until: NOW };
        status.stopped = Some(Stopped::at(NOW));
        status.failing_since = Some(NOW);
        status.warned_at = Some(NOW);
        status.held = Some(Hold::until(NOW));
        status.next_attempt_at = Some(NOW);
        let shown = status.on_wall(WallOffset::from_millis(60_000));
        assert_eq!(shown.state, EndpointState::RateLimited { until: LATER });
        let times = [shown.failing_since, shown.warned_at, shown.next_attempt_at];
        assert_eq!(times, [Some(LATER); 3]);
        assert_eq!(shown.stopped, Some(Stopped::at(LATER)));
        assert_eq!(shown.held.map(|hold| hold.until), Some(LATER));
    }

    #[test]
    fn a_report_is_shown_in_wall_time() {
        let alert = Alert::example(None);
        let ended = EndedDelivery::new(DeliveryId::new(1), &alert, 2);
        let url = WebhookUrl::parse("http://a.test/").unwrap();
        let reason = DeadLetterReason::EndpointRemoved;
        let mut report = DeliveryReport::given_up(&url, &ended, reason, NOW);
        report.next_attempt_at = Some(NOW);
        let shown = report.on_wall(WallOffset::from_millis(60_000));
        assert_eq!((shown.at, shown.next_attempt_at), (LATER, Some(LATER)));
        assert_eq!(shown.attempt, 2);
    }

    #[test]
    fn a_state_is_shown_in_words() {
        let until = Timestamp::from_unix_millis(0);
        for (state, words) in [
            (EndpointState::Idle, "idle"),
            (EndpointState::Paused, "paused"),
            (
                EndpointState::RateLimited { until },
                "on hold until 1970-01-01T00:00:00.000Z",
            ),
        ] {
            assert_eq!(state.to_string(), words);
        }
    }
}
