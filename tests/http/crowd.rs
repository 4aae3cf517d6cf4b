//! Many deliveries to receivers that misbehave in every way.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use actix_webhooks::{Outcome, Rule};

use super::support::{Bed, Connection, Receiver, builder, endpoint, run};

/// Treats each request in the next of ten ways.
async fn misbehave(mut connection: Connection, turn: &Cell<usize>, behaved: &Cell<bool>) {
    while connection.request().await.is_some() {
        if behaved.get() {
            connection.answer(200).await;
            continue;
        }
        turn.set(turn.get() + 1);
        match turn.get() % 10 {
            0 => return,
            1 => return connection.reset(),
            2 => return connection.closed().await,
            3 => {
                connection.send("not HTTP at all\r\n\r\n").await;
            }
            4 => {
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
                connection.send(head).await;
                return;
            }
            5 => {
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
                let part = "x".repeat(16_384);
                let mut open = connection.send(head).await;
                while open {
                    open = connection.send(&part).await;
                }
                return;
            }
            6 => {
                connection.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
                connection.answer(200).await;
            }
            7 => {
                let answers = "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 500 Other\r\n\r\n";
                connection.send(answers).await;
            }
            8 => {
                connection.answer(503).await;
            }
            _ => {
                connection.answer(200).await;
            }
        }
    }
}

#[test]
fn every_delivery_to_misbehaving_receivers_ends_once_and_leaves_the_endpoints_usable() {
    const RECEIVERS: usize = 4;
    const EVENTS: usize = 50;
    run(async {
        let behaved = Rc::new(Cell::new(false));
        let mut receivers = Vec::new();
        let mut rule = Rule::new("rule", "*");
        let mut builder = builder().arbiters(1);
        for number in 0..RECEIVERS {
            let (turn, behaved) = (Cell::new(number), Rc::clone(&behaved));
            let receiver = Receiver::start(async move |connection: Connection| {
                misbehave(connection, &turn, &behaved).await;
            })
            .await;
            let url = receiver.url("/");
            rule = rule.webhook(&url).unwrap();
            builder = builder.endpoint(endpoint(&url).timeout(Duration::from_millis(200)));
            receivers.push(receiver);
        }
        let mut bed = Bed::start(builder.rule(rule)).await;
        for event in 0..EVENTS {
            bed.publish(&event.to_string()).await;
        }
        let mut ended = BTreeSet::new();
        let mut delivered = 0;
        while ended.len() < RECEIVERS * EVENTS {
            let report = bed.report().await;
            assert!(report.outcome.is_final(), "{report:?}");
            delivered += usize::from(report.outcome == Outcome::Delivered);
            let key = (report.url.as_str().to_owned(), report.event_id.clone());
            assert!(ended.insert(key), "a second report: {report:?}");
        }
        assert!((1..RECEIVERS * EVENTS).contains(&delivered), "{delivered}");

        behaved.set(true);
        bed.publish("last").await;
        for _ in 0..RECEIVERS {
            let report = bed.report().await;
            assert_eq!(report.event_id, "last");
            assert_eq!(report.outcome, Outcome::Delivered);
        }
        bed.end().await;
    });
}
