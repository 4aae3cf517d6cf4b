use std::collections::BTreeMap;

use actix_webhooks::fuzzing::RoutingTable;
use actix_webhooks::{Event, Rule, Timestamp};

use super::source::Source;

/// Puts and removes rules and matches events, as the bytes say.
///
/// # Panics
/// If the routing table does not find the same rules, in the same order, as a linear search.
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
}

/// Matches as the documentation of rules describes it.
fn does_match(rule: &Rule, event: &Event) -> bool {
    let (asked, given) = (spelled(&rule.rule_type), spelled(&event.rule_type));
    let below = asked.strip_suffix(".*").is_some_and(|prefix| {
        let rest = given.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.starts_with('.')) && prefix.matches('.').count() < MOST_DOTS
    });
    let client = rule.client_id.as_ref();
    let company = rule.company_id.as_ref();
    rule.enabled
        && (asked == "*" || asked == given || below)
        && client.is_none_or(|client| *client == event.client_id)
        && company.is_none_or(|company| Some(company) == event.company_id.as_ref())
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
    rule
}

fn event(source: &mut Source<'_>) -> Event {
    let rule_type = rule_type(source);
    let event = Event::identified("e", Timestamp::default(), rule_type, source.pick(&CLIENTS));
    let about = source.byte();
    if about & 1 == 0 {
        event
    } else {
        event.company(source.pick(&COMPANIES))
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

/// The two spellings of one type.
const SPELLING: &str = "New company synchronised";
const ALSO: &str = "New company synchronized";

/// The most dots in the prefix before a `*`, the last one included.
const MOST_DOTS: usize = 16;

const MOST_STEPS: usize = 64;
