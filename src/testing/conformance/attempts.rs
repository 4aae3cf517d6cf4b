//! The attempts of all deliveries of an endpoint.

use crate::domain::deliveries::outcome::{Failure, Outcome};
use crate::domain::value::id::DeliveryId;
use crate::store::{AttemptQuery, AttemptRecord, Store, StoreError};

use super::fixtures::{A, B, append, at, dead, failed, record, url};

/// Returns the record of an attempt that ended at this second.
fn ended(record: AttemptRecord, second: i64) -> AttemptRecord {
    let mut record = record;
    record.summary.at = at(second);
    if let Outcome::Failed { failure } = record.outcome {
        record.summary.failure = Some(failure);
    }
    record
}

/// Stores attempts to A and returns the deliveries, and the attempts by time, the latest first.
async fn fill(store: &impl Store) -> (Vec<DeliveryId>, Vec<(DeliveryId, u32)>) {
    let all = append(store, 5, A).await;
    let other = append(store, 1, B).await;
    let second = record(all[0], A, 2, Outcome::Delivered);
    let mut given_up = dead(all[1], A);
    given_up.summary.failure = Some(Failure::Status(400));
    given_up.excerpt = b"no such hook".as_slice().into();
    for record in [
        ended(failed(all[0], A, 1, 30), 1),
        ended(given_up, 2),
        ended(failed(all[2], A, 1, 30), 3),
        ended(failed(all[2], A, 2, 30), 4),
        ended(failed(all[4], A, 1, 30), 5),
        ended(second, 6),
        ended(record(other[0], B, 1, Outcome::Delivered), 7),
    ] {
        store.record(vec![record].into()).await.unwrap();
    }
    let expected = [(0, 2), (4, 1), (2, 2), (2, 1), (1, 1), (0, 1)];
    let expected = expected.map(|(place, number)| (all[place], number));
    (all, expected.into())
}

pub(super) async fn lists_the_attempts_of_an_endpoint(store: &impl Store) {
    let (all, expected) = fill(store).await;
    let query = AttemptQuery::default();
    let page = match store.attempts_of(&url(A), query).await {
        // A store may leave this out, if its documentation says so.
        Err(StoreError::Unsupported(_)) => return,
        page => page.unwrap(),
    };
    let given_up = &page.items[4];
    assert_eq!(given_up.attempt.excerpt, "no such hook");
    assert_eq!(
        (given_up.event_id.as_str(), given_up.rule_type.as_str()),
        ("a-1", "t")
    );
    assert_eq!(given_up.client_id, "c");
    assert_eq!((page.next, page.searched_to), (None, None));
    let has_failed = |place: &usize| !matches!(place, 0);
    let places: Vec<usize> = (0..expected.len()).collect();
    for limit in [1, 2, 5, 100] {
        assert_eq!(in_pages(store, None, limit).await, expected, "{limit}");
        for failed in [true, false] {
            let found = in_pages(store, Some(failed), limit).await;
            let asked = places.iter().filter(|place| has_failed(place) == failed);
            let asked: Vec<_> = asked.map(|place| expected[*place]).collect();
            assert_eq!(found, asked, "{failed}");
        }
    }
    let none = store.attempts_of(&url("http://none.test/"), query).await;
    assert_eq!(none.unwrap().items, []);
    // Given up without a further attempt, a delivery keeps those that were made.
    assert_eq!(store.remove_endpoint(&url(A), at(9)).await.unwrap(), 3);
    assert_eq!(in_pages(store, None, 4).await, expected, "{all:?}");
}

async fn in_pages(
    store: &impl Store,
    failed: Option<bool>,
    limit: usize,
) -> Vec<(DeliveryId, u32)> {
    let mut query = AttemptQuery {
        failed,
        before: None,
        limit,
    };
    let mut found = Vec::new();
    loop {
        let page = store.attempts_of(&url(A), query).await.unwrap();
        assert!(page.items.len() <= limit);
        let items = page.items.iter();
        found.extend(items.map(|item| (item.delivery_id, item.attempt.summary.number)));
        query.before = page.next;
        if page.next.is_none() {
            return found;
        }
    }
}
