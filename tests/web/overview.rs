//! The state of the engine, endpoints by attention, operators' actions, tests, attempts by hand.

use actix_webhooks::testing::Reply;
use actix_webhooks::{Endpoint, RetryPolicy, Rule};
use serde_json::json;

use super::support::{HOOK, id, serve};

#[test]
fn the_overview_names_the_endpoints_that_need_attention() {
    serve(async |api, sim| {
        let well = api.get("/overview").await.expect(200).json();
        assert_eq!(well["attention"], json!([]));
        sim.receivers.on(HOOK, [Reply::status(503)]);
        sim.publish("paid").await;
        sim.sleep(5).await;
        let overview = api.get("/overview").await.expect(200).json();
        assert_eq!(overview["endpoints"]["failing"], 1);
        assert_eq!(
            (&overview["open"], &overview["lagMs"]),
            (&json!(1), &json!(0))
        );
        assert_eq!(overview["attention"][0]["id"], id(HOOK));
        assert_eq!(overview["attention"][0]["recent"], json!(["failed"]));
        let page = api
            .get("/endpoints?sort=attention")
            .await
            .expect(200)
            .json();
        assert_eq!(page["data"][0]["id"], id(HOOK));
        let series = api
            .get("/statistics?window=minute")
            .await
            .expect(200)
            .json();
        let points = series["points"].as_array().unwrap();
        let failed = points
            .iter()
            .map(|point| point["failed"]["serverError"].as_u64().unwrap());
        assert_eq!(failed.sum::<u64>(), 1);
        sim.receivers.on(HOOK, [Reply::status(200)]);
        sim.sleep(60).await;
        let page = api
            .get("/endpoints?sort=attention")
            .await
            .expect(200)
            .json();
        assert_eq!(page["data"], json!([]), "it is well again");
    });
}

#[test]
fn endpoints_are_found_by_a_part_of_their_urls_page_by_page() {
    serve(async |api, sim| {
        for number in 0..5 {
            let url = format!("https://Other.test/{number}?key=hush-{number}");
            let endpoint = Endpoint::new(&url).unwrap();
            sim.engine.put_endpoint(endpoint).await.unwrap();
        }
        let mut found = Vec::new();
        let mut path = "/endpoints?q=OTHER.test&limit=2".to_owned();
        loop {
            let page = api.get(&path).await.expect(200).json();
            let data = page["data"].as_array().unwrap();
            found.extend(data.iter().map(|endpoint| endpoint["url"].clone()));
            let Some(next) = page["next"].as_str() else {
                break;
            };
            path = format!("/endpoints?q=OTHER.test&limit=2&cursor={next}");
        }
        assert_eq!(found.len(), 5, "{found:?}");
        let other = path.replace("OTHER", "another");
        let refused = api.get(&other).await.expect(400);
        assert_eq!(refused.code(), "cursor-of-another-query");
    });
}

#[test]
fn a_pause_shows_who_made_it_and_why_and_stays_on_record() {
    serve(async |api, _| {
        let endpoint = format!("/endpoints/{}", id(HOOK));
        let pause = format!("{endpoint}/pause?note=flooding%20us");
        let status = api.post(&pause, json!({})).await.expect(200).json();
        let stopped = &status["stopped"];
        assert_eq!(
            (&stopped["by"], &stopped["note"]),
            (&json!("all"), &json!("flooding us"))
        );
        assert_eq!(stopped["at"], "2026-01-01T00:00:00.000Z");
        let path = format!("/actions?endpoint={}", id(HOOK));
        let actions = api.get(&path).await.expect(200).json();
        let action = &actions["data"][0];
        assert_eq!(
            (
                &action["operator"],
                &action["action"],
                &action["note"],
                &action["result"]
            ),
            (
                &json!("all"),
                &json!("pause_endpoint"),
                &json!("flooding us"),
                &json!("done")
            )
        );
        let long = format!("{endpoint}/pause?note={}", "x".repeat(600));
        let refused = api.post(&long, json!({})).await.expect(400);
        assert_eq!(refused.wrong(), "note");
        let resumed = api.post(&format!("{endpoint}/resume"), json!({})).await;
        assert_eq!(resumed.json().get("stopped"), None);
    });
}

#[test]
fn a_test_is_sent_and_a_waiting_delivery_attempted_at_once() {
    serve(async |api, sim| {
        let retry = RetryPolicy::three_in_two_minutes().without_jitter();
        let endpoint = Endpoint::new(HOOK).unwrap().retry(retry);
        sim.engine.put_endpoint(endpoint).await.unwrap();
        let test = format!("/endpoints/{}/test", id(HOOK));
        let sent = api
            .post(&test, json!({ "data": { "n": 1 } }))
            .await
            .expect(202);
        assert_eq!(sent.json(), json!({ "deliveryId": "1" }));
        sim.sleep(1).await;
        let shown = api.get("/deliveries/1").await.json();
        assert_eq!(shown["delivery"]["state"], "delivered");
        assert_eq!(shown["delivery"]["ruleType"], "webhook.test");
        sim.receivers.on(HOOK, [Reply::status(503)]);
        sim.publish("paid").await;
        sim.sleep(1).await;
        sim.receivers.on(HOOK, [Reply::status(200)]);
        api.post("/deliveries/2/attempt-now", json!({}))
            .await
            .expect(202);
        sim.sleep(1).await;
        let shown = api.get("/deliveries/2").await.json();
        assert_eq!(shown["delivery"]["state"], "delivered");
        let ended = api.post("/deliveries/2/attempt-now", json!({})).await;
        assert_eq!(ended.expect(409).code(), "not-open");
        sim.receivers.on(HOOK, [Reply::status(503)]);
        sim.publish("later").await;
        sim.sleep(1).await;
        sim.engine.endpoint(HOOK).pause().await.unwrap();
        let blocked = api.post("/deliveries/3/attempt-now", json!({})).await;
        assert_eq!(blocked.expect(409).code(), "endpoint-stopped");
    });
}

#[test]
fn statistics_of_one_endpoint_count_its_attempts_and_nobody_elses() {
    const OTHER: &str = "https://other.test/";
    serve(async |api, sim| {
        let rule = Rule::new("second", "*").webhook(OTHER).unwrap();
        sim.engine.put_rule(rule).await.unwrap();
        sim.receivers
            .on(HOOK, [Reply::status(503), Reply::status(200)]);
        sim.publish("paid").await;
        sim.sleep(70).await;
        let path = format!("/statistics?window=hour&endpoint={}", id(HOOK));
        let shown = api.get(&path).await.expect(200).json();
        let points = shown["points"].as_array().unwrap();
        assert_eq!((points.len(), &shown["stepMs"]), (60, &json!(60_000)));
        let before = &points[58];
        assert_eq!(before["at"], "2026-01-01T00:00:00.000Z");
        assert_eq!(
            (&before["attempts"], &before["delivered"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(before["failed"]["serverError"], 1);
        assert!(before["p99Ms"].is_number() && before.get("deadLettered").is_none());
        assert_eq!(shown["total"]["attempts"], 2);
        assert_eq!(shown.get("searchedTo"), None, "all were looked at");
        let unknown = "/statistics?endpoint=ep_00000000000000000000000000000000";
        let unknown = api.get(unknown).await.expect(404);
        assert_eq!(unknown.code(), "unknown-endpoint");
    });
}
