//! When a failed delivery is retried, and when it is given up.
//!
//! The default reproduces the alert service: at most three retries within two minutes, at intervals
//! that grow to at most 60 s. A receiver's `Retry-After` replaces the interval.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::value::time::Timestamp;

/// When a failed delivery is retried. Defaults to [`RetryPolicy::three_in_two_minutes`].
///
/// ```
/// use std::time::Duration;
/// use actix_webhooks::RetryPolicy;
///
/// let policy = RetryPolicy::custom([Duration::from_secs(1), Duration::from_secs(10)]).without_jitter();
/// assert_eq!(policy.max_attempts(), 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "GivenPolicy")]
pub struct RetryPolicy {
    #[serde(
        rename = "waitsMs",
        alias = "waits",
        with = "crate::domain::value::millis::list"
    )]
    waits: Vec<Duration>,
    jitter: bool,
    #[serde(
        rename = "windowMs",
        alias = "window",
        with = "crate::domain::value::millis::maybe",
        default
    )]
    window: Option<Duration>,
    #[serde(
        rename = "maxRetryAfterMs",
        alias = "maxRetryAfter",
        with = "crate::domain::value::millis::exact"
    )]
    max_retry_after: Duration,
}

/// A policy as read from JSON, before limits apply.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GivenPolicy {
    #[serde(
        rename = "waitsMs",
        alias = "waits",
        with = "crate::domain::value::millis::list"
    )]
    waits: Vec<Duration>,
    jitter: bool,
    #[serde(
        rename = "windowMs",
        alias = "window",
        with = "crate::domain::value::millis::maybe",
        default
    )]
    window: Option<Duration>,
    #[serde(
        rename = "maxRetryAfterMs",
        alias = "maxRetryAfter",
        with = "crate::domain::value::millis::exact"
    )]
    max_retry_after: Duration,
}

impl From<GivenPolicy> for RetryPolicy {
    fn from(given: GivenPolicy) -> Self {
        Self {
            jitter: given.jitter,
            window: given.window.map(|window| window.min(MAX_WAIT)),
            ..Self::custom(given.waits).max_retry_after(given.max_retry_after)
        }
    }
}

/// The attempts of a delivery so far: everything that its schedule depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Progress {
    /// Number of finished attempts.
    pub attempts_made: u32,
    /// When retrying ends; `None` before the first attempt, and under a policy without a window.
    pub deadline: Option<Timestamp>,
}

/// What follows a transient failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Another attempt, not before this instant.
    At(Timestamp),
    /// The policy allows no further attempt.
    AttemptsExhausted,
    /// The deadline has passed.
    DeadlinePassed,
}

impl RetryPolicy {
    /// Returns the alert service's policy: waits of 15, 30 and 60 s, jittered, within 120 s of the
    /// first attempt.
    ///
    /// A retry due more than 120 s after the start of the first attempt is moved forward to that
    /// instant. A failure at or after it ends the delivery.
    pub fn three_in_two_minutes() -> Self {
        Self {
            window: Some(Duration::from_mins(2)),
            ..Self::custom([15, 30, 60].map(Duration::from_secs))
        }
    }

    /// Returns the schedule that Standard Webhooks 1.0 recommends: ten attempts over about three
    /// days.
    ///
    /// They come 5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h after the previous failure,
    /// jittered.
    pub fn standard_webhooks() -> Self {
        const HOUR: u64 = 3_600;
        Self::custom(
            [
                5,
                300,
                1_800,
                2 * HOUR,
                5 * HOUR,
                10 * HOUR,
                14 * HOUR,
                20 * HOUR,
                24 * HOUR,
            ]
            .map(Duration::from_secs),
        )
    }

    /// Returns a policy without retries: the first failure makes a dead letter.
    pub fn none() -> Self {
        Self::custom([])
    }

    /// Returns a policy with these waits after the first, second, … failure, jittered, without a
    /// window.
    ///
    /// At most [`MAX_RETRIES`](crate::limits::MAX_RETRIES) waits are used, each at most
    /// [`MAX_WAIT`](crate::limits::MAX_WAIT).
    pub fn custom(waits: impl IntoIterator<Item = Duration>) -> Self {
        let waits = waits
            .into_iter()
            .take(MAX_RETRIES)
            .map(|wait| wait.min(MAX_WAIT))
            .collect();
        Self {
            waits,
            jitter: true,
            window: None,
            max_retry_after: Duration::from_hours(24),
        }
    }

    /// Sets how long after the start of the first attempt retries may start.
    ///
    /// Defaults to no limit; [`three_in_two_minutes`](Self::three_in_two_minutes) sets 120 s.
    #[must_use]
    pub fn within(mut self, window: Duration) -> Self {
        self.window = Some(window.min(MAX_WAIT));
        self
    }

    /// Disables jitter: every wait is exactly as long as stated.
    ///
    /// By default each wait is multiplied by a factor uniform on [0.8, 1.0], so that deliveries
    /// that failed together do not come back together.
    #[must_use]
    pub fn without_jitter(mut self) -> Self {
        self.jitter = false;
        self
    }

    /// Sets the longest `Retry-After` that is honoured in full; longer ones are cut to it. Defaults
    /// to 24 h.
    #[must_use]
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        self.max_retry_after = longest.min(MAX_WAIT);
        self
    }

    /// Returns the most attempts that a delivery gets.
    pub fn max_attempts(&self) -> u32 {
        u32::try_from(self.waits.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1)
    }

    /// Returns the waits between attempts, before jitter.
    pub fn waits(&self) -> &[Duration] {
        &self.waits
    }

    /// Returns `true` if each wait is varied at random.
    pub fn has_jitter(&self) -> bool {
        self.jitter
    }

    /// Returns the time after the start of the first attempt within which retries start; `None`
    /// without a limit.
    pub fn window(&self) -> Option<Duration> {
        self.window
    }

    /// Returns the longest wait that `Retry-After` can ask for.
    pub fn longest_retry_after(&self) -> Duration {
        self.max_retry_after
    }

    /// Records the start of an attempt. The first one opens the window. `late` is the time that a
    /// retry spent waiting behind a hold, a pause or an outage of the sender; it does not count
    /// against the window.
    pub(crate) fn begin_attempt(&self, progress: &mut Progress, now: Timestamp, late: Duration) {
        progress.deadline = match (progress.deadline, self.window) {
            (_, None) => None,
            (None, Some(window)) => Some(now + window),
            (Some(end), Some(_)) => Some(end + late),
        };
    }

    /// Decides what follows a transient failure, and counts the attempt. `retry_after` is the wait
    /// that the receiver asked for.
    pub(crate) fn after_failure(
        &self,
        progress: &mut Progress,
        now: Timestamp,
        retry_after: Option<Duration>,
        rng: &mut fastrand::Rng,
    ) -> Retry {
        progress.attempts_made = progress.attempts_made.saturating_add(1);
        let failures = usize::try_from(progress.attempts_made).unwrap_or(usize::MAX);
        let Some(scheduled) = self.waits.get(failures - 1) else {
            return Retry::AttemptsExhausted;
        };
        if progress.deadline.is_some_and(|end| now >= end) {
            return Retry::DeadlinePassed;
        }
        if let Some(wait) = retry_after {
            let wait = decent(wait.min(self.max_retry_after), failures, *scheduled);
            progress.deadline = progress.deadline.map(|end| end + wait);
            return Retry::At(now + wait);
        }
        let wait = if self.jitter {
            scheduled.mul_f64(1.0 - JITTER * rng.f64())
        } else {
            *scheduled
        };
        let due_at = now + wait;
        Retry::At(progress.deadline.map_or(due_at, |end| due_at.min(end)))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::three_in_two_minutes()
    }
}

/// Returns the wait for a `Retry-After`. A wait of a second or more is used as asked. A shorter
/// one, including 0 and a past date, becomes one second after the first failure and doubles each
/// time, up to the scheduled wait. Otherwise all attempts would be used up in a moment.
fn decent(asked: Duration, failures: usize, scheduled: Duration) -> Duration {
    if asked >= SOONEST {
        return asked;
    }
    let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX);
    let grown = SOONEST.saturating_mul(2_u32.saturating_pow(doublings));
    grown.min(scheduled).max(SOONEST)
}

/// The shortest wait after a failure, however short a `Retry-After` is.
const SOONEST: Duration = Duration::from_secs(1);

/// The most retries that a policy can have.
pub const MAX_RETRIES: usize = 100;

/// The longest wait that a policy can have: 30 days.
pub const MAX_WAIT: Duration = Duration::from_hours(30 * 24);

/// The largest share that jitter takes off a wait.
const JITTER: f64 = 0.2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_unix_millis(1_000_000);

    /// Returns the seconds at which attempts begin when each takes `duration` and fails, asking for
    /// `retry_after`.
    fn timeline(
        policy: &RetryPolicy,
        duration: u64,
        retry_after: &[Option<u64>],
        seed: u64,
    ) -> Vec<f64> {
        let (mut rng, mut progress, mut now, mut begun) = (
            fastrand::Rng::with_seed(seed),
            Progress::default(),
            START,
            Vec::new(),
        );
        loop {
            begun.push(now.since(START).as_secs_f64());
            policy.begin_attempt(&mut progress, now, Duration::ZERO);
            now = now + Duration::from_secs(duration);
            let asked = retry_after
                .get(begun.len() - 1)
                .copied()
                .flatten()
                .map(Duration::from_secs);
            match policy.after_failure(&mut progress, now, asked, &mut rng) {
                Retry::At(due_at) => now = due_at,
                Retry::AttemptsExhausted | Retry::DeadlinePassed => return begun,
            }
        }
    }

    #[track_caller]
    fn check(duration: u64, retry_after: &[Option<u64>], expected: &[f64]) {
        let policy = RetryPolicy::three_in_two_minutes().without_jitter();
        assert_eq!(timeline(&policy, duration, retry_after, 0), expected);
    }

    #[test]
    fn failures_at_once_are_retried_at_15_45_and_105_seconds() {
        check(0, &[], &[0.0, 15.0, 45.0, 105.0]);
    }

    #[test]
    fn with_a_timeout_each_time_the_third_retry_begins_at_two_minutes() {
        check(15, &[], &[0.0, 30.0, 75.0, 120.0]);
    }

    #[test]
    fn a_failure_at_or_after_the_window_ends_the_delivery() {
        check(60, &[], &[0.0, 75.0]);
        check(120, &[], &[0.0]);
    }

    #[test]
    fn retry_after_replaces_the_wait_and_extends_the_window() {
        check(0, &[Some(120)], &[0.0, 120.0, 150.0, 210.0]);
        check(0, &[None, Some(3_600)], &[0.0, 15.0, 3_615.0, 3_675.0]);
    }

    /// Regression: four attempts within one millisecond, then a dead letter.
    #[test]
    fn as_soon_as_is_decent_is_a_second_and_ever_longer() {
        check(0, &[Some(0); 4], &[0.0, 1.0, 3.0, 7.0]);
        check(0, &[Some(0), Some(1), Some(0)], &[0.0, 1.0, 2.0, 6.0]);
        let fast = RetryPolicy::custom([1, 2_000, 3_000, 4_000, 90_000].map(Duration::from_millis));
        let begun = timeline(&fast.without_jitter(), 0, &[Some(0); 5], 0);
        assert_eq!(begun, [0.0, 1.0, 3.0, 6.0, 10.0, 26.0]);
        let millis = decent(Duration::from_millis(1), 3, Duration::from_mins(1));
        assert_eq!(millis, Duration::from_secs(4), "a little is nothing");
    }

    #[test]
    fn retry_after_is_capped_by_the_policy() {
        let policy = RetryPolicy::three_in_two_minutes()
            .without_jitter()
            .max_retry_after(Duration::from_secs(90));
        assert_eq!(timeline(&policy, 0, &[Some(1_000)], 0)[1], 90.0);
    }

    #[test]
    fn time_spent_held_back_does_not_count_against_the_window() {
        let policy = RetryPolicy::three_in_two_minutes().without_jitter();
        let (mut rng, mut progress) = (fastrand::Rng::with_seed(0), Progress::default());
        policy.begin_attempt(&mut progress, START, Duration::ZERO);
        assert_eq!(
            policy.after_failure(&mut progress, START, None, &mut rng),
            Retry::At(START + Duration::from_secs(15))
        );
        let held = START + Duration::from_hours(1);
        policy.begin_attempt(&mut progress, held, Duration::from_secs(3_600 - 15));
        assert_eq!(
            policy.after_failure(&mut progress, held, None, &mut rng),
            Retry::At(held + Duration::from_secs(30))
        );
    }

    #[test]
    fn presets_have_the_attempts_they_promise() {
        assert_eq!(RetryPolicy::default().max_attempts(), 4);
        assert_eq!(RetryPolicy::standard_webhooks().max_attempts(), 10);
        assert_eq!(RetryPolicy::none().max_attempts(), 1);
        assert_eq!(
            RetryPolicy::custom([Duration::MAX; 500]).max_attempts(),
            101
        );
    }

    #[test]
    fn a_policy_that_is_read_is_within_the_limits() {
        let policy = RetryPolicy::three_in_two_minutes().without_jitter();
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<RetryPolicy>(&json).unwrap(), policy);
        let wait = r#"{"secs":18446744073709551615,"nanos":0}"#;
        let waits = vec![wait; 1_000].join(",");
        let json = format!(
            r#"{{"waits":[{waits}],"jitter":true,"window":{wait},"maxRetryAfter":{wait}}}"#
        );
        let given = RetryPolicy::custom([Duration::MAX; 1_000]);
        let given = given.within(Duration::MAX).max_retry_after(Duration::MAX);
        assert_eq!(serde_json::from_str::<RetryPolicy>(&json).unwrap(), given);
    }

    proptest! {
        #[test]
        fn with_jitter_waits_increase_and_stay_within_a_minute(seed: u64) {
            let begun = timeline(&RetryPolicy::three_in_two_minutes(), 0, &[], seed);
            let waits: Vec<f64> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
            prop_assert_eq!(waits.len(), 3);
            prop_assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", waits);
            // Differences between seconds since the start are not exact.
            prop_assert!(waits.iter().all(|wait| *wait < 60.000_1), "{:?}", waits);
        }

        #[test]
        fn no_schedule_overflows_or_exceeds_its_attempts(duration in 0_u64..1_000, asked in prop::collection::vec(prop::option::of(any::<u64>()), 0..5)) {
            let begun = timeline(&RetryPolicy::three_in_two_minutes(), duration, &asked, 1);
            prop_assert!(begun.len() <= 4);
        }
    }

    #[test]
    fn standard_webhooks_recommends_nine_waits() {
        let hours = |hours: u64| hours * 3_600;
        let waits = [
            5,
            300,
            1_800,
            hours(2),
            hours(5),
            hours(10),
            hours(14),
            hours(20),
            hours(24),
        ];
        let policy = RetryPolicy::standard_webhooks();
        assert_eq!(policy.waits(), waits.map(Duration::from_secs));
    }

    #[test]
    fn a_policy_tells_what_it_was_given() {
        let policy = RetryPolicy::three_in_two_minutes();
        assert_eq!(policy.window(), Some(Duration::from_mins(2)));
        assert!(policy.has_jitter());
        let custom = RetryPolicy::custom([Duration::from_secs(1)]).without_jitter();
        assert_eq!((custom.window(), custom.has_jitter()), (None, false));
    }
}
