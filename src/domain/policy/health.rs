//! When an endpoint that keeps failing is disabled.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::value::time::Timestamp;

/// When an endpoint disables itself. Defaults to [`DisablePolicy::never`].
///
/// Events published for a disabled endpoint are kept. `ResumeEndpoint` enables it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct DisablePolicy {
    /// Whether a 410 (Gone) disables the endpoint. Defaults to `false`.
    pub on_gone: bool,
    /// Rules, each of which disables the endpoint when it holds.
    ///
    /// A warning status comes first, halfway. Defaults to none.
    pub when_failing: Vec<FailingRule>,
}

/// A period without a success, together with a minimum number of failed attempts in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FailingRule {
    /// How long every attempt has failed.
    #[serde(
        rename = "lastingMs",
        alias = "lasting",
        with = "crate::domain::value::millis::exact"
    )]
    pub lasting: Duration,
    /// Minimum number of failed attempts, so that two bad moments do not disable an endpoint with
    /// little traffic.
    pub failures: u32,
}

impl FailingRule {
    /// Returns a rule that holds after `lasting` without a success and at least `failures` failed
    /// attempts.
    pub fn new(lasting: Duration, failures: u32) -> Self {
        Self { lasting, failures }
    }
}

impl DisablePolicy {
    /// Returns the alert service's behaviour: only the application disables an endpoint.
    pub fn never() -> Self {
        Self::default()
    }

    /// Returns the recommendation of Standard Webhooks 1.0: a 410 disables, and so do lasting
    /// failures.
    ///
    /// Frequent failures disable quickly (an hour without a success and 1,000 failed attempts),
    /// rare ones slowly (5 days and 10).
    pub fn standard_webhooks() -> Self {
        let hour = Duration::from_hours(1);
        Self {
            on_gone: true,
            when_failing: vec![
                FailingRule::new(hour, 1_000),
                FailingRule::new(hour * 24 * 5, 10),
            ],
        }
    }
}

/// Why an endpoint is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DisabledReason {
    /// The application disabled it.
    Application,
    /// The receiver answered 410 (Gone).
    Gone,
    /// Every attempt has failed for as long as a [`FailingRule`] allows.
    Failing,
    /// The receiver answered with `webhook-delivery: disable`.
    ReceiverAsked,
    /// Its stored settings cannot be read, and nobody asked for calls without them. `PutEndpoint`
    /// enables it again; `ResumeEndpoint` does not.
    Unreadable,
}

impl fmt::Display for DisabledReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Application => "requested by the application",
            Self::Gone => "receiver answered 410 (Gone)",
            Self::Failing => "every attempt has failed for too long",
            Self::ReceiverAsked => "receiver asked to be disabled",
            Self::Unreadable => "stored settings cannot be read and must be put again",
        })
    }
}

/// How long an endpoint has been failing. Stored, so that a restart does not reset the count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Health {
    /// When the first failed attempt ended; `None` after a success.
    pub failing_since: Option<Timestamp>,
    /// Number of failed attempts since then.
    pub failures: u32,
    /// When the warning was given that the endpoint will be disabled.
    pub warned_at: Option<Timestamp>,
}

impl Health {
    /// Records a success. Returns `true` if that changed anything.
    pub(crate) fn on_success(&mut self) -> bool {
        let failing = self.failing_since.is_some();
        if failing {
            *self = Self::default();
        }
        failing
    }

    /// Records a failed attempt. Returns `true` if the endpoint is to be disabled: a rule holds,
    /// and an earlier attempt already gave the warning.
    pub(crate) fn on_failure(&mut self, rules: &[FailingRule], now: Timestamp) -> bool {
        let since = *self.failing_since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        let lasted = now.since(since);
        let (failures, warned) = (self.failures, self.warned_at.is_some());
        let holds = |rule: &FailingRule| lasted >= rule.lasting && failures >= rule.failures;
        let halfway =
            |rule: &FailingRule| lasted >= rule.lasting / 2 && failures >= rule.failures / 2;
        if warned && rules.iter().any(holds) {
            return true;
        }
        if !warned && rules.iter().any(halfway) {
            self.warned_at = Some(now);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(hours: u64) -> Timestamp {
        Timestamp::from_unix_millis(0) + Duration::from_hours(hours)
    }

    #[test]
    fn a_warning_comes_halfway_and_the_end_when_the_rule_holds() {
        let rules = [FailingRule::new(Duration::from_hours(10), 4)];
        let mut health = Health::default();
        let mut disabled = Vec::new();
        for at in [0, 2, 5, 9, 10] {
            disabled.push(health.on_failure(&rules, hour(at)));
        }
        assert_eq!(disabled, [false, false, false, false, true]);
        assert_eq!(health.warned_at, Some(hour(5)));
    }

    #[test]
    fn few_failures_over_a_long_time_are_warned_of_before_they_count() {
        let rules = [FailingRule::new(Duration::from_hours(10), 2)];
        let mut health = Health::default();
        assert!(!health.on_failure(&rules, hour(0)));
        assert!(!health.on_failure(&rules, hour(100)), "nobody was warned");
        assert!(health.on_failure(&rules, hour(101)));
    }

    #[test]
    fn many_failures_in_a_short_time_are_not_enough() {
        let rules = [FailingRule::new(Duration::from_hours(10), 2)];
        let mut health = Health::default();
        assert!((0..1_000).all(|_| !health.on_failure(&rules, hour(1))));
    }

    #[test]
    fn a_success_forgets_all_of_it() {
        let rules = [FailingRule::new(Duration::ZERO, 1)];
        let mut health = Health::default();
        health.on_failure(&rules, hour(1));
        assert!(health.warned_at.is_some());
        assert!(health.on_success());
        assert_eq!(health, Health::default());
        assert!(!health.on_success());
        assert!(
            !health.on_failure(&[], hour(2)),
            "without a rule nothing is disabled"
        );
    }

    #[test]
    fn a_warning_takes_half_of_the_failures_too() {
        let rules = DisablePolicy::standard_webhooks().when_failing;
        let expected = [
            FailingRule::new(Duration::from_hours(1), 1_000),
            FailingRule::new(Duration::from_hours(120), 10),
        ];
        assert_eq!(rules, expected);
        let mut health = Health::default();
        health.on_failure(&rules, hour(0));
        for _ in 2..500 {
            health.on_failure(&rules, hour(1));
        }
        assert_eq!((health.failures, health.warned_at), (499, None));
        assert!(!health.on_failure(&rules, hour(1)));
        assert_eq!(health.warned_at, Some(hour(1)));
    }
}
