//! How much of an answer's body is read, and what is kept of it.

use bytes::{Bytes, BytesMut};

/// How much of an answer's body is read, and how much of that is kept, in bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport) struct Reading {
    /// Beyond it the connection is given up; the status still counts.
    pub(in crate::transport) limit: usize,
    pub(in crate::transport) kept: usize,
    /// Whether a body without a length is waited for until the receiver closes. Without it, as much
    /// is taken as has come with the head.
    pub(in crate::transport) until_close: bool,
}

/// The beginning of a body.
#[derive(Debug)]
pub(in crate::transport) struct Excerpt {
    reading: Reading,
    kept: BytesMut,
    read: usize,
}

impl Excerpt {
    pub(in crate::transport) fn new(reading: Reading) -> Self {
        Self {
            reading,
            kept: BytesMut::new(),
            read: 0,
        }
    }

    /// Takes in what comes next. Returns `false` once more than the limit was read.
    pub(in crate::transport) fn take(&mut self, data: &[u8]) -> bool {
        let room = self.reading.kept.saturating_sub(self.kept.len());
        let begin = data.get(..room.min(data.len())).unwrap_or_default();
        self.kept.extend_from_slice(begin);
        self.read = self.read.saturating_add(data.len());
        self.read <= self.reading.limit
    }

    pub(in crate::transport) fn into_bytes(self) -> Bytes {
        self.kept.freeze()
    }
}
