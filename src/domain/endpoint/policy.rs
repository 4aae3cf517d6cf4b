//! How one endpoint is treated.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::policy::breaker::CircuitBreaker;
use crate::domain::policy::health::DisablePolicy;
use crate::domain::policy::rate::RateLimit;
use crate::domain::policy::response::ResponsePolicy;
use crate::domain::policy::retry::RetryPolicy;

/// The order in which an endpoint gets its deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ordering {
    /// Any order, many at once: a failed delivery holds no other back.
    #[default]
    Unordered,
    /// Accepted first, delivered first: one attempt in flight, and a waiting retry holds its followers. A dead letter lets
    /// them go on.
    Fifo,
    /// As [`Fifo`](Self::Fifo) within each company, with companies side by side. Events about no company form one more.
    FifoPerCompany,
}

/// How one endpoint is treated. Defaults to [`EndpointPolicy::alert_service`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointPolicy {
    /// How long a whole attempt may take: connect, TLS, every redirect, headers and body. Defaults to 15 s; 1 ms to 1 h.
    #[serde(
        rename = "timeoutMs",
        alias = "timeout",
        with = "crate::domain::value::millis::exact"
    )]
    pub timeout: Duration,
    /// How long connecting, name resolution and TLS included, may take. Defaults to 5 s; at most the timeout counts.
    #[serde(
        rename = "connectTimeoutMs",
        alias = "connectTimeout",
        with = "crate::domain::value::millis::exact"
    )]
    pub connect_timeout: Duration,
    /// The most attempts in flight at once. Defaults to 32; 1 to 1,024. The window starts at 1 and doubles on success.
    pub max_in_flight: u32,
    /// The order of deliveries. Defaults to [`Ordering::Unordered`].
    pub ordering: Ordering,
    /// When failed deliveries are tried again. Defaults to [`RetryPolicy::three_in_two_minutes`].
    pub retry: RetryPolicy,
    /// What a status means. Defaults to [`ResponsePolicy::alert_service`].
    pub responses: ResponsePolicy,
    /// Whether only `https` URLs are called. Defaults to `false`; `true` in [`EndpointPolicy::standard_webhooks`].
    #[serde(default)]
    pub https_only: bool,
    /// When nothing is sent for a while because attempts fail. Defaults to `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// How many attempts are made in a time. Defaults to `None`: as many as the window lets through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// When it disables itself. Defaults to [`DisablePolicy::never`].
    #[serde(default)]
    pub disable: DisablePolicy,
    /// Whether `webhook-delivery: disable` and `abort-message` in an answer are honoured. Defaults to `false`.
    #[serde(default, alias = "honoursWishes")]
    pub honours_directives: bool,
}

impl EndpointPolicy {
    /// Returns the alert service's behaviour: its table, three retries in two minutes, a timeout of 15 s.
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

    /// Returns what Standard Webhooks 1.0 recommends: ten attempts over three days, server errors transient, a timeout of 20 s,
    /// `https` only, disabled by 410 and by failures that last.
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
