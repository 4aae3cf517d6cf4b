//! One connection, used by one exchange at a time: a request goes out, its answer comes in. Any
//! doubt about where the answer ends prevents reuse of the connection.
//!
//! Both transports build on it. Buffers belong to the thread, not to the connection: an idle
//! connection holds a buffer only if a part of an answer is in it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};

use super::StatusSeen;
use super::answer::{Body, Head, HeadReader, Piece};
use super::wire::ByteStream;
use crate::domain::deliveries::content_type::ContentType;
use crate::domain::deliveries::outcome::Failure;
use crate::domain::deliveries::trace::AnswerTrace;

/// A connection.
pub(super) struct Line<W> {
    wire: W,
    /// Asked once, because a connection that was reset has no address any more.
    peer: Option<SocketAddr>,
    /// Bytes received and not yet read.
    received: BytesMut,
    reader: HeadReader,
    exchange: Exchange,
    /// `true` if it has served an earlier exchange.
    kept: bool,
}

/// The state of the exchange under way.
#[derive(Debug, Default)]
struct Exchange {
    /// Receives the status as soon as it is known.
    seen: Option<StatusSeen>,
    /// `true` once the receiver has sent anything.
    answered: bool,
    /// The head of a final answer that arrived while the request was being sent.
    early: Option<Head>,
    /// `true` if part of the request was not sent, because the answer came first.
    cut: bool,
}

/// The failure of an exchange without a whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) failure: Failure,
    /// `true` if the request was lost with a kept connection: the receiver closed it while the
    /// request went out, before any answer. Any HTTP client would send the request again at once.
    pub(super) lost: bool,
}

impl<W: ByteStream> Line<W> {
    pub(super) fn new(wire: W) -> Self {
        Self {
            peer: wire.peer(),
            wire,
            received: BytesMut::new(),
            reader: HeadReader::default(),
            exchange: Exchange::default(),
            kept: false,
        }
    }

    /// Begins an exchange. `seen` receives the status of the answer as soon as it is known.
    pub(super) fn begin(&mut self, seen: StatusSeen) {
        self.exchange.seen = Some(seen);
    }

    /// Ends an exchange. Returns `true` if another may follow.
    ///
    /// That requires three things: the whole request was sent, the answer was complete and
    /// unambiguous (`clean`, from the caller), and nothing came after it.
    pub(super) fn end(&mut self, clean: bool) -> bool {
        let clean = clean && !self.exchange.cut && self.received.is_empty();
        self.exchange = Exchange::default();
        self.kept = true;
        if self.received.is_empty() {
            give_back(std::mem::take(&mut self.received));
        }
        clean
    }

    /// Returns `true` if an idle connection can be reused: the receiver has neither closed it nor
    /// sent anything.
    pub(super) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.received.is_empty() || self.wire.has_unread() {
            return false;
        }
        // TLS may hold back bytes that it has already read. The read must be outside the task's
        // cooperative budget: once that is spent, every read reports `Pending`.
        let wire = &mut self.wire;
        let read = poll_fn(|cx| pin!(&mut *wire).poll_read(cx, &mut ReadBuf::new(&mut [0])));
        pin!(tokio::task::unconstrained(read)).poll(cx).is_pending()
    }

    /// Sends bytes of the request and returns the number of bytes taken.
    ///
    /// It listens meanwhile, because a receiver that refuses a large body answers before it has
    /// read it, and may close. The rest of the request is then taken but not sent.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Broken>> {
        if self.exchange.early.is_none() {
            match pin!(&mut self.wire).poll_write(cx, bytes) {
                Poll::Ready(Ok(sent @ 1..)) => return Poll::Ready(Ok(sent)),
                // Read what the receiver has answered, if anything.
                Poll::Ready(Ok(0) | Err(_)) | Poll::Pending => ready!(self.poll_early(cx))?,
            }
        }
        self.exchange.cut = true;
        Poll::Ready(Ok(bytes.len()))
    }

    /// Flushes all taken bytes to the system, and listens meanwhile.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.exchange.early.is_none() && self.wire.may_hold_back() {
            match pin!(&mut self.wire).poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) | Poll::Pending => {
                    ready!(self.poll_early(cx))?;
                    self.exchange.cut = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Returns `true` if taken bytes may still have to be flushed.
    pub(super) fn may_hold_back(&self) -> bool {
        self.wire.may_hold_back()
    }

    fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let head = ready!(self.poll_head(cx))?;
        self.exchange.early = Some(head);
        Poll::Ready(Ok(()))
    }

    /// Reads the head of the final answer, skipping interim answers.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Broken>> {
        if let Some(head) = self.exchange.early.take() {
            return Poll::Ready(Ok(head));
        }
        loop {
            match self.reader.take(&mut self.received) {
                Ok(Some(mut head)) => {
                    self.note(Some(head.answer.status), head.content_type.take());
                    return Poll::Ready(Ok(head));
                }
                Ok(None) => self.note(self.reader.status(), None),
                Err(unclear) => {
                    self.note(unclear.status, None);
                    return Poll::Ready(Err(self.broken(Failure::Malformed)));
                }
            }
            ready!(self.poll_more(cx))?;
        }
    }

    /// Notes what is known of the answer so far.
    pub(super) fn note(&self, status: Option<u16>, content_type: Option<ContentType>) {
        if let (Some(status), Some(seen)) = (status, &self.exchange.seen) {
            let trace = AnswerTrace::new().content_type(content_type);
            seen.set_traced(status, trace.address(self.peer));
        }
    }

    /// Reads the next piece of the answer's body.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
    ) -> Poll<Result<Piece, Broken>> {
        loop {
            match body.next(&mut self.received) {
                Ok(Piece::More) => {}
                Ok(piece) => return Poll::Ready(Ok(piece)),
                Err(_) => return Poll::Ready(Err(self.broken(Failure::Malformed))),
            }
            let more = ready!(self.poll_more(cx));
            if more.is_err() && matches!(body, Body::UntilClose) {
                return Poll::Ready(Ok(Piece::End));
            }
            more?;
        }
    }

    /// Receives more bytes. Fails if the connection has ended.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match ready!(self.poll_receive(cx)) {
            Ok(1..) => {
                self.exchange.answered = true;
                Poll::Ready(Ok(()))
            }
            Ok(0) | Err(_) => Poll::Ready(Err(self.broken(Failure::ConnectionClosed))),
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.received.capacity() == 0 {
            self.received = INCOMING.take();
        }
        self.received.reserve(READ_AT_LEAST);
        let received = pin!(self.wire.read_buf(&mut self.received)).poll(cx);
        if received.is_pending() && self.received.is_empty() {
            give_back(std::mem::take(&mut self.received));
        }
        received
    }

    /// Takes all bytes received and not yet read.
    pub(super) fn take_received(&mut self) -> BytesMut {
        self.received.split()
    }

    /// Returns the [`Broken`] of an exchange without a whole answer.
    pub(super) fn broken(&self, failure: Failure) -> Broken {
        let unanswered = !self.exchange.answered && failure == Failure::ConnectionClosed;
        Broken {
            failure,
            lost: unanswered && self.kept,
        }
    }
}

/// Further methods for the stream under awc.
#[cfg(feature = "awc")]
impl<W: ByteStream> Line<W> {
    /// Reads into the caller's buffer if no bytes came before.
    ///
    /// Most answers arrive in one piece and need no copy.
    pub(super) fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), Broken>> {
        debug_assert!(self.received.is_empty(), "it would be overtaken");
        let before = buffer.filled().len();
        let read = ready!(pin!(&mut self.wire).poll_read(cx, buffer));
        if read.is_err() || buffer.filled().len() == before {
            return Poll::Ready(Err(self.broken(Failure::ConnectionClosed)));
        }
        self.exchange.answered = true;
        Poll::Ready(Ok(()))
    }

    /// Takes back bytes that were read into the caller's buffer.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        if self.received.capacity() == 0 {
            self.received = INCOMING.take();
        }
        self.received.extend_from_slice(bytes);
    }

    /// Returns `true` if anything was received and not yet read.
    pub(super) fn has_received(&self) -> bool {
        !self.received.is_empty() || self.exchange.early.is_some()
    }

    /// Returns the number of bytes received and not yet read.
    pub(super) fn received(&self) -> usize {
        self.received.len()
    }

    /// Returns `true` if the whole request was sent, so that another exchange may follow this one.
    pub(super) fn may_follow(&self) -> bool {
        !self.exchange.cut
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            lost: false,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl std::error::Error for Broken {}

/// Returns an empty buffer to the thread for its next answer.
fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    INCOMING.set(buffer);
}

/// Lends the thread's request buffer, emptied and with at least `room` bytes, and wipes it
/// afterwards.
///
/// Heads and token requests contain secrets, and the buffer outlives engines.
pub(super) fn put_together<T>(room: usize, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    OUTGOING.with_borrow_mut(|out| {
        out.clear();
        // Reserve everything at once: a reallocation would leave an unwiped copy behind.
        out.reserve(room);
        let done = work(out);
        // The buffer stays allocated, so its old bytes could still be read.
        out.fill(0);
        done
    })
}

thread_local! {
    static INCOMING: Cell<BytesMut> = Cell::new(BytesMut::new());
    static OUTGOING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The largest body, in bytes, that is copied behind its head so that both go out in one call.
pub(super) const COPIED: usize = 16 * 1_024;

/// The minimum free space, in bytes, for reading from the receiver.
const READ_AT_LEAST: usize = 2 * 1_024;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::transport::wire::Wire;

    /// The last request of a thread used to stay in its buffer, with `Authorization`, after the
    /// engine had ended.
    #[test]
    fn nothing_of_a_request_is_left_in_the_buffer_of_its_thread() {
        let made = put_together(100, |out| {
            assert!(out.is_empty() && out.capacity() >= 100);
            out.extend_from_slice(b"Authorization: Bearer hush");
            out.len()
        });
        let left = OUTGOING.with_borrow(Clone::clone);
        assert_eq!(left, vec![0; made]);
    }

    /// A task with its cooperative budget spent sees `Pending` on every socket. An unrequested
    /// answer would have been taken for the answer to the next delivery.
    #[actix_rt::test]
    async fn unread_bytes_are_noticed_with_the_tasks_budget_spent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        client.readable().await.unwrap();
        let mut line = Line::new(Wire::Plain(client));
        let quiet = poll_fn(|cx| {
            while pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
            Poll::Ready(line.is_quiet(cx))
        });
        assert!(!quiet.await);
    }
}
