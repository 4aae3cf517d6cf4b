//! What every answer has, and what is shown of the engine's own types.

use std::sync::Mutex;

use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_webhooks::store::{DeadLetterQuery, DeliveryQuery};
use actix_webhooks::testing::Reply;
use actix_webhooks::web;
use serde_json::{Value, json};

use super::support::{HOOK, HUSH, TOKEN, bearer, id, request, serve};

#[test]
fn an_answer_carries_the_id_of_its_request() {
    serve(async |api, _| {
        let given = request("GET", "/nothing")
            .insert_header(bearer(TOKEN))
            .insert_header(("x-request-id", "mine"));
        let answer = api.send(given).await.expect(404);
        assert_eq!(
            (answer.header("x-request-id"), &answer.json()["requestId"]),
            ("mine", &json!("mine"))
        );
        let answer = api.get("/deliveries/x").await.expect(400);
        assert_eq!(answer.json()["requestId"], answer.header("x-request-id"));
        assert_eq!(answer.header("x-request-id").len(), 36);
        assert_eq!(
            api.get("/me")
                .await
                .expect(200)
                .header("x-request-id")
                .len(),
            36
        );
    });
}

/// Returns `value` without what the API adds or writes differently.
fn plain(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("endpointId");
        if let Some(id) = fields.get("id").and_then(Value::as_u64) {
            fields.insert("id".to_owned(), id.to_string().into());
        }
        if let Some(id) = fields.get("deliveryId").and_then(Value::as_u64) {
            fields.insert("deliveryId".to_owned(), id.to_string().into());
        }
        if fields
            .get("id")
            .is_some_and(|id| id.as_str().is_some_and(|id| id.starts_with("ep_")))
        {
            fields.remove("id");
        }
    }
    value
}

#[test]
fn nothing_that_the_engine_tells_of_its_things_is_left_out() {
    serve(async |api, sim| {
        let held = actix_webhooks::transport::Answer::new(503).retry_after("30");
        sim.receivers.on(
            HOOK,
            [Reply::answer(held), Reply::status(400), Reply::status(200)],
        );
        for (event, wait) in [("a", 60), ("b", 1), ("c", 1)] {
            sim.publish(event).await;
            sim.sleep(1).await;
            let status = sim.engine.endpoint(HOOK).status().await.unwrap();
            let shown = api.get("/endpoints").await.json()["data"][0].clone();
            assert_eq!(plain(shown), serde_json::to_value(status).unwrap());
            let deliveries = sim
                .engine
                .deliveries(DeliveryQuery::default())
                .await
                .unwrap();
            let page = api.get("/deliveries").await.json();
            for (shown, delivery) in page["data"].as_array().unwrap().iter().zip(&deliveries) {
                assert_eq!(
                    plain(shown.clone()),
                    plain(serde_json::to_value(delivery).unwrap())
                );
                let attempts = sim.engine.attempts(delivery.id).await.unwrap();
                let detail = api
                    .get(&format!("/deliveries/{}", delivery.id))
                    .await
                    .json();
                assert_eq!(detail["attempts"], serde_json::to_value(attempts).unwrap());
            }
            sim.sleep(wait).await;
        }
        let letters = sim
            .engine
            .dead_letters(DeadLetterQuery::default())
            .await
            .unwrap();
        assert_eq!(letters.len(), 1);
        let shown = api.get("/dead-letters").await.json()["data"][0].clone();
        assert_eq!(
            plain(shown),
            plain(serde_json::to_value(&letters[0]).unwrap())
        );
    });
}

#[test]
fn an_engine_that_has_stopped_says_so() {
    serve(async |api, sim| {
        sim.engine.shutdown(std::time::Duration::ZERO).await;
        for path in ["/me", "/endpoints", "/deliveries", "/rules"] {
            let answer = api.get(path).await.expect(503);
            assert_eq!(
                (answer.code().as_str(), answer.header("retry-after")),
                ("shutting-down", "1"),
                "{path}"
            );
        }
        let event = json!({ "ruleType": "a", "clientId": "c" });
        assert_eq!(
            api.post("/events", event).await.expect(503).code(),
            "shutting-down"
        );
    });
}

#[test]
fn probes_need_no_credentials_and_say_nothing() {
    serve(async |_, sim| {
        let app = init_service(App::new().service(web::probes(sim.engine.clone()))).await;
        let ask = async |path: &str| {
            let answer = call_service(&app, TestRequest::get().uri(path).to_request()).await;
            (
                answer.status().as_u16(),
                actix_web::test::read_body(answer).await.len(),
            )
        };
        assert_eq!(ask("/health/live").await, (204, 0));
        assert_eq!(ask("/health/ready").await, (204, 0));
        sim.engine.shutdown(std::time::Duration::ZERO).await;
        assert_eq!(ask("/health/live").await, (204, 0));
        assert_eq!(ask("/health/ready").await, (503, 0));
    });
}

/// Keeps the records of operators' actions, and checks that no record holds a secret.
struct Records(Mutex<Vec<String>>);

impl log::Log for Records {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        assert!(!HUSH.iter().any(|hush| text.contains(hush)), "{text}");
        if text.starts_with("operator ") {
            self.0.lock().unwrap().push(text);
        }
    }

    fn flush(&self) {}
}

static RECORDS: Records = Records(Mutex::new(Vec::new()));

#[test]
fn every_change_is_on_record_with_the_name_of_the_operator() {
    log::set_logger(&RECORDS).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    serve(async |api, _| {
        let path = format!("/endpoints/{}/pause", id(HOOK));
        let paused = request("POST", &path).insert_header(bearer("operate-0123456789abcdef"));
        api.send(paused).await.expect(200);
        api.put(
            "/clients/on-record/auth",
            json!({ "kind": "bearer", "token": "hush-bearer" }),
        )
        .await
        .expect(404);
        api.get("/clients/on-record-2").await.expect(404);
        let event = json!({ "ruleType": "a", "clientId": "on-record" });
        api.post("/events", event).await.expect(202);
        let all = RECORDS.0.lock().unwrap().clone();
        let has = |text: &str| all.iter().any(|record| record == text);
        assert!(
            has(&format!("operator \"operate\" called \"POST {path}\": 200")),
            "{all:?}"
        );
        assert!(
            has("operator \"all\" called \"PUT /clients/on-record/auth\": 404"),
            "{all:?}"
        );
        for none in ["GET", "on-record-2", "/events\""] {
            assert!(
                !all.iter().any(|record| record.contains(none)),
                "{none}: {all:?}"
            );
        }
    });
}
