//! The answer to why: findings, each with a code, a sentence, evidence and remedies.

use core::net::SocketAddr;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::deliveries::content_type::ContentType;
use crate::domain::value::id::{DeliveryId, EventId, RuleId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::{OnWall, WallOffset};

/// Why a receiver got nothing, or what it got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Why {
    /// The findings, in the order of [`FindingCode`]. The first one is the headline. Empty if the
    /// question concerns no delivery at all.
    pub findings: Vec<Finding>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Finding {
    /// What was found.
    pub code: FindingCode,
    /// The same in a sentence.
    pub text: String,
    /// Since when it has been so, or when it happened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Timestamp>,
    /// Until when it will be so, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<Timestamp>,
    /// The things that it concerns.
    pub evidence: Evidence,
    /// What can be done, the best first.
    pub remedies: Vec<Remedy>,
}

/// The things that a finding concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Evidence {
    /// The event.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event_id: Option<EventId>,
    /// The rule.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule_id: Option<RuleId>,
    /// The delivery.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub delivery_id: Option<DeliveryId>,
    /// The delivery that it waits for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waits_for: Option<DeliveryId>,
    /// The endpoint.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url: Option<WebhookUrl>,
    /// Number of attempts made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempts: Option<u32>,
    /// Status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// Media type of the last answer, if it was kept: see [`AnswerTrace`](crate::AnswerTrace).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content_type: Option<ContentType>,
    /// Address that the last answer came from, if it was kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<SocketAddr>,
}

/// What was found, in the order in which findings are given. In JSON its name: `"no-rule"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingCode {
    /// No event with this id is known.
    EventUnknown,
    /// The event waits in the outbox.
    EventInOutbox,
    /// The event was set aside in the outbox, because it can never be routed.
    EventRefused,
    /// No rule matched the event.
    NoRule,
    /// A rule that comes near is disabled.
    RuleDisabled,
    /// The delivery store does not work.
    StoreFailing,
    /// This engine is late: deliveries that could start have not.
    EngineLate,
    /// The endpoint is disabled.
    EndpointDisabled,
    /// The endpoint is paused.
    EndpointPaused,
    /// The receiver asked for a pause.
    HeldByReceiver,
    /// The endpoint's circuit breaker is open.
    CircuitOpen,
    /// The endpoint's rate limit, or its receiver's pace, lets nothing start yet.
    RatePaced,
    /// An earlier delivery of the endpoint's order has not ended.
    BehindInOrder,
    /// The delivery may start, and waits for its turn.
    WaitingForPlace,
    /// An attempt failed; the next one is due later.
    WaitingForRetry,
    /// An attempt is in flight.
    InFlight,
    /// The endpoint's backlog was full.
    BacklogFull,
    /// The delivery was given up.
    GivenUp,
    /// The delivery was ended by hand, or is no longer known.
    Removed,
    /// It was delivered to another URL, because the receiver redirected.
    Redirected,
    /// It was delivered, and the answer was a page for people.
    SuspiciousAnswer,
    /// It was delivered.
    Delivered,
}

/// What can be done about a finding. In JSON its name: `"redeliver"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Remedy {
    /// Publish the event again, with a new id.
    PublishAgain,
    /// Change a rule, then publish the event again with a new id.
    ChangeRule,
    /// Enable the rule, then publish the event again with a new id.
    EnableRule,
    /// Look after the store: its disk, its file.
    CheckStore,
    /// Resume the endpoint.
    Resume,
    /// Wait: it goes on by itself.
    Wait,
    /// Redeliver the delivery.
    Redeliver,
    /// Look at the delivery that this one waits for.
    LookAtFirst,
    /// Ask the receiver's operators, with the delivery's `webhook-id`.
    AskReceiver,
}

impl Why {
    /// Returns the finding that explains most; `None` if there is none.
    pub fn headline(&self) -> Option<&Finding> {
        self.findings.first()
    }
}

impl Finding {
    pub(super) fn new(code: FindingCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            since: None,
            until: None,
            evidence: Evidence::default(),
            remedies: Vec::new(),
        }
    }

    pub(super) fn since(mut self, at: Timestamp) -> Self {
        self.since = Some(at);
        self
    }

    pub(super) fn until(mut self, at: Timestamp) -> Self {
        self.until = Some(at);
        self
    }

    pub(super) fn of_event(mut self, id: &EventId) -> Self {
        self.evidence.event_id = Some(id.clone());
        self
    }

    pub(super) fn of_rule(mut self, id: &RuleId) -> Self {
        self.evidence.rule_id = Some(id.clone());
        self
    }

    pub(super) fn do_(mut self, remedy: Remedy) -> Self {
        self.remedies.push(remedy);
        self
    }
}

impl FindingCode {
    /// Every code, in order.
    pub const ALL: [Self; 22] = [
        Self::EventUnknown,
        Self::EventInOutbox,
        Self::EventRefused,
        Self::NoRule,
        Self::RuleDisabled,
        Self::StoreFailing,
        Self::EngineLate,
        Self::EndpointDisabled,
        Self::EndpointPaused,
        Self::HeldByReceiver,
        Self::CircuitOpen,
        Self::RatePaced,
        Self::BehindInOrder,
        Self::WaitingForPlace,
        Self::WaitingForRetry,
        Self::InFlight,
        Self::BacklogFull,
        Self::GivenUp,
        Self::Removed,
        Self::Redirected,
        Self::SuspiciousAnswer,
        Self::Delivered,
    ];
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = serde_json::to_value(self).unwrap_or_default();
        f.write_str(name.as_str().unwrap_or_default())
    }
}

impl OnWall for Why {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            findings: self.findings.on_wall(offset),
        }
    }
}

impl OnWall for Finding {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            since: self.since.on_wall(offset),
            until: self.until.on_wall(offset),
            ..self
        }
    }
}
