//! The head of a request, as the bytes that are sent.

use std::fmt;

use url::Url;
use zeroize::Zeroizing;

use crate::domain::attempt::Failure;
use crate::transport::Request;
use crate::transport::request::{RequestHeaders, host, is_sendable, target};

/// The part of a request's head that is the same for every call to one URL. The URL's query and the
/// endpoint's headers are in it, so that it is not shown, and wiped when it is dropped.
pub(super) struct FixedHead(Zeroizing<Vec<u8>>);

impl FixedHead {
    /// Returns the head for calls to `url`, without the headers that another origin must not see if it was
    /// left.
    pub(super) fn new(
        url: &Url,
        headers: &RequestHeaders,
        left_origin: bool,
    ) -> Result<Self, Failure> {
        let fixed = headers.fixed(left_origin);
        let lines: usize = fixed
            .map(|(name, value)| name.len() + value.len() + 4)
            .sum();
        // Large enough at once: what grows leaves copies behind.
        let room = 64 + lines + 2 * url.as_str().len();
        let mut head = Zeroizing::new(Vec::with_capacity(room));
        for part in ["POST ", target(url)?, " HTTP/1.1\r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
        push(&mut head, "Host", host(url))?;
        for (name, value) in headers.fixed(left_origin) {
            push(&mut head, name, value)?;
        }
        Ok(Self(head))
    }

    /// Writes the whole head of a request.
    pub(super) fn write(
        &self,
        head: &mut Vec<u8>,
        request: &Request,
        headers: &RequestHeaders,
    ) -> Result<(), Failure> {
        head.extend_from_slice(&self.0);
        headers.write_varying(request, |header, value| {
            push(head, headers.name(header), value)
        })?;
        let mut length = itoa::Buffer::new();
        let length = length.format(request.alert.body.len());
        push(head, "Content-Length", length)?;
        head.extend_from_slice(b"\r\n");
        Ok(())
    }
}

impl fmt::Debug for FixedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FixedHead").finish_non_exhaustive()
    }
}

/// Adds a header.
pub(in crate::transport) fn push(
    head: &mut Vec<u8>,
    name: &str,
    value: &str,
) -> Result<(), Failure> {
    if !is_sendable(value) {
        return Err(Failure::Unsendable);
    }
    for part in [name, ": ", value, "\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    Ok(())
}
