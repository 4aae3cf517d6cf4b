//! Malicious receivers: redirect storms, unusable headers, connections that are not in the
//! announced state.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix_webhooks::{DeliveryReport, Failure, Outcome, RedirectRefusal, RetryPolicy};
use tokio::sync::{Notify, mpsc};

use super::support::{Bed, Connection, Receiver, endpoint, permanent, run, transient};

fn refused(refusal: RedirectRefusal) -> Outcome {
    permanent(Failure::Redirect(refusal))
}

fn redirect(location: &str) -> String {
    format!("HTTP/1.1 307 Away\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

/// Delivers to a receiver that gives every request this answer.
fn report_of(answer: impl Into<Vec<u8>>) -> DeliveryReport {
    let answer = answer.into();
    let mut report = None;
    run(async {
        let receiver = Receiver::start(async move |mut connection: Connection| {
            while connection.request().await.is_some() {
                connection.send(&answer).await;
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        report = Some(bed.deliver("e").await);
        bed.end().await;
    });
    report.unwrap()
}

#[test]
fn a_storm_of_redirects_ends_after_five_hops_for_every_delivery() {
    const DELIVERIES: usize = 50;
    run(async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            let mut hop = 0;
            while connection.request().await.is_some() {
                hop += 1;
                let location = format!("/{}/{hop}", connection.number);
                connection.send(redirect(&location)).await;
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        for n in 0..DELIVERIES {
            bed.publish(&n.to_string()).await;
        }
        for _ in 0..DELIVERIES {
            let report = bed.report().await;
            assert_eq!(report.outcome, refused(RedirectRefusal::TooMany));
            assert_eq!((report.status, report.redirects), (Some(307), 5));
        }
        assert_eq!(receiver.requests().len(), 6 * DELIVERIES);
        bed.end().await;
    });
}

#[test]
fn receivers_that_send_everything_to_each_other_are_asked_once_each() {
    run(async {
        let there = Rc::new(RefCell::new(String::new()));
        let back = Rc::clone(&there);
        let first = Receiver::start(async move |mut connection: Connection| {
            while connection.request().await.is_some() {
                let location = there.borrow().clone();
                connection.send(redirect(&location)).await;
            }
        })
        .await;
        let home = first.url("/");
        let second = Receiver::start(async move |mut connection: Connection| {
            while connection.request().await.is_some() {
                connection.send(redirect(&home)).await;
            }
        })
        .await;
        *back.borrow_mut() = second.url("/");
        let mut bed = Bed::to(endpoint(&first.url("/"))).await;
        let report = bed.deliver("e").await;
        assert_eq!(report.outcome, refused(RedirectRefusal::Loop));
        assert_eq!(first.requests().len(), 1);
        assert_eq!(second.requests().len(), 1);
        bed.end().await;
    });
}

#[test]
fn a_location_that_no_one_can_use_is_refused() {
    let path = "x".repeat(100_000);
    for (location, refusal) in [
        (&*path, RedirectRefusal::InvalidLocation),
        ("", RedirectRefusal::NoLocation),
        ("\t", RedirectRefusal::NoLocation),
        ("http://", RedirectRefusal::InvalidLocation),
        ("http://a.test:99999/", RedirectRefusal::InvalidLocation),
        ("http://user:pw@a.test/", RedirectRefusal::InvalidLocation),
        ("file:///etc/passwd", RedirectRefusal::Scheme),
        ("javascript:alert(1)", RedirectRefusal::Scheme),
        ("#only-a-fragment", RedirectRefusal::Loop),
        ("/a\r\nLocation: /b", RedirectRefusal::NoLocation),
        ("/ä", RedirectRefusal::Loop),
    ] {
        let report = report_of(redirect(location));
        let start = &location[..location.len().min(40)];
        assert_eq!(report.outcome, refused(refusal), "{start:?}");
    }
    let mut not_text = redirect("/?").into_bytes();
    let at = not_text.iter().position(|byte| *byte == b'?').unwrap();
    not_text[at] = 0xff;
    let report = report_of(not_text);
    assert_eq!(report.outcome, refused(RedirectRefusal::NoLocation));
    // A line with a control character is not a header. After a character that some parsers treat as
    // the end of a line, nothing more is read.
    for control in ["/a\0b", "/a\x1bb", "/a\x7fb"] {
        let report = report_of(redirect(control));
        let expected = refused(RedirectRefusal::NoLocation);
        assert_eq!(report.outcome, expected, "{control:?}");
    }
    let report = report_of(redirect("/a\rb"));
    assert_eq!(report.outcome, transient(Failure::Malformed));
    assert_eq!(report.status, Some(307));
}

/// Returns the wait between a failed attempt and the next one, when the failure has these headers.
fn wait_after(headers: &str) -> Duration {
    let answer = format!("HTTP/1.1 503 Later\r\n{headers}Content-Length: 0\r\n\r\n");
    let mut wait = None;
    run(async {
        let receiver = Receiver::start(async move |mut connection: Connection| {
            while connection.request().await.is_some() {
                connection.send(&answer).await;
            }
        })
        .await;
        let policy = RetryPolicy::three_in_two_minutes().without_jitter();
        let mut bed = Bed::to(endpoint(&receiver.url("/")).retry(policy)).await;
        let report = bed.deliver("e").await;
        let failed = Outcome::Failed {
            failure: Failure::Status(503),
        };
        assert_eq!(report.outcome, failed);
        wait = Some(report.next_attempt_at.unwrap().since(report.at));
        bed.engine.shutdown(Duration::ZERO).await;
    });
    wait.unwrap()
}

#[test]
fn a_retry_after_that_no_one_can_mean_changes_nothing_and_a_huge_one_is_cut() {
    const USUAL: Duration = Duration::from_secs(15);
    const SOON: Duration = Duration::from_secs(1);
    const CAP: Duration = Duration::from_hours(24);
    let digits = "9".repeat(60_000);
    for (value, expected) in [
        ("0", SOON),
        ("0.5", SOON),
        ("1.5", Duration::from_millis(1_500)),
        ("Wed, 21 Oct 2015 07:28:00 GMT", SOON),
        ("7", Duration::from_secs(7)),
        ("99999999999999999999", CAP),
        (&*digits, CAP),
        ("Fri, 31 Dec 9999 23:59:59 GMT", CAP),
        ("", USUAL),
        ("inf", USUAL),
        ("NaN", USUAL),
        ("1e300", USUAL),
        ("-5", USUAL),
        ("Mon, 30 Feb 2099 00:00:00 GMT", USUAL),
        ("７", USUAL),
        ("7\r\nRetry-After: 7", USUAL),
    ] {
        let wait = wait_after(&format!("Retry-After: {value}\r\n"));
        let start = &value[..value.len().min(40)];
        // The wait counts from the moment the answer is judged, which is not before the attempt
        // ends.
        let late = wait.saturating_sub(expected);
        assert!(wait >= expected && late < USUAL / 3, "{start:?}: {wait:?}");
    }
}

/// The receiver's clock is years ahead, and it asks for half a minute by that clock.
#[test]
fn a_retry_after_by_the_receivers_clock_is_understood_by_its_date() {
    const DAY: Duration = Duration::from_hours(24);
    let asked = "Retry-After: Fri, 31 Dec 2100 23:00:30 GMT\r\n";
    for (date, expected) in [
        (
            "date: Fri, 31 Dec 2100 23:00:00 GMT\r\n",
            Duration::from_secs(30),
        ),
        (
            "Date:\tFri, 31 Dec 2100\r\n 23:00:00 GMT\r\n",
            Duration::from_secs(30),
        ),
        (
            "Date: Fri, 31 Dec 2100 23:59:00 GMT\r\n",
            Duration::from_secs(1),
        ),
        ("Date: garbage\r\n", DAY),
        ("Date: Fri, 31 Dec 2100 23:00:00 GMT\r\nDate: x\r\n", DAY),
        ("", DAY),
    ] {
        for headers in [format!("{date}{asked}"), format!("{asked}{date}")] {
            let wait = wait_after(&headers);
            let late = wait.saturating_sub(expected);
            assert!(
                wait >= expected && late < Duration::from_secs(5),
                "{headers:?}: {wait:?}"
            );
        }
    }
}

#[test]
fn a_head_of_200_kilobytes_is_not_waited_for() {
    // The network decides how much arrives at once. After more than 128 KiB without an end, reading
    // stops.
    let filler = "x".repeat(200_000);
    for header in [
        format!("X: {filler}"),
        format!("{filler}: x"),
        format!("Retry-After: {filler}"),
    ] {
        run(async {
            let begin = format!("HTTP/1.1 200 OK\r\n{header}");
            let receiver = Receiver::start(async move |mut connection: Connection| {
                connection.request().await;
                connection.send(&begin).await;
                connection.closed().await;
            })
            .await;
            let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
            let report = bed.deliver("e").await;
            assert_eq!(report.outcome, transient(Failure::Malformed));
            bed.end().await;
        });
    }
}

/// Delivers five times to a receiver that answers every request like this and keeps its connections
/// open without saying so. Returns the number of connections.
fn connections_for(answer: &'static str) -> usize {
    let mut connections = 0;
    run(async {
        let receiver = Receiver::start(async move |mut connection: Connection| {
            while connection.request().await.is_some() {
                connection.send(answer).await;
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        for n in 0..5 {
            let report = bed.deliver(&n.to_string()).await;
            assert_eq!(report.outcome, Outcome::Delivered, "{answer:?}");
            assert!(!report.sent_twice);
        }
        connections = receiver.connections();
        bed.end().await;
    });
    connections
}

/// The codec treats a length of 0 as none, so the answer of an HTTP/1.0 receiver that keeps its
/// connection open seemed never to end.
#[test]
fn a_connection_is_kept_only_when_both_sides_have_said_so() {
    let length = "Content-Length: 0\r\n\r\n";
    for (begin, connections) in [
        ("HTTP/1.1 200 OK\r\n", 1),
        ("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=999999999999\r\n", 1),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n", 5),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\n", 5),
        ("HTTP/1.0 200 OK\r\n", 5),
        ("HTTP/1.0 200 OK\r\nKeep-Alive: timeout=60\r\n", 5),
    ] {
        let answer = format!("{begin}{length}").leak();
        assert_eq!(connections_for(answer), connections, "{begin:?}");
    }
    // A fuzzer found that an offer of WebSocket hid the length of such an answer.
    let offer = "HTTP/1.0 200 OK\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(connections_for(offer), 5);
}

/// An unsolicited answer arrives on an idle connection. It does not belong to the next delivery.
#[test]
fn an_answer_before_its_request_is_not_taken() {
    run(async {
        let speak = Rc::new(Notify::new());
        let (spoken, mut spoke) = mpsc::unbounded_channel();
        let told = Rc::clone(&speak);
        let receiver = Receiver::start(async move |mut connection: Connection| {
            if connection.number > 1 {
                return connection.answer_all(202).await;
            }
            connection.request().await;
            connection.answer(200).await;
            told.notified().await;
            connection.answer(299).await;
            spoken.send(()).unwrap();
            connection.closed().await;
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        assert_eq!(bed.deliver("first").await.outcome, Outcome::Delivered);
        speak.notify_one();
        spoke.recv().await.unwrap();
        let report = bed.deliver("second").await;
        assert_eq!(report.status, Some(202), "its own answer");
        bed.end().await;
    });
}
