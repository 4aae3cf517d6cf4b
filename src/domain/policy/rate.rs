//! The rate limit of an endpoint: attempts are spaced; none is dropped and none is counted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::value::time::Timestamp;

/// The most attempts that an endpoint gets per period.
///
/// They are spread evenly: a limit of 10 per second is one every 100 ms.
///
/// ```
/// use std::time::Duration;
/// use actix_webhooks::RateLimit;
///
/// assert_eq!(RateLimit::per_second(10), RateLimit::new(10, Duration::from_secs(1)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "GivenLimit")]
pub struct RateLimit {
    attempts: u32,
    #[serde(
        rename = "perMs",
        alias = "per",
        with = "crate::domain::value::millis::exact"
    )]
    per: Duration,
}

/// A limit as read from JSON, before limits apply.
#[derive(Deserialize)]
struct GivenLimit {
    attempts: u32,
    #[serde(
        rename = "perMs",
        alias = "per",
        with = "crate::domain::value::millis::exact"
    )]
    per: Duration,
}

impl From<GivenLimit> for RateLimit {
    fn from(given: GivenLimit) -> Self {
        Self::new(given.attempts, given.per)
    }
}

impl RateLimit {
    /// Returns the number of attempts per [`period`](Self::period).
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns the period, 1 ms to 24 h.
    pub fn period(&self) -> Duration {
        self.per
    }

    /// Returns a limit of `attempts` per second. 0 counts as 1.
    pub fn per_second(attempts: u32) -> Self {
        Self::new(attempts, Duration::from_secs(1))
    }

    /// Returns a limit of `attempts` (0 counts as 1) per period of 1 ms to 24 h.
    pub fn new(attempts: u32, per: Duration) -> Self {
        Self {
            attempts: attempts.max(1),
            per: per.clamp(Duration::from_millis(1), Duration::from_hours(24)),
        }
    }

    /// Returns the time between two attempts.
    pub(crate) fn interval(self) -> Duration {
        self.per / self.attempts.max(1)
    }
}

/// When the next attempt may start. Stores the slot of the last attempt instead of the next one, so
/// that a changed interval counts from the last attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pacer {
    /// Nanoseconds since 1970; `None` before the first attempt.
    last: Option<i128>,
}

impl Pacer {
    /// Returns the pacer of an endpoint whose last attempt had its slot at `last`.
    pub(crate) fn after(last: Timestamp) -> Self {
        Self {
            last: Some(nanos(last)),
        }
    }

    /// Returns the slot of the last attempt, rounded up; `None` before the first.
    pub(crate) fn last(self) -> Option<Timestamp> {
        self.last.map(timestamp)
    }

    /// Returns when an attempt may start; `None` if it may start now.
    pub(crate) fn not_before(self, interval: Duration, now: Timestamp) -> Option<Timestamp> {
        let next_at = self.last? + length(interval);
        (next_at > nanos(now)).then(|| timestamp(next_at))
    }

    /// Records the start of an attempt.
    pub(crate) fn on_start(&mut self, interval: Duration, now: Timestamp) {
        // A timer may be some milliseconds late. That much is caught up, and no more. For rare
        // attempts it is not worth starting early.
        let caught_up = if interval < RARE { MOST_CAUGHT_UP } else { 0 };
        let earliest = nanos(now) - caught_up;
        let slot = self
            .last
            .map_or(nanos(now), |last| (last + length(interval)).max(earliest));
        self.last = Some(slot);
    }

    /// Treats `now` as the last slot, so that the next attempt waits an interval.
    pub(crate) fn begin(&mut self, now: Timestamp) {
        self.last = self.last.max(Some(nanos(now)));
    }

    /// Moves a last slot that lies in the future back to now, after the wall clock was set back. No
    /// attempt has started later than now.
    pub(crate) fn forget_future(&mut self, now: Timestamp) {
        // `now` is rounded down, and the last start was rounded up.
        self.last = self.last.map(|last| last.min(nanos(now) + NANOS));
    }
}

fn length(interval: Duration) -> i128 {
    // At most 2^64 seconds, so it fits.
    interval.as_nanos().cast_signed()
}

fn timestamp(nanos: i128) -> Timestamp {
    let millis = i64::try_from(nanos.div_euclid(NANOS) + i128::from(nanos.rem_euclid(NANOS) != 0));
    Timestamp::from_unix_millis(millis.unwrap_or(i64::MAX))
}

fn nanos(at: Timestamp) -> i128 {
    i128::from(at.unix_millis()) * NANOS
}

const NANOS: i128 = 1_000_000;

/// How late an attempt may be and still be caught up, in nanoseconds.
const MOST_CAUGHT_UP: i128 = 20 * NANOS;

/// Attempts at this interval or longer are not caught up.
const RARE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_unix_millis(1_000_000);

    /// Starts attempts as early as possible, with each timer `late`, and returns their start times
    /// in milliseconds.
    fn starts(limit: RateLimit, count: usize, late: impl Fn(usize) -> u64) -> Vec<u64> {
        let mut pacer = Pacer::default();
        let mut now = START;
        let mut starts = Vec::new();
        for number in 0..count {
            let interval = limit.interval();
            if let Some(at) = pacer.not_before(interval, now) {
                now = at + Duration::from_millis(late(number));
                pacer.forget_future(now);
            }
            assert_eq!(pacer.not_before(interval, now), None);
            pacer.on_start(interval, now);
            starts.push(u64::try_from(now.since(START).as_millis()).unwrap());
        }
        starts
    }

    #[test]
    fn ten_a_second_is_one_every_hundred_milliseconds() {
        let limit = RateLimit::per_second(10);
        assert_eq!(starts(limit, 4, |_| 0), [0, 100, 200, 300]);
        assert_eq!(*starts(limit, 1_000, |_| 0).last().unwrap(), 99_900);
    }

    #[test]
    fn a_rate_that_is_no_whole_number_of_milliseconds_is_kept_on_average() {
        let last = *starts(RateLimit::per_second(3_000), 30_001, |_| 0)
            .last()
            .unwrap();
        assert_eq!(last, 10_000);
        let last = *starts(RateLimit::per_second(7), 701, |_| 0).last().unwrap();
        assert_eq!(last, 100_000);
    }

    #[test]
    fn a_late_timer_does_not_slow_the_rate_and_an_idle_time_saves_nothing_up() {
        let late = starts(RateLimit::per_second(10), 1_000, |number| {
            u64::from(number % 3 == 0) * 5
        });
        assert!((99_900..=99_905).contains(late.last().unwrap()));
        let mut pacer = Pacer::default();
        let interval = RateLimit::per_second(10).interval();
        pacer.on_start(interval, START);
        let later = START + Duration::from_hours(1);
        pacer.on_start(interval, later);
        assert_eq!(
            pacer.not_before(interval, later),
            Some(later + Duration::from_millis(80))
        );
    }

    #[test]
    fn where_attempts_are_rare_none_is_early_because_one_was_late() {
        let minute = RateLimit::new(1, Duration::from_mins(1));
        let starts = starts(minute, 4, |number| if number == 1 { 15 } else { 0 });
        assert_eq!(starts, [0, 60_015, 120_015, 180_015]);
    }

    #[test]
    fn another_limit_counts_from_the_last_attempt() {
        let mut pacer = Pacer::default();
        pacer.on_start(RateLimit::per_second(10).interval(), START);
        for seconds in [60, 1] {
            let interval = Duration::from_secs(seconds);
            assert_eq!(pacer.not_before(interval, START), Some(START + interval));
        }
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_it() {
        let (mut pacer, interval) = (Pacer::default(), Duration::from_secs(1));
        pacer.on_start(interval, START + Duration::from_hours(1));
        pacer.forget_future(START);
        let latest = START + Duration::from_millis(1);
        assert_eq!(pacer, Pacer::after(latest));
        assert_eq!(pacer.not_before(interval, START), Some(latest + interval));
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_the_limit(attempts in 1_u32..2_000, late in 0_u64..15) {
            let limit = RateLimit::per_second(attempts);
            let starts = starts(limit, 3_000, |number| if number % 5 == 0 { late } else { 0 });
            let most = usize::try_from(attempts).unwrap();
            // Room for the attempts caught up within 20 ms, and for the first one.
            let slack = 1 + most / 50 + 1;
            for (number, start) in starts.iter().enumerate() {
                if let Some(later) = starts.get(number + most + slack) {
                    prop_assert!(later - start >= 1_000, "{} and {}", start, later);
                }
            }
        }
    }

    #[test]
    fn a_limit_tells_what_it_was_given() {
        let limit = RateLimit::new(7, Duration::from_secs(3));
        assert_eq!(
            (limit.attempts(), limit.period()),
            (7, Duration::from_secs(3))
        );
    }

    #[test]
    fn after_a_beginning_the_first_attempt_waits_an_interval() {
        let second = Duration::from_secs(1);
        let mut pacer = Pacer::default();
        assert_eq!(pacer.not_before(second, START), None);
        pacer.begin(START);
        assert_eq!(pacer.not_before(second, START), Some(START + second));
        pacer.begin(START.before(second));
        assert_eq!(pacer.last(), Some(START), "it has begun later");
    }
}
