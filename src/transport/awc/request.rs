//! A request as awc takes it, and the header lines that its stream adds.
//!
//! awc writes header names in lower case, and some receivers compare names case-sensitively. So the
//! lines are added below awc, as they are sent. This also saves three conversions per value, and no
//! secret gets into a header map that is not wiped.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;

use awc::error::SendRequestError;
use awc::http::Uri;
use awc::http::header::{HOST, HeaderValue};
use awc::{Client, ClientResponse, FrozenClientRequest};
use bytes::Bytes;
use zeroize::Zeroizing;

use crate::domain::deliveries::outcome::Failure;
use crate::transport::request::{FixedLines, RequestHeaders, host, target};
use crate::transport::{Request, StatusSeen};

/// The parts that are the same for every request to one URL.
pub(super) struct Prepared {
    request: FrozenClientRequest,
    lines: FixedLines,
}

impl Prepared {
    pub(super) fn new(
        client: &Client,
        headers: &RequestHeaders,
        request: &Request,
    ) -> Result<Self, Failure> {
        let url = request.url.to_url();
        // The URI's authority is a placeholder: the client fixes the destination, and `Host` is set
        // below.
        let uri = Uri::builder()
            .scheme("http")
            .authority("receiver")
            .path_and_query(target(&url)?);
        let uri = uri.build().map_err(|_| Failure::Unsendable)?;
        let host = HeaderValue::from_str(host(&url)).map_err(|_| Failure::Unsendable)?;
        let post = client.post(uri).no_decompress().insert_header((HOST, host));
        Ok(Self {
            request: post.freeze().map_err(|_| Failure::Unsendable)?,
            lines: headers.fixed(request.left_origin)?,
        })
    }

    /// Returns the part of an attempt that the stream needs.
    pub(super) fn outgoing(
        &self,
        headers: &RequestHeaders,
        request: &Request,
    ) -> Result<Outgoing, Failure> {
        let authorization = request.authorization.as_ref();
        let authorization = authorization.map_or(0, |value| value.expose().len());
        // Reserve everything at once: a reallocation would leave an unwiped copy behind.
        let room = self.lines.as_bytes().len() + authorization + ROOM_FOR_VARYING;
        let mut lines = Zeroizing::new(Vec::with_capacity(room));
        lines.extend_from_slice(self.lines.as_bytes());
        headers.write(request, &mut lines)?;
        let seen = request.seen.clone();
        Ok(Outgoing { lines, seen })
    }

    /// Sends a request and returns the head of its answer.
    pub(super) async fn send(
        &self,
        outgoing: Outgoing,
        body: Bytes,
        slot: &OutgoingSlot,
    ) -> Result<ClientResponse, SendRequestError> {
        let mut sending = pin!(self.request.send_body(body));
        let mut outgoing = Some(outgoing);
        poll_fn(|cx| {
            slot.0.set(outgoing.take());
            let polled = sending.as_mut().poll(cx);
            outgoing = slot.0.take();
            polled
        })
        .await
    }
}

/// The part of a request that its stream needs.
pub(super) struct Outgoing {
    /// The request's header lines.
    pub(super) lines: Zeroizing<Vec<u8>>,
    /// Receives the status of the answer.
    pub(super) seen: StatusSeen,
}

/// Passes an [`Outgoing`] to the stream. It is set only while the request is polled; awc writes to
/// streams at no other time.
#[derive(Default)]
pub(super) struct OutgoingSlot(Cell<Option<Outgoing>>);

impl OutgoingSlot {
    pub(super) fn take(&self) -> Option<Outgoing> {
        self.0.take()
    }
}

/// Adds the head of a request to `out` as it is sent: awc's own lines, and `lines`.
///
/// Returns the length of awc's head, if `bytes` begins with all of it. awc's `Date` line is left
/// out: it tells a receiver no more than the timestamp does.
pub(super) fn write_head(bytes: &[u8], lines: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let mut written = 0;
    let mut length_line: &[u8] = b"";
    loop {
        let rest = bytes.get(written..)?;
        let length = rest.iter().position(|byte| *byte == b'\n')? + 1;
        let line = rest.get(..length)?;
        written += length;
        if let Some(value) = line.strip_prefix(b"host") {
            // `Host` comes before the other lines (RFC 9110 §7.2).
            out.extend_from_slice(b"Host");
            out.extend_from_slice(value);
            out.extend_from_slice(lines);
        } else if let Some(value) = line.strip_prefix(b"content-length") {
            length_line = value;
        } else if line == b"\r\n" {
            out.extend_from_slice(b"Content-Length");
            out.extend_from_slice(length_line);
            out.extend_from_slice(line);
            return Some(written);
        } else if !line.starts_with(b"date:") {
            out.extend_from_slice(line);
        }
    }
}

/// The usual size, in bytes, of the other lines that depend on the attempt.
const ROOM_FOR_VARYING: usize = 512;
