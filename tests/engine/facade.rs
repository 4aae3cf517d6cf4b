//! The engine's methods: each does the same as the message of its name, and returns an error when
//! the engine has stopped.

use std::time::Duration;

use actix_webhooks::store::{DeadLetterQuery, DeliveryQuery, StoreError};
use actix_webhooks::testing::Reply;
use actix_webhooks::{
    Client, ClientQuery, DeliveryId, EndDeliveries, EndpointError, EndpointState, Engine,
    ExplainRouting, FindEndpoints, InvalidEndpoint, ListStatus, OperateError, Outcome,
    PublishError, Rule, RuleError, RuleQuery,
};
use futures_util::StreamExt;

use super::support::{HOOK, Sim, event, plain, simulate};

const OTHER: &str = "http://other.test/hook";

fn ids(rules: &[Rule]) -> Vec<&str> {
    rules.iter().map(|rule| rule.id.as_str()).collect()
}

#[test]
fn an_endpoint_is_asked_and_steered() {
    simulate(async |sim| {
        let endpoint = sim.engine.endpoint("HTTP://RECEIVER.test:80/hook");
        let state = async || endpoint.status().await.unwrap().map(|status| status.state);
        assert_eq!(state().await, Some(EndpointState::Idle));
        endpoint.pause().await.unwrap();
        assert_eq!(state().await, Some(EndpointState::Paused));
        endpoint.resume().await.unwrap();
        assert_eq!(state().await, Some(EndpointState::Idle));
        endpoint.disable().await.unwrap();
        assert!(matches!(
            state().await,
            Some(EndpointState::Disabled { .. })
        ));
        sim.publish("open").await;
        assert_eq!(endpoint.remove().await.unwrap(), 1);
        assert_eq!(state().await, None);
        let unknown = endpoint.pause().await;
        assert!(matches!(
            unknown,
            Err(OperateError::Endpoint(EndpointError::Unknown(_)))
        ));
    });
}

#[test]
fn settings_are_put_by_url_or_as_a_whole() {
    simulate(async |sim| {
        let listed = async || {
            let page = sim.engine.endpoints(ListStatus::default()).await.unwrap();
            let urls = page
                .statuses
                .iter()
                .map(|status| status.url.as_str().to_owned());
            urls.collect::<Vec<_>>()
        };
        let other = sim.engine.endpoint(OTHER);
        let put = other.put(|settings| Ok(settings.header("X-Team", "a")));
        put.await.unwrap();
        assert_eq!(listed().await, [OTHER, HOOK]);
        sim.engine.put_endpoint(plain(OTHER)).await.unwrap();
        let refused = other.put(|settings| Ok(settings.header("Host", "a")));
        assert!(matches!(
            refused.await,
            Err(OperateError::Endpoint(EndpointError::Invalid(
                InvalidEndpoint::OwnedHeader(_)
            )))
        ));
        let refused = sim.engine.endpoint("no url").put(Ok).await;
        assert!(matches!(
            refused,
            Err(OperateError::Endpoint(EndpointError::Invalid(
                InvalidEndpoint::Url(_)
            )))
        ));
        assert_eq!(sim.engine.unreadable_settings().await.unwrap(), []);
    });
}

#[test]
fn rules_and_clients_are_put_listed_and_removed() {
    simulate(async |sim| {
        let engine = &sim.engine;
        let rule = Rule::new("second", "invoice.*").webhook(OTHER).unwrap();
        engine.put_rule(rule).await.unwrap();
        assert_eq!(ids(&engine.rules().await.unwrap()), ["rule", "second"]);
        assert!(engine.remove_rule("second").await.unwrap());
        assert!(!engine.remove_rule("second").await.unwrap());
        let refused = engine.put_rule(Rule::new("", "*")).await;
        assert!(matches!(
            refused,
            Err(OperateError::Rule(RuleError::InvalidRule(_)))
        ));
        let client = Client::new("client").name("Dave");
        engine.put_client(client.clone()).await.unwrap();
        assert_eq!(engine.clients().await.unwrap(), [client]);
        engine.endpoint(HOOK).pause().await.unwrap();
        sim.publish("of the client").await;
        assert_eq!(engine.end_client("client").await.unwrap(), 1);
        assert!(!engine.remove_client("client").await.unwrap());
        sim.publish("of the rule").await;
        assert_eq!(engine.end_rule("rule").await.unwrap(), 1);
        assert!(engine.rules().await.unwrap().is_empty());
    });
}

#[test]
fn rules_and_clients_are_found_in_pages_and_by_their_ids() {
    simulate(async |sim| {
        let engine = &sim.engine;
        for number in 0..5 {
            let rule = Rule::new(format!("r{number}"), "invoice.*").client("client");
            let rule = rule.webhook(OTHER).unwrap();
            engine.put_rule(rule).await.unwrap();
            let client = Client::new(format!("bank-{number}"));
            engine.put_client(client).await.unwrap();
        }
        let mut query = RuleQuery {
            contains: Some("INVOICE".to_owned()),
            limit: 2,
            ..RuleQuery::default()
        };
        let mut found = Vec::new();
        loop {
            let page = engine.find_rules(query.clone()).await.unwrap();
            assert!(page.rules.len() <= 2);
            found.extend(ids(&page.rules).into_iter().map(str::to_owned));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!(found, ["r0", "r1", "r2", "r3", "r4"]);
        let rule = engine.rule("r3").await.unwrap().unwrap();
        assert_eq!((rule.id.as_str(), rule.webhooks.len()), ("r3", 1));
        assert_eq!(engine.rule("r").await.unwrap(), None);
        let clients = ClientQuery {
            contains: Some("K-".to_owned()),
            after: Some("bank-2".into()),
            limit: 1,
        };
        let page = engine.find_clients(clients.clone()).await.unwrap();
        assert_eq!(page.clients, [Client::new("bank-3")]);
        let after = page.next;
        assert_eq!(after.as_ref().unwrap(), "bank-3");
        let last = ClientQuery { after, ..clients };
        let page = engine.find_clients(last).await.unwrap();
        assert_eq!(page.clients, [Client::new("bank-4")]);
        assert_eq!(page.next, None);
        let client = engine.client("bank-0").await.unwrap();
        assert_eq!(client, Some(Client::new("bank-0")));
        assert_eq!(engine.client("bank-9").await.unwrap(), None);
    });
}

#[test]
fn deliveries_are_followed_to_their_end() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::status(400)]);
        let engine = &sim.engine;
        let receipts = engine.publish_all(["a", "b"].map(event)).await.unwrap();
        assert_eq!(receipts.len(), 2);
        sim.sleep(1).await;
        let all = engine.deliveries(DeliveryQuery::default()).await.unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(engine.attempts(all[0].id).await.unwrap().len(), 1);
        let letters = engine.dead_letters(DeadLetterQuery::default());
        let letters = letters.await.unwrap();
        assert_eq!(letters.len(), 2);
        sim.receivers.on(HOOK, [Reply::status(200)]);
        let again = engine.redeliver(letters[0].delivery_id).await.unwrap();
        assert_eq!(again.fresh.len(), 1);
        let again = engine.redeliver(DeadLetterQuery::default()).await.unwrap();
        assert_eq!((again.fresh.len(), again.remaining), (1, 0));
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.delivered, 2);
        let discarded = engine.discard_dead_letters(DeadLetterQuery::default());
        assert_eq!(discarded.await.unwrap(), 0, "none are left");
        engine.endpoint(HOOK).pause().await.unwrap();
        sim.publish("c").await;
        let ended = engine.end_deliveries(EndDeliveries::of_rule("rule"));
        assert_eq!(ended.await.unwrap(), 1);
        let unknown = engine.redeliver(DeliveryId::new(9_999)).await;
        assert!(
            matches!(
                unknown,
                Err(OperateError::Store(StoreError::UnknownDelivery(_)))
            ),
            "{unknown:?}"
        );
    });
}

#[test]
fn streams_tell_what_happens_and_hold_no_more_than_asked() {
    simulate(async |sim| {
        let mut slow = sim.engine.watch_deliveries(2).await.unwrap();
        let mut reports = sim.engine.watch_deliveries(100).await.unwrap();
        let mut statuses = sim.engine.watch_statuses(100).await.unwrap();
        for number in 0..5 {
            sim.publish(&number.to_string()).await;
        }
        sim.sleep(1).await;
        for _ in 0..5 {
            assert_eq!(reports.next().await.unwrap().outcome, Outcome::Delivered);
        }
        assert_eq!(reports.try_next(), None);
        assert!(slow.try_next().is_some() && slow.try_next().is_some());
        assert_eq!(slow.try_next(), None, "three are lost");
        assert_eq!(sim.status(HOOK).await.reports_lost, 3);
        let mut last = None;
        while let Some(status) = statuses.try_next() {
            last = Some(status);
        }
        assert_eq!(last.unwrap().delivered, 5);
        drop(slow);
        sim.publish("once more").await;
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.reports_lost, 3, "it is gone");
        sim.engine.shutdown(Duration::ZERO).await;
        assert!(StreamExt::next(&mut reports).await.is_some());
        assert_eq!(reports.next().await, None, "it ends with the engine");
    });
}

async fn stopped(engine: &Engine) -> Vec<OperateError> {
    let endpoint = engine.endpoint(HOOK);
    vec![
        endpoint.status().await.unwrap_err(),
        endpoint.pause().await.unwrap_err(),
        endpoint.disable().await.unwrap_err(),
        endpoint.resume().await.unwrap_err(),
        endpoint.remove().await.unwrap_err(),
        endpoint.put(Ok).await.unwrap_err(),
        engine.endpoints(ListStatus::default()).await.unwrap_err(),
        engine.unreadable_settings().await.unwrap_err(),
        engine
            .deliveries(DeliveryQuery::default())
            .await
            .unwrap_err(),
        engine.attempts(DeliveryId::new(1)).await.unwrap_err(),
        engine
            .dead_letters(DeadLetterQuery::default())
            .await
            .unwrap_err(),
        engine.redeliver(DeliveryId::new(1)).await.unwrap_err(),
        engine
            .discard_dead_letters(DeadLetterQuery::default())
            .await
            .unwrap_err(),
        engine
            .end_deliveries(EndDeliveries::of_rule("rule"))
            .await
            .unwrap_err(),
        engine.rules().await.unwrap_err(),
        engine.rule("rule").await.unwrap_err(),
        engine
            .find_endpoints(FindEndpoints::new("a"))
            .await
            .unwrap_err(),
        engine.find_rules(RuleQuery::default()).await.unwrap_err(),
        engine
            .explain(ExplainRouting::new("t", "c"))
            .await
            .unwrap_err(),
        engine.put_rule(Rule::new("r", "*")).await.unwrap_err(),
        engine.remove_rule("rule").await.unwrap_err(),
        engine.end_rule("rule").await.unwrap_err(),
        engine.clients().await.unwrap_err(),
        engine.client("c").await.unwrap_err(),
        engine.client_status("c").await.unwrap_err(),
        engine
            .find_clients(ClientQuery::default())
            .await
            .unwrap_err(),
        engine.put_client(Client::new("c")).await.unwrap_err(),
        engine.remove_client("c").await.unwrap_err(),
        engine.end_client("c").await.unwrap_err(),
        engine.watch_statuses(1).await.unwrap_err(),
        engine.watch_deliveries(1).await.unwrap_err(),
    ]
}

#[test]
fn an_engine_that_has_stopped_says_so() {
    simulate(async |sim: Sim| {
        sim.engine.shutdown(Duration::ZERO).await;
        for error in stopped(&sim.engine).await {
            assert!(matches!(error, OperateError::Stopped), "{error:?}");
            assert!(!error.is_transient());
        }
        let publish = sim.engine.publish_all([event("e")]).await;
        assert!(matches!(publish, Err(PublishError::ShuttingDown)));
    });
}
