//! Order, where an endpoint asked for it.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_webhooks::testing::Reply;
use actix_webhooks::{Ordering, PutEndpoint, Rule};

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
        // Company 0 fails at first; the others must not notice.
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

/// Each delivery that was under way when the endpoint was told to keep an order let another one through when it ended, until the backlog was empty.
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
        let put = sim.engine.supervisor().send(PutEndpoint(endpoint));
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
