//! A changed wall clock, and the rows that it has left in files: nothing is forgotten too early,
//! and nothing stays for ever.

use std::time::Duration;

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{Appended, DeadLetterQuery, DeliveryQuery, SqliteStore, StoredClock};
use actix_webhooks::testing::{Reply, SimClock};

use super::retention::{at, deliver, new_event};
use super::support::{HOOK, Life, crash, event};

const MONTH: Duration = Duration::from_hours(31 * 24);

/// For a minute the clock was a month ahead, and every dead letter was forgotten.
#[test]
fn a_month_ahead_for_a_minute_forgets_nothing() {
    let life = Life::new();
    life.receivers
        .on(HOOK, [Reply::status(400), Reply::status(200)]);
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        for number in 0..3 {
            engine.publish(event(&number.to_string())).await.unwrap();
        }
        clock.sleep(Duration::from_secs(10)).await;
        clock.set_forward(MONTH);
        clock.sleep(Duration::from_secs(90)).await;
        clock.set_back(MONTH);
        clock.sleep(Duration::from_secs(90)).await;
        crash(engine).await;
    });
    let kept = async {
        let store = SqliteStore::open(life.file()).unwrap();
        let dead = store.dead_letters(DeadLetterQuery::default()).await;
        let all = store.deliveries(DeliveryQuery::default()).await;
        (dead.unwrap().len(), all.unwrap().len())
    };
    assert_eq!(actix_rt::System::new().block_on(kept), (1, 3));
}

/// A file may hold rows that were written while a clock was a month ahead. All rows after the first
/// of them stayed until the month was over.
#[actix_rt::test]
async fn rows_from_the_future_do_not_stop_pruning() {
    let life = Life::new();
    let store = SqliteStore::open(life.file()).unwrap();
    let future = i64::try_from(MONTH.as_secs()).unwrap();
    deliver(&store, "before", 10, 1).await;
    deliver(&store, "future", 1_100, future).await;
    deliver(&store, "after", 600, 20).await;
    deliver(&store, "young", 5, 1_000).await;
    let mut keep = store.retention().unwrap();
    keep.ended = Duration::from_secs(500);
    keep.event_ids = keep.ended;
    assert_eq!(store.prune(at(1_000), keep).await.unwrap(), 610);
    let ids = ["before-9", "future-9", "after-599", "young-4"];
    let again = ids.map(|id| new_event(id, 1_000, 10)).into_iter();
    let again = store.append(again.collect()).await.unwrap();
    let forgotten = |one: &Appended| matches!(one, Appended::Stored(_));
    let forgotten: Vec<bool> = again.iter().map(forgotten).collect();
    assert_eq!(forgotten, [true, false, true, false]);
    // Once their time has come, they are pruned like any others.
    let pruned = store.prune(at(future + 501), keep).await.unwrap();
    assert_eq!(pruned, 1_105);
}

/// The file holds what the next engine must know of the time, however the previous engine ended.
#[actix_rt::test]
async fn a_file_knows_how_the_clock_stands_and_when_it_was_written() {
    let life = Life::new();
    let store = SqliteStore::open(life.file()).unwrap();
    deliver(&store, "e", 1, 7).await;
    store.keep_clock(-3_600_000).await.unwrap();
    drop(store);
    let store = SqliteStore::open(life.file()).unwrap();
    let clock = store.clock().await.unwrap();
    let expected = StoredClock::new(-3_600_000, Some(at(7)));
    assert_eq!(clock, expected);
    // Records alone are noted too, though not every one.
    let appended = store.append(vec![new_event("retried", 8, 10)].into()).await;
    let Appended::Stored(ids) = &appended.unwrap()[0] else {
        panic!("it is new");
    };
    let record = super::retention::delivered(ids[0], 10);
    store.record(vec![record].into()).await.unwrap();
    let latest = store.clock().await.unwrap().latest;
    assert_eq!(latest, Some(at(10)));
}
