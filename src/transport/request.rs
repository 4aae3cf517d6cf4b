//! The header lines of a request: one list for both transports.

use std::fmt;

use url::{Position, Url};
use zeroize::Zeroizing;

use super::Request;
use crate::domain::deliveries::outcome::Failure;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::signing::signature::Content;
use crate::domain::signing::signer::Signer;
use crate::domain::value::secret::Secret;

/// The headers of an endpoint's calls, spelled as they are sent.
#[derive(Debug)]
pub(super) struct RequestHeaders {
    /// Headers that are the same for every call.
    fixed: Vec<FixedHeader>,
    /// The name of the header with the client id.
    client_id: Box<str>,
    /// The value of `Content-Type`, if the endpoint replaces the format's own.
    content_type: Option<Box<str>>,
    signer: Signer,
}

#[derive(Debug)]
struct FixedHeader {
    name: String,
    value: Secret,
    dropped_across_origins: bool,
}

impl RequestHeaders {
    pub(super) fn of(endpoint: &Endpoint, client_id_header: &str) -> Self {
        let mut fixed = vec![
            FixedHeader::new("User-Agent", AGENT),
            FixedHeader::new("Accept", "*/*"),
        ];
        for header in &endpoint.headers {
            // Each name is sent once, and the application's value wins (RFC 9110 §5.3).
            fixed.retain(|known| !known.name.eq_ignore_ascii_case(&header.name));
            fixed.push(FixedHeader {
                name: header.name.clone(),
                value: header.value.clone(),
                dropped_across_origins: header.dropped_across_origins,
            });
        }
        Self {
            fixed,
            client_id: client_id_header.into(),
            content_type: endpoint.content_type.as_deref().map(Box::from),
            signer: endpoint.signer(),
        }
    }

    /// Returns the lines that are the same for every call.
    ///
    /// With `left_origin`, the lines that another origin must not see are left out.
    pub(super) fn fixed(&self, left_origin: bool) -> Result<FixedLines, Failure> {
        let shown = |header: &&FixedHeader| !(left_origin && header.dropped_across_origins);
        let line = |header: &FixedHeader| header.name.len() + header.value.expose().len() + 4;
        // Reserve everything at once: a reallocation would leave an unwiped copy behind.
        let room = self.fixed.iter().map(line).sum();
        let mut lines = Zeroizing::new(Vec::with_capacity(room));
        for header in self.fixed.iter().filter(shown) {
            push(&mut lines, &header.name, header.value.expose())?;
        }
        Ok(FixedLines(lines))
    }

    /// Adds the lines that depend on the attempt.
    pub(super) fn write(&self, request: &Request, out: &mut Vec<u8>) -> Result<(), Failure> {
        let alert = &request.alert;
        let names = &self.signer.names;
        let (mut number, mut seconds) = (itoa::Buffer::new(), itoa::Buffer::new());
        push(out, &self.client_id, alert.client_id.as_str())?;
        let content_type = self.content_type.as_deref();
        let content_type = content_type.unwrap_or_else(|| alert.format.content_type());
        push(out, "Content-Type", content_type)?;
        let mut id = uuid::Uuid::encode_buffer();
        let id = alert.id.as_uuid().hyphenated().encode_lower(&mut id);
        push(out, &names.id, id)?;
        let timestamp = seconds.format(request.sent_at.unix_seconds());
        push(out, &names.timestamp, timestamp)?;
        let content = Content {
            id,
            timestamp,
            body: &alert.body,
        };
        let mut signature = String::new();
        self.signer.sign(request.sent_at, &content, &mut signature);
        if !signature.is_empty() {
            push(out, &names.signature, &signature)?;
        }
        push(out, "webhook-attempt", number.format(request.attempt))?;
        if let Some(authorization) = &request.authorization {
            push(out, "Authorization", authorization.expose())?;
        }
        Ok(())
    }
}

/// The lines of a request's head that are the same for every call to one URL.
///
/// They include the endpoint's own headers, so `Debug` does not show them and dropping wipes them.
pub(super) struct FixedLines(Zeroizing<Vec<u8>>);

impl FixedLines {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for FixedLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FixedLines").finish_non_exhaustive()
    }
}

impl FixedHeader {
    fn new(name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: Secret::from(value),
            dropped_across_origins: false,
        }
    }
}

/// Adds a header.
///
/// Every value was checked when it was configured. This second check, where it counts, rules out
/// header injection.
pub(super) fn push(head: &mut Vec<u8>, name: &str, value: &str) -> Result<(), Failure> {
    let sendable = |byte: u8| byte == b'\t' || (0x20..0x7f).contains(&byte);
    // Without an early exit, so that the compiler can vectorise the loop.
    if !value.bytes().fold(true, |all, byte| all & sendable(byte)) {
        return Err(Failure::Unsendable);
    }
    for part in [name, ": ", value, "\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    Ok(())
}

/// Returns the request target (path and query), if it can be sent as it is.
pub(super) fn target(url: &Url) -> Result<&str, Failure> {
    let target = &url[Position::BeforePath..Position::AfterQuery];
    let printable = |byte: u8| (0x21..0x7f).contains(&byte);
    if target.bytes().all(printable) {
        Ok(target)
    } else {
        Err(Failure::Unsendable)
    }
}

/// Returns the value of the `Host` header.
pub(super) fn host(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

pub(super) const AGENT: &str = concat!("actix-webhooks/", env!("CARGO_PKG_VERSION"));
