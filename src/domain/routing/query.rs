//! Queries among rules and clients: which ones they find, a page at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::routing::client::Client;
use crate::domain::routing::rule::Rule;
use crate::domain::routing::table::RoutingTable;
use crate::domain::value::id::{ClientId, RuleId};
use crate::domain::value::text::contains;
use crate::domain::value::url::WebhookUrl;

/// A filter for listing rules, ordered by id. Defaults to the first 100 of all.
///
/// In JSON an unknown field is an error, so that a misspelt filter does not match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "written with `..default()`, which goes on working with a further field"
)]
pub struct RuleQuery {
    /// Only rules that name this client. Rules for every client are not among them.
    pub client_id: Option<ClientId>,
    /// Only rules with exactly this rule type.
    pub rule_type: Option<String>,
    /// Only rules whose alerts go to this endpoint.
    pub url: Option<WebhookUrl>,
    /// Only rules that are enabled, or only those that are not.
    pub enabled: Option<bool>,
    /// Only rules whose id or type contains this text, regardless of the case of ASCII letters.
    pub contains: Option<String>,
    /// Only rules after this one, for the next page.
    pub after: Option<RuleId>,
    /// The maximum number of results. 0 means 100; more than 1,000 means 1,000.
    pub limit: usize,
}

/// A filter for listing clients, ordered by id. Defaults to the first 100 of all.
///
/// In JSON an unknown field is an error, so that a misspelt filter does not match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "written with `..default()`, which goes on working with a further field"
)]
pub struct ClientQuery {
    /// Only clients whose id contains this text, regardless of the case of ASCII letters.
    pub contains: Option<String>,
    /// Only clients after this one, for the next page.
    pub after: Option<ClientId>,
    /// The maximum number of results. 0 means 100; more than 1,000 means 1,000.
    pub limit: usize,
}

impl RuleQuery {
    /// Returns `true` if the query finds a rule. Its place in the order is not compared.
    fn finds(&self, rule: &Rule) -> bool {
        let client = self.client_id.as_ref();
        client.is_none_or(|client| rule.client_id.as_ref() == Some(client))
            && self.enabled.is_none_or(|enabled| rule.enabled == enabled)
            && self
                .rule_type
                .as_ref()
                .is_none_or(|asked| rule.rule_type == *asked)
            && self
                .url
                .as_ref()
                .is_none_or(|url| rule.webhooks.contains(url))
            && self.contains.as_deref().is_none_or(|part| {
                contains(rule.id.as_str(), part) || contains(&rule.rule_type, part)
            })
    }
}

impl ClientQuery {
    /// Returns `true` if the query finds a client. Its place in the order is not compared.
    pub(crate) fn finds(&self, client: &Client) -> bool {
        let part = self.contains.as_deref();
        part.is_none_or(|part| contains(client.id.as_str(), part))
    }
}

/// The rules that name a client.
#[derive(Debug, Default)]
pub(crate) struct OfClient {
    pub(crate) count: usize,
    /// `true` if there are more than were counted.
    pub(crate) more: bool,
    /// The URLs of the counted ones, each once.
    pub(crate) urls: BTreeSet<WebhookUrl>,
}

/// What a query has found: some of the things, and the last one looked at if more may follow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found<T> {
    pub(crate) items: Vec<T>,
    pub(crate) more_after: Option<T>,
}

impl<T: Clone> Found<T> {
    /// Takes up to `limit` things of a walk, and looks at a bounded number for them.
    pub(crate) fn among(
        walk: impl Iterator<Item = T>,
        limit: usize,
        finds: impl Fn(&T) -> bool,
    ) -> Self {
        let (mut items, mut last) = (Vec::new(), None);
        let mut walk = walk.peekable();
        for item in walk.by_ref().take(MOST_EXAMINED) {
            last = Some(item.clone());
            if !finds(&item) {
                continue;
            }
            if items.len() == limit {
                let more_after = items.last().cloned();
                return Self { items, more_after };
            }
            items.push(item);
        }
        let more_after = last.filter(|_| walk.peek().is_some());
        Self { items, more_after }
    }
}

impl RoutingTable {
    /// Returns up to `limit` rules that a query finds, ordered by id.
    ///
    /// The query's own limit is ignored.
    pub(crate) fn find(&self, query: &RuleQuery, limit: usize) -> Found<&Arc<Rule>> {
        let after = query.after.as_ref();
        let finds = |rule: &&Arc<Rule>| query.finds(rule);
        match &query.client_id {
            Some(client) => {
                let rules = self.neighbours.of_client_after(client, after);
                Found::among(rules, limit, finds)
            }
            None => Found::among(self.after(after), limit, finds),
        }
    }

    /// Returns the rules that name a client, counted up to `most`.
    pub(crate) fn of_client(&self, client: &ClientId, most: usize) -> OfClient {
        let mut of_client = OfClient::default();
        for rule in self.neighbours.of_client(client) {
            if of_client.count == most {
                of_client.more = true;
                break;
            }
            of_client.count += 1;
            of_client.urls.extend(rule.webhooks.iter().cloned());
        }
        of_client
    }
}

/// The maximum number of things examined for one page.
const MOST_EXAMINED: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: &str = "https://a.test/";

    fn table() -> RoutingTable {
        let rule = |id: &str, rule_type: &str, url: &str| {
            let rule = Rule::new(id, rule_type).webhook(HOOK).unwrap();
            rule.webhook(url).unwrap()
        };
        let mut table = RoutingTable::default();
        for rule in [
            rule("b", "invoice.paid", HOOK).client("dave"),
            rule("a", "invoice.paid", HOOK).client("dave").disabled(),
            rule("c", "order.*", "https://b.test/").client("dave"),
            rule("d", "invoice.paid", HOOK).client("eve"),
            rule("e", "*", HOOK),
        ] {
            table.put(rule);
        }
        table
    }

    #[track_caller]
    fn check(query: &RuleQuery, limit: usize, expected: &[&str], more: Option<&str>) {
        let table = table();
        let found = table.find(query, limit);
        let ids: Vec<&str> = found.items.iter().map(|rule| rule.id.as_str()).collect();
        assert_eq!(ids, expected, "{query:?}");
        let after = found.more_after.map(|rule| rule.id.as_str());
        assert_eq!(after, more, "{query:?}");
    }

    #[test]
    fn every_part_of_a_query_is_compared() {
        let all = RuleQuery::default;
        check(&all(), 9, &["a", "b", "c", "d", "e"], None);
        let of_dave = || RuleQuery {
            client_id: Some("dave".into()),
            ..all()
        };
        check(&of_dave(), 9, &["a", "b", "c"], None);
        let mut query = of_dave();
        query.enabled = Some(true);
        check(&query, 9, &["b", "c"], None);
        query.rule_type = Some("invoice.paid".to_owned());
        check(&query, 9, &["b"], None);
        let to_b = RuleQuery {
            url: Some(WebhookUrl::parse("https://B.test").unwrap()),
            ..all()
        };
        check(&to_b, 9, &["c"], None);
        for (part, expected) in [
            ("INVOICE", &["a", "b", "d"][..]),
            ("E", &["a", "b", "c", "d", "e"]),
        ] {
            let contains = Some(part.to_owned());
            check(&RuleQuery { contains, ..all() }, 9, expected, None);
        }
    }

    #[test]
    fn a_page_ends_where_the_next_one_begins() {
        let page = |client: Option<&str>, after: &str| RuleQuery {
            client_id: client.map(Into::into),
            after: Some(after.into()),
            ..RuleQuery::default()
        };
        check(&page(None, ""), 2, &["a", "b"], Some("b"));
        check(&page(None, "b"), 2, &["c", "d"], Some("d"));
        check(&page(None, "d"), 2, &["e"], None);
        check(&page(Some("dave"), ""), 2, &["a", "b"], Some("b"));
        check(&page(Some("dave"), "b"), 2, &["c"], None);
        check(&page(Some("dave"), "c"), 2, &[], None);
        // What does not match after the last one is no further page.
        let disabled = RuleQuery {
            enabled: Some(false),
            ..RuleQuery::default()
        };
        check(&disabled, 1, &["a"], None);
    }

    #[test]
    fn the_rules_of_a_client_are_counted_up_to_a_bound_with_each_url_once() {
        let of_dave = |most| {
            let found = table().of_client(&"dave".into(), most);
            (found.count, found.more, found.urls.len())
        };
        assert_eq!(of_dave(9), (3, false, 2));
        assert_eq!(of_dave(3), (3, false, 2));
        assert_eq!(of_dave(2), (2, true, 1));
        let nobody = table().of_client(&"nobody".into(), 9);
        assert_eq!((nobody.count, nobody.urls.len()), (0, 0));
    }

    #[test]
    fn a_page_examines_a_bounded_number() {
        let found = Found::among(0.., 10, |number| *number == 7);
        assert_eq!(
            (&found.items[..], found.more_after),
            (&[7][..], Some(MOST_EXAMINED - 1))
        );
        let ended = Found::among(0..MOST_EXAMINED, 10, |_| false);
        assert_eq!((ended.items.len(), ended.more_after), (0, None));
    }

    #[test]
    fn clients_are_found_by_a_part_of_their_ids() {
        let query = |part: &str| ClientQuery {
            contains: Some(part.to_owned()),
            ..ClientQuery::default()
        };
        let client = Client::new("bank-of-dave").name("Eve");
        assert!(ClientQuery::default().finds(&client) && query("OF-D").finds(&client));
        assert!(!query("eve").finds(&client), "a name is no id");
    }
}
