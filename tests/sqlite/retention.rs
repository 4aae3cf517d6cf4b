//! Retention: what is kept, how long it is kept, and that pruning frees space.

use std::sync::Arc;
use std::time::Duration;

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{
    Alert, Appended, AttemptRecord, BacklogLimits, DeadLetterQuery, DeliveryQuery, NewAlert,
    NewEvent, SqliteOptions, SqliteStore, WhenFull,
};
use actix_webhooks::testing::SimClock;
use actix_webhooks::{
    AttemptSummary, DeadLetterReason, DeliveryId, EventId, ListDeliveries, Outcome, RuleId,
    Timestamp, WebhookUrl,
};
use bytes::Bytes;

use super::support::{HOOK, Life, crash, event};

fn url() -> WebhookUrl {
    WebhookUrl::parse(HOOK).unwrap()
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(seconds * 1_000)
}

pub(crate) fn new_event(id: &str, seconds: i64, body: usize) -> NewEvent {
    let (event_id, rule_id) = (EventId::from(id), RuleId::from("rule"));
    let body = Bytes::from(vec![b'x'; body]);
    let alert = Alert::new(event_id.clone(), rule_id, "type", "client".into(), body);
    let alerts = vec![NewAlert::new(alert, [url()])];
    NewEvent::new(event_id, "client".into(), at(seconds), alerts)
}

pub(crate) fn delivered(id: DeliveryId, seconds: i64) -> AttemptRecord {
    let summary = AttemptSummary::new(1, at(seconds), Duration::from_millis(3));
    let mut record = AttemptRecord::new(id, url(), summary, Outcome::Delivered);
    record.excerpt = Bytes::from_static(b"ok");
    record
}

/// Delivers `count` events of 4 KiB.
pub(crate) async fn deliver(store: &SqliteStore, prefix: &str, count: usize, seconds: i64) {
    let events = (0..count).map(|number| new_event(&format!("{prefix}-{number}"), seconds, 4_096));
    for appended in store.append(events.collect()).await.unwrap() {
        let Appended::Stored(ids) = appended else {
            panic!("it is new");
        };
        let records = ids.into_iter().map(|id| delivered(id, seconds));
        store.record(records.collect()).await.unwrap();
    }
}

async fn listed(store: &SqliteStore) -> usize {
    let query = DeliveryQuery {
        limit: 1_000,
        ..DeliveryQuery::default()
    };
    store.deliveries(query).await.unwrap().len()
}

#[actix_rt::test]
async fn the_oldest_goes_first_when_the_file_is_too_large_and_the_file_shrinks() {
    let life = Life::new();
    let options = || SqliteOptions {
        max_bytes: 6 * 1_024 * 1_024,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open_with(life.file(), options()).unwrap();
    let keep = store.retention().unwrap();
    deliver(&store, "old", 3_000, 1).await;
    deliver(&store, "new", 500, 2).await;
    drop(store);
    assert!(length(&life) > 20 * 1_024 * 1_024, "{}", length(&life));
    let store = SqliteStore::open_with(life.file(), options()).unwrap();
    let forgotten = store.prune(at(3), keep).await.unwrap();
    assert!((1_000..3_500).contains(&forgotten), "{forgotten}");
    let newest = store.deliveries(DeliveryQuery::default()).await.unwrap();
    assert_eq!(newest[0].event_id.as_str(), "new-499");
    assert_eq!(store.prune(at(3), keep).await.unwrap(), 0, "small enough");
    // The file shrinks when another thread moves the log into it (WAL checkpoint). Some room is
    // kept for later rows.
    let mut looks = 0;
    while length(&life) > 15 * 1_024 * 1_024 {
        store.flush().await.unwrap();
        looks += 1;
        assert!(looks < 200_000, "it stays at {} bytes", length(&life));
    }
}

fn length(life: &Life) -> u64 {
    std::fs::metadata(life.file()).unwrap().len()
}

#[actix_rt::test]
async fn pruning_by_age_takes_many_steps_and_leaves_what_is_young() {
    let life = Life::new();
    let store = SqliteStore::open(life.file()).unwrap();
    deliver(&store, "old", 1_300, 1).await;
    deliver(&store, "new", 10, 1_000).await;
    let mut keep = store.retention().unwrap();
    keep.ended = Duration::from_secs(500);
    keep.event_ids = keep.ended;
    assert_eq!(store.prune(at(1_000), keep).await.unwrap(), 1_300);
    assert_eq!(listed(&store).await, 10);
    let again = vec![new_event("old-0", 1_000, 10), new_event("new-0", 1_000, 10)];
    let again = store.append(again.into()).await.unwrap();
    assert!(matches!(again[0], Appended::Stored(_)), "forgotten");
    assert!(matches!(again[1], Appended::Remembered { deliveries: 1 }));
}

#[actix_rt::test]
async fn the_limits_of_the_backlog_hold_after_reopening() {
    let life = Life::new();
    let options = |when_full| SqliteOptions {
        backlog: BacklogLimits {
            endpoint_deliveries: 3,
            total_bytes: 1_000,
            when_full,
            ..BacklogLimits::default()
        },
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open_with(life.file(), options(WhenFull::Refuse)).unwrap();
    let batch = |ids: &[&str]| {
        ids.iter()
            .map(|id| new_event(id, 1, 300))
            .collect::<Arc<_>>()
    };
    let first = store.append(batch(&["a", "b"])).await.unwrap();
    assert!(first.iter().all(|one| matches!(one, Appended::Stored(_))));
    drop(store);

    let store = SqliteStore::open_with(life.file(), options(WhenFull::Refuse)).unwrap();
    let second = store.append(batch(&["c", "d", "a"])).await.unwrap();
    assert!(matches!(second[0], Appended::Stored(_)), "{second:?}");
    assert!(matches!(&second[1], Appended::Full(_)), "{second:?}");
    assert!(
        matches!(second[2], Appended::Remembered { deliveries: 1 }),
        "what is remembered needs no room: {second:?}"
    );
    drop(store);

    let store = SqliteStore::open_with(life.file(), options(WhenFull::DeadLetter)).unwrap();
    let third = store.append(batch(&["d"])).await.unwrap();
    let [Appended::StoredInPart { ids, dead }] = &third[..] else {
        panic!("its delivery is given up: {third:?}");
    };
    assert_eq!(*dead, [(ids[0], DeadLetterReason::BacklogFull)]);
    let letters = store
        .dead_letters(DeadLetterQuery::default())
        .await
        .unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(store.open_total().await.unwrap(), 3);
}

#[actix_rt::test]
async fn a_file_that_cannot_shrink_is_pruned_all_the_same() {
    let life = Life::new();
    let shop = rusqlite::Connection::open(life.file()).unwrap();
    // In a file without tables, the store would enable auto-vacuum, and the file could shrink.
    shop.execute("CREATE TABLE orders (number INTEGER)", [])
        .unwrap();
    drop(shop);
    let store = SqliteStore::open(life.file()).unwrap();
    deliver(&store, "e", 3_000, 1).await;
    let mut keep = store.retention().unwrap();
    keep.ended = Duration::ZERO;
    assert_eq!(store.prune(at(1_000), keep).await.unwrap(), 3_000);
}

#[actix_rt::test]
async fn one_of_the_oldest_that_has_just_ended_does_not_take_the_young_with_it() {
    let life = Life::new();
    let options = SqliteOptions {
        max_bytes: 12 * 1_024 * 1_024,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open_with(life.file(), options).unwrap();
    let retried = store.append(vec![new_event("retried", 1, 4_096)].into());
    let Appended::Stored(retried) = &retried.await.unwrap()[0] else {
        panic!("it is new");
    };
    deliver(&store, "e", 3_000, 1).await;
    store
        .record(vec![delivered(retried[0], 5_000)].into())
        .await
        .unwrap();
    let keep = store.retention().unwrap();
    let forgotten = store.prune(at(5_001), keep).await.unwrap();
    assert!((500..2_500).contains(&forgotten), "{forgotten} of 3,001");
    let newest = store.deliveries(DeliveryQuery::default()).await.unwrap();
    assert_eq!(newest[0].event_id.as_str(), "e-2999");
}

#[test]
fn an_engine_forgets_what_is_old_by_itself() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let options = SqliteOptions {
            keep_ended: Duration::from_secs(90),
            ..SqliteOptions::default()
        };
        let engine = life.start_on(options, &clock).await;
        engine.publish(event("e")).await.unwrap();
        let count = async || {
            let listed = engine.supervisor().send(ListDeliveries::default()).await;
            listed.unwrap().unwrap().len()
        };
        clock.sleep(Duration::from_mins(1)).await;
        assert_eq!(count().await, 1, "not old enough");
        clock.sleep(Duration::from_mins(2)).await;
        assert_eq!(count().await, 0);
        crash(engine).await;
    });
}
