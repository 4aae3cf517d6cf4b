//! Who did what: operators and notes at endpoints, the record of actions, and attempts by hand.

use std::sync::Arc;
use std::time::Duration;

use actix_webhooks::store::{DeadLetterQuery, MemoryStore};
use actix_webhooks::testing::{Faults, FaultyStore, RareFault, Reply};
use actix_webhooks::transport::Answer;
use actix_webhooks::{
    ActionKind, ActionResult, AttemptNowAnswer, By, CircuitBreaker, DeliveryId, DisablePolicy,
    DisabledReason, EndDeliveries, EndpointState, ListActions, Note, OperateError, Operator,
    OperatorAction, PauseEndpoint, PutRule, RemoveRule, Rule,
};

use super::support::{HOOK, Sim, event, plain, simulate, simulate_with};

const NO_FAULTS: Faults = Faults {
    failing: 0.0,
    failing_after: 0.0,
    delay: Duration::ZERO,
};

async fn actions(sim: &Sim, query: ListActions) -> Vec<OperatorAction> {
    sim.engine.actions(query).await.unwrap()
}

/// Returns the operator, the kind, the target and the count of each action.
fn shown(actions: &[OperatorAction]) -> Vec<(&str, ActionKind, &str, Option<u64>)> {
    let shown = actions.iter().map(|it| {
        let by = it.operator.as_ref().map_or("-", Operator::as_str);
        (by, it.action, it.target.as_str(), it.count)
    });
    shown.collect()
}

#[test]
fn a_pause_says_when_by_whom_and_why_until_it_is_resumed() {
    simulate(async |sim| {
        let hook = sim.engine.endpoint(HOOK);
        assert_eq!(sim.status(HOOK).await.stopped, None);
        sim.sleep(5).await;
        let paused_at = sim.clock.now();
        let alice = hook.clone().by("alice").note("flooding us");
        alice.pause().await.unwrap();
        sim.sleep(5).await;
        hook.clone().by("bob").pause().await.unwrap();
        let stopped = sim.status(HOOK).await.stopped.unwrap();
        assert_eq!(stopped.at, Some(paused_at), "the first pause counts");
        assert_eq!(stopped.by.unwrap(), "alice");
        assert_eq!(stopped.note.unwrap(), "flooding us");
        sim.clock.set_forward(Duration::from_hours(1));
        sim.sleep(2).await;
        let shown = sim.status(HOOK).await.stopped.unwrap().at.unwrap();
        let ahead = shown.since(paused_at);
        assert!(ahead >= Duration::from_hours(1), "in wall time: {ahead:?}");
        hook.resume().await.unwrap();
        assert_eq!(sim.status(HOOK).await.stopped, None);
        hook.clone().by("bob").disable().await.unwrap();
        let stopped = sim.status(HOOK).await.stopped.unwrap();
        assert_eq!((stopped.by.unwrap().as_str(), stopped.note), ("bob", None));
    });
}

#[test]
fn a_pause_is_shown_by_an_endpoint_at_work_and_by_one_at_rest() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::status(503)]);
        sim.publish("a").await;
        sim.sleep(1).await;
        let pause = PauseEndpoint::new(HOOK).by(Operator::new("alice").unwrap());
        let pause = pause.note(Note::new("why not").unwrap());
        sim.engine.supervisor().send(pause).await.unwrap().unwrap();
        let by = async || sim.status(HOOK).await.stopped.unwrap().by.unwrap();
        assert_eq!(by().await, "alice");
        sim.engine
            .end_deliveries(EndDeliveries::of_rule("rule"))
            .await
            .unwrap();
        sim.sleep(600).await;
        assert_eq!(by().await, "alice", "nothing is left to do");
        let states = sim.recorder.latest_statuses();
        let (_, last) = states.into_iter().next().unwrap();
        assert_eq!(last.stopped.unwrap().by.unwrap(), "alice");
    });
}

#[test]
fn an_endpoint_that_disables_itself_says_when() {
    let mut policy = DisablePolicy::never();
    policy.on_gone = true;
    let endpoint = plain(HOOK).disable(policy);
    simulate_with(
        |builder| {
            let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
            builder.rule(rule).endpoint(endpoint)
        },
        async |sim| {
            sim.receivers.on(HOOK, [Reply::status(410)]);
            sim.publish("a").await;
            sim.sleep(9).await;
            let status = sim.status(HOOK).await;
            let reason = DisabledReason::Gone;
            assert_eq!(status.state, EndpointState::Disabled { reason });
            let stopped = status.stopped.unwrap();
            assert_eq!(stopped.at, Some(sim.reports()[0].at));
            assert_eq!((stopped.by, stopped.note), (None, None));
        },
    );
}

#[test]
fn a_name_or_a_note_out_of_bounds_changes_nothing() {
    simulate(async |sim| {
        let hook = sim.engine.endpoint(HOOK);
        for handle in [
            hook.clone().by(""),
            hook.clone().by("two\nlines"),
            hook.clone().note("x".repeat(513)),
        ] {
            let refused = handle.pause().await.unwrap_err();
            assert!(matches!(refused, OperateError::Text(_)), "{refused}");
            assert!(!refused.is_transient());
        }
        let nobody = sim.engine.by("n".repeat(129));
        let refused = nobody.remove_rule("rule").await.unwrap_err();
        assert_eq!(refused.to_string(), "operator is longer than 128 bytes");
        assert_eq!(sim.engine.rules().await.unwrap().len(), 1);
        assert_eq!(sim.status(HOOK).await.state, EndpointState::Idle);
        assert!(actions(&sim, ListActions::default()).await.is_empty());
    });
}

#[test]
fn every_change_is_kept_with_its_operator_target_count_and_result() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::status(400)]);
        for id in ["a", "b"] {
            sim.publish(id).await;
        }
        sim.sleep(1).await;
        let alice = sim.engine.by("alice");
        let hook = "http://receiver.test/hook?token=secret#x";
        alice.endpoint(hook).pause().await.unwrap_err();
        alice.endpoint(HOOK).note("why").pause().await.unwrap();
        let query = DeadLetterQuery {
            url: Some(HOOK.parse().unwrap()),
            ..DeadLetterQuery::default()
        };
        alice.redeliver(query.clone()).await.unwrap();
        alice.discard_dead_letters(query).await.unwrap();
        let other = Rule::new("other", "other").webhook(HOOK).unwrap();
        let put = By::new(Operator::new("bob").unwrap(), PutRule::new(other));
        sim.engine.router().send(put).await.unwrap().unwrap();
        alice.remove_rule("never").await.unwrap();
        let removed = sim.engine.router().send(RemoveRule::new("other")).await;
        removed.unwrap().unwrap();
        let ended = alice.end_rule("rule").await.unwrap();
        assert_eq!(ended, 2);
        let all = actions(&sim, ListActions::default()).await;
        let expected = [
            ("alice", ActionKind::EndRule, "rule", Some(2)),
            ("-", ActionKind::RemoveRule, "other", Some(1)),
            ("alice", ActionKind::RemoveRule, "never", Some(0)),
            ("bob", ActionKind::PutRule, "other", None),
            ("alice", ActionKind::DiscardDeadLetters, HOOK, Some(0)),
            ("alice", ActionKind::Redeliver, HOOK, Some(2)),
            ("alice", ActionKind::PauseEndpoint, HOOK, None),
            ("alice", ActionKind::PauseEndpoint, HOOK, None),
        ];
        assert_eq!(shown(&all), expected, "newest first, each once");
        let ActionResult::Failed { error } = &all[7].result else {
            panic!("no endpoint has that query: {:?}", all[7]);
        };
        assert!(error.contains("unknown") && !error.contains("secret"));
        assert_eq!(all[6].result, ActionResult::Done);
        assert_eq!(all[6].note.as_ref().unwrap(), "why");
        let of_endpoint = actions(&sim, ListActions::about("http://Receiver.test:80/hook")).await;
        assert_eq!(shown(&of_endpoint), expected[4..7]);
        let of_rule = actions(&sim, ListActions::about("other").limit(1)).await;
        assert_eq!(shown(&of_rule), expected[1..2]);
    });
}

/// Whoever looks at an endpoint wants to know who touched its deliveries.
#[test]
fn an_action_on_one_delivery_is_listed_at_its_endpoint() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [502, 400].map(Reply::status));
        sim.publish("a").await;
        sim.sleep(1).await;
        let id = sim.reports()[0].delivery_id;
        let alice = sim.engine.by("alice");
        alice.attempt_now(id).await.unwrap();
        sim.sleep(1).await;
        alice.redeliver(id).await.unwrap();
        let target = id.to_string();
        let expected = [
            ("alice", ActionKind::Redeliver, target.as_str(), Some(1)),
            ("alice", ActionKind::AttemptNow, target.as_str(), Some(1)),
        ];
        for about in [HOOK, target.as_str()] {
            let kept = actions(&sim, ListActions::about(about)).await;
            assert_eq!(shown(&kept), expected, "{about}");
        }
        let elsewhere = ListActions::about("http://other.test/");
        assert!(actions(&sim, elsewhere).await.is_empty());
        assert_eq!(
            attempt_now(&sim, DeliveryId::new(99)).await,
            AttemptNowAnswer::Unknown
        );
        assert_eq!(actions(&sim, ListActions::about(HOOK)).await.len(), 2);
        assert_eq!(actions(&sim, ListActions::default()).await.len(), 3);
    });
}

#[test]
fn an_action_that_the_store_refuses_is_kept_with_the_error() {
    let store = Arc::new(FaultyStore::new(MemoryStore::new(), NO_FAULTS, 1));
    let given = Arc::clone(&store);
    simulate_with(
        |builder| {
            let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
            builder.store(given).rule(rule).endpoint(plain(HOOK))
        },
        async |sim| {
            store.set_rare(Some(RareFault::Fails));
            let hook = sim.engine.endpoint(HOOK).by("alice");
            assert!(hook.pause().await.unwrap_err().is_transient());
            let kept = actions(&sim, ListActions::default()).await;
            let failed = matches!(kept[0].result, ActionResult::Failed { .. });
            assert!(failed, "{kept:?}");
            assert_eq!(sim.status(HOOK).await.stopped, None);
        },
    );
}

async fn attempt_now(sim: &Sim, id: DeliveryId) -> AttemptNowAnswer {
    sim.engine.attempt_now(id).await.unwrap()
}

#[test]
fn a_waiting_delivery_is_attempted_at_once_and_goes_on_with_its_schedule() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::status(502)]);
        sim.publish("a").await;
        sim.sleep(4).await;
        let id = sim.reports()[0].delivery_id;
        let alice = sim.engine.by("alice");
        let answer = alice.attempt_now(id).await.unwrap();
        assert_eq!(answer, AttemptNowAnswer::Started);
        sim.sleep(500).await;
        assert_eq!(
            sim.sent_at(),
            [0.0, 4.0, 34.0, 94.0],
            "the waits after it are those of its number"
        );
        let attempts: Vec<u32> = sim.reports().iter().map(|report| report.attempt).collect();
        assert_eq!(attempts, [1, 2, 3, 4]);
        assert_eq!(attempt_now(&sim, id).await, AttemptNowAnswer::NotOpen);
        let unknown = attempt_now(&sim, DeliveryId::new(99)).await;
        assert_eq!(unknown, AttemptNowAnswer::Unknown);
        let kept = actions(&sim, ListActions::about(id.to_string())).await;
        let kind = ActionKind::AttemptNow;
        let target = id.to_string();
        let expected = [
            ("-", kind, target.as_str(), Some(0)),
            ("alice", kind, target.as_str(), Some(1)),
        ];
        assert_eq!(shown(&kept), expected);
    });
}

#[test]
fn a_delivery_under_way_or_queued_is_left_alone() {
    let endpoint = plain(HOOK).max_in_flight(1);
    simulate_with(
        |builder| {
            let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
            builder.rule(rule).endpoint(endpoint)
        },
        async |sim| {
            let slow = Reply::status(200).after(Duration::from_secs(9));
            sim.receivers.on(HOOK, [slow]);
            for id in ["a", "b"] {
                sim.publish(id).await;
            }
            sim.sleep(1).await;
            for id in [1, 2].map(DeliveryId::new) {
                assert_eq!(attempt_now(&sim, id).await, AttemptNowAnswer::UnderWay);
            }
            sim.sleep(30).await;
            assert_eq!(sim.sent_at(), [0.0, 9.0]);
        },
    );
}

#[test]
fn an_endpoint_that_sends_nothing_says_why_and_keeps_the_schedule() {
    let breaker = CircuitBreaker::after(1);
    let open = plain("http://open.test/").circuit_breaker(breaker);
    simulate_with(
        |builder| {
            let rule = |url: &str| Rule::new(url, url).webhook(url).unwrap();
            builder
                .rule(rule(HOOK))
                .rule(rule("http://held.test/"))
                .rule(rule("http://open.test/"))
                .endpoint(plain(HOOK))
                .endpoint(plain("http://held.test/"))
                .endpoint(open)
        },
        async |sim| {
            let held = Answer::new(503).retry_after("60");
            sim.receivers.on(HOOK, [Reply::status(502)]);
            sim.receivers.on("http://held.test/", [Reply::answer(held)]);
            sim.receivers.on("http://open.test/", [Reply::status(502)]);
            let mut ids = Vec::new();
            for url in [HOOK, "http://held.test/", "http://open.test/"] {
                let mut event = event(url);
                event.rule_type = url.to_owned();
                sim.engine.publish(event).await.unwrap();
                sim.sleep(1).await;
                ids.push(sim.reports().pop().unwrap().delivery_id);
            }
            sim.engine.endpoint(HOOK).pause().await.unwrap();
            let mut blocked = Vec::new();
            for id in ids {
                match attempt_now(&sim, id).await {
                    AttemptNowAnswer::Blocked { by } => blocked.push(by),
                    other => panic!("{other:?}"),
                }
            }
            assert!(matches!(
                blocked[..],
                [
                    EndpointState::Paused,
                    EndpointState::RateLimited { .. },
                    EndpointState::CircuitOpen { .. }
                ]
            ));
            sim.sleep(1).await;
            assert_eq!(sim.receivers.requests().len(), 3, "one each");
        },
    );
}

#[test]
fn a_store_that_cannot_make_it_due_leaves_the_schedule() {
    let store = Arc::new(FaultyStore::new(MemoryStore::new(), NO_FAULTS, 1));
    let given = Arc::clone(&store);
    simulate_with(
        |builder| {
            let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
            builder.store(given).rule(rule).endpoint(plain(HOOK))
        },
        async |sim| {
            sim.receivers.on(HOOK, [502, 200].map(Reply::status));
            sim.publish("a").await;
            sim.sleep(2).await;
            let id = sim.reports()[0].delivery_id;
            store.set_rare(Some(RareFault::Fails));
            let failed = sim.engine.attempt_now(id).await.unwrap_err();
            let transient = matches!(&failed, OperateError::Store(error) if error.is_transient());
            assert!(transient, "{failed}");
            store.set_rare(None);
            sim.sleep(30).await;
            assert_eq!(sim.sent_at(), [0.0, 15.0]);
        },
    );
}
