use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use actix_webhooks::fuzzing::RoutingTable;
use actix_webhooks::{
    Condition, Event, Expected, Filter, MissReason, Rule, RuleId, RuleMiss, Timestamp,
};
use serde_json::{Value, json};

use super::source::Source;

/// Puts and removes rules and matches events, as the bytes say.
///
/// # Panics
/// If the routing table does not find the same rules, in the same order, as a linear search, or if
/// it does not say of every other rule of the event's type or client why it does not match.
pub fn routing(data: &[u8]) {
    let mut source = Source::new(data);
    let mut table = RoutingTable::default();
    let mut reference = BTreeMap::new();
    for _ in 0..MOST_STEPS {
        if source.is_empty() {
            break;
        }
        match source.byte() % 4 {
            0 => {
                let rule = rule(&mut source);
                reference.insert(rule.id.as_str().to_owned(), rule.clone());
                table.put(rule);
            }
            1 => {
                let id = source.pick(&IDS);
                let removed = table.remove(&id.into()).map(|rule| Rule::clone(&rule));
                assert_eq!(removed, reference.remove(id));
            }
            _ => check(&table, &reference, &event(&mut source)),
        }
    }
    assert_eq!(table.rules(), reference.values().collect::<Vec<_>>());
    for (id, rule) in &reference {
        assert_eq!(table.get(&id.as_str().into()), Some(rule));
    }
}

fn check(table: &RoutingTable, reference: &BTreeMap<String, Rule>, event: &Event) {
    let matches = table.matches(event);
    let found: Vec<&str> = matches.iter().map(|rule| rule.id.as_str()).collect();
    let all = reference.values().filter(|rule| does_match(rule, event));
    let expected: Vec<&str> = all.map(|rule| rule.id.as_str()).collect();
    assert_eq!(found, expected, "{event:?}");
    check_explanation(table, reference, event, &expected);
}

fn check_explanation(
    table: &RoutingTable,
    reference: &BTreeMap<String, Rule>,
    event: &Event,
    expected: &[&str],
) {
    let explanation = table.explain(event);
    let matches = explanation.matches.iter().map(RuleId::as_str);
    assert!(matches.eq(expected.iter().copied()), "{event:?}");
    let near =
        |rule: &&Rule| is_of_type(rule, event) || rule.client_id.as_ref() == Some(&event.client_id);
    let others = reference.values().filter(|rule| !does_match(rule, event));
    let others: BTreeSet<&str> = others.filter(near).map(|rule| rule.id.as_str()).collect();
    let misses = &explanation.misses;
    let explained: BTreeSet<&str> = misses.iter().map(|miss| miss.rule.as_str()).collect();
    assert_eq!(explained, others, "{event:?}");
    assert_eq!((explained.len(), explanation.more), (misses.len(), false));
    let mut last = 0;
    for RuleMiss { rule, why, .. } in misses {
        let rule = reference.get(rule.as_str()).expect("the rule was put");
        let holds = conditions(rule, event);
        let first = holds.iter().position(|holds| !holds);
        assert_eq!(first, Some(failed(why, rule, event)), "{rule:?}, {event:?}");
        let failures = holds.iter().filter(|holds| !**holds).count();
        assert!(last <= failures, "{misses:?}");
        last = failures;
    }
}

/// Returns which condition of a rule a reason is about, after checking what it says.
fn failed(why: &MissReason, rule: &Rule, event: &Event) -> usize {
    match why {
        MissReason::Disabled => 0,
        MissReason::Type { asked } => {
            assert_eq!(*asked, rule.rule_type);
            1
        }
        MissReason::Client { asked } => {
            assert_eq!(Some(asked), rule.client_id.as_ref());
            2
        }
        MissReason::Company { asked } => {
            assert_eq!(Some(asked), rule.company_id.as_ref());
            3
        }
        MissReason::Filter {
            condition, found, ..
        } => {
            let data = event.data.as_ref();
            assert!(!does_hold(&Filter::from(condition.clone()), data));
            let value = data.and_then(|data| data.pointer(condition.pointer.as_str()));
            assert_eq!(*found, value.map(Value::to_string));
            4
        }
        other => unreachable!("{other:?}"),
    }
}

/// Matches as the documentation of rules describes it.
fn does_match(rule: &Rule, event: &Event) -> bool {
    conditions(rule, event).into_iter().all(|holds| holds)
}

fn conditions(rule: &Rule, event: &Event) -> [bool; 5] {
    let client = rule.client_id.as_ref();
    let company = rule.company_id.as_ref();
    let filter = rule.filter.as_ref();
    [
        rule.enabled,
        is_of_type(rule, event),
        client.is_none_or(|client| *client == event.client_id),
        company.is_none_or(|company| Some(company) == event.company_id.as_ref()),
        filter.is_none_or(|filter| does_hold(filter, event.data.as_ref())),
    ]
}

fn does_hold(filter: &Filter, data: Option<&Value>) -> bool {
    match filter {
        Filter::All(filters) => !filters.iter().any(|filter| !does_hold(filter, data)),
        Filter::Any(filters) => filters.iter().any(|filter| does_hold(filter, data)),
        Filter::Condition(condition) => {
            let found = data.and_then(|data| data.pointer(condition.pointer.as_str()));
            let rank = found.and_then(rank);
            let has = |value: &Value| {
                let is_same = found == Some(value);
                is_same || (rank.is_some() && rank == self::rank(value))
            };
            let compare = |value: &Value| rank.and_then(|one| Some(one.cmp(&self::rank(value)?)));
            match &condition.expected {
                Expected::Equals(value) => has(value),
                Expected::OneOf(values) => values.iter().any(has),
                Expected::Exists(exists) => found.is_some() == *exists,
                Expected::Gt(value) => compare(value).is_some_and(Ordering::is_gt),
                Expected::Gte(value) => compare(value).is_some_and(Ordering::is_ge),
                Expected::Lt(value) => compare(value).is_some_and(Ordering::is_lt),
                Expected::Lte(value) => compare(value).is_some_and(Ordering::is_le),
                other => unreachable!("{other:?}"),
            }
        }
        other => unreachable!("{other:?}"),
    }
}

/// Returns the place of a number among all numbers that are used here.
fn rank(value: &Value) -> Option<usize> {
    let forms = numbers();
    forms.iter().position(|forms| forms.contains(value))
}

/// Returns the numbers in ascending order, each in its two forms.
fn numbers() -> [[Value; 2]; 5] {
    [
        [json!(-1), json!(-1.0)],
        [json!(0.5), json!(5e-1)],
        [json!(1), json!(1.0)],
        [json!(TWO_TO_53), json!(9_007_199_254_740_992.0)],
        [json!(TWO_TO_53 + 1), json!(TWO_TO_53 + 1)],
    ]
}

fn is_of_type(rule: &Rule, event: &Event) -> bool {
    let (asked, given) = (spelled(&rule.rule_type), spelled(&event.rule_type));
    let below = asked.strip_suffix(".*").is_some_and(|prefix| {
        let rest = given.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.starts_with('.')) && prefix.matches('.').count() < MOST_DOTS
    });
    asked == "*" || asked == given || below
}

fn spelled(rule_type: &str) -> &str {
    if rule_type == ALSO {
        SPELLING
    } else {
        rule_type
    }
}

fn rule(source: &mut Source<'_>) -> Rule {
    let mut rule = Rule::new(source.pick(&IDS), rule_type(source));
    let about = source.byte();
    if about & 0b01 != 0 {
        rule = rule.client(source.pick(&CLIENTS));
    }
    if about & 0b10 != 0 {
        rule = rule.company(source.pick(&COMPANIES));
    }
    if about & 0b1100 == 0b1100 {
        rule = rule.disabled();
    }
    if about & 0b1_0000 != 0 {
        rule = rule.filter(filter(source, 3));
    }
    rule
}

fn filter(source: &mut Source<'_>, levels: u8) -> Filter {
    let kind = source.byte() % 12;
    if kind >= 7 && levels > 0 {
        let count = source.byte() % 3 + 1;
        let filters: Vec<_> = (0..count).map(|_| filter(source, levels - 1)).collect();
        return if kind.is_multiple_of(2) {
            Filter::all(filters)
        } else {
            Filter::any(filters)
        };
    }
    let pointer = source.pick(&POINTERS);
    let value = scalar(source);
    let expected = match kind {
        0 => Expected::Gt(value),
        1 => Expected::Gte(value),
        2 => Expected::Lt(value),
        3 => Expected::Lte(value),
        4 => Expected::OneOf(vec![value, scalar(source)]),
        5 => Expected::Exists(source.byte().is_multiple_of(2)),
        _ => Expected::Equals(value),
    };
    Condition::new(pointer, expected).into()
}

fn scalar(source: &mut Source<'_>) -> Value {
    let kind = source.byte();
    match kind % 16 {
        0 => Value::Null,
        1 => json!(true),
        2 => json!("1"),
        3 => json!("a"),
        _ => {
            let at = source.pick(&[0, 1, 2, 3, 4]);
            let form = usize::from(kind / 128);
            let value = numbers().get(at).and_then(|forms| forms.get(form)).cloned();
            value.expect("there are five in two forms")
        }
    }
}

/// Returns data in which most pointers find something.
fn data(source: &mut Source<'_>) -> Value {
    match source.byte() % 4 {
        0 => scalar(source),
        1 => json!([scalar(source), { "a": scalar(source) }]),
        2 => json!({ "a": scalar(source), "0": [scalar(source)] }),
        _ => json!({ "a": { "a": scalar(source) }, "~": scalar(source), "": scalar(source) }),
    }
}

fn event(source: &mut Source<'_>) -> Event {
    let rule_type = rule_type(source);
    let event = Event::identified("e", Timestamp::default(), rule_type, source.pick(&CLIENTS));
    let about = source.byte();
    let event = if about & 0b01 == 0 {
        event
    } else {
        event.company(source.pick(&COMPANIES))
    };
    if about & 0b10 == 0 {
        event
    } else {
        event.data(data(source))
    }
}

/// Returns a text made of a few parts, so that rules and events often match.
fn rule_type(source: &mut Source<'_>) -> String {
    let length = usize::from(source.byte()) % (2 * MOST_DOTS + 4);
    (0..length).map(|_| source.pick(&PARTS)).collect()
}

const IDS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "", "ä"];
const CLIENTS: [&str; 3] = ["c1", "c2", ""];
const COMPANIES: [&str; 3] = ["k1", "k2", ""];
const PARTS: [&str; 8] = ["a", "b", ".", ".a", "*", ".*", SPELLING, ALSO];

const POINTERS: [&str; 8] = ["", "/a", "/a/a", "/0", "/1/a", "/0/0", "/~0", "/"];

const TWO_TO_53: u64 = 9_007_199_254_740_992;

/// The two spellings of one type.
const SPELLING: &str = "New company synchronised";
const ALSO: &str = "New company synchronized";

/// The most dots in the prefix before a `*`, the last one included.
const MOST_DOTS: usize = 16;

const MOST_STEPS: usize = 64;
