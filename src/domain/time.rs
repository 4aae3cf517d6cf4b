//! The instant that every rule is given: UTC, in whole milliseconds.
//!
//! Rules never read a clock. A shell hands them `now`, so that a retry schedule of days can be tested in microseconds and
//! a deadline that was stored can be compared with one that was just computed.
//!
//! What rules and stores are given is the engine's time, which no setting of the wall clock moves; what is shown to
//! people and receivers is wall time (`wall.rs` is between them). A time that lies between two milliseconds is rounded
//! up where a deadline follows from it, and down where something is judged to be due.

use std::fmt;
use std::ops::Add;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant in UTC with a resolution of one millisecond.
///
/// What the engine shows and is told is wall time, by the clock as it stands at that moment; setting the clock moves nothing that is
/// under way. In JSON it is an RFC 3339 string (`"2026-03-01T12:00:00.250Z"`). Arithmetic saturates: no remote value can overflow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// An instant that no clock reaches.
    pub(crate) const NEVER: Self = Self(i64::MAX);

    /// Returns the instant `millis` milliseconds after 1970-01-01T00:00:00Z, negative for before.
    pub const fn from_unix_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since 1970-01-01T00:00:00Z.
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Returns the instant that was so long before this one.
    #[must_use]
    pub fn before(self, wait: Duration) -> Self {
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// Returns how long after `earlier` this instant is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

impl Timestamp {
    /// Returns the instant so many milliseconds later, or earlier where they are negative.
    #[must_use]
    pub(crate) const fn moved(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        // Rounded up, so that "not before" holds for parts of a millisecond too.
        let millis = wait.as_nanos().div_ceil(1_000_000);
        Self(
            self.0
                .saturating_add(i64::try_from(millis).unwrap_or(i64::MAX)),
        )
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(millis(after)),
            Err(before) => Self(-millis(before.duration())),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clamped = self.0.clamp(
            jiff::Timestamp::MIN.as_millisecond(),
            jiff::Timestamp::MAX.as_millisecond(),
        );
        match jiff::Timestamp::from_millisecond(clamped) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{clamped} ms"),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(time.as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_rfc_3339_and_read_back_with_any_offset() {
        let time = Timestamp::from_unix_millis(1_614_265_330_250);
        assert_eq!(time.to_string(), "2021-02-25T15:02:10.250Z");
        let json = serde_json::to_string(&time).unwrap();
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), time);
        let offset = serde_json::from_str::<Timestamp>("\"2021-02-25T17:02:10.25+02:00\"").unwrap();
        assert_eq!(offset, time);
    }

    #[test]
    fn arithmetic_saturates_and_never_rounds_down() {
        let end = Timestamp::from_unix_millis(i64::MAX);
        assert_eq!(end + Duration::MAX, end);
        assert_eq!(Timestamp::default().since(end), Duration::ZERO);
        assert_eq!(
            (Timestamp::default() + Duration::from_nanos(1)).unix_millis(),
            1
        );
        assert!(!end.to_string().is_empty());
    }

    #[test]
    fn seconds_round_down_before_the_epoch_too() {
        assert_eq!(Timestamp::from_unix_millis(-1).unix_seconds(), -1);
        assert_eq!(Timestamp::from_unix_millis(1_999).unix_seconds(), 1);
    }
}
