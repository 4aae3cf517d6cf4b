//! Circuit breaker, rate limit, disabling: how a receiver in trouble is spared.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_webhooks::store::MemoryStore;
use actix_webhooks::store::prelude::*;
use actix_webhooks::testing::{Faults, FaultyStore, RareFault, Reply};
use actix_webhooks::transport::{Answer, Directive};
use actix_webhooks::{
    CircuitBreaker, DeadLetterReason, DisableEndpoint, DisablePolicy, DisabledReason, Endpoint,
    EndpointPolicy, EndpointState, EngineBuilder, Event, FailingRule, Failure, ListStatus, Outcome,
    PublishBatch, PutEndpoint, RateLimit, RemoveEndpoint, ResumeEndpoint, Rule, StatusFilter,
};

use super::support::{HOOK, Sim, event, plain, simulate_with};

/// Runs a test with one rule that sends everything to an endpoint with these settings.
fn simulate(endpoint: Endpoint, test: impl AsyncFnOnce(Sim)) {
    let rule = Rule::new("rule", "*")
        .webhook(endpoint.url.as_str())
        .unwrap();
    simulate_with(|builder| builder.rule(rule).endpoint(endpoint), test);
}

async fn publish_many(sim: &Sim, count: usize) {
    let events: Vec<Event> = (0..count)
        .map(|number| event(&number.to_string()))
        .collect();
    for events in events.chunks(200) {
        let answers = sim.engine.router().send(PublishBatch::new(events.to_vec()));
        assert!(answers.await.unwrap().iter().all(Result::is_ok));
    }
}

async fn resume(sim: &Sim) {
    let resumed = sim.engine.supervisor().send(ResumeEndpoint::new(HOOK));
    resumed.await.unwrap().unwrap();
}

fn disabled(reason: DisabledReason) -> EndpointState {
    EndpointState::Disabled { reason }
}

#[test]
fn an_open_circuit_sends_one_probe_at_a_time_and_burns_no_attempts() {
    let endpoint = plain(HOOK).circuit_breaker(CircuitBreaker::after(3));
    simulate(endpoint, async |sim| {
        sim.receivers.on(HOOK, [Reply::status(503)]);
        publish_many(&sim, 3).await;
        sim.sleep(1).await;
        assert_eq!(sim.sent_at(), [0.0, 0.0, 0.0]);
        let state = sim.status(HOOK).await.state;
        assert!(
            matches!(state, EndpointState::CircuitOpen { .. }),
            "{state:?}"
        );
        sim.publish("probe").await;
        sim.sleep(179).await;
        // The circuit is open for 5, 10, 20, 40, 60 s, with one probe each time, whatever else is
        // due.
        assert_eq!(sim.sent_at()[3..], [5.0, 15.0, 35.0, 75.0, 135.0]);
        let most = sim.reports().iter().map(|report| report.attempt).max();
        assert!(most <= Some(4));
        sim.receivers.on(HOOK, [Reply::status(200)]);
        sim.sleep(100).await;
        let status = sim.status(HOOK).await;
        assert_eq!((status.state, status.queued), (EndpointState::Idle, 0));
        assert_eq!(status.delivered + status.dead_lettered, 4);
        let open = sim
            .states()
            .iter()
            .any(|state| matches!(state, EndpointState::CircuitOpen { .. }));
        assert!(open, "watchers were told");
    });
}

/// Ten minutes without an answer and a backlog of 10,000 events, then a receiver that fails when it
/// has more than 16 requests at once.
#[test]
fn a_receiver_that_comes_back_is_not_knocked_out_again() {
    const AT_ONCE: usize = 16;
    let endpoint = plain(HOOK)
        .circuit_breaker(CircuitBreaker::after(5))
        .max_in_flight(64)
        .timeout(Duration::from_secs(10));
    simulate(endpoint, async |sim| {
        let took = Duration::from_millis(100);
        let busy = Arc::new(Mutex::new(VecDeque::new()));
        let (noted, failures) = (Arc::clone(&busy), Arc::new(Mutex::new(0)));
        let overloads = Arc::clone(&failures);
        let clock = sim.clock.clone();
        let back = clock.now() + Duration::from_mins(10);
        sim.receivers.decide(move |_| {
            let now = clock.now();
            if now < back {
                return Reply::hang();
            }
            let mut busy = noted.lock().unwrap();
            while busy.front().is_some_and(|begun| now.since(*begun) >= took) {
                busy.pop_front();
            }
            busy.push_back(now);
            if busy.len() > AT_ONCE {
                *overloads.lock().unwrap() += 1;
                Reply::status(503).after(took)
            } else {
                Reply::status(200).after(took)
            }
        });
        publish_many(&sim, 10_000).await;
        sim.sleep(600).await;
        let during = sim.receivers.requests().len();
        assert!(
            during < 60,
            "{during} requests in ten minutes without an answer"
        );
        let mut slices = 0;
        while sim.status(HOOK).await.queued > 0 {
            sim.sleep(1).await;
            let status = sim.status(HOOK).await;
            assert!(status.in_flight <= status.window.max(1));
            slices += 1;
            assert!(slices < 1_200, "the backlog drains: {status:?}");
        }
        let status = sim.status(HOOK).await;
        let failures = *failures.lock().unwrap();
        assert!(failures < 500, "{failures} of 10,000 met an overload");
        assert!(status.dead_lettered < 10, "{status:?}");
        assert_eq!(status.delivered + status.dead_lettered, 10_000);
    });
}

#[test]
fn a_rate_limit_paces_and_neither_drops_nor_burns() {
    let limited = plain(HOOK).rate_limit(RateLimit::per_second(10));
    let other = "http://other.test/";
    let rules = [(HOOK, "paced"), (other, "free")]
        .map(|(url, id)| Rule::new(id, "*").webhook(url).unwrap());
    simulate_with(
        |builder| {
            rules
                .into_iter()
                .fold(builder, EngineBuilder::rule)
                .endpoint(limited)
        },
        async |sim| {
            publish_many(&sim, 1_000).await;
            sim.sleep(2).await;
            assert_eq!(
                sim.status(other).await.delivered,
                1_000,
                "the other one is not slowed"
            );
            sim.sleep(97).await;
            let status = sim.status(HOOK).await;
            assert_eq!(status.state, EndpointState::Delivering);
            assert!(status.delivered < 1_000);
            sim.sleep(2).await;
            assert_eq!(sim.status(HOOK).await.delivered, 1_000);
            let sent_at = sim.sent_at();
            let to = sim.sent_to();
            let paced: Vec<f64> = sent_at
                .iter()
                .zip(to)
                .filter(|(_, url)| url == HOOK)
                .map(|(at, _)| *at)
                .collect();
            assert_eq!(paced.len(), 1_000);
            let last = paced.last().unwrap();
            assert!((99.0..=101.0).contains(last), "{last}");
            let first_attempts = sim.reports().iter().all(|report| report.attempt == 1);
            assert!(first_attempts && sim.dead_letters().await.is_empty());
        },
    );
}

#[test]
fn retries_are_paced_too() {
    let endpoint = plain(HOOK).rate_limit(RateLimit::new(1, Duration::from_secs(30)));
    simulate(endpoint, async |sim| {
        sim.receivers.on(HOOK, [Reply::status(502)]);
        sim.publish("e").await;
        sim.sleep(200).await;
        assert_eq!(
            sim.sent_at(),
            [0.0, 30.0, 60.0, 120.0],
            "15 and 45 s would be too soon"
        );
    });
}

#[test]
fn the_status_says_until_when_the_rate_limit_waits() {
    let endpoint = plain(HOOK).rate_limit(RateLimit::new(1, Duration::from_hours(1)));
    simulate(endpoint, async |sim| {
        publish_many(&sim, 2).await;
        sim.sleep(1).await;
        let status = sim.status(HOOK).await;
        assert_eq!((status.delivered, status.queued), (1, 1));
        let next = status.next_attempt_at.expect("it is known");
        assert_eq!(next.since(sim.clock.now()), Duration::from_secs(3_599));
    });
}

#[test]
fn a_410_disables_the_endpoint_and_keeps_its_events() {
    let mut policy = DisablePolicy::never();
    policy.on_gone = true;
    simulate(plain(HOOK).disable(policy), async |sim| {
        sim.receivers
            .on(HOOK, [Reply::status(410), Reply::status(200)]);
        sim.publish("gone").await;
        sim.publish("kept").await;
        sim.sleep(1_000).await;
        let status = sim.status(HOOK).await;
        assert_eq!(status.state, disabled(DisabledReason::Gone));
        assert_eq!(
            (status.queued, status.dead_lettered, sim.sent_at().len()),
            (1, 1, 1)
        );
        assert!(sim.states().contains(&status.state), "watchers were told");
        let filter = StatusFilter::Disabled;
        let listed = sim.engine.supervisor().send(ListStatus {
            filter,
            ..ListStatus::default()
        });
        assert_eq!(listed.await.unwrap().statuses.len(), 1);
        resume(&sim).await;
        sim.sleep(1).await;
        let status = sim.status(HOOK).await;
        assert_eq!((status.state, status.delivered), (EndpointState::Idle, 1));
    });
}

#[test]
fn by_default_a_410_disables_nothing() {
    simulate(plain(HOOK), async |sim| {
        sim.receivers
            .on(HOOK, [Reply::status(410), Reply::status(200)]);
        sim.publish("gone").await;
        sim.publish("next").await;
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.delivered, 1);
    });
}

#[test]
fn failures_that_last_are_warned_of_and_then_disable() {
    let mut policy = DisablePolicy::never();
    policy.when_failing = vec![FailingRule::new(Duration::from_hours(10), 5)];
    simulate(plain(HOOK).disable(policy), async |sim| {
        sim.receivers.on(HOOK, [Reply::status(500)]);
        for hour in 0..10 {
            sim.publish(&hour.to_string()).await;
            sim.sleep(3_600).await;
            let status = sim.status(HOOK).await;
            assert_eq!(status.state, EndpointState::Idle, "hour {hour}");
            assert_eq!(status.warned_at.is_some(), hour >= 5, "hour {hour}");
            assert!(status.failing_since.is_some());
        }
        sim.publish("last").await;
        sim.publish("kept").await;
        sim.sleep(1).await;
        let status = sim.status(HOOK).await;
        assert_eq!(status.state, disabled(DisabledReason::Failing));
        assert_eq!((sim.sent_at().len(), status.queued), (11, 1));
        sim.receivers.on(HOOK, [Reply::status(200)]);
        resume(&sim).await;
        sim.sleep(1).await;
        let status = sim.status(HOOK).await;
        assert_eq!(
            (status.delivered, status.failing_since, status.warned_at),
            (1, None, None)
        );
    });
}

#[test]
fn one_success_in_between_means_it_does_not_only_fail() {
    let mut policy = DisablePolicy::never();
    policy.when_failing = vec![FailingRule::new(Duration::from_hours(2), 1)];
    simulate(plain(HOOK).disable(policy), async |sim| {
        for hour in 0..20 {
            let status = if hour % 2 == 0 { 500 } else { 200 };
            sim.receivers.on(HOOK, [Reply::status(status)]);
            sim.publish(&hour.to_string()).await;
            sim.sleep(3_600).await;
        }
        assert_eq!(sim.status(HOOK).await.state, EndpointState::Idle);
    });
}

#[test]
fn the_application_can_disable_and_resume() {
    simulate(plain(HOOK), async |sim| {
        let disable = sim.engine.supervisor().send(DisableEndpoint::new(HOOK));
        disable.await.unwrap().unwrap();
        sim.publish("kept").await;
        sim.sleep(10).await;
        assert_eq!(
            sim.status(HOOK).await.state,
            disabled(DisabledReason::Application)
        );
        assert!(sim.sent_at().is_empty());
        resume(&sim).await;
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.delivered, 1);
        let unknown = DisableEndpoint::new("http://unknown.test/");
        assert!(
            sim.engine
                .supervisor()
                .send(unknown)
                .await
                .unwrap()
                .is_err()
        );
    });
}

#[test]
fn a_removed_endpoint_that_was_disabled_begins_anew() {
    simulate(plain(HOOK), async |sim| {
        let disable = sim.engine.supervisor().send(DisableEndpoint::new(HOOK));
        disable.await.unwrap().unwrap();
        let remove = sim.engine.supervisor().send(RemoveEndpoint::new(HOOK));
        remove.await.unwrap().unwrap();
        sim.publish("e").await;
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.delivered, 1);
    });
}

fn directs(status: u16, directive: Directive) -> Reply {
    Reply::answer(Answer::new(status).directive(directive))
}

fn honouring() -> Endpoint {
    let mut policy = EndpointPolicy::alert_service();
    policy.honours_directives = true;
    Endpoint::new(HOOK).unwrap().policy(policy)
}

#[test]
fn a_receiver_can_ask_for_no_more_attempts_of_a_delivery() {
    let aborted = Outcome::DeadLettered {
        reason: DeadLetterReason::AbortedByReceiver(Failure::Status(503)),
    };
    simulate(honouring(), async |sim| {
        sim.receivers
            .on(HOOK, [directs(503, Directive::AbortMessage)]);
        sim.publish("e").await;
        sim.sleep(1_000).await;
        assert_eq!(sim.outcomes(), [aborted]);
        assert_eq!(sim.dead_letters().await.len(), 1);
    });
    simulate(plain(HOOK), async |sim| {
        sim.receivers
            .on(HOOK, [directs(503, Directive::AbortMessage)]);
        sim.publish("e").await;
        sim.sleep(1_000).await;
        assert_eq!(sim.outcomes().len(), 4, "only where the policy says so");
    });
}

#[test]
fn a_receiver_can_ask_to_be_disabled() {
    simulate(honouring(), async |sim| {
        sim.receivers
            .on(HOOK, [directs(200, Directive::Disable), Reply::status(200)]);
        sim.publish("e").await;
        sim.publish("kept").await;
        sim.sleep(1_000).await;
        let status = sim.status(HOOK).await;
        assert_eq!(status.state, disabled(DisabledReason::ReceiverAsked));
        assert_eq!((status.delivered, status.queued), (1, 1));
    });
}

#[test]
fn other_settings_or_a_resume_have_an_open_circuit_looked_at_again() {
    let long = CircuitBreaker::after(1).waits(Duration::from_hours(10), Duration::from_hours(10));
    for by_resume in [false, true] {
        simulate(plain(HOOK).circuit_breaker(long), async |sim| {
            sim.receivers.on(
                HOOK,
                [Reply::status(500), Reply::status(503), Reply::status(200)],
            );
            for id in ["dead", "opens", "waits"] {
                sim.publish(id).await;
                sim.sleep(1).await;
            }
            let state = sim.status(HOOK).await.state;
            assert!(
                matches!(state, EndpointState::CircuitOpen { .. }),
                "{state:?}"
            );
            if by_resume {
                resume(&sim).await;
            } else {
                let put = sim.engine.supervisor().send(PutEndpoint::new(plain(HOOK)));
                put.await.unwrap().unwrap();
            }
            sim.sleep(20).await;
            assert_eq!(sim.status(HOOK).await.delivered, 2);
        });
    }
}

/// The disabled state was kept in two places. When a resume and a 410 answer met, the two disagreed
/// until the next start.
#[test]
fn a_410_that_meets_a_resume_leaves_memory_and_store_in_agreement() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        let faults = Faults {
            failing: 0.0,
            failing_after: 0.0,
            delay: Duration::from_millis(10),
        };
        let store = FaultyStore::new(MemoryStore::new(), faults, seed);
        let answers = RareFault::AnswersAfter(Duration::from_millis(seed % 7));
        store.set_rare(Some(answers));
        let mut policy = DisablePolicy::never();
        policy.on_gone = true;
        let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
        let endpoint = plain(HOOK).disable(policy);
        let kept = store.clone();
        let configure = |builder: EngineBuilder| builder.store(store).rule(rule).endpoint(endpoint);
        simulate_with(configure, async |sim| {
            sim.receivers.on(HOOK, [Reply::status(410)]);
            for round in 0..3 {
                sim.publish(&round.to_string()).await;
                sim.clock.sleep(Duration::from_millis(5 + seed % 11)).await;
                resume(&sim).await;
                sim.sleep(1).await;
                let state = sim.status(HOOK).await.state;
                let configuration = kept.configuration().await.unwrap();
                let stored = !configuration.disabled.is_empty();
                let known = matches!(state, EndpointState::Disabled { .. });
                assert_eq!(known, stored, "seed {seed}, round {round}: {state:?}");
                seen.insert(stored);
                resume(&sim).await;
            }
        });
    }
    assert_eq!(seen.len(), 2, "both orders were met");
}
