//! A receiver without a socket.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that a receiver is yet to send, as they will arrive.
#[derive(Clone, Debug)]
pub(crate) struct Unsent(Rc<RefCell<VecDeque<Bytes>>>);

impl Unsent {
    pub(crate) fn new(parts: &[&[u8]]) -> Self {
        let parts = parts.iter().filter(|part| !part.is_empty());
        let parts = parts.map(|part| Bytes::copy_from_slice(part)).collect();
        Self(Rc::new(RefCell::new(parts)))
    }

    pub(crate) fn push(&self, part: &'static [u8]) {
        self.0.borrow_mut().push_back(Bytes::from_static(part));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// The receiver's half that sends the same bytes for any request.
pub(crate) struct Answers {
    pub(crate) unsent: Unsent,
    pub(crate) end: End,
}

/// The event after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
    Silent,
}

impl AsyncRead for Answers {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut parts = self.unsent.0.borrow_mut();
        let Some(part) = parts.front_mut() else {
            return match self.end {
                End::Closed => Poll::Ready(Ok(())),
                End::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                End::Silent => Poll::Pending,
            };
        };
        buf.put_slice(&part.split_to(part.len().min(buf.remaining())));
        if part.is_empty() {
            parts.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

/// The receiver's half that takes requests.
pub(crate) struct Requests {
    /// `true` to take requests byte by byte, and never the last two bytes.
    pub(crate) slow: bool,
}

impl AsyncWrite for Requests {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match (self.slow, buf) {
            (true, [_, _, _, ..]) => Poll::Ready(Ok(1)),
            (true, _) => Poll::Pending,
            (false, _) => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
