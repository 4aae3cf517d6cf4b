//! Answers that are not HTTP, or only the beginning of an answer.

use actix_webhooks::{Failure, Outcome};

use super::support::{Bed, Connection, Receiver, endpoint, run, transient};

/// Delivers to a receiver that answers a fresh connection with these bytes and closes it, and
/// returns the outcome.
fn outcome_of(answer: impl Into<Vec<u8>>) -> Outcome {
    let answer = answer.into();
    let mut outcome = None;
    run(async {
        let receiver = Receiver::start(async move |mut connection: Connection| {
            connection.request().await;
            connection.send(&answer).await;
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        let report = bed.deliver("e").await;
        assert!(!report.sent_twice);
        assert_eq!(receiver.connections(), 1, "no second try");
        outcome = Some(report.outcome);
        bed.end().await;
    });
    outcome.unwrap()
}

#[track_caller]
fn check(answer: impl Into<Vec<u8>>, failure: Failure) {
    assert_eq!(outcome_of(answer), transient(failure));
}

#[test]
fn what_is_not_http_is_malformed() {
    check("SSH-2.0-OpenSSH_9.6\r\n", Failure::Malformed);
    check("220 mail ESMTP\r\n", Failure::Malformed);
    check([0x15, 3, 1, 0, 2, 2, 0x46], Failure::Malformed);
    check("HTTP/1.1 two hundred\r\n\r\n", Failure::Malformed);
    check("HTTP/2 200\r\n\r\n", Failure::Malformed);
}

#[test]
fn a_length_that_cannot_be_believed_is_malformed() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: ";
    check(format!("{head}2, 3\r\n\r\nok"), Failure::Malformed);
    check(format!("{head}-1\r\n\r\n"), Failure::Malformed);
    let twice = format!("{head}2\r\nContent-Length: 3\r\n\r\nok");
    check(twice, Failure::Malformed);
}

#[test]
fn a_chunk_that_is_none_is_malformed() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(format!("{head}what\r\n"), Failure::Malformed);
    check(format!("{head}2\r\nok!!!!\r\n"), Failure::Malformed);
}

#[test]
fn at_most_96_headers_are_read() {
    let with = |count: usize| {
        let headers = (1..count).map(|n| format!("X-{n}: v\r\n"));
        let headers: String = headers.collect();
        format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n")
    };
    assert_eq!(outcome_of(with(96)), Outcome::Delivered);
    check(with(97), Failure::Malformed);
    check(with(1_000), Failure::Malformed);
}

#[test]
fn a_head_without_end_is_malformed() {
    let value = "x".repeat(256 * 1_024);
    check(format!("HTTP/1.1 200 OK\r\nX: {value}"), Failure::Malformed);
}

#[test]
fn nothing_at_all_is_a_closed_connection() {
    check("", Failure::ConnectionClosed);
}

#[test]
fn a_head_cut_short_is_a_closed_connection() {
    check("HTTP/1.1 2", Failure::ConnectionClosed);
    check("HTTP/1.1 200 OK\r\nContent-Le", Failure::ConnectionClosed);
}

#[test]
fn a_body_with_a_length_cut_short_is_a_closed_connection() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    check(head, Failure::ConnectionClosed);
    check(format!("{head}half"), Failure::ConnectionClosed);
    assert_eq!(outcome_of(format!("{head}0123456789")), Outcome::Delivered);
}

#[test]
fn a_chunked_body_cut_short_is_a_closed_connection() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(head, Failure::ConnectionClosed);
    check(format!("{head}a\r\nhalf"), Failure::ConnectionClosed);
    check(format!("{head}4\r\nhalf\r\n"), Failure::ConnectionClosed);
    let whole = format!("{head}4\r\nhalf\r\n0\r\n\r\n");
    assert_eq!(outcome_of(whole), Outcome::Delivered);
}

#[test]
fn a_connection_reset_is_a_closed_connection() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        run(async {
            let receiver = Receiver::start(async move |mut connection: Connection| {
                connection.request().await;
                connection.send(answer).await;
                connection.reset();
            })
            .await;
            let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
            let outcome = bed.deliver("e").await.outcome;
            assert_eq!(outcome, transient(Failure::ConnectionClosed), "{answer:?}");
            assert_eq!(receiver.connections(), 1, "no second try");
            bed.end().await;
        });
    }
}

/// Servers that also speak WebSocket may offer it in any answer (RFC 9110 §7.8). The answer is
/// still a complete one.
#[test]
fn an_offer_to_upgrade_does_not_hide_the_answer() {
    let head = "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(outcome_of(format!("{head}ok")), Outcome::Delivered);
}
