//! Header names and values: those the engine owns, those that carry credentials, and those that can
//! be sent.

use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::value::text::{InvalidText, TextProblem, is_token};

/// Checks that a text is a type and a subtype, with or without parameters (RFC 9110 §8.3.1).
pub(super) fn check_media_type(text: &str) -> Result<(), InvalidEndpoint> {
    let kind = text.split(';').next().unwrap_or_default().trim_end();
    let names = kind.split_once('/').map(|(kind, subtype)| [kind, subtype]);
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_token);
    let sendable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if text.len() <= MAX_MEDIA_TYPE_BYTES
        && sendable
        && names.is_some_and(|all| all.iter().all(|name| is_name(name)))
    {
        Ok(())
    } else {
        Err(InvalidEndpoint::ContentType(
            text.chars().take(64).collect(),
        ))
    }
}

/// Checks that a header name is a token (RFC 9110 §5.6.2).
pub(crate) fn check_header_name(name: &str) -> Result<(), InvalidEndpoint> {
    if name.is_empty() {
        return Err(InvalidText {
            field: "header name",
            problem: TextProblem::Empty,
        }
        .into());
    }
    if name.len() <= MAX_HEADER_NAME_BYTES && name.bytes().all(is_token) {
        Ok(())
    } else {
        Err(InvalidEndpoint::HeaderName(name.to_owned()))
    }
}

/// The longest header name, in bytes.
const MAX_HEADER_NAME_BYTES: usize = 128;

/// The longest `Content-Type`, in bytes.
const MAX_MEDIA_TYPE_BYTES: usize = 256;

/// Headers that the engine sets, or that decide how a message is framed.
pub(crate) const OWNED_HEADERS: [&str; 17] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "webhook-attempt",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// Headers that usually carry a credential, however the application added them.
pub(super) const CREDENTIAL_HEADERS: [&str; 8] = [
    "api-key",
    "apikey",
    "cookie",
    "proxy-authorization",
    "x-access-token",
    "x-api-key",
    "x-auth-token",
    "x-webhook-secret",
];
