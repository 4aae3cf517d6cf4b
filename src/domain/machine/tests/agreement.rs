//! What is agreed with a receiver: restored, changed, lifted, and stored when it changes.

use super::*;
use crate::domain::policy::agreed::Hold;
use crate::domain::policy::breaker::{Circuit, CircuitBreaker};
use crate::domain::policy::health::{DisablePolicy, DisabledReason, FailingRule, Health};

fn with(policy: impl FnOnce(&mut EndpointPolicy)) -> EndpointMachine {
    let mut machine = machine();
    let mut changed = EndpointPolicy::clone(&machine.policy);
    policy(&mut changed);
    machine.configure(Arc::new(changed));
    machine
}

fn unread() -> EndpointMachine {
    EndpointMachine::new(
        WebhookUrl::parse("http://a.test/").unwrap(),
        Arc::new(EndpointPolicy::alert_service()),
        RetiredState::default(),
    )
}

/// Makes an attempt that ends with this answer, and returns its record.
fn attempt(
    machine: &mut EndpointMachine,
    now: Timestamp,
    id: u64,
    answer: Answer,
) -> AttemptRecord {
    machine.on_deliveries([delivery(id)], Missed::None);
    machine.start_one(now).unwrap();
    finish(machine, now, id, answer)
}

#[test]
fn the_longer_of_two_holds_is_remembered() {
    let mut machine = machine();
    let remember = |machine: &mut EndpointMachine, until| {
        machine.remember(Some(Hold::until(until)), &Agreed::default());
        machine.held_until()
    };
    assert_eq!(remember(&mut machine, at(10)), Some(at(10)));
    assert_eq!(remember(&mut machine, at(5)), Some(at(10)));
    assert_eq!(remember(&mut machine, at(20)), Some(at(20)));
}

#[test]
fn a_shorter_hold_of_an_attempt_in_flight_does_not_shorten_a_longer_one() {
    let mut machine = with(|policy| policy.max_in_flight = 4);
    attempt(&mut machine, NOW, 1, Answer::new(200));
    machine.on_deliveries([delivery(2), delivery(3)], Missed::None);
    machine.start_one(NOW).unwrap();
    machine.start_one(NOW).unwrap();
    finish(&mut machine, NOW, 2, Answer::new(429).retry_after("100"));
    assert_eq!(machine.held_until(), Some(at(100)));
    finish(&mut machine, NOW, 3, Answer::new(429).retry_after("10"));
    assert_eq!(machine.held_until(), Some(at(100)));
}

#[test]
fn what_is_agreed_is_stored_with_the_attempt_that_changes_it() {
    let mut plain = machine();
    let failed = attempt(&mut plain, NOW, 1, Answer::new(502));
    assert_eq!(failed.agreed, None);
    let held = attempt(&mut machine(), NOW, 1, Answer::new(503).retry_after("60"));
    let hold = held.agreed.and_then(|agreed| agreed.hold());
    assert_eq!(hold.map(|hold| hold.until), Some(at(60)));
    // A wait of nothing is no hold, but the overload is known.
    let busy = attempt(&mut machine(), NOW, 1, Answer::new(429).retry_after("0"));
    assert!(busy.agreed.is_some());

    let breaks = || with(|policy| policy.circuit_breaker = Some(CircuitBreaker::after(2)));
    let failed = attempt(&mut breaks(), NOW, 1, Answer::new(502));
    assert!(failed.agreed.is_some(), "failures in a row count");
    let unchanged = attempt(&mut breaks(), NOW, 1, Answer::new(200));
    assert_eq!(unchanged.agreed, None);
    let refused = attempt(&mut breaks(), NOW, 1, Answer::new(400));
    assert_eq!(refused.agreed, None, "it answers");
    let mut open = breaks();
    attempt(&mut open, NOW, 1, Answer::new(503));
    let opened = attempt(&mut open, NOW, 2, Answer::new(503));
    assert!(opened.agreed.is_some());

    let paced = |per| with(|policy| policy.rate_limit = Some(RateLimit::new(1, per)));
    for (per, is_stored) in [
        (Duration::from_secs(1), true),
        (Duration::from_millis(999), false),
    ] {
        let mut machine = paced(per);
        pump(&mut machine, NOW);
        machine.on_deliveries([delivery(1)], Missed::None);
        pump(&mut machine, NOW);
        machine.on_agreed();
        machine.start_one(NOW).unwrap();
        let record = finish(&mut machine, NOW, 1, Answer::new(200));
        assert_eq!(record.agreed.is_some(), is_stored, "{per:?}");
    }
}

#[test]
fn a_permanent_failure_closes_a_circuit() {
    let mut machine = with(|policy| policy.circuit_breaker = Some(CircuitBreaker::after(1)));
    attempt(&mut machine, NOW, 1, Answer::new(400));
    assert_eq!(machine.circuit.open_until(), None);
    attempt(&mut machine, NOW, 2, Answer::new(503));
    assert!(machine.circuit.open_until().is_some());
}

#[test]
fn health_is_stored_where_a_policy_depends_on_it_and_after_a_success() {
    let failing =
        |machine: &mut EndpointMachine, id| attempt(machine, NOW, id, Answer::new(503)).health;
    let mut machine = machine();
    assert_eq!(failing(&mut machine, 1), None, "nothing depends on it");
    let well = attempt(&mut machine, NOW, 2, Answer::new(200)).health;
    assert_eq!(
        well,
        Some(Health::default()),
        "an older policy may have had rules"
    );
    assert_eq!(attempt(&mut machine, NOW, 3, Answer::new(200)).health, None);
    let mut watched = with(|policy| {
        let mut disable = DisablePolicy::never();
        disable.when_failing = vec![FailingRule::new(Duration::from_hours(1), 100)];
        policy.disable = disable;
    });
    let health = failing(&mut watched, 1).unwrap();
    assert_eq!((health.failures, health.failing_since), (1, Some(NOW)));
}

fn stored(hold: Timestamp, last_turn: Timestamp) -> StoredEndpoint {
    let agreed = serde_json::json!({ "lastTurn": last_turn });
    StoredEndpoint {
        open: 0,
        held_until: Some(hold),
        health: Health {
            failing_since: Some(NOW),
            failures: 3,
            warned_at: None,
        },
        agreed: serde_json::from_value(agreed).unwrap(),
    }
}

#[test]
fn what_was_stored_is_taken_over_unless_it_was_lifted_before_it_was_read() {
    let known = stored(at(60), at(1));
    let mut machine = unread();
    machine.on_endpoint_read(&known);
    assert_eq!(machine.held_until(), Some(at(60)));
    assert_eq!(machine.tally.health, known.health);
    assert_eq!(machine.pacer.last(), Some(at(1)));

    let mut lifted = unread();
    let mut actions = Vec::new();
    lifted.lift(NOW, &mut actions);
    assert!(
        actions.is_empty(),
        "there is nothing to lift yet: {actions:?}"
    );
    lifted.on_endpoint_read(&known);
    assert_eq!(lifted.held_until(), None);
    assert_eq!(lifted.tally.health, Health::default());
    assert_eq!(lifted.pacer.last(), Some(at(1)), "the rate limit stays");

    let mut failing = unread();
    failing.tally.health.failures = 7;
    failing.on_endpoint_read(&known);
    assert_eq!(
        failing.tally.health.failures, 7,
        "what happened here is newer"
    );
}

#[test]
fn lifting_makes_waiting_retries_due_and_tells_the_store() {
    let mut machine = machine();
    let record = attempt(&mut machine, NOW, 1, Answer::new(503).retry_after("60"));
    machine.on_recorded(&record);
    let mut actions = Vec::new();
    machine.lift(at(5), &mut actions);
    assert!(matches!(&actions[..], [Action::Agree(agreed)] if agreed.hold().is_none()));
    let retries: Vec<_> = machine
        .waiting
        .iter()
        .map(|(key, retry)| (key.0, retry.at))
        .collect();
    assert_eq!(retries, [(at(5), at(5))]);
    actions.clear();
    machine.lift(at(6), &mut actions);
    assert!(actions.is_empty(), "nothing is held");

    let mut open = with(|policy| policy.circuit_breaker = Some(CircuitBreaker::after(1)));
    attempt(&mut open, NOW, 1, Answer::new(503));
    open.lift(at(1), &mut actions);
    assert!(
        matches!(actions[..], [Action::Agree(_)]),
        "the circuit was open"
    );
    assert_eq!(open.circuit.open_until(), None);
}

#[test]
fn a_longer_hold_of_an_attempt_in_flight_extends_a_shorter_one() {
    let mut machine = with(|policy| policy.max_in_flight = 4);
    attempt(&mut machine, NOW, 1, Answer::new(200));
    machine.on_deliveries([delivery(2), delivery(3)], Missed::None);
    machine.start_one(NOW).unwrap();
    machine.start_one(NOW).unwrap();
    finish(&mut machine, NOW, 2, Answer::new(429).retry_after("10"));
    finish(&mut machine, NOW, 3, Answer::new(429).retry_after("100"));
    assert_eq!(machine.held_until(), Some(at(100)));
}

#[test]
fn a_definite_answer_to_a_probe_closes_the_circuit() {
    let mut machine = with(|policy| policy.circuit_breaker = Some(CircuitBreaker::after(1)));
    attempt(&mut machine, NOW, 1, Answer::new(503));
    let until = machine.circuit.open_until().unwrap();
    pump(&mut machine, until);
    attempt(&mut machine, until, 2, Answer::new(400));
    assert_eq!(machine.circuit, Circuit::Closed);
}

#[test]
fn a_410_disables_where_the_policy_says_so() {
    let disabled = |on_gone, status| {
        let mut machine = with(|policy| {
            let mut disable = DisablePolicy::never();
            disable.on_gone = on_gone;
            policy.disable = disable;
        });
        attempt(&mut machine, NOW, 1, Answer::new(status)).disabled
    };
    assert_eq!(disabled(true, 410), Some(DisabledReason::Gone));
    assert_eq!(disabled(true, 400), None);
    assert_eq!(disabled(false, 410), None);
}
