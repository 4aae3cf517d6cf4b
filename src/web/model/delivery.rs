//! Deliveries and dead letters.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page::{Limit, Moment, always};
use super::reshape;
use super::status::{AttemptView, ReasonView};
use crate::domain::deliveries::attempt::Attempt;
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::{Delivery, DeliveryDetails};
use crate::domain::deliveries::failure_filter::FailureFilter;
use crate::domain::deliveries::reason_kind::ReasonKind;
use crate::domain::endpoint::id::EndpointId;
use crate::domain::value::id::{AlertId, DeliveryId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::{Count, DeliveryStage};
use crate::web::problems::Problem;

/// One alert on its way to one endpoint.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
pub(in crate::web) struct DeliveryView {
    #[schema(example = "42")]
    #[serde(deserialize_with = "text_of_number")]
    id: String,
    /// The alert's id, which receivers get as `webhook-id`.
    alert_id: String,
    event_id: String,
    rule_id: String,
    rule_type: String,
    client_id: String,
    /// The client's company that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    company_id: Option<String>,
    #[serde(default)]
    endpoint_id: String,
    #[schema(value_type = String, format = "uri")]
    url: WebhookUrl,
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Timestamp,
    state: DeliveryStateName,
    /// When the next attempt is due, for `waiting`.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
    /// When it ended, for `delivered` and `dead_lettered`.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    /// Why it was given up, for `dead_lettered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<ReasonView>,
    /// Number of finished attempts.
    attempts_made: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt: Option<AttemptView>,
}

super::words! {
    /// The state of a delivery.
    #[schema(as = DeliveryState)]
    DeliveryStateName {
        /// Accepted, not attempted yet.
        Queued,
        /// A failed attempt will be retried.
        Waiting,
        /// The receiver accepted it.
        Delivered,
        /// It was given up.
        DeadLettered,
    }
}

/// A delivery with all its attempts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryWithAttempts)]
pub(in crate::web) struct DeliveryDetail {
    delivery: DeliveryView,
    /// The attempts, oldest first.
    attempts: Vec<AttemptView>,
    /// The delivery that this one repeats.
    #[schema(value_type = Option<String>, example = "41")]
    #[serde(skip_serializing_if = "Option::is_none", rename = "redeliveryOf")]
    redelivery_of: Option<String>,
    /// The deliveries that repeat this one, oldest first.
    #[serde(rename = "redeliveredAs")]
    redelivered_as: Vec<String>,
}

/// A delivery that was given up.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetter)]
pub(in crate::web) struct DeadLetterView {
    #[schema(example = "42")]
    #[serde(deserialize_with = "text_of_number")]
    delivery_id: String,
    /// The alert's id, which receivers get as `webhook-id`.
    alert_id: String,
    event_id: String,
    rule_id: String,
    rule_type: String,
    client_id: String,
    /// The client's company that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    company_id: Option<String>,
    #[serde(default)]
    endpoint_id: String,
    #[schema(value_type = String, format = "uri")]
    url: WebhookUrl,
    reason: ReasonView,
    /// When it was given up.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Number of attempts made.
    attempts_made: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt: Option<AttemptView>,
}

/// Ids are numbers in the engine's JSON. Programs in JavaScript would lose digits of large ones.
pub(super) fn text_of_number<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    u64::deserialize(from).map(|id| id.to_string())
}

/// The same for an id that may be missing.
pub(super) fn maybe_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let id: Option<u64> = Option::deserialize(from)?;
    Ok(id.map(|id| id.to_string()))
}

impl DeliveryView {
    pub(in crate::web) fn new(delivery: &Delivery) -> Result<Self, Problem> {
        let shown: Self = reshape(delivery)?;
        Ok(Self {
            endpoint_id: EndpointId::of(&delivery.url).to_string(),
            ..shown
        })
    }
}

impl DeliveryDetail {
    /// Returns a delivery with its attempts. The answers' bodies are left out unless `with_bodies`.
    pub(in crate::web) fn new(
        details: &DeliveryDetails,
        attempts: &[Attempt],
        with_bodies: bool,
    ) -> Result<Self, Problem> {
        let shown = attempts.iter().map(|attempt| {
            let shown: AttemptView = reshape(attempt)?;
            Ok(if with_bodies {
                shown
            } else {
                shown.without_body()
            })
        });
        Ok(Self {
            delivery: DeliveryView::new(&details.delivery)?,
            attempts: shown.collect::<Result<_, Problem>>()?,
            redelivery_of: details.redelivery_of.map(|id| id.to_string()),
            redelivered_as: details
                .redelivered_as
                .iter()
                .map(ToString::to_string)
                .collect(),
        })
    }
}

impl DeadLetterView {
    pub(in crate::web) fn new(letter: &DeadLetter) -> Result<Self, Problem> {
        let shown: Self = reshape(letter)?;
        Ok(Self {
            endpoint_id: EndpointId::of(&letter.url).to_string(),
            ..shown
        })
    }
}

/// Which deliveries are listed.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct DeliveryFilter {
    /// Only deliveries to the endpoint with this id.
    #[param(value_type = Option<String>)]
    pub(in crate::web) endpoint: Option<EndpointId>,
    /// Only deliveries of this client.
    pub(in crate::web) client: Option<String>,
    /// Only deliveries about this company.
    pub(in crate::web) company: Option<String>,
    /// Only deliveries of this event.
    pub(in crate::web) event: Option<String>,
    /// Only deliveries of the alert that its receivers know by this `webhook-id`.
    #[param(value_type = Option<String>, format = "uuid")]
    pub(in crate::web) webhook_id: Option<AlertId>,
    /// Only deliveries of this rule.
    pub(in crate::web) rule: Option<String>,
    /// Only deliveries with exactly this rule type.
    pub(in crate::web) rule_type: Option<String>,
    /// Only deliveries whose last attempt failed like this: a status (`404`), a class (`5xx`),
    /// `redirect`, or a kind of failure (`timeout`, `dns`, …).
    #[param(value_type = Option<String>, example = "5xx")]
    pub(in crate::web) failure: Option<FailureFilter>,
    /// Only deliveries given up for a reason of this kind.
    #[param(value_type = Option<String>, example = "attempts_exhausted")]
    pub(in crate::web) reason: Option<ReasonKind>,
    /// Only deliveries in this stage.
    #[param(inline)]
    pub(in crate::web) state: Option<StageName>,
    /// Only deliveries accepted at or after this instant, or this long ago: `15m`, `6h`, `7d`.
    #[param(value_type = Option<String>)]
    pub(in crate::web) since: Option<Moment>,
    /// Only deliveries accepted before this instant, or longer ago than this.
    #[param(value_type = Option<String>)]
    pub(in crate::web) until: Option<Moment>,
    /// The most things on the page: 1 to 200, 50 by default.
    #[serde(skip_serializing_if = "always", default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    pub(in crate::web) limit: Limit,
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "always")]
    pub(in crate::web) cursor: Option<String>,
}

super::words! {
    /// The stage of a delivery.
    StageName {
        /// Not attempted yet, or waiting for a retry.
        Open,
        Delivered,
        DeadLettered,
    }
}

impl From<StageName> for DeliveryStage {
    fn from(stage: StageName) -> Self {
        match stage {
            StageName::Open => Self::Open,
            StageName::Delivered => Self::Delivered,
            StageName::DeadLettered => Self::DeadLettered,
        }
    }
}

/// Which dead letters are listed.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct DeadLetterFilter {
    /// Only dead letters of the endpoint with this id.
    #[param(value_type = Option<String>)]
    pub(in crate::web) endpoint: Option<EndpointId>,
    /// Only dead letters of this client.
    pub(in crate::web) client: Option<String>,
    /// Only dead letters about this company.
    pub(in crate::web) company: Option<String>,
    /// Only dead letters of this event.
    pub(in crate::web) event: Option<String>,
    /// Only dead letters of the alert that its receivers know by this `webhook-id`.
    #[param(value_type = Option<String>, format = "uuid")]
    pub(in crate::web) webhook_id: Option<AlertId>,
    /// Only dead letters of this rule.
    pub(in crate::web) rule: Option<String>,
    /// Only dead letters with exactly this rule type.
    pub(in crate::web) rule_type: Option<String>,
    /// Only dead letters whose last attempt failed like this: a status (`404`), a class (`5xx`),
    /// `redirect`, or a kind of failure (`timeout`, `dns`, …).
    #[param(value_type = Option<String>, example = "5xx")]
    pub(in crate::web) failure: Option<FailureFilter>,
    /// Only dead letters given up for a reason of this kind.
    #[param(value_type = Option<String>, example = "attempts_exhausted")]
    pub(in crate::web) reason: Option<ReasonKind>,
    /// Only those given up at or after this instant, or this long ago: `15m`, `6h`, `7d`.
    #[param(value_type = Option<String>)]
    pub(in crate::web) since: Option<Moment>,
    /// Only those given up before this instant, or longer ago than this.
    #[param(value_type = Option<String>)]
    pub(in crate::web) until: Option<Moment>,
    /// The most things on the page: 1 to 200, 50 by default.
    #[serde(skip_serializing_if = "always", default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    pub(in crate::web) limit: Limit,
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "always")]
    pub(in crate::web) cursor: Option<String>,
}

/// The dead letters to discard.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::web) struct Discard {
    /// Only dead letters of the endpoint with this id.
    #[schema(value_type = Option<String>)]
    pub(in crate::web) endpoint: Option<EndpointId>,
    /// Only dead letters of this client.
    pub(in crate::web) client: Option<String>,
    /// Only dead letters of this event.
    pub(in crate::web) event: Option<String>,
    /// Only those given up at or after this instant, or this long ago: `15m`, `6h`, `7d`.
    #[schema(value_type = Option<String>)]
    pub(in crate::web) since: Option<Moment>,
    /// The most to discard at once, newest first: 1 to 1,000.
    #[schema(minimum = 1, maximum = 1_000)]
    pub(in crate::web) limit: u16,
}

/// How many dead letters were discarded.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Discarded {
    pub(in crate::web) discarded: u64,
}

/// How to redeliver.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Again {
    /// Whether a delivery that is still open is sent a second time.
    #[serde(default)]
    pub(in crate::web) force: bool,
}

/// The fresh delivery of the same alert.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::web) struct Redelivered {
    #[schema(value_type = String, example = "43")]
    delivery_id: String,
}

impl From<DeliveryId> for Redelivered {
    fn from(id: DeliveryId) -> Self {
        Self {
            delivery_id: id.to_string(),
        }
    }
}

/// How many open deliveries were given up with what was removed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::web) struct Removed {
    pub(in crate::web) dead_lettered: u64,
}

/// Whether the open deliveries of what is removed are given up.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct Removal {
    /// `true` to give up its open deliveries too. They continue by default.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    pub(in crate::web) end_deliveries: bool,
}

/// Whether calls may go out unsigned.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct Unsigned {
    /// `true` to delete the last secret, after which calls are unsigned.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    pub(in crate::web) unsigned: bool,
}

/// A number of things.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Count)]
pub(in crate::web) struct CountView {
    count: u64,
    /// Whether there may be more: counting stopped.
    at_least: bool,
}

impl From<Count> for CountView {
    fn from(count: Count) -> Self {
        Self {
            count: count.count,
            at_least: count.at_least,
        }
    }
}
