//! The answer that nearly every receiver gives: HTTP/1.1, a length, all of it there at once.
//!
//! It needs no table of headers and no decoder of bodies, which cost as much as everything else that is done for an answer. Whatever is not exactly
//! like that is left to the codec; a test holds the two against each other.

use bytes::{Bytes, BytesMut};

use super::connection::Reading;
use crate::domain::attempt::Answer;

/// Takes a plain answer out of what was received; `None` leaves everything as it is.
///
/// A plain answer may be followed by another exchange, and its body is within the limit.
pub(super) fn take_plain_answer(received: &mut BytesMut, reading: Reading) -> Option<Answer> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_length) = head.parse(received).ok()? else {
        return None;
    };
    let status = head.code?;
    if head.version != Some(1) || !(200..=999).contains(&status) || matches!(status, 204 | 304) {
        return None;
    }
    let mut length = None;
    for header in head.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            if length.is_some() {
                return None;
            }
            length = Some(parse_length(header.value)?);
        } else if UNUSUAL.iter().any(|name| is(name)) {
            return None;
        }
    }
    let length = length.filter(|length| *length <= reading.limit)?;
    let end = head_length.checked_add(length)?;
    let body = received.get(head_length..end)?;
    let mut answer = Answer::new(status);
    answer.excerpt = Bytes::copy_from_slice(body.get(..reading.kept).unwrap_or(body));
    drop(received.split_to(end));
    Some(answer)
}

fn parse_length(value: &[u8]) -> Option<usize> {
    let few_digits = (1..=9).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| few_digits)?
        .parse()
        .ok()
}

/// More headers than this are left to the codec.
const MOST_HEADERS: usize = 32;

/// Headers that decide about the framing, the connection or what follows.
const UNUSUAL: [&str; 6] = [
    "connection",
    "location",
    "retry-after",
    "transfer-encoding",
    "upgrade",
    "webhook-delivery",
];

#[cfg(test)]
mod tests {
    use actix_http::ServiceConfig;
    use actix_http::h1::{ClientCodec, MessageType};
    use proptest::prelude::*;
    use tokio_util::codec::Decoder as _;

    use super::*;

    /// What the codec makes of an answer: status, body, and what is left; `None` when it is not whole or the connection ends with it.
    fn decoded(bytes: &[u8], config: &ServiceConfig) -> Option<(u16, Vec<u8>, Vec<u8>)> {
        let mut received = BytesMut::from(bytes);
        let mut codec = ClientCodec::new(config.clone());
        let head = codec.decode(&mut received).ok()??;
        if !head.keep_alive() {
            return None;
        }
        let mut body = Vec::new();
        if codec.message_type() == MessageType::Payload {
            let mut codec = codec.into_payload_codec();
            while let Some(chunk) = codec.decode(&mut received).ok()?? {
                body.extend_from_slice(&chunk);
            }
        }
        Some((head.status.as_u16(), body, received.to_vec()))
    }

    fn within(limit: usize) -> Reading {
        Reading {
            limit,
            kept: 1_000,
            until_close: false,
        }
    }

    fn line() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            Just("Content-Length".to_owned()),
            Just("content-length".to_owned()),
            Just("Transfer-Encoding".to_owned()),
            Just("Connection".to_owned()),
            Just("Upgrade".to_owned()),
            Just("Location".to_owned()),
            "[A-Za-z-]{1,12}",
        ];
        let value = prop_oneof![
            "[0-9]{1,3}",
            "[ +0-9,-]{0,5}",
            Just("chunked".to_owned()),
            Just("close".to_owned()),
            Just("keep-alive".to_owned()),
            Just("websocket".to_owned()),
            "[ -~]{0,12}",
        ];
        let separator = prop_oneof![Just(": "), Just(":"), Just(" : "), Just(":\t")];
        (name, separator, value)
            .prop_map(|(name, separator, value)| format!("{name}{separator}{value}\r\n"))
    }

    proptest! {
        #[test]
        fn a_plain_answer_is_what_the_codec_makes_of_it(
            version in prop_oneof![8 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/2")],
            status in prop_oneof![8 => 200_u16..=999, 1 => 100_u16..200, 1 => Just(204)],
            lines in proptest::collection::vec(line(), 0..4),
            length in proptest::option::weighted(0.7, 0_usize..40),
            rest in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let length = length.map(|length| format!("Content-Length: {length}\r\n")).unwrap_or_default();
            let head = format!("{version} {status} Said So\r\n{}{length}\r\n", lines.concat());
            let bytes = [head.as_bytes(), &rest].concat();
            let mut received = BytesMut::from(&*bytes);
            match take_plain_answer(&mut received, within(1_000)) {
                None => prop_assert_eq!(&received[..], &bytes[..], "nothing was taken"),
                Some(answer) => {
                    // The codec's settings own a task, which wants a place to run.
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                    let codec = tokio::task::LocalSet::new().block_on(&runtime, async {
                        decoded(&bytes, &ServiceConfig::default())
                    });
                    let (status, body, left) = codec.expect("the codec finds a whole answer on a kept connection");
                    prop_assert_eq!((answer.status, &answer.excerpt[..], &received[..]), (status, &body[..], &left[..]));
                }
            }
        }
    }

    #[test]
    fn a_plain_answer_is_taken_as_such() {
        let mut received =
            BytesMut::from("HTTP/1.1 201 Created\r\nServer: x\r\nContent-Length: 2\r\n\r\nokHTTP");
        let answer = take_plain_answer(&mut received, within(2)).unwrap();
        assert_eq!((answer.status, &*answer.excerpt), (201, &b"ok"[..]));
        assert_eq!(&received[..], b"HTTP");
        let mut long = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert!(
            take_plain_answer(&mut long, within(1)).is_none(),
            "beyond the limit"
        );
    }
}
