//! The answer to why, and what an event would match.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::delivery::maybe_text;
use super::page::Moment;
use super::reshape;
use crate::domain::endpoint::id::EndpointId;
use crate::domain::routing::explain::Explanation;
use crate::domain::value::id::{AlertId, DeliveryId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::why::{Finding, Why};
use crate::web::problems::Problem;

/// The question: one of `event`, `delivery` and `webhookId`, or a client with further filters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct Question {
    /// The event's id.
    pub(in crate::web) event: Option<String>,
    /// The delivery's id.
    pub(in crate::web) delivery: Option<String>,
    /// The id that receivers see as `webhook-id`.
    #[param(value_type = Option<String>, format = "uuid")]
    pub(in crate::web) webhook_id: Option<AlertId>,
    /// The client whose newest deliveries are explained.
    pub(in crate::web) client: Option<String>,
    /// Beside `client`: only with exactly this rule type.
    pub(in crate::web) rule_type: Option<String>,
    /// Beside `client`: only about this company.
    pub(in crate::web) company: Option<String>,
    /// Beside `client`: only to the endpoint with this id.
    #[param(value_type = Option<String>)]
    pub(in crate::web) endpoint: Option<EndpointId>,
    /// Beside `client`: only accepted at or after this instant, or this long ago: `15m`, `6h`.
    #[param(value_type = Option<String>)]
    pub(in crate::web) since: Option<Moment>,
}

/// Why a receiver got nothing, or what it got.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Why)]
pub(in crate::web) struct WhyView {
    /// The findings. The first one is the headline.
    findings: Vec<FindingView>,
}

/// One finding.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Finding)]
pub(in crate::web) struct FindingView {
    /// What was found. `docs/operating.md` has a section for each code.
    #[schema(example = "given-up")]
    code: String,
    /// The same in a sentence.
    text: String,
    /// Since when it has been so, or when it happened.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// Until when it will be so, if known.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    evidence: EvidenceView,
    /// What can be done, the best first.
    #[schema(example = json!(["redeliver"]))]
    remedies: Vec<String>,
}

/// The things that a finding concerns.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Evidence)]
pub(in crate::web) struct EvidenceView {
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_id: Option<String>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        default,
        deserialize_with = "maybe_text"
    )]
    #[schema(example = "42")]
    delivery_id: Option<String>,
    /// The delivery that it waits for.
    #[serde(
        skip_serializing_if = "Option::is_none",
        default,
        deserialize_with = "maybe_text"
    )]
    #[schema(example = "41")]
    waits_for: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    endpoint_id: Option<String>,
    #[schema(value_type = Option<String>, format = "uri")]
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<WebhookUrl>,
    /// Number of attempts made.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// Status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Media type of the last answer, if it was kept.
    #[schema(example = "text/html")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    content_type: Option<String>,
    /// Address and port that the last answer came from, if they were kept.
    #[schema(example = "203.0.113.7:443")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    address: Option<String>,
}

impl WhyView {
    pub(in crate::web) fn new(why: &Why) -> Result<Self, Problem> {
        let findings = why.findings.iter().map(FindingView::new);
        Ok(Self {
            findings: findings.collect::<Result<_, _>>()?,
        })
    }
}

impl FindingView {
    fn new(finding: &Finding) -> Result<Self, Problem> {
        let shown: Self = reshape(finding)?;
        let evidence = &finding.evidence;
        let text = |id: &DeliveryId| id.to_string();
        let endpoint = evidence.url.as_ref().map(EndpointId::of);
        Ok(Self {
            evidence: EvidenceView {
                delivery_id: evidence.delivery_id.as_ref().map(text),
                waits_for: evidence.waits_for.as_ref().map(text),
                endpoint_id: endpoint.map(|id| id.to_string()),
                ..shown.evidence
            },
            ..shown
        })
    }
}

/// An event that is, was or could be published.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::web) struct Probe {
    #[schema(min_length = 1, max_length = 256)]
    pub(in crate::web) rule_type: String,
    #[schema(min_length = 1, max_length = 256)]
    pub(in crate::web) client_id: String,
    #[schema(max_length = 256)]
    pub(in crate::web) company_id: Option<String>,
    pub(in crate::web) data: Option<Value>,
}

/// The rules that an event would match now, and the nearest that it would not.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Explanation)]
pub(in crate::web) struct ExplanationView {
    /// The rules that match, ordered by id.
    matches: Vec<String>,
    /// Rules that do not match, nearest first.
    misses: Vec<MissView>,
    /// Whether there are more that do not match.
    more: bool,
}

/// A rule that does not match.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Miss)]
pub(in crate::web) struct MissView {
    rule: String,
    /// The first of its conditions that fails: its `kind`, and what it asks for.
    #[schema(value_type = Object)]
    why: Value,
    /// The same in words.
    #[serde(default)]
    text: String,
}

impl ExplanationView {
    pub(in crate::web) fn new(explanation: &Explanation) -> Result<Self, Problem> {
        let mut shown: Self = reshape(explanation)?;
        for (view, miss) in shown.misses.iter_mut().zip(&explanation.misses) {
            view.text = miss.why.to_string();
        }
        Ok(shown)
    }
}
