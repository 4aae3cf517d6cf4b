//! Reading answers from fuzzer input.

#[cfg(feature = "awc")]
mod over_awc;
pub(super) mod script;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use url::Url;

use self::script::{End, Parts, Script};
use super::StatusSeen;
use super::answer::Reading;
use super::connect::Authority;
use super::http::{Connection, Exchanged};
use super::wire::Wire;
use crate::domain::deliveries::answer::{Answer, EXCERPT_BYTES};
use crate::domain::deliveries::outcome::Failure;

/// Reads one input. The first byte controls the rest: how the bytes are cut, what follows them,
/// whether the request is taken slowly, and how much of a body is read.
pub(crate) fn answer(data: &[u8]) {
    if let Some((how, bytes)) = data.split_first() {
        check_reading(*how, bytes);
    }
}

/// Checks the invariants of every answer, and that the result does not depend on how its bytes are
/// cut.
fn check_reading(how: u8, bytes: &[u8]) {
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
    let whole = Exchange::make(&[bytes], end, slow, LIMITS_MOST);
    let parts: Vec<&[u8]> = bytes.chunks(size).collect();
    let cut = Exchange::make(&parts, end, slow, LIMITS_MOST);
    whole.check_like(&cut);
    #[cfg(feature = "awc")]
    for parts in [&[bytes][..], &parts] {
        over_awc::check(parts, end, slow, limit.unwrap_or(LIMITS_MOST));
    }
    whole.check_next();
    cut.check_next();
    if let Some(limit) = limit {
        Exchange::make(&parts, end, slow, limit).check_next();
        Exchange::make(&[bytes], end, slow, limit).check_next();
    }
}

/// An exchange, its connection afterwards, and the receiver's unsent bytes.
struct Exchange {
    connection: Connection,
    unsaid: Parts,
    /// `None` if the answer is incomplete and the receiver sends nothing more.
    result: Option<Result<Exchanged, (Failure, Option<u16>)>>,
    end: End,
}

impl Exchange {
    fn make(parts: &[&[u8]], end: End, slow: bool, limit: usize) -> Self {
        let url = Url::parse("http://receiver.test/").expect("it is a URL");
        let authority = Authority::of(&url).expect("it has a host");
        let parts = unsaid(parts);
        let unsaid = Rc::clone(&parts);
        let script = Script { parts, end, slow };
        let mut connection = Connection::new(Rc::new(authority), Wire::Scripted(script));
        let result = exchange(&mut connection, limit);
        if let Some(Ok(exchanged)) = &result {
            let answer = &exchanged.answer;
            assert!((100..=999).contains(&answer.status));
            assert!(answer.excerpt.len() <= EXCERPT_BYTES);
            assert!(!(slow && exchanged.clean), "not all was sent");
            assert!(!(answer.status < 200 && exchanged.clean), "interim");
        }
        Self {
            connection,
            unsaid,
            result,
            end,
        }
    }

    fn check_like(&self, cut: &Self) {
        match (&self.result, &cut.result) {
            (None, None) => assert_eq!(self.end, End::Silent),
            (Some(Err(whole)), Some(Err(cut))) => {
                assert_eq!(whole, cut);
            }
            (Some(Ok(whole)), Some(Ok(cut_result))) => {
                // A body that ends with the connection is not awaited: the bytes received so far
                // count.
                let unended = !whole.clean && !cut_result.clean;
                let (whole_excerpt, excerpt) = (&whole.answer.excerpt, &cut_result.answer.excerpt);
                assert!(
                    whole_excerpt == excerpt || (unended && whole_excerpt.starts_with(excerpt))
                );
                let mut answer = cut_result.answer.clone();
                answer.excerpt = whole_excerpt.clone();
                assert_eq!(whole.answer, answer);
                if whole.clean != cut_result.clean {
                    // Bytes after the answer are noticed either at once or on the connection's next
                    // use.
                    assert!(cut_result.clean && cut.has_more());
                }
            }
            (whole, cut) => unreachable!(
                "{:?} at once, {:?} cut",
                whole
                    .as_ref()
                    .map(|result| result.as_ref().map(|ok| &ok.answer)),
                cut.as_ref()
                    .map(|result| result.as_ref().map(|ok| &ok.answer)),
            ),
        }
    }

    fn has_more(&self) -> bool {
        !self.unsaid.borrow().is_empty()
    }

    /// Checks that the next exchange, if one is allowed, gets its own answer.
    fn check_next(mut self) {
        let Some(Ok(Exchanged { clean: true, .. })) = self.result else {
            return;
        };
        let more = self.has_more();
        let quiet = self.connection.is_quiet(&mut nobody());
        assert_eq!(quiet, !more && self.end == End::Silent);
        if !quiet {
            return;
        }
        self.unsaid.borrow_mut().push_back(Bytes::from_static(NEXT));
        let next = exchange(&mut self.connection, LIMITS_MOST);
        let Some(Ok(Exchanged { answer, clean })) = next else {
            unreachable!("the next exchange has an answer");
        };
        let mut expected = Answer::new(418);
        expected.excerpt = Bytes::from_static(b"next");
        assert_eq!((answer, clean), (expected, true));
    }
}

fn exchange(
    connection: &mut Connection,
    limit: usize,
) -> Option<Result<Exchanged, (Failure, Option<u16>)>> {
    let body = Bytes::from_static(b"{}");
    let head = |head: &mut Vec<u8>| {
        head.extend_from_slice(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n");
        Ok(())
    };
    let seen = StatusSeen::default();
    let exchange = pin!(connection.exchange(head, &body, within(limit), &seen));
    match exchange.poll(&mut nobody()) {
        Poll::Ready(result) => Some(result.map_err(|broken| (broken.failure, broken.status))),
        Poll::Pending => None,
    }
}

fn unsaid(parts: &[&[u8]]) -> Parts {
    let parts = parts.iter().filter(|part| !part.is_empty());
    let parts: VecDeque<Bytes> = parts.map(|part| Bytes::copy_from_slice(part)).collect();
    Rc::new(RefCell::new(parts))
}

/// No waker is needed: the script's bytes are all there.
fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

const NEXT: &[u8] = b"HTTP/1.1 418 Next\r\nContent-Length: 4\r\n\r\nnext";

/// The body limits to test.
const LIMITS: [usize; 4] = [0, 10, 1_500, LIMITS_MOST];
const LIMITS_MOST: usize = 64 * 1_024;

fn within(limit: usize) -> Reading {
    Reading {
        limit,
        kept: EXCERPT_BYTES,
        until_close: false,
    }
}

#[cfg(test)]
mod tests;
