//! Events that the application stores in its own transactions.

use std::time::Duration;

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{Appended, BacklogLimits, OutboxError, SqliteOptions, SqliteStore};
use actix_webhooks::testing::SimClock;
use actix_webhooks::{Engine, Event, PauseEndpoint, RemoveRule, ResumeEndpoint, Rule, Timestamp};
use rusqlite::Connection;
use serde_json::json;

use super::retention::new_event;
use super::support::{HOOK, Life, crash, event, status};

fn shop(life: &Life) -> Connection {
    let shop = Connection::open(life.file()).unwrap();
    let made = shop.execute("CREATE TABLE IF NOT EXISTS orders (number INTEGER)", []);
    made.unwrap();
    shop
}

#[test]
fn an_event_is_committed_or_rolled_back_with_its_order() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        let mut shop = shop(&life);
        for (number, commit) in [(1, true), (2, false), (3, true)] {
            let order = shop.transaction().unwrap();
            order
                .execute("INSERT INTO orders VALUES (?1)", [number])
                .unwrap();
            SqliteStore::publish_in(&order, &event(&format!("order-{number}"))).unwrap();
            if commit {
                order.commit().unwrap();
            } else {
                order.rollback().unwrap();
            }
        }
        engine.notify_outbox();
        clock.sleep(Duration::from_millis(10)).await;
        assert_eq!(
            life.receivers.requests().len(),
            2,
            "at once after the notice"
        );
        let sent = life.receivers.requests();
        let events: Vec<_> = sent
            .iter()
            .map(|sent| sent.request.alert.event_id.as_str())
            .collect();
        assert_eq!(events, ["order-1", "order-3"], "in their order");
        crash(engine).await;
    });
}

#[test]
fn an_event_that_nobody_told_of_is_found_and_one_left_by_a_crash_too() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        let mut shop = shop(&life);
        let order = shop.transaction().unwrap();
        SqliteStore::publish_in(&order, &event("quiet")).unwrap();
        order.commit().unwrap();
        clock.sleep(Duration::from_millis(1_100)).await;
        assert_eq!(status(&engine).await.delivered, 1);
        crash(engine).await;

        for number in 0..1_000 {
            let order = shop.transaction().unwrap();
            SqliteStore::publish_in(&order, &event(&format!("down-{number}"))).unwrap();
            order.commit().unwrap();
        }
        let engine = life.start(&clock).await;
        clock.sleep(Duration::from_secs(5)).await;
        assert_eq!(status(&engine).await.delivered, 1_000, "more than one page");
        let left: i64 = shop
            .query_row("SELECT COUNT(*) FROM webhook_outbox", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 0);
        crash(engine).await;
    });
}

/// A fuzzer found that data of `null` was left out, and that a number could lose its last digit.
#[test]
fn data_is_sent_as_it_was_put_into_the_outbox() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        let mut shop = shop(&life);
        let order = shop.transaction().unwrap();
        let numbers = [
            1.002_710_771_172_120_6e-303,
            0.1 + 0.2,
            -0.0,
            f64::MAX,
            5e-324,
        ];
        let given = [json!(null), json!(numbers), json!([u64::MAX, i64::MIN])];
        for (number, data) in given.iter().enumerate() {
            let event = event(&number.to_string()).data(data.clone());
            SqliteStore::publish_in(&order, &event).unwrap();
        }
        order.commit().unwrap();
        engine.notify_outbox();
        clock.sleep(Duration::from_millis(10)).await;
        let sent = life.receivers.requests();
        assert_eq!(sent.len(), given.len());
        for (sent, data) in sent.iter().zip(given) {
            let body = str::from_utf8(&sent.request.alert.body).unwrap();
            let expected = format!("\"Data\":{data}}}");
            assert!(body.ends_with(&expected), "{expected} in {body}");
        }
        crash(engine).await;
    });
}

#[test]
fn an_event_that_is_in_the_outbox_and_was_published_too_is_delivered_once() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        engine.publish(event("twice")).await.unwrap();
        let mut shop = shop(&life);
        let order = shop.transaction().unwrap();
        SqliteStore::publish_in(&order, &event("twice")).unwrap();
        order.commit().unwrap();
        clock.sleep(Duration::from_secs(3)).await;
        assert_eq!(life.receivers.requests().len(), 1);
        crash(engine).await;
    });
}

#[test]
fn what_can_never_be_routed_is_set_aside_and_holds_nobody_back() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let engine = life
            .start_with(&clock, |builder| builder.max_body_bytes(1_000))
            .await;
        let mut shop = shop(&life);
        let order = shop.transaction().unwrap();
        let large = event("large").message("x".repeat(2_000));
        SqliteStore::publish_in(&order, &large).unwrap();
        SqliteStore::publish_in(&order, &event("small")).unwrap();
        let garbage = "INSERT INTO webhook_outbox (event) VALUES ('{')";
        order.execute(garbage, []).unwrap();
        SqliteStore::publish_in(&order, &event("last")).unwrap();
        let invalid = SqliteStore::publish_in(&order, &Event::new("", "client"));
        assert!(matches!(invalid, Err(OutboxError::Invalid(_))));
        order.commit().unwrap();
        clock.sleep(Duration::from_secs(3)).await;
        assert_eq!(life.receivers.requests().len(), 2, "small and last");
        let refused: Vec<String> = shop
            .prepare("SELECT refused FROM webhook_outbox ORDER BY seq")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(refused.len(), 2);
        assert!(refused[0].contains("larger than the limit"), "{refused:?}");
        assert!(status(&engine).await.url.as_str() == HOOK);
        crash(engine).await;
    });
}

/// Rejected events stayed for ever, whatever the size of the file.
#[actix_rt::test]
async fn what_is_set_aside_gives_way_to_the_dead_letters() {
    let life = Life::new();
    let options = SqliteOptions {
        max_bytes: 1_024 * 1_024,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open_with(life.file(), options).unwrap();
    let keep = store.retention().unwrap();
    let mut shop = shop(&life);
    let order = shop.transaction().unwrap();
    for number in 0..300 {
        let large = event(&number.to_string()).message("x".repeat(8_000));
        SqliteStore::publish_in(&order, &large).unwrap();
    }
    order.commit().unwrap();
    for entry in store.outbox(0, 300).await.unwrap() {
        store
            .reject_outbox(entry.seq, "too large".to_owned())
            .await
            .unwrap();
    }
    assert_eq!(left(&shop), 300);
    let now = Timestamp::from_unix_millis(1);
    assert_eq!(store.prune(now, keep).await.unwrap(), 300);
    assert_eq!(left(&shop), 0);
}

#[actix_rt::test]
async fn the_oldest_that_were_set_aside_are_forgotten_once_there_are_too_many() {
    let life = Life::new();
    let store = SqliteStore::open(life.file()).unwrap();
    let mut shop = shop(&life);
    let order = shop.transaction().unwrap();
    for number in 0..10_001 {
        SqliteStore::publish_in(&order, &event(&number.to_string())).unwrap();
    }
    order.commit().unwrap();
    let entries = store.outbox(0, 20_000).await.unwrap();
    for refused in [&entries[0], &entries[9_999]] {
        store
            .reject_outbox(refused.seq, "why".to_owned())
            .await
            .unwrap();
        assert_eq!(left(&shop), 10_001, "not before there are");
    }
    store
        .reject_outbox(entries[10_000].seq, "why".to_owned())
        .await
        .unwrap();
    assert_eq!(left(&shop), 10_001, "10,000 later, not sooner");
    SqliteStore::publish_in(&shop.transaction().unwrap(), &event("rolled back")).unwrap();
    let order = shop.transaction().unwrap();
    SqliteStore::publish_in(&order, &event("last")).unwrap();
    order.commit().unwrap();
    let last = store.outbox(0, 20_000).await.unwrap().pop().unwrap();
    store
        .reject_outbox(last.seq, "why".to_owned())
        .await
        .unwrap();
    assert_eq!(left(&shop), 10_001, "one more, one less");
}

#[actix_rt::test]
async fn what_is_remembered_leaves_the_outbox_though_there_is_no_room() {
    let life = Life::new();
    let options = SqliteOptions {
        backlog: BacklogLimits {
            endpoint_deliveries: 1,
            ..BacklogLimits::default()
        },
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open_with(life.file(), options).unwrap();
    let full = new_event("e", 1, 10);
    store.append(vec![full.clone()].into()).await.unwrap();
    let mut shop = shop(&life);
    let order = shop.transaction().unwrap();
    SqliteStore::publish_in(&order, &event("e")).unwrap();
    order.commit().unwrap();
    let entries = store.outbox(0, 10).await.unwrap();
    let mut again = full;
    again.outbox = Some(entries[0].seq);
    let appended = store.append(vec![again].into()).await.unwrap();
    assert!(matches!(
        appended[0],
        Appended::Remembered { deliveries: 1 }
    ));
    assert!(store.outbox(0, 10).await.unwrap().is_empty());
}

#[actix_rt::test]
async fn whatever_is_taken_in_can_be_read_again() {
    let life = Life::new();
    let store = SqliteStore::open(life.file()).unwrap();
    let mut shop = shop(&life);
    let order = shop.transaction().unwrap();
    let mut refused = 0;
    for depth in 115..135 {
        let nest = |value, _| serde_json::Value::Array(vec![value]);
        let data = (0..depth).fold(serde_json::json!(1), nest);
        match SqliteStore::publish_in(&order, &event(&depth.to_string()).data(data)) {
            Ok(()) => {}
            Err(OutboxError::Invalid(_)) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    order.commit().unwrap();
    let entries = store.outbox(0, 100).await.unwrap();
    assert_eq!(entries.len() + refused, 20);
    assert!(entries.iter().all(|entry| entry.event.is_ok()));
}

fn backlog_of(endpoint_deliveries: u64) -> SqliteOptions {
    SqliteOptions {
        backlog: BacklogLimits {
            endpoint_deliveries,
            ..BacklogLimits::default()
        },
        ..SqliteOptions::default()
    }
}

fn of(client: &str, id: &str) -> Event {
    Event::new("thing.happened", client).id(id)
}

fn left(shop: &Connection) -> u64 {
    let count = "SELECT COUNT(*) FROM webhook_outbox";
    shop.query_row(count, [], |row| row.get(0)).unwrap()
}

/// Replaces the only rule, which matches everything, by one rule for each client.
async fn one_rule_for_each(engine: &Engine) {
    for (client, url) in [("full", HOOK), ("other", OTHER)] {
        let rule = Rule::new(client, "*").client(client).webhook(url).unwrap();
        engine.put_rule(rule).await.unwrap();
    }
    let all = RemoveRule::new("rule");
    engine.router().send(all).await.unwrap().unwrap();
}

const OTHER: &str = "http://other.test/hook";

fn sent_to(life: &Life, url: &str) -> Vec<String> {
    let sent = life.receivers.requests();
    let sent = sent.iter().filter(|sent| sent.request.url.as_str() == url);
    sent.map(|sent| sent.request.alert.event_id.to_string())
        .collect()
}

/// One endpoint had a full backlog, and 5,000 of its events were in the outbox before one of
/// another client. That client's event never came out.
#[test]
fn what_one_endpoint_refuses_does_not_stand_before_what_others_get() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let engine = life.start_on(backlog_of(10), &clock).await;
        one_rule_for_each(&engine).await;
        let pause = PauseEndpoint::new(HOOK);
        engine.supervisor().send(pause).await.unwrap().unwrap();
        let mut shop = shop(&life);
        let order = shop.transaction().unwrap();
        for number in 0..5_000 {
            SqliteStore::publish_in(&order, &of("full", &number.to_string())).unwrap();
        }
        SqliteStore::publish_in(&order, &of("other", "first")).unwrap();
        order.commit().unwrap();
        clock.sleep(Duration::from_millis(1_100)).await;
        assert_eq!(sent_to(&life, OTHER), ["first"], "within a sweep");
        assert_eq!(left(&shop), 4_990);
        for number in 0..60 {
            let order = shop.transaction().unwrap();
            SqliteStore::publish_in(&order, &of("other", &number.to_string())).unwrap();
            order.commit().unwrap();
            clock.sleep(Duration::from_millis(1_100)).await;
            assert_eq!(
                sent_to(&life, OTHER).len(),
                number + 2,
                "and so are later ones"
            );
        }
        assert_eq!(left(&shop), 4_990);
        let resume = ResumeEndpoint::new(HOOK);
        engine.supervisor().send(resume).await.unwrap().unwrap();
        clock.sleep(Duration::from_mins(10)).await;
        assert_eq!(left(&shop), 0, "it comes out once there is room");
        let expected: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
        assert_eq!(sent_to(&life, HOOK), expected, "in its order");
        crash(engine).await;
    });
}

/// Each page with an event that could not be routed cost a second, and all events waited.
#[test]
fn what_is_set_aside_holds_nobody_up() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        let mut shop = shop(&life);
        let order = shop.transaction().unwrap();
        for _ in 0..600 {
            let garbage = "INSERT INTO webhook_outbox (event) VALUES ('{')";
            order.execute(garbage, []).unwrap();
        }
        SqliteStore::publish_in(&order, &event("good")).unwrap();
        order.commit().unwrap();
        clock.sleep(Duration::from_millis(1_100)).await;
        assert_eq!(life.receivers.requests().len(), 1);
        crash(engine).await;
    });
}

#[actix_rt::test]
async fn the_outbox_is_counted_up_to_a_bound_and_shows_what_has_waited_longest() {
    let life = Life::new();
    let store = SqliteStore::open(life.file()).unwrap();
    let mut shop = shop(&life);
    let order = shop.transaction().unwrap();
    for number in 0..5 {
        let at = Timestamp::from_unix_millis(1_000 * number);
        let large = "x".repeat(100_000);
        let event = event(&format!("e-{number}")).occurred_at(at);
        SqliteStore::publish_in(&order, &event.data(large)).unwrap();
    }
    order.commit().unwrap();
    let count = async |at_most| {
        let outbox = store.outbox_summary(at_most).await.unwrap();
        let (waiting, refused) = (outbox.waiting, outbox.refused);
        let counts = [waiting, refused].map(|of| (of.count, of.at_least));
        (counts, outbox.oldest)
    };
    let (counts, oldest) = count(5).await;
    assert_eq!(counts, [(5, false), (0, false)]);
    let oldest = oldest.unwrap();
    assert_eq!((oldest.seq, oldest.event_id.unwrap()), (1, "e-0".into()));
    assert_eq!(oldest.occurred_at, Some(Timestamp::from_unix_millis(0)));
    store
        .reject_outbox(1, "too large".to_owned())
        .await
        .unwrap();
    let (counts, oldest) = count(3).await;
    assert_eq!(counts, [(3, true), (1, true)]);
    assert_eq!(oldest.unwrap().seq, 2);
    assert_eq!(count(4).await.0, [(4, false), (1, false)]);
    shop.execute("UPDATE webhook_outbox SET event = 7 WHERE seq = 2", [])
        .unwrap();
    let oldest = count(10).await.1.unwrap();
    assert_eq!(
        (oldest.seq, oldest.event_id),
        (2, None),
        "it cannot be read"
    );
    shop.execute("DELETE FROM webhook_outbox WHERE refused IS NULL", [])
        .unwrap();
    assert_eq!(count(10).await, ([(0, false), (1, false)], None));
}
