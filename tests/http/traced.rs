//! Where answers came from, and what they were.

use actix_webhooks::{AnswerTrace, ContentType, DeliveryId, Failure, Outcome};

use super::support::{Bed, Connection, Receiver, SHORT, endpoint, permanent, run, transient};

const FORBIDDEN: &str =
    "HTTP/1.1 403 -\r\nContent-Type: Text/HTML; charset=x\r\nContent-Length: 2\r\n\r\nno";
const REDIRECT: &str = "HTTP/1.1 307 -\r\nContent-Length: 0\r\nLocation: ";

/// Returns what is known of a receiver's answer of this type.
fn known(receiver: &Receiver, content_type: &str) -> AnswerTrace {
    AnswerTrace::new()
        .content_type(ContentType::parse(content_type.as_bytes()))
        .address(Some(receiver.address))
}

/// Starts a receiver that gives every request the same answer, and keeps the connection.
async fn answers(answer: impl Into<String>) -> Receiver {
    let answer = answer.into();
    Receiver::start(async move |mut connection: Connection| {
        while connection.request().await.is_some() {
            connection.send(&answer).await;
        }
    })
    .await
}

async fn trace(bed: &mut Bed, event: &str) -> (Outcome, AnswerTrace) {
    let report = bed.deliver(event).await;
    (report.outcome, last(bed, report.delivery_id).await)
}

async fn last(bed: &Bed, id: DeliveryId) -> AnswerTrace {
    let attempts = bed.engine.attempts(id).await.unwrap();
    attempts.last().unwrap().trace.clone()
}

/// The second request goes out on the connection of the first one.
#[test]
fn a_failure_has_the_type_and_the_address_of_its_answer_on_a_kept_connection_too() {
    run(async {
        let receiver = answers(FORBIDDEN).await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        let expected = (
            permanent(Failure::Status(403)),
            known(&receiver, "text/html"),
        );
        for event in ["1", "2"] {
            assert_eq!(trace(&mut bed, event).await, expected);
        }
        assert_eq!(receiver.connections(), 1);
        bed.end().await;
    });
}

#[test]
fn of_an_ordinary_success_nothing_is_kept_and_of_a_page_all() {
    let ok = |body: &str| {
        let length = body.len();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n";
        format!("{head}Content-Length: {length}\r\n\r\n{body}")
    };
    run(async {
        let receiver = answers(ok("ok")).await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        let nothing = (Outcome::Delivered, AnswerTrace::new());
        assert_eq!(trace(&mut bed, "1").await, nothing);
        bed.end().await;
        let page = answers(ok("<form>Log in")).await;
        let mut bed = Bed::to(endpoint(&page.url("/"))).await;
        let expected = (Outcome::Delivered, known(&page, "text/html"));
        assert_eq!(trace(&mut bed, "1").await, expected);
        bed.end().await;
    });
}

#[test]
fn after_a_redirect_it_is_the_last_answer_that_counts() {
    run(async {
        let end = answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let start = answers(format!("{REDIRECT}{}\r\n\r\n", end.url("/in"))).await;
        let mut bed = Bed::to(endpoint(&start.url("/"))).await;
        let expected = (Outcome::Delivered, known(&end, ""));
        assert_eq!(trace(&mut bed, "1").await, expected);
        bed.end().await;
        // A redirect that is not followed is the last answer itself.
        let nowhere = "HTTP/1.1 302 -\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n";
        let nowhere = answers(nowhere).await;
        let mut bed = Bed::to(endpoint(&nowhere.url("/"))).await;
        let (outcome, found) = trace(&mut bed, "1").await;
        assert!(matches!(outcome, Outcome::DeadLettered { .. }));
        assert_eq!(found, known(&nowhere, "text/plain"));
        bed.end().await;
    });
}

/// The address of an earlier connection, or of an earlier redirect, must not be shown for an
/// attempt without an answer.
#[test]
fn without_an_answer_nothing_is_known_and_with_half_of_one_what_came() {
    run(async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            while let Some(request) = connection.request().await {
                match request.event_id().as_str() {
                    "whole" => connection.send(FORBIDDEN).await,
                    "half" => {
                        let head = FORBIDDEN.replace("Length: 2", "Length: 9");
                        connection.send(head).await
                    }
                    _ => true,
                };
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/")).timeout(SHORT)).await;
        let all = known(&receiver, "text/html");
        assert_eq!(trace(&mut bed, "whole").await.1, all);
        let timeout = transient(Failure::Timeout);
        let nothing = AnswerTrace::new();
        assert_eq!(trace(&mut bed, "none").await, (timeout, nothing));
        assert_eq!(trace(&mut bed, "half").await, (timeout, all));
        bed.end().await;
    });
}
