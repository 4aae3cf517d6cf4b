//! The status of an endpoint, and how attempts ended.

use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::{IntoParams, ToSchema};

use super::page::{Limit, always};
use super::reshape;
use crate::actor::message::{EndpointSort, ListEndpoints, StatusFilter};
use crate::domain::endpoint::id::EndpointId;
use crate::domain::endpoint::standing::StateKind;
use crate::domain::endpoint::status::EndpointStatus;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::web::problems::Problem;

/// The status of an endpoint. Counts cover the time since the engine started.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndpointStatus)]
pub(in crate::web) struct StatusView {
    /// The endpoint's id, derived from its URL.
    #[serde(default)]
    id: String,
    #[schema(value_type = String, format = "uri")]
    url: WebhookUrl,
    state: EndpointStateName,
    /// When the state ends, for `backing_off`, `rate_limited` and `circuit_open`.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    /// Why it is `disabled`: `application`, `gone`, `failing`, `receiver_asked` or `unreadable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When and by whom it was paused or disabled, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<StoppedView>,
    /// The last 20 results, oldest first: `delivered` or how an attempt ended otherwise.
    #[serde(default)]
    recent: Vec<String>,
    /// Number of open deliveries not in flight.
    queued: u64,
    /// Number of attempts in flight.
    in_flight: u32,
    /// The most attempts that may be in flight now.
    window: u32,
    /// Number of deliveries that the receiver accepted.
    delivered: u64,
    /// Number of deliveries given up.
    dead_lettered: u64,
    /// Number of finished attempts.
    attempts: u64,
    /// Number of failed attempts in a row.
    consecutive_failures: u32,
    /// Since when it has been failing.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<Timestamp>,
    /// When the warning was given that it will be disabled if it keeps failing.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    warned_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt: Option<AttemptView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<HoldView>,
    /// When the next attempt may start, if known and not now.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<Timestamp>,
    /// Why the last use of the store failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_error: Option<String>,
    /// Number of statuses and reports that watchers missed.
    reports_lost: u64,
    /// Number of restarts after a panic.
    restarts: u32,
}

super::words! {
    /// The state of an endpoint.
    #[schema(as = EndpointState)]
    EndpointStateName {
        /// There is nothing to send.
        Idle,
        /// Attempts are in flight or about to start.
        Delivering,
        /// Every open delivery waits for a retry.
        BackingOff,
        /// The receiver asked for a pause.
        RateLimited,
        /// Nothing is sent because attempts have failed.
        CircuitOpen,
        /// It was paused.
        Paused,
        /// It was disabled.
        Disabled,
    }
}

/// When and by whom an endpoint was paused or disabled.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Stopped)]
pub(in crate::web) struct StoppedView {
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    /// The operator who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// The operator's note.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// The pause that a receiver asked for with `Retry-After`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Hold)]
pub(in crate::web) struct HoldView {
    /// When deliveries resume.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// The status of the answer that asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// When that answer came.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    /// The wait that it asked for.
    #[schema(value_type = Option<f64>, minimum = 0)]
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_ms: Option<Number>,
}

/// A finished attempt.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attempt)]
pub(in crate::web) struct AttemptView {
    /// Its number among those of its delivery, from 1.
    number: u32,
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// How long it took, redirects included.
    #[schema(value_type = f64, minimum = 0)]
    duration_ms: Number,
    /// The status of the answer; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Why it failed; absent if it delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
    /// Number of redirects followed.
    redirects: u32,
    /// Whether the request was sent a second time on a new connection.
    sent_twice: bool,
    /// The beginning of the answer's body. Only for operators who may see `bodies`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    excerpt: Option<String>,
    /// The media type of the answer, without parameters. Known only of attempts that failed, were
    /// redirected, or were answered with a page; of a 2xx only the usual types.
    #[schema(example = "text/html")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    content_type: Option<String>,
    /// The address and port that the answer came from, maybe those of a proxy in front of the
    /// receiver. Known of the same attempts.
    #[schema(example = "203.0.113.7:443")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    address: Option<String>,
}

/// Why an attempt failed. The kinds are listed in `docs/lifecycle.md`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Failure)]
pub(in crate::web) struct FailureView {
    #[schema(example = "timeout")]
    kind: String,
    /// The status of the answer, for `status` and `credentials_dropped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Why a redirect was not followed, for `redirect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
}

/// Why a delivery was given up. The kinds are listed in `docs/lifecycle.md`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetterReason)]
pub(in crate::web) struct ReasonView {
    #[schema(example = "attempts_exhausted")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView>,
}

/// Which endpoints are listed.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct EndpointFilter {
    /// Only endpoints in this condition.
    #[param(inline)]
    pub(in crate::web) state: Option<Condition>,
    /// Only endpoints whose URL contains this text, regardless of the case of ASCII letters.
    pub(in crate::web) q: Option<String>,
    /// The order: by URL, or by need for attention, without those that are well. `url` by default.
    #[param(inline)]
    pub(in crate::web) sort: Option<Sort>,
    /// The most things on the page: 1 to 200, 50 by default.
    #[serde(skip_serializing_if = "always", default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    pub(in crate::web) limit: Limit,
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "always")]
    pub(in crate::web) cursor: Option<String>,
}

super::words! {
    /// The condition of an endpoint.
    Condition {
        /// The last attempt failed.
        Failing,
        /// There are open deliveries.
        Busy,
        Paused,
        Disabled,
    }
}

super::words! {
    /// The order of endpoints.
    Sort {
        Url,
        /// Those first that gave up most in the last hour, then those with most open deliveries,
        /// then those in trouble for longest.
        Attention,
    }
}

impl EndpointFilter {
    /// Returns the query among all endpoints, if it is one that needs the index of them.
    pub(in crate::web) fn indexed(&self) -> Option<ListEndpoints> {
        if self.sort != Some(Sort::Attention) && self.q.is_none() {
            return None;
        }
        Some(ListEndpoints {
            states: match self.state {
                None | Some(Condition::Failing) => Vec::new(),
                Some(Condition::Busy) => vec![StateKind::Delivering, StateKind::BackingOff],
                Some(Condition::Paused) => vec![StateKind::Paused],
                Some(Condition::Disabled) => vec![StateKind::Disabled],
            },
            failing: self.state == Some(Condition::Failing),
            url_contains: self.q.clone(),
            sort: match self.sort {
                Some(Sort::Attention) => EndpointSort::Attention,
                Some(Sort::Url) | None => EndpointSort::Url,
            },
            after: None,
            limit: self.limit.get(),
        })
    }

    pub(in crate::web) fn filter(&self) -> StatusFilter {
        match self.state {
            None => StatusFilter::All,
            Some(Condition::Failing) => StatusFilter::Failing,
            Some(Condition::Busy) => StatusFilter::Busy,
            Some(Condition::Paused) => StatusFilter::Paused,
            Some(Condition::Disabled) => StatusFilter::Disabled,
        }
    }
}

impl AttemptView {
    /// Leaves out what the receiver answered.
    pub(super) fn without_body(self) -> Self {
        Self {
            excerpt: None,
            ..self
        }
    }
}

impl StatusView {
    pub(in crate::web) fn new(status: &EndpointStatus) -> Result<Self, Problem> {
        let shown: Self = reshape(status)?;
        Ok(Self {
            id: EndpointId::of(&status.url).to_string(),
            ..shown
        })
    }
}
