//! A request as awc takes it, and the header lines that its stream adds.
//!
//! awc writes names in lower case, and there are receivers that compare names as they are written:
//! the lines are added under awc, as they are sent. So a value need not become three objects on its
//! way, and a secret is in no map that is not wiped.

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

/// What is the same for every request to one URL.
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
        // Whom a client's connections lead to is known without the URI, and `Host` is set.
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

    /// Returns what the stream needs to know of an attempt.
    pub(super) fn outgoing(
        &self,
        headers: &RequestHeaders,
        request: &Request,
    ) -> Result<Outgoing, Failure> {
        let authorization = request.authorization.as_ref();
        let authorization = authorization.map_or(0, |value| value.expose().len());
        // Large enough at once: what grows leaves copies behind.
        let room = self.lines.as_bytes().len() + authorization + ROOM_FOR_VARYING;
        let mut lines = Zeroizing::new(Vec::with_capacity(room));
        lines.extend_from_slice(self.lines.as_bytes());
        headers.write(request, &mut lines)?;
        let seen = request.seen.clone();
        Ok(Outgoing { lines, seen })
    }

    /// Sends a request, and returns the head of its answer.
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

/// What the stream that a request is written to needs to know of it.
pub(super) struct Outgoing {
    /// Its header lines.
    pub(super) lines: Zeroizing<Vec<u8>>,
    /// Is told the status of its answer.
    pub(super) seen: StatusSeen,
}

/// Where the stream finds it: it is there while the request is polled, and streams are written to
/// at no other time.
#[derive(Default)]
pub(super) struct OutgoingSlot(Cell<Option<Outgoing>>);

impl OutgoingSlot {
    pub(super) fn take(&self) -> Option<Outgoing> {
        self.0.take()
    }
}

/// Adds the head of a request to `out` as it is sent: what awc has written, and `lines`. Returns
/// the length of what awc has written, if all of it is at the beginning of `bytes`.
///
/// The date that awc adds is left out: it tells a receiver nothing that the timestamp does not.
pub(super) fn write_head(bytes: &[u8], lines: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let mut written = 0;
    let mut length_line: &[u8] = b"";
    loop {
        let rest = bytes.get(written..)?;
        let length = rest.iter().position(|byte| *byte == b'\n')? + 1;
        let line = rest.get(..length)?;
        written += length;
        if let Some(value) = line.strip_prefix(b"host") {
            // Before the others (RFC 9110 §7.2).
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

/// How much room the other lines that depend on the attempt usually take, in bytes.
const ROOM_FOR_VARYING: usize = 512;
