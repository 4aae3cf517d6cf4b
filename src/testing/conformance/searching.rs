//! Searches: every filter alone and some together, in pages, over deliveries in every state.

use std::sync::Arc;

use crate::domain::deliveries::outcome::{DeadLetterReason, Failure, Outcome};
use crate::domain::deliveries::reason_kind::ReasonKind;
use crate::domain::value::id::{AlertId, CompanyId, DeliveryId};
use crate::store::{
    Alert, AttemptRecord, Count, DeadLetterQuery, DeliveryQuery, DeliveryStage, NewAlert, NewEvent,
    Redelivery, Store, Unmatched,
};

use super::fixtures::{A, B, alert, at, failed, ids, record, url};

/// What the test knows of a delivery that it has stored.
struct Known {
    id: DeliveryId,
    to: &'static str,
    alert: Arc<Alert>,
    accepted_at: i64,
    end: End,
    listed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Queued,
    Waiting,
    Delivered,
    GivenUp(DeadLetterReason),
}

impl Known {
    fn failure(&self) -> Option<Failure> {
        match self.end {
            End::Queued | End::Delivered => None,
            End::Waiting => Some(Failure::Timeout),
            End::GivenUp(reason) => reason.failure(),
        }
    }

    fn is_client(&self, client: &str) -> bool {
        self.alert.client_id == *client
    }
}

/// Stores 60 events of three clients and a rare one, with 80 deliveries in every state, two of them
/// redelivered.
async fn fill(store: &impl Store) -> Vec<Known> {
    let mut known = Vec::new();
    for number in 0..60 {
        let company = (number % 5 != 0).then(|| format!("k{}", number % 3));
        let client = if number == 7 {
            "rare".to_owned()
        } else {
            format!("c{}", number % 3)
        };
        let (event, rule) = (format!("e-{number}"), format!("r{}", number % 4));
        let alert = Arc::new(Alert {
            rule_type: format!("t{}", number % 2),
            client_id: client.as_str().into(),
            ..(*alert(&event, &rule, company.as_deref())).clone()
        });
        let to: &[&str] = if number % 3 == 0 { &[A, B] } else { &[A] };
        let urls: Vec<_> = to.iter().map(|to| url(to)).collect();
        let alerts = vec![NewAlert::new(Arc::clone(&alert), urls)];
        let new = NewEvent::new(
            event.as_str().into(),
            client.as_str().into(),
            at(number),
            alerts,
        );
        let stored = ids(store.append(vec![new].into()).await.unwrap());
        for (id, to) in stored.into_iter().zip([A, B]) {
            let end = match id.get() % 6 {
                0 => End::Delivered,
                1 => End::GivenUp(DeadLetterReason::Permanent(Failure::Status(404))),
                2 => End::GivenUp(DeadLetterReason::AttemptsExhausted(Failure::Status(503))),
                3 => End::Waiting,
                _ => End::Queued,
            };
            store.record(outcome(id, to, end).into()).await.unwrap();
            known.push(Known {
                id,
                to,
                alert: Arc::clone(&alert),
                accepted_at: number,
                end,
                listed: matches!(end, End::GivenUp(_)),
            });
        }
    }
    redeliver(store, &mut known, End::Delivered).await;
    let given_up = End::GivenUp(DeadLetterReason::Permanent(Failure::Status(404)));
    redeliver(store, &mut known, given_up).await;
    known
}

fn outcome(id: DeliveryId, to: &str, end: End) -> Vec<AttemptRecord> {
    let mut attempt = match end {
        End::Queued => return Vec::new(),
        End::Waiting => failed(id, to, 1, 90),
        End::Delivered => record(id, to, 1, Outcome::Delivered),
        End::GivenUp(reason) => record(id, to, 1, Outcome::DeadLettered { reason }),
    };
    attempt.summary.failure = match end {
        End::Queued | End::Delivered => None,
        End::Waiting => Some(Failure::Timeout),
        End::GivenUp(reason) => reason.failure(),
    };
    vec![attempt]
}

/// Redelivers the oldest delivery that ended like this.
async fn redeliver(store: &impl Store, known: &mut Vec<Known>, end: End) {
    let old = known.iter_mut().find(|known| known.end == end).unwrap();
    let again = store
        .redeliver(Redelivery::One(old.id), at(70))
        .await
        .unwrap();
    old.listed = false;
    let (to, alert) = (old.to, Arc::clone(&old.alert));
    let details = store.delivery(again[0].0).await.unwrap().unwrap();
    assert_eq!(details.redelivery_of, Some(old.id));
    assert_eq!(details.alert.body, alert.body);
    let details = store.delivery(old.id).await.unwrap().unwrap();
    assert_eq!(details.redelivered_as, [again[0].0]);
    known.push(Known {
        id: again[0].0,
        to,
        alert,
        accepted_at: 70,
        end: End::Queued,
        listed: false,
    });
}

type Finds = fn(&Known) -> bool;
type Case = (DeliveryQuery, Finds);

#[expect(clippy::too_many_lines, reason = "one case after another")]
fn cases() -> Vec<Case> {
    let all = DeliveryQuery::default;
    let (event, rule) = ("e-12".into(), "r0".into());
    let alert_id = Some(AlertId::new(&event, &rule));
    let company_id = Some(CompanyId::from("k1"));
    let stage = Some(DeliveryStage::DeadLettered);
    let mut cases: Vec<Case> = vec![
        (all(), |_| true),
        (
            DeliveryQuery {
                url: Some(url(B)),
                ..all()
            },
            |known| known.to == B,
        ),
        (
            DeliveryQuery {
                url: Some(url("http://none.test/")),
                ..all()
            },
            |_| false,
        ),
        (
            DeliveryQuery {
                client_id: Some("rare".into()),
                ..all()
            },
            |known| known.is_client("rare"),
        ),
        (
            DeliveryQuery {
                client_id: Some("c1".into()),
                ..all()
            },
            |known| known.is_client("c1"),
        ),
        (
            DeliveryQuery {
                client_id: Some("nobody".into()),
                ..all()
            },
            |_| false,
        ),
        (
            DeliveryQuery {
                company_id,
                ..all()
            },
            |known| {
                known
                    .alert
                    .company_id
                    .as_ref()
                    .is_some_and(|id| *id == "k1")
            },
        ),
        (
            DeliveryQuery {
                rule_id: Some("r3".into()),
                ..all()
            },
            |known| known.alert.rule_id == "r3",
        ),
        (
            DeliveryQuery {
                rule_type: Some("t1".into()),
                ..all()
            },
            |known| known.alert.rule_type == "t1",
        ),
        (
            DeliveryQuery {
                event_id: Some(event),
                ..all()
            },
            |known| known.alert.event_id == "e-12",
        ),
        (DeliveryQuery { alert_id, ..all() }, |known| {
            known.alert.event_id == "e-12"
        }),
        (
            DeliveryQuery {
                since: Some(at(20)),
                until: Some(at(31)),
                ..all()
            },
            |known| (20..31).contains(&known.accepted_at),
        ),
        (
            DeliveryQuery {
                stage: Some(DeliveryStage::Open),
                ..all()
            },
            |known| matches!(known.end, End::Queued | End::Waiting),
        ),
        (
            DeliveryQuery {
                stage: Some(DeliveryStage::Delivered),
                ..all()
            },
            |known| known.end == End::Delivered,
        ),
        (DeliveryQuery { stage, ..all() }, |known| {
            matches!(known.end, End::GivenUp(_))
        }),
        (
            DeliveryQuery {
                reason: Some(ReasonKind::Permanent),
                ..all()
            },
            |known| matches!(known.end, End::GivenUp(DeadLetterReason::Permanent(_))),
        ),
        (
            DeliveryQuery {
                reason: Some(ReasonKind::BacklogFull),
                ..all()
            },
            |_| false,
        ),
        (
            DeliveryQuery {
                stage,
                client_id: Some("c1".into()),
                url: Some(url(A)),
                ..all()
            },
            |known| matches!(known.end, End::GivenUp(_)) && known.is_client("c1") && known.to == A,
        ),
    ];
    let failures: [(&str, Finds); 4] = [
        ("404", |known| known.failure() == Some(Failure::Status(404))),
        ("5xx", |known| known.failure() == Some(Failure::Status(503))),
        ("timeout", |known| known.failure() == Some(Failure::Timeout)),
        ("dns", |_| false),
    ];
    for (text, failed) in failures {
        let failure = Some(text.parse().unwrap());
        cases.push((DeliveryQuery { failure, ..all() }, failed));
    }
    cases
}

pub(super) async fn finds_what_any_query_asks_for(store: &impl Store) {
    let known = fill(store).await;
    for (query, expected) in cases() {
        let found = in_pages(store, &query).await;
        let expected = known.iter().rev().filter(|known| expected(known));
        let expected: Vec<_> = expected.map(|known| known.id).collect();
        assert_eq!(found, expected, "{query:?}");
        let count = store.count(query.clone(), 1_000).await.unwrap();
        let all = u64::try_from(expected.len()).unwrap();
        assert_eq!((count.count, count.at_least), (all, false), "{query:?}");
    }
    let count = store.count(DeliveryQuery::default(), 5).await.unwrap();
    assert_eq!((count.count, count.at_least), (5, true));
    finds_dead_letters(store, &known).await;
}

/// Follows a query from page to page.
async fn in_pages(store: &impl Store, query: &DeliveryQuery) -> Vec<DeliveryId> {
    let mut query = DeliveryQuery {
        limit: 7,
        ..query.clone()
    };
    let mut all = Vec::new();
    loop {
        let page = store.deliveries(query.clone()).await.unwrap();
        assert!(page.len() <= 7);
        all.extend(page.iter().map(|delivery| delivery.id));
        query.before = page.next;
        if page.next.is_none() {
            return all;
        }
    }
}

async fn finds_dead_letters(store: &impl Store, known: &[Known]) {
    let all = DeadLetterQuery::default;
    let cases: [(DeadLetterQuery, Finds); 6] = [
        (all(), |_| true),
        (
            DeadLetterQuery {
                client_id: Some("c2".into()),
                ..all()
            },
            |known| known.is_client("c2"),
        ),
        (
            DeadLetterQuery {
                rule_id: Some("r1".into()),
                ..all()
            },
            |known| known.alert.rule_id == "r1",
        ),
        (
            DeadLetterQuery {
                failure: Some("503".parse().unwrap()),
                ..all()
            },
            |known| known.failure() == Some(Failure::Status(503)),
        ),
        (
            DeadLetterQuery {
                reason: Some(ReasonKind::AttemptsExhausted),
                ..all()
            },
            |known| known.failure() == Some(Failure::Status(503)),
        ),
        // All of them were given up at second 1.
        (
            DeadLetterQuery {
                until: Some(at(1)),
                ..all()
            },
            |_| false,
        ),
    ];
    for (query, expected) in cases {
        let listed = known.iter().rev().filter(|known| known.listed);
        let expected: Vec<_> = listed.filter(|known| expected(known)).collect();
        let found = store.dead_letters(query.clone()).await.unwrap();
        let ids: Vec<_> = found.iter().map(|letter| letter.delivery_id).collect();
        let expected: Vec<_> = expected.iter().map(|known| known.id).collect();
        assert_eq!(ids, expected, "{query:?}");
        let all = u64::try_from(expected.len()).unwrap();
        let count = store.count_dead_letters(query.clone()).await.unwrap();
        assert_eq!(count, all);
        for at_most in [1, all, 10_000] {
            let query = query.clone();
            let count = store.count_dead_letters_to(query, at_most).await.unwrap();
            let expected = Count::new(all.min(at_most), all > at_most);
            assert_eq!(count, expected, "at most {at_most}");
        }
    }
}

/// An event that no rule matched has no delivery, and yet it was accepted.
pub(super) async fn finds_an_event_by_its_id(store: &impl Store) {
    let mut none = NewEvent::new("none".into(), "c".into(), at(3), Vec::new());
    none.unmatched = Some(Unmatched::new("t", Some("k".into())));
    let one = super::fixtures::event("one", &["r"], &[A, B]);
    store.append(vec![none, one].into()).await.unwrap();
    let found = store.events("none".into()).await.unwrap();
    assert_eq!(
        (found.len(), found[0].deliveries, found[0].accepted_at),
        (1, 0, at(3))
    );
    assert_eq!(
        found[0].unmatched,
        Some(Unmatched::new("t", Some("k".into())))
    );
    assert_eq!(found[0].client_id, Some("c".into()));
    let found = store.events("one".into()).await.unwrap();
    assert_eq!((found.len(), found[0].deliveries), (1, 2));
    assert!(store.events("unknown".into()).await.unwrap().is_empty());
    assert_eq!(store.delivery(DeliveryId::new(99)).await.unwrap(), None);
}
