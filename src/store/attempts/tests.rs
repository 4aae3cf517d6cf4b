use std::convert::Infallible;
use std::time::Duration;

use super::*;
use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::deliveries::outcome::Failure;

fn attempt(number: u32, second: i64, failed: bool) -> Attempt {
    let at = Timestamp::from_unix_millis(second * 1_000);
    let summary = AttemptSummary {
        failure: failed.then_some(Failure::Timeout),
        ..AttemptSummary::new(number, at, Duration::ZERO)
    };
    Attempt::new(summary, b"")
}

/// Returns a delivery with attempts at these seconds, of which only the last one delivered.
fn delivery(id: u64, seconds: &[i64]) -> Attempted {
    let numbered = (1..).zip(seconds);
    let last = u32::try_from(seconds.len()).unwrap();
    let attempts = numbered.map(|(number, second)| attempt(number, *second, number < last));
    (DeliveryId::new(id), attempts.collect())
}

/// Asks for a page of deliveries that are given oldest first.
fn page(query: &AttemptQuery, deliveries: &[Attempted]) -> Found {
    let deliveries = deliveries.iter().rev();
    let asked = deliveries.filter(|delivery| delivery.0 <= query.through());
    let found = find(query, asked.cloned().map(Ok::<_, Infallible>));
    let Ok(found) = found;
    found
}

/// Follows a query from page to page, with each cursor as a text; returns (delivery, attempt).
fn all(mut query: AttemptQuery, deliveries: &[Attempted]) -> Vec<(u64, u32)> {
    let mut all = Vec::new();
    loop {
        let found = page(&query, deliveries);
        all.extend(shown(&found));
        let Some(next) = found.next else {
            return all;
        };
        query.before = Some(next.to_string().parse().unwrap());
    }
}

fn shown(found: &Found) -> Vec<(u64, u32)> {
    let shown = found.attempts.iter();
    shown
        .map(|(id, last)| (id.get(), last.summary.number))
        .collect()
}

fn limited(limit: usize) -> AttemptQuery {
    AttemptQuery {
        limit,
        ..AttemptQuery::default()
    }
}

#[test]
fn attempts_are_in_the_order_of_time_however_old_their_deliveries_are() {
    let deliveries = [
        delivery(1, &[1, 20, 40]),
        delivery(2, &[2]),
        delivery(3, &[]),
        delivery(4, &[4, 40]),
    ];
    let expected = [(4, 2), (1, 3), (1, 2), (4, 1), (2, 1), (1, 1)];
    for limit in [1, 2, 4, 100] {
        assert_eq!(all(limited(limit), &deliveries), expected, "{limit}");
    }
    let failed = |failed| AttemptQuery {
        failed: Some(failed),
        ..limited(1)
    };
    assert_eq!(all(failed(true), &deliveries), [(1, 2), (4, 1), (1, 1)]);
    assert_eq!(all(failed(false), &deliveries), [(4, 2), (1, 3), (2, 1)]);
}

#[test]
fn groups_of_deliveries_follow_each_other_without_a_gap() {
    let mut deliveries: Vec<_> = (1..=2_500).map(|id| delivery(id, &[7])).collect();
    deliveries[0] = delivery(1, &[7, 9_999]);
    let found = all(limited(400), &deliveries);
    assert_eq!(found.len(), 2_501);
    let oldest: Vec<_> = found.iter().skip(1_999).take(3).copied().collect();
    assert_eq!(oldest, [(501, 1), (1, 2), (500, 1)], "first in its group");
}

#[test]
fn a_group_stays_the_same_while_its_pages_are_read() {
    let mut deliveries: Vec<_> = (1..=1_500).map(|id| delivery(2 * id, &[7])).collect();
    // The last delivery of the group has an attempt on the first page.
    deliveries[500] = delivery(1_002, &[7, 8]);
    let first = page(&limited(10), &deliveries);
    assert_eq!(shown(&first).first(), Some(&(1_002, 2)));
    // Meanwhile these are attempted: one in the group, one after it.
    deliveries.push(delivery(2_001, &[8, 9]));
    deliveries.push(delivery(3_002, &[9]));
    deliveries.sort_by_key(|delivery| delivery.0);
    let before = first.next;
    let rest = all(
        AttemptQuery {
            before,
            ..limited(10)
        },
        &deliveries,
    );
    assert_eq!(rest.len(), 1_491, "what is new is before the page");
    assert_eq!(rest.first(), Some(&(2_982, 1)));
    assert!(rest.is_sorted_by(|a, b| a > b), "nothing comes twice");
}

#[test]
fn a_search_stops_at_its_bound_and_says_how_far_it_looked() {
    let mut deliveries: Vec<_> = (1..=25_000).map(|id| delivery(id, &[7])).collect();
    deliveries[2] = delivery(3, &[7, 8]);
    let mut query = AttemptQuery {
        failed: Some(true),
        ..AttemptQuery::default()
    };
    for (last, expected) in [(15_001, vec![]), (5_001, vec![]), (0, vec![(3, 1)])] {
        let found = page(&query, &deliveries);
        assert_eq!(shown(&found), expected);
        assert_eq!(found.searched_to.map_or(0, DeliveryId::get), last);
        assert_eq!(found.next.is_some(), last > 0);
        query.before = found.next;
    }
}

#[test]
fn deliveries_with_many_attempts_are_looked_at_in_smaller_groups() {
    let many: Vec<_> = (0..300).collect();
    let deliveries: Vec<_> = (1..=100).map(|id| delivery(id, &many)).collect();
    let query = AttemptQuery {
        failed: Some(false),
        ..limited(1_000)
    };
    let found = page(&query, &deliveries);
    assert_eq!(found.attempts.len(), 34, "that many have 10,000 attempts");
    assert!(found.next.is_some() && found.searched_to.is_some());
    assert_eq!(all(query, &deliveries).len(), 100);
}

#[test]
fn what_is_no_cursor_is_refused() {
    for wrong in ["", "a", "1,2", "1,2,3,4", "1,2,3,4,-5", "1,2,3,4,5,6", "-1"] {
        assert_eq!(
            wrong.parse::<AttemptCursor>(),
            Err(InvalidCursor),
            "{wrong}"
        );
    }
    let cursor: AttemptCursor = "9,3,-7,5,2".parse().unwrap();
    assert_eq!(cursor.to_string(), "9,3,-7,5,2");
}
