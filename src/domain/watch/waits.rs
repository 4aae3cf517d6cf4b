//! Endpoints that could start an attempt, but have not: how far the engine lags behind.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::value::time::Timestamp;

/// The endpoints that wait for the engine, by the instant since when.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    since: BTreeSet<(Timestamp, u64)>,
}

impl Waits {
    /// Notes that an endpoint waits since `now` instead of since `before`.
    pub(crate) fn change(&mut self, who: u64, before: Option<Timestamp>, now: Option<Timestamp>) {
        if let Some(before) = before {
            self.since.remove(&(before, who));
        }
        if let Some(since) = now {
            self.since.insert((since, who));
        }
    }

    /// Returns how long the endpoint has waited that has waited longest.
    pub(crate) fn longest(&self, now: Timestamp) -> Duration {
        let first = self.since.first();
        first.map_or(Duration::ZERO, |(since, _)| now.since(*since))
    }

    /// Returns the number of endpoints that have waited for longer than `wait`.
    pub(crate) fn longer_than(&self, wait: Duration, now: Timestamp) -> u64 {
        let late = self.since.iter();
        let late = late.take_while(|(since, _)| now.since(*since) > wait);
        u64::try_from(late.count()).unwrap_or(u64::MAX)
    }
}

/// Returns since when an endpoint waits for the engine.
///
/// `waits` is `true` if an attempt could start now and `started` if one has started since `before`
/// was noted. A wait that has just begun is not moved on by every start: the instant is at most
/// [`RESOLUTION`] too early.
pub(crate) fn waits_since(
    before: Option<Timestamp>,
    waits: bool,
    started: bool,
    now: Timestamp,
) -> Option<Timestamp> {
    let recent = |since: &Timestamp| now.since(*since) < RESOLUTION;
    match before {
        _ if !waits => None,
        Some(since) if !started || recent(&since) => Some(since),
        Some(_) | None => Some(now),
    }
}

/// How much too long a wait may seem.
const RESOLUTION: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    #[test]
    fn the_lag_is_the_longest_wait() {
        let mut waits = Waits::default();
        assert_eq!(waits.longest(at(9_000)), Duration::ZERO);
        waits.change(1, None, Some(at(5_000)));
        waits.change(2, None, Some(at(5_000)));
        waits.change(3, None, Some(at(1_000)));
        assert_eq!(waits.longest(at(6_000)), Duration::from_secs(5));
        let second = Duration::from_secs(1);
        assert_eq!(
            waits.longer_than(second, at(6_000)),
            1,
            "not those of one second"
        );
        assert_eq!(waits.longer_than(second, at(6_001)), 3);
        waits.change(3, Some(at(1_000)), Some(at(5_500)));
        assert_eq!(waits.longest(at(6_000)), Duration::from_secs(1));
        waits.change(1, Some(at(5_000)), None);
        waits.change(2, Some(at(5_000)), None);
        waits.change(3, Some(at(5_500)), None);
        assert_eq!(waits.longest(at(6_000)), Duration::ZERO);
    }

    #[test]
    fn a_wait_ends_with_the_start_of_an_attempt() {
        assert_eq!(waits_since(None, true, false, at(1)), Some(at(1)));
        assert_eq!(waits_since(Some(at(1)), true, false, at(900)), Some(at(1)));
        assert_eq!(waits_since(Some(at(1)), true, true, at(900)), Some(at(900)));
        assert_eq!(waits_since(Some(at(1)), true, true, at(50)), Some(at(1)));
        assert_eq!(waits_since(Some(at(1)), true, true, at(51)), Some(at(51)));
        assert_eq!(waits_since(Some(at(1)), false, false, at(2)), None);
    }
}
