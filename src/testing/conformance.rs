//! One suite for every store.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite of tests"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::attempt::{AttemptSummary, Failure, Outcome};
use crate::domain::client::Client;
use crate::domain::dead_letter::DeadLetterReason;
use crate::domain::endpoint::Endpoint;
use crate::domain::health::{DisabledReason, Health};
use crate::domain::id::{AlertId, CompanyId, DeliveryId, EventId, RuleId};
use crate::domain::payload::PayloadFormat;
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use crate::domain::url::WebhookUrl;
use crate::store::{
    Alert, Appended, AttemptRecord, Change, DeadLetterQuery, DeliveryQuery, DeliveryStage,
    NewAlert, NewEvent, Progress, Redelivery, Retention, Store, StoreError,
};

/// Checks that a store keeps the contract of [`Store`]. `make` returns an empty store each time it is called.
///
/// # Panics
/// When the store breaks the contract; the message says where.
pub async fn store_conformance<S: Store>(make: impl AsyncFn() -> S) {
    accepts_each_event_once(&make().await).await;
    reads_queued_deliveries_in_pages(&make().await).await;
    keeps_what_waits_and_loads_it_back(&make().await).await;
    ends_deliveries_once(&make().await).await;
    keeps_every_attempt(&make().await).await;
    keeps_how_long_an_endpoint_is_held_back(&make().await).await;
    keeps_the_health_of_an_endpoint(&make().await).await;
    discards_dead_letters(&make().await).await;
    keeps_one_callers_mistake_from_the_others(&make().await).await;
    counts_backlogs_by_endpoint(&make().await).await;
    lists_newest_first_in_pages(&make().await).await;
    lists_what_a_query_asks_for(&make().await).await;
    redelivers_as_fresh_deliveries(&make().await).await;
    buries_what_a_removed_endpoint_had_open(&make().await).await;
    keeps_the_configuration(&make().await).await;
    prunes_what_has_ended(&make().await).await;
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
    // The same record again, as after an answer that got lost, and a late one for what has ended.
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
    assert_eq!(store.endpoint(&url(A)).await.unwrap().open, 40);
    let queued = store.queued(&url(A), DeliveryId::new(0), 100).await;
    let queued: Vec<_> = queued.unwrap().iter().map(|delivery| delivery.id).collect();
    assert_eq!(queued, all);
}

async fn keeps_every_attempt(store: &impl Store) {
    let all = append(store, 2, A).await;
    let first = AttemptRecord {
        excerpt: Bytes::from_static(b"busy"),
        redirects: 2,
        sent_twice: true,
        ..failed(all[0], A, 1, 60)
    };
    store.record(vec![first.clone()].into()).await.unwrap();
    // The same record again, as after an answer that got lost.
    store.record(vec![first].into()).await.unwrap();
    let open = store.attempts(all[0]).await.unwrap();
    assert_eq!(open.len(), 1, "attempts of an open delivery");
    assert_eq!(
        (
            open[0].excerpt.as_str(),
            open[0].redirects,
            open[0].sent_twice
        ),
        ("busy", 2, true)
    );
    assert_eq!(open[0].summary.duration, Duration::from_millis(5));
    store
        .record(vec![record(all[0], A, 2, Outcome::Delivered)].into())
        .await
        .unwrap();
    let ended = store.attempts(all[0]).await.unwrap();
    let numbers: Vec<_> = ended.iter().map(|attempt| attempt.summary.number).collect();
    assert_eq!(numbers, [1, 2], "attempts of one that has ended");
    assert!(store.attempts(all[1]).await.unwrap().is_empty());
    let shown = store.deliveries(DeliveryQuery::default()).await.unwrap();
    let last = shown[1].last_attempt.unwrap();
    assert_eq!((last.number, last.status), (2, Some(200)));
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
    let known = store.endpoint(&url(A)).await.unwrap();
    assert_eq!(
        (known.open, known.held_until),
        (3, Some(at(90))),
        "the longest"
    );
    let other = store.endpoint(&url(B)).await.unwrap();
    assert_eq!((other.open, other.held_until), (0, None));
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
    assert_eq!(store.endpoint(&url(A)).await.unwrap().health, failing);
    assert!(store.configuration().await.unwrap().disabled.is_empty());
    let gone = judged(all[2], Some(Health::default()), Some(DisabledReason::Gone));
    store.record(vec![gone].into()).await.unwrap();
    let known = store.endpoint(&url(A)).await.unwrap();
    assert_eq!(known.health, Health::default());
    let disabled = Change::Disable(url(B), DisabledReason::Application);
    store.keep(disabled).await.unwrap();
    let disabled = store.configuration().await.unwrap().disabled;
    let expected = [
        (url(A), DisabledReason::Gone),
        (url(B), DisabledReason::Application),
    ];
    assert_eq!(disabled, expected);
    store.keep(Change::Resume(url(A))).await.unwrap();
    store.keep(Change::RemoveEndpoint(url(B))).await.unwrap();
    assert!(store.configuration().await.unwrap().disabled.is_empty());
}

async fn discards_dead_letters(store: &impl Store) {
    let all = append(store, 2, A).await;
    let other = append(store, 1, B).await;
    let batch = vec![dead(all[0], A), dead(all[1], A), dead(other[0], B)];
    store.record(batch.into()).await.unwrap();
    let query = DeadLetterQuery {
        url: Some(url(A)),
        ..DeadLetterQuery::default()
    };
    assert_eq!(store.discard(query.clone()).await.unwrap(), 2);
    assert_eq!(store.discard(query).await.unwrap(), 0);
    let given_up = DeliveryQuery {
        stage: Some(DeliveryStage::DeadLettered),
        ..DeliveryQuery::default()
    };
    let record = listed(store, given_up.clone()).await;
    assert_eq!(record, [other[0], all[1], all[0]], "they stay on record");
    let again = store.redeliver(Redelivery::One(other[0]), at(2)).await;
    assert_eq!(again.unwrap().len(), 1);
    assert_eq!(listed(store, given_up).await.len(), 3);
    let left = store
        .dead_letters(DeadLetterQuery::default())
        .await
        .unwrap();
    assert!(left.is_empty(), "{left:?}");
}

async fn counts_backlogs_by_endpoint(store: &impl Store) {
    let all = append(store, 2, B).await;
    append(store, 1, A).await;
    store
        .record(vec![failed(all[0], B, 1, 60)].into())
        .await
        .unwrap();
    let backlogs = store.backlogs(None, 10).await.unwrap();
    let shown: Vec<_> = backlogs
        .iter()
        .map(|backlog| (backlog.url.as_str(), backlog.open, backlog.next_due))
        .collect();
    assert_eq!(shown, [(A, 1, None), (B, 2, Some(at(60)))]);
    assert_eq!(backlogs[0].oldest, at(0));
    let second = store.backlogs(Some(url(A)), 10).await.unwrap();
    assert_eq!(
        second.len(),
        1,
        "a page begins after the last URL of the one before"
    );
    assert_eq!(store.backlogs(None, 1).await.unwrap().len(), 1);
    assert_eq!(store.endpoint(&url(B)).await.unwrap().open, 2);
}

async fn listed(store: &impl Store, query: DeliveryQuery) -> Vec<DeliveryId> {
    let deliveries = store.deliveries(query).await.unwrap();
    deliveries.iter().map(|delivery| delivery.id).collect()
}

async fn lists_newest_first_in_pages(store: &impl Store) {
    let all = append(store, 4, A).await;
    let other = append(store, 1, B).await;
    store
        .record(vec![delivered(all[0], A), dead(all[1], A)].into())
        .await
        .unwrap();
    let list = async |query| listed(store, query).await;
    assert_eq!(
        list(DeliveryQuery::default()).await,
        [other[0], all[3], all[2], all[1], all[0]]
    );
    let page = DeliveryQuery {
        url: Some(url(A)),
        limit: 2,
        ..DeliveryQuery::default()
    };
    assert_eq!(list(page.clone()).await, [all[3], all[2]]);
    assert_eq!(
        list(DeliveryQuery {
            before: Some(all[2]),
            ..page
        })
        .await,
        [all[1], all[0]]
    );
}

async fn lists_what_a_query_asks_for(store: &impl Store) {
    let all = append(store, 4, A).await;
    let other = append(store, 1, B).await;
    store
        .record(vec![delivered(all[0], A), dead(all[1], A)].into())
        .await
        .unwrap();
    let list = async |query| listed(store, query).await;
    let stage = |stage| DeliveryQuery {
        stage: Some(stage),
        ..DeliveryQuery::default()
    };
    assert_eq!(
        list(stage(DeliveryStage::Open)).await,
        [other[0], all[3], all[2]]
    );
    assert_eq!(list(stage(DeliveryStage::Delivered)).await, [all[0]]);
    assert_eq!(list(stage(DeliveryStage::DeadLettered)).await, [all[1]]);
    let event = DeliveryQuery {
        event_id: Some("a-2".into()),
        ..DeliveryQuery::default()
    };
    assert_eq!(list(event).await, [all[2]]);
    let nobody = DeliveryQuery {
        client_id: Some("nobody".into()),
        ..DeliveryQuery::default()
    };
    assert!(list(nobody).await.is_empty());
    let accepted = |since, until| DeliveryQuery {
        since: Some(at(since)),
        until: Some(at(until)),
        limit: 1,
        ..DeliveryQuery::default()
    };
    assert_eq!(list(accepted(0, 1)).await, [other[0]]);
    assert!(list(accepted(1, 2)).await.is_empty());
    assert!(list(accepted(-1, 0)).await.is_empty());
    let shown = store
        .deliveries(DeliveryQuery {
            event_id: Some("a-0".into()),
            ..DeliveryQuery::default()
        })
        .await
        .unwrap();
    assert_eq!(
        (shown[0].attempts_made, shown[0].rule_type.as_str()),
        (1, "t")
    );
}

async fn redelivers_as_fresh_deliveries(store: &impl Store) {
    let all = append(store, 3, A).await;
    store
        .record(vec![dead(all[0], A), dead(all[1], A)].into())
        .await
        .unwrap();
    let one = store
        .redeliver(Redelivery::One(all[0]), at(100))
        .await
        .unwrap();
    assert_eq!(one.len(), 1);
    assert!(one[0].0 > all[2], "a fresh delivery has a fresh id");
    let query = DeadLetterQuery {
        url: Some(url(A)),
        ..DeadLetterQuery::default()
    };
    let rest = store
        .redeliver(Redelivery::DeadLetters(query.clone()), at(100))
        .await
        .unwrap();
    assert_eq!(rest.len(), 1, "one dead letter was left");
    assert!(store.dead_letters(query).await.unwrap().is_empty());
    let open = store
        .redeliver(Redelivery::One(all[2]), at(100))
        .await
        .unwrap();
    let queued = store.queued(&url(A), DeliveryId::new(0), 10).await.unwrap();
    assert_eq!(
        queued.iter().map(|open| open.id).collect::<Vec<_>>(),
        [all[2], one[0].0, rest[0].0, open[0].0]
    );
    assert_eq!(
        queued[1].alert.id,
        alert("a-0", "r", None).id,
        "with the same alert"
    );
    assert_eq!(
        queued[1].progress,
        Progress::default(),
        "and a schedule of its own"
    );
    let unknown = store
        .redeliver(Redelivery::One(DeliveryId::new(u64::MAX >> 1)), at(100))
        .await;
    assert!(matches!(unknown, Err(StoreError::UnknownDelivery(_))));
}

async fn buries_what_a_removed_endpoint_had_open(store: &impl Store) {
    let all = append(store, 2, A).await;
    append(store, 1, B).await;
    store
        .record(vec![failed(all[0], A, 1, 30)].into())
        .await
        .unwrap();
    assert_eq!(store.remove_endpoint(&url(A), at(5)).await.unwrap(), 2);
    assert_eq!(store.remove_endpoint(&url(A), at(5)).await.unwrap(), 0);
    assert_eq!(store.open_total().await.unwrap(), 1);
    let letters = store
        .dead_letters(DeadLetterQuery::default())
        .await
        .unwrap();
    assert!(
        letters
            .iter()
            .all(|letter| letter.reason == DeadLetterReason::EndpointRemoved && letter.at == at(5))
    );
    let attempted: Vec<_> = letters
        .iter()
        .map(|letter| {
            let last = letter.last_attempt.map(|last| last.number);
            (letter.delivery_id, letter.attempts_made, last)
        })
        .collect();
    assert_eq!(attempted, [(all[1], 0, None), (all[0], 1, Some(1))]);
}

async fn keeps_the_configuration(store: &impl Store) {
    let rule = |id: &str| Rule::new(id, "t").webhook(A).unwrap();
    let endpoint = Endpoint::new(A).unwrap().timeout(Duration::from_secs(3));
    for change in [
        Change::PutRule(rule("r2")),
        Change::PutRule(rule("r1")),
        Change::PutRule(rule("r3")),
        Change::RemoveRule("r3".into()),
        Change::PutClient(Client::new("c").name("old")),
        Change::PutClient(Client::new("c").name("new")),
        Change::PutEndpoint(endpoint.clone()),
        Change::Pause(url(A)),
        Change::Pause(url(B)),
        Change::Resume(url(B)),
    ] {
        store.keep(change).await.unwrap();
    }
    let kept = store.configuration().await.unwrap();
    assert_eq!(kept.rules, [rule("r1"), rule("r2")]);
    assert_eq!(kept.clients, [Client::new("c").name("new")]);
    assert_eq!(kept.endpoints, [endpoint]);
    assert_eq!(kept.paused, [url(A)]);
    store.keep(Change::RemoveEndpoint(url(A))).await.unwrap();
    let kept = store.configuration().await.unwrap();
    assert!(kept.endpoints.is_empty() && kept.paused.is_empty());
}

async fn prunes_what_has_ended(store: &impl Store) {
    let all = append(store, 3, A).await;
    let shared = store.append(vec![event("shared", &["r"], &[A, B])].into());
    let shared = ids(shared.await.unwrap());
    store
        .record(vec![delivered(shared[0], A)].into())
        .await
        .unwrap();
    store
        .record(vec![delivered(all[0], A), dead(all[1], A)].into())
        .await
        .unwrap();
    let keep = |ended, dead_letters| Retention {
        ended: Duration::from_secs(ended),
        dead_letters: Duration::from_secs(dead_letters),
        event_ids: Duration::from_secs(ended),
    };
    let pruned = async |now, keep| store.prune(at(now), keep).await.unwrap();
    assert_eq!(pruned(11, keep(10, 10)).await, 0, "both ended at second 1");
    assert_eq!(pruned(12, keep(10, 20)).await, 2, "those delivered");
    assert_eq!(pruned(22, keep(10, 20)).await, 1, "the dead letter");
    assert_eq!(store.open_total().await.unwrap(), 2, "what is open stays");
    let open = store.queued(&url(B), DeliveryId::new(0), 10).await.unwrap();
    assert_eq!(open.len(), 1, "and so does its alert, which others had too");
    let again = store.redeliver(Redelivery::One(shared[1]), at(30)).await;
    let again = again.unwrap();
    store
        .record(vec![delivered(shared[1], B)].into())
        .await
        .unwrap();
    assert_eq!(pruned(100, keep(10, 20)).await, 1);
    let open = store.load(&url(B), vec![again[0].0]).await.unwrap();
    assert_eq!(open.len(), 1, "and one that is delivered once more");
    let again = store
        .append(vec![event("a-0", &["r"], &[A])].into())
        .await
        .unwrap();
    assert!(
        matches!(again[..], [Appended::Stored(_)]),
        "its event id is forgotten"
    );
    store.flush().await.unwrap();
}

const A: &str = "http://a.test/";
const B: &str = "http://b.test/";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(seconds * 1_000)
}

fn url(text: &str) -> WebhookUrl {
    WebhookUrl::parse(text).unwrap()
}

fn progress(attempts_made: u32) -> Progress {
    Progress {
        attempts_made,
        window_ends_at: Some(at(120)),
    }
}

fn alert(event: &str, rule: &str, company: Option<&str>) -> Arc<Alert> {
    let (event_id, rule_id) = (EventId::from(event), RuleId::from(rule));
    Arc::new(Alert {
        id: AlertId::new(&event_id, &rule_id),
        event_id,
        rule_id,
        rule_type: "t".into(),
        client_id: "c".into(),
        company_id: company.map(CompanyId::from),
        format: PayloadFormat::Alert,
        body: Bytes::from_static(b"{}"),
    })
}

fn event(id: &str, rules: &[&str], urls: &[&str]) -> NewEvent {
    let urls: Arc<[WebhookUrl]> = urls.iter().map(|text| url(text)).collect();
    let new_alert = |rule: &&str| NewAlert {
        alert: alert(id, rule, Some("company")),
        urls: Arc::clone(&urls),
    };
    NewEvent {
        id: id.into(),
        at: at(0),
        alerts: rules.iter().map(new_alert).collect(),
        outbox: None,
    }
}

/// Appends events `a-0`, `a-1`, … (or `b-…`) with one delivery each.
async fn append(store: &impl Store, count: usize, to: &str) -> Vec<DeliveryId> {
    let prefix = if to == A { "a" } else { "b" };
    let batch = (0..count)
        .map(|number| event(&format!("{prefix}-{number}"), &["r"], &[to]))
        .collect();
    ids(store.append(batch).await.unwrap())
}

fn ids(appended: Vec<Appended>) -> Vec<DeliveryId> {
    let stored = appended.into_iter().map(|appended| {
        let Appended::Stored(ids) = appended else {
            panic!("the event is new: {appended:?}");
        };
        ids
    });
    stored.flatten().collect()
}

fn record(id: DeliveryId, to: &str, number: u32, outcome: Outcome) -> AttemptRecord {
    AttemptRecord {
        delivery_id: id,
        url: url(to),
        summary: AttemptSummary {
            number,
            at: at(1),
            duration: Duration::from_millis(5),
            status: Some(200),
            failure: None,
        },
        outcome,
        progress: progress(number),
        next_attempt_at: None,
        redirects: 0,
        sent_twice: false,
        hold_until: None,
        health: None,
        disabled: None,
        excerpt: Bytes::new(),
    }
}

fn delivered(id: DeliveryId, to: &str) -> AttemptRecord {
    record(id, to, 1, Outcome::Delivered)
}

fn dead(id: DeliveryId, to: &str) -> AttemptRecord {
    record(
        id,
        to,
        1,
        Outcome::DeadLettered {
            reason: DeadLetterReason::Permanent(Failure::Status(400)),
        },
    )
}

fn failed(id: DeliveryId, to: &str, number: u32, due: i64) -> AttemptRecord {
    let failed = record(
        id,
        to,
        number,
        Outcome::Failed {
            failure: Failure::Timeout,
        },
    );
    AttemptRecord {
        next_attempt_at: Some(at(due)),
        ..failed
    }
}
