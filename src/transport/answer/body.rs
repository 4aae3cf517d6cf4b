//! The body of an answer.

use bytes::{Buf as _, Bytes, BytesMut};
use httparse::Status;

use super::Framing;

/// A body being read.
#[derive(Debug)]
pub(in crate::transport) enum Body {
    /// The number of bytes still to come.
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

/// The next piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::transport) enum Piece {
    Data(Bytes),
    /// Nothing until more bytes are received.
    More,
    End,
}

/// The position within a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Chunks {
    /// Before a chunk's size line.
    Size,
    /// Within a chunk, with the number of bytes still to come.
    Data(u64),
    /// Before the line end after a chunk.
    DataEnd,
    /// After the last chunk, with the maximum number of trailer bytes still skipped.
    Trailers(usize),
    Over,
}

/// A malformed chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) struct InvalidChunk;

impl Body {
    pub(in crate::transport) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunks::Size),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Takes the next piece out of the received bytes.
    pub(in crate::transport) fn next(
        &mut self,
        received: &mut BytesMut,
    ) -> Result<Piece, InvalidChunk> {
        match self {
            Self::Length(0) => Ok(Piece::End),
            Self::Length(left) => Ok(take(left, received)),
            Self::Chunked(chunks) => chunks.next(received),
            Self::UntilClose if received.is_empty() => Ok(Piece::More),
            Self::UntilClose => Ok(Piece::Data(received.split().freeze())),
        }
    }

    /// Returns `true` if the body has been read completely.
    #[cfg(feature = "awc")]
    pub(in crate::transport) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks::Over))
    }
}

impl Chunks {
    fn next(&mut self, received: &mut BytesMut) -> Result<Piece, InvalidChunk> {
        loop {
            let more = match self {
                Self::Size => self.take_size(received)?,
                Self::Data(left) => {
                    let piece = take(left, received);
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(piece);
                }
                Self::DataEnd => self.take_data_end(received)?,
                Self::Trailers(room) => {
                    let mut room = *room;
                    let more = skip_trailer(&mut room, received)?;
                    *self = match more {
                        Trailer::Last => Self::Over,
                        Trailer::Skipped | Trailer::More => Self::Trailers(room),
                    };
                    matches!(more, Trailer::More)
                }
                Self::Over => return Ok(Piece::End),
            };
            if more {
                return Ok(Piece::More);
            }
        }
    }

    /// Returns `true` if more bytes are needed first.
    fn take_size(&mut self, received: &mut BytesMut) -> Result<bool, InvalidChunk> {
        // Without a digit the size would parse as 0, which ends the body.
        let first = received.first().copied();
        if first.is_some_and(|byte| !byte.is_ascii_hexdigit()) {
            return Err(InvalidChunk);
        }
        match httparse::parse_chunk_size(received) {
            Ok(Status::Complete((length, size))) => {
                let line = received.get(..length - 1).unwrap_or_default();
                // A bare LF: other parsers end the line there.
                if length > MAX_SIZE_LINE_BYTES || line.contains(&b'\n') {
                    return Err(InvalidChunk);
                }
                received.advance(length);
                *self = match size {
                    0 => Self::Trailers(MAX_TRAILER_BYTES),
                    size => Self::Data(size),
                };
                Ok(false)
            }
            Ok(Status::Partial) if received.len() <= MAX_SIZE_LINE_BYTES => Ok(true),
            Ok(Status::Partial) | Err(_) => Err(InvalidChunk),
        }
    }

    /// Returns `true` if more bytes are needed first.
    fn take_data_end(&mut self, received: &mut BytesMut) -> Result<bool, InvalidChunk> {
        match received.get(..received.len().min(2)) {
            Some(b"\r\n") => {
                received.advance(2);
                *self = Self::Size;
                Ok(false)
            }
            Some(b"\r" | b"") | None => Ok(true),
            Some(_) => Err(InvalidChunk),
        }
    }
}

/// Takes the received bytes, at most `left`.
fn take(left: &mut u64, received: &mut BytesMut) -> Piece {
    let here = usize::try_from(*left)
        .unwrap_or(usize::MAX)
        .min(received.len());
    if here == 0 {
        return Piece::More;
    }
    *left -= here as u64;
    Piece::Data(received.split_to(here).freeze())
}

enum Trailer {
    More,
    Skipped,
    Last,
}

/// Skips one line after the last chunk. Only the empty line counts: it ends the body.
fn skip_trailer(room: &mut usize, received: &mut BytesMut) -> Result<Trailer, InvalidChunk> {
    let end = received.iter().position(|byte| *byte == b'\n');
    let length = end.map_or(received.len(), |end| end + 1);
    if length > *room {
        return Err(InvalidChunk);
    }
    if end.is_none() {
        return Ok(Trailer::More);
    }
    *room -= length;
    let line = received.split_to(length);
    match &line[..] {
        b"\r\n" => Ok(Trailer::Last),
        // A bare LF: some parsers take it for the end.
        b"\n" => Err(InvalidChunk),
        _ => Ok(Trailer::Skipped),
    }
}

/// The longest size line of a chunk, including extensions, in bytes.
const MAX_SIZE_LINE_BYTES: usize = 4 * 1_024;

/// The maximum number of bytes after the last chunk.
const MAX_TRAILER_BYTES: usize = 16 * 1_024;
