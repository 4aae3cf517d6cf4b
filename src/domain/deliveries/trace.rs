//! Where an answer came from, and what it was. It tells a receiver from a page in its place.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::domain::deliveries::content_type::ContentType;

/// Where the last answer of an attempt came from, and what it was: the answer whose status is
/// [`AttemptSummary::status`](crate::AttemptSummary::status).
///
/// A part that is not known is `None`. Only attempts that failed, were redirected, or were answered
/// with a page for people have one; of all others nothing is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct AnswerTrace {
    /// The media type that the answer named. Of a 2xx only the usual types are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<ContentType>,
    /// The address and port that the connection led to, which may be those of a proxy in front of
    /// the receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
}

impl AnswerTrace {
    /// Returns a trace in which nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the media type.
    #[must_use]
    pub fn content_type(self, content_type: Option<ContentType>) -> Self {
        Self {
            content_type,
            ..self
        }
    }

    /// Sets the address.
    #[must_use]
    pub fn address(self, address: Option<SocketAddr>) -> Self {
        Self { address, ..self }
    }

    /// Returns `true` if an answer with this trace, whose body begins with `excerpt`, is a page for
    /// people.
    ///
    /// The type alone says little: Flask, Express and PHP call an `ok` `text/html` too. So the body
    /// has to begin with a tag.
    pub(crate) fn is_of_page(&self, excerpt: &[u8]) -> bool {
        let excerpt = excerpt.strip_prefix(BYTE_ORDER_MARK).unwrap_or(excerpt);
        let start = excerpt.trim_ascii_start();
        if !start.starts_with(b"<") {
            return false;
        }
        let begins = |tag: &&[u8]| {
            let start = start.get(..tag.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(tag))
        };
        let is_html = self.content_type.as_ref().is_some_and(ContentType::is_html);
        is_html || PAGE_STARTS.iter().any(begins)
    }
}

/// The beginnings of a body that make it a page, whatever its type.
const PAGE_STARTS: [&[u8]; 4] = [b"<!doctype html", b"<html", b"<head", b"<title"];

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content_type: &str) -> AnswerTrace {
        AnswerTrace::new().content_type(ContentType::parse(content_type.as_bytes()))
    }

    #[test]
    fn a_page_begins_with_a_tag() {
        for (content_type, excerpt, expected) in [
            ("text/html", "<!-- cached -->\n<html>", true),
            ("text/html", "\u{feff} \r\n<script>", true),
            ("application/xhtml+xml", "<?xml version=\"1.0\"?>", true),
            ("text/plain", "<!DOCTYPE HTML>", true),
            ("", " <HTML>", true),
            // Flask, Express and PHP answer so.
            ("text/html", "ok", false),
            ("text/html", "", false),
            ("application/xml", "<ok/>", false),
            ("", "<ok/>", false),
        ] {
            let found = of(content_type).is_of_page(excerpt.as_bytes());
            assert_eq!(found, expected, "{content_type}: {excerpt}");
        }
    }

    #[test]
    fn in_json_a_part_that_is_not_known_is_absent() {
        let trace = of("text/html").address("[2001:db8::7]:443".parse().ok());
        let json = serde_json::to_string(&trace).unwrap();
        let expected = r#"{"contentType":"text/html","address":"[2001:db8::7]:443"}"#;
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<AnswerTrace>(&json).unwrap(), trace);
        let unknown = serde_json::to_string(&AnswerTrace::new()).unwrap();
        assert_eq!(unknown, "{}");
        let read: AnswerTrace = serde_json::from_str(&unknown).unwrap();
        assert_eq!(read, AnswerTrace::new());
    }
}
