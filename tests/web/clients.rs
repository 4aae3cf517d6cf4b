//! A client with its counts.

use actix_webhooks::DeliveryState;
use actix_webhooks::store::DeliveryQuery;
use serde_json::json;

use super::support::serve;

#[test]
fn a_client_is_shown_with_its_counts_which_are_no_part_of_what_is_put() {
    serve(async |api, sim| {
        let before = api.get("/clients/client").await.expect(200);
        let rule = json!({ "ruleType": "thing.*", "clientId": "client", "webhooks": ["https://other.test/"] });
        api.put("/rules/own", rule).await.expect(201);
        sim.engine
            .endpoint("https://other.test/")
            .pause()
            .await
            .unwrap();
        sim.publish("e").await;
        sim.sleep(1).await;
        let shown = api.get("/clients/client").await.expect(200);
        let status = &shown.json()["status"];
        let count = |count| json!({ "count": count, "atLeast": false });
        assert_eq!((&status["rules"], &status["open"]), (&count(1), &count(1)));
        assert_eq!(status["deadLetters"], count(0));
        assert_eq!(status["endpoints"]["paused"], 1);
        assert_eq!(status["endpoints"]["total"], 1);
        let delivered = sim
            .engine
            .deliveries(DeliveryQuery::default())
            .await
            .unwrap();
        let ended = delivered.iter().find_map(|delivery| match delivery.state {
            DeliveryState::Delivered { at } => Some(at),
            _ => None,
        });
        assert_eq!(status["lastDeliveredAt"], json!(ended.unwrap()));
        assert_eq!(shown.etag(), before.etag(), "counts are not settings");
        // They may be sent back, whatever they are.
        let client = sim.engine.client("client").await.unwrap();
        for sent in [status.clone(), json!(null), json!({ "rules": [1] })] {
            let mut view = shown.json();
            view["status"] = sent;
            let again = api.put("/clients/client", view).await.expect(200);
            assert_eq!(again.etag(), shown.etag());
        }
        assert_eq!(sim.engine.client("client").await.unwrap(), client);
        let listed = api.get("/clients").await.expect(200).json();
        assert_eq!(
            listed["data"][0].get("status"),
            None,
            "a list counts nothing"
        );
    });
}
