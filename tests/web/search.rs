//! Things of every kind, found by one text.

use actix_webhooks::store::DeliveryQuery;
use actix_webhooks::{Client, EndpointId, Event, Rule, WebhookUrl};
use serde_json::{Value, json};

use super::support::{HOOK, id, serve};

/// Returns the kind and the id of each hit.
fn hits(page: &Value) -> Vec<(&str, &str)> {
    assert_eq!(page["next"], Value::Null);
    let part = |hit: &'_ Value, name| hit[name].as_str().unwrap().to_owned();
    let data = page["data"].as_array().unwrap();
    for hit in data {
        assert!(!part(hit, "text").is_empty(), "{hit}");
    }
    data.iter()
        .map(|hit| (hit["kind"].as_str().unwrap(), hit["id"].as_str().unwrap()))
        .collect()
}

#[test]
fn every_kind_is_found_by_its_own_text() {
    serve(async |api, sim| {
        sim.publish("evt_8812").await;
        let nobody = Event::new("thing.happened", "nobody").id("evt_none");
        sim.engine.publish(nobody).await.unwrap();
        sim.sleep(1).await;
        let find = async |q: &str| api.get(&format!("/search?q={q}")).await.expect(200).json();
        let delivered = sim.engine.deliveries(DeliveryQuery::default()).await;
        let first = delivered.unwrap().items.pop().unwrap();
        let alert = first.alert_id.to_string();
        let hook = id(HOOK);
        for (q, expected) in [
            ("evt_8812", vec![("event", "evt_8812")]),
            ("evt_881", vec![]),
            (&alert, vec![("alert", &*alert)]),
            ("1", vec![("delivery", "1")]),
            ("RECEIVER.test", vec![("endpoint", &*hook)]),
            (&hook, vec![("endpoint", &*hook)]),
            (&hook[..9], vec![("endpoint", &*hook)]),
            ("LIEN", vec![("client", "client")]),
            ("ule", vec![("rule", "rule")]),
            (
                "e",
                vec![("endpoint", &*hook), ("client", "client"), ("rule", "rule")],
            ),
            ("nothing-has-this", vec![]),
        ] {
            assert_eq!(hits(&find(q).await), expected, "{q}");
        }
        let event = find("evt_8812").await;
        let text = event["data"][0]["text"].as_str().unwrap();
        assert!(text.contains("accepted at 2026-01-01T"), "{text}");
    });
}

#[test]
fn hits_are_few_and_of_every_kind() {
    serve(async |api, sim| {
        for number in 0..30 {
            let url = format!("https://many.test/{number}");
            let rule = Rule::new(format!("many-{number}"), "*");
            sim.engine
                .put_rule(rule.webhook(&url).unwrap())
                .await
                .unwrap();
        }
        let client = Client::new("many").name("Many");
        sim.engine.put_client(client).await.unwrap();
        let count =
            |page: &Value, kind: &str| hits(page).iter().filter(|(of, _)| *of == kind).count();
        let all = api.get("/search?q=many").await.expect(200).json();
        let counts = ["endpoint", "client", "rule"].map(|kind| count(&all, kind));
        assert_eq!(counts, [10, 1, 9]);
        let few = api.get("/search?q=many&limit=2").await.expect(200).json();
        assert_eq!(hits(&few).len(), 2);
        for (query, wrong) in [
            ("", "q"),
            ("q=", "q"),
            ("q=a&limit=21", "limit"),
            ("q=a&limit=0", "limit"),
            ("q=a&cursor=b", "cursor"),
        ] {
            let refused = api.get(&format!("/search?{query}")).await.expect(400);
            assert_eq!(refused.wrong(), wrong, "{query}");
        }
        let long = "x".repeat(8_193);
        let refused = api.get(&format!("/search?q={long}")).await.expect(400);
        assert_eq!(refused.wrong(), "q");
        let seventh = sim.engine.endpoint("https://many.test/7");
        seventh.remove().await.unwrap();
        let url = WebhookUrl::parse("https://many.test/7").unwrap();
        let gone = api
            .get(&format!("/search?q={}", EndpointId::of(&url)))
            .await;
        assert_eq!(gone.json()["data"], json!([]));
    });
}
