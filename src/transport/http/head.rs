//! The head of a request, as bytes.

use url::Url;
use zeroize::Zeroizing;

use crate::domain::deliveries::outcome::Failure;
use crate::transport::Request;
use crate::transport::request::{FixedLines, RequestHeaders, host, push, target};

/// The part of a request's head that is the same for every call to one URL.
///
/// It includes the URL's query, so `Debug` does not show it and dropping wipes it.
pub(super) struct FixedHead {
    begin: Zeroizing<Vec<u8>>,
    lines: FixedLines,
}

impl FixedHead {
    /// Returns the head for calls to `url`.
    ///
    /// With `left_origin`, the headers that another origin must not see are left out.
    pub(super) fn new(
        url: &Url,
        headers: &RequestHeaders,
        left_origin: bool,
    ) -> Result<Self, Failure> {
        // Reserve everything at once: a reallocation would leave an unwiped copy behind.
        let mut begin = Zeroizing::new(Vec::with_capacity(64 + 2 * url.as_str().len()));
        for part in ["POST ", target(url)?, " HTTP/1.1\r\n"] {
            begin.extend_from_slice(part.as_bytes());
        }
        push(&mut begin, "Host", host(url))?;
        let lines = headers.fixed(left_origin)?;
        Ok(Self { begin, lines })
    }

    /// Writes the whole head of a request.
    pub(super) fn write(
        &self,
        head: &mut Vec<u8>,
        request: &Request,
        headers: &RequestHeaders,
    ) -> Result<(), Failure> {
        head.extend_from_slice(&self.begin);
        head.extend_from_slice(self.lines.as_bytes());
        headers.write(request, head)?;
        let mut length = itoa::Buffer::new();
        let length = length.format(request.alert.body.len());
        push(head, "Content-Length", length)?;
        head.extend_from_slice(b"\r\n");
        Ok(())
    }
}
