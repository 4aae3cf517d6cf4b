//! Endpoints and clients: created, changed, removed. What is shown can be sent back, and nothing
//! changes.

use std::time::Duration;

use actix_webhooks::{
    Auth, CircuitBreaker, ClientCredentials, Endpoint, RateLimit, SignatureHeaders,
};
use serde_json::json;

use super::support::{HOOK, SECRET, TOKEN, bearer, id, request, serve};

/// An endpoint with every setting, and a secret in every place.
fn full() -> Endpoint {
    let made = rcgen::generate_simple_self_signed(["client.test".to_owned()]).unwrap();
    let credentials =
        ClientCredentials::new("https://issuer.test/token", "us", "hush-client-secret");
    let auth = credentials
        .unwrap()
        .scope("hooks")
        .audience("them")
        .in_body()
        .parameter("resource", "hush-raw");
    Endpoint::new(HOOK)
        .unwrap()
        .client("client")
        .content_type("application/json; charset=utf-8")
        .signature_headers(SignatureHeaders::prefixed("svix"))
        .timeout(Duration::from_micros(1_500))
        .circuit_breaker(CircuitBreaker::after(3))
        .rate_limit(RateLimit::per_second(10))
        .allow_addresses(actix_webhooks::AddressRange::loopback())
        .root_certificate(made.cert.pem())
        .client_certificate(made.cert.pem(), made.signing_key.serialize_pem())
        .auth(Auth::oauth2(auth))
        .header("X-Team", "hush-header")
        .secret_header("X-Key", "hush-header")
        .secret(SECRET)
        .unwrap()
        .secret_until(
            "whsec_plJ3nmyCDGBKInavdOK15jsl9bBzJYg8",
            "2026-02-01T00:00:00Z".parse().unwrap(),
        )
        .unwrap()
}

#[test]
fn an_endpoint_sent_back_as_it_is_shown_changes_nothing_secrets_included() {
    serve(async |api, sim| {
        // Its rule is for every client.
        sim.engine.remove_rule("rule").await.unwrap();
        sim.engine.put_endpoint(full()).await.unwrap();
        let path = format!("/endpoints/{}", id(HOOK));
        let shown = api.get(&path).await.expect(200);
        let (tag, view) = (shown.etag(), shown.json());
        assert_eq!(view["auth"]["kind"], "oauth2");
        assert_eq!(view["status"]["state"], "idle");
        assert_eq!(
            view["headers"][1],
            json!({ "name": "X-Key", "droppedAcrossOrigins": true })
        );
        let again = api.patch(&path, view.clone()).await.expect(200);
        assert_eq!((again.etag(), again.json()), (tag.clone(), view.clone()));
        // Each part with secrets by its own route.
        for (part, route) in [
            ("auth", "auth"),
            ("headers", "headers"),
            ("clientCertificate", "client-certificate"),
        ] {
            let put = api
                .put(&format!("{path}/{route}"), view[part].clone())
                .await
                .expect(204);
            assert_eq!(put.etag(), tag, "{part}");
        }
        let settings = sim.engine.endpoint(HOOK).settings().await.unwrap();
        assert_eq!(settings, full_like(&settings));
        assert_eq!(settings.secrets.len(), 2);
        assert_eq!(settings.secrets[0].secret.expose(), SECRET);
        let auth = Auth::basic("a", "b");
        assert_ne!(settings.auth, Some(auth));
        let Some(Auth::OAuth2(credentials)) = &settings.auth else {
            panic!()
        };
        assert_eq!(credentials.client_secret.expose(), "hush-client-secret");
        assert_eq!(credentials.parameters[0].value.expose(), "hush-raw");
        assert!(
            settings
                .headers
                .iter()
                .all(|header| header.value.expose() == "hush-header")
        );
        let key = &settings.client_identity.as_ref().unwrap().key;
        assert!(key.expose().contains("PRIVATE KEY"));
    });
}

/// Returns [`full`] with the certificates of `made`, which differ each time.
fn full_like(made: &Endpoint) -> Endpoint {
    let mut full = full();
    full.client_identity.clone_from(&made.client_identity);
    full.root_certificates.clone_from(&made.root_certificates);
    full
}

#[test]
fn a_client_sent_back_as_it_is_shown_changes_nothing_secrets_included() {
    serve(async |api, sim| {
        let shown = api.get("/clients/client").await.expect(200);
        let view = shown.json();
        let again = api.put("/clients/client", view.clone()).await.expect(200);
        assert_eq!(again.etag(), shown.etag());
        assert_eq!(
            again.json(),
            json!({ "id": "client", "name": "Dave", "auth": { "kind": "raw" } }),
            "without its status"
        );
        let put = api
            .put("/clients/client/auth", view["auth"].clone())
            .await
            .expect(204);
        assert_eq!(put.etag(), shown.etag());
        // Without the part that describes the secret, too.
        api.put("/clients/client", json!({ "name": "Dave" }))
            .await
            .expect(200);
        let clients = sim.engine.clients().await.unwrap();
        assert_eq!(clients[0].auth, Some(Auth::raw("hush-raw")));
        api.delete("/clients/client/auth").await.expect(204);
        assert_eq!(sim.engine.clients().await.unwrap()[0].auth, None);
    });
}

#[test]
fn a_secret_stays_only_where_it_was_given_for() {
    serve(async |api, sim| {
        let path = format!("/endpoints/{}", id(HOOK));
        for (auth, pointer) in [
            (json!({ "kind": "basic", "user": "other" }), "/password"),
            (json!({ "kind": "bearer" }), "/token"),
            (json!({ "kind": "raw" }), "/value"),
            (
                json!({ "kind": "oauth2", "tokenUrl": "https://evil.test", "clientId": "us" }),
                "/clientSecret",
            ),
        ] {
            let refused = api
                .put(&format!("{path}/auth"), auth.clone())
                .await
                .expect(400);
            assert_eq!(refused.wrong(), pointer, "{auth}");
        }
        sim.engine.remove_rule("rule").await.unwrap();
        sim.engine.put_endpoint(full()).await.unwrap();
        let mut auth = api.get(&path).await.json()["auth"].clone();
        auth["tokenUrl"] = "https://evil.test/token".into();
        let refused = api.put(&format!("{path}/auth"), auth).await.expect(400);
        assert_eq!(refused.wrong(), "/clientSecret");
        let headers = json!([{ "name": "X-Team" }, { "name": "X-Other" }]);
        let refused = api
            .put(&format!("{path}/headers"), headers)
            .await
            .expect(400);
        assert_eq!(refused.wrong(), "/1/value");
        let made = rcgen::generate_simple_self_signed(["other.test".to_owned()]).unwrap();
        let other = json!({ "certificates": made.cert.pem() });
        let refused = api
            .put(&format!("{path}/client-certificate"), other)
            .await
            .expect(400);
        assert_eq!(refused.wrong(), "/key");
    });
}

#[test]
fn an_endpoint_is_created_once_changed_in_parts_and_removed() {
    serve(async |api, sim| {
        let url = "https://other.test/hook";
        let given = json!({ "url": "HTTPS://OTHER.test:443/hook", "policy": { "timeoutMs": 2000, "retry": { "jitter": false } } });
        let created = api.post("/endpoints", given).await.expect(201);
        let path = format!("/endpoints/{}", id(url));
        assert!(created.header("location").ends_with(&path));
        assert_eq!(created.json()["url"], url);
        assert_eq!(
            created.json()["policy"]["connectTimeoutMs"],
            5000,
            "the engine's default"
        );
        let exists = api
            .post("/endpoints", json!({ "url": url }))
            .await
            .expect(409);
        assert_eq!(exists.code(), "endpoint-exists");
        assert!(exists.text.contains(&id(url)), "{exists:?}");
        let changed = api.patch(&path, json!({ "policy": { "ordering": "fifo", "rateLimit": { "attempts": 2, "perMs": 1000 } } }));
        let view = changed.await.expect(200).json();
        assert_eq!(
            (&view["policy"]["ordering"], &view["policy"]["timeoutMs"]),
            (&json!("fifo"), &json!(2000))
        );
        let view = api
            .patch(&path, json!({ "policy": { "rateLimit": null } }))
            .await
            .expect(200)
            .json();
        assert_eq!(view["policy"].get("rateLimit"), None);
        let settings = sim.engine.endpoint(url).settings().await.unwrap();
        assert_eq!(settings.policy.timeout, Duration::from_secs(2));
        assert!(!settings.policy.retry.has_jitter());
        for (part, value) in [
            ("id", json!("ep_00000000000000000000000000000000")),
            ("url", json!("https://evil.test/")),
            ("auth", json!({ "kind": "none" })),
        ] {
            let refused = api.patch(&path, json!({ part: value })).await.expect(422);
            assert_eq!(refused.wrong(), format!("/{part}"));
        }
        assert_eq!(
            api.delete(&path).await.expect(200).json(),
            json!({ "deadLettered": 0 })
        );
        assert_eq!(api.get(&path).await.expect(404).code(), "unknown-endpoint");
    });
}

#[test]
fn a_change_that_another_has_overtaken_is_refused() {
    serve(async |api, _| {
        let with_tag = |method: &str, path: &str, tag: &str, body: serde_json::Value| {
            request(method, path)
                .insert_header(bearer(TOKEN))
                .insert_header(("if-match", tag.to_owned()))
                .insert_header(("content-type", "application/json"))
                .set_payload(body.to_string())
        };
        let endpoint = format!("/endpoints/{}", id(HOOK));
        for (path, method, change) in [
            (
                &*endpoint,
                "PATCH",
                json!({ "policy": { "maxInFlight": 7 } }),
            ),
            ("/rules/rule", "PATCH", json!({ "enabled": false })),
            ("/clients/client", "PUT", json!({ "name": "David" })),
        ] {
            let before = api.get(path).await.etag();
            let after = api
                .send(with_tag(method, path, &before, change.clone()))
                .await
                .expect(200);
            assert_ne!(after.etag(), before);
            assert_eq!(api.get(path).await.etag(), after.etag());
            for method in [method, "DELETE"] {
                let late = api
                    .send(with_tag(method, path, &before, change.clone()))
                    .await
                    .expect(412);
                assert_eq!(late.code(), "changed-meanwhile", "{path}");
            }
            // A secret that changes changes the tag.
            let auth = json!({ "kind": "bearer", "token": "hush-bearer-2" });
            let put = api
                .send(with_tag(
                    "PUT",
                    &format!("{path}/auth"),
                    &after.etag(),
                    auth,
                ))
                .await
                .expect(204);
            assert_ne!(put.etag(), after.etag());
        }
        let absent = with_tag(
            "PUT",
            "/rules/new",
            "*",
            json!({ "ruleType": "a", "webhooks": [HOOK] }),
        );
        api.send(absent).await.expect(412);
    });
}

#[test]
fn secrets_are_rotated_listed_and_deleted_by_fingerprint() {
    serve(async |api, sim| {
        let path = format!("/endpoints/{}/secrets", id(HOOK));
        let rotated = api
            .post(&format!("{path}/rotate"), json!({ "graceMs": 60_000 }))
            .await
            .expect(200)
            .json();
        let secret = rotated["secret"].as_str().unwrap();
        assert!(
            secret.starts_with("whsec_") && secret.len() == 50,
            "{secret}"
        );
        let listed = api.get(&path).await.expect(200).json();
        assert_eq!(listed.as_array().unwrap().len(), 2);
        assert_eq!(listed[0]["until"], "2026-01-01T00:01:00.000Z");
        assert_eq!(
            listed[1],
            json!({ "fingerprint": rotated["fingerprint"], "kind": "hmac" })
        );
        sim.publish("signed").await;
        sim.sleep(1).await;
        let signature = sim.receivers.requests()[0].signature.clone().unwrap();
        assert_eq!(signature.split(' ').count(), 2, "both sign");
        // The old one has ended when the next comes.
        sim.sleep(61).await;
        let given = json!({ "secret": "whsec_plJ3nmyCDGBKInavdOK15jsl9bBzJYg8", "graceMs": 0 });
        api.post(&format!("{path}/rotate"), given).await.expect(200);
        let listed = api.get(&path).await.json();
        let [only] = &listed.as_array().unwrap()[..] else {
            panic!("{listed}")
        };
        let one = format!("{path}/{}", only["fingerprint"].as_str().unwrap());
        assert_eq!(api.delete(&one).await.expect(409).code(), "last-secret");
        api.delete(&format!("{one}?unsigned=true"))
            .await
            .expect(204);
        assert_eq!(api.delete(&one).await.expect(404).code(), "unknown-secret");
        let refused = api
            .post(&format!("{path}/rotate"), json!({ "secret": "hush-raw" }))
            .await;
        assert_eq!(refused.expect(422).wrong(), "/secret");
        for _ in 0..8 {
            api.post(&format!("{path}/rotate"), json!({}))
                .await
                .expect(200);
        }
        let ninth = api
            .post(&format!("{path}/rotate"), json!({}))
            .await
            .expect(409);
        assert_eq!(ninth.code(), "too-many-secrets");
    });
}

#[test]
fn an_endpoint_is_paused_disabled_and_resumed_and_found_by_its_condition() {
    serve(async |api, _| {
        api.post("/endpoints", json!({ "url": "https://z.test/" }))
            .await
            .expect(201);
        let path = format!("/endpoints/{}", id(HOOK));
        for (action, state, condition) in [
            ("pause", "paused", "paused"),
            ("disable", "disabled", "disabled"),
        ] {
            let status = api
                .call("POST", &format!("{path}/{action}"), None)
                .await
                .expect(200);
            assert_eq!(status.json()["state"], state);
            let listed = api
                .get(&format!("/endpoints?state={condition}"))
                .await
                .json();
            assert_eq!(listed["data"].as_array().unwrap().len(), 1);
            assert_eq!(listed["data"][0]["id"], id(HOOK));
        }
        let status = api
            .call("POST", &format!("{path}/resume"), None)
            .await
            .expect(200);
        assert_eq!(status.json()["state"], "idle");
        let first = api.get("/endpoints?limit=1").await.json();
        assert_eq!(first["data"][0]["id"], id(HOOK));
        let next = first["next"].as_str().unwrap();
        assert!(!next.contains("receiver"), "a cursor holds no URL");
        let second = api
            .get(&format!("/endpoints?limit=1&cursor={next}"))
            .await
            .json();
        assert_eq!(second["data"][0]["url"], "https://z.test/");
        assert_eq!(
            (&second["next"], &second["searchedTo"]),
            (&json!(null), &json!(null))
        );
        let other = api
            .get(&format!("/endpoints?state=busy&cursor={next}"))
            .await
            .expect(400);
        assert_eq!(other.code(), "cursor-of-another-query");
    });
}
