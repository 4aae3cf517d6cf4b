//! When an endpoint that only fails is no longer attempted.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::value::time::Timestamp;

/// When an endpoint disables itself. What is published for it meanwhile is kept; `ResumeEndpoint` lets it go on. Defaults to
/// [`DisablePolicy::never`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct DisablePolicy {
    /// Whether a 410 (Gone) disables it. Defaults to `false`.
    pub on_gone: bool,
    /// Each disables it when it holds; a warning status comes first, halfway. Defaults to none.
    pub when_failing: Vec<FailingRule>,
}

/// An endpoint that has had no success for a time, and so many failed attempts in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FailingRule {
    /// For how long nothing but failures.
    #[serde(
        rename = "lastingMs",
        alias = "lasting",
        with = "crate::domain::value::millis::exact"
    )]
    pub lasting: Duration,
    /// At least so many of them, so that an endpoint with little traffic is not judged by two bad moments.
    pub failures: u32,
}

impl FailingRule {
    /// Returns the rule.
    pub fn new(lasting: Duration, failures: u32) -> Self {
        Self { lasting, failures }
    }
}

impl DisablePolicy {
    /// Returns the alert service's behaviour: nothing disables an endpoint but the application.
    pub fn never() -> Self {
        Self::default()
    }

    /// Returns what Standard Webhooks 1.0 recommends: 410 disables, and so do failures that last; fast where there are many (an hour with 1,000
    /// failed attempts), slowly where there are few (5 days with 10).
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

/// Why an endpoint is no longer attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DisabledReason {
    /// The application said so.
    Application,
    /// It answered 410 (Gone).
    Gone,
    /// It has only failed for as long as a [`FailingRule`] says.
    Failing,
    /// It answered with `webhook-delivery: disable`.
    ReceiverAsked,
    /// Its settings are kept and cannot be read. To call it without them is not what anybody has asked for:
    /// `PutEndpoint` lets it go on, `ResumeEndpoint` does not.
    Unreadable,
}

impl fmt::Display for DisabledReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Application => "disabled by the application",
            Self::Gone => "answered 410 (Gone)",
            Self::Failing => "has only failed for too long",
            Self::ReceiverAsked => "receiver asked to be disabled",
            Self::Unreadable => "its settings cannot be read; put them again",
        })
    }
}

/// Since when an endpoint has only failed. Kept in the store, so that a restart does not begin to count anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// When the first of the failures ended; `None` after a success.
    pub failing_since: Option<Timestamp>,
    /// How many attempts have failed since then.
    pub failures: u32,
    /// Since when a warning is out that the endpoint will be disabled.
    pub warned_at: Option<Timestamp>,
}

impl Health {
    /// Notes a success. Says whether that changed anything.
    pub(crate) fn on_success(&mut self) -> bool {
        let failing = self.failing_since.is_some();
        if failing {
            *self = Self::default();
        }
        failing
    }

    /// Notes a failed attempt. Says whether the endpoint is to be disabled: a rule holds, and a warning was given at an earlier attempt.
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
}
