//! One exchange on a connection. The request is sent in one call where possible.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use zeroize::Zeroizing;

use crate::domain::deliveries::answer::Answer;
use crate::domain::deliveries::outcome::Failure;
use crate::transport::StatusSeen;
use crate::transport::answer::{Body, Excerpt, Framing, Head, Piece, Reading};
use crate::transport::connect::Authority;
use crate::transport::line::{Broken, COPIED, Line, put_together};
use crate::transport::wire::ByteStream;

/// A connection to one authority.
pub(in crate::transport) struct Connection<W> {
    pub(super) authority: Rc<Authority>,
    line: Line<W>,
}

/// An answer, and `clean` if its connection may be used again.
pub(in crate::transport) struct Exchanged {
    pub(in crate::transport) answer: Answer,
    pub(in crate::transport) clean: bool,
}

impl<W: ByteStream> Connection<W> {
    pub(in crate::transport) fn new(authority: Rc<Authority>, wire: W) -> Self {
        let line = Line::new(wire);
        Self { authority, line }
    }

    /// Returns `true` if the receiver has neither closed the connection nor sent anything since its
    /// last use.
    pub(in crate::transport) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        self.line.is_quiet(cx)
    }

    /// Makes one exchange: sends `head` and `body`, then reads the answer up to the limits of
    /// `reading`.
    ///
    /// `seen` receives the status as soon as it is known.
    pub(in crate::transport) fn exchange(
        &mut self,
        head: impl FnOnce(&mut Vec<u8>) -> Result<(), Failure>,
        body: &Bytes,
        reading: Reading,
        seen: &StatusSeen,
    ) -> impl Future<Output = Result<Exchanged, Broken>> {
        let mut head = Some(head);
        self.line.begin(seen.clone());
        // An `async` block, because an `async fn` reserves space for its arguments twice.
        async move {
            let sent = poll_fn(|cx| {
                let head = head.take();
                Poll::Ready(head.map_or(Ok(None), |head| self.send_at_once(head, body, cx)))
            });
            if let Some((head, body)) = sent.await? {
                // Boxed, because it is rare and would make this future much larger.
                Box::pin(self.send_the_rest(head, body)).await?;
            }
            let head = poll_fn(|cx| self.line.poll_head(cx)).await?;
            self.read(head, reading).await
        }
    }

    /// Sends as much as the system takes at once, nearly always everything, and returns the rest.
    fn send_at_once(
        &mut self,
        head: impl FnOnce(&mut Vec<u8>) -> Result<(), Failure>,
        body: &Bytes,
        cx: &mut Context<'_>,
    ) -> Result<Option<(Bytes, Bytes)>, Broken> {
        let copied = if body.len() > COPIED { 0 } else { body.len() };
        put_together(ROOM_FOR_HEAD + copied, |request| {
            head(request)?;
            if body.len() > COPIED {
                return Ok(Some((wiped(request), body.clone())));
            }
            request.extend_from_slice(body);
            let written = match self.line.poll_send(cx, request) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            let rest = request.get(written..).unwrap_or_default();
            let all = rest.is_empty() && !self.line.may_hold_back();
            Ok((!all).then(|| (wiped(rest), Bytes::new())))
        })
    }

    /// Sends the rest of a request.
    async fn send_the_rest(&mut self, mut head: Bytes, mut body: Bytes) -> Result<(), Broken> {
        for part in [&mut head, &mut body] {
            while !part.is_empty() {
                let sent = poll_fn(|cx| self.line.poll_send(cx, part)).await?;
                part.advance(sent);
            }
        }
        poll_fn(|cx| self.line.poll_flush(cx)).await
    }

    /// Reads the body of an answer.
    async fn read(&mut self, head: Head, reading: Reading) -> Result<Exchanged, Broken> {
        let mut answer = head.answer;
        let mut excerpt = Excerpt::new(reading);
        let mut body = Body::new(head.framing);
        let mut whole = true;
        if head.framing == Framing::UntilClose && !reading.until_close {
            excerpt.take(&self.line.take_received());
            whole = false;
        }
        while whole {
            match poll_fn(|cx| self.line.poll_body(cx, &mut body)).await? {
                Piece::Data(data) => whole = excerpt.take(&data),
                Piece::More | Piece::End => break,
            }
        }
        answer.excerpt = excerpt.into_bytes();
        let clean = self.line.end(head.keeps && whole);
        Ok(Exchanged { answer, clean })
    }
}

/// Returns a copy that is wiped on drop, because it may be the head of a request.
fn wiped(bytes: &[u8]) -> Bytes {
    Bytes::from_owner(Zeroizing::new(bytes.to_vec()))
}

/// A larger head makes the thread's buffer grow, which leaves an unwiped copy behind. Few heads are
/// that large: one line is at most 4 KiB.
const ROOM_FOR_HEAD: usize = 16 * 1_024;
