//! A request as awc takes it, and the header lines that its stream adds.
//!
//! awc writes names in lower case, and there are receivers that compare names as they are written: the
//! lines are added under awc, as they are sent. So a value need not become three objects on its way, and a
//! secret is in no map that is not wiped.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;

use awc::error::SendRequestError;
use awc::http::Uri;
use awc::http::header::{HOST, HeaderValue};
use awc::{Client, ClientResponse, FrozenClientRequest};
use bytes::Bytes;

use crate::domain::attempt::Failure;
use crate::transport::Request;
use crate::transport::request::{FixedLines, RequestHeaders, host, target};

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

    /// Returns the header lines of an attempt.
    pub(super) fn lines(
        &self,
        headers: &RequestHeaders,
        request: &Request,
    ) -> Result<Vec<u8>, Failure> {
        let mut lines = Vec::with_capacity(self.lines.as_bytes().len() + 384);
        lines.extend_from_slice(self.lines.as_bytes());
        headers.write(request, &mut lines)?;
        Ok(lines)
    }

    /// Sends a request with these header lines, and returns the head of its answer.
    pub(super) async fn send(
        &self,
        lines: Vec<u8>,
        body: Bytes,
        slot: &LinesSlot,
    ) -> Result<ClientResponse, SendRequestError> {
        let mut sending = pin!(self.request.send_body(body));
        let mut lines = Some(lines);
        poll_fn(|cx| {
            slot.0.set(lines.take());
            let polled = sending.as_mut().poll(cx);
            lines = slot.0.take();
            polled
        })
        .await
    }
}

/// Where the stream that a request is written to finds the request's lines: they are there while it is
/// polled, and streams are written to at no other time.
#[derive(Default)]
pub(super) struct LinesSlot(Cell<Option<Vec<u8>>>);

impl LinesSlot {
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        self.0.take()
    }
}

/// Adds the head of a request to `out` as it is sent: what awc has written, and `lines`. Returns the length
/// of what awc has written, if all of it is at the beginning of `bytes`.
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
