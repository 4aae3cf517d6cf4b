//! Limits that hold: on stored rows, on queries, and on the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{
    Appended, AttemptRecord, BacklogLimits, Change, DeadLetterQuery, DeliveryQuery, MemoryLimits,
    MemoryStore, Redelivery, SqliteOptions, SqliteStore, StoreError,
};
use actix_webhooks::{
    Auth, DeadLetterReason, DeliveryId, Endpoint, Failure, Outcome, Timestamp, WebhookUrl,
};

use super::retention::{delivered, new_event};
use super::support::{HOOK, Life};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(seconds * 1_000)
}

fn url(text: &str) -> WebhookUrl {
    WebhookUrl::parse(text).unwrap()
}

/// Publishes `count` events to the URLs that `to` returns, and returns the deliveries.
async fn publish(
    store: &impl Store,
    prefix: &str,
    count: usize,
    body: usize,
    to: impl Fn(usize) -> WebhookUrl,
) -> Vec<(DeliveryId, WebhookUrl)> {
    let events = (0..count).map(|number| {
        let mut event = new_event(&format!("{prefix}-{number}"), 1, body);
        event.alerts[0].urls = Arc::from([to(number)]);
        event
    });
    let appended = store.append(events.collect()).await.unwrap();
    let id = |(number, appended): (usize, &Appended)| match appended {
        Appended::Stored(ids) => (ids[0], to(number)),
        other => panic!("it is new, and there is room: {other:?}"),
    };
    appended.iter().enumerate().map(id).collect()
}

async fn record(store: &impl Store, deliveries: &[(DeliveryId, WebhookUrl)], outcome: Outcome) {
    let records = deliveries
        .iter()
        .map(|(id, url)| AttemptRecord::new(*id, url.clone(), delivered(*id, 1).summary, outcome));
    store.record(records.collect()).await.unwrap();
}

const DEAD: Outcome = Outcome::DeadLettered {
    reason: DeadLetterReason::Permanent(Failure::Status(400)),
};

fn hook(_: usize) -> WebhookUrl {
    url(HOOK)
}

async fn letters(store: &impl Store, url: Option<WebhookUrl>) -> usize {
    let query = DeadLetterQuery {
        url,
        limit: 1_000,
        ..DeadLetterQuery::default()
    };
    store.dead_letters(query).await.unwrap().len()
}

/// The ids of 100,000 small events filled a file of 10 MiB, and no delivery was on record.
#[actix_rt::test]
async fn event_ids_leave_room_for_what_happened() {
    let life = Life::new();
    let options = SqliteOptions {
        max_bytes: 3 * 1_024 * 1_024,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open_with(life.file(), options).unwrap();
    let keep = store.retention().unwrap();
    let all = publish(&store, "e", 20_000, 10, hook).await;
    record(&store, &all, Outcome::Delivered).await;
    let forgotten = store.prune(at(2), keep).await.unwrap();
    assert!(forgotten < 19_000, "{forgotten} of 20,000");
    let early = store.forgotten_early();
    assert!((1_000..19_000).contains(&early.event_ids), "{early:?}");
    assert_eq!(early.dead_letters, 0);
    let again = vec![new_event("e-19999", 2, 10), new_event("e-0", 2, 10)];
    let again = store.append(again.into()).await.unwrap();
    assert!(
        matches!(again[0], Appended::Remembered { .. }),
        "the newest"
    );
    assert!(matches!(again[1], Appended::Stored(_)), "the oldest");
    // Without need, nothing is forgotten early.
    assert_eq!(store.prune(at(2), keep).await.unwrap(), 0);
    assert_eq!(store.forgotten_early(), early);
}

/// One receiver that answered 400 filled the disk with 90 MiB of dead letters, at a limit of 10
/// MiB.
#[actix_rt::test]
async fn dead_letters_of_one_receiver_do_not_push_out_those_of_the_others() {
    let life = Life::new();
    let options = SqliteOptions {
        max_bytes: 6 * 1_024 * 1_024,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open_with(life.file(), options).unwrap();
    let keep = store.retention().unwrap();
    let other = url("http://other.test/");
    let few = publish(&store, "few", 50, 4_096, |_| other.clone()).await;
    let many = publish(&store, "many", 4_000, 4_096, hook).await;
    let open = publish(&store, "open", 10, 4_096, hook).await;
    record(&store, &few, DEAD).await;
    record(&store, &many, DEAD).await;
    let forgotten = store.prune(at(2), keep).await.unwrap();
    assert!((2_000..4_000).contains(&forgotten), "{forgotten}");
    assert_eq!(store.forgotten_early().dead_letters, forgotten);
    assert_eq!(letters(&store, Some(other)).await, 50, "all of the other's");
    let newest = store
        .dead_letters(DeadLetterQuery::default())
        .await
        .unwrap();
    assert_eq!(newest[0].event_id.as_str(), "many-3999", "the oldest went");
    assert_eq!(store.open_total().await.unwrap(), 10, "what is open stays");
    assert_eq!(
        store
            .queued(&url(HOOK), DeliveryId::new(0), 100)
            .await
            .unwrap()
            .len(),
        open.len()
    );
}

/// URLs contained changing tokens, and their rows stayed for ever.
#[actix_rt::test]
async fn endpoints_of_which_nothing_is_left_are_forgotten() {
    let life = Life::new();
    let store = SqliteStore::open(life.file()).unwrap();
    let keep = store.retention().unwrap();
    let token = |number| url(&format!("http://receiver.test/?token={number}"));
    let all = publish(&store, "e", 1_200, 10, token).await;
    record(&store, &all[1..], Outcome::Delivered).await;
    let file = rusqlite::Connection::open(life.file()).unwrap();
    let endpoints = || -> usize {
        let sql = "SELECT COUNT(*) FROM webhook_endpoint";
        file.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    store.prune(at(2), keep).await.unwrap();
    assert_eq!(endpoints(), 1_200, "what happened there is on record");
    let later = at(8 * 24 * 3_600);
    assert_eq!(store.prune(later, keep).await.unwrap(), 1_199);
    assert_eq!(endpoints(), 1, "one has something open");
    let again = publish(&store, "again", 3, 10, token).await;
    record(&store, &all[..1], Outcome::Delivered).await;
    let queued = store
        .queued(&token(1), DeliveryId::new(0), 10)
        .await
        .unwrap();
    assert_eq!(
        queued[0].id, again[1].0,
        "it comes back with its next delivery"
    );
}

async fn redelivers_within_the_limits(store: &impl Store) {
    let mut all = Vec::new();
    for prefix in ["a", "b", "c", "d", "e"] {
        let some = publish(store, prefix, 1, 10, hook).await;
        record(store, &some, DEAD).await;
        all.extend(some);
    }
    let one = Redelivery::One(all[0].0);
    let mut fresh = 0;
    for _ in 0..100 {
        match store.redeliver(one.clone(), at(2)).await {
            Ok(again) => fresh += again.len(),
            Err(error @ StoreError::Full(_)) => assert!(error.is_transient()),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((fresh, store.open_total().await.unwrap()), (3, 3));
    let every = || Redelivery::DeadLetters(DeadLetterQuery::default());
    let full = store.redeliver(every(), at(2)).await;
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
    assert_eq!(letters(store, None).await, 4, "they stay what they are");
    let queued = store
        .queued(&url(HOOK), DeliveryId::new(0), 2)
        .await
        .unwrap();
    let queued: Vec<_> = queued.iter().map(|open| (open.id, url(HOOK))).collect();
    record(store, &queued, Outcome::Delivered).await;
    let some = store.redeliver(every(), at(2)).await.unwrap();
    assert_eq!(some.len(), 2, "as many as there is room for");
    assert_eq!(letters(store, None).await, 2);
}

/// Redelivering one delivery a hundred times exceeded a backlog limit of five.
#[actix_rt::test]
async fn the_limits_of_the_backlog_hold_for_what_is_redelivered() {
    let life = Life::new();
    let backlog = BacklogLimits {
        endpoint_deliveries: 3,
        ..BacklogLimits::default()
    };
    let options = SqliteOptions {
        backlog,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open_with(life.file(), options).unwrap();
    redelivers_within_the_limits(&store).await;
    counts_the_others_beside_a_removed_one(&store).await;
    let limits = MemoryLimits {
        backlog,
        ..MemoryLimits::default()
    };
    let store = MemoryStore::with_limits(limits);
    redelivers_within_the_limits(&store).await;
    counts_the_others_beside_a_removed_one(&store).await;
}

/// An event for a removed endpoint and another counts for the other.
async fn counts_the_others_beside_a_removed_one(store: &impl Store) {
    let (removed, full) = (url("http://removed.test/"), url("http://full.test/"));
    let signed = Endpoint::new(removed.as_str()).unwrap();
    let signed = signed.auth(Auth::bearer("token"));
    store.apply(Change::PutEndpoint(signed)).await.unwrap();
    store
        .apply(Change::RemoveEndpoint(removed.clone()))
        .await
        .unwrap();
    for (id, is_stored) in [("1", true), ("2", true), ("3", true), ("4", false)] {
        let mut event = new_event(id, 1, 10);
        event.alerts[0].urls = [removed.clone(), full.clone()].into();
        let appended = store.append(vec![event].into()).await.unwrap();
        let stored = matches!(appended[0], Appended::StoredInPart { .. });
        assert_eq!(stored, is_stored, "{id}: {appended:?}");
    }
}

/// A long query kept the log from starting again, and it grew to 549 MiB.
#[actix_rt::test]
async fn a_question_that_takes_too_long_is_broken_off() {
    let life = Life::new();
    let options = SqliteOptions {
        longest_question: Duration::ZERO,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open_with(life.file(), options).unwrap();
    let all = publish(&store, "e", 3_000, 10, hook).await;
    record(&store, &all, DEAD).await;
    // There is no index by type.
    let rule_type = Some("unknown".to_owned());
    let query = DeliveryQuery {
        rule_type: rule_type.clone(),
        ..DeliveryQuery::default()
    };
    let error = store.deliveries(query).await.unwrap_err();
    assert!(matches!(error, StoreError::TookTooLong), "{error:?}");
    assert!(!error.is_transient() && error.to_string().contains("narrow"));
    // A filter runs as a query too, so the writer looks at nothing for it.
    let query = DeadLetterQuery {
        rule_type,
        ..DeadLetterQuery::default()
    };
    let again = store.redeliver(Redelivery::DeadLetters(query.clone()), at(2));
    assert!(matches!(again.await, Err(StoreError::TookTooLong)));
    assert!(matches!(
        store.discard(query).await,
        Err(StoreError::TookTooLong)
    ));
    publish(&store, "later", 1, 10, hook).await;
    assert_eq!(
        store
            .queued(&url(HOOK), DeliveryId::new(0), 9)
            .await
            .unwrap()
            .len(),
        1
    );
}

/// A shell was left open in a transaction. Nobody was told, and the writer stopped for 100 ms at
/// every other commit.
#[actix_rt::test]
#[expect(clippy::disallowed_methods, reason = "the writer's time is real")]
async fn a_reader_that_keeps_the_log_from_being_moved_is_told_of_and_stalls_nobody() {
    let life = Life::new();
    let options = SqliteOptions {
        log_bytes: 64 * 1_024,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open_with(life.file(), options).unwrap();
    publish(&store, "first", 1, 10, hook).await;
    let shell = rusqlite::Connection::open(life.file()).unwrap();
    shell
        .execute_batch("BEGIN; SELECT * FROM webhook_open;")
        .unwrap();
    let begun = Instant::now();
    let mut commits = 0;
    while store.condition().is_none() || commits < 150 {
        publish(&store, &format!("e-{commits}"), 1, 20_000, hook).await;
        commits += 1;
        assert!(commits < 20_000, "nobody is told");
    }
    let told = store.condition().unwrap();
    assert!(told.contains("since 20") && told.contains("KiB"), "{told}");
    let each = begun.elapsed() / commits;
    assert!(each < Duration::from_millis(40), "{each:?} for each commit");
    shell.execute_batch("COMMIT").unwrap();
    let mut looks = 0;
    while store.condition().is_some() {
        publish(&store, &format!("later-{looks}"), 1, 10, hook).await;
        looks += 1;
        assert!(looks < 100_000, "it is told for ever");
    }
}
