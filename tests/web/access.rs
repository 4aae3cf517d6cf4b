//! Ways to give access.

use actix_web::HttpRequest;
use actix_web::test::TestRequest;
use actix_webhooks::web::{Access, Capability, Denied, Operator, Token};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::support::{request, serve_with};

fn basic(pair: &str) -> TestRequest {
    request("GET", "/me")
        .insert_header(("authorization", format!("Basic {}", STANDARD.encode(pair))))
}

#[test]
fn basic_takes_a_name_with_its_own_password() {
    let users = [
        Token::new("alice", "alice-0123456789", [Capability::Read]),
        Token::new("bob", "bob-0123456789abc", Capability::ALL),
    ];
    serve_with(
        Access::basic(users).unwrap(),
        |builder| builder,
        async |api, _| {
            let me = api
                .send(basic("alice:alice-0123456789"))
                .await
                .expect(200)
                .json();
            assert_eq!(me["name"], "alice");
            assert_eq!(me["capabilities"], serde_json::json!(["read"]));
            assert_eq!(me["engine"]["version"], env!("CARGO_PKG_VERSION"));
            assert_eq!(me["engine"]["startedAt"], "2026-01-01T00:00:00.000Z");
            let wrong = [
                "alice:bob-0123456789abc",
                "alice:",
                "nobody:alice-0123456789",
                ":",
                "alice",
            ];
            let mut details = Vec::new();
            for pair in wrong {
                let answer = api.send(basic(pair)).await.expect(401);
                assert_eq!(answer.code(), "credentials-wrong", "{pair}");
                assert!(answer.header("www-authenticate").starts_with("Basic "));
                details.push(answer.json()["detail"].clone());
            }
            let missing = api.send(request("GET", "/me")).await.expect(401);
            assert_eq!(missing.code(), "credentials-missing");
            details.push(missing.json()["detail"].clone());
            details.dedup();
            assert_eq!(details.len(), 1, "nothing tells a name from a password");
        },
    );
}

#[test]
fn a_guard_of_the_application_decides_by_the_request() {
    let guard = Access::guard(async |request: &HttpRequest| {
        let user = request.headers().get("x-user").ok_or(Denied::unknown())?;
        let user = user.to_str().map_err(|_| Denied::unknown())?;
        actix_web::rt::task::yield_now().await;
        Ok(Operator::new(user, [Capability::Read]))
    });
    serve_with(
        guard,
        |builder| builder,
        async |api, _| {
            let carol = request("GET", "/me").insert_header(("x-user", "carol"));
            assert_eq!(api.send(carol).await.expect(200).json()["name"], "carol");
            let answer = api.send(request("GET", "/me")).await.expect(401);
            assert_eq!(answer.code(), "credentials-wrong");
            let publish = request("POST", "/events").insert_header(("x-user", "carol"));
            assert_eq!(api.send(publish).await.expect(403).code(), "not-allowed");
        },
    );
}
