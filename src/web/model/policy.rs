//! The policy of an endpoint. Durations are in milliseconds; a fraction is possible.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::ToSchema;

/// The policy of an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::web) struct Policy {
    /// The timeout of a whole attempt: 1 ms to 1 h.
    #[schema(value_type = f64, minimum = 1, maximum = 3_600_000)]
    timeout_ms: Number,
    /// The timeout for connecting: 1 ms to 1 h.
    #[schema(value_type = f64, minimum = 1, maximum = 3_600_000)]
    connect_timeout_ms: Number,
    /// The most attempts in flight at once.
    #[schema(minimum = 1, maximum = 1_024)]
    max_in_flight: u32,
    ordering: OrderingName,
    retry: Retry,
    /// The meaning of statuses that differ from the alert service's table.
    #[schema(value_type = BTreeMap<String, ResponseClassName>)]
    responses: BTreeMap<u16, ResponseClassName>,
    /// Whether only `https` URLs are called.
    https_only: bool,
    /// When attempts pause after failures in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    circuit_breaker: Option<Breaker>,
    /// The most attempts per period.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<Rate>,
    disable: Disable,
    /// Whether `webhook-delivery: disable` and `abort-message` in an answer are honoured.
    honours_directives: bool,
}

super::words! {
    /// The order of an endpoint's deliveries.
    #[schema(as = Ordering)]
    OrderingName {
        /// Any order, many in flight.
        Unordered,
        /// First accepted, first delivered.
        Fifo,
        /// First accepted, first delivered within each company.
        FifoPerCompany,
    }
}

super::words! {
    /// The meaning of a status.
    #[schema(as = ResponseClass)]
    ResponseClassName {
        /// The receiver has accepted the delivery.
        Delivered,
        /// The delivery belongs to the URL in `Location`.
        Redirected,
        /// A later attempt may succeed.
        Transient,
        /// No attempt will ever succeed.
        Permanent,
    }
}

/// When failed deliveries are retried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RetryPolicy)]
pub(in crate::web) struct Retry {
    /// The waits after the first, second, … failure.
    #[schema(value_type = Vec<f64>, max_items = 64)]
    waits_ms: Vec<Number>,
    /// Whether each wait is varied at random.
    jitter: bool,
    /// How long after the first attempt retries may start; absent without a limit.
    #[schema(value_type = Option<f64>, minimum = 0)]
    #[serde(skip_serializing_if = "Option::is_none")]
    window_ms: Option<Number>,
    /// The longest `Retry-After` that is honoured in full.
    #[schema(value_type = f64, minimum = 0)]
    max_retry_after_ms: Number,
}

/// When attempts pause after failures in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CircuitBreaker)]
pub(in crate::web) struct Breaker {
    /// Number of transient failures in a row that open it.
    failures: u32,
    /// How long it is open the first time.
    #[schema(value_type = f64, minimum = 0)]
    first_wait_ms: Number,
    /// How long it is open at most.
    #[schema(value_type = f64, minimum = 0)]
    longest_wait_ms: Number,
}

/// The most attempts per period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RateLimit)]
pub(in crate::web) struct Rate {
    /// The number of attempts per period.
    attempts: u32,
    /// The period: 1 ms to 24 h.
    #[schema(value_type = f64, minimum = 0)]
    per_ms: Number,
}

/// When the endpoint disables itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DisablePolicy)]
pub(in crate::web) struct Disable {
    /// Whether a 410 (Gone) disables it.
    on_gone: bool,
    /// Rules, each of which disables it when it holds.
    when_failing: Vec<Failing>,
}

/// A period without a success, and a minimum of failed attempts in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = FailingRule)]
pub(in crate::web) struct Failing {
    /// How long every attempt has failed.
    #[schema(value_type = f64, minimum = 0)]
    lasting_ms: Number,
    /// Minimum number of failed attempts.
    failures: u32,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::endpoint::policy::{EndpointPolicy, Ordering};
    use crate::domain::policy::breaker::CircuitBreaker;
    use crate::domain::policy::rate::RateLimit;
    use crate::web::model::reshape;

    #[test]
    fn every_setting_of_a_policy_is_shown_and_read_back() {
        let mut full = EndpointPolicy::standard_webhooks();
        full.timeout = Duration::from_micros(1_500);
        full.ordering = Ordering::FifoPerCompany;
        full.circuit_breaker = Some(CircuitBreaker::after(3));
        full.rate_limit = Some(RateLimit::per_second(2));
        full.retry = full.retry.within(Duration::from_hours(1));
        for policy in [full, EndpointPolicy::alert_service()] {
            let shown: Policy = reshape(&policy).unwrap();
            let json = serde_json::to_value(&policy).unwrap();
            let nulls_aside = |mut value: serde_json::Value| {
                if let Some(retry) = value["retry"].as_object_mut() {
                    retry.retain(|_, field| !field.is_null());
                }
                value
            };
            assert_eq!(serde_json::to_value(&shown).unwrap(), nulls_aside(json));
            assert_eq!(reshape::<EndpointPolicy>(&shown).unwrap(), policy);
        }
    }
}
