//! What receivers get: bodies of every rule type, headers, and the right client's credentials.

use actix_webhooks::{AlertId, Auth, Client, Event, PutClient, PutRule, RemoveRule, Rule};
use serde_json::{Map, Value, json};

use super::support::{HOOK, event, plain, simulate_with};

/// One event of every rule type of the alert service, with the expected body of its alert, ids
/// aside.
fn fixtures() -> Vec<(Event, Value)> {
    let text = include_str!("../fixtures/alerts.json");
    let Value::Array(bodies) = serde_json::from_str(text).unwrap() else {
        panic!("not a list")
    };
    bodies
        .into_iter()
        .map(|body| (event_of(&body), body))
        .collect()
}

/// Builds the event that leads to a body, using only the public API.
fn event_of(body: &Value) -> Event {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let mut event = Event::new(text("RuleType").unwrap(), text("ClientId").unwrap());
    if let Some(company) = text("CompanyId") {
        event = event.company(company);
    }
    if let Some(connection) = text("DataConnectionId") {
        event = event.data_connection(connection);
    }
    if let Some(message) = text("Message") {
        event = event.message(message);
    }
    match body.get("Data") {
        Some(data) => event.data(data.clone()),
        None => event,
    }
}

#[test]
fn the_body_of_every_rule_type_has_exactly_its_keys() {
    let rule = Rule::new("5c27631d-3b63-4b50-8228-ee502fd113eb", "*")
        .webhook(HOOK)
        .unwrap();
    let client = Client::new("2f6d0f2e-7f43-4b0e-9f39-8a1a5a1f6e11").name("Bank of Examples");
    simulate_with(
        |builder| builder.rule(rule).client(client),
        async |sim| {
            let fixtures = fixtures();
            assert_eq!(
                fixtures.len(),
                15,
                "every rule type, and the second spelling of one"
            );
            for (event, _) in &fixtures {
                sim.engine.publish(event.clone()).await.unwrap();
                sim.clock.sleep(std::time::Duration::from_millis(1)).await;
            }
            for (sent, (event, expected)) in sim.receivers.requests().iter().zip(&fixtures) {
                let mut body: Map<String, Value> =
                    serde_json::from_slice(&sent.request.alert.body).unwrap();
                let alert_id = body
                    .insert("AlertId".into(), expected["AlertId"].clone())
                    .unwrap();
                let expected_id =
                    AlertId::new(&event.id, &"5c27631d-3b63-4b50-8228-ee502fd113eb".into());
                assert_eq!(alert_id, json!(expected_id));
                assert_eq!(Value::Object(body), *expected);
            }
            assert_eq!(sim.receivers.requests().len(), 15);
        },
    );
}

#[test]
fn the_rules_credentials_win_over_the_clients_and_those_over_the_endpoints() {
    let rule = |id: &str, rule_type: &str| Rule::new(id, rule_type).webhook(HOOK).unwrap();
    simulate_with(
        |builder| {
            builder
                .rule(rule("with", "with").auth(Auth::basic("user", "pw")))
                .rule(rule("without", "without"))
                .client(Client::new("a").auth(Auth::bearer("of-a")))
                .client(Client::new("b").auth(Auth::None))
                .endpoint(plain(HOOK).auth(Auth::raw("of-endpoint")))
        },
        async |sim| {
            for (rule_type, client) in [
                ("with", "a"),
                ("without", "a"),
                ("without", "b"),
                ("without", "c"),
            ] {
                sim.engine
                    .publish(Event::new(rule_type, client))
                    .await
                    .unwrap();
                sim.sleep(1).await;
            }
            let sent = sim.receivers.requests();
            let headers: Vec<_> = sent
                .iter()
                .map(|sent| {
                    sent.request
                        .authorization
                        .as_ref()
                        .map(actix_webhooks::Secret::expose)
                })
                .collect();
            assert_eq!(
                headers,
                [
                    Some("Basic dXNlcjpwdw=="),
                    Some("Bearer of-a"),
                    None,
                    Some("of-endpoint")
                ]
            );
        },
    );
}

#[test]
fn two_clients_on_one_url_get_their_own_headers_through_one_actor() {
    simulate_with(
        |builder| {
            builder
                .rule(Rule::new("a", "*").client("a").webhook(HOOK).unwrap())
                .rule(Rule::new("b", "*").client("b").webhook(HOOK).unwrap())
                .client(Client::new("a").auth(Auth::raw("A")))
                .client(Client::new("b").auth(Auth::raw("B")))
        },
        async |sim| {
            sim.engine.publish(Event::new("t", "a")).await.unwrap();
            sim.engine.publish(Event::new("t", "b")).await.unwrap();
            sim.sleep(1).await;
            for sent in sim.receivers.requests() {
                let client = sent.request.alert.client_id.as_str().to_uppercase();
                assert_eq!(sent.request.authorization.unwrap().expose(), client);
            }
            assert_eq!(sim.status(HOOK).await.delivered, 2);
        },
    );
}

#[test]
fn a_changed_token_is_used_from_the_next_attempt_on() {
    simulate_with(
        |builder| {
            builder
                .rule(Rule::new("r", "*").webhook(HOOK).unwrap())
                .endpoint(plain(HOOK))
        },
        async |sim| {
            let put = async |token: &str| {
                let client = Client::new("client").auth(Auth::raw(token));
                sim.engine
                    .router()
                    .send(PutClient::new(client))
                    .await
                    .unwrap()
                    .unwrap();
            };
            sim.receivers
                .on(HOOK, [actix_webhooks::testing::Reply::status(503)]);
            put("old").await;
            sim.publish("e").await;
            sim.sleep(1).await;
            put("new").await;
            sim.sleep(20).await;
            let sent = sim.receivers.requests();
            let headers: Vec<_> = sent
                .iter()
                .map(|sent| sent.request.authorization.as_ref().unwrap().expose())
                .collect();
            assert_eq!(headers, ["old", "new"]);
        },
    );
}

#[test]
fn rules_can_be_added_replaced_and_removed_while_the_engine_runs() {
    simulate_with(
        |builder| builder,
        async |sim| {
            let router = sim.engine.router();
            let deliveries =
                async |id: &str| sim.engine.publish(event(id)).await.unwrap().deliveries;
            assert_eq!(deliveries("1").await, 0);
            let rule = Rule::new("r", "thing.*").webhook(HOOK).unwrap();
            router
                .send(PutRule::new(rule.clone()))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(deliveries("2").await, 1);
            router
                .send(PutRule::new(
                    rule.clone().webhook("http://two.test/").unwrap(),
                ))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(deliveries("3").await, 2);
            router
                .send(PutRule::new(rule.disabled()))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(deliveries("4").await, 0);
            assert!(router.send(RemoveRule::new("r")).await.unwrap().unwrap());
            assert_eq!(deliveries("5").await, 0);
            sim.sleep(1).await;
            assert_eq!(sim.receivers.requests().len(), 3);
        },
    );
}
