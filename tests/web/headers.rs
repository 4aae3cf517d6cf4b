//! A merge patch on the headers of an endpoint.

use actix_webhooks::EndpointHeader;
use serde_json::{Value, json};

use super::support::{HOOK, Sim, id, serve};

async fn headers(sim: &Sim) -> Vec<(String, String, bool)> {
    let settings = sim.engine.endpoint(HOOK).settings().await.unwrap();
    let shown = |header: &EndpointHeader| {
        let value = header.value.expose().to_owned();
        (header.name.clone(), value, header.dropped_across_origins)
    };
    settings.headers.iter().map(shown).collect()
}

#[test]
fn a_value_sets_a_header_and_null_removes_it() {
    serve(async |api, sim| {
        let path = format!("/endpoints/{}/headers", id(HOOK));
        let set = |name: &str, value: &str, dropped| (name.to_owned(), value.to_owned(), dropped);
        let before = api.get(&format!("/endpoints/{}", id(HOOK))).await.etag();
        let two = json!([{ "name": "X-Key" }, { "name": "X-Team", "value": "a", "droppedAcrossOrigins": false }]);
        api.put(&path, two).await.expect(204);
        let patched = api.patch(&path, json!({ "x-team": "b", "X-New": "c" }));
        let patched = patched.await.expect(204);
        assert_ne!(patched.etag(), before);
        let expected = [
            set("X-Key", "hush-header", true),
            set("X-Team", "b", false),
            set("X-New", "c", true),
        ];
        assert_eq!(headers(&sim).await, expected, "what is not named stays");
        let removed = api.patch(&path, json!({ "X-NEW": null, "X-Unknown": null }));
        removed.await.expect(204);
        assert_eq!(headers(&sim).await, expected[..2]);
        let same = api.patch(&path, json!({})).await.expect(204);
        let shown = api.get(&format!("/endpoints/{}", id(HOOK))).await;
        assert_eq!(same.etag(), shown.etag());
    });
}

#[test]
fn a_patch_that_cannot_be_a_set_of_headers_changes_nothing() {
    serve(async |api, sim| {
        let path = format!("/endpoints/{}/headers", id(HOOK));
        let before = headers(&sim).await;
        let many: serde_json::Map<String, Value> = (0..65)
            .map(|number| (format!("X-{number}"), Value::Null))
            .collect();
        for (patch, status, wrong) in [
            (json!({ "X-A": 1 }), 400, "/X-A"),
            (json!({ "X-A": "a", "x-a": null }), 400, ""),
            (json!([]), 400, ""),
            (Value::Object(many), 400, ""),
            (json!({ "Host": "a" }), 422, "/headers"),
            (json!({ "X-A": "a\r\nb" }), 422, "/headers"),
        ] {
            let refused = api.patch(&path, patch.clone()).await.expect(status);
            assert_eq!(refused.wrong(), wrong, "{patch}");
        }
        assert_eq!(headers(&sim).await, before);
    });
}
