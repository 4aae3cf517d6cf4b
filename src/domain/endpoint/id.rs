//! The id of an endpoint: a digest of its URL.
//!
//! A URL may hold a secret in its query, and breaks proxies when it is part of another path. An id
//! derived from it is the same in every process, and needs no column in a store.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::value::url::WebhookUrl;

/// The id of an endpoint, derived from its URL: `ep_` and 32 hexadecimal digits.
///
/// Every spelling of a URL gives the same id, in every process and version.
///
/// ```
/// use actix_webhooks::{EndpointId, WebhookUrl};
///
/// let url = WebhookUrl::parse("https://example.com/hooks")?;
/// let id = EndpointId::of(&url);
/// assert_eq!(id.to_string().parse::<EndpointId>()?, id);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(u128);

/// A text that is not the id of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("endpoint id must be {PREFIX} and {DIGITS} hexadecimal digits")]
#[non_exhaustive]
pub struct InvalidEndpointId;

impl EndpointId {
    /// Returns the id of the endpoint with this URL: the first half of the URL's SHA-256.
    pub fn of(url: &WebhookUrl) -> Self {
        let whole = digest(&SHA256, url.as_str().as_bytes());
        let half = whole.as_ref().iter().take(16);
        Self(half.fold(0, |id, byte| (id << 8) | u128::from(*byte)))
    }

    /// Returns the ids that begin with a text: `ep_` and 1 to 32 digits. `None` if none can.
    pub(crate) fn beginning_with(text: &str) -> Option<RangeInclusive<Self>> {
        let digits = text.strip_prefix(PREFIX)?;
        if digits.is_empty() || digits.len() > DIGITS {
            return None;
        }
        let first = format!("{PREFIX}{digits:0<DIGITS$}").parse().ok()?;
        let last = format!("{PREFIX}{digits:f<DIGITS$}").parse().ok()?;
        Some(first..=last)
    }
}

impl FromStr for EndpointId {
    type Err = InvalidEndpointId;

    fn from_str(text: &str) -> Result<Self, InvalidEndpointId> {
        let digits = text.strip_prefix(PREFIX).ok_or(InvalidEndpointId)?;
        // The parser of numbers would also take a sign and capitals.
        let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() != DIGITS || !digits.bytes().all(plain) {
            return Err(InvalidEndpointId);
        }
        let id = u128::from_str_radix(digits, 16);
        id.map(Self).map_err(|_| InvalidEndpointId)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:0DIGITS$x}", self.0)
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for EndpointId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EndpointId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

const PREFIX: &str = "ep_";
const DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(url: &str) -> EndpointId {
        EndpointId::of(&WebhookUrl::parse(url).unwrap())
    }

    /// Callers keep ids, so the rule that makes them must never change.
    #[test]
    fn an_id_is_the_beginning_of_the_sha256_of_the_normalised_url() {
        // printf %s https://example.com/hooks | sha256sum
        let expected = "ep_eaedfb144efd5e202d1799215093ce9a";
        assert_eq!(id("HTTPS://example.com:443/hooks#x").to_string(), expected);
        assert_ne!(
            id("https://example.com/hooks?"),
            id("https://example.com/hooks")
        );
    }

    #[test]
    fn an_id_is_among_those_that_begin_like_it() {
        let one = id("https://example.com/hooks");
        let text = one.to_string();
        for end in 4..=text.len() {
            let range = EndpointId::beginning_with(&text[..end]).unwrap();
            assert!(range.contains(&one), "{}", &text[..end]);
        }
        assert_eq!(EndpointId::beginning_with(&text), Some(one..=one));
        let other = EndpointId::beginning_with("ep_eae0").unwrap();
        assert!(!other.contains(&one));
        for wrong in ["", "ep_", "ea", "ep_x", "ep_EA", &format!("{text}0")] {
            assert!(EndpointId::beginning_with(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn only_an_id_as_it_is_written_is_read() {
        let one = id("https://example.com/hooks");
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<EndpointId>(&json).unwrap(), one);
        let text = one.to_string();
        for wrong in [
            "",
            "ep_",
            &text.replace("ep_", ""),
            &text.to_uppercase(),
            &format!("{text}0"),
            "ep_+0000000000000000000000000000000",
            "ep_g0000000000000000000000000000000",
        ] {
            assert!(wrong.parse::<EndpointId>().is_err(), "{wrong}");
        }
        let zeros = "ep_00000000000000000000000000000001";
        assert_eq!(zeros.parse::<EndpointId>().unwrap().to_string(), zeros);
    }
}
