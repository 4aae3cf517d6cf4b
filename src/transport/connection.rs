//! One connection, used by one exchange at a time: a request goes out, its answer comes in, and whatever is not clear about the answer's end
//! keeps the connection from being used again.
//!
//! Answers are decoded by awc's own HTTP/1 codec. Its pool is not used: it gives a connection back before anyone has looked at the answer, so
//! that the bytes after an interim answer, or after one without a length, would be taken for the answer to another delivery.
//!
//! Buffers belong to the thread, not to the connection: one that waits holds none, unless a part of an answer is in it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_http::h1::{ClientCodec, ClientPayloadCodec, MessageType};
use actix_http::header::{
    CONTENT_LENGTH, HeaderMap, HeaderName, LOCATION, RETRY_AFTER, TRANSFER_ENCODING, UPGRADE,
};
use actix_http::{ResponseHead, ServiceConfig, Version};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio_util::codec::Decoder as _;

use super::connect::Authority;
use super::plain::take_plain_answer;
use super::wire::Wire;
use crate::domain::attempt::{Answer, Failure, Wish};

/// A connection to one authority.
pub(super) struct Connection {
    pub(super) authority: Rc<Authority>,
    wire: Wire,
    /// What the receiver has sent and nobody has read.
    received: BytesMut,
}

/// How much of an answer's body is read, and how much of that is kept, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// Beyond it the connection is given up; the status still counts.
    pub(super) limit: usize,
    pub(super) kept: usize,
    /// Whether a body without a length is waited for until the receiver closes, where it says that it will.
    pub(super) until_close: bool,
}

/// An answer, and whether its connection may be used again.
pub(super) struct Exchanged {
    pub(super) answer: Answer,
    pub(super) clean: bool,
}

/// An exchange without an answer.
pub(super) struct Broken {
    pub(super) failure: Failure,
    /// Whether the receiver has sent nothing at all.
    pub(super) unanswered: bool,
}

impl Connection {
    pub(super) fn new(authority: Rc<Authority>, wire: Wire) -> Self {
        let received = BytesMut::new();
        Self {
            authority,
            wire,
            received,
        }
    }

    /// Says whether a connection that nobody used for a while can be used: the receiver has neither closed it nor sent anything.
    pub(super) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        // Where nothing has come, the runtime knows it without asking the system. It must not be asked within the budget of the task: with that spent,
        // it would say so of any connection.
        let receive = poll_fn(|cx| self.poll_receive(cx));
        pin!(tokio::task::unconstrained(receive))
            .poll(cx)
            .is_pending()
    }

    /// Makes one exchange: sends `head` and `body`, and reads the answer as far as `reading` says.
    pub(super) fn exchange(
        &mut self,
        head: impl FnOnce(&mut Vec<u8>) -> Result<(), Failure>,
        body: &Bytes,
        reading: Reading,
    ) -> impl Future<Output = Result<Exchanged, Broken>> {
        let mut head = Some(head);
        // A block, because an `async fn` keeps room for its arguments twice.
        async move {
            let unsent = poll_fn(|cx| {
                let head = head.take();
                Poll::Ready(head.map_or(Ok(None), |head| self.send_at_once(head, body, cx)))
            });
            let unsent = unsent.await.map_err(|failure| self.broken(failure))?;
            let mut whole = true;
            if let Some((head, body)) = unsent {
                whole = Box::pin(self.send_the_rest(head, body)).await;
            }
            let mut exchanged = self.read(reading).await?;
            exchanged.clean &= whole;
            Ok(exchanged)
        }
    }

    /// Sends as much as goes at once, which is nearly always all of it, and returns the rest.
    fn send_at_once(
        &mut self,
        head: impl FnOnce(&mut Vec<u8>) -> Result<(), Failure>,
        body: &Bytes,
        cx: &mut Context<'_>,
    ) -> Result<Option<(Bytes, Bytes)>, Failure> {
        OUTGOING.with_borrow_mut(|request| {
            request.clear();
            head(request)?;
            if body.len() > COPIED {
                let head = Bytes::copy_from_slice(request);
                return Ok(Some((head, body.clone())));
            }
            request.extend_from_slice(body);
            let written = match self.poll_send(cx, request) {
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(_)) => return Err(Failure::ConnectionClosed),
                Poll::Pending => 0,
            };
            let rest = request.get(written..).unwrap_or_default();
            let all = rest.is_empty() && !self.wire.may_hold_back();
            Ok((!all).then(|| (Bytes::copy_from_slice(rest), Bytes::new())))
        })
    }

    /// Sends what did not go at once, and listens meanwhile: a receiver that refuses a large body answers before it has read it, and may close.
    /// Says whether all of it was sent.
    async fn send_the_rest(&mut self, mut head: Bytes, mut body: Bytes) -> bool {
        poll_fn(|cx| {
            while !head.is_empty() || !body.is_empty() {
                let part = if head.is_empty() {
                    &mut body
                } else {
                    &mut head
                };
                match self.poll_send(cx, part) {
                    Poll::Ready(Ok(sent @ 1..)) => part.advance(sent),
                    // What the receiver has answered, if anything, is read next.
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(false),
                    Poll::Pending => {
                        ready!(self.poll_receive(cx)).ok();
                        return Poll::Ready(false);
                    }
                }
            }
            if let Poll::Ready(flushed) = pin!(self.wire.flush()).poll(cx) {
                return Poll::Ready(flushed.is_ok());
            }
            ready!(self.poll_receive(cx)).ok();
            Poll::Ready(false)
        })
        .await
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        pin!(&mut self.wire).poll_write(cx, bytes)
    }

    /// Reads the answer.
    async fn read(&mut self, reading: Reading) -> Result<Exchanged, Broken> {
        while self.received.is_empty() {
            if !self.receive().await {
                return Err(self.broken(Failure::ConnectionClosed));
            }
        }
        let mut exchanged = match take_plain_answer(&mut self.received, reading) {
            Some(answer) => Exchanged {
                answer,
                clean: true,
            },
            // Rare, and much larger: not a part of this future.
            None => Box::pin(self.read_any(reading)).await?,
        };
        if self.received.is_empty() {
            give_back(std::mem::take(&mut self.received));
        } else {
            // Nobody asked for what comes after the answer.
            exchanged.clean = false;
        }
        Ok(exchanged)
    }

    /// Reads an answer of any kind, of which something has come.
    async fn read_any(&mut self, reading: Reading) -> Result<Exchanged, Broken> {
        let (mut exchanged, body) = loop {
            if let Some(started) = self.start_answer(reading)? {
                break started;
            }
            if !self.receive().await {
                return Err(self.broken(Failure::ConnectionClosed));
            }
        };
        if let Some(mut body) = body {
            let ended = self.read_body(&mut body, reading).await;
            let ended = ended.map_err(Broken::answered)?;
            exchanged.answer.excerpt = body.excerpt.freeze();
            exchanged.clean &= matches!(ended, Body::Whole);
        }
        Ok(exchanged)
    }

    /// Takes the head of the answer out of what was received, once all of it is there, and says what is known without its body.
    fn start_answer(
        &mut self,
        reading: Reading,
    ) -> Result<Option<(Exchanged, Option<BodyReader>)>, Broken> {
        let mut codec = ClientCodec::new(CONFIG.with(ServiceConfig::clone));
        let decoded = codec.decode(&mut self.received);
        let Some(head) = decoded.map_err(|_| Broken::answered(Failure::Malformed))? else {
            return Ok(None);
        };
        let mut answer = Answer::new(head.status.as_u16());
        answer.location = single(&head.headers, &LOCATION);
        answer.retry_after = joined(&head.headers, &RETRY_AFTER);
        answer.wish = head
            .headers
            .get(WEBHOOK_DELIVERY)
            .and_then(|value| Wish::parse(value.as_bytes()));
        let framing = Framing::of(&head);
        let decoded = codec.message_type() == MessageType::Payload
            && !(matches!(framing, Framing::Delimited) && is_old_offer(&head));
        let closes = reading.until_close && !head.keep_alive();
        let body = (framing.has_body() && (decoded || closes)).then(|| BodyReader {
            codec: decoded.then(|| codec.into_payload_codec()),
            ends_with_connection: head.version < Version::HTTP_11 || !decoded,
            excerpt: BytesMut::new(),
            read: 0,
        });
        // The codec reads no body after an offer of WebSocket, though one may come.
        let announced = framing.has_body() && body.is_none();
        let clean = head.keep_alive() && framing.is_unambiguous() && !announced;
        Ok(Some((Exchanged { answer, clean }, body)))
    }

    /// Reads the body of an answer.
    async fn read_body(
        &mut self,
        body: &mut BodyReader,
        reading: Reading,
    ) -> Result<Body, Failure> {
        loop {
            match body.take_in(&mut self.received, reading)? {
                Body::Unfinished => {}
                ended @ (Body::Whole | Body::CutOff) => return Ok(ended),
            }
            if !self.receive().await {
                return if body.ends_with_connection {
                    Ok(Body::CutOff)
                } else {
                    Err(Failure::ConnectionClosed)
                };
            }
        }
    }

    /// Waits for more bytes; `false` when the connection has ended.
    async fn receive(&mut self) -> bool {
        poll_fn(|cx| self.poll_receive(cx))
            .await
            .is_ok_and(|received| received > 0)
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

    fn broken(&self, failure: Failure) -> Broken {
        Broken {
            failure,
            unanswered: self.received.is_empty(),
        }
    }
}

impl Broken {
    /// Returns the failure of an exchange in which the receiver has sent something.
    fn answered(failure: Failure) -> Self {
        Self {
            failure,
            unanswered: false,
        }
    }
}

/// The body of an answer while it is read.
struct BodyReader {
    /// `None` where everything until the connection ends is the body.
    codec: Option<ClientPayloadCodec>,
    ends_with_connection: bool,
    excerpt: BytesMut,
    read: usize,
}

/// How far a body was read.
enum Body {
    Unfinished,
    Whole,
    /// As far as the limit, or until the connection ended.
    CutOff,
}

impl BodyReader {
    /// Takes in what was received.
    fn take_in(&mut self, received: &mut BytesMut, reading: Reading) -> Result<Body, Failure> {
        loop {
            let decoded = match &mut self.codec {
                Some(codec) => codec.decode(received),
                None if received.is_empty() => Ok(None),
                None => Ok(Some(Some(received.split().freeze()))),
            };
            match decoded {
                Ok(Some(Some(chunk))) => {
                    let room = reading.kept.saturating_sub(self.excerpt.len());
                    let begin = chunk.get(..room.min(chunk.len())).unwrap_or_default();
                    self.excerpt.extend_from_slice(begin);
                    self.read = self.read.saturating_add(chunk.len());
                    if self.read > reading.limit {
                        return Ok(Body::CutOff);
                    }
                }
                Ok(Some(None)) => return Ok(Body::Whole),
                Ok(None) => return Ok(Body::Unfinished),
                Err(_) => return Err(Failure::Malformed),
            }
        }
    }
}

/// How the end of an answer's body is known (RFC 9112 §6.3).
enum Framing {
    /// A status without a body, or `Content-Length: 0`.
    NoBody,
    /// A status without a body, with headers that announce one: it may come all the same.
    Contradictory,
    /// `Content-Length` or `Transfer-Encoding: chunked`, and not both.
    Delimited,
    /// An interim status, after which the final answer may still come.
    Interim,
    /// Neither: the body ends with the connection, or is left for whoever reads next.
    Unclear,
}

impl Framing {
    fn of(head: &ResponseHead) -> Self {
        let status = head.status.as_u16();
        if status < 200 {
            return Self::Interim;
        }
        let coding = head.headers.get(TRANSFER_ENCODING);
        let length = head.headers.get(CONTENT_LENGTH);
        let has_length = length.is_some();
        // The codec takes it for no length at all, and would wait for the end of an HTTP/1.0 connection.
        let is_zero = length.is_some_and(|length| {
            let digits = length.as_bytes().trim_ascii();
            digits.iter().all(|digit| *digit == b'0')
        });
        let announced = coding.is_some() || (has_length && !is_zero);
        if matches!(status, 204 | 304) {
            return if announced {
                Self::Contradictory
            } else {
                Self::NoBody
            };
        }
        if is_zero && coding.is_none() {
            return Self::NoBody;
        }
        let chunked = coding.map(|coding| coding.as_bytes().trim_ascii());
        match chunked {
            Some(coding) if coding.eq_ignore_ascii_case(b"chunked") && !has_length => {
                Self::Delimited
            }
            None if has_length => Self::Delimited,
            Some(_) | None => Self::Unclear,
        }
    }

    fn has_body(&self) -> bool {
        matches!(self, Self::Delimited | Self::Unclear)
    }

    fn is_unambiguous(&self) -> bool {
        matches!(self, Self::NoBody | Self::Delimited)
    }
}

/// Says whether an HTTP/1.0 receiver offers WebSocket. The codec then forgets a length and would wait for the end of the connection.
fn is_old_offer(head: &ResponseHead) -> bool {
    let websocket = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"websocket");
    let mut offers = head.headers.get_all(UPGRADE);
    head.version < Version::HTTP_11 && offers.any(|offer| websocket(offer.as_bytes()))
}

/// Returns the header if it is there once and is text.
fn single(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name);
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    std::str::from_utf8(first.as_bytes())
        .ok()
        .map(str::to_owned)
}

/// Returns all values of a header as one list (RFC 9110 §5.3).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let texts = headers
        .get_all(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    texts.reduce(|all, next| all + ", " + &next)
}

/// Leaves an empty buffer to the thread's next answer.
fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    INCOMING.set(buffer);
}

thread_local! {
    /// The codec's settings; they own a task of the thread's runtime, so that there is one for all connections.
    static CONFIG: ServiceConfig = ServiceConfig::default();
    static OUTGOING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static INCOMING: Cell<BytesMut> = Cell::new(BytesMut::new());
}

const WEBHOOK_DELIVERY: HeaderName = HeaderName::from_static("webhook-delivery");

/// The largest body that is copied behind its head, in bytes, so that both go out in one call.
const COPIED: usize = 16 * 1_024;

/// For how many bytes there is room at least when the receiver is listened to.
const READ_AT_LEAST: usize = 2 * 1_024;

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use url::Url;

    use super::*;

    /// A task that has used up what it may do at once is told "nothing yet" of every socket: an answer that nobody asked for would have been taken
    /// for the answer to the next delivery.
    #[actix_rt::test]
    async fn unread_bytes_are_noticed_with_the_tasks_budget_spent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let authority = Authority::of(&Url::parse("http://127.0.0.1/").unwrap()).unwrap();
        server.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        client.readable().await.unwrap();
        let mut connection = Connection::new(Rc::new(authority), Wire::Plain(client));
        let quiet = poll_fn(|cx| {
            while pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
            Poll::Ready(connection.is_quiet(cx))
        });
        assert!(!quiet.await);
    }
}
