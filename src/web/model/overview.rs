//! The state of the engine on one page, series, and operators' actions.

use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::{IntoParams, ToSchema};

use super::reshape;
use super::status::StatusView;
use crate::domain::endpoint::action::OperatorAction;
use crate::domain::endpoint::id::EndpointId;
use crate::domain::value::time::Timestamp;
use crate::domain::watch::overview::Overview;
use crate::domain::watch::series::{EndpointStatistics, Series, SeriesWindow};
use crate::web::problems::Problem;

/// The state of the engine. Everything is in memory; nothing is counted for it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Overview)]
pub(in crate::web) struct OverviewView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    endpoints: CountsView,
    /// Number of open deliveries.
    open: u64,
    /// Number of deliveries given up since the engine started.
    dead_lettered: u64,
    /// Number of attempts in flight.
    in_flight: u32,
    /// The most attempts in flight.
    limit: u32,
    /// How long a delivery that could start has been waiting, in milliseconds; 0 if none waits.
    lag_ms: u64,
    /// Number of endpoints that have waited for the engine for longer than a second.
    late_endpoints: u64,
    rates: RatesView,
    /// Why the store does not work, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_error: Option<String>,
    /// The endpoints that need most attention, at most ten.
    attention: Vec<StatusView>,
}

/// Numbers of endpoints by state.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndpointCounts)]
pub(in crate::web) struct CountsView {
    total: u64,
    idle: u64,
    delivering: u64,
    backing_off: u64,
    rate_limited: u64,
    circuit_open: u64,
    paused: u64,
    disabled: u64,
    /// Endpoints whose last attempt failed, in any state.
    failing: u64,
}

/// Numbers per second, of the last ten seconds.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Rates)]
pub(in crate::web) struct RatesView {
    #[schema(value_type = f64)]
    delivered_per_second: Number,
    #[schema(value_type = f64)]
    failed_per_second: Number,
    #[schema(value_type = f64)]
    dead_lettered_per_second: Number,
    /// The duration that 99 of 100 attempts do not exceed, estimated.
    #[schema(value_type = Option<f64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<Number>,
}

impl OverviewView {
    pub(in crate::web) fn new(overview: &Overview) -> Result<Self, Problem> {
        let attention = overview.attention.iter();
        let attention = attention.map(|listed| StatusView::new(&listed.status));
        Ok(Self {
            at: overview.at,
            endpoints: reshape(&overview.endpoints)?,
            open: overview.open,
            dead_lettered: overview.dead_lettered,
            in_flight: overview.permits.taken(),
            limit: overview.permits.limit,
            lag_ms: u64::try_from(overview.lag.as_millis()).unwrap_or(u64::MAX),
            late_endpoints: overview.late_endpoints,
            rates: reshape(&overview.rates)?,
            store_error: overview.store_error.as_deref().map(str::to_owned),
            attention: attention.collect::<Result<_, _>>()?,
        })
    }
}

/// Which time is shown, and of which endpoint.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct Window {
    /// The last minute by second, or the last hour or day by minute. `hour` by default.
    #[param(inline)]
    pub(in crate::web) window: Option<WindowName>,
    /// Only attempts to the endpoint with this id: those among its latest 5,000.
    #[param(value_type = Option<String>)]
    pub(in crate::web) endpoint: Option<EndpointId>,
}

super::words! {
    /// A window of time.
    WindowName { Minute, Hour, Day }
}

impl From<WindowName> for SeriesWindow {
    fn from(name: WindowName) -> Self {
        match name {
            WindowName::Minute => Self::Minute,
            WindowName::Hour => Self::Hour,
            WindowName::Day => Self::Day,
        }
    }
}

/// What ended in each step of a window, oldest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Series)]
pub(in crate::web) struct SeriesView {
    /// The length of a step.
    #[schema(value_type = f64)]
    step_ms: Number,
    points: Vec<PointView>,
    /// All steps together, for one endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<TotalView>,
    /// For one endpoint, if not all of its attempts were looked at: the time of the oldest one
    /// that was. Earlier ones are not counted, and later ones only of the deliveries looked at.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    searched_to: Option<Timestamp>,
}

/// What ended in all steps together.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SeriesTotal)]
pub(in crate::web) struct TotalView {
    attempts: u64,
    delivered: u64,
    failed: FailuresView,
    /// The median duration, estimated.
    #[schema(value_type = Option<f64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<Number>,
    /// The duration that 99 of 100 attempts do not exceed, estimated.
    #[schema(value_type = Option<f64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<Number>,
}

/// What ended in one step.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SeriesPoint)]
pub(in crate::web) struct PointView {
    /// When the step began.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    attempts: u64,
    delivered: u64,
    failed: FailuresView,
    /// Number of deliveries given up. Absent for one endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_lettered: Option<u64>,
    #[schema(value_type = Option<f64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<Number>,
    #[schema(value_type = Option<f64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<Number>,
}

/// Failed attempts by kind.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FailureCounts)]
pub(in crate::web) struct FailuresView {
    client_error: u64,
    server_error: u64,
    other_status: u64,
    timeout: u64,
    connection: u64,
    tls: u64,
    not_sent: u64,
}

impl SeriesView {
    pub(in crate::web) fn new(series: &Series) -> Result<Self, Problem> {
        reshape(series)
    }

    pub(in crate::web) fn of_endpoint(statistics: &EndpointStatistics) -> Result<Self, Problem> {
        reshape(statistics)
    }
}

/// Which actions are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct ActionFilter {
    /// Only actions about the endpoint with this id, or about one delivery to it.
    #[param(value_type = Option<String>)]
    pub(in crate::web) endpoint: Option<EndpointId>,
    /// Only actions about this rule, client or delivery, by its id.
    pub(in crate::web) about: Option<String>,
}

/// Something that an operator did.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Action)]
pub(in crate::web) struct ActionView {
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
    /// The kind of action.
    #[schema(example = "pause_endpoint")]
    action: String,
    target: String,
    /// The number of things acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// `done` or `failed`.
    result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl ActionView {
    pub(in crate::web) fn new(action: &OperatorAction) -> Result<Self, Problem> {
        reshape(action)
    }
}
