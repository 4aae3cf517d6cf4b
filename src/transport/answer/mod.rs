//! The one reader of answers: which status, which few headers, and where the answer ends.
//!
//! It takes what is unambiguous about these three, however sloppy the rest is (RFC 9112 §2.2,
//! §5.2), and refuses what is not. It does no I/O: bytes go in as they come.

mod body;
mod excerpt;
mod head;
mod lenient;

pub(super) use self::body::{Body, Piece};
pub(super) use self::excerpt::{Excerpt, Reading};
pub(super) use self::head::{Framing, Head, HeadReader};

/// An answer of which it is not clear what it says or where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclear {
    /// Its status, if that much could be read.
    pub(super) status: Option<u16>,
}

#[cfg(test)]
mod tests;
