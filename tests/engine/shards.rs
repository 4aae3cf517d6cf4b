//! Endpoints are laid down and taken up by shards, as several engines on one store will do.

use std::time::Duration;

use actix_webhooks::store::MemoryStore;
use actix_webhooks::testing::{Faults, FaultyStore, Reply, lay_down, take_up};
use actix_webhooks::transport::Answer;
use actix_webhooks::{EndpointState, Ordering, Outcome, Rule, WebhookUrl};

use super::support::{HOOK, Sim, plain, simulate, simulate_with};

fn hook() -> [WebhookUrl; 1] {
    [WebhookUrl::parse(HOOK).unwrap()]
}

#[test]
fn what_is_published_for_a_shard_that_was_laid_down_is_delivered_by_whoever_takes_it_up() {
    simulate(async |sim| {
        sim.publish("before").await;
        sim.sleep(1).await;
        lay_down(&sim.engine, &hook()).await;
        for id in ["a", "b", "c"] {
            sim.publish(id).await;
        }
        sim.sleep(300).await;
        assert_eq!(sim.receivers.requests().len(), 1, "nobody delivers them");
        take_up(&sim.engine, &hook()).await.unwrap();
        sim.sleep(1).await;
        assert_eq!(sim.receivers.requests().len(), 4, "each once");
        assert_eq!(sim.status(HOOK).await.delivered, 4);
        sim.publish("after").await;
        sim.sleep(1).await;
        assert_eq!(sim.receivers.requests().len(), 5);
    });
}

#[test]
fn the_other_shards_are_not_touched() {
    let other = "http://other.test/";
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    let rule = rule.webhook(other).unwrap();
    simulate_with(
        |builder| builder.rule(rule),
        async |sim| {
            lay_down(&sim.engine, &hook()).await;
            sim.publish("e").await;
            sim.sleep(1).await;
            assert_eq!(sim.sent_to(), [other]);
        },
    );
}

/// An attempt that hangs is broken off. Its delivery has had no attempt, and waits for no retry.
#[test]
fn an_attempt_in_flight_is_broken_off_and_made_again() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::hang(), Reply::status(200)]);
        sim.publish("e").await;
        sim.sleep(5).await;
        let begun = sim.clock.elapsed();
        lay_down(&sim.engine, &hook()).await;
        let took = sim.clock.elapsed().saturating_sub(begun);
        assert!(took < Duration::from_secs(1), "{took:?}");
        sim.sleep(300).await;
        assert_eq!(sim.receivers.requests().len(), 1);
        take_up(&sim.engine, &hook()).await.unwrap();
        sim.sleep(1).await;
        assert_eq!(sim.outcomes(), [Outcome::Delivered]);
    });
}

/// The retry, and the wait that the receiver asked for, are kept: never earlier than asked.
#[test]
fn a_retry_comes_when_it_is_due_after_a_shard_was_laid_down_and_taken_up() {
    simulate(async |sim| {
        let busy = Reply::answer(Answer::new(503).retry_after("60"));
        sim.receivers.on(HOOK, [busy, Reply::status(200)]);
        sim.publish("e").await;
        sim.sleep(10).await;
        lay_down(&sim.engine, &hook()).await;
        sim.sleep(10).await;
        take_up(&sim.engine, &hook()).await.unwrap();
        sim.sleep(10).await;
        let state = sim.status(HOOK).await.state;
        assert!(
            matches!(state, EndpointState::RateLimited { .. }),
            "{state:?}"
        );
        sim.sleep(60).await;
        assert_eq!(sim.sent_at(), [0.0, 60.0]);
    });
}

/// The second call was answered while the subscriber still recorded.
#[test]
fn a_shard_is_laid_down_for_nobody_before_its_subscribers_have_ended() {
    let faults = Faults {
        failing: 0.0,
        failing_after: 0.0,
        delay: Duration::from_secs(4),
    };
    let store = FaultyStore::new(MemoryStore::new(), faults, 1);
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    simulate_with(
        |builder| builder.store(store).rule(rule),
        async |sim| {
            sim.publish("e").await;
            while sim.receivers.requests().is_empty() {
                sim.clock.sleep(Duration::from_millis(10)).await;
            }
            sim.clock.sleep(Duration::from_millis(10)).await;
            let urls = hook();
            let lay_down = async || {
                lay_down(&sim.engine, &urls).await;
                sim.clock.elapsed()
            };
            let begun = sim.clock.elapsed();
            let (first, second) = futures_util::future::join(lay_down(), lay_down()).await;
            assert!(first > begun, "the attempt was being recorded");
            assert_eq!(first, second);
            assert_eq!(sim.outcomes(), [Outcome::Delivered]);
        },
    );
}

/// Hands the endpoint over and back `rounds` times while events are published, at moments that
/// depend on `seed`, and returns the ids that were delivered, in order.
async fn delivered_during(sim: &Sim, seed: u64, rounds: usize) -> Vec<String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut number = 0;
    for _ in 0..rounds {
        for _ in 0..rng.usize(0..4) {
            sim.publish(&format!("{number:03}")).await;
            number += 1;
            sim.clock.sleep(Duration::from_millis(rng.u64(0..30))).await;
        }
        let urls = hook();
        let begun = lay_down(&sim.engine, &urls);
        if rng.bool() {
            begun.await;
        } else {
            // Taken up again before everything has ended.
            let taken = take_up(&sim.engine, &urls);
            let ((), taken) = futures_util::future::join(begun, taken).await;
            taken.unwrap();
        }
        sim.publish(&format!("{number:03}")).await;
        number += 1;
        sim.clock.sleep(Duration::from_millis(rng.u64(0..30))).await;
        take_up(&sim.engine, &hook()).await.unwrap();
    }
    sim.sleep(60).await;
    let reports = sim.reports().into_iter();
    let delivered = reports.filter(|report| report.outcome == Outcome::Delivered);
    let ids: Vec<_> = delivered
        .map(|report| report.event_id.to_string())
        .collect();
    assert_eq!(ids.len(), number, "seed {seed}");
    ids
}

#[test]
fn nothing_is_lost_doubled_or_overtaken_when_a_shard_changes_hands() {
    for seed in 0..60 {
        println!("seed {seed}");
        let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
        let fifo = plain(HOOK).ordering(Ordering::Fifo);
        simulate_with(
            |builder| builder.rule(rule).endpoint(fifo),
            async |sim| {
                let slow = Reply::status(200).after(Duration::from_millis(7));
                sim.receivers.on(HOOK, [slow]);
                let ids = delivered_during(&sim, seed, 12).await;
                assert!(ids.is_sorted(), "seed {seed}: {ids:?}");
            },
        );
    }
}
