//! The instant passed to every rule: UTC, in whole milliseconds.
//!
//! Rules never read a clock. The caller passes `now`, so that a retry schedule of days can be
//! tested in microseconds, and a stored deadline can be compared with one just computed.
//!
//! Rules and stores get the engine's time, which no setting of the wall clock moves. People and
//! receivers see wall time (`wall.rs` converts between them). A time between two milliseconds is
//! rounded up when a deadline follows from it, and down when it decides whether something is due.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::{SignedDuration, civil};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant in UTC with a resolution of one millisecond, from the year 0 to the year 9999.
///
/// The engine shows and accepts wall time, by the clock at that moment; setting the clock moves
/// nothing that is in progress. In JSON it is an RFC 3339 string (`"2026-03-01T12:00:00.250Z"`).
/// RFC 3339 has no years outside this range, so every instant is read back as written. Arithmetic
/// saturates, so no remote value can overflow it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest instant: 0000-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_167_219_200_000);

    /// The latest instant: 9999-12-31T23:59:59.999Z. Anything permanent lasts until then.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// An instant that no clock reaches.
    pub(crate) const NEVER: Self = Self::MAX;

    /// Returns the instant `millis` milliseconds after 1970-01-01T00:00:00Z, or before it if
    /// negative.
    ///
    /// Values outside [`MIN`](Self::MIN) to [`MAX`](Self::MAX) are clamped to them.
    pub const fn from_unix_millis(millis: i64) -> Self {
        if millis < Self::MIN.0 {
            Self::MIN
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Returns the milliseconds since 1970-01-01T00:00:00Z.
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Returns the instant `wait` before this one.
    #[must_use]
    pub fn before(self, wait: Duration) -> Self {
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_millis(self.0.saturating_sub(millis))
    }

    /// Returns the time from `earlier` to this instant; zero if this instant is not later.
    pub fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

impl Timestamp {
    /// Returns the instant `millis` milliseconds later, or earlier if negative.
    #[must_use]
    pub(crate) const fn moved(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        // Rounded up, so that "not before" also holds for fractions of a millisecond.
        let millis = wait.as_nanos().div_ceil(1_000_000);
        let millis = i64::try_from(millis).unwrap_or(i64::MAX);
        Self::from_unix_millis(self.0.saturating_add(millis))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self::from_unix_millis(millis(after)),
            Err(before) => Self::from_unix_millis(-millis(before.duration())),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let wait = Duration::from_millis(time.0.unsigned_abs());
        let moved = if time.0 < 0 {
            UNIX_EPOCH.checked_sub(wait)
        } else {
            UNIX_EPOCH.checked_add(wait)
        };
        // Where a system's clock cannot hold the year 0.
        moved.unwrap_or(UNIX_EPOCH)
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, wait: Duration) -> Self {
        self.before(wait)
    }
}

/// An RFC 3339 string that is not an instant of the years 0000 to 9999 in UTC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTimestamp(&'static str);

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        parse(text).map_err(InvalidTimestamp)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Jiff's timestamps end a day earlier, to leave room for every offset; its dates do not.
        match EPOCH.checked_add(SignedDuration::from_millis(self.0)) {
            Ok(time) => write!(f, "{time:.3}Z"),
            Err(_) => write!(f, "{} ms", self.0),
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
        parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Parses an RFC 3339 instant. The error does not contain the text, which may be anything.
fn parse(text: &str) -> Result<Timestamp, &'static str> {
    let refused = "timestamp is not in RFC 3339 format; write it like 2026-03-01T12:00:00Z";
    let pieces = Pieces::parse(text).map_err(|_| refused)?;
    let time = pieces.time().ok_or(refused)?;
    let offset = pieces.to_numeric_offset().ok_or(refused)?;
    let local = DateTime::from_parts(pieces.date(), time).duration_since(EPOCH);
    let since = local.checked_sub(SignedDuration::from_secs(offset.seconds().into()));
    let millis = since.and_then(|since| i64::try_from(since.as_millis()).ok());
    let known = Timestamp::MIN.0..=Timestamp::MAX.0;
    let millis = millis.filter(|millis| known.contains(millis));
    let millis = millis.ok_or("timestamp is outside the years 0000 to 9999 in UTC")?;
    Ok(Timestamp(millis))
}

/// 1970-01-01T00:00:00, without an offset.
const EPOCH: DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);

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
    fn is_parsed_shown_and_converted_both_ways() {
        let time: Timestamp = "2026-03-01T12:00:00.250Z".parse().unwrap();
        assert_eq!(format!("{time:?}"), "2026-03-01T12:00:00.250Z");
        assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        let early = Timestamp::from_unix_millis(-5);
        assert_eq!(Timestamp::from(SystemTime::from(early)), early);
        assert_eq!(time - Duration::from_secs(1) + Duration::from_secs(1), time);
        let refused = "yesterday".parse::<Timestamp>().unwrap_err().to_string();
        assert!(refused.contains("write it like"), "{refused}");
    }

    /// Regression: an instant of 9999-12-31, and one at the end of the integers, was written as the
    /// day before.
    #[test]
    fn every_instant_is_read_as_it_was_written() {
        let ends = [
            i64::MIN,
            -62_167_219_200_000,
            -1,
            0,
            253_402_300_799_999,
            i64::MAX,
        ];
        for time in ends.map(Timestamp::from_unix_millis) {
            let json = serde_json::to_string(&time).unwrap();
            let read = serde_json::from_str::<Timestamp>(&json);
            assert_eq!(read.ok(), Some(time), "{json}");
        }
        assert_eq!(Timestamp::MIN.to_string(), "0000-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
        for beyond in [
            "9999-12-31T23:59:59-00:01",
            "0000-01-01T00:00:00+00:01",
            "-000001-12-31T00:00:00Z",
            "2026-03-01",
            "2026-03-01T12:00:00",
            "2026-03-01T12:00:00[Europe/Berlin]",
            "",
        ] {
            let read = serde_json::from_str::<Timestamp>(&format!("{beyond:?}"));
            assert!(read.is_err(), "{beyond}: {read:?}");
        }
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
        assert_eq!(end, Timestamp::MAX);
        assert_eq!(Timestamp::default().before(Duration::MAX), Timestamp::MIN);
    }

    #[test]
    fn seconds_round_down_before_the_epoch_too() {
        assert_eq!(Timestamp::from_unix_millis(-1).unix_seconds(), -1);
        assert_eq!(Timestamp::from_unix_millis(1_999).unix_seconds(), 1);
    }
}
