//! What the engine tells the application: how each endpoint does, and how each attempt ended.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::deliveries::delivery::EndedDelivery;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::deliveries::outcome::Outcome;
use crate::domain::policy::agreed::Hold;
use crate::domain::value::id::{AlertId, DeliveryId, EventId, RuleId};
use crate::domain::value::tagged::{Has, tagged};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::{OnWall, WallOffset};

/// What an endpoint is doing. In JSON an object: `{"state":"backing_off","until":"…"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum EndpointState {
    /// Nothing is to be sent.
    #[default]
    Idle,
    /// Attempts are in flight or about to start.
    Delivering,
    /// Everything open waits for a retry.
    BackingOff {
        /// When the next one is due.
        until: Timestamp,
    },
    /// The receiver asked for a pause by 429 or 503 with `Retry-After`; everything waits.
    RateLimited {
        /// When deliveries go on.
        until: Timestamp,
    },
    /// The circuit breaker is open: nothing is sent because attempts have failed.
    CircuitOpen {
        /// When the next probe starts.
        until: Timestamp,
    },
    /// The application paused it; its events are kept.
    Paused,
    /// It is no longer attempted; its events are kept. `ResumeEndpoint` lets it go on.
    Disabled {
        /// Why.
        reason: String,
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

/// How one endpoint does.
///
/// Its times are by the wall clock as it stands when the status is told: once that is set, those of the next status are moved with it.
///
/// Counts, the last attempt and failures in a row are since the engine started; what was attempted before
/// is in the store ([`ListAttempts`](crate::ListAttempts)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointStatus {
    /// The endpoint.
    pub url: WebhookUrl,
    /// What it is doing. In JSON its fields are among those of the status.
    #[serde(flatten)]
    pub state: EndpointState,
    /// How many open deliveries are not in flight: not attempted yet, or waiting for a retry.
    pub queued: u64,
    /// How many attempts are in flight.
    pub in_flight: u32,
    /// How many attempts may be in flight now.
    pub window: u32,
    /// How many deliveries the receiver has.
    pub delivered: u64,
    /// How many deliveries were given up.
    pub dead_lettered: u64,
    /// How many attempts have finished.
    pub attempts: u64,
    /// How many attempts in a row have failed; 0 after a success.
    pub consecutive_failures: u32,
    /// Since when it has only failed; `None` after a success. It outlives a restart where a [`FailingRule`](crate::FailingRule) asks for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failing_since: Option<Timestamp>,
    /// Since when it is about to be disabled by a [`FailingRule`](crate::FailingRule) if it goes on failing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub warned_at: Option<Timestamp>,
    /// The last finished attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_attempt: Option<AttemptSummary>,
    /// Until when its receiver asked that nothing be sent, and by which answer; `None` when it did not, or when that is over.
    /// Whatever else is the matter with the endpoint: it may be paused and held. [`ResumeEndpoint`](crate::ResumeEndpoint) lifts it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<Hold>,
    /// When the next attempt may start, if it is known and not now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_attempt_at: Option<Timestamp>,
    /// Why the store could not be used the last time; `None` when it could. Nothing is lost meanwhile: what it refused is kept and handed to it again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub store_error: Option<Arc<str>>,
    /// How many statuses and reports watchers did not get because their mailboxes were full.
    pub reports_lost: u64,
    /// How many times the subscriber was started again after a panic.
    pub restarts: u32,
}

impl EndpointStatus {
    /// Returns the status of an endpoint that has never had a delivery.
    pub(crate) fn untouched(url: WebhookUrl) -> Self {
        Self {
            url,
            state: EndpointState::Idle,
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
            held: None,
            next_attempt_at: None,
            store_error: None,
            reports_lost: 0,
            restarts: 0,
        }
    }
}

/// How one attempt ended; one per finished attempt, sent once the attempt is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeliveryReport {
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// The alert, the same on every attempt.
    pub alert_id: AlertId,
    /// The event that raised it.
    pub event_id: EventId,
    /// The rule that raised it.
    pub rule_id: RuleId,
    /// Where it goes.
    pub url: WebhookUrl,
    /// Which attempt it was, from 1. If the delivery was ended by something else than an attempt, how many were made before, from 0; the
    /// [`duration`](Self::duration) is 0 then.
    pub attempt: u32,
    /// How it ended; `Delivered` and `DeadLettered` are final. In JSON its fields are among those of the report.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The receiver's status; `None` when there was no answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// When it ended.
    pub at: Timestamp,
    /// How long it took, redirects included.
    #[serde(
        rename = "durationMs",
        alias = "duration",
        with = "crate::domain::value::millis::exact"
    )]
    pub duration: Duration,
    /// How many redirects it followed.
    pub redirects: u32,
    /// Whether a kept connection turned out closed, so that the request went out a second time within the attempt.
    pub sent_twice: bool,
    /// When it is tried again; `None` when the outcome is final.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_attempt_at: Option<Timestamp>,
}

impl DeliveryReport {
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

/// What shutting an engine down came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ShutdownReport {
    /// How many deliveries were completed while shutting down.
    pub delivered: u64,
    /// How many deliveries are still open: in the store, to go on when an engine is started on it again. With a
    /// [`MemoryStore`](crate::store::MemoryStore) they are lost. If the store cannot say it in time, those that the engine knew of.
    pub pending: u64,
    /// How many attempts were broken off at the deadline. Their deliveries are among the pending.
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
