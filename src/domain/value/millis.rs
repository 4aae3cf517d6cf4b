//! Durations in JSON: milliseconds, in fields whose names end in `Ms`. Serde's own shape, an object
//! of seconds and nanoseconds, is also read, because earlier versions wrote it.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// One duration. A fraction of a millisecond is written as a decimal. A duration that a decimal
/// cannot hold exactly keeps serde's shape, so that every value is read back unchanged.
struct Millis(Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let length = self.0;
        let whole = length.subsec_nanos().is_multiple_of(1_000_000);
        if let (true, Ok(millis)) = (whole, u64::try_from(length.as_millis())) {
            return to.serialize_u64(millis);
        }
        let millis = length.as_secs_f64() * 1e3;
        if from_fraction(millis) == Some(length) {
            return to.serialize_f64(millis);
        }
        length.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        let length = if let Value::Number(number) = &value {
            number
                .as_u64()
                .map(Duration::from_millis)
                .or_else(|| number.as_f64().and_then(from_fraction))
                .ok_or_else(|| D::Error::custom("duration in milliseconds must not be negative"))
        } else {
            Duration::deserialize(value)
                .map_err(|_| D::Error::custom("duration must be a number of milliseconds"))
        };
        length.map(Self)
    }
}

fn from_fraction(millis: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(millis / 1e3).ok()
}

pub(crate) mod exact {
    use super::{Deserialize as _, Deserializer, Duration, Millis, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(length: &Duration, to: S) -> Result<S::Ok, S::Error> {
        Millis(*length).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Millis::deserialize(from).map(|millis| millis.0)
    }
}

pub(crate) mod maybe {
    use super::{Deserialize as _, Deserializer, Duration, Millis, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "serde calls it like this")]
    pub(crate) fn serialize<S: Serializer>(
        length: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        length.map(Millis).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Millis>::deserialize(from)?.map(|millis| millis.0))
    }
}

pub(crate) mod list {
    use super::{Deserialize as _, Deserializer, Duration, Millis, Serializer};

    pub(crate) fn serialize<S: Serializer>(lengths: &[Duration], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(lengths.iter().copied().map(Millis))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Duration>, D::Error> {
        let lengths = Vec::<Millis>::deserialize(from)?;
        Ok(lengths.into_iter().map(|millis| millis.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(length: Duration, json: &str) {
        assert_eq!(serde_json::to_string(&Millis(length)).unwrap(), json);
    }

    #[test]
    fn a_length_is_a_number_of_milliseconds() {
        check(Duration::ZERO, "0");
        check(Duration::from_mins(2), "120000");
        check(Duration::from_micros(1_500), "1.5");
        check(
            Duration::MAX,
            r#"{"secs":18446744073709551615,"nanos":999999999}"#,
        );
        for wrong in ["-1", "-0.5", "\"1 s\"", "[1]", "1e300", "null"] {
            assert!(serde_json::from_str::<Millis>(wrong).is_err(), "{wrong}");
        }
        let old = serde_json::from_str::<Millis>(r#"{"secs":1,"nanos":250000000}"#);
        assert_eq!(old.unwrap().0, Duration::from_millis(1_250));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(secs: u64, small in 0_u64..10_000_000, nanos in 0_u32..1_000_000_000) {
            for length in [Duration::new(secs, nanos), Duration::new(small, nanos), Duration::from_millis(secs)] {
                let json = serde_json::to_string(&Millis(length)).unwrap();
                prop_assert_eq!(serde_json::from_str::<Millis>(&json).unwrap().0, length);
            }
        }
    }
}
