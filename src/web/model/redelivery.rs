//! Redeliveries of everything that a filter finds.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::delivery::text_of_number;
use super::page::Moment;
use super::reshape;
use crate::domain::deliveries::failure_filter::FailureFilter;
use crate::domain::deliveries::reason_kind::ReasonKind;
use crate::domain::endpoint::id::EndpointId;
use crate::domain::value::time::Timestamp;
use crate::store::{Count, RedeliveryJob};
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
    /// The number that was shown before. If there are more now, nothing is redelivered.
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

/// Whether to count only.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct DryRun {
    /// `true` to count only, and redeliver nothing.
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
    /// Whether there may be more: counting stopped.
    at_least: bool,
}

impl From<Count> for Plan {
    fn from(count: Count) -> Self {
        Self {
            count: count.count,
            at_least: count.at_least,
        }
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
