//! The parser of answers: the status, a few headers, and the end of the answer.
//!
//! It accepts answers in which these three are unambiguous, however sloppy the rest is (RFC 9112
//! §2.2, §5.2), and refuses all others. It does no I/O: it is fed bytes as they arrive.

mod body;
mod excerpt;
mod head;
mod lenient;

pub(super) use self::body::{Body, Piece};
pub(super) use self::excerpt::{Excerpt, Reading};
pub(super) use self::head::{Framing, Head, HeadReader};

/// An answer whose meaning or end is ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclear {
    /// The status, if it could be read.
    pub(super) status: Option<u16>,
}

#[cfg(test)]
mod tests;
