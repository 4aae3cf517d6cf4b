//! Tests that operators send.

use super::*;
use crate::domain::deliveries::outcome::{DeadLetterReason, Outcome};
use crate::domain::policy::breaker::CircuitBreaker;
use crate::domain::policy::health::FailingRule;
use crate::domain::value::id::EventId;

fn test(id: u64) -> OpenDelivery {
    let alert = Alert {
        event_id: EventId::of_test(uuid::Uuid::nil()),
        ..Alert::example(None)
    };
    OpenDelivery {
        alert: Arc::new(alert),
        ..delivery(id)
    }
}

fn id_of(order: Option<AttemptOrder>) -> Option<u64> {
    order.map(|order| order.delivery_id.get())
}

#[test]
fn a_test_passes_a_pause_a_hold_an_open_circuit_and_those_before_it() {
    let mut policy = EndpointPolicy::alert_service();
    policy.ordering = Ordering::Fifo;
    policy.circuit_breaker = Some(CircuitBreaker::after(1));
    let stopped: [fn(&mut EndpointMachine); 3] = [
        |machine| {
            let pause = Some(RunChange::Pause(Arc::default()));
            machine.end_change(NOW, pause, &mut Vec::new());
        },
        |machine| machine.hold = Some(Hold::until(at(60))),
        |machine| {
            machine.start_one(NOW).unwrap();
            let record = finish(machine, NOW, 1, Answer::new(503));
            machine.on_recorded(&record);
        },
    ];
    for stop in stopped {
        let mut machine = machine();
        machine.configure(Arc::new(policy.clone()));
        machine.on_deliveries([delivery(1), delivery(2)], Missed::None);
        stop(&mut machine);
        let state = machine.status().state;
        assert_eq!(id_of(machine.start_one(NOW)), None, "{state:?}");
        machine.on_deliveries([test(3)], Missed::None);
        assert!(machine.next_client(NOW).is_some(), "{state:?}");
        assert_eq!(id_of(machine.start_one(NOW)), Some(3), "{state:?}");
        let record = finish(&mut machine, NOW, 3, Answer::new(200));
        assert_eq!(record.outcome, Outcome::Delivered);
        machine.on_recorded(&record);
        assert_eq!(machine.status().state, state, "it is as it was");
        assert_eq!(machine.status().queued, 2);
    }
}

#[test]
fn a_test_that_fails_is_not_retried_and_says_nothing_about_the_endpoint() {
    let mut policy = EndpointPolicy::alert_service();
    policy.circuit_breaker = Some(CircuitBreaker::after(1));
    policy.disable.on_gone = true;
    policy.disable.when_failing = vec![FailingRule::new(Duration::ZERO, 1)];
    let held = Answer::new(503).retry_after("60");
    let exhausted = DeadLetterReason::AttemptsExhausted(Failure::Status(503));
    let permanent = DeadLetterReason::Permanent(Failure::Status(410));
    for (answer, reason) in [(held, exhausted), (Answer::new(410), permanent)] {
        let mut machine = machine();
        machine.configure(Arc::new(policy.clone()));
        let window = machine.window.size();
        machine.on_deliveries([test(1)], Missed::None);
        machine.start_one(NOW).unwrap();
        let record = finish(&mut machine, NOW, 1, answer);
        assert_eq!(record.outcome, Outcome::DeadLettered { reason });
        assert_eq!((record.next_attempt_at, record.hold_until), (None, None));
        assert_eq!((record.health, record.disabled), (None, None));
        assert!(record.agreed.is_none());
        assert_eq!(record.progress.attempts_made, 1);
        machine.on_recorded(&record);
        let status = machine.status();
        assert_eq!(status.state, EndpointState::Idle);
        assert_eq!(
            (status.consecutive_failures, status.failing_since),
            (0, None)
        );
        assert_eq!((status.dead_lettered, status.queued), (1, 0));
        assert_eq!(machine.window.size(), window);
    }
}

#[test]
fn a_test_is_no_probe_of_a_half_open_circuit() {
    let mut policy = EndpointPolicy::alert_service();
    policy.circuit_breaker = Some(CircuitBreaker::after(1));
    let mut machine = machine();
    machine.configure(Arc::new(policy));
    machine.on_deliveries([delivery(1), delivery(2)], Missed::None);
    machine.start_one(NOW).unwrap();
    let record = finish(&mut machine, NOW, 1, Answer::new(503));
    machine.on_recorded(&record);
    let opens = machine.circuit.open_until().unwrap();
    pump(&mut machine, opens);
    machine.on_deliveries([test(3)], Missed::None);
    assert_eq!(id_of(machine.start_one(opens)), Some(3));
    let probe = machine.start_one(opens);
    assert!(probe.is_some(), "the probe does not wait for the test");
}

#[test]
fn a_test_that_was_stored_for_an_endpoint_at_rest_is_read_though_nothing_else_is() {
    let past = RetiredState {
        run: Run {
            paused: Some(Arc::default()),
            ..Default::default()
        },
        ..RetiredState::default()
    };
    let policy = Arc::new(EndpointPolicy::alert_service());
    let url = WebhookUrl::parse("http://a.test/").unwrap();
    let mut machine = EndpointMachine::new(url, policy, past);
    let mut actions = Vec::new();
    machine.on_test(DeliveryId::new(7), &mut actions);
    let [Action::Read(Read::Due(ids))] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(ids[..], [DeliveryId::new(7)]);
    machine.on_loaded(ids, all(vec![test(7)]));
    pump(&mut machine, NOW);
    assert_eq!(id_of(machine.start_one(NOW)), None, "it may be on hold");
    let stored = StoredEndpoint {
        open: 1,
        ..StoredEndpoint::default()
    };
    machine.on_endpoint_read(&stored);
    machine.on_waiting_read(Vec::new(), 1);
    assert_eq!(machine.status().queued, 1, "it is counted once");
    assert_eq!(id_of(machine.start_one(NOW)), Some(7));
    machine.on_test(DeliveryId::new(7), &mut actions);
    assert_eq!(actions.len(), 1, "it is under way");
    // A read of all that is queued began before.
    machine.on_queued_read(page(vec![test(7)], 9));
    let record = finish(&mut machine, NOW, 7, Answer::new(200));
    machine.on_recorded(&record);
    assert_eq!(id_of(machine.start_one(NOW)), None, "once");
    assert_eq!(machine.status().queued, 0);
}

#[test]
fn a_test_starts_nothing_without_readable_settings_or_while_the_engine_ends() {
    let mut machine = machine();
    machine.on_deliveries([test(1)], Missed::None);
    machine.withhold();
    assert_eq!(id_of(machine.start_one(NOW)), None);
    assert!(!machine.may_retire());
    machine.configure(Arc::new(EndpointPolicy::alert_service()));
    machine.drain();
    assert_eq!(id_of(machine.start_one(NOW)), None);
    assert_eq!(machine.forget(&[DeliveryId::new(1)]), []);
    assert_eq!(machine.status().queued, 0);
}

#[test]
fn a_test_that_has_ended_before_it_is_asked_for_is_not_counted_out_twice() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1), test(2)], Missed::None);
    assert_eq!(id_of(machine.start_one(NOW)), Some(2));
    let record = finish(&mut machine, NOW, 2, Answer::new(200));
    machine.on_recorded(&record);
    let mut actions = Vec::new();
    machine.on_test(DeliveryId::new(2), &mut actions);
    let [Action::Read(Read::Due(ids))] = &actions[..] else {
        panic!("{actions:?}");
    };
    machine.on_loaded(ids, all(Vec::new()));
    assert_eq!(machine.status().queued, 1);
}
