//! What can be asked of a store.

use serde::{Deserialize, Serialize};

use crate::domain::deliveries::failure_filter::FailureFilter;
use crate::domain::deliveries::reason_kind::ReasonKind;
use crate::domain::value::id::{AlertId, ClientId, CompanyId, DeliveryId, EventId, RuleId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::WallOffset;

/// A filter on the open deliveries of an endpoint. Defaults to all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenQuery {
    /// Only deliveries of this rule.
    pub rule_id: Option<RuleId>,
    /// Only deliveries of this client.
    pub client_id: Option<ClientId>,
}

/// The open deliveries of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenSummary {
    /// The endpoint.
    pub url: WebhookUrl,
    /// The number of open deliveries.
    pub open: u64,
    /// When the oldest one was accepted.
    pub oldest: Timestamp,
    /// When the first waiting retry is due; `None` if none waits.
    pub next_due: Option<Timestamp>,
}

impl OpenSummary {
    /// Returns the summary of an endpoint at which no retry waits.
    pub fn new(url: WebhookUrl, open: u64, oldest: Timestamp) -> Self {
        Self {
            url,
            open,
            oldest,
            next_due: None,
        }
    }
}

/// A filter for listing deliveries. Defaults to the newest 100 of all.
///
/// In JSON an unknown field is an error, so that a misspelt filter does not match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "written with `..default()`, which goes on working with a further field"
)]
pub struct DeliveryQuery {
    /// Only deliveries to this endpoint.
    pub url: Option<WebhookUrl>,
    /// Only deliveries of this client.
    pub client_id: Option<ClientId>,
    /// Only deliveries about this company.
    pub company_id: Option<CompanyId>,
    /// Only deliveries of this event.
    pub event_id: Option<EventId>,
    /// Only deliveries of this alert: the id that its receivers see as `webhook-id`.
    pub alert_id: Option<AlertId>,
    /// Only deliveries of this rule.
    pub rule_id: Option<RuleId>,
    /// Only deliveries with this rule type.
    pub rule_type: Option<String>,
    /// Only deliveries in this stage.
    pub stage: Option<DeliveryStage>,
    /// Only deliveries whose last attempt failed like this.
    pub failure: Option<FailureFilter>,
    /// Only deliveries that were given up for a reason of this kind.
    pub reason: Option<ReasonKind>,
    /// Only deliveries accepted at or after this instant.
    pub since: Option<Timestamp>,
    /// Only deliveries accepted before this instant.
    pub until: Option<Timestamp>,
    /// Only deliveries before this one, for the next page.
    pub before: Option<DeliveryId>,
    /// The maximum number of results. 0 means 100; more than 1,000 means 1,000.
    pub limit: usize,
}

/// The coarse state of a delivery, for filtering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeliveryStage {
    /// Not attempted yet, or waiting for a retry.
    Open,
    /// Delivered.
    Delivered,
    /// Given up.
    DeadLettered,
}

/// A filter for listing, redelivering or discarding dead letters. Defaults to the newest 100 of
/// all.
///
/// Redelivering takes the oldest first. In JSON an unknown field is an error, so that a misspelt
/// filter does not match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "written with `..default()`, which goes on working with a further field"
)]
pub struct DeadLetterQuery {
    /// Only dead letters of this endpoint.
    pub url: Option<WebhookUrl>,
    /// Only dead letters of this client.
    pub client_id: Option<ClientId>,
    /// Only dead letters about this company.
    pub company_id: Option<CompanyId>,
    /// Only dead letters of this event.
    pub event_id: Option<EventId>,
    /// Only dead letters of this alert: the id that its receivers see as `webhook-id`.
    pub alert_id: Option<AlertId>,
    /// Only dead letters of this rule.
    pub rule_id: Option<RuleId>,
    /// Only dead letters with this rule type.
    pub rule_type: Option<String>,
    /// Only dead letters whose last attempt failed like this.
    pub failure: Option<FailureFilter>,
    /// Only dead letters that were given up for a reason of this kind.
    pub reason: Option<ReasonKind>,
    /// Only dead letters given up at or after this instant.
    pub since: Option<Timestamp>,
    /// Only dead letters given up before this instant.
    pub until: Option<Timestamp>,
    /// Only dead letters before this one, for the next page.
    pub before: Option<DeliveryId>,
    /// The maximum number of results. 0 means 100; more than 1,000 means 1,000.
    pub limit: usize,
}

impl DeliveryQuery {
    /// Returns the query with its wall times converted to the engine's time.
    #[must_use]
    pub(crate) fn in_engine_time(self, offset: WallOffset) -> Self {
        Self {
            since: self.since.map(|at| offset.to_engine(at)),
            until: self.until.map(|at| offset.to_engine(at)),
            ..self
        }
    }
}

impl DeadLetterQuery {
    /// Returns the query with its wall times converted to the engine's time.
    #[must_use]
    pub(crate) fn in_engine_time(self, offset: WallOffset) -> Self {
        Self {
            since: self.since.map(|at| offset.to_engine(at)),
            until: self.until.map(|at| offset.to_engine(at)),
            ..self
        }
    }
}

/// Returns the number of rows for a requested limit.
pub(crate) fn page_limit(asked: usize) -> usize {
    const DEFAULT: usize = 100;
    const MOST: usize = 1_000;
    if asked == 0 { DEFAULT } else { asked.min(MOST) }
}

/// The deliveries to deliver again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Redelivery {
    /// One delivery, in any state.
    One(DeliveryId),
    /// The dead letters that a query finds.
    DeadLetters(DeadLetterQuery),
    /// The deliveries that a query finds and that have ended, whether they were delivered or given
    /// up. Only for redeliveries step by step ([`StartRedelivery`](crate::StartRedelivery)).
    Ended(DeliveryQuery),
}

impl From<DeliveryId> for Redelivery {
    fn from(id: DeliveryId) -> Self {
        Self::One(id)
    }
}

impl From<DeadLetterQuery> for Redelivery {
    fn from(query: DeadLetterQuery) -> Self {
        Self::DeadLetters(query)
    }
}

impl Redelivery {
    /// Returns the choice with its wall times converted to the engine's time.
    #[must_use]
    pub(crate) fn in_engine_time(self, offset: WallOffset) -> Self {
        match self {
            Self::One(id) => Self::One(id),
            Self::DeadLetters(query) => Self::DeadLetters(query.in_engine_time(offset)),
            Self::Ended(query) => Self::Ended(query.in_engine_time(offset)),
        }
    }
}
