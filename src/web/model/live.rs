//! Events of `/live`.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Number, Value};
use utoipa::{IntoParams, ToSchema};

use super::delivery::text_of_number;
use super::reshape;
use super::status::{FailureView, ReasonView};
use crate::domain::endpoint::id::EndpointId;
use crate::domain::endpoint::status::DeliveryReport;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::web::live::Topic;
use crate::web::problems::Problem;

/// What to watch.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct Wanted {
    /// 1 to 20 topics, separated by commas: `overview`, `actions`, `attempts`, `endpoint:<id>`,
    /// `delivery:<id>`, `redelivery:<id>`.
    #[param(example = "overview,attempts")]
    pub(in crate::web) topics: String,
}

/// The data of an event. Its name is the kind of topic, `attempts`, or `gone` if there is no such
/// thing any more. An event `end` tells a `reason` instead.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiveUpdate)]
pub(in crate::web) struct Update {
    #[schema(value_type = String, example = "delivery:42")]
    #[serde(serialize_with = "as_text")]
    topic: Topic,
    /// Number of earlier states or attempts that were left out, because there were too many or the
    /// stream was too slow.
    missed: u64,
    /// The state, as the route of such things answers it: `/overview`, the `data` of `/actions`,
    /// the `status` of `/endpoints/{id}`, `/deliveries/{id}` without bodies, `/redeliveries/{id}`.
    #[schema(value_type = Option<Value>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Arc<Value>>,
    /// Attempts that ended since the last event, oldest first, at most 20.
    #[schema(value_type = Vec<AttemptRow>, required = false)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<Arc<AttemptRow>>,
}

fn as_text<S: Serializer>(topic: &Topic, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(topic)
}

impl Update {
    pub(in crate::web) fn state(topic: Topic, missed: u64, state: Option<Arc<Value>>) -> Self {
        Self {
            topic,
            missed,
            state,
            attempts: Vec::new(),
        }
    }

    pub(in crate::web) fn attempts(
        topic: Topic,
        missed: u64,
        attempts: Vec<Arc<AttemptRow>>,
    ) -> Self {
        Self {
            topic,
            missed,
            state: None,
            attempts,
        }
    }
}

/// The data of the event `end`, the last of a stream.
#[derive(Debug, Serialize)]
pub(in crate::web) struct Ending {
    /// `shutting_down`, or `renew`: connect again.
    reason: &'static str,
}

impl Ending {
    pub(in crate::web) fn new(reason: &'static str) -> Self {
        Self { reason }
    }
}

/// The end of an attempt, or of a delivery that was given up without one.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttemptReport)]
pub(in crate::web) struct AttemptRow {
    #[schema(example = "42")]
    #[serde(deserialize_with = "text_of_number")]
    delivery_id: String,
    /// The alert's id, which receivers get as `webhook-id`.
    alert_id: String,
    event_id: String,
    rule_id: String,
    #[serde(default)]
    endpoint_id: String,
    #[schema(value_type = String, format = "uri")]
    url: WebhookUrl,
    /// Its number among those of its delivery, from 1.
    attempt: u32,
    /// `delivered`, `failed` or `dead_lettered`.
    outcome: String,
    /// Why it failed, for `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
    /// Why the delivery was given up, for `dead_lettered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<ReasonView>,
    /// The status of the answer; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// How long it took, redirects included.
    #[schema(value_type = f64, minimum = 0)]
    duration_ms: Number,
    /// When the delivery is retried; absent if the outcome is final.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<Timestamp>,
}

impl AttemptRow {
    pub(in crate::web) fn new(report: &DeliveryReport) -> Result<Self, Problem> {
        let shown: Self = reshape(report)?;
        Ok(Self {
            endpoint_id: EndpointId::of(&report.url).to_string(),
            ..shown
        })
    }
}
