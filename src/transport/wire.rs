//! The byte stream under an HTTP exchange, plain or TLS, which remembers what HTTP does not tell.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_rt::net::{ActixStream, Ready, TcpStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::domain::attempt::Failure;

/// What happened on the connections of one lane, shared between the lane and its stream.
#[derive(Debug, Default)]
pub(super) struct WireNotes {
    /// How many connections were made.
    pub(super) connections: Cell<u32>,
    /// Whether the receiver has closed its side. The HTTP client reports a body that is cut short as complete.
    pub(super) closed_by_receiver: Cell<bool>,
    /// Whether the receiver has sent anything since the exchange began.
    pub(super) answered: Cell<bool>,
    /// Why the last connection could not be made, in more detail than the HTTP client can carry.
    pub(super) connect_failure: Cell<Option<Failure>>,
}

/// A connection.
pub(super) struct Wire {
    stream: Stream,
    notes: Rc<WireNotes>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    pub(super) fn plain(stream: TcpStream, notes: Rc<WireNotes>) -> Self {
        Self {
            stream: Stream::Plain(stream),
            notes,
        }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, notes: Rc<WireNotes>) -> Self {
        Self {
            stream: Stream::Tls(Box::new(stream)),
            notes,
        }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let room = buf.remaining() > 0;
        let poll = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if matches!(poll, Poll::Ready(Ok(()))) && room {
            let nothing = buf.filled().len() == before;
            let note = if nothing {
                &this.notes.closed_by_receiver
            } else {
                &this.notes.answered
            };
            note.set(true);
        }
        poll
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl ActixStream for Wire {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.tcp().poll_read_ready(cx).map_ok(|()| Ready::READABLE)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.tcp().poll_write_ready(cx).map_ok(|()| Ready::WRITABLE)
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("tls", &matches!(self.stream, Stream::Tls(_)))
            .finish_non_exhaustive()
    }
}
