//! Rules, in the API's form and in the alert service's.

use std::fs;
use std::path::Path;

use actix_webhooks::{Auth, PayloadFormat, Rule};
use serde_json::{Value, json};

use super::support::{HOOK, TOKEN, bearer, request, serve};

const ALERT_SERVICE: &str = "application/vnd.alert-service.rule+json";

#[test]
fn a_rule_sent_back_as_it_is_shown_changes_nothing_secrets_included() {
    serve(async |api, sim| {
        let full = Rule::new("a/b c", "invoice.*")
            .client("client")
            .company("k")
            .webhook(HOOK)
            .unwrap();
        let full = full
            .format(PayloadFormat::CloudEvents)
            .disabled()
            .auth(Auth::basic("u", "hush-password"));
        sim.engine.put_rule(full.clone()).await.unwrap();
        let path = "/rules/a%2Fb%20c";
        let shown = api.get(path).await.expect(200);
        let view = shown.json();
        assert_eq!(view["auth"], json!({ "kind": "basic", "user": "u" }));
        for again in [
            api.put(path, view.clone()).await.expect(200),
            api.patch(path, view.clone()).await.expect(200),
        ] {
            assert_eq!((again.etag(), again.json()), (shown.etag(), view.clone()));
        }
        api.put(&format!("{path}/auth"), view["auth"].clone())
            .await
            .expect(204);
        let rules = sim.engine.rules().await.unwrap();
        assert_eq!(rules.iter().find(|rule| rule.id == "a/b c"), Some(&full));
        // What describes the secret may be left out, and must not be another.
        let mut without = view.clone();
        without.as_object_mut().unwrap().remove("auth");
        api.put(path, without).await.expect(200);
        assert!(sim.engine.rules().await.unwrap().contains(&full));
        let mut other = view;
        other["auth"]["user"] = "v".into();
        assert_eq!(api.put(path, other).await.expect(422).wrong(), "/auth");
    });
}

#[test]
fn a_rule_is_created_listed_in_pages_and_removed() {
    serve(async |api, sim| {
        let rule =
            |kind: &str| json!({ "ruleType": kind, "webhooks": [HOOK], "clientId": "client" });
        for id in ["x", "y"] {
            api.put(&format!("/rules/{id}"), rule(id)).await.expect(201);
        }
        let made = api.post("/rules", rule("z")).await.expect(201);
        let id = made.json()["id"].as_str().unwrap().to_owned();
        assert!(made.header("location").ends_with(&format!("/rules/{id}")));
        let twice = json!({ "id": "x", "ruleType": "x", "webhooks": [HOOK] });
        assert_eq!(
            api.post("/rules", twice).await.expect(409).code(),
            "rule-exists"
        );
        let mut found = Vec::new();
        let mut path = "/rules?client=client&limit=2".to_owned();
        loop {
            let page = api.get(&path).await.expect(200).json();
            let ids = page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|rule| rule["id"].as_str().unwrap().to_owned());
            found.extend(ids);
            let Some(next) = page["next"].as_str() else {
                break;
            };
            path = format!("/rules?client=client&limit=2&cursor={next}");
        }
        assert_eq!(found, [&*id, "x", "y"]);
        assert_eq!(
            api.get("/rules?ruleType=x").await.json()["data"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            api.get("/rules?enabled=false").await.json()["data"],
            json!([])
        );
        sim.engine.endpoint(HOOK).pause().await.unwrap();
        sim.publish("open").await;
        let removed = api
            .delete("/rules/rule?endDeliveries=true")
            .await
            .expect(200);
        assert_eq!(removed.json(), json!({ "deadLettered": 1 }));
        assert_eq!(
            api.delete("/rules/rule").await.expect(404).code(),
            "unknown-rule"
        );
    });
}

fn fixture(name: &str) -> Value {
    let file = format!("tests/fixtures/rules/rule-create-{name}.json");
    let text = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn a_program_written_for_the_alert_service_creates_reads_and_changes_its_rules() {
    serve(async |api, sim| {
        for name in ["all-companies", "company-specific"] {
            let given = fixture(name);
            let created = api
                .post("/rules?form=alert-service", given.clone())
                .await
                .expect(201);
            assert_eq!(created.header("content-type"), "application/json");
            let mut expected = given.clone();
            expected["id"] = created.json()["id"].clone();
            expected["notifiers"]["emails"] = json!([]);
            assert_eq!(created.json(), expected);
            let path = format!("/rules/{}", expected["id"].as_str().unwrap());
            let own = api.get(&path).await.json();
            assert_eq!(own["ruleType"], "DataConnectionStatusChanged");
            assert_eq!(own.get("companyId"), given.get("companyId"));
            assert_eq!(own["webhooks"], json!(["https://test.codat.com/codat"]));
            // What this form does not hold stays.
            api.patch(&path, json!({ "clientId": "client", "format": "raw" }))
                .await
                .expect(200);
            let shown = api
                .get(&format!("{path}?form=alert-service"))
                .await
                .expect(200)
                .json();
            assert_eq!(shown, expected);
            api.put(&format!("{path}?form=alert-service"), shown)
                .await
                .expect(200);
            let own = api.get(&path).await.json();
            assert_eq!(
                (&own["clientId"], &own["format"]),
                (&json!("client"), &json!("raw"))
            );
        }
        let listed = api.get("/rules?form=alert-service").await.json();
        assert_eq!(
            listed["data"].as_array().unwrap().len(),
            3,
            "with the engine's own"
        );
        assert_eq!(sim.engine.rules().await.unwrap().len(), 3);
    });
}

#[test]
fn the_alert_services_form_has_a_media_type() {
    serve(async |api, sim| {
        let send = |method: &str, path: &str, name: &'static str| {
            request(method, path)
                .insert_header(bearer(TOKEN))
                .insert_header((name, ALERT_SERVICE))
        };
        let given = fixture("all-companies");
        let put = send("PUT", "/rules/r", "content-type").set_payload(given.to_string());
        let put = api.send(put).await.expect(201);
        assert_eq!(
            (put.header("content-type"), &put.json()["id"]),
            (ALERT_SERVICE, &json!("r"))
        );
        let shown = api
            .send(send("GET", "/rules/r", "accept"))
            .await
            .expect(200);
        assert_eq!(shown.header("content-type"), ALERT_SERVICE);
        assert_eq!(
            shown.json()["notifiers"]["webhook"],
            given["notifiers"]["webhook"]
        );
        let two = Rule::new("two", "*")
            .webhook(HOOK)
            .unwrap()
            .webhook("https://b.test")
            .unwrap();
        sim.engine.put_rule(two).await.unwrap();
        let refused = api
            .send(send("GET", "/rules/two", "accept"))
            .await
            .expect(406);
        assert_eq!(refused.code(), "not-representable");
        let listed = api
            .send(send("GET", "/rules", "accept"))
            .await
            .expect(200)
            .json();
        assert_eq!(
            listed["data"].as_array().unwrap().len(),
            2,
            "without that of two webhooks"
        );
    });
}
