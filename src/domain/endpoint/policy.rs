//! The policy of an endpoint.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::policy::breaker::CircuitBreaker;
use crate::domain::policy::health::DisablePolicy;
use crate::domain::policy::rate::RateLimit;
use crate::domain::policy::response::ResponsePolicy;
use crate::domain::policy::retry::RetryPolicy;

/// The order of an endpoint's deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ordering {
    /// Any order, many in flight: a failed delivery holds up no other.
    #[default]
    Unordered,
    /// First accepted, first delivered: one attempt in flight, and a delivery that waits for a
    /// retry holds up its followers.
    ///
    /// A dead letter releases them.
    Fifo,
    /// As [`Fifo`](Self::Fifo) within each company, with companies in parallel.
    ///
    /// Events about no company share one lane.
    FifoPerCompany,
}

/// The policy of an endpoint. Defaults to [`EndpointPolicy::alert_service`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointPolicy {
    /// Timeout of a whole attempt: connect, TLS, every redirect, headers and body. Defaults to 15
    /// s; 1 ms to 1 h.
    #[serde(
        rename = "timeoutMs",
        alias = "timeout",
        with = "crate::domain::value::millis::exact"
    )]
    pub timeout: Duration,
    /// Timeout for connecting, including name resolution and TLS. Defaults to 5 s; the attempt's
    /// timeout caps it.
    #[serde(
        rename = "connectTimeoutMs",
        alias = "connectTimeout",
        with = "crate::domain::value::millis::exact"
    )]
    pub connect_timeout: Duration,
    /// The most attempts in flight at once. Defaults to 32; 1 to 1,024. The window starts at 1 and
    /// doubles on success.
    pub max_in_flight: u32,
    /// The order of deliveries. Defaults to [`Ordering::Unordered`].
    pub ordering: Ordering,
    /// When failed deliveries are retried. Defaults to [`RetryPolicy::three_in_two_minutes`].
    pub retry: RetryPolicy,
    /// The class of each status. Defaults to [`ResponsePolicy::alert_service`].
    pub responses: ResponsePolicy,
    /// Whether only `https` URLs are called. Defaults to `false`; `true` in
    /// [`EndpointPolicy::standard_webhooks`].
    #[serde(default)]
    pub https_only: bool,
    /// When attempts pause after failures in a row. Defaults to `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// The most attempts per period. Defaults to `None`: only the window limits them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// When the endpoint disables itself. Defaults to [`DisablePolicy::never`].
    #[serde(default)]
    pub disable: DisablePolicy,
    /// Whether `webhook-delivery: disable` and `abort-message` in an answer are honoured. Defaults
    /// to `false`.
    #[serde(default, alias = "honoursWishes")]
    pub honours_directives: bool,
}

impl EndpointPolicy {
    /// Returns the alert service's behaviour: its status table, three retries in two minutes, a
    /// timeout of 15 s.
    pub fn alert_service() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            max_in_flight: 32,
            ordering: Ordering::Unordered,
            retry: RetryPolicy::three_in_two_minutes(),
            responses: ResponsePolicy::alert_service(),
            https_only: false,
            circuit_breaker: None,
            rate_limit: None,
            disable: DisablePolicy::never(),
            honours_directives: false,
        }
    }

    /// Returns the recommendation of Standard Webhooks 1.0.
    ///
    /// Ten attempts over three days, server errors transient, a timeout of 20 s, `https` only,
    /// disabled by a 410 and by lasting failures.
    pub fn standard_webhooks() -> Self {
        Self {
            timeout: Duration::from_secs(20),
            retry: RetryPolicy::standard_webhooks(),
            responses: ResponsePolicy::server_errors_are_transient(),
            https_only: true,
            disable: DisablePolicy::standard_webhooks(),
            ..Self::alert_service()
        }
    }
}

impl Default for EndpointPolicy {
    fn default() -> Self {
        Self::alert_service()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_webhooks_recommends_its_own_policy() {
        let policy = EndpointPolicy::standard_webhooks();
        assert_eq!(policy.timeout, Duration::from_secs(20));
        assert_eq!(policy.retry, RetryPolicy::standard_webhooks());
        let responses = ResponsePolicy::server_errors_are_transient();
        assert_eq!(policy.responses, responses);
        assert!(policy.https_only);
        assert_eq!(policy.disable, DisablePolicy::standard_webhooks());
        assert_eq!(
            policy.max_in_flight,
            EndpointPolicy::default().max_in_flight
        );
    }
}
