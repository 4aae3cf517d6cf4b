//! Sick endpoints do not slow healthy ones.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_webhooks::testing::{Reply, ScriptedTransport};
use actix_webhooks::{Event, PublishBatch, Rule};

use super::support::{HOOK, Sim, simulate, simulate_with};

fn url(number: usize) -> String {
    format!("http://receiver-{number}.test/")
}

/// Publishes one event of each type `0`, `1`, …, for each of which there is one endpoint.
async fn publish_to_each(sim: &Sim, endpoints: usize) {
    let batch =
        PublishBatch::new((0..endpoints).map(|number| Event::new(number.to_string(), "client")));
    for answer in sim.engine.router().send(batch).await.unwrap() {
        answer.unwrap();
    }
}

fn with_endpoints(endpoints: usize, test: impl AsyncFnOnce(Sim)) {
    let rule = |number: usize| {
        Rule::new(number.to_string(), number.to_string())
            .webhook(&url(number))
            .unwrap()
    };
    simulate_with(
        |builder| {
            (0..endpoints).fold(builder.mailbox_capacity(4_096), |builder, number| {
                builder.rule(rule(number))
            })
        },
        test,
    );
}

fn deliveries(receivers: &ScriptedTransport) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for sent in receivers.requests() {
        *counts
            .entry(sent.request.url.as_str().to_owned())
            .or_default() += 1;
    }
    counts
}

#[test]
fn half_of_a_thousand_endpoints_stop_answering_and_the_other_half_go_on() {
    with_endpoints(1_000, async |sim| {
        let answer = Reply::status(200).after(Duration::from_millis(10));
        sim.receivers.decide({
            let answer = answer.clone();
            move |_| answer.clone()
        });
        for _ in 0..3 {
            publish_to_each(&sim, 1_000).await;
            sim.sleep(1).await;
        }
        assert_eq!(sim.receivers.requests().len(), 3_000);
        // From now on the even ones hang.
        sim.receivers.decide(move |request| {
            let number: usize = request.alert.rule_type.parse().unwrap();
            if number.is_multiple_of(2) {
                Reply::hang()
            } else {
                answer.clone()
            }
        });
        for _ in 0..10 {
            publish_to_each(&sim, 1_000).await;
        }
        sim.sleep(14).await;
        let counts = deliveries(&sim.receivers);
        for number in (1..1_000).step_by(2) {
            assert_eq!(
                counts[&url(number)],
                13,
                "endpoint {number} got everything while the others hung"
            );
        }
        assert!(sim.receivers.most_in_flight() <= 512);
        assert!(sim.receivers.in_flight() >= 400, "the others hang still");
    });
}

#[test]
fn the_sick_hold_a_quarter_of_the_places_at_most() {
    with_endpoints(600, async |sim| {
        sim.receivers.decide(|_| Reply::hang());
        publish_to_each(&sim, 600).await;
        // All have timed out once, so that all are known to be failing. Their retries start within the quarter.
        sim.sleep(60).await;
        let mut most = 0;
        for _ in 0..60 {
            sim.sleep(1).await;
            most = most.max(sim.receivers.in_flight());
        }
        assert!((1..=128).contains(&most), "{most} sick attempts in flight");
    });
}

#[test]
fn an_endpoints_window_doubles_on_success_and_falls_to_one_on_failure() {
    simulate(async |sim| {
        sim.receivers
            .on(HOOK, [Reply::status(200).after(Duration::from_millis(10))]);
        for number in 0..200 {
            sim.publish(&number.to_string()).await;
        }
        sim.clock.sleep(Duration::from_millis(5)).await;
        assert_eq!(sim.receivers.in_flight(), 1, "it starts with one");
        sim.sleep(1).await;
        assert_eq!(sim.receivers.most_in_flight(), 32);
        assert_eq!(sim.status(HOOK).await.window, 32);
        sim.receivers.on(HOOK, [Reply::status(502)]);
        sim.publish("last").await;
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.window, 1);
    });
}

#[test]
fn a_backlog_beyond_the_window_is_delivered_too() {
    simulate(async |sim| {
        sim.receivers
            .on(HOOK, [Reply::status(200).after(Duration::from_millis(10))]);
        for chunk in 0..20 {
            let events = (0..100).map(|number| super::support::event(&format!("{chunk}-{number}")));
            sim.engine
                .router()
                .send(PublishBatch::new(events))
                .await
                .unwrap();
        }
        assert_eq!(
            sim.status(HOOK).await.queued + u64::from(sim.status(HOOK).await.in_flight),
            2_000
        );
        sim.sleep(60).await;
        assert_eq!(sim.status(HOOK).await.delivered, 2_000);
        assert_eq!(sim.receivers.requests().len(), 2_000);
    });
}

#[test]
fn thousands_of_waiting_retries_are_all_made() {
    simulate(async |sim| {
        sim.receivers
            .decide(|request| Reply::status(if request.attempt < 3 { 502 } else { 200 }));
        for chunk in 0..30 {
            let events = (0..100).map(|number| super::support::event(&format!("{chunk}-{number}")));
            sim.engine
                .router()
                .send(PublishBatch::new(events))
                .await
                .unwrap();
        }
        sim.sleep(300).await;
        assert_eq!(sim.status(HOOK).await.delivered, 3_000);
        assert_eq!(sim.receivers.requests().len(), 9_000);
        assert_eq!(sim.status(HOOK).await.queued, 0);
    });
}
