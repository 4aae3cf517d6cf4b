//! Kept connections: one that the receiver closes as a request is sent, and one that has been idle
//! for too long.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use actix_webhooks::{Engine, Failure, Outcome};

use super::support::{Bed, Connection, Receiver, endpoint, run, transient, transport};

/// The receiver's way to end a kept connection.
#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    Reset,
}

/// Starts a receiver that answers the first request of its first connection. At the second request
/// it sends `beginning` and ends the connection. It answers on all further connections.
async fn closing(end: End, beginning: &'static str) -> Receiver {
    Receiver::start(async move |mut connection: Connection| {
        if connection.number > 1 {
            return connection.answer_all(200).await;
        }
        connection.request().await;
        connection.answer(200).await;
        connection.request().await;
        connection.send(beginning).await;
        match end {
            End::Close => drop(connection),
            End::Reset => connection.reset(),
        }
    })
    .await
}

#[test]
fn a_connection_that_has_been_idle_for_too_long_is_not_used_again() {
    run(async {
        let receiver =
            Receiver::start(async |mut connection: Connection| connection.answer_all(200).await)
                .await;
        for (idle_timeout, reused) in [(Duration::ZERO, false), (Duration::from_hours(1), true)] {
            let before = receiver.connections();
            let transport = transport().idle_timeout(idle_timeout).build().unwrap();
            let builder = Engine::builder().transport(transport);
            let mut bed = Bed::with(builder, endpoint(&receiver.url("/"))).await;
            // Two deliveries that begin within the same millisecond may share a connection.
            for number in 0..10 {
                bed.deliver(&number.to_string()).await;
            }
            bed.end().await;
            let made = receiver.connections() - before;
            assert_eq!(made == 1, reused, "{made} connections, {idle_timeout:?}");
        }
    });
}

/// Each origin has connections of its own. A request to one must not arrive at another, however
/// many connections are kept.
#[test]
fn a_redirect_to_another_origin_goes_over_a_connection_of_its_own() {
    run(async {
        let serve = async |mut connection: Connection| connection.answer_all(200).await;
        let elsewhere = Receiver::start(serve).await;
        let location = elsewhere.url("/elsewhere");
        let away =
            format!("HTTP/1.1 307 Away\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let receiver = Receiver::start(async move |mut connection: Connection| {
            while connection.request().await.is_some() {
                connection.send(&away).await;
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/own"))).await;
        for number in 0..10 {
            let report = bed.deliver(&number.to_string()).await;
            assert_eq!((report.outcome, report.redirects), (Outcome::Delivered, 1));
        }
        bed.end().await;
        for (receiver, path) in [(receiver, "/own"), (elsewhere, "/elsewhere")] {
            let requests = receiver.requests();
            assert_eq!(requests.len(), 10, "{path}");
            for request in requests {
                assert!(request.line.contains(path), "{}", request.line);
                let host = receiver.url("/").replace("http://", "");
                assert_eq!(request.header("host"), Some(host.trim_end_matches('/')));
            }
        }
    });
}

#[test]
fn a_request_lost_with_a_kept_connection_is_sent_again_within_the_attempt() {
    for end in [End::Close, End::Reset] {
        run(async {
            let receiver = closing(end, "").await;
            let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
            let first = bed.deliver("first").await;
            assert_eq!(first.outcome, Outcome::Delivered);
            assert!(!first.sent_twice);

            let second = bed.deliver("second").await;
            assert_eq!(second.outcome, Outcome::Delivered, "{end:?}");
            assert!(second.sent_twice, "{end:?}");
            assert_eq!(second.attempt, 1, "both tries are one attempt");
            let requests = receiver.requests();
            let of_second = requests
                .iter()
                .filter(|request| request.event_id() == "second");
            let of_second: Vec<_> = of_second.collect();
            assert_eq!(requests.len(), 3);
            assert_eq!(of_second.len(), 2);
            let id = second.alert_id.as_uuid().to_string();
            for (request, connection) in of_second.iter().zip([1, 2]) {
                assert_eq!(request.connection, connection);
                assert_eq!(request.header("webhook-id"), Some(&*id));
                assert_eq!(request.header("webhook-attempt"), Some("1"));
            }
            bed.end().await;
        });
    }
}

#[test]
fn a_fresh_connection_that_closes_gets_no_second_try() {
    for end in [End::Close, End::Reset] {
        run(async {
            let receiver = Receiver::start(async move |mut connection: Connection| {
                connection.request().await;
                match end {
                    End::Close => drop(connection),
                    End::Reset => connection.reset(),
                }
            })
            .await;
            let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
            let report = bed.deliver("e").await;
            assert_eq!(report.outcome, transient(Failure::ConnectionClosed));
            assert!(!report.sent_twice);
            assert_eq!(receiver.requests().len(), 1, "{end:?}");
            bed.end().await;
        });
    }
}

#[test]
fn a_connection_that_was_closed_while_idle_is_not_tried() {
    run(async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            connection.request().await;
            connection.answer(200).await;
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        for n in 0..20 {
            // The delivery succeeds whether the closing is noticed before or after the request was
            // sent.
            assert_eq!(
                bed.deliver(&n.to_string()).await.outcome,
                Outcome::Delivered
            );
        }
        assert_eq!(receiver.connections(), 20);
        bed.end().await;
    });
}

/// `DeliveryReport::sent_twice` reports two requests even when the second failed as well.
#[test]
fn a_second_try_that_fails_is_reported_as_one() {
    run(async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            connection.request().await;
            if connection.number == 1 {
                connection.answer(200).await;
                connection.request().await;
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        assert_eq!(bed.deliver("first").await.outcome, Outcome::Delivered);
        let report = bed.deliver("second").await;
        assert_eq!(report.outcome, transient(Failure::ConnectionClosed));
        assert_eq!(receiver.requests().len(), 3, "no third try");
        assert!(report.sent_twice, "it was sent on both connections");
        bed.end().await;
    });
}

/// A receiver that has begun to answer has the request, so the request was not lost with the
/// connection. A POST is repeated only when it is known that it was not processed (RFC 9112 §9.3.1,
/// RFC 9110 §9.2.2).
#[test]
fn a_kept_connection_that_closes_within_its_answer_gets_no_second_try() {
    for beginning in [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        run(async {
            let receiver = closing(End::Close, beginning).await;
            let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
            assert_eq!(bed.deliver("first").await.outcome, Outcome::Delivered);
            let report = bed.deliver("second").await;
            assert_eq!(receiver.requests().len(), 2, "{beginning:?}");
            assert_eq!(report.outcome, transient(Failure::ConnectionClosed));
            assert!(!report.sent_twice);
            bed.end().await;
        });
    }
}

/// A busy thread keeps its runtime from reading the network. An answer that arrived meanwhile was
/// not seen, and was taken for the answer to the next delivery.
#[test]
fn what_came_while_the_thread_was_busy_is_no_answer() {
    let answer = |status: u16| format!("HTTP/1.1 {status} Said So\r\nContent-Length: 0\r\n\r\n");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (speak, spoken_to) = std::sync::mpsc::channel();
    let (spoken, has_spoken) = std::sync::mpsc::channel();
    let receiver = std::thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        assert!(first.read(&mut [0; 4_096]).unwrap() > 0);
        first.write_all(answer(200).as_bytes()).unwrap();
        spoken_to.recv().unwrap();
        first.write_all(answer(410).as_bytes()).unwrap();
        spoken.send(()).unwrap();
        let (mut second, _) = listener.accept().unwrap();
        assert!(second.read(&mut [0; 4_096]).unwrap() > 0);
        second.write_all(answer(202).as_bytes()).unwrap();
    });
    run(async {
        let mut bed = Bed::to(endpoint(&url)).await;
        assert_eq!(bed.deliver("first").await.status, Some(200));
        // This blocks the thread, so that its runtime cannot read the network.
        speak.send(()).unwrap();
        has_spoken.recv().unwrap();
        assert_eq!(bed.deliver("second").await.status, Some(202));
        bed.end().await;
    });
    receiver.join().unwrap();
}
