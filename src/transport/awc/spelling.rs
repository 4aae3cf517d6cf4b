//! How header names are spelled: awc writes all of them in lower case, and there are receivers that compare
//! names as they are written.

use std::fmt;

use crate::transport::request::{RequestHeaders, Varying};

/// The names of a request's headers, as they are sent.
pub(super) struct Spelling(Vec<Box<str>>);

impl Spelling {
    pub(super) fn of(headers: &RequestHeaders) -> Self {
        let varying = Varying::ALL.iter().map(|header| headers.name(*header));
        let fixed = headers.fixed(false).map(|(name, _)| name);
        let names = ["Host", "Content-Length"]
            .into_iter()
            .chain(varying)
            .chain(fixed);
        // The others need not be looked for.
        let spelled = names.filter(|name| name.bytes().any(|byte| byte.is_ascii_uppercase()));
        Self(spelled.map(Box::from).collect())
    }

    /// Adds the head of a request to `out` as it is sent, if all of it is at the beginning of `bytes`, and
    /// returns its length. The date that awc adds is left out: it tells a receiver nothing that the
    /// timestamp does not.
    pub(super) fn write(&self, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let mut written = 0;
        loop {
            let rest = bytes.get(written..)?;
            let length = rest.iter().position(|byte| *byte == b'\n')? + 1;
            let line = rest.get(..length)?;
            written += length;
            self.write_line(line, out);
            if line == b"\r\n" {
                return Some(written);
            }
        }
    }

    fn write_line(&self, line: &[u8], out: &mut Vec<u8>) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, rest) = line.split_at(colon.unwrap_or(0));
        if name == b"date" {
            return;
        }
        let same = |spelled: &&Box<str>| spelled.as_bytes().eq_ignore_ascii_case(name);
        let spelled = self.0.iter().find(same);
        out.extend_from_slice(spelled.map_or(name, |spelled| spelled.as_bytes()));
        out.extend_from_slice(rest);
    }
}

impl fmt::Debug for Spelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Spelling").field(&self.0).finish()
    }
}
