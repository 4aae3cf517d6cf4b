//! Answers of receivers, split at any point, over both transports.

use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use actix_webhooks::fuzzing::{open_awc, open_http, request};
use actix_webhooks::transport::{
    Alert, Answer, AwcTransport, Channel, EXCERPT_BYTES, Failure, HttpTransport, Request, Sent,
};
use actix_webhooks::{AnswerTrace, WebhookUrl};
use bytes::Bytes;
use tokio::io::{Join, join};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use super::script::{Answers, End, Requests, Unsent};

/// Reads an answer from the bytes of a receiver. The first byte controls the rest: how the bytes
/// are cut, what follows them, whether the request is taken slowly, and how much of a body is read.
///
/// # Panics
/// If a property does not hold: the answer depends neither on how its bytes are cut nor on the
/// transport, and a reused connection gives the next exchange its own answer.
pub fn answer(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else {
        return;
    };
    let end = match how & 3 {
        0 => End::Closed,
        1 => End::Reset,
        _ => End::Silent,
    };
    let size = match how >> 2 & 3 {
        0 => 1,
        1 => 2,
        2 => 7,
        _ => 61,
    };
    let slow = how & 0x10 != 0;
    let limit = LIMITS.get(usize::from(how >> 5)).copied();
    let parts: Vec<&[u8]> = bytes.chunks(size).collect();
    let whole = Exchange::make(Over::Http, &[bytes], end, slow, MOST_BYTES);
    let cut = Exchange::make(Over::Http, &parts, end, slow, MOST_BYTES);
    whole.check_cut(&cut);
    whole.check_next();
    cut.check_next();
    for parts in [&[bytes][..], &parts] {
        check_transports(parts, end, slow, limit.unwrap_or(MOST_BYTES));
    }
}

/// Checks that an answer that arrives in `parts` gives the same result over both transports, and
/// returns it: `None` if the answer is incomplete and the receiver sends nothing more.
pub(crate) fn check_transports(
    parts: &[&[u8]],
    end: End,
    slow: bool,
    limit: usize,
) -> Option<Result<Answer, Failure>> {
    // awc's codec spawns a task, which needs a runtime.
    thread_local! {
        static PLACE: (Runtime, LocalSet) = (
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime without I/O can be made"),
            LocalSet::new(),
        );
    }
    PLACE.with(|(runtime, tasks)| {
        let entered = (runtime.enter(), tasks.enter());
        let http = Exchange::make(Over::Http, parts, end, slow, limit);
        let awc = Exchange::make(Over::Awc, parts, end, slow, limit);
        http.check_awc(&awc);
        let result = http.result.clone();
        http.check_next();
        awc.check_next();
        drop(entered);
        // Lets finished tasks be removed.
        tasks.block_on(runtime, tokio::task::yield_now());
        result
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Http,
    Awc,
}

impl Over {
    /// Opens a channel that reads at most `limit` bytes of a body, and never gets another
    /// connection.
    fn open(self, limit: usize, connection: Join<Answers, Requests>) -> Box<dyn Channel> {
        let mut transports = TRANSPORTS.iter();
        let with_limit = transports.find(|(_, _, most)| *most == limit);
        let (http, awc, _) = with_limit.expect("it is one of the limits to test");
        match self {
            Self::Http => open_http(http, &URL, connection),
            Self::Awc => open_awc(awc, &URL, connection),
        }
    }
}

/// The transports for each limit. Building one takes much longer than an exchange.
static TRANSPORTS: LazyLock<[(HttpTransport, AwcTransport, usize); 4]> = LazyLock::new(|| {
    LIMITS.map(|limit| {
        let none = "there are no certificates";
        let http = HttpTransport::builder().response_body_limit(limit).build();
        let awc = AwcTransport::builder().response_body_limit(limit).build();
        (http.expect(none), awc.expect(none), limit)
    })
});

/// An exchange, its channel afterwards, and the receiver's unsent bytes.
struct Exchange {
    channel: Box<dyn Channel>,
    unsent: Unsent,
    end: End,
    limit: usize,
    /// `None` if the answer is incomplete and the receiver sends nothing more.
    result: Option<Result<Answer, Failure>>,
    /// The status of the answer, if it was read that far.
    status: Option<u16>,
    /// What the answer is, if it was read that far.
    trace: AnswerTrace,
    /// `true` if the connection may be used again.
    clean: bool,
}

impl Exchange {
    fn make(over: Over, parts: &[&[u8]], end: End, slow: bool, limit: usize) -> Self {
        let unsent = Unsent::new(parts);
        let answers = Answers {
            unsent: unsent.clone(),
            end,
        };
        let channel = over.open(limit, join(answers, Requests { slow }));
        let request = post();
        let seen = request.seen.clone();
        let sent = poll(&mut channel.send(request));
        let clean = channel.is_worth_keeping();
        assert!(sent.as_ref().is_none_or(|sent| !sent.twice));
        if let Some(Ok(answer)) = sent.as_ref().map(|sent| &sent.result) {
            assert!((100..=999).contains(&answer.status));
            assert!(answer.excerpt.len() <= EXCERPT_BYTES);
            assert!(!(slow && clean), "not all was sent");
            assert!(!(answer.status < 200 && clean), "interim");
        } else {
            assert!(!clean, "there is no whole answer");
        }
        Self {
            channel,
            unsent,
            end,
            limit,
            result: sent.map(|sent| sent.result),
            status: seen.get(),
            trace: seen.trace(),
            clean,
        }
    }

    /// Compares with the same exchange, `cut` into smaller parts.
    fn check_cut(&self, cut: &Self) {
        assert_eq!((self.status, &self.trace), (cut.status, &cut.trace));
        match (&self.result, &cut.result) {
            (None, None) => assert_eq!(self.end, End::Silent),
            (Some(Err(whole)), Some(Err(cut))) => assert_eq!(whole, cut),
            (Some(Ok(whole)), Some(Ok(cut_answer))) => {
                // A body that ends with the connection is not awaited: the bytes received so far
                // count.
                let unended = !self.clean && !cut.clean;
                let (whole_excerpt, excerpt) = (&whole.excerpt, &cut_answer.excerpt);
                assert!(
                    whole_excerpt == excerpt || (unended && whole_excerpt.starts_with(excerpt))
                );
                assert_eq!(*whole, with_excerpt(cut_answer, whole_excerpt));
                if self.clean != cut.clean {
                    // Bytes after the answer are noticed either at once or on the connection's next
                    // use.
                    assert!(cut.clean && !cut.unsent.is_empty());
                }
            }
            (whole, cut) => unreachable!("{whole:?} at once, {cut:?} cut"),
        }
    }

    /// Compares with the same exchange over awc.
    fn check_awc(&self, awc: &Self) {
        assert_eq!((self.status, &self.trace), (awc.status, &awc.trace));
        match (&self.result, &awc.result) {
            (None, None) => {}
            (Some(Err(ours)), Some(Err(awcs))) => assert_eq!(ours, awcs),
            (Some(Ok(answer)), Some(Ok(over_awc))) => {
                let (ours, awcs) = (&answer.excerpt, &over_awc.excerpt);
                // A body that ends with the connection is not awaited: the bytes received so far
                // count.
                let alike = ours == awcs || ours.starts_with(awcs) || awcs.starts_with(ours);
                assert!(alike && (ours == awcs || !self.clean));
                assert_eq!(*answer, with_excerpt(over_awc, ours));
            }
            (ours, awcs) => unreachable!("{ours:?} on a connection of our own, {awcs:?} over awc"),
        }
    }

    /// Checks that the next exchange, if its connection is kept, gets its own answer.
    fn check_next(self) {
        if !self.clean {
            return;
        }
        let mut sending = self.channel.send(post());
        if !(self.unsent.is_empty() && self.end == End::Silent) {
            // The receiver has sent unrequested bytes or closed, and there is no other connection.
            let refused = Sent::from(Err(Failure::Connect));
            assert_eq!(poll(&mut sending), Some(refused));
            return;
        }
        // An idle connection is checked before anything is sent, and nothing has arrived by then.
        assert_eq!(poll(&mut sending), None);
        self.unsent.push(NEXT);
        let mut expected = Answer::new(418);
        expected.excerpt = Bytes::from_static(NEXT_BODY);
        assert_eq!(poll(&mut sending), Some(Sent::from(Ok(expected))));
        assert_eq!(
            self.channel.is_worth_keeping(),
            self.limit >= NEXT_BODY.len()
        );
    }
}

fn with_excerpt(answer: &Answer, excerpt: &Bytes) -> Answer {
    let mut answer = answer.clone();
    answer.excerpt = excerpt.clone();
    answer
}

/// Polls once. No waker is needed: the receiver's bytes are all there.
fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    let mut nobody = Context::from_waker(Waker::noop());
    match Pin::new(future).poll(&mut nobody) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

fn post() -> Request {
    request(URL.clone(), Arc::clone(&ALERT))
}

static URL: LazyLock<WebhookUrl> = LazyLock::new(|| {
    let url = WebhookUrl::parse("http://receiver.test/");
    url.expect("it is a URL")
});

static ALERT: LazyLock<Arc<Alert>> = LazyLock::new(|| {
    let body = Bytes::from_static(b"{}");
    Arc::new(Alert::new("e".into(), "r".into(), "t", "c".into(), body))
});

const NEXT: &[u8] = b"HTTP/1.1 418 Next\r\nContent-Length: 4\r\n\r\nnext";
const NEXT_BODY: &[u8] = b"next";

/// The body limits to test.
const LIMITS: [usize; 4] = [0, 10, 1_500, MOST_BYTES];
pub(crate) const MOST_BYTES: usize = 64 * 1_024;
