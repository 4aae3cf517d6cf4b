//! Access to the headers of a call.

use actix_http::header::{HeaderMap, HeaderValue};

/// Headers by name, ignoring case.
///
/// Implemented for references to actix-web's `HeaderMap`, for references to lists of names and
/// values, and for functions:
///
/// ```
/// use actix_webhooks::verify::Headers;
///
/// let listed = [("Webhook-Id", "msg_1")];
/// assert_eq!((&listed).value("webhook-id"), Some(&b"msg_1"[..]));
/// let looked_up = |name: &str| (name == "webhook-id").then_some(&b"msg_1"[..]);
/// assert_eq!(looked_up.value("webhook-id"), Some(&b"msg_1"[..]));
/// ```
pub trait Headers<'h> {
    /// Returns the first value of a header, or `None` if there is none.
    fn value(&self, name: &str) -> Option<&'h [u8]>;
}

impl<'h> Headers<'h> for &'h HeaderMap {
    fn value(&self, name: &str) -> Option<&'h [u8]> {
        self.get(name).map(HeaderValue::as_bytes)
    }
}

impl<'h, N: AsRef<str>, V: AsRef<[u8]>> Headers<'h> for &'h [(N, V)] {
    fn value(&self, name: &str) -> Option<&'h [u8]> {
        let mut fields = self.iter();
        let found = fields.find(|(known, _)| known.as_ref().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_ref())
    }
}

impl<'h, N: AsRef<str>, V: AsRef<[u8]>, const COUNT: usize> Headers<'h> for &'h [(N, V); COUNT] {
    fn value(&self, name: &str) -> Option<&'h [u8]> {
        self.as_slice().value(name)
    }
}

impl<'h, N: AsRef<str>, V: AsRef<[u8]>> Headers<'h> for &'h Vec<(N, V)> {
    fn value(&self, name: &str) -> Option<&'h [u8]> {
        self.as_slice().value(name)
    }
}

impl<'h, F: Fn(&str) -> Option<&'h [u8]>> Headers<'h> for F {
    fn value(&self, name: &str) -> Option<&'h [u8]> {
        self(name)
    }
}
