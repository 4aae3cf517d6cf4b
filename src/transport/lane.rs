//! One connection with an HTTP client of its own, used by one exchange at a time.
//!
//! The client gives its connection back to its pool before anyone has looked at the answer. With one pool for several exchanges, an
//! answer without a length would leave its body to the next one, whose delivery would then be judged by it. A lane is looked at
//! first and reused only when its last answer was complete and unambiguous; otherwise it is dropped with its connection.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::ParseError;
use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::header::{
    CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, TRANSFER_ENCODING,
    UPGRADE,
};
use awc::{Client, ClientResponse, Connector, FrozenClientRequest};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use rustls::ClientConfig;

use super::connect::{LaneConnector, Target};
use super::wire::WireNotes;
use crate::domain::attempt::{Answer, EXCERPT_BYTES, Failure};
use crate::domain::id::ClientId;
use crate::domain::payload::PayloadFormat;

/// A connection, its client, and the constant part of the request that it last made.
pub(super) struct Lane {
    client: Client,
    target: Rc<RefCell<Option<Target>>>,
    notes: Rc<WireNotes>,
    prepared: Option<(Rc<Prepared>, FrozenClientRequest)>,
}

/// The part of a request that is the same for every call to one URL.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) uri: awc::http::Uri,
    pub(super) target: Target,
    pub(super) headers: HeaderMap,
    /// Whose id is among the headers; a call for another client overrides it.
    pub(super) client_id: ClientId,
    /// What the content type among the headers belongs to.
    pub(super) format: PayloadFormat,
}

/// An answer, and whether the lane may be used again.
pub(super) struct Exchanged {
    pub(super) answer: Answer,
    pub(super) clean: bool,
}

impl Lane {
    /// Returns a lane that connects on its first use.
    pub(super) fn new(tls: Arc<ClientConfig>, connect_timeout: Duration) -> Self {
        let target = Rc::default();
        let notes = Rc::<WireNotes>::default();
        let connector = LaneConnector {
            target: Rc::clone(&target),
            notes: Rc::clone(&notes),
            tls,
        };
        // The attempt has a timeout of its own, and the engine a limit of its own.
        let connector = Connector::new()
            .connector(connector)
            .timeout(connect_timeout)
            .limit(0);
        let client = Client::builder()
            .connector(connector)
            .disable_redirects()
            .disable_timeout()
            .no_default_headers()
            .finish();
        Self {
            client,
            target,
            notes,
            prepared: None,
        }
    }

    /// Returns how many connections the lane has made; the same number before and after a call means that the call used a kept one.
    pub(super) fn connections(&self) -> u32 {
        self.notes.connections.get()
    }

    /// Says whether the receiver has sent anything since the last exchange began.
    pub(super) fn is_answered(&self) -> bool {
        self.notes.answered.get()
    }

    /// Makes one exchange, reading at most `body_limit` bytes of the answer's body.
    pub(super) async fn exchange(
        &mut self,
        prepared: &Rc<Prepared>,
        headers: HeaderMap,
        body: Bytes,
        body_limit: usize,
    ) -> Result<Exchanged, Failure> {
        let request = self.freeze(prepared)?;
        *self.target.borrow_mut() = Some(prepared.target.clone());
        self.notes.closed_by_receiver.set(false);
        self.notes.answered.set(false);
        self.notes.connect_failure.set(None);
        let sent = request.extra_headers(headers).send_body(body).await;
        let response = sent.map_err(|error| self.classify(&error))?;
        self.read(response, body_limit).await
    }

    fn freeze(&mut self, prepared: &Rc<Prepared>) -> Result<FrozenClientRequest, Failure> {
        if let Some((made_for, request)) = &self.prepared
            && Rc::ptr_eq(made_for, prepared)
        {
            return Ok(request.clone());
        }
        let mut request = self.client.post(prepared.uri.clone()).no_decompress();
        request.headers_mut().clone_from(&prepared.headers);
        let request = request.freeze().map_err(|_| Failure::Unsendable)?;
        self.prepared = Some((Rc::clone(prepared), request.clone()));
        Ok(request)
    }

    async fn read(&self, mut response: ClientResponse, limit: usize) -> Result<Exchanged, Failure> {
        let status = response.status().as_u16();
        let headers = response.headers();
        let location = single(headers, &LOCATION);
        let retry_after = joined(headers, &RETRY_AFTER);
        let framing = Framing::of(status, headers);
        let mut excerpt = BytesMut::new();
        let mut read = 0_usize;
        // What follows an interim answer is not its body, and may never come.
        let mut whole = !matches!(framing, Framing::Interim);
        while whole && let Some(chunk) = response.next().await {
            let chunk = chunk.map_err(|error| classify_payload(&error))?;
            let room = EXCERPT_BYTES.saturating_sub(excerpt.len()).min(chunk.len());
            excerpt.extend_from_slice(chunk.get(..room).unwrap_or_default());
            read = read.saturating_add(chunk.len());
            // Beyond the limit the status counts; dropping the response drops the connection.
            whole = read <= limit;
        }
        if whole && self.is_cut_short(&framing, read) {
            return Err(Failure::ConnectionClosed);
        }
        let answer = Answer {
            status,
            location,
            retry_after,
            excerpt: excerpt.freeze(),
        };
        Ok(Exchanged {
            answer,
            clean: whole && framing.is_unambiguous(),
        })
    }

    /// Says whether the body ended before it was complete, which the client reports as an end like any other.
    fn is_cut_short(&self, framing: &Framing, read: usize) -> bool {
        match framing {
            Framing::Length(length) => u64::try_from(read).unwrap_or(u64::MAX) < *length,
            Framing::Chunked => self.notes.closed_by_receiver.get(),
            Framing::NoBody | Framing::Interim | Framing::UntilClose => false,
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the client's errors are open-ended"
    )]
    fn classify(&self, error: &SendRequestError) -> Failure {
        if let SendRequestError::Connect(error) = error
            && !matches!(error, ConnectError::Disconnected)
        {
            return self
                .notes
                .connect_failure
                .take()
                .unwrap_or(Failure::Connect);
        }
        match error {
            SendRequestError::Response(ParseError::Io(_) | ParseError::Incomplete)
            | SendRequestError::Connect(_)
            | SendRequestError::Send(_) => Failure::ConnectionClosed,
            SendRequestError::Response(_) => Failure::Malformed,
            SendRequestError::Timeout => Failure::Timeout,
            // Invalid requests and other protocols; the rest does not happen over HTTP/1.1.
            _ => Failure::Unsendable,
        }
    }
}

/// How the end of an answer's body is known.
enum Framing {
    /// A status without a body.
    NoBody,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// An interim status, after which the final answer may still come.
    Interim,
    /// Neither: the body ends with the connection, or is left for whoever reads next.
    UntilClose,
}

impl Framing {
    fn of(status: u16, headers: &HeaderMap) -> Self {
        if status < 200 {
            return Self::Interim;
        }
        if matches!(status, 204 | 304) {
            return Self::NoBody;
        }
        let is = |name: HeaderName, expected: &str| {
            let value = headers.get(name).map(HeaderValue::as_bytes);
            value.is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(expected.as_bytes()))
        };
        if is(TRANSFER_ENCODING, "chunked") {
            return Self::Chunked;
        }
        if headers.contains_key(TRANSFER_ENCODING) || is(UPGRADE, "websocket") {
            // The client reads no body then, or one without end, whatever the length says.
            return Self::UntilClose;
        }
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        length.map_or(Self::UntilClose, Self::Length)
    }

    fn is_unambiguous(&self) -> bool {
        match self {
            Self::NoBody | Self::Length(_) | Self::Chunked => true,
            Self::Interim | Self::UntilClose => false,
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the client's errors are open-ended"
)]
fn classify_payload(error: &PayloadError) -> Failure {
    match error {
        PayloadError::Io(cause) | PayloadError::Incomplete(Some(cause))
            if cause.kind() == std::io::ErrorKind::InvalidInput =>
        {
            Failure::Malformed
        }
        PayloadError::EncodingCorrupted | PayloadError::UnknownLength => Failure::Malformed,
        _ => Failure::ConnectionClosed,
    }
}

/// Returns the header if it is there once and is text.
fn single(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name);
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    std::str::from_utf8(first.as_bytes())
        .ok()
        .map(str::to_owned)
}

/// Returns all values of a header as one list (RFC 9110 §5.3).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let texts = headers
        .get_all(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    texts.reduce(|all, next| all + ", " + &next)
}
