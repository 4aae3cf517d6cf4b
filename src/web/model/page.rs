//! Lists, and the parameters that all of them share.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::domain::value::time::Timestamp;
use crate::store::Page;
use crate::web::cursor;
use crate::web::problems::Problem;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::web) struct List<T> {
    /// The things on this page. A page may hold fewer than `limit`, or none, and yet not be the
    /// last.
    pub(in crate::web) data: Vec<T>,
    /// The `cursor` of the next page; `null` on the last one.
    #[schema(required)]
    pub(in crate::web) next: Option<String>,
    /// How far the search looked back, if it gave up before the page was full.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub(in crate::web) searched_to: Option<Timestamp>,
}

impl<T> List<T> {
    pub(in crate::web) fn new(data: Vec<T>, next: Option<String>) -> Self {
        Self {
            data,
            next,
            searched_to: None,
        }
    }

    /// Returns a page of a search as it is shown. `filter` is what its cursor is bound to.
    pub(in crate::web) fn of<U>(
        page: &Page<U>,
        filter: &impl Serialize,
        show: impl Fn(&U) -> Result<T, Problem>,
    ) -> Result<Self, Problem> {
        Ok(Self {
            data: page.iter().map(show).collect::<Result<_, _>>()?,
            next: page.next.map(|id| cursor::after(filter, &id.to_string())),
            searched_to: page.searched_to,
        })
    }
}

/// Leaves a parameter out of the filter that a cursor is bound to. Utoipa would take serde's own
/// word for that as leaving it out of the document.
pub(super) fn always<T>(_: &T) -> bool {
    true
}

/// The number of things on a page: 1 to `MOST`, 50 by default, or `MOST` if that is less.
#[derive(Clone, Copy, Debug, Serialize)]
pub(in crate::web) struct Limit<const MOST: u16 = 200>(u16);

impl<const MOST: u16> Limit<MOST> {
    pub(in crate::web) fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl<const MOST: u16> Default for Limit<MOST> {
    fn default() -> Self {
        Self(MOST.min(50))
    }
}

impl<'de, const MOST: u16> Deserialize<'de> for Limit<MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        let number = text
            .parse()
            .ok()
            .filter(|number| (1..=MOST).contains(number));
        number
            .map(Self)
            .ok_or_else(|| D::Error::custom(format_args!("must be a number from 1 to {MOST}")))
    }
}

/// An instant, or a length of time back from now: `15m`, `6h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Moment {
    At(Timestamp),
    Ago(Duration),
}

impl Moment {
    /// Returns the instant.
    pub(in crate::web) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(back) => now - back,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.chars();
        let seconds = match rest.next_back()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return text.parse().ok().map(Self::At),
        };
        let count = rest.as_str();
        // The parser of numbers would take a sign.
        let count = count
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(count)?;
        let count: u32 = count.parse().ok()?;
        Some(Self::Ago(Duration::from_secs(u64::from(count) * seconds)))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(
                "must be an RFC 3339 instant, or a time back from now like 15m, 6h or 7d",
            )
        })
    }
}

/// Written as part of a filter, which a cursor is bound to.
impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::At(at) => at.serialize(to),
            Self::Ago(back) => back.as_secs().serialize(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_an_instant_or_a_time_back() {
        let now = Timestamp::from_unix_millis(1_000_000_000);
        let parsed = |text: &str| Moment::parse(text).map(|moment| moment.from(now));
        for (text, minutes) in [("15m", 15), ("6h", 360), ("7d", 10_080), ("0s", 0)] {
            let back = Duration::from_secs(60 * minutes);
            assert_eq!(parsed(text), Some(now - back), "{text}");
        }
        let at = Timestamp::from_unix_millis(0);
        assert_eq!(parsed("1970-01-01T00:00:00Z"), Some(at));
        for wrong in [
            "",
            "m",
            "15",
            "15 m",
            "-1m",
            "+1m",
            "1.5h",
            "99999999999d",
            "1w",
            "ü",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        assert_eq!(parsed("4294967295d"), Some(Timestamp::MIN), "it saturates");
    }
}
