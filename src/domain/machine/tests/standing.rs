//! How an endpoint is counted, and whether it waits for the engine.

use std::sync::Arc;

use super::*;
use crate::domain::endpoint::standing::StateKind;
use crate::domain::machine::run::RunChange;
use crate::domain::policy::agreed::Hold;

#[test]
fn an_endpoint_that_may_start_an_attempt_waits_for_a_permit() {
    let mut machine = machine();
    assert!(!machine.waits_for_engine(NOW), "there is nothing to send");
    machine.on_deliveries((1..=3).map(delivery), Missed::None);
    assert!(machine.waits_for_engine(NOW));
    machine.start_one(NOW).unwrap();
    assert!(!machine.waits_for_engine(NOW), "the window is full");
    let record = finish(&mut machine, NOW, 1, Answer::new(200));
    machine.on_recorded(&record);
    assert!(machine.waits_for_engine(NOW));
    let obstacles: [fn(&mut EndpointMachine); 3] = [
        |machine| machine.hold = Some(Hold::until(at(60))),
        |machine| machine.end_change(NOW, Some(RunChange::Pause(Arc::default())), &mut Vec::new()),
        EndpointMachine::drain,
    ];
    for (number, obstacle) in obstacles.into_iter().enumerate() {
        let mut machine = super::machine();
        machine.on_deliveries([delivery(1)], Missed::None);
        obstacle(&mut machine);
        assert!(!machine.waits_for_engine(NOW), "obstacle {number}");
    }
}

#[test]
fn a_retry_waits_for_the_engine_from_when_it_is_due_until_it_starts() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1)], Missed::None);
    machine.start_one(NOW).unwrap();
    let record = finish(&mut machine, NOW, 1, Answer::new(502));
    machine.on_recorded(&record);
    pump(&mut machine, at(14));
    assert!(!machine.waits_for_engine(at(14)));
    pump(&mut machine, at(15));
    assert!(machine.waits_for_engine(at(15)), "it is being read");
    machine.on_read(
        &Read::Due(vec![DeliveryId::new(1)]),
        Found::Due(all(vec![delivery(1)])),
    );
    assert!(machine.waits_for_engine(at(15)), "it waits for a permit");
    machine.start_one(at(15)).unwrap();
    assert!(!machine.waits_for_engine(at(15)));
}

#[test]
fn deliveries_that_only_the_store_has_wait_for_the_engine_unless_an_order_holds_them_back() {
    for (ordering, waits) in [(Ordering::Unordered, true), (Ordering::Fifo, false)] {
        let mut machine = machine();
        let mut policy = EndpointPolicy::alert_service();
        policy.ordering = ordering;
        machine.configure(Arc::new(policy));
        let (first, count) = (DeliveryId::new(1), 2);
        machine.on_deliveries([], Missed::From { first, count });
        assert!(machine.waits_for_engine(NOW));
        machine.on_queued_read(page(vec![delivery(1)], 1));
        machine.start_one(NOW).unwrap();
        let record = finish(&mut machine, NOW, 1, Answer::new(502));
        machine.on_recorded(&record);
        assert_eq!(machine.waits_for_engine(NOW), waits, "{ordering:?}");
    }
}

#[test]
fn an_endpoint_waits_for_the_store_to_say_how_it_stands() {
    let policy = Arc::new(EndpointPolicy::alert_service());
    let url = WebhookUrl::parse("http://a.test/").unwrap();
    let mut machine = EndpointMachine::new(url, policy, RetiredState::default());
    assert!(machine.waits_for_engine(NOW));
    machine.withhold();
    assert!(!machine.waits_for_engine(NOW));
}

#[test]
fn a_standing_is_that_of_the_status_before_and_after_retirement() {
    let mut machine = machine();
    let kind = |machine: &EndpointMachine| machine.standing().0.kind;
    assert_eq!(
        (kind(&machine), machine.standing().0.is_well()),
        (StateKind::Idle, true)
    );
    machine.on_deliveries([delivery(1)], Missed::None);
    assert_eq!(
        (kind(&machine), machine.standing().1),
        (StateKind::Delivering, 1)
    );
    machine.start_one(NOW).unwrap();
    let record = finish(&mut machine, NOW, 1, Answer::new(404));
    machine.on_recorded(&record);
    let (standing, open) = machine.standing();
    assert_eq!(
        (standing.kind, standing.failing, open),
        (StateKind::Idle, true, 0)
    );
    assert_eq!(machine.failing_since(), Some(NOW));
    assert_eq!(machine.past().standing(false), standing);
    assert_eq!(machine.past().standing(true).kind, StateKind::Disabled);
    machine.end_change(NOW, Some(RunChange::Pause(Arc::default())), &mut Vec::new());
    assert_eq!(kind(&machine), machine.status().state.kind());
    assert_eq!(machine.past().standing(false), machine.standing().0);
    assert_eq!(machine.status().recent.to_string(), "x");
}
