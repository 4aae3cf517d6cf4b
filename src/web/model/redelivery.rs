//! Redeliveries of everything that a filter finds.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::delivery::text_of_number;
use super::page::Moment;
use super::reshape;
use crate::actor::message::{BlockedEndpoint, RedeliveryPlan};
use crate::domain::deliveries::failure_filter::FailureFilter;
use crate::domain::deliveries::reason_kind::ReasonKind;
use crate::domain::endpoint::id::EndpointId;
use crate::domain::endpoint::standing::StateKind;
use crate::domain::endpoint::status::EndpointState;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::RedeliveryJob;
use crate::web::problems::Problem;

/// What to redeliver. Without a filter everything of its kind.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RedeliveryRequest)]
pub(in crate::web) struct Wanted {
    /// Dead letters, or deliveries that have ended, whether they were delivered or not.
    pub(in crate::web) of: Kind,
    /// Only to the endpoint with this id.
    #[schema(value_type = Option<String>)]
    pub(in crate::web) endpoint: Option<EndpointId>,
    /// Only of this client.
    pub(in crate::web) client: Option<String>,
    /// Only about this company.
    pub(in crate::web) company: Option<String>,
    /// Only of this event.
    pub(in crate::web) event: Option<String>,
    /// Only of this rule.
    pub(in crate::web) rule: Option<String>,
    /// Only with exactly this rule type.
    pub(in crate::web) rule_type: Option<String>,
    /// Only those whose last attempt failed like this: `404`, `5xx`, `timeout`, …
    #[schema(value_type = Option<String>)]
    pub(in crate::web) failure: Option<FailureFilter>,
    /// Only those given up for a reason of this kind.
    #[schema(value_type = Option<String>)]
    pub(in crate::web) reason: Option<ReasonKind>,
    /// Only dead letters given up, or deliveries accepted, at or after this instant, or this long
    /// ago.
    #[schema(value_type = Option<String>)]
    pub(in crate::web) since: Option<Moment>,
    /// Only those before this instant, or longer ago than this.
    #[schema(value_type = Option<String>)]
    pub(in crate::web) until: Option<Moment>,
    /// The `count` that a dry run has shown. If there are more now, nothing is redelivered.
    /// Counting stops at 10,000: what comes beyond that is not noticed.
    pub(in crate::web) expected: Option<u64>,
}

super::words! {
    /// What is redelivered.
    #[schema(as = RedeliveryKind)]
    Kind {
        /// Dead letters that were neither redelivered nor discarded.
        DeadLetters,
        /// Deliveries that have ended.
        Ended,
    }
}

/// Whether to plan only.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct DryRun {
    /// `true` to say what would be redelivered, and redeliver nothing.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    pub(in crate::web) dry_run: bool,
}

/// What a redelivery would do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RedeliveryPlan)]
pub(in crate::web) struct Plan {
    count: u64,
    /// Whether there may be more: counting stopped. The rest is then about those counted.
    at_least: bool,
    /// Number of their endpoints.
    endpoints: u64,
    /// When the oldest of them was given up, for dead letters, or accepted.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<Timestamp>,
    /// When the newest of them was given up, for dead letters, or accepted.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<Timestamp>,
    /// Number of the endpoints that would not take their deliveries now.
    blocked_endpoints: u64,
    /// Those of them with most deliveries, at most 100.
    blocked: Vec<BlockedView>,
}

/// An endpoint that would not take its deliveries now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BlockedEndpoint)]
pub(in crate::web) struct BlockedView {
    /// The endpoint's id.
    endpoint: String,
    #[schema(value_type = String, format = "uri")]
    url: WebhookUrl,
    /// Number of deliveries to it.
    deliveries: u64,
    why: BlockedBy,
    /// The same in words, with the end or the reason.
    #[schema(example = "on hold until 2026-03-01T12:00:00.250Z")]
    text: String,
}

super::words! {
    /// Why an endpoint takes nothing.
    BlockedBy {
        Paused,
        Disabled,
        /// Its receiver asked for a pause.
        RateLimited,
        /// Nothing is sent because attempts have failed.
        CircuitOpen,
        /// It was removed and may not be called; its deliveries are passed over.
        Removed,
    }
}

impl From<RedeliveryPlan> for Plan {
    fn from(plan: RedeliveryPlan) -> Self {
        let blocked = plan.blocked.into_iter();
        Self {
            count: plan.count.count,
            at_least: plan.count.at_least,
            endpoints: plan.endpoints,
            oldest: plan.oldest,
            newest: plan.newest,
            blocked_endpoints: plan.blocked_endpoints,
            blocked: blocked.filter_map(BlockedView::new).collect(),
        }
    }
}

impl BlockedView {
    /// Returns the view; `None` of an endpoint that is not blocked.
    fn new(blocked: BlockedEndpoint) -> Option<Self> {
        let why = match blocked.by.as_ref().map(EndpointState::kind) {
            None => BlockedBy::Removed,
            Some(StateKind::Paused) => BlockedBy::Paused,
            Some(StateKind::Disabled) => BlockedBy::Disabled,
            Some(StateKind::RateLimited) => BlockedBy::RateLimited,
            Some(StateKind::CircuitOpen) => BlockedBy::CircuitOpen,
            Some(StateKind::Idle | StateKind::Delivering | StateKind::BackingOff) => return None,
        };
        let removed = || "removed; put it, or a rule that names it, again".to_owned();
        Some(Self {
            endpoint: EndpointId::of(&blocked.url).to_string(),
            url: blocked.url,
            deliveries: blocked.deliveries,
            why,
            text: blocked.by.map_or_else(removed, |state| state.to_string()),
        })
    }
}

/// A redelivery and its progress.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Redelivery)]
pub(in crate::web) struct RedeliveryView {
    #[serde(deserialize_with = "text_of_number")]
    #[schema(example = "7")]
    id: String,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it finished or was stopped.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    state: RedeliveryStateName,
    /// Number of deliveries that it found when it began.
    total: u64,
    /// Number of deliveries that it has redelivered.
    done: u64,
    /// Number of deliveries that it passed over: their endpoints were removed, or somebody else
    /// was first.
    skipped: u64,
    /// Number of deliveries that it has not dealt with.
    #[serde(default)]
    left: u64,
}

super::words! {
    /// The state of a redelivery.
    #[schema(as = RedeliveryState)]
    RedeliveryStateName {
        Running,
        /// It goes on once there is room for further open deliveries.
        WaitingForRoom,
        Finished,
        Stopped,
    }
}

impl RedeliveryView {
    pub(in crate::web) fn new(job: &RedeliveryJob) -> Result<Self, Problem> {
        let shown: Self = reshape(job)?;
        Ok(Self {
            left: job.left(),
            ..shown
        })
    }
}
