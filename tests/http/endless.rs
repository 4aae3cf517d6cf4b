//! Receivers whose answers never end.

use actix_webhooks::{Failure, Outcome};
use tokio::sync::mpsc;

use super::support::{Bed, Connection, Receiver, SHORT, endpoint, run, transient};

#[test]
fn a_receiver_that_never_answers_times_out_and_frees_its_place() {
    run(async {
        let (closed, mut closings) = mpsc::unbounded_channel();
        let receiver = Receiver::start(async move |mut connection: Connection| {
            if connection.number == 1 {
                connection.request().await;
                connection.closed().await;
                closed.send(()).unwrap();
            } else {
                connection.answer_all(200).await;
            }
        })
        .await;
        let endpoint = endpoint(&receiver.url("/")).max_in_flight(1);
        let mut bed = Bed::to(endpoint.timeout(SHORT)).await;
        let report = bed.deliver("hangs").await;
        assert_eq!(report.outcome, transient(Failure::Timeout));
        assert_eq!(report.status, None);
        assert!(report.duration >= SHORT, "{:?}", report.duration);
        closings.recv().await.expect("the connection is closed");
        assert_eq!(bed.deliver("goes on").await.outcome, Outcome::Delivered);
        bed.end().await;
    });
}

#[test]
fn a_body_that_drips_does_not_outlast_the_timeout() {
    run(async {
        let (closed, mut closings) = mpsc::unbounded_channel();
        let receiver = Receiver::start(async move |mut connection: Connection| {
            connection.request().await;
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
            let mut drip = tokio::time::interval(SHORT / 20);
            let mut open = connection.send(head).await;
            while open {
                drip.tick().await;
                open = connection.send("x").await;
            }
            closed.send(()).unwrap();
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/")).timeout(SHORT)).await;
        assert_eq!(bed.deliver("e").await.outcome, transient(Failure::Timeout));
        closings.recv().await.expect("the connection is closed");
        bed.end().await;
    });
}

#[test]
fn a_head_that_drips_does_not_outlast_the_timeout() {
    run(async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            connection.request().await;
            let mut drip = tokio::time::interval(SHORT / 20);
            let mut open = connection.send("HTTP/1.1 200 OK\r\nX-Long: ").await;
            while open {
                drip.tick().await;
                open = connection.send("x").await;
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/")).timeout(SHORT)).await;
        assert_eq!(bed.deliver("e").await.outcome, transient(Failure::Timeout));
        bed.end().await;
    });
}

const GIBIBYTE: u64 = 1 << 30;

/// Delivers to a receiver that answers with `head` and then repeats `part`, until a gibibyte is
/// sent or the connection is closed.
fn flood(head: &'static str, part: String) {
    run(async {
        let (stopped, mut stops) = mpsc::unbounded_channel();
        let receiver = Receiver::start(async move |mut connection: Connection| {
            connection.request().await;
            connection.send(head).await;
            let mut sent = 0;
            while sent < GIBIBYTE && connection.send(&part).await {
                sent += part.len() as u64;
            }
            stopped.send(sent).unwrap();
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        let report = bed.deliver("e").await;
        assert_eq!(report.outcome, Outcome::Delivered);
        assert_eq!(report.status, Some(200));
        let sent = stops.recv().await.unwrap();
        // However much is offered, only the limit and the socket buffers are read.
        assert!(sent < GIBIBYTE / 64, "{sent} bytes were taken");
        bed.end().await;
    });
}

#[test]
fn a_gibibyte_with_its_length_told_is_not_read_to_the_end() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
    flood(head, "x".repeat(16_384));
}

#[test]
fn endless_chunks_are_not_read_to_the_end() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    flood(head, format!("4000\r\n{}\r\n", "x".repeat(16_384)));
}

#[test]
fn an_endless_body_without_a_length_is_not_read_to_the_end() {
    let part = "x".repeat(16_384);
    flood("HTTP/1.0 200 OK\r\n\r\n", part.clone());
    flood("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", part);
}
