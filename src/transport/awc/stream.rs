//! The stream under awc's client: it sees every byte of a connection, and answers awc's traps and
//! its strictness in one place.
//!
//! Of an answer that every reader takes alike, awc gets the bytes as they came. Of any other it
//! gets a plain one with the same status, the headers that count, and the same body: interim
//! answers skipped, folds and lines that are no headers gone, the framing made unmistakable. An
//! answer that is cut short ends in an error that says so. A connection with anything left over, or
//! whose answer was ambiguous, ends with its exchange: no answer can be credited to another
//! delivery.

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
use crate::transport::line::{Broken, COPIED, Line, put_together};
use crate::transport::settings::IdleSlot;

/// A connection as awc sees it. Small, because it is moved into awc's pool and out of it for each
/// exchange.
pub(super) struct Stream(Box<Open>);

struct Open {
    /// `None` once it has ended.
    line: Option<Line>,
    phase: Phase,
    /// What awc has written and the system has not taken.
    unsent: BytesMut,
    /// What awc is given to read next.
    handed: BytesMut,
    connecting: Rc<Connecting>,
}

enum Phase {
    /// Nothing is under way.
    Waiting {
        /// `None` when it is new.
        #[expect(dead_code, reason = "it counts as long as it is held")]
        kept: Option<IdleSlot>,
    },
    /// The request is being sent, or the head of the answer is awaited.
    Awaiting,
    /// The body of the answer is read.
    Reading { body: Body, keeps: bool },
    /// All of the answer is read, and awc has not been given all of it.
    Ending { keeps: bool },
}

impl Stream {
    pub(super) fn new(line: Line, connecting: Rc<Connecting>) -> Self {
        Self(Box::new(Open {
            line: Some(line),
            phase: Phase::Waiting { kept: None },
            unsent: BytesMut::new(),
            handed: BytesMut::new(),
            connecting,
        }))
    }
}

impl Open {
    /// Sends the head of a request, with what follows it if that is short.
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
            // Large enough at once: what grows leaves copies behind.
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
            if let Some(status) = plain_and_whole(read)
                && line.may_follow()
                && let Some(slot) = self.connecting.slot()
            {
                line.note(Some(status));
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

    /// Gives awc a head that says the same and can be read in one way only.
    fn hand_head(&mut self, head: &Head) {
        let Some(line) = &mut self.line else { return };
        write_plain_head(head, line.received(), &mut self.handed);
        let keeps = head.keeps;
        self.phase = match head.framing {
            // It is not waited for: what has come of it counts.
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

    /// Hands over what there is. With the last of an answer the exchange ends.
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

/// Returns the status if `bytes` are one answer from its beginning to its end, of which awc makes
/// what we do.
fn plain_and_whole(bytes: &[u8]) -> Option<u16> {
    let (head, length) = Head::at(bytes)?;
    let body = match head.framing {
        Framing::Empty => 0,
        Framing::Length(length) => usize::try_from(length).ok()?,
        Framing::Chunked | Framing::UntilClose => return None,
    };
    let whole = head.plain && head.keeps && length.checked_add(body) == Some(bytes.len());
    whole.then_some(head.answer.status)
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

impl AsyncRead for Stream {
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
                // awc asks whether it can be used again.
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

impl AsyncWrite for Stream {
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

/// awc asks for it and does not use it: whether something can be read or written is found out by
/// trying.
impl ActixStream for Stream {
    fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::READABLE))
    }

    fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        Poll::Ready(Ok(Ready::WRITABLE))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// What has not gone out is wiped: it may be the head of a request.
impl Drop for Open {
    fn drop(&mut self) {
        (*self.unsent).zeroize();
    }
}

/// How much of a head awc writes itself, with the request's target, in bytes: usually.
const ROOM_FOR_HEAD: usize = 1_024;

pub(super) const WEBHOOK_DELIVERY: HeaderName = HeaderName::from_static("webhook-delivery");
