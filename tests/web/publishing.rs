//! Publishing.

use std::fmt::Write as _;

use actix_webhooks::Rule;
#[cfg(feature = "sqlite")]
use actix_webhooks::{
    Event, Timestamp, rusqlite::Connection, store::SqliteStore, testing::Blocking,
};
use serde_json::{Value, json};

use super::support::{HOOK, TOKEN, bearer, request, serve};

#[test]
fn an_event_is_accepted_once_and_the_receipt_names_its_rules() {
    serve(async |api, sim| {
        let another = Rule::new("another", "order.*").webhook(HOOK).unwrap();
        sim.engine.put_rule(another).await.unwrap();
        let event = json!({
            "id": "e1", "ruleType": "order.paid", "clientId": "client", "companyId": "k",
            "message": "Paid.", "data": null, "occurredAt": "2026-01-01T00:00:00+01:00",
        });
        let first = api.post("/events", event.clone()).await.expect(202).json();
        assert_eq!(
            first,
            json!({ "eventId": "e1", "deliveries": 2, "duplicate": false, "rules": ["another", "rule"] })
        );
        let again = api.post("/events", event.clone()).await.expect(200).json();
        assert_eq!(
            again,
            json!({ "eventId": "e1", "deliveries": 2, "duplicate": true, "rules": [] })
        );
        let mut other = event;
        other["message"] = "Not paid.".into();
        assert_eq!(
            api.post("/events", other).await.expect(409).code(),
            "id-taken"
        );
        sim.sleep(1).await;
        let body = &sim.receivers.requests()[0].request.alert.body;
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(
            (&body["Message"], body.get("Data")),
            (&json!("Paid."), Some(&json!(null)))
        );
    });
}

#[test]
fn an_idempotency_key_is_the_id_of_an_event_without_one() {
    serve(async |api, _| {
        let send = async |key: &str, event: Value| {
            let request = request("POST", "/events")
                .insert_header(bearer(TOKEN))
                .insert_header(("idempotency-key", key))
                .insert_header(("content-type", "application/json; charset=utf-8"));
            api.send(request.set_payload(event.to_string())).await
        };
        let event = json!({ "ruleType": "a", "clientId": "client" });
        assert_eq!(
            send("k1", event.clone()).await.expect(202).json()["eventId"],
            "k1"
        );
        assert_eq!(
            send("\"k1\"", event.clone()).await.expect(200).json()["duplicate"],
            true
        );
        let mut named = event;
        named["id"] = "k2".into();
        send("k2", named.clone()).await.expect(202);
        assert_eq!(send("k3", named).await.expect(422).wrong(), "/id");
    });
}

async fn batch(
    api: &super::support::Api<Box<dyn super::support::Served>>,
    body: String,
) -> Vec<Value> {
    let request = request("POST", "/events/batch")
        .insert_header(bearer(TOKEN))
        .insert_header(("content-type", "application/x-ndjson"));
    let answer = api.send(request.set_payload(body)).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    answer
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_batch_is_answered_line_by_line_in_order() {
    serve(async |api, sim| {
        let event =
            |id: &str| json!({ "id": id, "ruleType": "a", "clientId": "client" }).to_string();
        let lines = [
            event("1"),
            "no json".to_owned(),
            String::new(),
            event("1"),
            r#"{"ruleType":"a"}"#.to_owned(),
            event("2"),
        ];
        let results = batch(api, lines.join("\r\n")).await;
        let statuses: Vec<_> = results
            .iter()
            .map(|result| result["status"].as_u64().unwrap())
            .collect();
        assert_eq!(
            statuses,
            [202, 400, 200, 400, 202],
            "without the empty line"
        );
        assert_eq!(results[0]["receipt"]["eventId"], "1");
        assert_eq!(results[1]["problem"]["code"], "invalid-body");
        assert!(
            results[3]["problem"]["detail"]
                .as_str()
                .unwrap()
                .contains("clientId")
        );
        sim.sleep(1).await;
        assert_eq!(sim.receivers.requests().len(), 2);
        assert_eq!(batch(api, String::new()).await.len(), 0);
    });
}

#[test]
fn a_batch_ends_at_its_limits() {
    serve(async |api, _| {
        let mut many = String::new();
        for number in 0..1_001 {
            writeln!(
                many,
                r#"{{"id":"{number}","ruleType":"a","clientId":"client"}}"#
            )
            .unwrap();
        }
        let results = batch(api, many).await;
        assert_eq!(results.len(), 1_001);
        assert!(
            results[..1_000]
                .iter()
                .all(|result| result["status"] == 202)
        );
        assert_eq!(results[1_000]["problem"]["code"], "body-too-large");
        let long = batch(api, "x".repeat(3 * 1_024 * 1_024)).await;
        assert_eq!((long.len(), &long[0]["status"]), (1, &json!(413)));
    });
}

#[test]
fn nothing_waits_in_a_store_without_an_outbox() {
    serve(async |api, _| {
        let outbox = api.get("/outbox").await.expect(200).json();
        assert_eq!(
            (&outbox["waiting"], &outbox["refused"]),
            (&json!(0), &json!(0))
        );
        assert_eq!(outbox["oldest"], Value::Null);
    });
}

#[cfg(feature = "sqlite")]
#[test]
fn the_outbox_of_a_store_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = Blocking(SqliteStore::open(folder.path().join("webhooks.db")).unwrap());
    let file = Connection::open(folder.path().join("webhooks.db")).unwrap();
    let wait = move || {
        let mut file = file;
        let order = file.transaction().unwrap();
        let at = Timestamp::from_unix_millis(0);
        for id in ["paid", "sent"] {
            let event = Event::new("thing.happened", "client").id(id);
            SqliteStore::publish_in(&order, &event.occurred_at(at)).unwrap();
        }
        order.commit().unwrap();
    };
    super::support::serve_with(
        super::support::tokens(),
        |builder| builder.store(store),
        async |api, _| {
            let empty = api.get("/outbox").await.expect(200).json();
            let nothing = json!({
                "waiting": 0, "atLeast": false, "refused": 0, "refusedAtLeast": false,
            });
            assert_eq!(empty, nothing);
            wait();
            let outbox = api.get("/outbox").await.expect(200).json();
            assert_eq!(outbox["waiting"], 2);
            let oldest = json!({
                "seq": 1, "eventId": "paid", "occurredAt": "1970-01-01T00:00:00.000Z",
            });
            assert_eq!(outbox["oldest"], oldest);
        },
    );
}
