//! The kind of an answer's body, as its receiver named it.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::value::text::is_token;

/// The media type of an answer, such as `text/html`: a type and a subtype in lower case, without
/// parameters.
///
/// It holds at most 128 bytes, all of them letters, digits and the other characters of a token (RFC
/// 9110 §8.3.1), so that it can be shown anywhere. A header that names no such type counts as
/// unknown.
///
/// ```
/// use actix_webhooks::ContentType;
///
/// let page = ContentType::parse(b"Text/HTML; charset=utf-8").unwrap();
/// assert_eq!(page.as_str(), "text/html");
/// assert!(page.is_html());
/// assert_eq!(ContentType::parse(b"html"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentType(Cow<'static, str>);

/// A text that is no media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("content type is no type and subtype of at most {MAX_CONTENT_TYPE_BYTES} bytes")]
pub struct InvalidContentType;

impl ContentType {
    /// Parses the value of a `Content-Type` header. Returns `None` if it names no media type, or
    /// one of more than 128 bytes.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let essence = essence(header);
        if let Some(known) = known(essence) {
            return Some(known);
        }
        let mut names = essence.split(|byte| *byte == b'/');
        let mut is_name = || {
            let name = names.next();
            name.is_some_and(|name| !name.is_empty() && name.iter().copied().all(is_token))
        };
        let valid = is_name() && is_name() && names.next().is_none();
        let text = std::str::from_utf8(essence).ok()?;
        (valid && text.len() <= MAX_CONTENT_TYPE_BYTES)
            .then(|| Self(Cow::Owned(text.to_ascii_lowercase())))
    }

    /// Does the same for an answer with this status.
    ///
    /// Nearly all answers are a 2xx whose type nobody ever looks at. Of these only the usual types
    /// are known, because those take no memory.
    pub(crate) fn of_answer(status: u16, header: &[u8]) -> Option<Self> {
        if (200..300).contains(&status) {
            known(essence(header))
        } else {
            Self::parse(header)
        }
    }

    /// Returns the type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `true` if a browser shows the body as a page: `text/html` and
    /// `application/xhtml+xml`.
    pub fn is_html(&self) -> bool {
        matches!(self.as_str(), "text/html" | "application/xhtml+xml")
    }
}

/// Returns a header's value without its parameters.
fn essence(header: &[u8]) -> &[u8] {
    let essence = header.split(|byte| *byte == b';').next();
    essence.unwrap_or_default().trim_ascii()
}

fn known(essence: &[u8]) -> Option<ContentType> {
    let is = |known: &&str| known.as_bytes().eq_ignore_ascii_case(essence);
    let known = KNOWN.into_iter().find(is)?;
    Some(ContentType(Cow::Borrowed(known)))
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ContentType {
    type Error = InvalidContentType;

    fn try_from(text: String) -> Result<Self, InvalidContentType> {
        Self::parse(text.as_bytes()).ok_or(InvalidContentType)
    }
}

impl From<ContentType> for String {
    fn from(it: ContentType) -> Self {
        it.0.into_owned()
    }
}

/// The usual types of answers.
const KNOWN: [&str; 8] = [
    "application/json",
    "text/plain",
    "text/html",
    "application/xml",
    "text/xml",
    "application/problem+json",
    "application/octet-stream",
    "application/xhtml+xml",
];

/// The longest media type that is kept, in bytes.
const MAX_CONTENT_TYPE_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_kept_without_parameters_and_in_lower_case() {
        let parsed = |header: &str| ContentType::parse(header.as_bytes()).map(String::from);
        for (header, expected) in [
            ("text/html", "text/html"),
            (" Text/HTML ;charset=UTF-8", "text/html"),
            ("application/vnd.api+JSON", "application/vnd.api+json"),
        ] {
            assert_eq!(parsed(header).as_deref(), Some(expected), "{header}");
        }
        let longest = format!("a/{}", "b".repeat(126));
        assert_eq!(parsed(&longest), Some(longest.clone()));
    }

    #[test]
    fn what_is_no_type_is_unknown() {
        let too_long = format!("a/{}", "b".repeat(127));
        for header in [
            "",
            ";charset=utf-8",
            "html",
            "text/",
            "/html",
            "text/html/x",
            "text/ html",
            "text/html, text/plain",
            "text/<script>",
            "text/ht\u{7}ml",
            "text/ünicode",
            &too_long,
        ] {
            assert_eq!(ContentType::parse(header.as_bytes()), None, "{header}");
        }
        assert_eq!(ContentType::parse(b"text/\xff"), None);
        assert!(serde_json::from_str::<ContentType>("\"html\"").is_err());
    }

    #[test]
    fn of_a_success_only_the_usual_types_are_known() {
        let json = ContentType::of_answer(200, b"Application/JSON");
        assert!(matches!(json, Some(ContentType(Cow::Borrowed(_)))));
        assert_eq!(ContentType::of_answer(200, b"application/vnd.x+json"), None);
        let failed = ContentType::of_answer(503, b"application/vnd.x+json");
        assert_eq!(failed.unwrap().as_str(), "application/vnd.x+json");
    }
}
