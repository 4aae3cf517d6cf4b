//! What operators do: pausing, settings, lists, dead letters, redelivery.

use std::time::Duration;

use actix_webhooks::store::{DeadLetterQuery, DeliveryQuery, DeliveryStage, StoreError};
use actix_webhooks::testing::Reply;
use actix_webhooks::{
    DeadLetterReason, DeliveryId, DeliveryState, DiscardDeadLetters, EndpointState, ListAttempts,
    ListDeliveries, ListStatus, PauseEndpoint, PutEndpoint, Redeliver, ResumeEndpoint, Rule,
    StatusFilter,
};

use super::support::{HOOK, plain, simulate, simulate_with};

#[test]
fn a_paused_endpoint_keeps_its_events_until_it_is_resumed() {
    simulate(async |sim| {
        let supervisor = sim.engine.supervisor();
        supervisor
            .send(PauseEndpoint::new(HOOK))
            .await
            .unwrap()
            .unwrap();
        for number in 0..500 {
            sim.publish(&number.to_string()).await;
        }
        sim.sleep(1_000).await;
        let status = sim.status(HOOK).await;
        assert_eq!((status.state, status.queued), (EndpointState::Paused, 500));
        assert!(sim.receivers.requests().is_empty());
        supervisor
            .send(ResumeEndpoint::new(HOOK))
            .await
            .unwrap()
            .unwrap();
        sim.sleep(10).await;
        assert_eq!(sim.status(HOOK).await.delivered, 500);
    });
}

#[test]
fn settings_can_be_changed_while_the_engine_runs() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::hang()]);
        sim.engine
            .supervisor()
            .send(PutEndpoint::new(
                plain(HOOK).timeout(Duration::from_secs(1)),
            ))
            .await
            .unwrap()
            .unwrap();
        sim.publish("e").await;
        sim.sleep(2).await;
        assert_eq!(sim.reports()[0].duration, Duration::from_secs(1));
        sim.engine
            .supervisor()
            .send(PutEndpoint::new(
                plain(HOOK).timeout(Duration::from_secs(3)),
            ))
            .await
            .unwrap()
            .unwrap();
        sim.sleep(20).await;
        assert_eq!(sim.reports()[1].duration, Duration::from_secs(3));
    });
}

#[test]
fn a_removed_endpoint_leaves_its_open_deliveries_as_dead_letters() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::hang()]);
        for id in ["a", "b", "c"] {
            sim.publish(id).await;
        }
        sim.sleep(1).await;
        let removed = sim.engine.endpoint(HOOK).remove().await.unwrap();
        assert_eq!(removed, 3);
        assert_eq!(
            sim.receivers.in_flight(),
            0,
            "the attempt in flight was broken off"
        );
        let letters = sim.dead_letters().await;
        assert!(
            letters
                .iter()
                .all(|letter| letter.reason == DeadLetterReason::EndpointRemoved)
        );
        sim.receivers.on(HOOK, [Reply::status(200)]);
        sim.publish("d").await;
        sim.sleep(1).await;
        assert_eq!(
            sim.status(HOOK).await.delivered,
            1,
            "the rule still names it, so that it lives again"
        );
    });
}

#[test]
fn a_dead_letter_is_redelivered_as_a_fresh_delivery_of_the_same_alert() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [400, 400, 200].map(Reply::status));
        sim.publish("a").await;
        sim.publish("b").await;
        sim.sleep(1).await;
        let letters = sim.dead_letters().await;
        assert_eq!(letters.len(), 2, "newest first");
        let fresh = sim
            .engine
            .supervisor()
            .send(Redeliver::one(letters[1].delivery_id))
            .await
            .unwrap()
            .unwrap();
        sim.sleep(1).await;
        let report = sim.reports().pop().unwrap();
        assert_eq!(
            (report.delivery_id, report.alert_id, report.attempt),
            (fresh[0], letters[1].alert_id, 1)
        );
        let rest = Redeliver::dead_letters(DeadLetterQuery::default());
        assert_eq!(
            sim.engine
                .supervisor()
                .send(rest)
                .await
                .unwrap()
                .unwrap()
                .len(),
            1
        );
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.delivered, 2);
        assert!(sim.dead_letters().await.is_empty());
        let once_more = Redeliver::one(letters[0].delivery_id);
        let fresh = sim.engine.supervisor().send(once_more).await;
        assert_eq!(fresh.unwrap().unwrap().len(), 1, "it is still on record");
        let unknown = sim
            .engine
            .supervisor()
            .send(Redeliver::one(DeliveryId::new(999_999)))
            .await
            .unwrap();
        assert!(matches!(unknown, Err(StoreError::UnknownDelivery(_))));
    });
}

#[test]
fn redelivering_leaves_the_schedule_of_an_open_delivery_alone() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [502, 200].map(Reply::status));
        sim.publish("a").await;
        sim.sleep(1).await;
        let open = sim.reports()[0].delivery_id;
        sim.engine
            .supervisor()
            .send(Redeliver::one(open))
            .await
            .unwrap()
            .unwrap();
        sim.sleep(30).await;
        assert_eq!(sim.sent_at(), [0.0, 1.0, 15.0]);
    });
}

#[test]
fn deliveries_and_endpoints_can_be_listed() {
    let other = "http://other.test/";
    let rule = Rule::new("rule", "*")
        .webhook(HOOK)
        .unwrap()
        .webhook(other)
        .unwrap();
    simulate_with(
        |builder| builder.rule(rule),
        async |sim| {
            sim.receivers.on(HOOK, [Reply::status(502)]);
            sim.publish("a").await;
            sim.sleep(1).await;
            let open = DeliveryQuery {
                stage: Some(DeliveryStage::Open),
                ..DeliveryQuery::default()
            };
            let open = sim
                .engine
                .supervisor()
                .send(ListDeliveries::new(open))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(open.len(), 1);
            assert!(matches!(open[0].state, DeliveryState::Waiting { .. }));
            assert_eq!(open[0].last_attempt.unwrap().status, Some(502));
            let list = async |query: ListStatus| sim.engine.supervisor().send(query).await.unwrap();
            let failing = list(ListStatus {
                filter: StatusFilter::Failing,
                ..ListStatus::default()
            })
            .await;
            assert_eq!(
                failing
                    .statuses
                    .iter()
                    .map(|status| status.url.as_str())
                    .collect::<Vec<_>>(),
                [HOOK]
            );
            let first = list(ListStatus {
                limit: 1,
                ..ListStatus::default()
            })
            .await;
            assert_eq!(
                (
                    first.statuses[0].url.as_str(),
                    first.next.as_ref().unwrap().as_str()
                ),
                (other, other)
            );
            let second = list(ListStatus {
                limit: 1,
                after: first.next,
                ..ListStatus::default()
            })
            .await;
            assert_eq!((second.statuses[0].url.as_str(), second.next), (HOOK, None));
            let busy = list(ListStatus {
                filter: StatusFilter::Busy,
                ..ListStatus::default()
            })
            .await;
            assert_eq!(busy.statuses.len(), 1);
        },
    );
}

#[test]
fn statuses_and_reports_travel_as_json() {
    simulate(async |sim| {
        sim.publish("a").await;
        sim.sleep(1).await;
        let status = sim.status(HOOK).await;
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(
            (&json["url"], &json["state"], &json["delivered"]),
            (&HOOK.into(), &"idle".into(), &1.into())
        );
        assert_eq!(
            serde_json::from_value::<actix_webhooks::EndpointStatus>(json).unwrap(),
            status
        );
        let report = &sim.reports()[0];
        let json = serde_json::to_string(report).unwrap();
        assert_eq!(
            serde_json::from_str::<actix_webhooks::DeliveryReport>(&json).unwrap(),
            *report
        );
    });
}

#[test]
fn a_discarded_dead_letter_is_not_listed_any_more_and_its_attempts_are() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::status(400)]);
        sim.publish("e").await;
        sim.sleep(1).await;
        let id = sim.dead_letters().await[0].delivery_id;
        let supervisor = sim.engine.supervisor();
        let discard = DiscardDeadLetters::default();
        assert_eq!(supervisor.send(discard).await.unwrap().unwrap(), 1);
        assert!(sim.dead_letters().await.is_empty());
        let attempts = supervisor
            .send(ListAttempts::new(id))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(attempts.len(), 1);
        assert_eq!(attempts[0].summary.status, Some(400));
    });
}
