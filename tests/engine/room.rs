//! Room for events: who waits for it, who is refused, and who is not affected.

use std::time::Duration;

use actix_webhooks::store::{BacklogLimits, MemoryLimits, MemoryStore};
use actix_webhooks::testing::{Faults, FaultyStore};
use actix_webhooks::{
    DeadLetterReason, Engine, Event, PauseEndpoint, Publish, PublishError, Receipt, Rule,
    WebhookUrl,
};
use futures_util::future::join_all;

use super::support::{HOOK, event, plain, simulate, simulate_with};

const OTHER: &str = "http://other.test/hook";

async fn publish_all(engine: &Engine, count: usize) -> Vec<Result<Receipt, PublishError>> {
    let events = (0..count).map(|number| engine.publish(event(&number.to_string())));
    join_all(events).await
}

/// Of 300 events that were published at once, each awaited, 44 were refused, although a single
/// batch of 20,000 was accepted.
#[test]
fn whoever_awaits_a_publication_is_slowed_and_not_refused() {
    simulate(async |sim| {
        let receipts = publish_all(&sim.engine, 1_000).await;
        let refused = receipts.iter().find(|receipt| receipt.is_err());
        assert!(refused.is_none(), "{refused:?}");
        let at_once = (0..1_000).map(|number| {
            let event = event(&format!("at once {number}"));
            sim.engine.try_publish(event)
        });
        let at_once = join_all(at_once).await;
        let refused = at_once.iter().filter(|answer| {
            let overloaded = matches!(answer, Err(PublishError::Overloaded(_)));
            assert!(overloaded || answer.is_ok(), "{answer:?}");
            overloaded
        });
        let refused = refused.count();
        assert!(refused > 0, "they do not wait");
        let raw = (0..1_000).map(|number| {
            let publish = Publish::new(event(&format!("raw {number}")));
            sim.engine.router().send(publish)
        });
        let raw = join_all(raw).await;
        let raw = raw
            .iter()
            .filter(|answer| matches!(answer, Ok(Err(_))))
            .count();
        assert!(raw > 0, "nor do messages");
        sim.sleep(10).await;
        let delivered = sim.status(HOOK).await.delivered;
        assert_eq!(delivered, 3_000 - (refused + raw) as u64);
    });
}

/// An engine with little room and a store that takes up to `delay` per call.
fn slow(delay: Duration, test: impl AsyncFnOnce(super::support::Sim)) {
    let faults = Faults {
        failing: 0.0,
        failing_after: 0.0,
        delay,
    };
    let store = FaultyStore::new(MemoryStore::new(), faults, 1);
    simulate_with(
        move |builder| {
            builder
                .rule(Rule::new("rule", "*").webhook(HOOK).unwrap())
                .mailbox_capacity(2)
                .publish_timeout(Duration::from_secs(10))
                .store(store)
        },
        test,
    );
}

#[test]
fn whoever_has_waited_too_long_is_refused_and_nothing_of_it_is_accepted() {
    slow(Duration::from_secs(100_000), async |sim| {
        let started = sim.clock.elapsed();
        let publications = (0..400).map(|number| sim.engine.publish(event(&number.to_string())));
        let all = tokio::time::timeout(Duration::from_secs(11), join_all(publications));
        assert!(
            all.await.is_err(),
            "those that have room wait for the store"
        );
        let refused = sim.engine.publish(event("late")).await;
        assert!(
            matches!(refused, Err(PublishError::Overloaded(_))),
            "{refused:?}"
        );
        let waited = sim.clock.elapsed().saturating_sub(started);
        assert!((20.9..21.2).contains(&waited.as_secs_f64()), "{waited:?}");
        let at_once = sim.engine.try_publish(event("at once")).await;
        assert!(
            matches!(at_once, Err(PublishError::Overloaded(_))),
            "{at_once:?}"
        );
    });
}

#[test]
fn those_who_wait_are_served_in_their_order() {
    slow(Duration::from_millis(500), async |sim| {
        let order = std::cell::RefCell::new(Vec::new());
        let publish = |number: usize| {
            let (engine, order) = (&sim.engine, &order);
            async move {
                engine.publish(event(&number.to_string())).await.unwrap();
                order.borrow_mut().push(number);
            }
        };
        join_all((0..300).map(publish)).await;
        assert!(order.borrow().is_sorted(), "{order:?}");
        assert_eq!(order.borrow().len(), 300);
    });
}

fn limited(endpoint_deliveries: u64) -> MemoryStore {
    MemoryStore::with_limits(MemoryLimits {
        backlog: BacklogLimits {
            endpoint_deliveries,
            ..BacklogLimits::default()
        },
        ..MemoryLimits::default()
    })
}

/// With the default limits, an event for a full endpoint and a healthy one was refused as a whole.
/// The healthy one got 10 of 30.
#[test]
fn a_full_endpoint_takes_nothing_away_from_a_healthy_one() {
    let rule = Rule::new("both", "*")
        .webhook(HOOK)
        .unwrap()
        .webhook(OTHER)
        .unwrap();
    simulate_with(
        |builder| builder.rule(rule).endpoint(plain(HOOK)).store(limited(10)),
        async |sim| {
            let only = Rule::new("only", "only").webhook(HOOK).unwrap();
            sim.engine
                .router()
                .send(actix_webhooks::PutRule::new(only))
                .await
                .unwrap()
                .unwrap();
            let paused = sim.engine.supervisor().send(PauseEndpoint::new(HOOK)).await;
            paused.unwrap().unwrap();
            for number in 0..30 {
                let receipt = sim
                    .engine
                    .publish(event(&number.to_string()))
                    .await
                    .unwrap();
                let given_up: Vec<&str> = receipt.given_up.iter().map(WebhookUrl::as_str).collect();
                let expected: &[&str] = if number < 10 { &[] } else { &[HOOK] };
                assert_eq!((receipt.deliveries, &given_up[..]), (2, expected));
                sim.sleep(1).await;
            }
            assert_eq!(sim.status(OTHER).await.delivered, 30);
            let letters = sim.dead_letters().await;
            assert_eq!(letters.len(), 20);
            let overview = sim.engine.overview().await.unwrap();
            assert_eq!((overview.dead_lettered, overview.open), (20, 10));
            let attention = overview.attention[0].attention.unwrap();
            assert_eq!(attention.given_up_in_hour, 20);
            for letter in letters {
                assert_eq!(
                    (letter.url.as_str(), letter.reason),
                    (HOOK, DeadLetterReason::BacklogFull)
                );
            }
            // Publishing the event again creates no second delivery.
            let again = sim.engine.publish(event("29")).await.unwrap();
            assert_eq!((again.deliveries, again.duplicate), (2, true));
            sim.sleep(1).await;
            assert_eq!(sim.receivers.requests().len(), 30);
        },
    );
}

#[test]
fn an_event_that_only_full_endpoints_are_for_is_refused() {
    let rule = Rule::new("one", "*").webhook(HOOK).unwrap();
    simulate_with(
        |builder| builder.rule(rule).store(limited(1)),
        async |sim| {
            let paused = sim.engine.supervisor().send(PauseEndpoint::new(HOOK)).await;
            paused.unwrap().unwrap();
            sim.publish("a").await;
            let started = sim.clock.elapsed();
            let refused = sim.engine.publish(Event::new("t", "c")).await;
            assert!(
                matches!(refused, Err(PublishError::Overloaded(_))),
                "{refused:?}"
            );
            assert_eq!(
                sim.clock.elapsed(),
                started,
                "nobody waits for what may take days"
            );
            assert!(sim.dead_letters().await.is_empty());
        },
    );
}
