//! Operators' calls: lists, redelivery, removal, configuration, pruning.

use std::time::Duration;

use serde_json::Value;

use crate::domain::authorisation::auth::Auth;
use crate::domain::credentials::CredentialBook;
use crate::domain::deliveries::outcome::{DeadLetterReason, Outcome};
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::policy::health::DisabledReason;
use crate::domain::routing::client::Client;
use crate::domain::routing::filter::{Condition, Filter};
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::{CompanyId, DeliveryId};
use crate::domain::value::operator::{Note, Operator};
use crate::store::{
    Appended, AttemptRecord, Change, DeadLetterQuery, DeliveryQuery, DeliveryStage, EndedDelivery,
    OpenQuery, OutboxSummary, Progress, Redelivery, Retention, Stopped, Store, StoreError,
    StoredClock,
};

use super::fixtures::{
    A, B, alert, append, at, dead, delivered, event, failed, ids, progress, record, url,
};

pub(super) async fn discards_dead_letters(store: &impl Store) {
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

pub(super) async fn listed(store: &impl Store, query: DeliveryQuery) -> Vec<DeliveryId> {
    let deliveries = store.deliveries(query).await.unwrap();
    deliveries.iter().map(|delivery| delivery.id).collect()
}

pub(super) async fn lists_newest_first_in_pages(store: &impl Store) {
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

pub(super) async fn lists_what_a_query_asks_for(store: &impl Store) {
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

pub(super) async fn redelivers_as_fresh_deliveries(store: &impl Store) {
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

pub(super) async fn buries_what_a_removed_endpoint_had_open(store: &impl Store) {
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

pub(super) async fn ends_open_deliveries_by_hand(store: &impl Store) {
    let batch = vec![
        event("e1", &["r1", "r2"], &[A, B]),
        event("e2", &["r1"], &[A]),
    ];
    let all = ids(store.append(batch.into()).await.unwrap());
    let (to_a, last) = ([all[0], all[2]], all[4]);
    store
        .record(vec![failed(all[0], A, 1, 30)].into())
        .await
        .unwrap();
    let open_of = async |rule: Option<&str>, client: Option<&str>, after, limit| {
        let which = OpenQuery {
            rule_id: rule.map(Into::into),
            client_id: client.map(Into::into),
        };
        store.open_of(&url(A), which, after, limit).await.unwrap()
    };
    let first = DeliveryId::new(0);
    assert_eq!(
        open_of(None, None, first, 10).await,
        [to_a[0], to_a[1], last]
    );
    assert_eq!(open_of(None, None, first, 1).await, [to_a[0]]);
    assert_eq!(open_of(None, None, to_a[0], 10).await, [to_a[1], last]);
    assert_eq!(open_of(Some("r1"), None, first, 10).await, [to_a[0], last]);
    assert_eq!(open_of(Some("r1"), Some("c"), to_a[0], 10).await, [last]);
    assert!(open_of(None, Some("nobody"), first, 10).await.is_empty());
    let reason = DeadLetterReason::RuleEnded;
    let asked = vec![to_a[0], last, all[1]];
    let ended = store
        .end(&url(A), asked.clone(), reason, at(5))
        .await
        .unwrap();
    let expected = |id, event: &str, attempts_made| EndedDelivery {
        id,
        alert_id: alert(event, "r1", None).id,
        event_id: event.into(),
        rule_id: "r1".into(),
        attempts_made,
    };
    assert_eq!(ended, [expected(to_a[0], "e1", 1), expected(last, "e2", 0)]);
    let again = store.end(&url(A), asked, reason, at(6)).await.unwrap();
    assert!(
        again.is_empty(),
        "they have ended, and one is of another endpoint"
    );
    assert_eq!(store.open_total().await.unwrap(), 3);
    assert_eq!(store.endpoint_summary(&url(A)).await.unwrap().open, 1);
    let letters = store
        .dead_letters(DeadLetterQuery::default())
        .await
        .unwrap();
    let shown: Vec<_> = letters
        .iter()
        .map(|letter| (letter.delivery_id, letter.reason, letter.at))
        .collect();
    assert_eq!(shown, [(last, reason, at(5)), (to_a[0], reason, at(5))]);
    store.record(vec![delivered(last, A)].into()).await.unwrap();
    let count = store.count_dead_letters(DeadLetterQuery::default()).await;
    assert_eq!(
        count.unwrap(),
        2,
        "an attempt that ends later changes nothing"
    );
}

pub(super) async fn redelivers_the_oldest_first(store: &impl Store) {
    let all = append(store, 5, A).await;
    let other = append(store, 1, B).await;
    let mut batch: Vec<_> = all.iter().map(|id| dead(*id, A)).collect();
    batch.push(dead(other[0], B));
    store.record(batch.into()).await.unwrap();
    let query = DeadLetterQuery {
        url: Some(url(A)),
        limit: 2,
        ..DeadLetterQuery::default()
    };
    let count =
        async |query: &DeadLetterQuery| store.count_dead_letters(query.clone()).await.unwrap();
    assert_eq!(count(&query).await, 5, "whatever its limit");
    for left in [3, 1, 0] {
        let which = Redelivery::DeadLetters(query.clone());
        store.redeliver(which, at(100)).await.unwrap();
        assert_eq!(count(&query).await, left);
    }
    let queued = store.queued(&url(A), DeliveryId::new(0), 10).await.unwrap();
    let events: Vec<_> = queued
        .iter()
        .map(|open| open.alert.event_id.as_str())
        .collect();
    assert_eq!(events, ["a-0", "a-1", "a-2", "a-3", "a-4"]);
    let of_client = DeadLetterQuery {
        client_id: Some("c".into()),
        event_id: Some("b-0".into()),
        ..DeadLetterQuery::default()
    };
    assert_eq!(count(&of_client).await, 1);
    assert_eq!(count(&DeadLetterQuery::default()).await, 1);
}

pub(super) async fn keeps_the_configuration(store: &impl Store) {
    let rule = |id: &str| Rule::new(id, "t").webhook(A).unwrap();
    let large = Filter::all([
        Condition::equals("/kind", "invoice"),
        Condition::gte("/amount", 9_007_199_254_740_993_u64),
        Condition::lt("/rate", 0.1),
        Condition::one_of("/state", [Value::Null, true.into()]),
        Condition::missing("/a~1b"),
    ]);
    let filtered = rule("r4").filter(large).projection(["/amount", "/lines/0"]);
    let endpoint = Endpoint::new(A).unwrap().timeout(Duration::from_secs(3));
    for change in [
        Change::PutRule(rule("r2")),
        Change::PutRule(rule("r1")),
        Change::PutRule(rule("r3")),
        Change::RemoveRule("r3".into()),
        Change::PutRule(filtered.clone()),
        Change::PutClient(Client::new("c").name("old")),
        Change::PutClient(Client::new("c").name("new")),
        Change::PutClient(Client::new("left").name("left")),
        Change::RemoveClient("left".into()),
        Change::PutEndpoint(endpoint.clone()),
        Change::Pause(url(A), stopped_by("alice", 7)),
        Change::Pause(url(B), Stopped::default()),
        Change::Resume(url(B)),
    ] {
        store.apply(change).await.unwrap();
    }
    let kept = store.configuration().await.unwrap();
    assert_eq!(kept.rules, [rule("r1"), rule("r2"), filtered]);
    assert_eq!(kept.clients, [Client::new("c").name("new")]);
    assert_eq!(kept.endpoints, [endpoint]);
    assert_eq!(kept.paused, [(url(A), stopped_by("alice", 7))]);
    store.apply(Change::RemoveEndpoint(url(A))).await.unwrap();
    let kept = store.configuration().await.unwrap();
    assert!(kept.endpoints.is_empty() && kept.paused.is_empty());
    keeps_credentials_of_the_past(store).await;
}

fn stopped_by(name: &str, seconds: i64) -> Stopped {
    let stopped = Stopped::at(at(seconds)).by(Operator::new(name).ok());
    stopped.note(Note::new("flooding us").ok())
}

pub(super) async fn counts_its_outbox(store: &impl Store) {
    let summary = store.outbox_summary(10).await.unwrap();
    assert_eq!(summary, OutboxSummary::default());
}

pub(super) async fn makes_a_waiting_delivery_due(store: &impl Store) {
    let all = append(store, 3, A).await;
    let batch = vec![failed(all[0], A, 1, 60), failed(all[1], A, 1, 90)];
    store.record(batch.into()).await.unwrap();
    let make_due = async |id, to, seconds| store.make_due(&url(to), id, at(seconds)).await;
    let made_due = match make_due(all[1], A, 30).await {
        // A store may leave this out, if its documentation says so.
        Err(StoreError::Unsupported(_)) => return,
        made_due => made_due.unwrap().unwrap(),
    };
    assert_eq!((made_due.id, made_due.due_at), (all[1], at(30)));
    let company = made_due.company_id.as_ref().map(CompanyId::as_str);
    assert_eq!(company, Some("company"));
    let waiting = async || {
        let waiting = store.waiting(&url(A), 10).await.unwrap();
        let due = waiting.iter().map(|it| (it.id, it.due_at));
        due.collect::<Vec<_>>()
    };
    assert_eq!(waiting().await, [(all[1], at(30)), (all[0], at(60))]);
    let loaded = store.load(&url(A), vec![all[1]]).await.unwrap();
    assert_eq!(
        loaded[0].progress,
        progress(1),
        "attempts and deadline stay"
    );
    let again = make_due(all[1], A, 40).await.unwrap().unwrap();
    assert_eq!(again.due_at, at(30), "what is due earlier stays so");
    let queued = make_due(all[2], A, 30).await.unwrap();
    assert_eq!(queued, None, "it was never attempted");
    assert_eq!(make_due(all[0], B, 30).await.unwrap(), None, "another's");
    let ended = record(all[0], A, 2, Outcome::Delivered);
    store.record(vec![ended].into()).await.unwrap();
    assert_eq!(make_due(all[0], A, 30).await.unwrap(), None, "it has ended");
    assert_eq!(waiting().await, [(all[1], at(30))]);
}

pub(super) async fn keeps_who_stopped_an_endpoint(store: &impl Store) {
    let apply = async |change| store.apply(change).await.unwrap();
    let paused = async || store.configuration().await.unwrap().paused;
    let disabled = async || store.configuration().await.unwrap().disabled;
    apply(Change::Pause(url(A), stopped_by("alice", 1))).await;
    apply(Change::Pause(url(A), stopped_by("bob", 2))).await;
    let first = [(url(A), stopped_by("alice", 1))];
    assert_eq!(paused().await, first, "the first pause stays");
    let by_hand = DisabledReason::Application;
    for (name, seconds) in [("alice", 3), ("bob", 4)] {
        let change = Change::Disable(url(A), by_hand, stopped_by(name, seconds));
        apply(change).await;
    }
    let first = [(url(A), by_hand, stopped_by("alice", 3))];
    assert_eq!(disabled().await, first);
    let id = append(store, 1, A).await[0];
    let gone = AttemptRecord {
        disabled: Some(DisabledReason::Gone),
        ..dead(id, A)
    };
    let ended_at = gone.summary.at;
    store.record(vec![gone].into()).await.unwrap();
    let by_itself = [(url(A), DisabledReason::Gone, Stopped::at(ended_at))];
    assert_eq!(disabled().await, by_itself, "nobody's name is left on it");
    apply(Change::Resume(url(A))).await;
    assert!(paused().await.is_empty() && disabled().await.is_empty());
    apply(Change::Disable(url(A), by_hand, Stopped::default())).await;
    let unknown = [(url(A), by_hand, Stopped::default())];
    assert_eq!(disabled().await, unknown, "nothing is left of the first");
}

async fn keeps_credentials_of_the_past(store: &impl Store) {
    let rule = Rule::new("given", "*").webhook(A);
    let old = rule.unwrap().auth(Auth::bearer("old"));
    // As the engine does if a rule changes its URLs, and again if the rule is removed.
    let mut book = CredentialBook::load([old.clone()], [], []);
    let past = book.before_rule(&old.id, None, at(5));
    let key = past[0].key();
    for past in past.iter().cloned().map(Change::KeepPast) {
        store.apply(past.clone()).await.unwrap();
        store.apply(past).await.unwrap();
    }
    let kept = store.past_credentials().await.unwrap();
    assert_eq!(kept, past, "one with the same key takes its place");
    book.keep(past[0].clone());
    let later = book.before_rule(&old.id, None, at(6));
    store
        .apply(Change::KeepPast(later[0].clone()))
        .await
        .unwrap();
    let kept = store.past_credentials().await.unwrap();
    assert_eq!(kept, later);
    store.apply(Change::ForgetPast(key)).await.unwrap();
    assert_eq!(store.past_credentials().await.unwrap(), []);
}

pub(super) async fn prunes_what_has_ended(store: &impl Store) {
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

/// A store may leave this out, in whole or in part; the values it returns must be right.
pub(super) async fn keeps_how_the_clock_stands(store: &impl Store) {
    assert_eq!(store.clock().await.unwrap(), StoredClock::default());
    for ahead in [3_600_000, -2_000] {
        store.keep_clock(ahead).await.unwrap();
        let kept = store.clock().await.unwrap().wall_ahead_ms;
        assert!([0, ahead].contains(&kept), "{kept}");
    }
    // The suite stores at second 1 at the latest.
    append(store, 1, A).await;
    let latest = store.clock().await.unwrap().latest;
    assert!(latest.is_none_or(|latest| latest <= at(1)), "{latest:?}");
}
