//! Imperfect answers, as real receivers send them. An answer is accepted if its status, its
//! relevant headers and its end are unambiguous. Otherwise it fails, with its status on record.

use std::time::Duration;

use actix_webhooks::{
    AttemptSummary, DeliveryReport, Failure, ListAttempts, Outcome, RedirectRefusal,
};
use serde_json::json;

use super::secured::{Authority, by_name};
use super::support::{
    Bed, Connection, Receiver, SHORT, endpoint, event, permanent, run, transient,
};

/// The reports and the receiver's counts after three deliveries that got the same answer.
struct Seen {
    reports: Vec<DeliveryReport>,
    connections: usize,
    requests: usize,
}

#[expect(clippy::disallowed_methods, reason = "a receiver that takes its time")]
async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Delivers three times to a receiver that gives every request these bytes, and keeps its
/// connections open.
fn deliver_thrice(answer: impl Into<Vec<u8>>, timeout: Duration) -> Seen {
    let answer = answer.into();
    let mut seen = None;
    run(async {
        let receiver = Receiver::start(async move |mut connection: Connection| {
            while connection.request().await.is_some() {
                connection.send(&answer).await;
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/")).timeout(timeout)).await;
        let mut reports = Vec::new();
        for number in 0..3 {
            reports.push(bed.deliver(&number.to_string()).await);
        }
        seen = Some(Seen {
            reports,
            connections: receiver.connections(),
            requests: receiver.requests().len(),
        });
        bed.end().await;
    });
    seen.unwrap()
}

/// Checks that each is delivered once with this status, all on one connection (`kept`) or each on
/// its own.
#[track_caller]
fn delivered(answer: &str, status: u16, kept: bool) {
    let seen = deliver_thrice(answer, LONG);
    for report in &seen.reports {
        assert_eq!(report.outcome, Outcome::Delivered, "{answer:?}");
        assert_eq!(report.status, Some(status), "{answer:?}");
        assert!(!report.sent_twice, "{answer:?}");
    }
    assert_eq!(seen.requests, 3, "{answer:?}");
    assert_eq!(seen.connections, if kept { 1 } else { 3 }, "{answer:?}");
}

/// Checks that each fails with this failure, with this status on record, and that no connection is
/// used again.
#[track_caller]
fn fails(answer: &str, failure: Failure, status: Option<u16>) {
    let seen = deliver_thrice(answer, 4 * SHORT);
    for report in &seen.reports {
        assert_eq!(report.outcome, transient(failure), "{answer:?}");
        assert_eq!(report.status, status, "{answer:?}");
    }
    assert_eq!((seen.requests, seen.connections), (3, 3), "{answer:?}");
}

/// Long enough for any machine.
const LONG: Duration = Duration::from_secs(15);

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An interim answer was taken for the final one, and the delivery ended as a dead letter (RFC 9110
/// §15.2).
#[test]
fn any_number_of_interim_answers_is_read_past() {
    delivered(&format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"), 200, true);
    let processing = "HTTP/1.1 102 Processing\r\n\r\n";
    delivered(&format!("{processing}{processing}{OK}"), 200, true);
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
    delivered(
        &format!("{hints}HTTP/1.1 204 No Content\r\n\r\n"),
        204,
        true,
    );
    // Related cases: one without a reason phrase and with a length that has no meaning, and very
    // many.
    let odd = "HTTP/1.1 199\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    delivered(&format!("{odd}{OK}"), 200, true);
    delivered(&format!("{}{OK}", processing.repeat(2_000)), 200, true);
}

#[test]
fn an_interim_answer_over_tls_is_read_past() {
    run(async {
        let authority = Authority::new();
        let receiver = authority
            .receiver_that(async |mut connection: Connection| {
                while connection.request().await.is_some() {
                    connection
                        .send(format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"))
                        .await;
                }
            })
            .await;
        let mut bed = Bed::with(authority.trusted(), endpoint(&by_name(&receiver))).await;
        for number in 0..3 {
            let report = bed.deliver(&number.to_string()).await;
            assert_eq!(report.outcome, Outcome::Delivered);
            assert_eq!(report.status, Some(200));
        }
        assert_eq!(receiver.connections(), 1);
        bed.end().await;
    });
}

/// The 100 arrives while most of the body is still to be sent, and ends nothing.
#[test]
fn an_interim_answer_while_the_body_is_sent_lets_it_go_on() {
    run(async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            for _ in 0..2 {
                let length = connection.head().await;
                connection.send("HTTP/1.1 100 Continue\r\n\r\n").await;
                connection.body(length).await;
                connection.send(OK).await;
            }
            connection.closed().await;
        })
        .await;
        let builder = super::support::builder().max_body_bytes(32 * 1_024 * 1_024);
        let mut bed = Bed::with(builder, endpoint(&receiver.url("/"))).await;
        for mebibytes in [1, 12] {
            let body = "x".repeat(mebibytes * 1_024 * 1_024);
            bed.engine
                .publish(event(&mebibytes.to_string()).data(json!(body)))
                .await
                .unwrap();
            let report = bed.report().await;
            assert_eq!(report.outcome, Outcome::Delivered, "{mebibytes} MiB");
            assert!(!report.sent_twice);
        }
        assert_eq!(receiver.connections(), 1);
        bed.end().await;
    });
}

#[test]
fn the_final_answer_may_come_long_after_an_interim_one() {
    run(async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            while connection.request().await.is_some() {
                connection.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
                wait(Duration::from_secs(3)).await;
                connection.send(OK).await;
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        let report = bed.deliver("e").await;
        assert_eq!(report.outcome, Outcome::Delivered);
        assert!(report.duration >= Duration::from_secs(3));
        bed.end().await;
    });
}

#[test]
fn an_interim_answer_and_nothing_more_times_out() {
    fails("HTTP/1.1 100 Continue\r\n\r\n", Failure::Timeout, None);
    fails(
        "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 ",
        Failure::Timeout,
        None,
    );
}

/// A header folded over two lines made the whole answer unreadable (RFC 9112 §5.2).
#[test]
fn a_header_over_several_lines_is_one() {
    for space in [" ", "\t", " \t  "] {
        let policy = format!("Content-Security-Policy: default-src 'self';\r\n{space}img-src *");
        let answer = format!("HTTP/1.1 200 OK\r\n{policy}\r\nContent-Length: 2\r\n\r\nok");
        delivered(&answer, 200, true);
    }
    // Related cases: a fold in the last header, after an empty first line, and in lines that end in
    // LF only.
    delivered(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX:\r\n a\r\n b\r\n\r\nok",
        200,
        true,
    );
    delivered(
        "HTTP/1.1 200 OK\nContent-Length: 2\nX: a\n b\n\nok",
        200,
        true,
    );
}

#[test]
fn a_fold_in_a_header_that_counts_is_a_space() {
    let answer = "HTTP/1.1 307 Away\r\nLocation:\r\n /next\r\nContent-Length: 0\r\n\r\n";
    let seen = deliver_thrice(answer, LONG);
    // The redirect leads to the same answer again, which shows that it was followed.
    let expected = permanent(Failure::Redirect(RedirectRefusal::Loop));
    assert_eq!(seen.reports[0].outcome, expected);
    assert_eq!(seen.reports[0].redirects, 1);
}

/// Framing headers stay strict, because another reader could find a different end.
#[test]
fn a_fold_in_what_frames_an_answer_is_refused() {
    let malformed = |head: &str, body: &str| {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
        fails(&answer, Failure::Malformed, Some(200));
    };
    malformed("Content-Length: 2\r\n 3", "ok");
    malformed("Transfer-Encoding: chun\r\n ked", "2\r\nok\r\n0\r\n\r\n");
    malformed(
        "Transfer-Encoding: gzip,\r\n\tchunked",
        "2\r\nok\r\n0\r\n\r\n",
    );
    // Related cases: a space before the colon, a sign, and a control character in the line.
    malformed("Content-Length : 2", "ok");
    malformed("Content-Length: +2", "ok");
    malformed("Content-Length: 2\x01", "ok");
    malformed("\x01Transfer-Encoding: chunked", "2\r\nok\r\n0\r\n\r\n");
}

/// A line that is not a header turned an otherwise valid 200 into a dead letter.
#[test]
fn a_line_that_is_no_header_is_left_out() {
    for line in [
        "this is not a header",
        "Set-Cookie: sid=a\x01b; Path=/",
        "Set-Cookie: sid=a\0b; Path=/",
        // Related cases: a space before the colon, an invalid name, no name, an escape sequence.
        "X-Powered-By : PHP/5.2",
        "X[1]: a",
        ": nothing",
        "X-Note: \x1b[1mbold\x1b[0m",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 2\r\n\r\nok");
        delivered(&answer, 200, false);
    }
}

/// The status of an answer that was cut short was forgotten.
#[test]
fn the_status_of_an_answer_that_is_cut_short_is_on_record() {
    let body = "x".repeat(47);
    let length = format!("HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n{body}");
    let chunks =
        format!("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2f\r\n{body}\r\n");
    let stalled = "HTTP/1.1 502 Bad Gateway\r\nContent-Le";
    for (answer, status, said) in [
        (&*length, 200, "answered 200, but the answer was cut short"),
        (&*chunks, 201, "answered 201, but the answer was cut short"),
        (stalled, 502, "answered 502, but the answer was cut short"),
    ] {
        for reset in [false, true] {
            check_cut_short(answer, status, said, reset);
        }
    }
}

#[track_caller]
fn check_cut_short(answer: &str, status: u16, said: &str, reset: bool) {
    let answer = answer.to_owned();
    run(async {
        let receiver = Receiver::start(async move |mut connection: Connection| {
            connection.request().await;
            connection.send(&answer).await;
            if reset {
                // The bytes sent before must have arrived, because a reset overtakes them.
                wait(SHORT / 3).await;
                connection.reset();
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        let report = bed.deliver("e").await;
        assert_eq!(report.outcome, transient(Failure::ConnectionClosed));
        assert_eq!(report.status, Some(status), "reset: {reset}");
        let recorded = recorded(&bed, &report).await;
        assert_eq!(recorded.to_string(), said);
        bed.end().await;
    });
}

async fn recorded(bed: &Bed, report: &DeliveryReport) -> AttemptSummary {
    let id = report.delivery_id;
    let query = ListAttempts::new(id);
    let attempts = bed.engine.supervisor().send(query).await.unwrap().unwrap();
    attempts[0].summary
}

/// A stream of events that stays open, and a body whose rest never comes.
#[test]
fn the_status_of_an_answer_that_does_not_end_is_on_record() {
    let stream =
        "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: hi\n\r\n";
    for head in [stream, "Content-Length: 70\r\n\r\nhalf"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}");
        run(async {
            let receiver = Receiver::start(async move |mut connection: Connection| {
                connection.request().await;
                connection.send(&answer).await;
                connection.closed().await;
            })
            .await;
            let mut bed = Bed::to(endpoint(&receiver.url("/")).timeout(SHORT)).await;
            let report = bed.deliver("e").await;
            assert_eq!(report.outcome, transient(Failure::Timeout));
            assert_eq!(report.status, Some(200));
            let said = recorded(&bed, &report).await.to_string();
            assert_eq!(said, "answered 200, but the answer did not end in time");
            bed.end().await;
        });
    }
}

/// The status line is there, but the rest of the head never comes.
#[test]
fn the_status_of_a_head_that_does_not_end_is_on_record() {
    fails("HTTP/1.1 200 OK\r\nX: a", Failure::Timeout, Some(200));
}

/// Answers that awc itself reads differently are accepted like any other, at once and in pieces.
#[test]
fn what_the_client_is_strict_about_is_taken() {
    delivered("HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok", 200, true);
    let hosts = "Host: a.test\r\nHost: b.test\r\n";
    delivered(
        &format!("HTTP/1.1 200 OK\r\n{hosts}Content-Length: 2\r\n\r\nok"),
        200,
        true,
    );
    let old = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
    delivered(old, 200, true);
    delivered(&old.replace("keep-alive", "keep-alive, close"), 200, false);
    let same = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok";
    delivered(same, 200, false);
}

#[test]
fn a_location_said_twice_is_one() {
    let location = "Location: /next\r\n".repeat(2);
    let seen = deliver_thrice(
        format!("HTTP/1.1 307 Away\r\n{location}Content-Length: 0\r\n\r\n"),
        LONG,
    );
    assert_eq!(seen.reports[0].redirects, 1);
}

/// A status belongs to its own exchange. It was recorded for the next one.
#[test]
fn a_status_is_not_taken_along_to_the_next_delivery() {
    run(async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            connection.request().await;
            connection.send("HTTP/1.1 200 OK\r\nX: a\r\n").await;
            wait(SHORT / 3).await;
            connection.send("Content-Length: 0\r\n\r\n").await;
            connection.request().await;
            connection.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        assert_eq!(bed.deliver("first").await.status, Some(200));
        let report = bed.deliver("second").await;
        assert_eq!(report.outcome, transient(Failure::ConnectionClosed));
        assert_eq!(report.status, None);
        bed.end().await;
    });
}

/// A value that is not text has no meaning. Over one of the transports it made an unambiguous
/// answer fail.
#[test]
fn a_long_retry_after_that_is_no_text_is_ignored() {
    run(async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            while connection.request().await.is_some() {
                connection.send("HTTP/1.1 200 OK\r\nRetry-After: ").await;
                connection.send(vec![0xe4; 44_000]).await;
                connection.send("\r\nContent-Length: 2\r\n\r\nok").await;
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        let report = bed.deliver("e").await;
        assert_eq!(
            (report.status, report.outcome),
            (Some(200), Outcome::Delivered)
        );
        bed.end().await;
    });
}
