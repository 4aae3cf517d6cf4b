//! The part of an answer's body that is read, and the part that is kept.

use bytes::{Bytes, BytesMut};

/// Limits for reading and keeping an answer's body, in bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport) struct Reading {
    /// Past this limit the connection is given up; the status still counts.
    pub(in crate::transport) limit: usize,
    pub(in crate::transport) kept: usize,
    /// `true` to read a body without a length until the receiver closes. If `false`, only the bytes
    /// that came with the head are taken.
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

    /// Takes the next bytes. Returns `false` once more than the limit was read.
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
