//! Rules in the order in which they are looked at to explain why one does not match.
//!
//! Two ordered sets of shared rules, disabled ones included. An entry is a pointer: the keys are in
//! the rules.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::routing::rule::Rule;
use crate::domain::value::id::{ClientId, RuleId};

/// All rules, by type and client, and by client.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    by_type: BTreeSet<Of<Type>>,
    by_client: BTreeSet<Of<Client>>,
}

/// A rule in the order of a key.
#[derive(Debug)]
struct Of<K>(Arc<Rule>, K);

/// The type, then the client, with the rules for every client first.
#[derive(Debug)]
struct Type;

/// The client.
#[derive(Debug)]
struct Client;

trait Key {
    fn compare(one: &Rule, other: &Rule) -> Ordering;
}

impl Key for Type {
    fn compare(one: &Rule, other: &Rule) -> Ordering {
        canonical(&one.rule_type)
            .cmp(canonical(&other.rule_type))
            .then_with(|| one.client_id.cmp(&other.client_id))
    }
}

impl Key for Client {
    fn compare(one: &Rule, other: &Rule) -> Ordering {
        one.client_id.cmp(&other.client_id)
    }
}

impl<K: Key> Ord for Of<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        K::compare(&self.0, &other.0).then_with(|| self.0.id.cmp(&other.0.id))
    }
}

impl<K: Key> PartialOrd for Of<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Key> PartialEq for Of<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Key> Eq for Of<K> {}

impl Neighbours {
    pub(super) fn put(&mut self, rule: &Arc<Rule>) {
        self.by_type.insert(Of(Arc::clone(rule), Type));
        if rule.client_id.is_some() {
            self.by_client.insert(Of(Arc::clone(rule), Client));
        }
    }

    pub(super) fn remove(&mut self, rule: &Arc<Rule>) {
        self.by_type.remove(&Of(Arc::clone(rule), Type));
        self.by_client.remove(&Of(Arc::clone(rule), Client));
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_type.is_empty() && self.by_client.is_empty()
    }

    /// Returns the rules of a type for this client, or with `None` for every client, by id.
    pub(super) fn of_type<'a>(
        &'a self,
        rule_type: &str,
        client: Option<&ClientId>,
    ) -> impl Iterator<Item = &'a Arc<Rule>> + use<'a> {
        beginning_at(&self.by_type, before(rule_type, client.cloned(), Type))
    }

    /// Returns the rules of a type that are for other clients than this one, by client and id.
    pub(super) fn of_others<'a>(
        &'a self,
        rule_type: &str,
        client: &ClientId,
    ) -> impl Iterator<Item = &'a Arc<Rule>> + use<'a> {
        // No text is between a text and the same text with a zero behind it.
        let next = ClientId::from(format!("{client}\0"));
        let [first, own, next] =
            [ClientId::from(""), client.clone(), next].map(|at| before(rule_type, Some(at), Type));
        let is_of_type = canonical(rule_type).to_owned();
        let rules = self
            .by_type
            .range(first..own)
            .chain(self.by_type.range(next..));
        rules
            .map(|entry| &entry.0)
            .take_while(move |rule| canonical(&rule.rule_type) == is_of_type)
    }

    /// Returns the rules that name this client, by id.
    pub(super) fn of_client<'a>(
        &'a self,
        client: &ClientId,
    ) -> impl Iterator<Item = &'a Arc<Rule>> + use<'a> {
        self.of_client_after(client, None)
    }

    /// Returns the rules that name this client and come after this one, by id.
    pub(super) fn of_client_after<'a>(
        &'a self,
        client: &ClientId,
        after: Option<&RuleId>,
    ) -> impl Iterator<Item = &'a Arc<Rule>> + use<'a> {
        let mut first = before("", Some(client.clone()), Client);
        if let Some(after) = after {
            // No text is between a text and the same text with a zero behind it.
            Arc::make_mut(&mut first.0).id = RuleId::from(format!("{after}\0"));
        }
        beginning_at(&self.by_client, first)
    }
}

/// Returns the place before all rules with this type and client: no id is less than an empty one.
fn before<K>(rule_type: &str, client_id: Option<ClientId>, key: K) -> Of<K> {
    let mut rule = Rule::new("", rule_type);
    rule.client_id = client_id;
    Of(Arc::new(rule), key)
}

/// Returns the rules from a place on that have its key.
fn beginning_at<K: Key>(rules: &BTreeSet<Of<K>>, first: Of<K>) -> impl Iterator<Item = &Arc<Rule>> {
    let key = Arc::clone(&first.0);
    let rules = rules.range(first..).map(|entry| &entry.0);
    rules.take_while(move |rule| K::compare(rule, &key).is_eq())
}

/// Returns the spelling by which a rule type is compared: the alert service spelled one of its own
/// types in two ways.
pub(super) fn canonical(rule_type: &str) -> &str {
    match rule_type {
        "New company synchronized" => "New company synchronised",
        other => other,
    }
}
