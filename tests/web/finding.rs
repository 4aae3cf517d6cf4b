//! Rules and clients among many.

use actix_webhooks::{Client, Rule};
use serde_json::Value;

use super::support::{HOOK, id, serve};

const OTHER: &str = "https://other.test/hook";

/// Returns the ids on a page.
fn ids(page: &Value) -> Vec<&str> {
    let data = page["data"].as_array().unwrap();
    data.iter()
        .map(|shown| shown["id"].as_str().unwrap())
        .collect()
}

#[test]
fn rules_are_found_by_client_type_endpoint_state_and_a_part_of_their_id() {
    serve(async |api, sim| {
        let rule = |id: &str, rule_type: &str| Rule::new(id, rule_type).webhook(OTHER).unwrap();
        for rule in [
            rule("a1", "invoice.paid").client("dave"),
            rule("a2", "invoice.*").client("dave").disabled(),
            rule("b1", "order.paid").client("eve"),
        ] {
            sim.engine.put_rule(rule).await.unwrap();
        }
        let [hook, other] = [HOOK, OTHER].map(id);
        for (filter, expected) in [
            (String::new(), &["a1", "a2", "b1", "rule"][..]),
            ("client=dave".to_owned(), &["a1", "a2"]),
            ("client=dav".to_owned(), &[]),
            ("ruleType=invoice.*".to_owned(), &["a2"]),
            (format!("endpoint={other}"), &["a1", "a2", "b1"]),
            (format!("endpoint={hook}"), &["rule"]),
            ("enabled=false".to_owned(), &["a2"]),
            ("q=PAID".to_owned(), &["a1", "b1"]),
            ("q=a".to_owned(), &["a1", "a2", "b1"]),
            (format!("q=1&endpoint={other}&client=eve"), &["b1"]),
        ] {
            let page = api
                .get(&format!("/rules?{filter}"))
                .await
                .expect(200)
                .json();
            assert_eq!(ids(&page), expected, "{filter}");
            assert_eq!(page["next"], Value::Null);
        }
        let unknown = id("https://unknown.test/");
        let refused = api.get(&format!("/rules?endpoint={unknown}")).await;
        assert_eq!(refused.expect(404).code(), "unknown-endpoint");
        let refused = api.get("/rules?endpoint=other").await.expect(400);
        assert_eq!(refused.wrong(), "endpoint");
    });
}

#[test]
fn a_cursor_of_rules_or_clients_is_bound_to_its_filter() {
    serve(async |api, sim| {
        for number in 0..3 {
            let client = Client::new(format!("bank-{number}"));
            sim.engine.put_client(client).await.unwrap();
            let rule = Rule::new(format!("bank-{number}"), "*");
            let rule = rule.webhook(HOOK).unwrap();
            sim.engine.put_rule(rule).await.unwrap();
        }
        for list in ["/rules", "/clients"] {
            let first = api.get(&format!("{list}?q=BANK&limit=2")).await;
            let first = first.expect(200).json();
            assert_eq!(ids(&first), ["bank-0", "bank-1"]);
            let next = first["next"].as_str().unwrap();
            let last = api.get(&format!("{list}?q=BANK&cursor={next}")).await;
            let last = last.expect(200).json();
            assert_eq!((ids(&last), &last["next"]), (vec!["bank-2"], &Value::Null));
            let other = api.get(&format!("{list}?q=bank&cursor={next}")).await;
            assert_eq!(other.expect(400).code(), "cursor-of-another-query");
        }
        let page = api.get("/clients?q=dave").await.expect(200).json();
        assert!(ids(&page).is_empty(), "a name is no id: {page}");
    });
}
