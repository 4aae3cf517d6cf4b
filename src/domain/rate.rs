//! The rate limit of an endpoint: attempts are paced, none is dropped and none is burned.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// How many attempts an endpoint gets at most in a time. They are spread evenly: a limit of 10 a second is one every 100 ms.
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
    per: Duration,
}

/// A limit as it may come in JSON, beyond all limits.
#[derive(Deserialize)]
struct GivenLimit {
    attempts: u32,
    per: Duration,
}

impl From<GivenLimit> for RateLimit {
    fn from(given: GivenLimit) -> Self {
        Self::new(given.attempts, given.per)
    }
}

impl RateLimit {
    /// Returns a limit of so many attempts per second. 0 counts as 1.
    pub fn per_second(attempts: u32) -> Self {
        Self::new(attempts, Duration::from_secs(1))
    }

    /// Returns a limit of so many attempts (0 counts as 1) in a time of 1 ms to 24 h.
    pub fn new(attempts: u32, per: Duration) -> Self {
        Self {
            attempts: attempts.max(1),
            per: per.clamp(Duration::from_millis(1), Duration::from_hours(24)),
        }
    }

    /// Returns the time between two attempts, in nanoseconds.
    fn interval(self) -> i128 {
        i128::try_from(self.per.as_nanos() / u128::from(self.attempts.max(1))).unwrap_or(i128::MAX)
    }
}

/// When the next attempt may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pacer {
    /// In nanoseconds since 1970. `None` before the first attempt.
    next_at: Option<i128>,
}

impl Pacer {
    /// Returns when an attempt may start; `None` when it may now.
    pub(crate) fn not_before(self, now: Timestamp) -> Option<Timestamp> {
        let next_at = self.next_at?;
        if next_at <= nanos(now) {
            return None;
        }
        let millis = i64::try_from(next_at.div_euclid(NANOS) + i128::from(next_at % NANOS != 0));
        Some(Timestamp::from_unix_millis(millis.unwrap_or(i64::MAX)))
    }

    /// Notes that an attempt starts.
    pub(crate) fn on_start(&mut self, limit: RateLimit, now: Timestamp) {
        // A timer may be late by some milliseconds; what was missed by that may be caught up, and no more.
        let earliest = nanos(now) - MOST_CAUGHT_UP;
        let turn = self
            .next_at
            .map_or(nanos(now), |next_at| next_at.max(earliest));
        self.next_at = Some(turn + limit.interval());
    }

    /// Forgets a turn that lies further ahead than the limit puts it, because the limit was raised.
    pub(crate) fn forget_far_turn(&mut self, limit: RateLimit, now: Timestamp) {
        // `now` is rounded down; when the last attempt started was rounded up.
        let latest = nanos(now) + NANOS + limit.interval();
        self.next_at = self.next_at.map(|next_at| next_at.min(latest));
    }
}

fn nanos(at: Timestamp) -> i128 {
    i128::from(at.unix_millis()) * NANOS
}

const NANOS: i128 = 1_000_000;

/// How late a turn may be and still count as taken in time, in nanoseconds.
const MOST_CAUGHT_UP: i128 = 20 * NANOS;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_unix_millis(1_000_000);

    /// Starts attempts as early as possible, each timer late by `late`, and returns when they started, in milliseconds.
    fn starts(limit: RateLimit, count: usize, late: impl Fn(usize) -> u64) -> Vec<u64> {
        let mut pacer = Pacer::default();
        let mut now = START;
        let mut starts = Vec::new();
        for number in 0..count {
            if let Some(at) = pacer.not_before(now) {
                now = at + Duration::from_millis(late(number));
                pacer.forget_far_turn(limit, now);
            }
            assert_eq!(pacer.not_before(now), None);
            pacer.on_start(limit, now);
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
        let limit = RateLimit::per_second(10);
        pacer.on_start(limit, START);
        let later = START + Duration::from_hours(1);
        pacer.on_start(limit, later);
        assert_eq!(
            pacer.not_before(later),
            Some(later + Duration::from_millis(80))
        );
    }

    #[test]
    fn a_limit_that_is_raised_is_not_kept_up_by_the_lower_one() {
        let (mut pacer, limit) = (Pacer::default(), RateLimit::per_second(1));
        pacer.on_start(RateLimit::new(1, Duration::from_hours(1)), START);
        pacer.forget_far_turn(limit, START);
        assert_eq!(
            pacer.not_before(START),
            Some(START + Duration::from_millis(1_001))
        );
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_the_limit(attempts in 1_u32..2_000, late in 0_u64..15) {
            let limit = RateLimit::per_second(attempts);
            let starts = starts(limit, 3_000, |number| if number % 5 == 0 { late } else { 0 });
            let most = usize::try_from(attempts).unwrap();
            // Room for what was caught up within 20 ms, and for the first.
            let slack = 1 + most / 50 + 1;
            for (number, start) in starts.iter().enumerate() {
                if let Some(later) = starts.get(number + most + slack) {
                    prop_assert!(later - start >= 1_000, "{} and {}", start, later);
                }
            }
        }
    }
}
