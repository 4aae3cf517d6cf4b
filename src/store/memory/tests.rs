use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::*;
use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::deliveries::outcome::{DeadLetterReason, Failure, Outcome};
use crate::store::{Alert, Appended, BacklogLimits, BacklogUnit, NewAlert, Overflow};

const HOOK: &str = "http://a.test/";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(seconds * 1_000)
}

fn url(text: &str) -> WebhookUrl {
    WebhookUrl::parse(text).unwrap()
}

fn event(id: &str, body: usize) -> NewEvent {
    let body = Bytes::from(vec![b'x'; body]);
    let alert = Alert::new(id.into(), "r".into(), "t", "c".into(), body);
    let alerts = vec![NewAlert::new(alert, [url(HOOK)])];
    NewEvent::new(id.into(), "c".into(), at(0), alerts)
}

/// Calls the store, which answers at once.
fn now<T>(call: StoreFuture<T>) -> T {
    call.now_or_never().unwrap().unwrap()
}

fn append(store: &MemoryStore, event: NewEvent) -> Appended {
    now(store.append(Arc::new([event]))).remove(0)
}

/// Accepts an event and ends its delivery.
fn end(store: &MemoryStore, id: &str, outcome: Outcome) -> DeliveryId {
    let Appended::Stored(ids) = append(store, event(id, 10)) else {
        panic!("it is new and there is room");
    };
    let summary = AttemptSummary::new(1, at(1), Duration::ZERO);
    let record = AttemptRecord::new(ids[0], url(HOOK), summary, outcome);
    now(store.record(Arc::new([record])));
    ids[0]
}

const DEAD: Outcome = Outcome::DeadLettered {
    reason: DeadLetterReason::Permanent(Failure::Status(400)),
};

#[test]
fn bytes_are_limited_too() {
    let backlog = BacklogLimits {
        endpoint_bytes: 100,
        ..BacklogLimits::default()
    };
    let store = MemoryStore::with_limits(MemoryLimits {
        backlog,
        ..MemoryLimits::default()
    });
    assert!(matches!(
        append(&store, event("a", 60)),
        Appended::Stored(_)
    ));
    let full = Overflow::new(Some(url(HOOK)), BacklogUnit::Bytes, 60, 100);
    assert_eq!(append(&store, event("b", 41)), Appended::Full(full));
    assert!(matches!(
        append(&store, event("c", 40)),
        Appended::Stored(_)
    ));
}

#[test]
fn the_oldest_that_have_ended_are_forgotten_beyond_the_limits() {
    let store = MemoryStore::with_limits(MemoryLimits {
        dead_letters: 2,
        delivered: 3,
        ..MemoryLimits::default()
    });
    let dead: Vec<_> = ["1", "2", "3"].map(|id| end(&store, id, DEAD)).into();
    let letters = now(store.dead_letters(DeadLetterQuery::default()));
    let letters: Vec<_> = letters.iter().map(|letter| letter.delivery_id).collect();
    assert_eq!(letters, [dead[2], dead[1]]);
    let delivered = ["4", "5", "6", "7"].map(|id| end(&store, id, Outcome::Delivered));
    let listed = now(store.deliveries(DeliveryQuery::default()));
    let listed: Vec<_> = listed.iter().map(|delivery| delivery.id).collect();
    let expected = [delivered[3], delivered[2], delivered[1], dead[2], dead[1]];
    assert_eq!(listed, expected);
}

#[test]
fn what_there_is_room_for_is_redelivered() {
    let backlog = BacklogLimits {
        endpoint_deliveries: 1,
        ..BacklogLimits::default()
    };
    let store = MemoryStore::with_limits(MemoryLimits {
        backlog,
        ..MemoryLimits::default()
    });
    end(&store, "1", DEAD);
    let second = end(&store, "2", DEAD);
    let all = || Redelivery::DeadLetters(DeadLetterQuery::default());
    assert_eq!(now(store.redeliver(all(), at(2))).len(), 1, "the oldest");
    let letters = now(store.dead_letters(DeadLetterQuery::default()));
    assert_eq!(letters[0].delivery_id, second);
    let full = store.redeliver(all(), at(2)).now_or_never().unwrap();
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
}

#[test]
fn an_endpoint_is_forgotten_when_its_hold_is_over() {
    let store = MemoryStore::new();
    let Appended::Stored(ids) = append(&store, event("e", 10)) else {
        panic!("it is new");
    };
    let summary = AttemptSummary::new(1, at(1), Duration::ZERO);
    let mut record = AttemptRecord::new(ids[0], url(HOOK), summary, Outcome::Delivered);
    record.hold_until = Some(at(100));
    now(store.record(Arc::new([record])));
    let keep = Retention {
        ended: Duration::from_hours(1),
        dead_letters: Duration::from_hours(1),
        event_ids: Duration::from_hours(1),
    };
    let held = || now(store.endpoint_summary(&url(HOOK))).held_until;
    now(store.prune(at(100), keep));
    assert_eq!(held(), Some(at(100)));
    now(store.prune(at(101), keep));
    assert_eq!(held(), None);
    now(store.prune(at(3_601), keep));
    assert_eq!(now(store.deliveries(DeliveryQuery::default())).len(), 1);
    assert_eq!(now(store.prune(at(3_602), keep)), 1);
}
