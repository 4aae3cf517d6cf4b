//! Tests that operators send to one endpoint.

use actix_webhooks::store::DeadLetterQuery;
use actix_webhooks::testing::Reply;
use actix_webhooks::{
    ActionKind, Auth, Client, DeadLetterReason, EndpointState, Event, Failure, InvalidEvent,
    ListActions, OperateError, Outcome, PayloadFormat, PublishError, Rule, SendTest, TextProblem,
};
use serde_json::{Value, json};

use super::support::{HOOK, plain, simulate, simulate_with};

#[test]
fn a_test_goes_to_one_endpoint_at_once_and_is_reported() {
    let rule = Rule::new("rule", "thing.*")
        .client("acme")
        .format(PayloadFormat::StandardWebhooks)
        .auth(Auth::bearer("token"))
        .webhook(HOOK)
        .unwrap()
        .webhook("http://other.test/")
        .unwrap();
    simulate_with(
        |builder| builder.rule(rule).endpoint(plain(HOOK)),
        async |sim| {
            let test = SendTest::new("HTTP://receiver.test:80/hook").data(json!({ "n": 1 }));
            let alice = sim.engine.by("alice");
            let id = alice.send_test(test).await.unwrap();
            sim.sleep(1).await;
            let sent = sim.receivers.requests();
            assert_eq!(sim.sent_to(), [HOOK], "and not to the rule's other URL");
            let request = &sent[0].request;
            let authorization = request.authorization.as_ref().unwrap();
            assert_eq!(authorization.expose(), "Bearer token");
            assert_eq!(request.alert.client_id, "acme");
            let body: Value = serde_json::from_slice(&request.alert.body).unwrap();
            assert_eq!(body["type"], "webhook.test");
            assert_eq!(body["data"], json!({ "n": 1 }));
            let report = &sim.reports()[0];
            assert_eq!(
                (report.delivery_id, report.outcome),
                (id, Outcome::Delivered)
            );
            assert!(report.event_id.is_test() && report.rule_id == "rule");
            let kept = sim.engine.actions(ListActions::about(HOOK)).await.unwrap();
            assert_eq!(kept[0].action, ActionKind::SendTest);
            assert_eq!(kept[0].operator.as_ref().unwrap(), "alice");
        },
    );
}

#[test]
fn a_test_of_an_endpoint_without_a_rule_has_its_own_credentials_and_no_others() {
    let url = "http://alone.test/";
    let alone = plain(url).auth(Auth::bearer("its own"));
    let client = Client::new("acme").auth(Auth::bearer("not for this URL"));
    simulate_with(
        |builder| {
            let rule = Rule::new("rule", "*").client("acme").webhook(HOOK).unwrap();
            builder.rule(rule).client(client).endpoint(alone)
        },
        async |sim| {
            let test = SendTest::new(url)
                .client("acme")
                .rule_type("thing.happened");
            sim.engine.send_test(test).await.unwrap();
            sim.sleep(1).await;
            let sent = sim.receivers.requests();
            let authorization = sent[0].request.authorization.as_ref().unwrap();
            assert_eq!(authorization.expose(), "Bearer its own");
            let body: Value = serde_json::from_slice(&sent[0].request.alert.body).unwrap();
            assert_eq!(body["RuleType"], "thing.happened");
            assert_eq!(body["RuleId"], "webhook.test");
            assert_eq!(body["ClientId"], "acme");
        },
    );
}

#[test]
fn a_test_that_fails_is_a_dead_letter_and_changes_nothing_else() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::status(503)]);
        let id = sim.engine.endpoint(HOOK).send_test().await.unwrap();
        sim.sleep(500).await;
        assert_eq!(sim.sent_at(), [0.0], "one attempt");
        let letters = sim.dead_letters().await;
        assert_eq!(letters[0].delivery_id, id);
        let reason = DeadLetterReason::AttemptsExhausted(Failure::Status(503));
        assert_eq!(letters[0].reason, reason);
        let status = sim.status(HOOK).await;
        assert_eq!(status.state, EndpointState::Idle);
        assert_eq!(
            (status.consecutive_failures, status.failing_since),
            (0, None)
        );
        sim.engine
            .redeliver(DeadLetterQuery::default())
            .await
            .unwrap();
        sim.sleep(500).await;
        assert_eq!(sim.sent_at().len(), 2, "again one attempt");
    });
}

#[test]
fn a_test_reaches_an_endpoint_that_is_paused_whether_it_is_at_rest_or_not() {
    simulate(async |sim| {
        let hook = sim.engine.endpoint(HOOK);
        hook.pause().await.unwrap();
        sim.sleep(600).await;
        hook.send_test().await.unwrap();
        sim.publish("waits").await;
        sim.sleep(2).await;
        hook.send_test().await.unwrap();
        sim.sleep(600).await;
        let sent = sim.receivers.requests();
        assert_eq!(sent.len(), 2, "the tests alone");
        let reports = sim.reports();
        assert!(reports.iter().all(|report| report.event_id.is_test()));
        let status = sim.status(HOOK).await;
        assert_eq!((status.state, status.queued), (EndpointState::Paused, 1));
        hook.resume().await.unwrap();
        sim.sleep(1).await;
        assert_eq!(sim.receivers.requests().len(), 3);
        assert_eq!(sim.status(HOOK).await.delivered, 3);
    });
}

#[test]
fn a_test_does_not_wait_behind_a_retry_that_all_others_wait_for() {
    let endpoint = plain(HOOK).ordering(actix_webhooks::Ordering::Fifo);
    simulate_with(
        |builder| {
            let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
            builder.rule(rule).endpoint(endpoint)
        },
        async |sim| {
            sim.receivers.on(HOOK, [502, 200].map(Reply::status));
            for id in ["a", "b"] {
                sim.publish(id).await;
            }
            sim.sleep(1).await;
            sim.engine.endpoint(HOOK).send_test().await.unwrap();
            sim.sleep(60).await;
            assert_eq!(sim.sent_at(), [0.0, 1.0, 15.0, 15.0]);
            let events: Vec<_> = sim.reports().into_iter().map(|it| it.event_id).collect();
            assert!(events[1].is_test(), "{events:?}");
            assert_eq!(events[2..], ["a", "b"]);
        },
    );
}

#[test]
fn a_test_needs_an_endpoint_and_an_event_that_is_valid() {
    simulate(async |sim| {
        let unknown = sim.engine.endpoint("http://nobody.test/").send_test().await;
        assert!(matches!(unknown, Err(OperateError::Endpoint(_))));
        let test = SendTest::new(HOOK).rule_type("two\nlines");
        let invalid = sim.engine.send_test(test).await;
        assert!(matches!(
            invalid,
            Err(OperateError::Event(PublishError::Invalid(_)))
        ));
        let own = Event::new("thing.happened", "client").id("webhook.test:mine");
        let Err(PublishError::Invalid(InvalidEvent::Text(refused))) = sim.engine.publish(own).await
        else {
            panic!("that would be a test");
        };
        assert_eq!(refused.problem, TextProblem::Reserved);
        sim.sleep(1).await;
        assert!(sim.receivers.requests().is_empty());
    });
}
