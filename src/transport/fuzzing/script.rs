//! A receiver without a socket.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) type Parts = Rc<RefCell<VecDeque<Bytes>>>;

/// A receiver that sends the same bytes for any request.
pub(in crate::transport) struct Script {
    pub(super) parts: Parts,
    pub(super) end: End,
    /// `true` if it takes one byte of the request and no more.
    pub(super) slow: bool,
}

/// The event after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Reset,
    Silent,
}

impl AsyncRead for Script {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut parts = self.parts.borrow_mut();
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

impl AsyncWrite for Script {
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
