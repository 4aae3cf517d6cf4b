//! One table of every route: who may call it.

use std::collections::BTreeSet;

use actix_webhooks::web::{Capability, openapi};
use serde_json::{Value, json};

use super::support::{HOOK, bearer, id, request, serve};

/// A route, what it needs, and a request that it answers with `status` if the caller has that.
struct Row {
    method: &'static str,
    /// As in the document, with braces.
    path: &'static str,
    needs: Option<Capability>,
    body: Option<Value>,
    media: &'static str,
    status: u16,
}

fn row(
    method: &'static str,
    path: &'static str,
    needs: impl Into<Option<Capability>>,
    body: impl Into<Option<Value>>,
    status: u16,
) -> Row {
    Row {
        method,
        path,
        needs: needs.into(),
        body: body.into(),
        media: match (method, path) {
            ("PATCH", _) => "application/merge-patch+json",
            (_, "/events/batch") => "application/x-ndjson",
            _ => "application/json",
        },
        status,
    }
}

/// Every route, in an order in which each finds what it needs.
fn table() -> Vec<Row> {
    use Capability::{Bodies, Configure, Operate, Publish, Read, Redeliver};
    let event = || json!({ "ruleType": "a", "clientId": "client" });
    let rule = || json!({ "ruleType": "b", "webhooks": [HOOK] });
    let auth = || json!({ "kind": "bearer", "token": "hush-bearer" });
    vec![
        row("GET", "/me", None, None, 200),
        row("GET", "/openapi.json", None, None, 200),
        row("GET", "/problems", None, None, 200),
        row("GET", "/endpoints", Read, None, 200),
        row(
            "POST",
            "/endpoints",
            Configure,
            json!({ "url": "https://other.test/" }),
            201,
        ),
        row("GET", "/endpoints/{id}", Read, None, 200),
        row("PATCH", "/endpoints/{id}", Configure, json!({}), 200),
        row("POST", "/endpoints/{id}/pause", Operate, None, 200),
        row("POST", "/endpoints/{id}/disable", Operate, None, 200),
        row("POST", "/endpoints/{id}/resume", Operate, None, 200),
        row("POST", "/endpoints/{id}/test", Operate, json!({}), 202),
        row("GET", "/endpoints/{id}/attempts", Read, None, 200),
        row("GET", "/overview", Read, None, 200),
        row("GET", "/statistics", Read, None, 200),
        row("GET", "/actions", Read, None, 200),
        row("GET", "/search", Read, None, 200),
        row("GET", "/live", Read, None, 200),
        row("GET", "/endpoints/{id}/secrets", Read, None, 200),
        row(
            "POST",
            "/endpoints/{id}/secrets/rotate",
            Configure,
            json!({}),
            200,
        ),
        row(
            "DELETE",
            "/endpoints/{id}/secrets/{fingerprint}",
            Configure,
            None,
            204,
        ),
        row("PUT", "/endpoints/{id}/auth", Configure, auth(), 204),
        row("DELETE", "/endpoints/{id}/auth", Configure, None, 204),
        row(
            "PUT",
            "/endpoints/{id}/headers",
            Configure,
            json!([{ "name": "X-A", "value": "a" }]),
            204,
        ),
        row(
            "PATCH",
            "/endpoints/{id}/headers",
            Configure,
            json!({ "X-A": null }),
            204,
        ),
        row(
            "PUT",
            "/endpoints/{id}/client-certificate",
            Configure,
            certificate(),
            204,
        ),
        row(
            "DELETE",
            "/endpoints/{id}/client-certificate",
            Configure,
            None,
            204,
        ),
        row("GET", "/rules", Read, None, 200),
        row("POST", "/rules", Configure, rule(), 201),
        row("GET", "/rules/{id}", Read, None, 200),
        row("PUT", "/rules/{id}", Configure, rule(), 200),
        row(
            "PATCH",
            "/rules/{id}",
            Configure,
            json!({ "ruleType": "*" }),
            200,
        ),
        row("PUT", "/rules/{id}/auth", Configure, auth(), 204),
        row("DELETE", "/rules/{id}/auth", Configure, None, 204),
        row("GET", "/clients", Read, None, 200),
        row("GET", "/clients/{id}", Read, None, 200),
        row("PUT", "/clients/{id}", Configure, json!({}), 200),
        row("PUT", "/clients/{id}/auth", Configure, auth(), 204),
        row("DELETE", "/clients/{id}/auth", Configure, None, 204),
        row("POST", "/events", Publish, event(), 202),
        row("POST", "/events/batch", Publish, event(), 200),
        row("GET", "/events/{id}", Read, None, 200),
        // A store in memory has no outbox.
        row("GET", "/outbox", Read, None, 200),
        row("GET", "/outbox/refused", Read, None, 200),
        row("GET", "/deliveries", Read, None, 200),
        row("GET", "/deliveries/count", Read, None, 200),
        row("GET", "/deliveries/{id}/body", Bodies, None, 200),
        row("GET", "/deliveries/{id}", Read, None, 200),
        row(
            "POST",
            "/deliveries/{id}/redeliver",
            Redeliver,
            json!({ "force": true }),
            202,
        ),
        row("POST", "/deliveries/{id}/attempt-now", Redeliver, None, 409),
        row("GET", "/dead-letters", Read, None, 200),
        row("GET", "/why", Read, None, 200),
        row(
            "POST",
            "/routing/explain",
            Read,
            json!({ "ruleType": "a", "clientId": "client" }),
            200,
        ),
        row(
            "POST",
            "/redeliveries",
            Redeliver,
            json!({ "of": "dead_letters" }),
            202,
        ),
        row("GET", "/redeliveries", Read, None, 200),
        row("GET", "/redeliveries/{id}", Read, None, 200),
        row("DELETE", "/redeliveries/{id}", Redeliver, None, 202),
        row("POST", "/discards", Operate, json!({ "limit": 1 }), 200),
        row("DELETE", "/rules/{id}", Configure, None, 200),
        row("DELETE", "/clients/{id}", Configure, None, 200),
        row("DELETE", "/endpoints/{id}", Configure, None, 200),
    ]
}

fn certificate() -> Value {
    let made = rcgen::generate_simple_self_signed(["client.test".to_owned()]).unwrap();
    json!({ "certificates": made.cert.pem(), "key": made.signing_key.serialize_pem() })
}

impl Row {
    /// Returns the path of this engine's things.
    fn place(&self) -> String {
        let endpoint = self.path.starts_with("/endpoints");
        let number = ["/deliveries", "/redeliveries"];
        let number = number.iter().any(|path| self.path.starts_with(path));
        let client = self.path.starts_with("/clients");
        let id = match (endpoint, number, client) {
            (true, ..) => id(HOOK),
            (_, true, _) => "1".to_owned(),
            (.., true) => "client".to_owned(),
            _ if self.path.starts_with("/events") => "first".to_owned(),
            _ => "rule".to_owned(),
        };
        let path = match self.path {
            "/why" => "/why?event=first",
            "/search" => "/search?q=first",
            // It ends after ten minutes, which are soon over here.
            "/live" => "/live?topics=actions",
            other => other,
        };
        // The fingerprint: printf %s whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw | sha256sum
        path.replace("{id}", &id)
            .replace("{fingerprint}", "96ad2ccd81462a76")
    }

    fn request(&self, credentials: Option<&str>) -> actix_web::test::TestRequest {
        let mut request = request(self.method, &self.place());
        if let Some(token) = credentials {
            request = request.insert_header(bearer(token));
        }
        if let Some(body) = &self.body {
            request = request
                .insert_header(("content-type", self.media))
                .set_payload(body.to_string());
        }
        request
    }
}

#[test]
fn every_route_is_for_those_who_may_call_it_and_for_nobody_else() {
    serve(async |api, sim| {
        sim.publish("first").await;
        for row in table() {
            let name = format!("{} {}", row.method, row.path);
            let answer = api.send(row.request(None)).await.expect(401);
            assert_eq!(answer.code(), "credentials-missing", "{name}");
            assert_eq!(
                answer.header("www-authenticate"),
                "Bearer realm=\"webhooks\""
            );
            let wrong = api
                .send(row.request(Some("wrong-0123456789abcdef")))
                .await
                .expect(401);
            assert_eq!(wrong.code(), "credentials-wrong", "{name}");
            assert_eq!(wrong.json()["detail"], answer.json()["detail"], "{name}");
            for capability in Capability::ALL {
                let token = format!("{capability}-0123456789abcdef");
                if row.needs.is_none_or(|needs| needs == capability) {
                    continue;
                }
                let refused = api.send(row.request(Some(&token))).await.expect(403);
                assert_eq!(refused.code(), "not-allowed", "{name} with {capability}");
                let needed = row.needs.unwrap().as_str();
                assert!(refused.text.contains(needed), "{name}: {refused:?}");
            }
            // Its own capability is enough.
            let own = row.needs.unwrap_or(Capability::Portal);
            let answer = api
                .send(row.request(Some(&format!("{own}-0123456789abcdef"))))
                .await;
            assert_eq!(answer.status, row.status, "{name}: {answer:?}");
        }
    });
}

#[test]
fn every_route_of_the_document_has_a_row_in_the_table() {
    let document = openapi();
    let paths = document["paths"].as_object().unwrap();
    let documented = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    let documented: BTreeSet<String> = documented.collect();
    let rows = table()
        .into_iter()
        .map(|row| format!("{} {}", row.method, row.path));
    assert_eq!(rows.collect::<BTreeSet<_>>(), documented);
}

#[test]
fn a_page_of_another_site_cannot_act() {
    serve(async |api, sim| {
        sim.publish("first").await;
        for row in table().into_iter().filter(|row| row.method != "GET") {
            for foreign in [
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
                ("origin", "https://evil.test"),
                ("origin", "null"),
            ] {
                let request = row
                    .request(Some(super::support::TOKEN))
                    .insert_header(foreign);
                let answer = api
                    .send(request.insert_header(("host", "own.test")))
                    .await
                    .expect(403);
                assert_eq!(answer.code(), "cross-site", "{} {}", row.method, row.path);
            }
        }
        let status = sim.engine.endpoint(HOOK).status().await.unwrap().unwrap();
        assert_eq!(
            status.state.to_string(),
            "idle",
            "neither paused nor disabled"
        );
        let own = request("POST", &format!("/endpoints/{}/pause", id(HOOK)))
            .insert_header(bearer(super::support::TOKEN))
            .insert_header(("sec-fetch-site", "same-origin"));
        api.send(own).await.expect(200);
    });
}
