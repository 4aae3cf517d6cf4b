//! Retries that an operator makes due.

use super::*;
use crate::domain::endpoint::due::AttemptNowAnswer;

const ID: DeliveryId = DeliveryId::new(1);

/// Returns a machine whose delivery 1 waits for a retry, due in 15 s.
fn one_waits() -> EndpointMachine {
    let mut machine = machine();
    machine.on_deliveries([delivery(1)], Missed::None);
    machine.start_one(NOW).unwrap();
    let record = finish(&mut machine, NOW, 1, Answer::new(503));
    machine.on_recorded(&record);
    machine
}

fn waits(due_at: Timestamp) -> WaitingDelivery {
    WaitingDelivery::new(ID, due_at)
}

fn reads_it_back(machine: &mut EndpointMachine, now: Timestamp) -> bool {
    let actions = pump(machine, now);
    matches!(&actions[..], [Action::Read(Read::Due(ids))] if *ids == [ID])
}

#[test]
fn a_retry_made_due_starts_once_the_store_knows_and_keeps_its_progress() {
    let mut machine = one_waits();
    assert_eq!(machine.make_due(at(2), ID), None, "the store is asked");
    assert!(!reads_it_back(&mut machine, at(2)), "not before it answers");
    let answer = machine.on_made_due(Some(waits(at(2))));
    assert_eq!(answer, Some(AttemptNowAnswer::Started));
    assert!(reads_it_back(&mut machine, at(2)));
    let deadline = Some(at(120));
    let progress = Progress {
        attempts_made: 1,
        deadline,
    };
    let back = OpenDelivery {
        progress,
        due_at: Some(at(2)),
        ..delivery(1)
    };
    machine.on_loaded(&[ID], all(vec![back]));
    assert_eq!(machine.start_one(at(2)).unwrap().number, 2);
    let record = finish(&mut machine, at(2), 1, Answer::new(503));
    assert_eq!(record.progress.deadline, deadline);
    machine.on_recorded(&record);
    assert_eq!(machine.status().queued, 1, "it is counted once");
}

#[test]
fn what_is_under_way_or_due_stays_as_it_is() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1)], Missed::None);
    let under_way = Some(AttemptNowAnswer::UnderWay);
    assert_eq!(machine.make_due(NOW, ID), under_way, "it is queued");
    machine.start_one(NOW).unwrap();
    let paused = Some(RunChange::Pause(Arc::default()));
    machine.end_change(NOW, paused, &mut Vec::new());
    assert_eq!(machine.make_due(NOW, ID), under_way, "it is in flight");
    let mut machine = one_waits();
    assert_eq!(machine.make_due(at(15), ID), under_way, "it is due");
    assert!(reads_it_back(&mut machine, at(15)));
    assert_eq!(machine.make_due(at(15), ID), under_way, "it is read back");
}

#[test]
fn an_endpoint_that_attempts_nothing_says_why() {
    let mut machine = one_waits();
    let paused = Some(RunChange::Pause(Arc::default()));
    machine.end_change(NOW, paused, &mut Vec::new());
    let blocked = |by| Some(AttemptNowAnswer::Blocked { by });
    assert_eq!(machine.make_due(NOW, ID), blocked(EndpointState::Paused));
    let mut machine = machine_held_until(at(60));
    let held = EndpointState::RateLimited { until: at(60) };
    assert_eq!(machine.make_due(NOW, ID), blocked(held));
}

fn machine_held_until(until: Timestamp) -> EndpointMachine {
    let mut machine = one_waits();
    machine.hold = Some(Hold::until(until));
    machine
}

#[test]
fn an_attempt_recorded_meanwhile_keeps_the_time_that_it_set() {
    let mut machine = one_waits();
    assert_eq!(machine.make_due(at(14), ID), None);
    assert!(reads_it_back(&mut machine, at(15)));
    let back = OpenDelivery {
        due_at: Some(at(15)),
        ..delivery(1)
    };
    machine.on_loaded(&[ID], all(vec![back]));
    machine.start_one(at(15)).unwrap();
    let record = finish(&mut machine, at(15), 1, Answer::new(503));
    machine.on_recorded(&record);
    let next = record.next_attempt_at.unwrap();
    let answer = machine.on_made_due(Some(waits(at(14))));
    assert_eq!(answer, Some(AttemptNowAnswer::UnderWay));
    assert!(!reads_it_back(&mut machine, at(16)));
    assert!(reads_it_back(&mut machine, next));
}

#[test]
fn a_retry_that_is_only_in_the_store_is_taken_in() {
    let mut machine = machine();
    machine.tally.open = 1;
    machine.unread.note(ReadKind::Waiting);
    assert_eq!(machine.make_due(NOW, ID), None);
    let answer = machine.on_made_due(Some(waits(NOW)));
    assert_eq!(answer, Some(AttemptNowAnswer::Started));
    let actions = pump(&mut machine, NOW);
    let due = |action: &Action| matches!(action, Action::Read(Read::Due(ids)) if *ids == [ID]);
    assert!(actions.iter().any(due), "{actions:?}");
    // The read of all that waits finds it too.
    machine.on_waiting_read(vec![waits(NOW)], 9);
    assert_eq!(machine.status().queued, 1);
}

#[test]
fn a_delivery_that_does_not_wait_or_a_store_that_fails_changes_nothing() {
    let mut machine = one_waits();
    assert_eq!(machine.make_due(at(2), ID), None);
    assert_eq!(machine.on_made_due(None), None);
    assert!(!reads_it_back(&mut machine, at(14)));
    assert!(reads_it_back(&mut machine, at(15)));
}
