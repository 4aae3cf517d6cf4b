//! The final answer of a receiver.

use std::fmt;

use bytes::Bytes;

use crate::domain::value::url::shown_location;

/// The final answer of a receiver, as the transport read it.
///
/// `Debug` omits the query and user info of `location`, and shows only the length of the body.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The status, 100 to 999.
    pub status: u16,
    /// The `Location` header, if there was exactly one and it is text.
    pub location: Option<String>,
    /// The `Retry-After` header.
    ///
    /// Several are joined by commas, which makes them unreadable, so they are ignored.
    pub retry_after: Option<String>,
    /// The `Date` header of an answer with a `Retry-After`; a date in the latter is compared with
    /// it.
    ///
    /// Several are joined by commas, which makes them unreadable, so they are ignored.
    pub date: Option<String>,
    /// The beginning of the body, at most [`EXCERPT_BYTES`].
    pub excerpt: Bytes,
    /// The directive in the `webhook-delivery` header, honoured if the endpoint's policy says so.
    pub directive: Option<Directive>,
}

/// A directive that a receiver can give in the `webhook-delivery` header of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Directive {
    /// `disable`: send nothing more to this endpoint.
    Disable,
    /// `abort-message`: do not retry this delivery.
    AbortMessage,
}

impl Directive {
    /// Parses the header. Any other value is no directive.
    pub fn parse(value: &[u8]) -> Option<Self> {
        match value.trim_ascii() {
            b"disable" => Some(Self::Disable),
            b"abort-message" => Some(Self::AbortMessage),
            _ => None,
        }
    }
}

impl Answer {
    /// Returns an answer with this status and nothing else.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// Sets the `Location` header.
    #[must_use]
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// Sets the directive.
    #[must_use]
    pub fn directive(mut self, directive: Directive) -> Self {
        self.directive = Some(directive);
        self
    }

    /// Sets the `Retry-After` header.
    #[must_use]
    pub fn retry_after(mut self, value: impl Into<String>) -> Self {
        self.retry_after = Some(value.into());
        self
    }

    /// Sets the `Date` header, which matters only with a `Retry-After`.
    #[must_use]
    pub fn date(mut self, value: impl Into<String>) -> Self {
        self.date = Some(value.into());
        self
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("location", &self.location.as_deref().map(shown_location))
            .field("retry_after", &self.retry_after)
            .field("date", &self.date)
            .field("directive", &self.directive)
            .field("excerpt", &format_args!("{} bytes", self.excerpt.len()))
            .finish()
    }
}

/// The most bytes of an answer's body that are kept for the delivery record.
pub const EXCERPT_BYTES: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_is_one_of_two_texts() {
        let parsed = |text: &str| Directive::parse(text.as_bytes());
        assert_eq!(parsed("disable"), Some(Directive::Disable));
        assert_eq!(parsed(" abort-message "), Some(Directive::AbortMessage));
        assert_eq!(parsed("Disable"), None);
        assert_eq!(parsed("abort-messages"), None);
        assert_eq!(parsed(""), None);
    }
}
