//! Large bodies, and receivers that answer before they have read one.

use actix_webhooks::{Failure, Outcome};
use serde_json::json;
use tokio::sync::mpsc;

use super::support::{Bed, Connection, Receiver, endpoint, event, permanent, run};

/// More than the socket buffers of both sides hold.
pub(crate) const LARGE: usize = 12 * 1_024 * 1_024;

async fn bed(receiver: &Receiver) -> Bed {
    let builder = super::support::builder().max_body_bytes(2 * LARGE);
    Bed::with(builder, endpoint(&receiver.url("/"))).await
}

async fn publish_large(bed: &Bed) {
    let large = event("large").data(json!("x".repeat(LARGE)));
    bed.engine.publish(large).await.unwrap();
}

#[test]
fn a_body_larger_than_all_buffers_arrives_whole() {
    run(async {
        let receiver =
            Receiver::start(async |mut connection: Connection| connection.answer_all(200).await)
                .await;
        let mut bed = bed(&receiver).await;
        for _ in 0..2 {
            let large =
                event(&receiver.requests().len().to_string()).data(json!("x".repeat(LARGE)));
            bed.engine.publish(large).await.unwrap();
            assert_eq!(bed.report().await.outcome, Outcome::Delivered);
        }
        let requests = receiver.requests();
        assert!(requests.iter().all(|request| request.body.len() > LARGE));
        assert_eq!(receiver.connections(), 1, "it can be used again");
        bed.end().await;
    });
}

/// A receiver that refuses a body by its head need not read it (RFC 9110 §15.5.14). Waiting until
/// it is sent would end in the timeout.
#[test]
fn an_answer_before_the_body_was_read_is_an_answer() {
    for closes in [false, true] {
        run(async {
            let (seen, mut answered) = mpsc::unbounded_channel();
            let receiver = Receiver::start(async move |mut connection: Connection| {
                if connection.number > 1 {
                    return connection.answer_all(200).await;
                }
                connection.head().await;
                let answer =
                    "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                connection.send(answer).await;
                seen.send(()).unwrap();
                if !closes {
                    std::future::pending::<()>().await;
                }
            })
            .await;
            let mut bed = bed(&receiver).await;
            publish_large(&bed).await;
            answered.recv().await.unwrap();
            let report = bed.report().await;
            assert_eq!(
                report.outcome,
                permanent(Failure::Status(413)),
                "closes: {closes}"
            );
            assert!(!report.sent_twice);
            assert_eq!(bed.deliver("next").await.outcome, Outcome::Delivered);
            assert_eq!(
                receiver.connections(),
                2,
                "half a request is on the first one"
            );
            bed.end().await;
        });
    }
}

#[test]
fn what_a_receiver_sends_unasked_is_no_answer_to_the_next_delivery() {
    run(async {
        let (seen, mut sent) = mpsc::unbounded_channel();
        let receiver = Receiver::start(async move |mut connection: Connection| {
            if connection.number > 1 {
                return connection.answer_all(202).await;
            }
            connection.request().await;
            connection.answer(200).await;
            connection
                .send("HTTP/1.1 500 Unasked\r\nContent-Length: 0\r\n\r\n")
                .await;
            seen.send(()).unwrap();
            connection.closed().await;
        })
        .await;
        let mut bed = bed(&receiver).await;
        assert_eq!(bed.deliver("first").await.status, Some(200));
        sent.recv().await.unwrap();
        let second = bed.deliver("second").await;
        assert_eq!(
            (second.status, second.outcome),
            (Some(202), Outcome::Delivered)
        );
        assert_eq!(receiver.requests()[1].connection, 2);
        bed.end().await;
    });
}
