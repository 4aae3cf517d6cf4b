//! Deliveries, attempts and dead letters.

use actix_webhooks::testing::Reply;
use actix_webhooks::{AnswerTrace, ContentType, Endpoint, RetryPolicy};
use serde_json::{Value, json};

use super::support::{HOOK, bearer, id, request, serve};

fn ids(page: &Value) -> Vec<&str> {
    let data = page["data"].as_array().unwrap();
    data.iter()
        .map(|delivery| delivery["id"].as_str().unwrap())
        .collect()
}

#[test]
fn why_a_customer_got_nothing_is_found_out() {
    serve(async |api, sim| {
        let trace = AnswerTrace::new()
            .content_type(ContentType::parse(b"text/plain; charset=utf-8"))
            .address("203.0.113.7:443".parse().ok());
        let busy = Reply::body(503, "table is locked").traced(trace);
        sim.receivers.on(HOOK, [busy]);
        sim.publish("paid").await;
        sim.sleep(1).await;
        let page = api
            .get("/deliveries?event=paid&client=client")
            .await
            .expect(200)
            .json();
        let delivery = &page["data"][0];
        assert_eq!(
            (&delivery["state"], &delivery["id"]),
            (&json!("waiting"), &json!("1"))
        );
        assert_eq!(delivery["dueAt"], "2026-01-01T00:00:15.000Z");
        assert_eq!(delivery["endpointId"], id(HOOK));
        let open = api
            .post("/deliveries/1/redeliver", json!({}))
            .await
            .expect(409);
        assert_eq!(open.code(), "still-open");
        assert!(open.text.contains("2026-01-01T00:00:15.000Z"), "{open:?}");
        sim.sleep(150).await;
        let detail = api.get("/deliveries/1").await.expect(200).json();
        let reason =
            json!({ "kind": "attempts_exhausted", "failure": { "kind": "status", "status": 503 } });
        assert_eq!(
            (&detail["delivery"]["state"], &detail["delivery"]["reason"]),
            (&json!("dead_lettered"), &reason)
        );
        let attempts = detail["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 4);
        assert_eq!(attempts[3]["excerpt"], "table is locked");
        assert_eq!(
            (&attempts[3]["contentType"], &attempts[3]["address"]),
            (&json!("text/plain"), &json!("203.0.113.7:443"))
        );
        let reader = request("GET", "/deliveries/1").insert_header(bearer("read-0123456789abcdef"));
        let seen = api.send(reader).await.expect(200).json();
        assert_eq!(
            seen["attempts"][3].get("excerpt"),
            None,
            "that needs `bodies`"
        );
        let failing = api.get("/endpoints?state=failing").await.json();
        assert_eq!(failing["data"][0]["consecutiveFailures"], 4);
        let letters = api.get("/dead-letters?since=15m").await.json();
        assert_eq!(
            (
                &letters["data"][0]["deliveryId"],
                &letters["data"][0]["reason"]
            ),
            (&json!("1"), &reason)
        );
        sim.receivers.on(HOOK, [Reply::status(200)]);
        let again = api
            .post("/deliveries/1/redeliver", json!({}))
            .await
            .expect(202)
            .json();
        assert_eq!(again, json!({ "deliveryId": "2" }));
        let actions = format!("/actions?endpoint={}", id(HOOK));
        let actions = api.get(&actions).await.expect(200).json();
        assert_eq!(
            (&actions["data"][0]["action"], &actions["data"][0]["target"]),
            (&json!("redeliver"), &json!("1"))
        );
        sim.sleep(1).await;
        assert_eq!(
            api.get("/deliveries/2").await.json()["delivery"]["state"],
            "delivered"
        );
    });
}

#[test]
fn deliveries_are_listed_in_pages_by_every_filter() {
    serve(async |api, sim| {
        for event in ["a", "b", "c"] {
            sim.publish(event).await;
            sim.sleep(3_600).await;
        }
        assert_eq!(ids(&api.get("/deliveries").await.json()), ["3", "2", "1"]);
        let first = api.get("/deliveries?limit=2&client=client").await.json();
        assert_eq!(ids(&first), ["3", "2"]);
        let next = first["next"].as_str().unwrap();
        let second = api
            .get(&format!("/deliveries?client=client&cursor={next}"))
            .await
            .json();
        assert_eq!((ids(&second), &second["next"]), (vec!["1"], &json!(null)));
        let other = api
            .get(&format!("/deliveries?client=other&cursor={next}"))
            .await
            .expect(400);
        assert_eq!(other.code(), "cursor-of-another-query");
        for (filter, expected) in [
            ("since=90m", vec!["3"]),
            ("since=150m", vec!["3", "2"]),
            ("until=2h", vec!["1"]),
            (
                "since=2026-01-01T00:30:00Z&until=2026-01-01T01:30:00Z",
                vec!["2"],
            ),
            ("state=delivered", vec!["3", "2", "1"]),
            ("state=open", vec![]),
            ("ruleType=thing.happened&event=b", vec!["2"]),
            ("client=nobody", vec![]),
            (&format!("endpoint={}", id(HOOK)), vec!["3", "2", "1"]),
        ] {
            assert_eq!(
                ids(&api.get(&format!("/deliveries?{filter}")).await.json()),
                expected,
                "{filter}"
            );
        }
        let unknown = api
            .get("/deliveries?endpoint=ep_00000000000000000000000000000000")
            .await;
        assert_eq!(unknown.expect(404).code(), "unknown-endpoint");
    });
}

#[test]
fn dead_letters_are_discarded_by_a_filter() {
    serve(async |api, sim| {
        let endpoint = Endpoint::new(HOOK).unwrap().retry(RetryPolicy::none());
        sim.engine.put_endpoint(endpoint).await.unwrap();
        sim.receivers.on(HOOK, [Reply::status(503)]);
        for event in ["a", "b", "c"] {
            sim.publish(event).await;
        }
        sim.sleep(1).await;
        let none = api
            .post("/discards", json!({ "client": "other", "limit": 9 }))
            .await
            .expect(200);
        assert_eq!(none.json(), json!({ "discarded": 0 }));
        let some = api
            .post("/discards", json!({ "endpoint": id(HOOK), "limit": 2 }))
            .await
            .expect(200);
        assert_eq!(some.json(), json!({ "discarded": 2 }));
        let left = api.get("/dead-letters?client=client").await.json();
        assert_eq!(left["data"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn the_latest_attempts_of_an_endpoint_are_listed_over_all_its_deliveries() {
    serve(async |api, sim| {
        sim.receivers
            .on(HOOK, [Reply::body(503, "table is locked")]);
        sim.publish("first").await;
        sim.sleep(5).await;
        sim.receivers.on(HOOK, [Reply::status(200)]);
        sim.publish("second").await;
        sim.sleep(60).await;
        let path = format!("/endpoints/{}/attempts", id(HOOK));
        let page = api.get(&path).await.expect(200).json();
        let shown = |page: &Value| {
            let data = page["data"].as_array().unwrap().iter();
            let shown = data.map(|found| json!([found["eventId"], found["number"]]));
            shown.collect::<Vec<_>>()
        };
        let expected = [
            json!(["first", 2]),
            json!(["second", 1]),
            json!(["first", 1]),
        ];
        assert_eq!(shown(&page), expected);
        assert_eq!(
            (&page["next"], &page["searchedTo"]),
            (&json!(null), &json!(null))
        );
        let failed = api.get(&format!("{path}?failed=true")).await.expect(200);
        let failed = &failed.json()["data"];
        assert_eq!(failed.as_array().unwrap().len(), 1);
        assert_eq!(failed[0]["failure"]["status"], 503);
        assert_eq!(failed[0]["excerpt"], "table is locked");
        let reader = request("GET", &path).insert_header(bearer("read-0123456789abcdef"));
        let seen = api.send(reader).await.expect(200).json();
        assert_eq!(seen["data"][2].get("excerpt"), None, "that needs `bodies`");
        let first = api.get(&format!("{path}?limit=2")).await.expect(200).json();
        let next = first["next"].as_str().unwrap();
        let rest = api.get(&format!("{path}?limit=2&cursor={next}")).await;
        assert_eq!(shown(&rest.expect(200).json()), expected[2..]);
        let other = api.get(&format!("{path}?failed=true&cursor={next}")).await;
        assert_eq!(other.expect(400).code(), "cursor-of-another-query");
        let unknown = "/endpoints/ep_00000000000000000000000000000000/attempts";
        let unknown = api.get(unknown).await.expect(404);
        assert_eq!(unknown.code(), "unknown-endpoint");
    });
}
