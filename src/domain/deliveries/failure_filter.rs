//! A filter on how the last attempt of a delivery failed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use crate::domain::deliveries::outcome::Failure;

/// A filter on how the last attempt failed.
///
/// As text and in JSON: a status (`"404"`), a class of statuses (`"5xx"`), `"redirect"` for a
/// refused redirect, or the kind of a [`Failure`] (`"timeout"`, `"dns"`, `"certificate_expired"`).
///
/// ```
/// use actix_webhooks::{Failure, FailureFilter};
///
/// # fn main() -> Result<(), actix_webhooks::InvalidFailureFilter> {
/// let filter: FailureFilter = "5xx".parse()?;
/// assert!(filter.finds(Failure::Status(503)));
/// assert!(!filter.finds(Failure::Timeout));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureFilter {
    /// Answers with this status.
    Status(u16),
    /// Answers with a status of this class, from 1 to 9: 5 stands for 500 to 599.
    StatusClass(u16),
    /// Refused redirects, whatever the reason.
    Redirect,
    /// Exactly this failure; without a text if it holds a value.
    Failure(Failure),
}

/// The text of a [`FailureFilter`] that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no failure; write a status (404), a class (5xx), redirect, or a kind (timeout, dns, …)"
)]
#[non_exhaustive]
pub struct InvalidFailureFilter(pub String);

impl FailureFilter {
    /// Returns `true` if the filter finds deliveries whose last attempt failed like this.
    pub fn finds(self, failure: Failure) -> bool {
        match self {
            Self::Status(status) => failure.status() == Some(status),
            Self::StatusClass(class) => {
                failure.status().is_some_and(|status| status / 100 == class)
            }
            Self::Redirect => matches!(failure, Failure::Redirect(_)),
            Self::Failure(asked) => failure == asked,
        }
    }
}

impl FromStr for FailureFilter {
    type Err = InvalidFailureFilter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidFailureFilter(text.chars().take(SHOWN).collect());
        if text == "redirect" {
            return Ok(Self::Redirect);
        }
        if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse().map_err(|_| invalid())?;
            return match class {
                1..=9 => Ok(Self::StatusClass(class)),
                _ => Err(invalid()),
            };
        }
        if let Ok(status) = text.parse() {
            return match status {
                100..=999 => Ok(Self::Status(status)),
                _ => Err(invalid()),
            };
        }
        let failure = serde_json::from_value(json!({ "kind": text }));
        failure.map(Self::Failure).map_err(|_| invalid())
    }
}

impl fmt::Display for FailureFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::StatusClass(class) => write!(f, "{class}xx"),
            Self::Redirect => f.write_str("redirect"),
            Self::Failure(failure) => {
                let json = serde_json::to_value(failure).unwrap_or_default();
                let kind = json.get("kind").and_then(serde_json::Value::as_str);
                f.write_str(kind.unwrap_or_default())
            }
        }
    }
}

impl From<Failure> for FailureFilter {
    fn from(failure: Failure) -> Self {
        if let Failure::Status(status) = failure {
            Self::Status(status)
        } else if let Failure::Redirect(_) = failure {
            Self::Redirect
        } else {
            Self::Failure(failure)
        }
    }
}

impl Serialize for FailureFilter {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FailureFilter {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The most characters of an invalid text that an error repeats.
const SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::redirect::RedirectRefusal;

    #[test]
    fn a_filter_finds_its_failures_and_reads_its_own_text() {
        for text in ["404", "5xx", "redirect", "timeout", "certificate_expired"] {
            let filter: FailureFilter = text.parse().unwrap();
            assert_eq!(filter.to_string(), text);
            assert!(!filter.finds(Failure::Connect), "{text}");
        }
        let kind: FailureFilter = "certificate_expired".parse().unwrap();
        assert!(kind.finds(Failure::CertificateExpired) && !kind.finds(Failure::Certificate));
        let redirect = FailureFilter::Redirect;
        assert!(redirect.finds(Failure::Redirect(RedirectRefusal::Loop)));
        let status = FailureFilter::from(Failure::Status(404));
        assert_eq!(
            (status.to_string(), status),
            ("404".to_owned(), FailureFilter::Status(404))
        );
    }

    #[test]
    fn a_class_is_its_hundred_statuses() {
        let filter: FailureFilter = "5xx".parse().unwrap();
        for (status, found) in [(499, false), (500, true), (599, true), (600, false)] {
            assert_eq!(filter.finds(Failure::Status(status)), found, "{status}");
        }
        assert!(filter.finds(Failure::CredentialsDropped(503)));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", "xx", "0xx", "12xx", "99", "1000", "status", "no", "Timeout",
        ] {
            let read: Result<FailureFilter, _> = text.parse();
            assert_eq!(read, Err(InvalidFailureFilter(text.to_owned())), "{text}");
        }
    }
}
