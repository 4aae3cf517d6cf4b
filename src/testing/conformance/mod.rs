//! A conformance suite for every store.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite of tests"
)]

mod attempts;
mod fixtures;
mod operators;
mod removed;
mod searching;
mod surveying;

use bytes::Bytes;

use crate::domain::deliveries::content_type::ContentType;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::deliveries::outcome::{Failure, Outcome};
use crate::domain::deliveries::trace::AnswerTrace;
use crate::domain::policy::health::{DisabledReason, Health};
use crate::domain::value::id::{CompanyId, DeliveryId};
use crate::store::{
    Agreed, Appended, AttemptRecord, Change, ContentDigest, DeadLetterQuery, DeliveryQuery,
    NewEvent, PageLimit, Progress, Redelivery, Stopped, Store, StoreError,
};

use self::attempts::lists_the_attempts_of_an_endpoint;
use self::fixtures::{
    A, B, alert, append, at, dead, delivered, event, failed, ids, progress, record, url,
};
use self::operators::{
    buries_what_a_removed_endpoint_had_open, counts_its_outbox, discards_dead_letters,
    ends_open_deliveries_by_hand, keeps_how_the_clock_stands, keeps_the_configuration,
    keeps_who_stopped_an_endpoint, listed, lists_newest_first_in_pages,
    lists_what_a_query_asks_for, makes_a_waiting_delivery_due, prunes_what_has_ended,
    redelivers_as_fresh_deliveries, redelivers_the_oldest_first,
};

use self::removed::gives_up_what_comes_for_a_removed_endpoint;
use self::searching::{finds_an_event_by_its_id, finds_what_any_query_asks_for};
use self::surveying::surveys_what_a_redelivery_finds;

/// Checks that a store keeps the contract of [`Store`]. `make` returns a new empty store for each
/// call.
///
/// # Panics
/// If the store breaks the contract; the message says where.
pub async fn store_conformance<S: Store>(make: impl AsyncFn() -> S) {
    accepts_each_event_once(&make().await).await;
    Box::pin(keeps_the_event_ids_of_clients_apart(&make().await)).await;
    reads_queued_deliveries_in_pages(&make().await).await;
    ends_pages_at_a_number_of_bytes(&make().await).await;
    keeps_what_waits_and_loads_it_back(&make().await).await;
    is_claimed_by_one_engine_at_a_time(&make().await).await;
    ends_deliveries_once(&make().await).await;
    keeps_every_attempt(&make().await).await;
    keeps_how_long_an_endpoint_is_held_back(&make().await).await;
    keeps_what_was_agreed_on(&make().await).await;
    keeps_the_health_of_an_endpoint(&make().await).await;
    discards_dead_letters(&make().await).await;
    keeps_one_callers_mistake_from_the_others(&make().await).await;
    counts_backlogs_by_endpoint(&make().await).await;
    lists_endpoints_of_which_only_a_state_is_stored(&make().await).await;
    lists_newest_first_in_pages(&make().await).await;
    lists_what_a_query_asks_for(&make().await).await;
    Box::pin(finds_what_any_query_asks_for(&make().await)).await;
    finds_an_event_by_its_id(&make().await).await;
    lists_the_attempts_of_an_endpoint(&make().await).await;
    redelivers_as_fresh_deliveries(&make().await).await;
    Box::pin(surveys_what_a_redelivery_finds(&make().await)).await;
    buries_what_a_removed_endpoint_had_open(&make().await).await;
    Box::pin(gives_up_what_comes_for_a_removed_endpoint(&make().await)).await;
    Box::pin(ends_open_deliveries_by_hand(&make().await)).await;
    Box::pin(makes_a_waiting_delivery_due(&make().await)).await;
    Box::pin(redelivers_the_oldest_first(&make().await)).await;
    Box::pin(keeps_the_configuration(&make().await)).await;
    Box::pin(keeps_who_stopped_an_endpoint(&make().await)).await;
    counts_its_outbox(&make().await).await;
    prunes_what_has_ended(&make().await).await;
    keeps_how_the_clock_stands(&make().await).await;
}

async fn accepts_each_event_once(store: &impl Store) {
    let batch = vec![
        event("e1", &["r1", "r2"], &[A, B]),
        event("e2", &[], &[]),
        event("e1", &["r1"], &[A]),
    ];
    let appended = store.append(batch.into()).await.unwrap();
    let [
        Appended::Stored(first),
        Appended::Stored(second),
        Appended::Remembered { deliveries: 4 },
    ] = &appended[..]
    else {
        panic!("one batch with the same event twice: {appended:?}");
    };
    assert_eq!((first.len(), second.len()), (4, 0));
    assert!(
        first.is_sorted() && first[0] > DeliveryId::new(0),
        "ids ascend from 1: {first:?}"
    );
    let again = store
        .append(vec![event("e1", &["r1"], &[A])].into())
        .await
        .unwrap();
    assert_eq!(again, [Appended::Remembered { deliveries: 4 }]);
    assert_eq!(store.open_total().await.unwrap(), 4);
    let next = ids(store
        .append(vec![event("e3", &["r1"], &[A])].into())
        .await
        .unwrap());
    assert!(next[0] > first[3], "ids ascend across appends");
}

async fn keeps_the_event_ids_of_clients_apart(store: &impl Store) {
    let content = |byte| Some(ContentDigest::from_bytes([byte; 16]));
    let of = |client: &str, content, alerts_are_its_own| {
        let mut event = event("e1", &["r1"], &[A]);
        for new in &mut event.alerts {
            let mut alert = (*new.alert).clone();
            alert.client_id = client.into();
            new.alert = alert.into();
        }
        NewEvent {
            client_id: client.into(),
            content,
            alerts_are_its_own,
            ..event
        }
    };
    let append = async |event| store.append(vec![event].into()).await.unwrap().remove(0);
    let first = ids(vec![append(of("c1", content(1), false)).await]);
    let same = Appended::Remembered { deliveries: 1 };
    assert_eq!(append(of("c1", content(1), false)).await, same);
    assert_eq!(append(of("c1", None, false)).await, same);
    let taken = append(of("c1", content(2), false)).await;
    assert_eq!(taken, Appended::IdTaken);
    let shared = append(of("c2", content(2), false)).await;
    assert_eq!(
        shared,
        Appended::UsedByAnother,
        "its alerts would have ids of c1's"
    );
    let second = ids(vec![append(of("c2", content(2), true)).await]);
    assert_eq!(append(of("c2", content(2), false)).await, same);
    assert_eq!(append(of("c2", content(1), true)).await, Appended::IdTaken);
    assert_eq!(
        append(of("c1", content(1), true)).await,
        same,
        "c1 still has it"
    );
    let third = ids(vec![append(of("c3", None, true)).await]);
    assert_eq!(append(of("c3", content(3), true)).await, same);
    assert_eq!(store.open_total().await.unwrap(), 3);
    let query = |client: Option<&str>| DeliveryQuery {
        event_id: Some("e1".into()),
        client_id: client.map(Into::into),
        ..DeliveryQuery::default()
    };
    let all = [third[0], second[0], first[0]];
    assert_eq!(listed(store, query(None)).await, all);
    assert_eq!(listed(store, query(Some("c2"))).await, second);
}

async fn reads_queued_deliveries_in_pages(store: &impl Store) {
    let all = append(store, 5, A).await;
    append(store, 1, B).await;
    let first = store.queued(&url(A), DeliveryId::new(0), 3).await.unwrap();
    assert_eq!(
        first.iter().map(|open| open.id).collect::<Vec<_>>(),
        all[..3]
    );
    let rest = store.queued(&url(A), all[2], 10).await.unwrap();
    assert_eq!(
        rest.iter().map(|open| open.id).collect::<Vec<_>>(),
        all[3..]
    );
    assert_eq!(rest[0].alert, alert("a-3", "r", Some("company")));
    assert_eq!(
        (rest[0].progress, rest[0].due_at),
        (Progress::default(), None)
    );
    assert!(
        store
            .queued(&url("http://nobody.test/"), DeliveryId::new(0), 10)
            .await
            .unwrap()
            .is_empty()
    );
}

/// A store that ends pages only by their number of deliveries may ignore the bytes and read all.
async fn ends_pages_at_a_number_of_bytes(store: &impl Store) {
    let all = append(store, 5, A).await;
    let limit = |deliveries, bytes| PageLimit { deliveries, bytes };
    let page = async |after, limit| {
        let page = store.queued_within(&url(A), after, limit).await.unwrap();
        let ids: Vec<_> = page.deliveries.iter().map(|open| open.id).collect();
        (ids, page.more)
    };
    let start = DeliveryId::new(0);
    // Each body has two bytes.
    let by_bytes = page(start, limit(5, 3)).await;
    assert!(by_bytes.1, "more may follow");
    assert!(
        [&all[..2], &all[..]].contains(&&by_bytes.0[..]),
        "{by_bytes:?}"
    );
    let (one, _) = page(start, limit(5, 1)).await;
    assert_eq!(one[0], all[0], "one at least");
    assert_eq!(page(start, limit(3, 100)).await, (all[..3].to_vec(), true));
    assert_eq!(
        page(all[2], limit(3, 100)).await,
        (all[3..].to_vec(), false)
    );
    let loaded = store.load_within(&url(A), all.clone(), 3).await.unwrap();
    let mut ids: Vec<_> = loaded.deliveries.iter().map(|open| open.id).collect();
    ids.extend(&loaded.rest);
    assert_eq!(ids, all, "each is read, or left for the next page");
    store
        .record(vec![delivered(all[0], A)].into())
        .await
        .unwrap();
    let loaded = store
        .load_within(&url(A), all[..2].to_vec(), 1)
        .await
        .unwrap();
    assert_eq!(loaded.deliveries.len(), 1, "the first that is open is read");
    assert!(loaded.rest.is_empty());
}

async fn is_claimed_by_one_engine_at_a_time(store: &impl Store) {
    let claim = store.claim().await.unwrap();
    if let Err(error) = store.claim().await.map(drop) {
        assert!(matches!(error, StoreError::InUse(_)), "{error:?}");
        assert!(!error.is_transient());
    }
    drop(claim);
    drop(store.claim().await.unwrap());
}

async fn keeps_what_waits_and_loads_it_back(store: &impl Store) {
    let all = append(store, 3, A).await;
    store
        .record(vec![failed(all[0], A, 1, 30), failed(all[1], A, 1, 20)].into())
        .await
        .unwrap();
    let waiting = store.waiting(&url(A), 10).await.unwrap();
    let due: Vec<_> = waiting
        .iter()
        .map(|waiting| (waiting.id, waiting.due_at))
        .collect();
    assert_eq!(
        due,
        [(all[1], at(20)), (all[0], at(30))],
        "those due first come first"
    );
    assert_eq!(waiting[0].company_id, Some(CompanyId::from("company")));
    assert_eq!(store.waiting(&url(A), 1).await.unwrap().len(), 1);
    let queued = store.queued(&url(A), DeliveryId::new(0), 10).await.unwrap();
    assert_eq!(queued.len(), 1, "what was attempted is no longer queued");
    let loaded = store.load(&url(A), vec![all[1], all[0]]).await.unwrap();
    assert_eq!(
        loaded.iter().map(|open| open.id).collect::<Vec<_>>(),
        [all[1], all[0]],
        "in the order asked for"
    );
    assert_eq!(loaded[0].progress, progress(1));
    assert_eq!(loaded[0].due_at, Some(at(20)));
    assert_eq!(loaded[0].alert.body, Bytes::from_static(b"{}"));
}

async fn ends_deliveries_once(store: &impl Store) {
    let all = append(store, 2, A).await;
    store
        .record(vec![delivered(all[0], A), dead(all[1], A)].into())
        .await
        .unwrap();
    // The same records again, as after a lost answer, and a late one for an ended delivery.
    store
        .record(
            vec![
                delivered(all[0], A),
                dead(all[1], A),
                failed(all[0], A, 2, 90),
            ]
            .into(),
        )
        .await
        .unwrap();
    assert_eq!(store.open_total().await.unwrap(), 0);
    assert!(
        store
            .queued(&url(A), DeliveryId::new(0), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(store.waiting(&url(A), 10).await.unwrap().is_empty());
    assert!(
        store.load(&url(A), all.clone()).await.unwrap().is_empty(),
        "what has ended is not loaded"
    );
    let letters = store
        .dead_letters(DeadLetterQuery::default())
        .await
        .unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].delivery_id, letters[0].attempts_made),
        (all[1], 1)
    );
    assert_eq!(
        letters[0].reason,
        DeadLetterReason::Permanent(Failure::Status(400))
    );
}

async fn keeps_one_callers_mistake_from_the_others(store: &impl Store) {
    let unknown = DeliveryId::new(1_000_000);
    let mut calls = Vec::new();
    for number in 0..40 {
        let batch = vec![event(&format!("e-{number}"), &["r"], &[A])];
        calls.push((
            store.append(batch.into()),
            store.redeliver(Redelivery::One(unknown), at(1)),
        ));
    }
    let mut all = Vec::new();
    for (append, redeliver) in calls {
        all.extend(ids(append.await.unwrap()));
        let refused = redeliver.await;
        assert!(
            matches!(refused, Err(StoreError::UnknownDelivery(id)) if id == unknown),
            "{refused:?}"
        );
    }
    assert!(all.is_sorted_by(|one, next| one < next), "{all:?}");
    assert_eq!(store.open_total().await.unwrap(), 40);
    assert_eq!(store.endpoint_summary(&url(A)).await.unwrap().open, 40);
    let queued = store.queued(&url(A), DeliveryId::new(0), 100).await;
    let queued: Vec<_> = queued.unwrap().iter().map(|delivery| delivery.id).collect();
    assert_eq!(queued, all);
}

async fn keeps_every_attempt(store: &impl Store) {
    let all = append(store, 2, A).await;
    let mut first = AttemptRecord {
        excerpt: Bytes::from_static(b"busy"),
        ..failed(all[0], A, 1, 60)
    };
    first.summary.redirects = 2;
    first.summary.sent_twice = true;
    let summary = first.summary;
    let trace = AnswerTrace::new()
        .content_type(ContentType::parse(b"text/html"))
        .address("203.0.113.7:443".parse().ok());
    first.trace = Some(Box::new(trace.clone()));
    store.record(vec![first.clone()].into()).await.unwrap();
    // The same record again, as after a lost answer.
    store.record(vec![first].into()).await.unwrap();
    let open = store.attempts(all[0]).await.unwrap();
    assert_eq!(open.len(), 1, "attempts of an open delivery");
    assert_eq!(
        (open[0].excerpt.as_str(), open[0].summary),
        ("busy", summary)
    );
    assert_eq!(open[0].trace, trace);
    let shown = store.deliveries(DeliveryQuery::default()).await.unwrap();
    assert_eq!(shown[1].last_attempt, Some(summary), "of an open delivery");
    store
        .record(vec![record(all[0], A, 2, Outcome::Delivered)].into())
        .await
        .unwrap();
    let ended = store.attempts(all[0]).await.unwrap();
    let numbers: Vec<_> = ended.iter().map(|attempt| attempt.summary.number).collect();
    assert_eq!(numbers, [1, 2], "attempts of one that has ended");
    let traces: Vec<_> = ended.iter().map(|attempt| &attempt.trace).collect();
    assert_eq!(traces, [&trace, &AnswerTrace::new()]);
    assert!(store.attempts(all[1]).await.unwrap().is_empty());
    let shown = store.deliveries(DeliveryQuery::default()).await.unwrap();
    let last = shown[1].last_attempt.unwrap();
    assert_eq!((last.number, last.status), (2, Some(200)));
    let mut given_up = dead(all[1], A);
    given_up.summary.redirects = 3;
    given_up.summary.sent_twice = true;
    given_up.trace = Some(Box::new(trace.clone()));
    store.record(vec![given_up].into()).await.unwrap();
    let last = store.attempts(all[1]).await.unwrap();
    assert_eq!(last[0].trace, trace, "of a last attempt");
    let letters = store
        .dead_letters(DeadLetterQuery::default())
        .await
        .unwrap();
    let last = letters[0].last_attempt.unwrap();
    assert_eq!(
        (last.redirects, last.sent_twice),
        (3, true),
        "of a dead letter"
    );
}

async fn keeps_how_long_an_endpoint_is_held_back(store: &impl Store) {
    let all = append(store, 3, A).await;
    let held = |id, until: Option<i64>| AttemptRecord {
        hold_until: until.map(at),
        ..failed(id, A, 1, 60)
    };
    let batch = vec![
        held(all[0], Some(90)),
        held(all[1], Some(70)),
        held(all[2], None),
    ];
    store.record(batch.into()).await.unwrap();
    let known = store.endpoint_summary(&url(A)).await.unwrap();
    assert_eq!(
        (known.open, known.held_until),
        (3, Some(at(90))),
        "the longest"
    );
    let other = store.endpoint_summary(&url(B)).await.unwrap();
    assert_eq!((other.open, other.held_until), (0, None));
}

async fn keeps_what_was_agreed_on(store: &impl Store) {
    let read = |json: &str| serde_json::from_str::<Agreed>(json).unwrap();
    let rate = read(r#"{"lastTurn":"1970-01-01T00:00:07.000Z"}"#);
    let all = append(store, 3, A).await;
    let agreed = async || store.endpoint_summary(&url(A)).await.unwrap().agreed;
    store.agree(&url(A), rate.clone()).await.unwrap();
    if agreed().await.is_nothing() {
        // A store may leave this out, if its documentation says so.
        return;
    }
    let held = read(
        r#"{"hold":{"until":"1970-01-01T00:01:30.000Z","status":503,"at":"1970-01-01T00:00:01.000Z"},
            "lastTurn":"1970-01-01T00:00:08.000Z"}"#,
    );
    let hold = AttemptRecord {
        hold_until: Some(at(90)),
        agreed: Some(Box::new(held.clone())),
        ..failed(all[0], A, 1, 90)
    };
    let other = failed(all[1], A, 1, 60);
    store.record(vec![hold, other].into()).await.unwrap();
    assert_eq!(agreed().await, held, "a record replaces it");
    assert!(
        store
            .endpoint_summary(&url(B))
            .await
            .unwrap()
            .agreed
            .is_nothing()
    );
    store.apply(Change::Resume(url(A))).await.unwrap();
    let known = store.endpoint_summary(&url(A)).await.unwrap();
    assert_eq!((known.held_until, known.agreed), (None, held.lifted()));
    let waiting = store.waiting(&url(A), 10).await.unwrap();
    let due: Vec<_> = waiting.iter().map(|it| (it.id, it.due_at)).collect();
    assert_eq!(
        due,
        [(all[0], at(1)), (all[1], at(60))],
        "what waited for the hold's end goes on"
    );
    store.agree(&url(A), Agreed::default()).await.unwrap();
    assert!(agreed().await.is_nothing());
    store.agree(&url(A), rate).await.unwrap();
    store.remove_endpoint(&url(A), at(100)).await.unwrap();
    store.apply(Change::RemoveEndpoint(url(A))).await.unwrap();
    assert!(agreed().await.is_nothing(), "forgotten with the endpoint");
}

async fn keeps_the_health_of_an_endpoint(store: &impl Store) {
    let all = append(store, 3, A).await;
    let failing = Health {
        failing_since: Some(at(3)),
        failures: 7,
        warned_at: Some(at(4)),
    };
    let judged = |id, health, disabled| AttemptRecord {
        health,
        disabled,
        ..dead(id, A)
    };
    let batch = vec![
        judged(all[0], Some(failing), None),
        judged(all[1], None, None),
    ];
    store.record(batch.into()).await.unwrap();
    assert_eq!(
        store.endpoint_summary(&url(A)).await.unwrap().health,
        failing
    );
    assert!(store.configuration().await.unwrap().disabled.is_empty());
    let gone = judged(all[2], Some(Health::default()), Some(DisabledReason::Gone));
    let ended_at = gone.summary.at;
    store.record(vec![gone].into()).await.unwrap();
    let known = store.endpoint_summary(&url(A)).await.unwrap();
    assert_eq!(known.health, Health::default());
    let disabled = Change::Disable(url(B), DisabledReason::Application, Stopped::at(at(9)));
    store.apply(disabled).await.unwrap();
    let disabled = store.configuration().await.unwrap().disabled;
    let expected = [
        (url(A), DisabledReason::Gone, Stopped::at(ended_at)),
        (url(B), DisabledReason::Application, Stopped::at(at(9))),
    ];
    assert_eq!(disabled, expected);
    store.apply(Change::Resume(url(A))).await.unwrap();
    store.apply(Change::RemoveEndpoint(url(B))).await.unwrap();
    assert!(store.configuration().await.unwrap().disabled.is_empty());
}

async fn lists_endpoints_of_which_only_a_state_is_stored(store: &impl Store) {
    let failing = Health {
        failing_since: Some(at(3)),
        ..Health::default()
    };
    let all = append(store, 2, A).await;
    let judged = AttemptRecord {
        health: Some(failing),
        ..dead(all[0], A)
    };
    store.record(vec![judged].into()).await.unwrap();
    let open = append(store, 2, B).await;
    let held = AttemptRecord {
        hold_until: Some(at(90)),
        ..dead(open[0], B)
    };
    store.record(vec![held].into()).await.unwrap();
    let resting = store.resting_endpoints(None, 10).await.unwrap();
    assert_eq!(resting, [], "both have an open delivery");
    let ended = vec![dead(all[1], A), dead(open[1], B)];
    store.record(ended.into()).await.unwrap();
    let resting = store.resting_endpoints(None, 10).await.unwrap();
    if resting.is_empty() {
        // A store may leave this out, if its documentation says so.
        return;
    }
    let urls: Vec<_> = resting.iter().map(|(url, _)| url.as_str()).collect();
    assert_eq!(urls, [A, B]);
    assert_eq!(resting[0].1.health, failing);
    assert_eq!(resting[1].1.held_until, Some(at(90)));
    let second = store.resting_endpoints(Some(url(A)), 10).await.unwrap();
    assert_eq!(second, resting[1..]);
    let first = store.resting_endpoints(None, 1).await.unwrap();
    assert_eq!(first, resting[..1]);
}

async fn counts_backlogs_by_endpoint(store: &impl Store) {
    let all = append(store, 2, B).await;
    append(store, 1, A).await;
    store
        .record(vec![failed(all[0], B, 1, 60)].into())
        .await
        .unwrap();
    let open_summaries = store.open_summaries(None, 10).await.unwrap();
    let shown: Vec<_> = open_summaries
        .iter()
        .map(|backlog| (backlog.url.as_str(), backlog.open, backlog.next_due))
        .collect();
    assert_eq!(shown, [(A, 1, None), (B, 2, Some(at(60)))]);
    assert_eq!(open_summaries[0].oldest, at(0));
    let second = store.open_summaries(Some(url(A)), 10).await.unwrap();
    assert_eq!(
        second.len(),
        1,
        "a page begins after the last URL of the one before"
    );
    assert_eq!(store.open_summaries(None, 1).await.unwrap().len(), 1);
    assert_eq!(store.endpoint_summary(&url(B)).await.unwrap().open, 2);
}
