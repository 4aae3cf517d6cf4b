//! Why, routing, events, and redeliveries by filter.

use actix_webhooks::testing::Reply;
use actix_webhooks::{AnswerTrace, ContentType, Rule};
use serde_json::{Value, json};

use super::support::{HOOK, TOKEN, bearer, id, request, serve};

fn codes(why: &Value) -> Vec<&str> {
    let findings = why["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect()
}

#[test]
fn why_says_what_happened_to_an_event_and_what_can_be_done() {
    serve(async |api, sim| {
        sim.receivers.on(HOOK, [Reply::status(503)]);
        sim.publish("paid").await;
        sim.sleep(1).await;
        let why = api.get("/why?event=paid").await.expect(200).json();
        assert_eq!(codes(&why), ["waiting-for-retry"]);
        sim.sleep(300).await;
        let why = api.get("/why?event=paid").await.json();
        assert_eq!(codes(&why), ["given-up"]);
        let finding = &why["findings"][0];
        let evidence = &finding["evidence"];
        assert_eq!(evidence["deliveryId"], "1");
        assert_eq!(evidence["endpointId"], id(HOOK));
        assert_eq!(evidence["attempts"], 4);
        assert_eq!(finding["remedies"], json!(["redeliver"]));
        let delivery = api.get("/deliveries/1").await.json()["delivery"].take();
        let webhook_id = delivery["alertId"].as_str().unwrap();
        for question in [
            "delivery=1".to_owned(),
            format!("webhookId={webhook_id}"),
            "client=client".to_owned(),
            format!("client=client&endpoint={}&since=1h", id(HOOK)),
        ] {
            let again = api.get(&format!("/why?{question}")).await.expect(200);
            assert_eq!(again.json(), why, "{question}");
        }
        let unknown = api.get("/why?event=nothing").await.expect(200).json();
        assert_eq!(codes(&unknown), ["event-unknown"]);
    });
}

#[test]
fn why_is_told_in_words_to_a_terminal() {
    serve(async |api, sim| {
        sim.receivers.on(HOOK, [Reply::status(503)]);
        sim.publish("paid").await;
        sim.sleep(300).await;
        let asked = request("GET", "/why?event=paid").insert_header(bearer(TOKEN));
        let asked = asked.insert_header(("accept", "text/plain"));
        let answer = api.send(asked).await.expect(200);
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        let lines: Vec<&str> = answer.text.lines().collect();
        assert!(lines[0].starts_with("1. given-up: "), "{lines:?}");
        assert_eq!(lines.last(), Some(&"   to do: redeliver the delivery"));
        assert_eq!(lines.len(), 4, "{lines:?}");
        for (accept, expected) in [
            ("application/json, text/plain, */*", "application/json"),
            ("text/plain;q=0.5, application/json", "application/json"),
            (
                "application/json;q=0.5, text/plain",
                "text/plain; charset=utf-8",
            ),
            ("*/*", "application/json"),
        ] {
            let asked = request("GET", "/why?event=paid").insert_header(bearer(TOKEN));
            let answer = api.send(asked.insert_header(("accept", accept))).await;
            assert_eq!(answer.header("content-type"), expected, "{accept}");
        }
    });
}

#[test]
fn a_log_in_page_is_no_receiver() {
    serve(async |api, sim| {
        let trace = AnswerTrace::new()
            .content_type(ContentType::parse(b"text/html"))
            .address("203.0.113.7:443".parse().ok());
        let page = Reply::body(200, "<form>Sign in").traced(trace);
        sim.receivers.on(HOOK, [page]);
        sim.publish("paid").await;
        sim.sleep(1).await;
        let why = api.get("/why?event=paid").await.expect(200).json();
        assert_eq!(codes(&why), ["suspicious-answer", "delivered"]);
        let evidence = &why["findings"][0]["evidence"];
        assert_eq!(evidence["contentType"], "text/html");
        assert_eq!(evidence["address"], "203.0.113.7:443");
    });
}

#[test]
fn a_question_that_is_none_names_its_parameter() {
    serve(async |api, _| {
        for (question, parameter) in [
            ("", "event"),
            ("?event=a&delivery=1", "event"),
            ("?delivery=x", "delivery"),
            ("?webhookId=x", "webhookId"),
            ("?event=a&since=1h", "since"),
            ("?evnt=a", "evnt"),
        ] {
            let answer = api.get(&format!("/why{question}")).await.expect(400);
            assert_eq!(answer.wrong(), parameter, "{question}");
        }
    });
}

#[test]
fn an_event_that_no_rule_matched_is_shown_and_explained() {
    serve(async |api, sim| {
        let rule = Rule::new("rule", "other.*").webhook(HOOK).unwrap();
        sim.engine.put_rule(rule).await.unwrap();
        sim.publish("lost").await;
        let event = api.get("/events/lost").await.expect(200).json();
        assert_eq!(event["accepted"][0]["deliveries"], 0);
        assert_eq!(event["deliveries"], json!([]));
        let why = api.get("/why?event=lost").await.expect(200).json();
        assert_eq!(codes(&why), ["no-rule"]);
        let unknown = api.get("/events/unknown").await.expect(404);
        assert_eq!(unknown.code(), "unknown-event");
        let probe = json!({ "ruleType": "other.thing", "clientId": "client" });
        let explained = api.post("/routing/explain", probe).await.expect(200);
        assert_eq!(explained.json()["matches"], json!(["rule"]));
        let rule = Rule::new("rule", "other.*").webhook(HOOK).unwrap();
        sim.engine.put_rule(rule.disabled()).await.unwrap();
        let probe = json!({ "ruleType": "other.thing", "clientId": "client", "data": {} });
        let explained = api.post("/routing/explain", probe).await.json();
        let miss = &explained["misses"][0];
        assert_eq!(
            (&miss["rule"], &miss["why"]["kind"], &miss["text"]),
            (&json!("rule"), &json!("disabled"), &json!("disabled"))
        );
    });
}

#[test]
fn dead_letters_are_redelivered_by_filter_after_a_look_at_their_number() {
    serve(async |api, sim| {
        sim.receivers.on(HOOK, [Reply::status(400)]);
        for number in 0..7 {
            sim.publish(&number.to_string()).await;
        }
        sim.sleep(5).await;
        sim.receivers.on(HOOK, [Reply::status(200)]);
        let wanted = json!({ "of": "dead_letters", "endpoint": id(HOOK), "failure": "4xx" });
        let plan = api.post("/redeliveries?dryRun=true", wanted.clone()).await;
        assert_eq!(
            plan.expect(200).json(),
            json!({
                "count": 7, "atLeast": false, "endpoints": 1, "blockedEndpoints": 0, "blocked": [],
                "oldest": "2026-01-01T00:00:00.000Z", "newest": "2026-01-01T00:00:00.000Z",
            })
        );
        let mut expecting = wanted.clone();
        expecting["expected"] = json!(6);
        let refused = api
            .post("/redeliveries", expecting.clone())
            .await
            .expect(409);
        assert_eq!(refused.code(), "changed-since");
        expecting["expected"] = json!(7);
        let begun = api
            .post("/redeliveries", expecting)
            .await
            .expect(202)
            .json();
        assert_eq!((&begun["id"], &begun["total"]), (&json!("1"), &json!(7)));
        sim.sleep(5).await;
        let job = api.get("/redeliveries/1").await.expect(200).json();
        assert_eq!(
            (&job["state"], &job["done"], &job["left"]),
            (&json!("finished"), &json!(7), &json!(0))
        );
        let ended = api.delete("/redeliveries/1").await.expect(202).json();
        assert_eq!(ended["state"], "finished", "it had ended");
        let count = api.get("/deliveries/count?state=delivered").await.json();
        assert_eq!(count, json!({ "count": 7, "atLeast": false }));
        let unknown = api.get("/redeliveries/9").await.expect(404);
        assert_eq!(unknown.code(), "unknown-redelivery");
        let detail = api.get("/deliveries/1").await.json();
        assert_eq!(detail["redeliveredAs"], json!(["8"]));
        let again = api.get("/deliveries/8").await.json();
        assert_eq!(again["redeliveryOf"], "1");
        let body = api.get("/deliveries/8/body").await.expect(200);
        assert!(body.text.contains("\"AlertId\""), "{body:?}");
    });
}

#[test]
fn a_plan_names_the_endpoints_that_would_not_take_their_deliveries() {
    serve(async |api, sim| {
        sim.receivers.on(HOOK, [Reply::status(400)]);
        sim.publish("a").await;
        sim.sleep(5).await;
        let plan = async || {
            let wanted = json!({ "of": "ended", "since": "1h" });
            let plan = api.post("/redeliveries?dryRun=true", wanted).await;
            plan.expect(200).json()
        };
        sim.engine.endpoint(HOOK).pause().await.unwrap();
        let paused = plan().await;
        assert_eq!(paused["blockedEndpoints"], 1);
        let blocked = json!([{
            "endpoint": id(HOOK), "url": HOOK, "deliveries": 1, "why": "paused", "text": "paused",
        }]);
        assert_eq!(paused["blocked"], blocked);
        sim.engine.endpoint(HOOK).remove().await.unwrap();
        let removed = plan().await;
        assert_eq!(removed["blocked"][0]["why"], "removed");
        assert_eq!(
            (&removed["count"], &removed["endpoints"]),
            (&json!(1), &json!(1))
        );
    });
}

#[test]
fn a_rule_keeps_its_filter_and_its_projection_through_get_and_put() {
    serve(async |api, _| {
        let rule = json!({
            "ruleType": "a", "webhooks": [HOOK],
            "filter": { "all": [
                { "pointer": "/amount", "gte": 1000 },
                { "any": [{ "pointer": "/a", "equals": "b" }, { "pointer": "/c", "exists": false }] },
            ] },
            "projection": ["/amount", "/customer/name"],
        });
        api.put("/rules/large", rule.clone()).await.expect(201);
        let shown = api.get("/rules/large").await.expect(200).json();
        assert_eq!(shown["filter"], rule["filter"]);
        assert_eq!(shown["projection"], rule["projection"]);
        api.put("/rules/large", shown.clone()).await.expect(200);
        assert_eq!(api.get("/rules/large").await.json(), shown);
        let wrong = json!({ "ruleType": "a", "webhooks": [HOOK], "filter": { "all": [] } });
        let refused = api.put("/rules/wrong", wrong).await.expect(422);
        assert_eq!(refused.wrong(), "/filter");
    });
}
