//! The head of a request, as the bytes that are sent.

use std::fmt;

use url::{Position, Url};
use zeroize::Zeroizing;

use super::Request;
use crate::domain::attempt::Failure;
use crate::domain::auth::Secret;
use crate::domain::endpoint::Endpoint;
use crate::domain::signature::Content;
use crate::domain::signing::Signer;

/// The part of a request's head that is the same for every call to one URL. The URL's query and the endpoint's headers are in it, so that it is not shown,
/// and wiped when it is dropped.
pub(super) struct FixedHead(Zeroizing<Vec<u8>>);

impl FixedHead {
    /// Returns the head for calls to `url` with an endpoint's own headers, those left out that another origin must not see, as far as the
    /// value of the header that carries the client id.
    pub(super) fn new(
        url: &Url,
        endpoint_headers: &EndpointHeaders,
        left_origin: bool,
    ) -> Result<Self, Failure> {
        let target = &url[Position::BeforePath..Position::AfterQuery];
        // Large enough at once: what grows leaves copies behind.
        let lines = endpoint_headers.bytes() + url.as_str().len();
        let mut head = Zeroizing::new(Vec::with_capacity(256 + lines));
        let printable = |byte: u8| (0x21..0x7f).contains(&byte);
        if !target.bytes().all(printable) {
            return Err(Failure::Unsendable);
        }
        for part in ["POST ", target, " HTTP/1.1\r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
        let host = &url[Position::BeforeHost..Position::AfterPort];
        push(&mut head, "host", host)?;
        push(&mut head, "user-agent", AGENT)?;
        for (name, value, dropped_across_origins) in &endpoint_headers.own {
            if !(left_origin && *dropped_across_origins) {
                push(&mut head, name, value.expose())?;
            }
        }
        // Last, because its value is the alert's.
        head.extend_from_slice(endpoint_headers.client_id.as_bytes());
        head.extend_from_slice(b": ");
        Ok(Self(head))
    }

    /// Writes the whole head of a request.
    pub(super) fn write(
        &self,
        head: &mut Vec<u8>,
        request: &Request,
        signer: &Signer,
    ) -> Result<(), Failure> {
        let alert = &request.alert;
        let names = &signer.names;
        let (mut number, mut seconds) = (itoa::Buffer::new(), itoa::Buffer::new());
        head.extend_from_slice(&self.0);
        push_value(head, alert.client_id.as_str())?;
        push(head, "content-type", alert.format.content_type())?;
        let mut id = uuid::Uuid::encode_buffer();
        let id = alert.id.as_uuid().hyphenated().encode_lower(&mut id);
        push(head, &names.id, id)?;
        let timestamp = seconds.format(request.sent_at.unix_seconds());
        push(head, &names.timestamp, timestamp)?;
        let content = Content {
            id,
            timestamp,
            body: &alert.body,
        };
        let mut signature = String::new();
        signer.sign(request.sent_at, &content, &mut signature);
        if !signature.is_empty() {
            push(head, &names.signature, &signature)?;
        }
        push(head, "webhook-attempt", number.format(request.attempt))?;
        if let Some(authorization) = &request.authorization {
            push(head, "authorization", authorization.expose())?;
        }
        push(head, "content-length", number.format(alert.body.len()))?;
        head.extend_from_slice(b"\r\n");
        Ok(())
    }
}

impl fmt::Debug for FixedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FixedHead").finish_non_exhaustive()
    }
}

/// The headers that an endpoint's calls carry.
#[derive(Debug)]
pub(super) struct EndpointHeaders {
    /// Its own, each with whether another origin must not see it.
    own: Vec<(String, Secret, bool)>,
    /// The name of the one that carries the client id.
    client_id: Box<str>,
}

impl EndpointHeaders {
    pub(super) fn of(endpoint: &Endpoint, client_id_header: &str) -> Self {
        let headers = endpoint.headers.iter().map(|header| {
            let value = header.value.clone();
            (header.name.clone(), value, header.dropped_across_origins)
        });
        Self {
            own: headers.collect(),
            client_id: client_id_header.into(),
        }
    }

    /// Returns how many bytes they take as lines.
    fn bytes(&self) -> usize {
        let line =
            |(name, value, _): &(String, Secret, bool)| name.len() + value.expose().len() + 4;
        self.own.iter().map(line).sum::<usize>() + self.client_id.len() + 2
    }
}

/// Adds a header.
pub(super) fn push(head: &mut Vec<u8>, name: &str, value: &str) -> Result<(), Failure> {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    push_value(head, value)
}

/// Adds the value of a header. Everything was checked when it was configured; that nothing can be smuggled in is checked here once more, where it
/// counts.
fn push_value(head: &mut Vec<u8>, value: &str) -> Result<(), Failure> {
    let sendable = |byte: u8| byte == b'\t' || (0x20..0x7f).contains(&byte);
    // Without an early end, so that many bytes are looked at in one instruction.
    if !value.bytes().fold(true, |all, byte| all & sendable(byte)) {
        return Err(Failure::Unsendable);
    }
    head.extend_from_slice(value.as_bytes());
    head.extend_from_slice(b"\r\n");
    Ok(())
}

pub(super) const AGENT: &str = concat!("actix-webhooks/", env!("CARGO_PKG_VERSION"));
