//! Deliveries that end other than by an attempt: each is reported, and no others are affected.

use std::time::Duration;

use actix_webhooks::store::{BacklogLimits, DeadLetterQuery, MemoryLimits, MemoryStore, WhenFull};
use actix_webhooks::testing::{Faults, FaultyStore, RareFault, Reply};
use actix_webhooks::{
    DeadLetterReason, DeliveryReport, EndDeliveries, Endpoint, EndpointState, Event, Ordering,
    Outcome, PauseEndpoint, PublishBatch, Redeliver, RemoveClient, RemoveEndpoint, RemoveRule,
    ResumeEndpoint, Rule,
};

use super::support::{HOOK, Sim, event, plain, simulate, simulate_with};

/// Returns the reports of deliveries that were given up for this reason.
fn given_up(sim: &Sim, reason: DeadLetterReason) -> Vec<DeliveryReport> {
    let given_up = |report: &DeliveryReport| report.outcome == Outcome::DeadLettered { reason };
    sim.reports().into_iter().filter(given_up).collect()
}

/// Watchers were told only of attempts, not of deliveries that ended with their endpoint.
#[test]
fn deliveries_that_end_with_their_endpoint_are_reported() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::status(502), Reply::hang()]);
        let batch = (0..1_200).map(|number| event(&number.to_string()));
        sim.engine
            .router()
            .send(PublishBatch::new(batch))
            .await
            .unwrap();
        sim.sleep(1).await;
        let before = sim.reports().len();
        let removed = sim
            .engine
            .supervisor()
            .send(RemoveEndpoint::new(HOOK))
            .await;
        assert_eq!(removed.unwrap().unwrap(), 1_200);
        sim.sleep(1).await;
        let reports = given_up(&sim, DeadLetterReason::EndpointRemoved);
        assert_eq!(
            (reports.len(), sim.reports().len()),
            (1_200, before + 1_200)
        );
        let first = reports
            .iter()
            .find(|report| report.event_id == "0")
            .unwrap();
        assert_eq!(
            (first.attempt, first.duration, first.status),
            (1, Duration::ZERO, None)
        );
        assert_eq!((first.url.as_str(), first.rule_id.as_str()), (HOOK, "rule"));
        assert_eq!((first.next_attempt_at, first.redirects), (None, 0));
        let mut ids: Vec<_> = reports.iter().map(|report| report.delivery_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 1_200, "each once");
        assert_eq!(
            reports.iter().filter(|report| report.attempt == 0).count(),
            1_199
        );
    });
}

#[test]
fn a_delivery_that_is_given_up_because_its_endpoint_is_full_is_reported() {
    let backlog = BacklogLimits {
        endpoint_deliveries: 2,
        when_full: WhenFull::DeadLetter,
        ..BacklogLimits::default()
    };
    let store = MemoryStore::with_limits(MemoryLimits {
        backlog,
        ..MemoryLimits::default()
    });
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    simulate_with(
        |builder| builder.rule(rule).store(store),
        async |sim| {
            let paused = sim.engine.supervisor().send(PauseEndpoint::new(HOOK)).await;
            paused.unwrap().unwrap();
            for id in ["a", "b", "c"] {
                sim.publish(id).await;
            }
            sim.sleep(1).await;
            let reports = given_up(&sim, DeadLetterReason::BacklogFull);
            assert_eq!((reports.len(), sim.reports().len()), (1, 1));
            assert_eq!((reports[0].event_id.as_str(), reports[0].attempt), ("c", 0));
            assert_eq!(
                reports[0].delivery_id,
                sim.dead_letters().await[0].delivery_id
            );
        },
    );
}

/// Two rules and two clients that share one URL.
async fn shared(sim: &Sim) {
    let other = Rule::new("other", "other").webhook(HOOK).unwrap();
    sim.engine.put_rule(other).await.unwrap();
    for (number, client) in (0..40).zip(["client-1", "client-2"].into_iter().cycle()) {
        let event = Event::new(if number < 20 { "other" } else { "thing" }, client);
        sim.engine
            .publish(event.id(number.to_string()))
            .await
            .unwrap();
    }
}

fn events_of(reports: &[DeliveryReport]) -> Vec<u32> {
    let mut events: Vec<u32> = reports
        .iter()
        .map(|report| report.event_id.as_str().parse().unwrap())
        .collect();
    events.sort_unstable();
    events
}

/// After `RemoveRule`, waiting retries continued to call the endpoint for days. A client that left
/// could not be taken off a URL that it shared.
#[test]
fn the_deliveries_of_one_rule_or_client_are_ended_and_no_others() {
    simulate(async |sim| {
        // The rule for everything has all deliveries; the other rule has the first half of the
        // events.
        sim.receivers.on(HOOK, [Reply::status(502)]);
        shared(&sim).await;
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.queued, 60);
        let tried = sim.receivers.requests().len();
        let end = RemoveRule::new("other").ending_deliveries();
        assert_eq!(
            sim.engine
                .router()
                .send(end.clone())
                .await
                .unwrap()
                .unwrap(),
            20
        );
        let reports = given_up(&sim, DeadLetterReason::RuleEnded);
        assert_eq!(events_of(&reports), (0..20).collect::<Vec<u32>>());
        assert!(reports.iter().all(|report| report.rule_id == "other"));
        assert_eq!(sim.status(HOOK).await.queued, 40);
        assert_eq!(sim.engine.router().send(end).await.unwrap().unwrap(), 0);
        let end = RemoveClient::new("client-2").ending_deliveries();
        let ended = sim.engine.router().send(end).await.unwrap();
        assert_eq!(ended.unwrap(), 20);
        let reports = given_up(&sim, DeadLetterReason::ClientEnded);
        assert_eq!(
            events_of(&reports),
            (1..40).step_by(2).collect::<Vec<u32>>()
        );
        let status = sim.status(HOOK).await;
        assert_eq!(status.queued, 20);
        sim.receivers.on(HOOK, [Reply::status(200)]);
        sim.sleep(200).await;
        let status = sim.status(HOOK).await;
        assert_eq!((status.delivered, status.state), (20, EndpointState::Idle));
        let rest = &sim.receivers.requests()[tried..];
        assert!(rest.len() >= 20);
        for sent in rest {
            let alert = &sent.request.alert;
            assert_eq!(
                (alert.rule_id.as_str(), alert.client_id.as_str()),
                ("rule", "client-1")
            );
        }
        assert_eq!(sim.dead_letters().await.len(), 40);
        let query = DeadLetterQuery {
            client_id: Some("client-2".into()),
            ..DeadLetterQuery::default()
        };
        let again = sim
            .engine
            .supervisor()
            .send(Redeliver::dead_letters(query))
            .await;
        assert_eq!(
            again.unwrap().unwrap().len(),
            30,
            "they can be started again"
        );
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.delivered, 50);
    });
}

#[test]
fn an_attempt_in_flight_is_not_broken_off_and_decides() {
    for (reply, delivered) in [(200, 1), (502, 0)] {
        simulate(async |sim| {
            let reply = Reply::status(reply).after(Duration::from_secs(5));
            sim.receivers.on(HOOK, [reply]);
            sim.publish("a").await;
            sim.sleep(1).await;
            let started = sim.clock.elapsed();
            let end = EndDeliveries::of_rule("rule");
            let ended = sim.engine.supervisor().send(end).await.unwrap();
            assert_eq!(ended.unwrap(), 1);
            let waited = sim.clock.elapsed().saturating_sub(started).as_secs_f64();
            assert!((4.0..4.6).contains(&waited), "{waited}");
            sim.sleep(100).await;
            assert_eq!(sim.receivers.requests().len(), 1, "nothing follows it");
            assert_eq!(sim.status(HOOK).await.delivered, delivered);
            let letters = sim.dead_letters().await;
            assert_eq!(letters.len() as u64, 1 - delivered);
            let finals = sim.outcomes();
            let finals = finals
                .iter()
                .filter(|one| !matches!(one, Outcome::Failed { .. }));
            assert_eq!(finals.count(), 1, "one final report");
        });
    }
}

#[test]
fn those_behind_an_ended_delivery_go_on_in_their_order() {
    let endpoint = plain(HOOK).ordering(Ordering::Fifo);
    let all = Rule::new("all", "*").webhook(HOOK).unwrap();
    simulate_with(
        |builder| builder.rule(all).endpoint(endpoint),
        async |sim| {
            sim.receivers
                .on(HOOK, [Reply::status(502), Reply::status(200)]);
            for number in 0..600 {
                let client = if number % 2 == 0 {
                    "client-1"
                } else {
                    "client-2"
                };
                let event = Event::new("t", client).id(number.to_string());
                sim.engine.publish(event).await.unwrap();
            }
            sim.sleep(1).await;
            let end = EndDeliveries::of_client("client-1");
            let ended = sim.engine.supervisor().send(end).await.unwrap();
            assert_eq!(ended.unwrap(), 300);
            sim.sleep(60).await;
            let sent: Vec<u32> = sim.receivers.requests()[1..]
                .iter()
                .map(|sent| sent.request.alert.event_id.as_str().parse().unwrap())
                .collect();
            assert_eq!(sent, (1..600).step_by(2).collect::<Vec<u32>>());
            let status = sim.status(HOOK).await;
            assert_eq!((status.queued, status.state), (0, EndpointState::Idle));
        },
    );
}

#[test]
fn what_could_not_be_ended_goes_on() {
    let faults = Faults {
        failing: 0.0,
        failing_after: 0.0,
        delay: Duration::ZERO,
    };
    let store = FaultyStore::new(MemoryStore::new(), faults, 1);
    let faulty = store.clone();
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    simulate_with(
        |builder| builder.rule(rule).endpoint(plain(HOOK)).store(store),
        async |sim| {
            let paused = sim.engine.supervisor().send(PauseEndpoint::new(HOOK)).await;
            paused.unwrap().unwrap();
            for number in 0..10 {
                sim.publish(&number.to_string()).await;
            }
            sim.sleep(1).await;
            let ending = sim.engine.supervisor().send(EndDeliveries::of_rule("rule"));
            // The store fails after it has found what to end, and the subscriber has already
            // forgotten those deliveries.
            faulty.set_rare(Some(RareFault::Waits(Duration::from_secs(2))));
            let ending = actix_rt::spawn(ending);
            sim.sleep(3).await;
            faulty.set_rare(Some(RareFault::Fails));
            assert!(ending.await.unwrap().unwrap().is_err());
            faulty.set_rare(None);
            sim.sleep(1).await;
            let resumed = sim
                .engine
                .supervisor()
                .send(ResumeEndpoint::new(HOOK))
                .await;
            resumed.unwrap().unwrap();
            sim.sleep(10).await;
            assert_eq!(sim.status(HOOK).await.delivered, 10);
        },
    );
}

/// Of 250 dead letters of an ordered endpoint, the newest page was redelivered first: e150 to e249,
/// then e050 to e149, then e000 to e049.
#[test]
fn dead_letters_are_redelivered_oldest_first_and_the_answer_says_what_is_left() {
    let endpoint: Endpoint = plain(HOOK).ordering(Ordering::Fifo);
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    simulate_with(
        |builder| builder.rule(rule).endpoint(endpoint),
        async |sim| {
            sim.receivers.on(HOOK, [Reply::status(400)]);
            let ids: Vec<String> = (0..250).map(|number| format!("e{number:03}")).collect();
            let batch = ids.iter().map(|id| event(id));
            sim.engine
                .router()
                .send(PublishBatch::new(batch))
                .await
                .unwrap();
            sim.sleep(10).await;
            assert_eq!(sim.status(HOOK).await.dead_lettered, 250);
            sim.receivers.on(HOOK, [Reply::status(200)]);
            let mut left = Vec::new();
            loop {
                let all = Redeliver::dead_letters(DeadLetterQuery::default());
                let fresh = sim.engine.supervisor().send(all).await.unwrap().unwrap();
                left.push((fresh.len(), fresh.remaining));
                if fresh.is_empty() {
                    break;
                }
            }
            assert_eq!(left, [(100, 150), (100, 50), (50, 0), (0, 0)]);
            sim.sleep(10).await;
            let sent: Vec<String> = sim.receivers.requests()[250..]
                .iter()
                .map(|sent| sent.request.alert.event_id.to_string())
                .collect();
            assert_eq!(sent, ids);
        },
    );
}
