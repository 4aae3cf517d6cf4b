//! Nobody watches and the store is slow, yet nothing is missed.

use std::time::Duration;

use actix_webhooks::store::MemoryStore;
use actix_webhooks::testing::{Faults, FaultyStore, Reply, ScriptedTransport, SimClock};
use actix_webhooks::{
    EndpointCounts, EndpointState, EndpointStatus, Engine, EngineBuilder, Event, GetStatus,
    PublishBatch, PutEndpoint, RemoveEndpoint, RetryPolicy, Rule,
};

use super::support::{HOOK, event, plain};

/// Runs a test with an engine that nobody watches, whose store takes up to `delay` per call.
fn unwatched(
    delay: Duration,
    seed: u64,
    test: impl AsyncFnOnce(Engine, SimClock, ScriptedTransport),
) {
    SimClock::run(async |clock| {
        let faults = Faults {
            failing: 0.0,
            failing_after: 0.0,
            delay,
        };
        let receivers = ScriptedTransport::new();
        let engine = simulated(&clock, seed)
            .store(FaultyStore::new(MemoryStore::new(), faults, seed))
            .transport(receivers.clone())
            .rule(Rule::new("rule", "*").webhook(HOOK).unwrap())
            .endpoint(plain(HOOK))
            .start()
            .await
            .unwrap();
        test(engine, clock, receivers).await;
    });
}

/// Engines with an odd seed are polled as on several arbiters.
fn simulated(clock: &SimClock, seed: u64) -> EngineBuilder {
    let builder = Engine::builder().simulated(clock, seed);
    if seed % 2 == 1 {
        builder.as_on_several_arbiters()
    } else {
        builder
    }
}

async fn status(engine: &Engine) -> EndpointStatus {
    let status = engine.supervisor().send(GetStatus::new(HOOK)).await;
    status.unwrap().unwrap()
}

fn ok() -> Reply {
    Reply::status(200)
}

/// Publishes `count` events one after another, so that the window grows.
async fn warm_up(engine: &Engine, clock: &SimClock, count: u64) {
    for number in 0..count {
        engine
            .publish(event(&format!("before {number}")))
            .await
            .unwrap();
        clock.sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(status(engine).await.delivered, count);
}

#[test]
fn everything_is_counted_and_the_subscriber_comes_to_rest() {
    for seed in 0..20 {
        let delay = Duration::from_millis(200);
        unwatched(delay, seed, async |engine, clock, receivers| {
            receivers.decide(|_| ok().after(Duration::from_millis(400)));
            for round in 1..=3_u64 {
                for number in 0..20 {
                    engine
                        .publish(event(&format!("{round} {number}")))
                        .await
                        .unwrap();
                }
                // Longer than it takes until an idle subscriber retires.
                clock.sleep(Duration::from_secs(40)).await;
                let status = status(&engine).await;
                assert_eq!(
                    (status.delivered, status.queued),
                    (20 * round, 0),
                    "seed {seed}"
                );
                assert_eq!(status.state, EndpointState::Idle);
            }
            assert_eq!(receivers.requests().len(), 60);
        });
    }
}

#[test]
fn whoever_asks_is_told_what_is_on_record_while_something_is_in_flight() {
    for seed in 0..20 {
        let delay = Duration::from_millis(100);
        unwatched(delay, seed, async |engine, clock, receivers| {
            warm_up(&engine, &clock, 3).await;
            receivers.on(HOOK, [ok(), ok().after(Duration::from_millis(900))]);
            engine.publish(event("at once")).await.unwrap();
            engine.publish(event("slow")).await.unwrap();
            clock.sleep(Duration::from_millis(500)).await;
            let status = status(&engine).await;
            assert_eq!((status.delivered, status.in_flight), (4, 1), "seed {seed}");
        });
    }
}

#[test]
fn a_retry_that_is_wanted_at_once_does_not_wait_for_the_next_look() {
    for seed in 0..20 {
        let delay = Duration::from_millis(200);
        unwatched(delay, seed, async |engine, clock, receivers| {
            warm_up(&engine, &clock, 4).await;
            let at_once = RetryPolicy::custom([Duration::ZERO]);
            let put = PutEndpoint::new(plain(HOOK).retry(at_once));
            engine.supervisor().send(put).await.unwrap().unwrap();
            // The second makes the endpoint prompt again, and the third keeps it busy.
            let soon = ok().after(Duration::from_millis(1));
            let slow = ok().after(Duration::from_millis(900));
            receivers.on(HOOK, [Reply::status(502), soon, slow, ok()]);
            let before = receivers.requests().len();
            let batch = PublishBatch::new(["fails", "soon", "slow"].map(event));
            engine.router().send(batch).await.unwrap();
            // A record takes up to 200 ms here, and reading the delivery back takes as long.
            clock.sleep(Duration::from_millis(410)).await;
            assert_eq!(receivers.requests().len() - before, 4, "seed {seed}");
        });
    }
}

/// Runs a test with four permits and five endpoints that nobody watches. Each has had a delivery
/// and is idle; all answer after 400 ms.
fn crowded(seed: u64, test: impl AsyncFnOnce(Engine, SimClock, ScriptedTransport)) {
    SimClock::run(async |clock| {
        let receivers = ScriptedTransport::new();
        let mut builder = simulated(&clock, seed)
            .max_in_flight(4)
            .transport(receivers.clone());
        for number in 0..5 {
            let rule = Rule::new(number.to_string(), number.to_string());
            let url = endpoint(number);
            builder = builder
                .rule(rule.webhook(&url).unwrap())
                .endpoint(plain(&url));
        }
        let engine = builder.start().await.unwrap();
        receivers.decide(|_| ok().after(Duration::from_millis(400)));
        for number in 0..5 {
            publish_to(&engine, number).await;
            clock.sleep(Duration::from_secs(2)).await;
        }
        test(engine, clock, receivers).await;
    });
}

fn endpoint(number: usize) -> String {
    format!("http://receiver.test/{number}")
}

async fn publish_to(engine: &Engine, number: usize) {
    let event = Event::new(number.to_string(), "client").message("m");
    engine.publish(event).await.unwrap();
}

async fn publish_to_all(engine: &Engine) {
    for number in 0..5 {
        publish_to(engine, number).await;
    }
}

#[test]
fn what_arrives_when_all_places_are_taken_goes_out_as_soon_as_one_is_free() {
    for seed in 0..4 {
        crowded(seed, async |engine, clock, receivers| {
            publish_to_all(&engine).await;
            clock.sleep(Duration::from_millis(399)).await;
            assert_eq!(receivers.requests().len(), 5 + 4, "seed {seed}");
            clock.sleep(Duration::from_millis(2)).await;
            assert_eq!(receivers.requests().len(), 5 + 5, "seed {seed}");
        });
    }
}

#[test]
fn an_endpoint_that_is_removed_while_it_waits_for_a_place_takes_none() {
    for seed in 0..4 {
        crowded(seed, async |engine, clock, receivers| {
            publish_to_all(&engine).await;
            let removed = RemoveEndpoint::new(endpoint(4));
            engine.supervisor().send(removed).await.unwrap().unwrap();
            for round in 2..4 {
                clock.sleep(Duration::from_secs(1)).await;
                for number in 0..4 {
                    publish_to(&engine, number).await;
                }
                clock.sleep(Duration::from_millis(1)).await;
                assert_eq!(receivers.in_flight(), 4, "round {round}, seed {seed}");
            }
        });
    }
}

#[test]
fn what_a_removal_gives_up_is_counted_but_needs_no_attention() {
    unwatched(Duration::ZERO, 1, async |engine, clock, _| {
        engine.endpoint(HOOK).pause().await.unwrap();
        for number in 0..5 {
            engine.publish(event(&number.to_string())).await.unwrap();
        }
        clock.sleep(Duration::from_secs(1)).await;
        let overview = engine.overview().await.unwrap();
        assert_eq!((overview.open, overview.attention.len()), (5, 1));
        assert_eq!(engine.endpoint(HOOK).remove().await.unwrap(), 5);
        let overview = engine.overview().await.unwrap();
        assert_eq!((overview.dead_lettered, overview.open), (5, 0));
        assert_eq!(overview.endpoints, EndpointCounts::default());
        assert!(overview.attention.is_empty());
    });
}
