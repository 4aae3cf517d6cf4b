use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::endpoint::standing::StateKind;

fn url(number: u8) -> WebhookUrl {
    WebhookUrl::parse(&format!("http://{number}.test/")).unwrap()
}

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_unix_millis(minute * 60_000)
}

fn standing(kind: StateKind, failing: bool) -> Standing {
    Standing { kind, failing }
}

const WELL: Standing = Standing {
    kind: StateKind::Delivering,
    failing: false,
};

fn note(kind: StateKind, open: u64) -> Note {
    Note::default().with(standing(kind, true), open)
}

fn order(attention: &Attention) -> Vec<WebhookUrl> {
    attention.after(None).map(|(_, url)| url.clone()).collect()
}

#[test]
fn of_an_endpoint_that_is_well_there_is_nothing_to_note() {
    let failing = standing(StateKind::BackingOff, true);
    let noted = Note::default().with(failing, 5);
    assert_ne!(noted, Note::default());
    let well = [0, 1, 1_000].map(|open| noted.with(WELL, open));
    assert_eq!(well, [Note::default(); 3]);
    assert_eq!(noted.with(failing, 6), noted, "the same power of two");
    assert_ne!(noted.with(failing, 8), noted);
}

#[test]
fn the_order_is_by_what_was_given_up_then_by_what_is_open_then_by_age() {
    let mut attention = Attention::default();
    attention.note(&url(1), note(StateKind::Disabled, 0), None, minute(1));
    attention.note(&url(2), note(StateKind::Paused, 0), None, minute(2));
    attention.note(&url(3), note(StateKind::Paused, 9), None, minute(3));
    attention.note(&url(4), note(StateKind::BackingOff, 0), None, minute(4));
    attention.give_up(&url(4), 1, minute(4));
    attention.give_up(&url(5), 2, minute(4));
    assert_eq!(order(&attention), [5, 4, 3, 1, 2].map(url));
    let (rank, trouble) = attention.of(&url(4)).unwrap();
    assert_eq!((trouble.since, trouble.given_up), (minute(4), 1));
    let last = (rank, url(4));
    let rest: Vec<_> = attention.after(Some(&last)).collect();
    assert_eq!(rest.len(), 3, "those after it");
    let urls: Vec<_> = attention.urls_after(Some(&url(2))).cloned().collect();
    assert_eq!(urls, [3, 4, 5].map(url));
}

#[test]
fn an_endpoint_that_is_well_again_stays_until_what_it_gave_up_is_an_hour_old() {
    let mut attention = Attention::default();
    attention.note(&url(1), note(StateKind::Delivering, 1), None, minute(0));
    attention.give_up(&url(1), 1, minute(0));
    attention.note(&url(1), Note::default(), None, minute(1));
    assert_eq!(order(&attention), [url(1)]);
    attention.pass(minute(59), 10);
    assert_eq!(order(&attention), [url(1)]);
    attention.pass(minute(60), 10);
    assert!(order(&attention).is_empty());
    assert!(attention.entries.is_empty() && attention.leaving.is_empty());
}

#[test]
fn the_age_of_a_trouble_is_kept_while_its_kind_changes() {
    let mut attention = Attention::default();
    let since = |attention: &Attention| attention.of(&url(1)).unwrap().1.since;
    let failing = note(StateKind::BackingOff, 0);
    attention.note(&url(1), failing, Some(minute(3)), minute(5));
    assert_eq!(since(&attention), minute(3), "the first failure is known");
    attention.note(&url(1), note(StateKind::Disabled, 0), None, minute(8));
    assert_eq!(since(&attention), minute(3));
    attention.note(&url(1), Note::default(), None, minute(9));
    attention.note(&url(1), failing, Some(minute(99)), minute(10));
    assert_eq!(
        since(&attention),
        minute(10),
        "no trouble begins later than now"
    );
}

#[test]
fn a_call_that_moves_on_takes_in_no_more_endpoints_than_it_may() {
    let mut attention = Attention::default();
    (0..5).for_each(|number| attention.give_up(&url(number), 1, minute(0)));
    attention.pass(minute(100), 2);
    assert_eq!(order(&attention).len(), 3);
    attention.pass(minute(100), 9);
    assert_eq!(order(&attention).len(), 0);
}

/// What an endpoint was last noted with, and all that it gave up.
#[derive(Clone, Default)]
struct Known {
    note: Note,
    since: Option<Timestamp>,
    given_up: Vec<(i64, u64)>,
}

impl Known {
    fn given_up(&self, now: i64) -> u64 {
        let begins = (now / 10 - 5) * 10;
        let inside = self.given_up.iter().filter(|(at, _)| *at >= begins);
        inside.map(|(_, count)| count).sum()
    }
}

proptest! {
    #[test]
    fn the_order_is_that_of_a_full_scan(
        steps in prop::collection::vec((0_u8..4, 0_u8..4, 0_u64..40, 0_i64..25), 1..80)
    ) {
        let (mut attention, mut all) = (Attention::default(), BTreeMap::<u8, Known>::new());
        let mut now = 1_000;
        for (endpoint, what, count, wait) in steps {
            now += wait;
            attention.pass(minute(now), usize::MAX);
            for known in all.values_mut() {
                let well = known.note.standing.is_well();
                known.since = known.since.filter(|_| !well || known.given_up(now) > 0);
            }
            let known = all.entry(endpoint).or_default();
            match what {
                0 => {
                    known.note = Note::default();
                    attention.note(&url(endpoint), known.note, None, minute(now));
                    known.since = known.since.filter(|_| known.given_up(now) > 0);
                }
                1 | 2 => {
                    let kind = if what == 1 { StateKind::Paused } else { StateKind::Delivering };
                    known.note = known.note.with(standing(kind, what == 2), count);
                    attention.note(&url(endpoint), known.note, None, minute(now));
                    known.since.get_or_insert(minute(now));
                }
                _ if count == 0 => {
                    attention.remove(&url(endpoint));
                    *known = Known::default();
                }
                _ => {
                    attention.give_up(&url(endpoint), count, minute(now));
                    known.given_up.push((now, count));
                    known.since.get_or_insert(minute(now));
                }
            }
            let mut expected: Vec<_> = all.iter().filter_map(|(number, known)| {
                let rank = Rank::new(known.given_up(now), known.note.backlog, known.since?);
                Some((rank, url(*number)))
            }).collect();
            expected.sort();
            let found: Vec<_> = attention.after(None).cloned().collect();
            prop_assert_eq!(found, expected);
            let kept = attention.leaving.len();
            let giving_up = all.values().filter(|known| known.given_up(now) > 0).count();
            prop_assert_eq!(kept, giving_up);
        }
    }
}
