use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::events::event::Event;
use crate::domain::routing::filter::Filter;
use crate::domain::value::time::Timestamp;

fn rule(id: &str, rule_type: &str) -> Rule {
    Rule::new(id, rule_type)
        .webhook("https://example.com/")
        .unwrap()
}

fn event() -> Event {
    Event::identified("e", Timestamp::default(), "a.b", "c1").company("k1")
}

fn table(rules: impl IntoIterator<Item = Rule>) -> RoutingTable {
    let mut table = RoutingTable::default();
    for rule in rules {
        table.put(rule);
    }
    table
}

/// Returns the misses as texts: the rule, then the reason.
fn misses(explanation: &Explanation) -> Vec<String> {
    let misses = explanation.misses.iter();
    misses
        .map(|miss| format!("{} {}", miss.rule, miss.why))
        .collect()
}

#[test]
fn the_first_failure_is_the_reason_and_the_fewest_failures_come_first() {
    let large = || Condition::gte("/amount", 10);
    let rules = [
        rule("all", "a.*")
            .disabled()
            .client("c2")
            .company("k2")
            .filter(large()),
        rule("client", "a.b").client("c2"),
        rule("company", "*").company("k2"),
        rule("both", "*").client("c2").company("k2"),
        rule("filter", "*").filter(large()),
        rule("off", "a.b").disabled(),
        rule("type", "b").client("c1"),
        rule("far", "b"),
        rule("yes", "*").client("c1").company("k1"),
    ];
    let event = event().data(json!({ "amount": [7] }));
    let explanation = table(rules).explain((&event).into());
    assert_eq!(explanation.matches, ["yes"]);
    assert!(!explanation.more);
    assert_eq!(
        misses(&explanation),
        [
            "off disabled",
            "filter asks for /amount >= 10, found [7]",
            "company for company \"k2\"",
            "client for client \"c2\"",
            "type for events of type \"b\"",
            "both for client \"c2\"",
            "all disabled",
        ]
    );
}

#[test]
fn of_many_misses_the_nearest_are_shown_and_the_others_are_mentioned() {
    let other = |number: usize| rule(&format!("r{number:04}"), "a.b").client("c2");
    let count = |number: usize| table((0..number).map(other)).explain((&event()).into());
    let all = count(MOST_MISSES);
    assert_eq!((all.misses.len(), all.more), (MOST_MISSES, false));
    let first = count(MOST_MISSES + 1);
    assert_eq!((first.misses.len(), first.more), (MOST_MISSES, true));
    assert_eq!(first.misses, all.misses, "the first by id");
}

/// The rule that is meant is found, though there are far more rules of its type than are looked at.
#[test]
fn a_rule_for_every_client_or_for_this_one_is_found_among_thousands() {
    let count = 10 * MOST_LOOKED_AT;
    let others = (0..count).map(|number| {
        let rule = rule(&format!("a{number:05}"), "a.b");
        rule.client(format!("client-{number}"))
    });
    let meant = [
        rule("z-off", "a.b").disabled(),
        rule("z-own", "a.b").client("c1").company("k2"),
        rule("z-type", "b").client("c1"),
    ];
    let explanation = table(others.chain(meant)).explain((&event()).into());
    let shown = misses(&explanation);
    assert_eq!(
        shown.get(..2),
        Some(&["z-off disabled", "z-own for company \"k2\""].map(str::to_owned)[..])
    );
    assert_eq!((shown.len(), explanation.more), (MOST_MISSES, true));
}

#[test]
fn a_value_is_shown_as_json_and_only_its_beginning() {
    assert_eq!(shown(&json!({ "a": ["x", null] })), r#"{"a":["x",null]}"#);
    let text = |chars: usize| shown(&Value::from("x".repeat(chars)));
    assert_eq!(
        text(MOST_SHOWN - 2),
        format!("\"{}\"", "x".repeat(MOST_SHOWN - 2))
    );
    assert_eq!(
        text(MOST_SHOWN),
        format!("\"{}…", "x".repeat(MOST_SHOWN - 1))
    );
    // A character is not cut in two: the quote and 39 times three bytes fit.
    let euros = shown(&Value::from("€".repeat(100)));
    assert_eq!(euros, format!("\"{}…", "€".repeat(39)));
}

#[test]
fn a_reason_is_written_as_it_is_documented() {
    let written = |why: &MissReason| {
        let json = serde_json::to_value(why).unwrap();
        assert_eq!(
            serde_json::from_value::<MissReason>(json.clone()).unwrap(),
            *why
        );
        json
    };
    assert_eq!(
        written(&MissReason::Disabled),
        json!({ "kind": "disabled" })
    );
    let client = MissReason::Client { asked: "c".into() };
    assert_eq!(written(&client), json!({ "kind": "client", "asked": "c" }));
    let mut filter = MissReason::Filter {
        condition: Condition::equals("/a", 1),
        found: None,
        alternatives: 2,
    };
    let condition = json!({ "pointer": "/a", "equals": 1 });
    let mut expected = json!({ "kind": "filter", "condition": condition, "alternatives": 2 });
    assert_eq!(written(&filter), expected);
    if let MissReason::Filter { found, .. } = &mut filter {
        *found = Some("null".to_owned());
    }
    expected["found"] = json!("null");
    assert_eq!(written(&filter), expected);
}

/// Whether each condition of a rule holds, as its documentation describes it.
fn holds(rule: &Rule, event: &Event) -> [bool; 5] {
    let prefix = rule.rule_type.strip_suffix('*');
    let filter = rule.filter.as_ref();
    [
        rule.enabled,
        rule.rule_type == event.rule_type
            || prefix.is_some_and(|prefix| event.rule_type.starts_with(prefix)),
        rule.client_id
            .as_ref()
            .is_none_or(|id| *id == event.client_id),
        rule.company_id.is_none() || rule.company_id == event.company_id,
        filter.is_none_or(|filter| filter.holds(event.data.as_ref())),
    ]
}

fn some_rule() -> impl Strategy<Value = Rule> {
    let types = prop::sample::select(vec!["a", "a.b", "a.*", "b.*", "*"]);
    let client = prop::option::of(prop::sample::select(vec!["c0", "c1", "c2"]));
    let company = prop::option::of(prop::sample::select(vec!["k1", "k2"]));
    let limit = prop::option::of(0..4);
    let id = 0..200_u8;
    (id, types, client, company, limit, 0..5).prop_map(
        |(id, rule_type, client, company, limit, off)| {
            let mut made = rule(&format!("r{id}"), rule_type);
            made.client_id = client.map(Into::into);
            made.company_id = company.map(Into::into);
            made.enabled = off != 0;
            match limit {
                Some(limit) => made.filter(Filter::any([
                    Condition::gte("/amount", limit),
                    Condition::exists("/urgent"),
                ])),
                None => made,
            }
        },
    )
}

proptest! {
    #[test]
    fn an_explanation_has_every_match_and_true_reasons_in_order(
        rules in prop::collection::vec(some_rule(), 0..80),
        removed in prop::collection::vec(0..200_u8, 0..20),
        (rule_type, client) in (prop::sample::select(vec!["a", "a.b", "b.c"]), 0..3_u8),
        (company, amount) in (prop::option::of(1..3_u8), prop::option::of(0..4)),
    ) {
        let mut table = table(rules);
        for id in removed {
            table.remove(&format!("r{id}").as_str().into());
        }
        let mut event = Event::identified(
            "e", Timestamp::default(), rule_type, format!("c{client}"),
        );
        event.company_id = company.map(|number| format!("k{number}").into());
        event.data = amount.map(|amount| json!({ "amount": amount }));
        let explanation = table.explain((&event).into());

        let mut matches = Vec::new();
        table.matches((&event).into(), &mut matches);
        let matches: Vec<RuleId> = matches.iter().map(|rule| rule.id.clone()).collect();
        prop_assert_eq!(&explanation.matches, &matches);
        let expected = table.iter().filter(|rule| holds(rule, &event) == [true; 5]);
        prop_assert!(expected.map(|rule| &rule.id).eq(&matches));

        let near: Vec<&Arc<Rule>> = table
            .iter()
            .filter(|rule| {
                let holds = holds(rule, &event);
                let is_near = holds[1] || rule.client_id.as_ref() == Some(&event.client_id);
                is_near && holds != [true; 5]
            })
            .collect();
        let failures = |rule: &Rule| holds(rule, &event).iter().filter(|holds| !**holds).count();
        let mut expected: Vec<usize> = near.iter().map(|rule| failures(rule)).collect();
        expected.sort_unstable();
        expected.truncate(MOST_MISSES);
        let mut shown = Vec::new();
        for miss in &explanation.misses {
            let rule = table.get(&miss.rule).unwrap();
            shown.push(failures(rule));
            let first = holds(rule, &event).iter().position(|holds| !holds);
            let named = match &miss.why {
                MissReason::Disabled => 0,
                MissReason::Type { asked } => {
                    prop_assert_eq!(asked, &rule.rule_type);
                    1
                }
                MissReason::Client { asked } => {
                    prop_assert_eq!(Some(asked), rule.client_id.as_ref());
                    2
                }
                MissReason::Company { asked } => {
                    prop_assert_eq!(Some(asked), rule.company_id.as_ref());
                    3
                }
                MissReason::Filter { found, alternatives, .. } => {
                    prop_assert_eq!(found, &amount.map(|amount: i32| amount.to_string()));
                    prop_assert_eq!(*alternatives, 1);
                    4
                }
            };
            prop_assert_eq!(first, Some(named));
        }
        prop_assert_eq!(shown, expected);
        prop_assert_eq!(explanation.more, near.len() > MOST_MISSES);
    }
}
