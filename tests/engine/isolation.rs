//! Sick endpoints do not slow healthy ones.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_webhooks::testing::{Reply, ScriptedTransport};
use actix_webhooks::{EngineBuilder, Event, PublishBatch, Rule};

use super::support::{HOOK, Sim, plain, simulate, simulate_with};

fn url(number: usize) -> String {
    format!("http://receiver-{number}.test/")
}

/// Publishes one event of each type `0`, `1`, …. Each type has one endpoint.
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

/// Publishes `each` events for each of these endpoints.
async fn burst(sim: &Sim, endpoints: Range<usize>, each: u32) {
    for _ in 0..each {
        let events = endpoints.clone();
        let events = events.map(|number| Event::new(number.to_string(), "client"));
        let batch = PublishBatch::new(events);
        for answer in sim.engine.router().send(batch).await.unwrap() {
            answer.unwrap();
        }
    }
}

/// Runs 100 endpoints. The first `hanging` of them have full windows, and a larger backlog than
/// their windows hold, when they begin to hang. From then on the others get an event every 100 ms
/// and answer after 5 ms: each event must go out before the next.
fn others_go_on_beside(hanging: usize, max_in_flight: u32) {
    const ENDPOINTS: usize = 100;
    let settings = move |builder: EngineBuilder| {
        let builder = builder.mailbox_capacity(65_536);
        (0..ENDPOINTS).fold(builder, |builder, number| {
            let url = url(number);
            let rule = Rule::new(number.to_string(), number.to_string());
            builder
                .rule(rule.webhook(&url).unwrap())
                .endpoint(plain(&url).max_in_flight(max_in_flight))
        })
    };
    simulate_with(settings, async |sim| {
        let others = Arc::new(AtomicUsize::new(0));
        let hang = Arc::new(AtomicBool::new(false));
        let (count, hangs) = (Arc::clone(&others), Arc::clone(&hang));
        sim.receivers.decide(move |request| {
            let number: usize = request.alert.rule_type.parse().unwrap();
            if number >= hanging {
                count.fetch_add(1, Relaxed);
            } else if hangs.load(Relaxed) {
                return Reply::hang();
            }
            Reply::status(200).after(Duration::from_millis(5))
        });
        burst(&sim, 0..hanging, 3 * max_in_flight).await;
        sim.sleep(10).await;
        assert_eq!(sim.status(&url(0)).await.window, max_in_flight);
        hang.store(true, Relaxed);
        burst(&sim, 0..hanging, 3 * max_in_flight).await;
        for round in 1..=140 {
            burst(&sim, hanging..ENDPOINTS, 1).await;
            sim.clock.sleep(Duration::from_millis(100)).await;
            let sent = others.load(Relaxed);
            let all = round * (ENDPOINTS - hanging);
            assert_eq!(sent, all, "{hanging} hang, round {round}");
        }
        assert!(sim.receivers.in_flight() >= 250, "they hang still");
    });
}

#[test]
fn endpoints_that_begin_to_hang_with_full_windows_leave_places_for_the_others() {
    for (hanging, max_in_flight) in [(16, 32), (40, 32), (80, 32), (1, 512), (2, 256)] {
        others_go_on_beside(hanging, max_in_flight);
    }
}

#[test]
fn the_sick_hold_a_quarter_of_the_places_at_most() {
    with_endpoints(600, async |sim| {
        sim.receivers.decide(|_| Reply::hang());
        publish_to_each(&sim, 600).await;
        // All have timed out once, so all are known to be failing. Their retries share the quarter.
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

/// An endpoint keeps a permit during its turn, even if it does not need it. The attempts that it
/// waits for must come after those that it holds, or its turn never comes.
#[test]
fn endpoints_that_are_slow_or_fail_where_places_are_few_get_their_turns() {
    for seed in 0..12 {
        for limit in [4, 8, 12, 16, 32] {
            few_places(seed, limit);
        }
    }
}

/// Runs up to four endpoints that answer after 5 ms to 3 s, three times in ten with 503, and checks
/// that nothing is left at the end.
fn few_places(seed: u64, limit: u32) {
    let endpoints = 1 + seed % 4;
    let settings = |builder: EngineBuilder| {
        (0..endpoints).fold(builder.max_in_flight(limit), |builder, number| {
            let url = format!("http://receiver-{number}.test/");
            let rule = Rule::new(number.to_string(), number.to_string());
            builder
                .rule(rule.webhook(&url).unwrap())
                .endpoint(plain(&url))
        })
    };
    simulate_with(settings, async |sim| {
        let mut rng = fastrand::Rng::with_seed(seed * 7 + u64::from(limit));
        let mut answers = rng.fork();
        let answers = Mutex::new(move || {
            let after = answers.choice([5, 50, 300, 700, 900, 1_200, 1_600, 3_000]);
            let status = if answers.u8(0..10) < 7 { 200 } else { 503 };
            Reply::status(status).after(Duration::from_millis(after.unwrap()))
        });
        sim.receivers.decide(move |_| answers.lock().unwrap()());
        for _ in 0..60 {
            for _ in 0..rng.u64(1..12) {
                let event = Event::new(rng.u64(0..endpoints).to_string(), "client");
                sim.engine.publish(event).await.unwrap();
            }
            let pause = Duration::from_millis(rng.u64(10..900));
            sim.clock.sleep(pause).await;
        }
        sim.receivers.decide(|_| Reply::status(200));
        sim.sleep(3_600).await;
        for number in 0..endpoints {
            let status = sim.status(&format!("http://receiver-{number}.test/")).await;
            assert_eq!(status.queued, 0, "seed {seed}, {limit} permits: {status:?}");
        }
    });
}

#[test]
fn a_backlog_of_large_bodies_is_delivered_each_once() {
    simulate(async |sim| {
        sim.receivers.decide(|request| {
            let status = if request.attempt < 2 { 502 } else { 200 };
            Reply::status(status).after(Duration::from_millis(10))
        });
        let data = serde_json::Value::from("x".repeat(300 * 1_024));
        for number in 0..60 {
            let event = super::support::event(&number.to_string()).data(data.clone());
            sim.engine.publish(event).await.unwrap();
        }
        sim.sleep(300).await;
        let status = sim.status(HOOK).await;
        assert_eq!((status.delivered, status.queued), (60, 0));
        assert_eq!(sim.receivers.requests().len(), 120);
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
