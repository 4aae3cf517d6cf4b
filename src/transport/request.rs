//! The headers of a request: one list for both transports.

use url::Url;

use super::Request;
use crate::domain::attempt::Failure;
use crate::domain::auth::Secret;
use crate::domain::endpoint::Endpoint;
use crate::domain::signature::Content;
use crate::domain::signing::Signer;

/// The headers that an endpoint's calls carry, spelled as they are sent.
#[derive(Debug)]
pub(super) struct RequestHeaders {
    /// Those that are the same for every call.
    fixed: Vec<FixedHeader>,
    /// The name of the one with the client id.
    client_id: Box<str>,
    /// The value of `Content-Type`, where the endpoint wants another than the format's.
    content_type: Option<Box<str>>,
    signer: Signer,
}

#[derive(Debug)]
struct FixedHeader {
    name: String,
    value: Secret,
    dropped_across_origins: bool,
}

/// A header whose value depends on the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Varying {
    ClientId,
    ContentType,
    Id,
    Timestamp,
    Signature,
    Attempt,
    Authorization,
}

impl RequestHeaders {
    pub(super) fn of(endpoint: &Endpoint, client_id_header: &str) -> Self {
        let mut fixed = vec![
            FixedHeader::new("User-Agent", AGENT, false),
            FixedHeader::new("Accept", "*/*", false),
        ];
        for header in &endpoint.headers {
            // One line for one name, and the application's wins (RFC 9110 §5.3).
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
            signer: Signer::of(endpoint),
        }
    }

    /// Returns the headers that are the same for every call, those left out that another origin must not see.
    pub(super) fn fixed(&self, left_origin: bool) -> impl Iterator<Item = (&str, &str)> {
        self.fixed
            .iter()
            .filter(move |header| !(left_origin && header.dropped_across_origins))
            .map(|header| (header.name.as_str(), header.value.expose()))
    }

    pub(super) fn name(&self, header: Varying) -> &str {
        match header {
            Varying::ClientId => &self.client_id,
            Varying::ContentType => "Content-Type",
            Varying::Id => &self.signer.names.id,
            Varying::Timestamp => &self.signer.names.timestamp,
            Varying::Signature => &self.signer.names.signature,
            Varying::Attempt => "webhook-attempt",
            Varying::Authorization => "Authorization",
        }
    }

    /// Writes the headers that depend on the attempt.
    pub(super) fn write_varying(
        &self,
        request: &Request,
        mut write: impl FnMut(Varying, &str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let alert = &request.alert;
        let (mut number, mut seconds) = (itoa::Buffer::new(), itoa::Buffer::new());
        write(Varying::ClientId, alert.client_id.as_str())?;
        let content_type = self.content_type.as_deref();
        let content_type = content_type.unwrap_or_else(|| alert.format.content_type());
        write(Varying::ContentType, content_type)?;
        let mut id = uuid::Uuid::encode_buffer();
        let id = alert.id.as_uuid().hyphenated().encode_lower(&mut id);
        write(Varying::Id, id)?;
        let timestamp = seconds.format(request.sent_at.unix_seconds());
        write(Varying::Timestamp, timestamp)?;
        let content = Content {
            id,
            timestamp,
            body: &alert.body,
        };
        let mut signature = String::new();
        self.signer.sign(request.sent_at, &content, &mut signature);
        if !signature.is_empty() {
            write(Varying::Signature, &signature)?;
        }
        write(Varying::Attempt, number.format(request.attempt))?;
        if let Some(authorization) = &request.authorization {
            write(Varying::Authorization, authorization.expose())?;
        }
        Ok(())
    }
}

impl Varying {
    pub(super) const ALL: [Self; 7] = [
        Self::ClientId,
        Self::ContentType,
        Self::Id,
        Self::Timestamp,
        Self::Signature,
        Self::Attempt,
        Self::Authorization,
    ];
}

impl FixedHeader {
    fn new(name: &str, value: &str, dropped_across_origins: bool) -> Self {
        Self {
            name: name.to_owned(),
            value: Secret::from(value),
            dropped_across_origins,
        }
    }
}

/// Returns `true` if nothing can be smuggled in with a header's value. Everything was checked when it was
/// configured; it is checked once more here, where it counts.
pub(super) fn is_sendable(value: &str) -> bool {
    let sendable = |byte: u8| byte == b'\t' || (0x20..0x7f).contains(&byte);
    // Without an early end, so that many bytes are looked at in one instruction.
    value.bytes().fold(true, |all, byte| all & sendable(byte))
}

/// Returns the request's target, path and query, if it can be sent as it is.
pub(super) fn target(url: &Url) -> Result<&str, Failure> {
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let printable = |byte: u8| (0x21..0x7f).contains(&byte);
    if target.bytes().all(printable) {
        Ok(target)
    } else {
        Err(Failure::Unsendable)
    }
}

/// Returns the value of the `Host` header.
pub(super) fn host(url: &Url) -> &str {
    &url[url::Position::BeforeHost..url::Position::AfterPort]
}

pub(super) const AGENT: &str = concat!("actix-webhooks/", env!("CARGO_PKG_VERSION"));
