//! Ordered endpoints.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_webhooks::store::MemoryStore;
use actix_webhooks::testing::{Faults, FaultyStore, Reply};
use actix_webhooks::{Ordering, PutEndpoint, RetryPolicy, Rule};

use super::support::{HOOK, Sim, event, plain, simulate_with};

fn ordered(ordering: Ordering, test: impl AsyncFnOnce(Sim)) {
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    simulate_with(
        |builder| builder.rule(rule).endpoint(plain(HOOK).ordering(ordering)),
        test,
    );
}

fn sent_events(sim: &Sim) -> Vec<String> {
    sim.receivers
        .requests()
        .iter()
        .map(|sent| sent.request.alert.event_id.as_str().to_owned())
        .collect()
}

#[test]
fn fifo_keeps_one_in_flight_and_the_order() {
    ordered(Ordering::Fifo, async |sim| {
        sim.receivers
            .on(HOOK, [Reply::status(200).after(Duration::from_millis(20))]);
        let ids: Vec<String> = (0..600).map(|number| format!("{number:04}")).collect();
        for id in &ids {
            sim.publish(id).await;
        }
        sim.sleep(60).await;
        assert_eq!(sent_events(&sim), ids);
        assert_eq!(sim.receivers.most_in_flight(), 1);
    });
}

#[test]
fn a_waiting_retry_holds_its_followers_and_a_dead_letter_lets_them_go_on() {
    ordered(Ordering::Fifo, async |sim| {
        sim.receivers
            .on(HOOK, [502, 502, 502, 502, 200].map(Reply::status));
        for id in ["a", "b", "c"] {
            sim.publish(id).await;
        }
        sim.sleep(104).await;
        assert_eq!(sent_events(&sim), ["a", "a", "a"]);
        sim.sleep(10).await;
        assert_eq!(sent_events(&sim), ["a", "a", "a", "a", "b", "c"]);
        assert_eq!(sim.dead_letters().await.len(), 1);
    });
}

#[test]
fn companies_go_side_by_side_each_in_order() {
    ordered(Ordering::FifoPerCompany, async |sim| {
        // Company 0 fails at first, and the others must not be affected.
        sim.receivers.decide(|request| {
            let first = request.attempt == 1
                && request
                    .alert
                    .company_id
                    .as_ref()
                    .is_some_and(|id| *id == "company-0");
            Reply::status(if first { 502 } else { 200 }).after(Duration::from_millis(5))
        });
        for number in 0..40 {
            let event = event(&format!("{number:02}")).company(format!("company-{}", number % 4));
            sim.engine.publish(event).await.unwrap();
        }
        sim.sleep(10).await;
        assert_eq!(
            sim.status(HOOK).await.delivered,
            30,
            "company 0 waits for its retry, alone"
        );
        sim.sleep(300).await;
        assert_eq!(sim.status(HOOK).await.delivered, 40);
        let mut last = BTreeMap::new();
        for sent in sim.receivers.requests() {
            let alert = sent.request.alert;
            let before = last.insert(alert.company_id.clone(), alert.event_id.clone());
            assert!(
                before.is_none_or(|before| before <= alert.event_id),
                "{:?}",
                alert.company_id
            );
        }
    });
}

#[test]
fn without_an_order_a_failed_delivery_holds_nobody_back() {
    ordered(Ordering::Unordered, async |sim| {
        sim.receivers.on(HOOK, [502, 200].map(Reply::status));
        sim.publish("a").await;
        sim.publish("b").await;
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.delivered, 1);
    });
}

/// When ordering was turned on, each attempt that was then in flight let another one start when it
/// ended, until the backlog was empty.
#[test]
fn an_endpoint_that_is_told_to_keep_an_order_does_so_once_what_is_under_way_has_ended() {
    ordered(Ordering::Unordered, async |sim| {
        let slow = Reply::status(200).after(Duration::from_millis(100));
        sim.receivers.on(HOOK, [slow]);
        for number in 0..200 {
            sim.publish(&format!("{number:03}")).await;
        }
        sim.clock.sleep(Duration::from_millis(650)).await;
        assert!(sim.receivers.in_flight() > 4, "several are under way");
        let endpoint = plain(HOOK).ordering(Ordering::Fifo);
        let put = sim.engine.supervisor().send(PutEndpoint::new(endpoint));
        put.await.unwrap().unwrap();
        sim.clock.sleep(Duration::from_millis(150)).await;
        for _ in 0..20 {
            assert!(sim.receivers.in_flight() <= 1);
            sim.clock.sleep(Duration::from_millis(30)).await;
        }
        sim.sleep(60).await;
        let mut sent = sent_events(&sim);
        assert!(sent.is_sorted() && sent.len() == 200);
        sent.dedup();
        assert_eq!(sent.len(), 200, "each once");
    });
}

async fn put(sim: &Sim, ordering: Ordering) {
    let put = PutEndpoint::new(plain(HOOK).ordering(ordering));
    let put = sim.engine.supervisor().send(put);
    put.await.unwrap().unwrap();
}

/// Returns the events of the requests, starting with request number `first`.
fn sent_since(sim: &Sim, first: usize) -> Vec<String> {
    sent_events(sim).split_off(first)
}

#[test]
fn retries_that_wait_when_order_is_asked_for_go_one_after_the_other_the_oldest_first() {
    ordered(Ordering::Unordered, async |sim| {
        sim.receivers.on(HOOK, [Reply::status(502)]);
        let ids: Vec<String> = (0..21).map(|number| format!("{number:02}")).collect();
        for id in &ids[..20] {
            sim.publish(id).await;
        }
        sim.sleep(10).await;
        assert_eq!(sim.receivers.requests().len(), 20);
        sim.receivers
            .on(HOOK, [Reply::status(200).after(Duration::from_millis(100))]);
        put(&sim, Ordering::Fifo).await;
        sim.publish(&ids[20]).await;
        sim.sleep(60).await;
        assert_eq!(sent_since(&sim, 20), ids);
        assert_eq!(sim.receivers.most_in_flight(), 1);
    });
}

/// Ordering is turned on while the first due retry is slowly read back.
#[test]
fn a_retry_that_is_read_back_when_order_is_asked_for_keeps_its_place() {
    for seed in 0..20 {
        let slow = Faults {
            failing: 0.0,
            failing_after: 0.0,
            delay: Duration::from_secs(4),
        };
        let store = FaultyStore::new(
            MemoryStore::new(),
            Faults {
                delay: Duration::ZERO,
                ..slow
            },
            seed,
        );
        let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
        let given = store.clone();
        simulate_with(
            |builder| builder.store(given).rule(rule).endpoint(plain(HOOK)),
            async |sim| {
                sim.receivers.on(
                    HOOK,
                    [
                        Reply::status(502),
                        Reply::status(200).after(Duration::from_millis(100)),
                    ],
                );
                sim.publish("00").await;
                sim.sleep(14).await;
                store.set(slow);
                sim.clock.sleep(Duration::from_millis(1_010)).await;
                put(&sim, Ordering::Fifo).await;
                store.set(Faults {
                    delay: Duration::ZERO,
                    ..slow
                });
                let ids: Vec<String> = (0..50).map(|number| format!("{number:02}")).collect();
                for id in &ids[1..] {
                    sim.publish(id).await;
                }
                sim.sleep(60).await;
                assert_eq!(sent_since(&sim, 1), ids, "seed {seed}");
                assert_eq!(sim.receivers.most_in_flight(), 1, "seed {seed}");
            },
        );
    }
}

/// More deliveries wait than fit in memory. The rest are read before anything continues.
#[test]
fn an_order_that_is_asked_for_with_a_large_backlog_waiting_is_kept_to_its_end() {
    let patient = RetryPolicy::custom([Duration::from_mins(10); 3]).without_jitter();
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    let endpoint = plain(HOOK).retry(patient);
    simulate_with(
        |builder| builder.rule(rule).endpoint(endpoint.clone()),
        async |sim| {
            sim.receivers
                .on(HOOK, [Reply::status(502).after(Duration::from_millis(50))]);
            for number in 0..3_000 {
                sim.publish(&format!("{number:04}")).await;
            }
            // In the middle of an attempt: some deliveries wait in memory, some only in the store,
            // and some have not been attempted yet.
            while sim.receivers.requests().len() < 1_500 {
                sim.clock.sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(sim.receivers.in_flight(), 1);
            sim.receivers
                .on(HOOK, [Reply::status(200).after(Duration::from_millis(10))]);
            let put = PutEndpoint::new(endpoint.clone().ordering(Ordering::Fifo));
            let put = sim.engine.supervisor().send(put);
            put.await.unwrap().unwrap();
            sim.sleep(3_600).await;
            let status = sim.status(HOOK).await;
            assert_eq!((status.delivered, status.queued), (3_000, 0));
            let last = sent_since(&sim, 1_500);
            assert!(last.is_sorted(), "the oldest first");
            assert_eq!(last.len(), 3_000);
        },
    );
}
