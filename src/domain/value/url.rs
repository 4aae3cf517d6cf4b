//! The URL of an endpoint, in the normalised form used for comparison.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use crate::domain::value::text::contains;

/// The longest URL accepted, in bytes.
pub const MAX_URL_BYTES: usize = 8 * 1024;

/// An `http` or `https` URL in normalised form (WHATWG URL).
///
/// Scheme and host are lower-case, the default port is omitted, dot segments are resolved, and
/// there is no fragment. Two spellings of one URL are one endpoint.
///
/// `Debug` omits the query, because queries often carry secrets, and so do logs and errors. The
/// query still belongs to the endpoint's identity. [`as_str`](Self::as_str), `Display` and JSON
/// therefore hold the whole URL, and parsing their output names the same endpoint.
#[derive(Clone)]
pub struct WebhookUrl {
    text: Arc<str>,
    /// The text's hash. Endpoints are looked up by URL for every delivery, and most URLs are in no
    /// CPU cache then.
    hash: u64,
}

/// A URL that no webhook can be sent to, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// It is not a URL.
    #[error("URL is malformed: {0}")]
    Malformed(String),
    /// Its scheme is neither `http` nor `https`.
    #[error("URL has the scheme {0:?}; use http or https")]
    Scheme(String),
    /// It holds a user name or password, which would end up in logs; use [`Auth`](crate::Auth)
    /// instead.
    #[error("URL holds a user name or password; give them as Auth instead")]
    Credentials,
    /// It holds a control character, such as a line break.
    #[error("URL holds a control character")]
    Control,
    /// It is longer than [`MAX_URL_BYTES`](crate::limits::MAX_URL_BYTES).
    #[error("URL is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
}

impl WebhookUrl {
    /// Parses and normalises a URL.
    ///
    /// # Errors
    /// Returns [`InvalidUrl`] with the reason if no webhook can be sent to the URL.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        if text.len() > MAX_URL_BYTES {
            return Err(InvalidUrl::TooLong);
        }
        // A parser drops tabs and line breaks (WHATWG URL, section 4.4), so the call would go to a
        // URL other than the given one.
        if text.contains(|c: char| c.is_ascii_control()) {
            return Err(InvalidUrl::Control);
        }
        let url = Url::parse(text).map_err(|error| InvalidUrl::Malformed(error.to_string()))?;
        if url.cannot_be_a_base() && !text.contains("://") {
            // In `user:password@host` the user stands in the place of a scheme.
            let why = "it begins with neither http:// nor https://";
            return Err(InvalidUrl::Malformed(why.to_owned()));
        }
        Self::from_url(url)
    }

    pub(crate) fn from_url(mut url: Url) -> Result<Self, InvalidUrl> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidUrl::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidUrl::Credentials);
        }
        url.set_fragment(None);
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(InvalidUrl::TooLong);
        }
        let text: Arc<str> = url.as_str().into();
        let hash = HASHER.hash_one(&text);
        Ok(Self { text, hash })
    }

    /// Returns the normalised URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the URL without its query, for logs.
    pub fn without_query(&self) -> &str {
        self.text.split('?').next().unwrap_or_default()
    }

    /// Returns the host, without its port.
    pub(crate) fn host(&self) -> &str {
        let authority = self.text.split('/').nth(2).unwrap_or_default();
        let port = authority.rfind(':').filter(|_| !authority.ends_with(']'));
        port.and_then(|at| authority.get(..at)).unwrap_or(authority)
    }

    /// Returns `true` if the URL contains this text, regardless of the case of ASCII letters.
    pub(crate) fn contains(&self, part: &str) -> bool {
        contains(&self.text, part)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.text.starts_with("https:")
    }

    pub(crate) fn to_url(&self) -> Url {
        Url::parse(&self.text).expect("a WebhookUrl was parsed before it was made")
    }
}

/// Returns the part of a URL that logs and errors may show: without user info, query and fragment.
/// Nothing is shown of a text that is not a URL, because a password could stand anywhere in it.
pub(crate) fn shown(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if url.has_host() => disclosed(url),
        Ok(_) | Err(_) => "(not a URL)".to_owned(),
    }
}

/// Returns the part of a `Location` that may be shown: as [`shown`], or a path.
pub(crate) fn shown_location(text: &str) -> String {
    const BASE: &str = "http://base.invalid/";
    let path = text.starts_with('/').then_some(text);
    // A path may still lead to another host, with user info.
    let joined = path.and_then(|path| Url::parse(BASE).ok()?.join(path).ok());
    match joined.map(disclosed) {
        None => shown(text),
        Some(url) => match url.strip_prefix(BASE) {
            Some(path) => format!("/{path}"),
            None => url,
        },
    }
}

fn disclosed(mut url: Url) -> String {
    url.set_query(None);
    url.set_fragment(None);
    // Both can be set on any URL with a host.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return "(not a URL)".to_owned();
    }
    url.into()
}

impl PartialEq for WebhookUrl {
    fn eq(&self, other: &Self) -> bool {
        // A shared text is equal without being read.
        self.hash == other.hash && (Arc::ptr_eq(&self.text, &other.text) || self.text == other.text)
    }
}

impl Eq for WebhookUrl {}

impl PartialOrd for WebhookUrl {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WebhookUrl {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for WebhookUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl FromStr for WebhookUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for WebhookUrl {
    type Error = InvalidUrl;

    fn try_from(text: &str) -> Result<Self, InvalidUrl> {
        Self::parse(text)
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.without_query(), f)
    }
}

impl AsRef<str> for WebhookUrl {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl PartialEq<str> for WebhookUrl {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for WebhookUrl {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl Serialize for WebhookUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for WebhookUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Randomly seeded per process, so that nobody can choose URLs that collide.
static HASHER: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_url_is_found_in_any_case() {
        let url = WebhookUrl::parse("https://example.com/Hook?key=A1").unwrap();
        for part in [
            "",
            "EXAMPLE",
            "/hook?KEY",
            "a1",
            "https://example.com/Hook?key=A1",
        ] {
            assert!(url.contains(part), "{part}");
        }
        for part in ["example.org", "a12", "https://example.com/Hook?key=A1 "] {
            assert!(!url.contains(part), "{part}");
        }
    }

    #[test]
    fn the_host_is_found_without_its_port() {
        for (url, host) in [
            ("https://A.test:8443/hook?x=http://b.test/", "a.test"),
            ("http://a.test", "a.test"),
            ("http://a.test?x", "a.test"),
            ("http://[::1]:80/", "[::1]"),
            ("http://[::1]:81/", "[::1]"),
            ("http://127.1:81/", "127.0.0.1"),
        ] {
            assert_eq!(WebhookUrl::parse(url).unwrap().host(), host, "{url}");
        }
    }

    #[test]
    fn two_spellings_of_one_url_are_equal() {
        let base = WebhookUrl::parse("https://example.com/hook?x=1").unwrap();
        for other in [
            "HTTPS://EXAMPLE.com/hook?x=1",
            "https://example.com:443/hook?x=1",
            "https://example.com/a/../hook?x=1#part",
        ] {
            assert_eq!(WebhookUrl::parse(other).unwrap(), base, "{other}");
        }
        assert_ne!(WebhookUrl::parse("https://example.com/hook").unwrap(), base);
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_the_reason() {
        let error = |text: &str| WebhookUrl::parse(text).unwrap_err();
        assert!(matches!(error("not a url"), InvalidUrl::Malformed(_)));
        assert!(matches!(error("http://"), InvalidUrl::Malformed(_)));
        assert_eq!(
            error("ftp://example.com/"),
            InvalidUrl::Scheme("ftp".into())
        );
        assert_eq!(
            error("http://user:pw@example.com/"),
            InvalidUrl::Credentials
        );
        assert_eq!(
            error(&format!("http://e.com/{}", "x".repeat(MAX_URL_BYTES))),
            InvalidUrl::TooLong
        );
    }

    #[test]
    fn a_text_is_shown_without_what_may_be_secret() {
        for (text, expected) in [
            (
                "https://u:hush@a.test:8443/b?hush#hush",
                "https://a.test:8443/b",
            ),
            ("HTTPS:\\\\hush@A.test\\b", "https://a.test/b"),
            ("https:hush@a.test", "https://a.test/"),
            ("ftp://u:hush@a.test/?hush", "ftp://a.test/"),
            ("u:hush@a.test/b", "(not a URL)"),
            ("hush", "(not a URL)"),
            ("https//u:hush@a.test", "(not a URL)"),
            ("https://u:hush", "(not a URL)"),
            ("https://u:hush%40a.test/", "(not a URL)"),
            ("/b?hush", "(not a URL)"),
            ("file:///hush", "(not a URL)"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        for (text, expected) in [
            ("https://u:hush@a.test/b?hush", "https://a.test/b"),
            ("/b/../c?hush#hush", "/c"),
            ("//u:hush@a.test/b", "http://a.test/b"),
            ("/\\u:hush@a.test/b", "http://a.test/b"),
            ("b?hush", "(not a URL)"),
        ] {
            assert_eq!(shown_location(text), expected, "{text}");
        }
    }

    #[test]
    fn debug_output_hides_the_query() {
        let url = WebhookUrl::parse("https://example.com/hook?token=hidden").unwrap();
        assert_eq!(format!("{url:?}"), "\"https://example.com/hook\"");
    }

    #[test]
    fn a_url_may_be_as_long_as_the_limit_before_and_after_it_is_normalised() {
        let of = |length: usize| {
            let start = "http://a.test/";
            WebhookUrl::parse(&format!("{start}{}", "x".repeat(length - start.len())))
        };
        assert!(of(MAX_URL_BYTES).is_ok());
        assert_eq!(of(MAX_URL_BYTES + 1), Err(InvalidUrl::TooLong));
        assert_eq!(of(MAX_URL_BYTES + 2), Err(InvalidUrl::TooLong));
        // Each quotation mark becomes three bytes.
        let quoted = |quotes: usize| {
            let path = format!(
                "{}{}",
                "x".repeat(MAX_URL_BYTES - 14 - 30),
                "\"".repeat(quotes)
            );
            WebhookUrl::parse(&format!("http://a.test/{path}"))
        };
        assert!(quoted(10).is_ok());
        assert_eq!(quoted(11), Err(InvalidUrl::TooLong));
        assert_eq!(quoted(30), Err(InvalidUrl::TooLong));
    }

    #[test]
    fn a_url_is_refused_for_what_is_wrong_with_it() {
        let wrong = |text: &str| WebhookUrl::parse(text).unwrap_err();
        assert_eq!(wrong("http://user@a.test/"), InvalidUrl::Credentials);
        assert_eq!(wrong("http://:password@a.test/"), InvalidUrl::Credentials);
        let scheme = InvalidUrl::Scheme("mailto".to_owned());
        assert_eq!(wrong("mailto:a://b"), scheme);
        assert!(matches!(
            wrong("user:password@a.test"),
            InvalidUrl::Malformed(_)
        ));
        // Without slashes it is a URL nevertheless.
        assert_eq!(WebhookUrl::parse("http:a.test").unwrap(), "http://a.test/");
        assert_eq!(shown("mailto:a@b"), "(not a URL)");
    }

    #[test]
    fn a_url_is_compared_and_hashed_by_its_text() {
        let [one, other] =
            ["http://a.test/", "https://b.test/"].map(|url| WebhookUrl::parse(url).unwrap());
        assert!(one == *"http://a.test/" && one != *"http://b.test/");
        assert_eq!(AsRef::<str>::as_ref(&one), "http://a.test/");
        assert!(!one.is_https() && other.is_https());
        let hash = |url: &WebhookUrl| foldhash::fast::FixedState::default().hash_one(url);
        assert_ne!(hash(&one), hash(&other));
    }
}
