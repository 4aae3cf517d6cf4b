//! The rules that an event matches, found at a cost proportional to the matches, not to the rules.
//!
//! Rules are indexed first by rule type (the exact text, the prefixes at the dots of the text, and
//! `*`), then by client and company, each given or open. An event therefore takes a handful of
//! look-ups however many rules there are. The filters of the rules found this way, and of no
//! others, are evaluated last. Matches are ordered by rule id, so that the same event always raises
//! the same deliveries in the same order.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::ops::Bound;
use std::sync::Arc;

use foldhash::HashMap;
use serde_json::Value;

use crate::domain::events::event::Event;
use crate::domain::routing::neighbours::{Neighbours, canonical};
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::{ClientId, CompanyId, RuleId};

/// The rules, indexed by the events that they match.
#[derive(Debug, Default)]
pub(crate) struct RoutingTable {
    rules: BTreeMap<RuleId, Arc<Rule>>,
    by_type: HashMap<String, ByScope>,
    pub(super) neighbours: Neighbours,
}

/// The parts of an event that rules ask about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits<'a> {
    pub(crate) rule_type: &'a str,
    pub(crate) client_id: &'a ClientId,
    pub(crate) company_id: Option<&'a CompanyId>,
    pub(crate) data: Option<&'a Value>,
}

impl<'a> From<&'a Event> for Traits<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            rule_type: &event.rule_type,
            client_id: &event.client_id,
            company_id: event.company_id.as_ref(),
            data: event.data.as_ref(),
        }
    }
}

/// The rules of one type, by the client and company that they are for.
#[derive(Debug, Default)]
struct ByScope {
    /// Rules for every client and company.
    open: Vec<Arc<Rule>>,
    scoped: HashMap<Scope, Vec<Arc<Rule>>>,
}

/// The client and company that a rule is for; `None` is any.
type Scope = (Option<ClientId>, Option<CompanyId>);

impl RoutingTable {
    /// Adds a rule, or replaces the one with its id.
    pub(crate) fn put(&mut self, rule: Rule) {
        self.remove(&rule.id.clone());
        let rule = Arc::new(rule);
        if rule.enabled {
            let by_scope = self
                .by_type
                .entry(canonical(&rule.rule_type).to_owned())
                .or_default();
            by_scope.put(Arc::clone(&rule));
        }
        self.neighbours.put(&rule);
        self.rules.insert(rule.id.clone(), rule);
    }

    /// Removes the rule and returns it; `None` if there was none.
    pub(crate) fn remove(&mut self, id: &RuleId) -> Option<Arc<Rule>> {
        let rule = self.rules.remove(id)?;
        self.neighbours.remove(&rule);
        let rule_type = canonical(&rule.rule_type);
        if let Some(by_scope) = self.by_type.get_mut(rule_type) {
            by_scope.remove(&rule);
            if by_scope.open.is_empty() && by_scope.scoped.is_empty() {
                self.by_type.remove(rule_type);
            }
        }
        Some(rule)
    }

    /// Returns the rule with this id.
    pub(crate) fn get(&self, id: &RuleId) -> Option<&Arc<Rule>> {
        self.rules.get(id)
    }

    /// Returns the rules after this one, or all, ordered by id.
    pub(super) fn after(&self, id: Option<&RuleId>) -> impl Iterator<Item = &Arc<Rule>> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        let rules = self.rules.range::<RuleId, _>((from, Bound::Unbounded));
        rules.map(|(_, rule)| rule)
    }

    /// Returns every rule, ordered by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.values()
    }

    /// Appends to `matches` the enabled rules that an event matches, ordered by rule id.
    pub(crate) fn matches(&self, event: Traits<'_>, matches: &mut Vec<Arc<Rule>>) {
        for_each_pattern(event.rule_type, |pattern| {
            self.collect(pattern, event, matches);
        });
        matches.sort_by(|a, b| a.id.cmp(&b.id));
    }

    fn collect(&self, pattern: &str, event: Traits<'_>, matches: &mut Vec<Arc<Rule>>) {
        let Some(by_scope) = self.by_type.get(pattern) else {
            return;
        };
        let mut add = |rules: &[Arc<Rule>]| {
            matches.extend(
                rules
                    .iter()
                    .filter(|rule| rule.accepts(event.data))
                    .cloned(),
            );
        };
        add(&by_scope.open);
        if by_scope.scoped.is_empty() {
            return;
        }
        let mut look_up = |scope: &Scope| {
            if let Some(rules) = by_scope.scoped.get(scope) {
                add(rules);
            }
        };
        let mut scope = (Some(event.client_id.clone()), None);
        look_up(&scope);
        if event.company_id.is_some() {
            scope.1 = event.company_id.cloned();
            look_up(&scope);
            scope.0 = None;
            look_up(&scope);
        }
    }
}

impl ByScope {
    fn put(&mut self, rule: Arc<Rule>) {
        match scope_of(&rule) {
            (None, None) => self.open.push(rule),
            scope => self.scoped.entry(scope).or_default().push(rule),
        }
    }

    fn remove(&mut self, rule: &Rule) {
        let others = |other: &Arc<Rule>| other.id != rule.id;
        match scope_of(rule) {
            (None, None) => self.open.retain(others),
            scope => {
                if let Entry::Occupied(mut rules) = self.scoped.entry(scope) {
                    rules.get_mut().retain(others);
                    if rules.get().is_empty() {
                        rules.remove();
                    }
                }
            }
        }
    }
}

fn scope_of(rule: &Rule) -> Scope {
    (rule.client_id.clone(), rule.company_id.clone())
}

/// Calls `each` with every type that a rule may have to match an event of this type: the exact one,
/// `*`, and `prefix.*` at its dots.
pub(super) fn for_each_pattern(rule_type: &str, mut each: impl FnMut(&str)) {
    let rule_type = canonical(rule_type);
    each(rule_type);
    if rule_type != "*" {
        each("*");
    }
    let mut pattern = String::new();
    for dot in dots(rule_type).take(MAX_PREFIXES) {
        pattern.clear();
        pattern.push_str(rule_type.get(..dot).unwrap_or_default());
        pattern.push_str(".*");
        if pattern != rule_type {
            each(&pattern);
        }
    }
}

/// Returns the positions of the dots in a text. Texts are short, so a byte-by-byte scan is fastest.
fn dots(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.bytes().enumerate();
    bytes.filter(|(_, byte)| *byte == b'.').map(|(at, _)| at)
}

/// The most dots of a rule type that are looked at, so that no text makes routing slow.
const MAX_PREFIXES: usize = 16;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::routing::filter::Condition;
    use crate::domain::value::time::Timestamp;

    fn rule(id: &str, rule_type: &str) -> Rule {
        Rule::new(id, rule_type)
            .webhook("https://example.com/")
            .unwrap()
    }

    fn event(rule_type: &str) -> Event {
        Event::identified("e", Timestamp::default(), rule_type, "c1")
    }

    #[track_caller]
    fn check(rules: Vec<Rule>, event: &Event, expected: &[&str]) {
        let mut table = RoutingTable::default();
        for rule in rules {
            table.put(rule);
        }
        let mut matches = Vec::new();
        table.matches(event.into(), &mut matches);
        assert_eq!(
            matches
                .iter()
                .map(|rule| rule.id.as_str())
                .collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn types_match_exactly_by_prefix_or_all() {
        let rules = || {
            vec![
                rule("exact", "a.b.c"),
                rule("near", "a.b.*"),
                rule("far", "a.*"),
                rule("all", "*"),
                rule("no", "a.b"),
            ]
        };
        check(rules(), &event("a.b.c"), &["all", "exact", "far", "near"]);
        check(rules(), &event("a.b"), &["all", "far", "no"]);
        check(rules(), &event("a"), &["all"]);
        check(rules(), &event("b.a.c"), &["all"]);
        check(rules(), &event("*"), &["all"]);
        check(rules(), &event("a.*"), &["all", "far"]);
    }

    #[test]
    fn client_and_company_narrow_a_rule_to_exactly_themselves() {
        let rules = || {
            vec![
                rule("any", "t"),
                rule("client", "t").client("c1"),
                rule("company", "t").company("k1"),
                rule("both", "t").client("c1").company("k1"),
                rule("other-client", "t").client("c2").company("k1"),
                rule("other-company", "t").client("c1").company("k2"),
            ]
        };
        check(
            rules(),
            &event("t").company("k1"),
            &["any", "both", "client", "company"],
        );
        check(rules(), &event("t"), &["any", "client"]);
    }

    #[test]
    fn a_filter_is_asked_after_type_client_and_company() {
        let large = || Condition::gte("/amount", 10);
        let rules = || {
            vec![
                rule("all", "t"),
                rule("large", "*").filter(large()),
                rule("other", "u").filter(large()),
                rule("mine", "t").client("c1").filter(large()),
            ]
        };
        let event = || event("t");
        check(
            rules(),
            &event().data(json!({ "amount": 10 })),
            &["all", "large", "mine"],
        );
        check(rules(), &event().data(json!({ "amount": 9 })), &["all"]);
        check(rules(), &event(), &["all"]);
    }

    #[test]
    fn both_spellings_of_synchronised_are_one_type() {
        let rules = || {
            vec![
                rule("s", "New company synchronised"),
                rule("z", "New company synchronized"),
            ]
        };
        check(rules(), &event("New company synchronised"), &["s", "z"]);
        check(rules(), &event("New company synchronized"), &["s", "z"]);
    }

    #[test]
    fn replaced_disabled_and_removed_rules_stop_matching() {
        let mut table = RoutingTable::default();
        let count = |table: &RoutingTable, rule_type: &str| {
            let mut matches = Vec::new();
            table.matches((&event(rule_type)).into(), &mut matches);
            matches.len()
        };
        table.put(rule("r", "t"));
        table.put(rule("r", "u"));
        assert_eq!((count(&table, "t"), count(&table, "u")), (0, 1));
        table.put(rule("r", "u").disabled());
        assert_eq!((count(&table, "u"), table.iter().count()), (0, 1));
        assert!(table.remove(&"r".into()).is_some());
        assert!(table.remove(&"r".into()).is_none());
        assert!(table.by_type.is_empty(), "nothing is left behind");
        assert!(table.neighbours.is_empty(), "nothing is left behind");
    }
}
