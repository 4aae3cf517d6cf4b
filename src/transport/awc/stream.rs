//! The stream under awc's client. It sees every byte of a connection and handles awc's pitfalls and
//! strict checks in one place.
//!
//! If every HTTP parser would read an answer alike, awc gets its bytes unchanged. Otherwise awc
//! gets a plain answer with the same status, the headers that count, and the same body: interim
//! answers are skipped, folded lines and lines that are not headers are removed, and the framing is
//! made unambiguous. A truncated answer ends in an error that says so. A connection with bytes left
//! over, or whose answer was ambiguous, is closed after its exchange, so that no answer can be
//! credited to another delivery.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_rt::net::{ActixStream, Ready};
use awc::http::header::HeaderName;
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeroize::Zeroize as _;

use super::connecting::Connecting;
use super::request::write_head;
use crate::domain::deliveries::answer::Directive;
use crate::domain::deliveries::outcome::Failure;
use crate::transport::answer::{Body, Framing, Head, Piece};
use crate::transport::connect::Connect;
use crate::transport::line::{Broken, COPIED, Line, put_together};
use crate::transport::settings::IdleSlot;

/// A connection as awc sees it.
///
/// It is kept small, because awc moves it into and out of its pool for each exchange.
pub(super) struct Stream<C: Connect>(Box<Open<C>>);

struct Open<C: Connect> {
    /// `None` once the connection has ended.
    line: Option<Line<C::Wire>>,
    phase: Phase,
    /// Bytes that awc has written and the system has not yet taken.
    unsent: BytesMut,
    /// Bytes that awc reads next.
    handed: BytesMut,
    connecting: Rc<Connecting<C>>,
}

enum Phase {
    /// No exchange is under way.
    Waiting {
        /// `None` for a new connection.
        #[expect(dead_code, reason = "it counts as long as it is held")]
        kept: Option<IdleSlot>,
    },
    /// The request is being sent, or the head of the answer is awaited.
    Awaiting,
    /// The body of the answer is being read.
    Reading { body: Body, keeps: bool },
    /// The whole answer is read, but awc has not yet been given all of it.
    Ending { keeps: bool },
}

impl<C: Connect> Stream<C> {
    pub(super) fn new(line: Line<C::Wire>, connecting: Rc<Connecting<C>>) -> Self {
        Self(Box::new(Open {
            line: Some(line),
            phase: Phase::Waiting { kept: None },
            unsent: BytesMut::new(),
            handed: BytesMut::new(),
            connecting,
        }))
    }
}

impl<C: Connect> Open<C> {
    /// Sends the head of a request, and up to [`COPIED`] bytes of the body behind it.
    fn begin(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<usize, Broken> {
        let line = self.line.as_mut().ok_or(Failure::ConnectionClosed)?;
        let outgoing = self.connecting.outgoing.take();
        let outgoing = outgoing.ok_or(Failure::Unsendable)?;
        line.begin(outgoing.seen);
        self.phase = Phase::Awaiting;
        let room = bytes.len().min(COPIED) + outgoing.lines.len() + ROOM_FOR_HEAD;
        put_together(room, |out| {
            let head = write_head(bytes, &outgoing.lines, out).ok_or(Failure::Unsendable)?;
            let body = bytes.get(head..).unwrap_or_default();
            let body = body.get(..COPIED).unwrap_or(body);
            out.extend_from_slice(body);
            let sent = match line.poll_send(cx, out) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => 0,
            };
            let unsent = out.get(sent..).unwrap_or_default();
            // Reserve everything at once: a reallocation would leave an unwiped copy behind.
            self.unsent.reserve(unsent.len());
            self.unsent.extend_from_slice(unsent);
            Ok(head + body.len())
        })
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while !self.unsent.is_empty() {
            let line = self.line.as_mut().ok_or(Failure::ConnectionClosed)?;
            let sent = ready!(line.poll_send(cx, &self.unsent))?;
            if let Some(sent) = self.unsent.get_mut(..sent) {
                sent.zeroize();
            }
            self.unsent.advance(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the head of an answer. Returns `true` if all of the answer is in `buffer`.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<bool, Broken>> {
        let line = self.line.as_mut().ok_or(Failure::ConnectionClosed)?;
        if !line.has_received() {
            let before = buffer.filled().len();
            ready!(line.poll_read_into(cx, buffer))?;
            let read = buffer.filled().get(before..).unwrap_or_default();
            if let Some(mut head) = plain_and_whole(read)
                && line.may_follow()
                && let Some(slot) = self.connecting.slot()
            {
                line.note(Some(head.answer.status), head.content_type.take());
                line.end(true);
                self.phase = Phase::Waiting { kept: Some(slot) };
                return Poll::Ready(Ok(true));
            }
            line.unread(read);
            buffer.set_filled(before);
        }
        let head = ready!(line.poll_head(cx))?;
        self.hand_head(&head);
        Poll::Ready(Ok(false))
    }

    /// Gives awc an equivalent head that can be read in only one way.
    fn hand_head(&mut self, head: &Head) {
        let Some(line) = &mut self.line else { return };
        write_plain_head(head, line.received(), &mut self.handed);
        let keeps = head.keeps;
        self.phase = match head.framing {
            // The end is not awaited: the bytes received so far are the body.
            Framing::UntilClose => {
                self.handed.extend_from_slice(&line.take_received());
                Phase::Ending { keeps }
            }
            Framing::Empty => Phase::Ending { keeps },
            Framing::Length(_) | Framing::Chunked => Phase::Reading {
                body: Body::new(head.framing),
                keeps,
            },
        };
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let line = self.line.as_mut().ok_or(Failure::ConnectionClosed)?;
        let Phase::Reading { body, keeps } = &mut self.phase else {
            return Poll::Ready(Ok(()));
        };
        let chunked = matches!(body, Body::Chunked(_));
        let piece = ready!(line.poll_body(cx, body))?;
        if let Piece::Data(data) = &piece {
            if chunked {
                let size = format!("{:x}\r\n", data.len());
                self.handed.extend_from_slice(size.as_bytes());
            }
            self.handed.extend_from_slice(data);
            if chunked {
                self.handed.extend_from_slice(b"\r\n");
            }
        }
        if piece == Piece::End || (!chunked && body.is_over()) {
            if chunked {
                self.handed.extend_from_slice(b"0\r\n\r\n");
            }
            self.phase = Phase::Ending { keeps: *keeps };
        }
        Poll::Ready(Ok(()))
    }

    /// Hands over the available bytes. The exchange ends with the last byte of the answer.
    fn hand_over(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.handed.len().min(buffer.remaining());
        buffer.put_slice(&self.handed.split_to(length));
        if let (true, Phase::Ending { keeps }) = (self.handed.is_empty(), &self.phase) {
            let keeps = *keeps;
            self.handed = BytesMut::new();
            let kept = self.line.as_mut().is_some_and(|line| line.end(keeps));
            let slot = Some(())
                .filter(|()| kept)
                .and_then(|()| self.connecting.slot());
            if slot.is_none() {
                self.line = None;
            }
            self.phase = Phase::Waiting { kept: slot };
        }
    }
}

/// Returns the head if `bytes` is exactly one answer that awc parses as this crate does.
fn plain_and_whole(bytes: &[u8]) -> Option<Head> {
    let (head, length) = Head::at(bytes)?;
    let body = match head.framing {
        Framing::Empty => 0,
        Framing::Length(length) => usize::try_from(length).ok()?,
        Framing::Chunked | Framing::UntilClose => return None,
    };
    let whole = head.plain && head.keeps && length.checked_add(body) == Some(bytes.len());
    whole.then_some(head)
}

fn write_plain_head(head: &Head, received: usize, out: &mut BytesMut) {
    let answer = &head.answer;
    let mut line = |parts: &[&str]| {
        for part in parts {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    };
    let mut number = itoa::Buffer::new();
    line(&["HTTP/1.1 ", number.format(answer.status), " -"]);
    match head.framing {
        Framing::Empty => {}
        Framing::Length(length) => line(&["content-length: ", number.format(length)]),
        Framing::Chunked => line(&["transfer-encoding: chunked"]),
        Framing::UntilClose => line(&["content-length: ", number.format(received)]),
    }
    if let Some(location) = &answer.location {
        line(&["location: ", location]);
    }
    if let Some(retry_after) = &answer.retry_after {
        line(&["retry-after: ", retry_after]);
    }
    if let Some(date) = &answer.date {
        line(&["date: ", date]);
    }
    match answer.directive {
        Some(Directive::Disable) => line(&["webhook-delivery: disable"]),
        Some(Directive::AbortMessage) => line(&["webhook-delivery: abort-message"]),
        None => {}
    }
    if !head.keeps {
        line(&["connection: close"]);
    }
    line(&[]);
}

impl<C: Connect> AsyncRead for Stream<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self.get_mut().0;
        loop {
            if !this.handed.is_empty() {
                this.hand_over(buffer);
                return Poll::Ready(Ok(()));
            }
            let Some(line) = &mut this.line else {
                return Poll::Ready(Ok(()));
            };
            match this.phase {
                // awc checks whether the connection can be reused.
                Phase::Waiting { .. } | Phase::Ending { .. } if line.is_quiet(cx) => {
                    return Poll::Pending;
                }
                Phase::Waiting { .. } | Phase::Ending { .. } => this.line = None,
                Phase::Awaiting => {
                    if ready!(this.poll_head(cx, buffer)).map_err(io::Error::other)? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Phase::Reading { .. } => ready!(this.poll_body(cx)).map_err(io::Error::other)?,
            }
        }
    }
}

impl<C: Connect> AsyncWrite for Stream<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self.get_mut().0;
        if matches!(this.phase, Phase::Waiting { .. }) {
            return Poll::Ready(this.begin(cx, bytes).map_err(io::Error::other));
        }
        ready!(this.poll_unsent(cx)).map_err(io::Error::other)?;
        let line = this.line.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        line.poll_send(cx, bytes).map_err(io::Error::other)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self.get_mut().0;
        ready!(this.poll_unsent(cx)).map_err(io::Error::other)?;
        match &mut this.line {
            Some(line) => line.poll_flush(cx).map_err(io::Error::other),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self.get_mut().0;
        this.line = None;
        this.phase = Phase::Waiting { kept: None };
        Poll::Ready(Ok(()))
    }
}

/// awc requires this trait but does not use it: readiness is found by trying to read or write.
impl<C: Connect> ActixStream for Stream<C> {
    fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::READABLE))
    }

    fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::WRITABLE))
    }
}

impl<C: Connect> fmt::Debug for Stream<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// Wipes unsent bytes, which may be the head of a request.
impl<C: Connect> Drop for Open<C> {
    fn drop(&mut self) {
        (*self.unsent).zeroize();
    }
}

/// The usual size, in bytes, of the part of a head that awc writes itself, including the request
/// target.
const ROOM_FOR_HEAD: usize = 1_024;

pub(super) const WEBHOOK_DELIVERY: HeaderName = HeaderName::from_static("webhook-delivery");
