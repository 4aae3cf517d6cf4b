//! Answers without a clear end: the bytes after them must not be taken for the answer to another
//! delivery.

use actix_webhooks::{Failure, Rule};

use super::support::{
    Bed, Connection, Receiver, Request, SHORT, builder, endpoint, event, run, transient,
};

const ANOTHER_ANSWER: &str = "HTTP/1.1 500 Not Yours\r\nContent-Length: 0\r\n\r\n";

/// The request offered no protocol to switch to, so the receiver's answer will not come and is not
/// waited for.
#[test]
fn switching_protocols_is_no_answer_either() {
    run(async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            connection.request().await;
            let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
            connection.send(switch).await;
            connection.closed().await;
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/")).timeout(SHORT)).await;
        let report = bed.deliver("e").await;
        assert_eq!(report.outcome, transient(Failure::Status(101)));
        bed.end().await;
    });
}

/// The time at which bytes arrive that look like another answer.
#[derive(Clone, Copy, Debug)]
enum Late {
    Never,
    /// Together with the head.
    AtOnce,
    /// After another request has arrived on the same connection.
    WithTheNextRequest,
}

/// Returns the status that the receiver gives an event, derived from its number: 200 to 299,
/// sometimes 410. Never 204, which has no body.
fn status_of(event_id: &str) -> u16 {
    let number: u16 = event_id.parse().unwrap();
    match number % 90 {
        4 => 299,
        other if other % 9 == 8 => 410,
        other => 200 + other,
    }
}

/// Answers each request with the status of its event, without a length; `head` holds the headers.
async fn answer_without_length(
    connection: &mut Connection,
    request: &Request,
    late: Late,
    head: &str,
) {
    let status = status_of(&request.event_id());
    let answer = format!("HTTP/1.1 {status} Said So\r\n{head}\r\n");
    match late {
        Late::Never => {
            connection.send(answer).await;
        }
        Late::AtOnce => {
            connection.send(answer + ANOTHER_ANSWER).await;
        }
        Late::WithTheNextRequest => {
            connection.send(answer).await;
            if connection.request().await.is_some() {
                connection.send(ANOTHER_ANSWER).await;
            }
        }
    }
    connection.closed().await;
}

#[track_caller]
fn check_each_round_is_judged_by_its_own_answer(head: &'static str) {
    run(async {
        let receiver = Receiver::start(async move |mut connection: Connection| {
            let Some(request) = connection.request().await else {
                return;
            };
            let late = match connection.number % 3 {
                0 => Late::Never,
                1 => Late::WithTheNextRequest,
                _ => Late::AtOnce,
            };
            answer_without_length(&mut connection, &request, late, head).await;
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        for round in 0..20 {
            let id = round.to_string();
            let report = bed.deliver(&id).await;
            assert_eq!(report.status, Some(status_of(&id)), "round {round}");
        }
        assert_eq!(receiver.connections(), 20, "{head:?}");
        bed.end().await;
    });
}

#[test]
fn an_answer_without_a_length_leaves_nothing_to_the_next_delivery() {
    check_each_round_is_judged_by_its_own_answer("Connection: keep-alive\r\n");
    check_each_round_is_judged_by_its_own_answer("");
}

/// `identity` states no length (RFC 9112 §6.3), so such a body ends with the connection.
#[test]
fn an_answer_in_the_identity_coding_leaves_nothing_to_the_next_delivery() {
    check_each_round_is_judged_by_its_own_answer("Transfer-Encoding: identity\r\n");
}

/// An offer to switch to another protocol does not change this answer (RFC 9110 §7.8).
#[test]
fn an_answer_that_offers_websocket_is_one_like_any_other() {
    run(async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            while let Some(request) = connection.request().await {
                let status = status_of(&request.event_id());
                let head = "Upgrade: websocket\r\nContent-Length: 2\r\n";
                let answer = format!("HTTP/1.1 {status} Said So\r\n{head}\r\nok");
                connection.send(answer).await;
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        for round in 0..20 {
            let id = round.to_string();
            let report = bed.deliver(&id).await;
            assert_eq!(report.status, Some(status_of(&id)), "round {round}");
        }
        assert_eq!(receiver.connections(), 1);
        bed.end().await;
    });
}

/// A 204 has no body, but an announced body sometimes follows.
#[test]
fn a_body_after_a_204_is_not_the_next_answer() {
    for head in [
        format!("Content-Length: {}", ANOTHER_ANSWER.len()),
        "Transfer-Encoding: chunked".to_owned(),
    ] {
        run(async {
            let receiver = Receiver::start(async move |mut connection: Connection| {
                connection.request().await;
                let answer = format!("HTTP/1.1 204 No Content\r\n{head}\r\n\r\n");
                connection.send(answer).await;
                if connection.request().await.is_some() {
                    connection.send(ANOTHER_ANSWER).await;
                }
                connection.closed().await;
            })
            .await;
            let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
            for round in 0..5 {
                let report = bed.deliver(&round.to_string()).await;
                assert_eq!(report.status, Some(204), "round {round}");
            }
            assert_eq!(receiver.connections(), 5);
            bed.end().await;
        });
    }
}

#[test]
fn what_follows_a_whole_answer_is_not_the_next_one() {
    run(async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            while let Some(request) = connection.request().await {
                let status = status_of(&request.event_id());
                let answer = format!("HTTP/1.1 {status} Said So\r\nContent-Length: 2\r\n\r\nok");
                connection.send(answer + ANOTHER_ANSWER).await;
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        for round in 0..20 {
            let id = round.to_string();
            let report = bed.deliver(&id).await;
            assert_eq!(report.status, Some(status_of(&id)), "round {round}");
        }
        bed.end().await;
    });
}

#[test]
fn of_many_deliveries_at_once_none_is_credited_with_anothers_answer() {
    const DELIVERIES: usize = 300;
    for arbiters in [0, 1] {
        run(async {
            let receiver = Receiver::start(async |mut connection: Connection| {
                while let Some(request) = connection.request().await {
                    let number: usize = request.event_id().parse().unwrap();
                    let late = match number % 5 {
                        0 => Late::Never,
                        1 => Late::AtOnce,
                        2 => Late::WithTheNextRequest,
                        _ => {
                            connection.answer(status_of(&request.event_id())).await;
                            continue;
                        }
                    };
                    let head = "Connection: keep-alive\r\n";
                    return answer_without_length(&mut connection, &request, late, head).await;
                }
            })
            .await;
            let url = receiver.url("/");
            let rule = Rule::new("rule", "*").webhook(&url).unwrap();
            let builder = builder().rule(rule).endpoint(endpoint(&url));
            let mut bed = Bed::start(builder.arbiters(arbiters)).await;
            for number in 0..DELIVERIES {
                bed.engine
                    .publish(event(&number.to_string()))
                    .await
                    .unwrap();
            }
            for _ in 0..DELIVERIES {
                let report = bed.report().await;
                let id = report.event_id.as_str();
                assert_eq!(report.status, Some(status_of(id)), "delivery {id}");
            }
            assert_eq!(receiver.requests().len(), DELIVERIES);
            bed.end().await;
        });
    }
}
