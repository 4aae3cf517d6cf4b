//! The same bytes over awc. The exchange and the one after it must have the same result as over
//! this crate's own connection.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use super::script::{End, Script};
use super::{Exchange, Exchanged, NEXT, nobody, unsaid};
use crate::domain::deliveries::alert::Alert;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::transport::awc::fuzzing::ScriptedChannel;
use crate::transport::line::Broken;
use crate::transport::wire::Wire;
use crate::transport::{Answer, Failure, Request, StatusSeen};

/// Checks an answer that arrives in `parts`.
pub(super) fn check(parts: &[&[u8]], end: End, slow: bool, limit: usize) {
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
        check_here(parts, end, slow, limit);
        drop(entered);
        // Lets finished tasks be removed.
        tasks.block_on(runtime, tokio::task::yield_now());
    });
}

fn check_here(parts: &[&[u8]], end: End, slow: bool, limit: usize) {
    let expected = Exchange::make(parts, end, slow, limit);
    let parts = unsaid(parts);
    let script = Script {
        parts: Rc::clone(&parts),
        end,
        slow,
    };
    let request = request();
    let endpoint = Endpoint::at(request.url.clone());
    let wires = vec![Wire::Scripted(script)];
    let channel = ScriptedChannel::new(&endpoint, limit, wires, &request);
    let result = exchange(&channel, &request);
    check_like(expected.result.as_ref(), result.as_ref());
    if !channel.keeps_a_connection() {
        return;
    }
    let silent = parts.borrow().is_empty() && end == End::Silent;
    parts.borrow_mut().push_back(Bytes::from_static(NEXT));
    if !silent {
        // The receiver has sent unrequested bytes or closed, and there is no other connection.
        let next = exchange(&channel, &request);
        assert!(matches!(next, Some(Err(_))), "{next:?}");
        return;
    }
    // An idle connection is checked before anything is sent, and nothing had arrived by then.
    let next = parts.borrow_mut().pop_back().expect("it was put there");
    let mut sending = pin!(channel.exchange(&request));
    assert!(sending.as_mut().poll(&mut nobody()).is_pending());
    parts.borrow_mut().push_back(next);
    let Poll::Ready(Ok(answer)) = sending.poll(&mut nobody()) else {
        unreachable!("the next exchange has an answer");
    };
    assert_eq!(answer.status, 418);
    assert!(b"next".starts_with(&answer.excerpt));
}

fn check_like(
    expected: Option<&Result<Exchanged, (Failure, Option<u16>)>>,
    result: Option<&Result<Answer, Broken>>,
) {
    match (expected, result) {
        (None, None) => {}
        (Some(Ok(expected)), Some(Ok(answer))) => {
            let (ours, awcs) = (&expected.answer.excerpt, &answer.excerpt);
            // A body that ends with the connection is not awaited: the bytes received so far count.
            let alike = ours == awcs || ours.starts_with(awcs) || awcs.starts_with(ours);
            assert!(alike && (ours == awcs || !expected.clean));
            let mut answer = answer.clone();
            answer.excerpt = ours.clone();
            assert_eq!(answer, expected.answer);
        }
        (Some(Err(expected)), Some(Err(broken))) => {
            assert_eq!((broken.failure, broken.status), *expected);
        }
        (expected, result) => {
            let expected = expected.map(|result| result.as_ref().map(|ok| &ok.answer));
            unreachable!("{expected:?} on a connection of our own, {result:?} over awc");
        }
    }
}

fn exchange(channel: &ScriptedChannel, request: &Request) -> Option<Result<Answer, Broken>> {
    match pin!(channel.exchange(request)).poll(&mut nobody()) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

fn request() -> Request {
    let mut alert = Alert::example(None);
    alert.body = Bytes::from_static(b"{}");
    Request {
        url: WebhookUrl::parse("http://receiver.test/").expect("it is a URL"),
        alert: Arc::new(alert),
        attempt: 1,
        sent_at: Timestamp::from_unix_millis(0),
        authorization: None,
        left_origin: false,
        seen: StatusSeen::default(),
        shows_credentials: false,
    }
}
