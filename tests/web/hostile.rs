//! Hostile paths, queries and bodies: a 4xx that names what is wrong, and never a 500.

use actix_webhooks::web::openapi;
use serde_json::json;

use super::support::{HOOK, TOKEN, bearer, id, request, serve};

#[test]
fn a_wrong_parameter_is_named() {
    serve(async |api, _| {
        for (path, name) in [
            ("/endpoints?limit=0", "limit"),
            ("/endpoints?limit=201", "limit"),
            ("/endpoints?limit=-1", "limit"),
            ("/endpoints?limit=1&limit=2", "limit"),
            ("/endpoints?limt=1", "limt"),
            ("/endpoints?state=broken", "state"),
            ("/endpoints?cursor=%00", "cursor"),
            ("/endpoints?cursor=AAAA", "cursor"),
            ("/endpoints/1?x=1", "x"),
            ("/endpoints/ep_1", "id"),
            ("/endpoints/%2e%2e%2f", "id"),
            ("/endpoints/%FF", "id"),
            ("/me?verbose", "verbose"),
            ("/rules?enabled=maybe", "enabled"),
            ("/rules?form=other", "form"),
            ("/deliveries?since=yesterday", "since"),
            ("/deliveries?since=99999999999d", "since"),
            ("/deliveries?endpoint=https://a.test", "endpoint"),
            ("/deliveries?url=https://a.test", "url"),
            ("/deliveries/x", "id"),
            ("/deliveries/+1", "id"),
            ("/deliveries/99999999999999999999999", "id"),
            ("/dead-letters?from=1h", "from"),
            ("/deliveries?failure=none", "failure"),
            ("/deliveries?failure=0xx", "failure"),
            ("/deliveries?reason=none", "reason"),
            ("/deliveries/count?webhookId=1", "webhookId"),
            ("/redeliveries/x", "id"),
            ("/redeliveries?dryRun=true", "dryRun"),
        ] {
            let answer = api.get(path).await.expect(400);
            assert_eq!(
                (answer.code().as_str(), answer.wrong().as_str()),
                ("invalid-parameter", name),
                "{path}"
            );
        }
        for id in ["0", "999", "18446744073709551615"] {
            let answer = api.get(&format!("/deliveries/{id}")).await.expect(404);
            assert_eq!(answer.code(), "unknown-delivery");
        }
    });
}

#[test]
fn a_wrong_part_of_a_body_is_pointed_at() {
    serve(async |api, _| {
        let endpoint = format!("/endpoints/{}", id(HOOK));
        let auth = format!("{endpoint}/auth");
        for (method, path, body, status, pointer) in [
            ("POST", "/events", json!({ "ruleType": "a" }), 400, ""),
            (
                "POST",
                "/events",
                json!({ "ruleType": 1, "clientId": "c" }),
                400,
                "/ruleType",
            ),
            (
                "POST",
                "/events",
                json!({ "ruleType": "a", "clientId": "c", "datum": 1 }),
                400,
                "/datum",
            ),
            (
                "POST",
                "/events",
                json!({ "ruleType": "", "clientId": "c" }),
                422,
                "/ruleType",
            ),
            (
                "POST",
                "/events",
                json!({ "ruleType": "a", "clientId": "c\n" }),
                422,
                "/clientId",
            ),
            (
                "POST",
                "/events",
                json!({ "id": "ü", "ruleType": "a", "clientId": "c" }),
                422,
                "/id",
            ),
            (
                "POST",
                "/events",
                json!({ "ruleType": "a", "clientId": "c", "occurredAt": "now" }),
                400,
                "/occurredAt",
            ),
            ("POST", "/endpoints", json!({}), 422, "/url"),
            (
                "POST",
                "/endpoints",
                json!({ "url": "ftp://a.test" }),
                422,
                "/url",
            ),
            (
                "POST",
                "/endpoints",
                json!({ "url": "https://a.test", "policy": { "timeoutMs": 0 } }),
                422,
                "/policy/timeoutMs",
            ),
            (
                "POST",
                "/endpoints",
                json!({ "url": "https://a.test", "policy": { "timeoutMs": -1 } }),
                422,
                "/policy",
            ),
            (
                "POST",
                "/endpoints",
                json!({ "url": "https://a.test", "policy": { "timeout": 1 } }),
                400,
                "/policy/timeout",
            ),
            (
                "POST",
                "/endpoints",
                json!({ "url": "https://a.test", "policy": null }),
                400,
                "",
            ),
            (
                "POST",
                "/endpoints",
                json!({ "url": "https://a.test", "contentType": "x" }),
                422,
                "/contentType",
            ),
            (
                "POST",
                "/endpoints",
                json!({ "url": "https://a.test", "allowedAddresses": ["x"] }),
                400,
                "/allowedAddresses/0",
            ),
            (
                "PATCH",
                &endpoint,
                json!({ "policy": { "retry": { "waitsMs": [1, "x"] } } }),
                400,
                "/policy/retry/waitsMs/1",
            ),
            (
                "PATCH",
                &endpoint,
                json!({ "policy": { "responses": { "99999": "transient" } } }),
                400,
                "/policy/responses/99999",
            ),
            (
                "PUT",
                &auth,
                json!({ "kind": "basic", "user": "a:b", "password": "x" }),
                422,
                "/auth",
            ),
            (
                "PUT",
                "/rules/r",
                json!({ "ruleType": "*x", "webhooks": [HOOK] }),
                422,
                "/ruleType",
            ),
            (
                "PUT",
                "/rules/r",
                json!({ "ruleType": "x", "webhooks": [] }),
                422,
                "/webhooks",
            ),
            (
                "PUT",
                "/rules/r",
                json!({ "ruleType": "x", "webhooks": ["x"] }),
                400,
                "/webhooks/0",
            ),
            (
                "PUT",
                "/rules/r",
                json!({ "id": "s", "ruleType": "x", "webhooks": [HOOK] }),
                422,
                "/id",
            ),
            ("PUT", "/clients/c", json!({ "name": "a\nb" }), 422, "/name"),
            ("PUT", "/clients/c%0A", json!({}), 422, "/id"),
            ("POST", "/discards", json!({ "limit": 0 }), 400, "/limit"),
            (
                "POST",
                "/deliveries/1/redeliver",
                json!({ "forse": true }),
                400,
                "/forse",
            ),
        ] {
            let answer = api.call(method, path, Some(body.clone())).await;
            assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
            if status != 404 {
                assert_eq!(
                    answer.wrong(),
                    pointer,
                    "{method} {path} {body}: {answer:?}"
                );
            }
        }
    });
}

#[test]
fn what_no_route_takes_is_a_problem_too() {
    serve(async |api, _| {
        let send = async |method: &str, path: &str, media: &str, body: String| {
            let request = request(method, path)
                .insert_header(bearer(TOKEN))
                .insert_header(("content-type", media.to_owned()));
            api.send(request.set_payload(body)).await
        };
        for path in [
            "/nothing",
            "/",
            "",
            "/endpoints/",
            "//endpoints",
            "/endpoints/a/b/c/d",
            "/%00",
        ] {
            let answer = api.get(path).await.expect(404);
            assert_eq!(answer.code(), "unknown-path", "{path}");
        }
        for (method, path, allow) in [
            ("DELETE", "/me", "GET"),
            ("HEAD", "/me", "GET"),
            ("PUT", "/endpoints", "GET, POST"),
            ("TRACE", "/rules/r", "DELETE, GET, PATCH, PUT"),
        ] {
            let answer = send(method, path, "text/plain", String::new())
                .await
                .expect(405);
            assert_eq!(answer.header("allow"), allow, "{method} {path}");
        }
        for media in ["text/plain", "", "application/jsonx", "multipart/form-data"] {
            let answer = send("POST", "/events", media, "{}".to_owned())
                .await
                .expect(415);
            assert_eq!(answer.code(), "content-type", "{media}");
        }
        let large = send(
            "POST",
            "/events",
            "application/json",
            " ".repeat(2 * 1_024 * 1_024 + 1),
        )
        .await;
        assert_eq!(large.expect(413).code(), "body-too-large");
        let deep = format!(
            r#"{{"ruleType":"a","clientId":"c","data":{}{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(
            send("POST", "/events", "application/json", deep)
                .await
                .expect(400)
                .code(),
            "invalid-body"
        );
        for body in ["", "{", "null", "[]", "\u{0}", "1e999"] {
            send("POST", "/events", "application/json", body.to_owned())
                .await
                .expect(400);
        }
    });
}

/// Sends odd texts wherever a route takes one.
#[test]
fn odd_texts_in_every_place_never_make_a_500() {
    let texts = [
        "%00",
        "%FF%FE",
        "%F0%9F%92%A9",
        "..%2F..%2Fetc",
        "%3Cscript%3E",
        "%27%20OR%201=1",
        "null",
        "-1",
        "1e308",
        &"9".repeat(400),
        "%25s",
    ];
    serve(async |api, _| {
        for (path, item) in openapi()["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                for text in texts {
                    let mut place = path.replace("{id}", text).replace("{fingerprint}", text);
                    let parameters = operation["parameters"]
                        .as_array()
                        .cloned()
                        .unwrap_or_default();
                    let of_query = parameters
                        .iter()
                        .filter(|parameter| parameter["in"] == "query");
                    for (number, parameter) in of_query.enumerate() {
                        let mark = if number == 0 { '?' } else { '&' };
                        place = format!(
                            "{place}{mark}{}={text}",
                            parameter["name"].as_str().unwrap()
                        );
                    }
                    let body = (method != "get")
                        .then(|| json!({ "kind": text, "url": text, "secret": text }));
                    let answer = api.call(&method.to_uppercase(), &place, body).await;
                    assert!(answer.status < 500, "{method} {place}: {answer:?}");
                }
            }
        }
    });
}
