//! What is in memory, what is left to the store, and what is forgotten.

use super::*;
use crate::domain::machine::permits::PermitClass;

#[test]
fn the_next_attempt_that_may_become_late_is_looked_at_in_time() {
    let mut machine = machine();
    machine.window.set_max(2);
    let record = {
        machine.on_deliveries([delivery(1)], Missed::None);
        machine.start_one(NOW).unwrap();
        finish(&mut machine, NOW, 1, Answer::new(200))
    };
    machine.on_recorded(&record);
    machine.class = PermitClass::Prompt;
    machine.on_deliveries([delivery(2), delivery(3)], Missed::None);
    machine.start_one(NOW).unwrap();
    let half = NOW + Duration::from_millis(500);
    machine.start_one(half).unwrap();
    pump(&mut machine, at(1));
    assert_eq!(machine.next_wake(), Some(half + Duration::from_secs(1)));
}

#[test]
fn a_read_that_fails_is_made_again_a_second_later() {
    let mut machine = machine();
    machine.wait((NOW, DeliveryId::new(1)), None);
    let reads = pump(&mut machine, NOW);
    let [Action::Read(read @ Read::Due(_))] = &reads[..] else {
        panic!("{reads:?}");
    };
    machine.on_read_failed(NOW, read);
    let retries: Vec<_> = machine
        .waiting
        .iter()
        .map(|(key, retry)| (key.0, retry.at))
        .collect();
    assert_eq!(retries, [(at(1), at(1))]);
    assert_eq!(machine.next_wake(), Some(at(1)));
}

#[test]
fn only_pages_and_due_deliveries_bring_bodies() {
    assert!(!Read::Endpoint.brings_bodies());
    assert!(!Read::Waiting { limit: 1 }.brings_bodies());
    assert!(Read::Due(Vec::new()).brings_bodies());
}

#[test]
fn the_retries_due_last_are_left_to_the_store() {
    let mut machine = machine();
    let number = |number: usize| u64::try_from(number).unwrap();
    for one in 0..MAX_WAITING {
        machine.wait((at(number(one)), DeliveryId::new(number(one))), None);
    }
    assert!(!machine.unread.has_more(ReadKind::Waiting));
    let (later, latest) = (number(MAX_WAITING), number(MAX_WAITING) + 1);
    machine.wait((at(latest), DeliveryId::new(latest)), None);
    assert_eq!(machine.waiting.len(), MAX_WAITING);
    assert!(machine.unread.has_more(ReadKind::Waiting));
    machine.wait((at(later), DeliveryId::new(later)), None);
    assert_eq!(
        machine.waiting.len(),
        MAX_WAITING,
        "it is due after all others"
    );
    machine.wait((NOW, DeliveryId::new(5_000)), None);
    let first = machine.waiting.keys().nth(1).copied();
    assert_eq!(first, Some((NOW, DeliveryId::new(5_000))));
}

#[test]
fn what_was_forgotten_during_a_read_is_not_taken_in_by_it() {
    let mut machine = machine();
    machine.on_deliveries([], Missed::these([DeliveryId::new(1)]));
    let reads = pump(&mut machine, NOW);
    assert!(
        matches!(reads[..], [Action::Read(Read::Queued { .. })]),
        "{reads:?}"
    );
    assert!(machine.reads_deliveries());
    for id in 1..=3 {
        assert_eq!(machine.forget(&[DeliveryId::new(id)]), []);
    }
    machine.on_queued_read(page(vec![delivery(1), delivery(4)], 10));
    assert_eq!(machine.queue.len(), 1, "the first was forgotten");
    assert!(!machine.reads_deliveries());
    machine.wait((NOW, DeliveryId::new(5)), None);
    let reads = pump(&mut machine, NOW);
    assert!(
        matches!(reads[..], [Action::Read(Read::Due(_))]),
        "{reads:?}"
    );
    assert!(machine.reads_deliveries(), "deliveries are being read back");
}

#[test]
fn one_in_flight_is_not_forgotten() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1), delivery(2)], Missed::None);
    machine.start_one(NOW).unwrap();
    let ids = [1, 2].map(DeliveryId::new);
    assert_eq!(machine.forget(&ids), [ids[0]]);
    assert_eq!((machine.queue.len(), machine.status().queued), (0, 0));
    assert_eq!(machine.forget(&[ids[0]]), [ids[0]]);
}

#[test]
fn one_that_becomes_visible_late_counts_as_open() {
    let mut machine = machine();
    machine.on_deliveries([delivery(2)], Missed::None);
    assert_eq!(machine.status().queued, 1);
    machine.on_deliveries([delivery(1)], Missed::None);
    assert_eq!(machine.status().queued, 2);
    machine.on_deliveries([delivery(1)], Missed::None);
    assert_eq!(machine.status().queued, 2, "it is known");
}

#[test]
fn nothing_starts_while_settings_are_withheld() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1)], Missed::None);
    machine.withhold();
    assert!(machine.start_one(NOW).is_none());
    let policy = Arc::clone(&machine.policy);
    machine.configure(policy);
    assert!(machine.start_one(NOW).is_some());
}

#[test]
fn attempts_that_are_broken_off_give_their_permits_back() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1)], Missed::None);
    machine.start_one(NOW).unwrap();
    assert_eq!(machine.break_off().len(), 1);
    assert_eq!(machine.in_flight(), 0);
    assert_eq!(machine.break_off().len(), 0);
}

#[test]
fn the_end_of_a_hold_and_a_probe_are_told() {
    let mut machine = machine();
    let pump = |machine: &mut EndpointMachine, now| machine.pump(now, &mut Vec::new());
    machine.on_deliveries([delivery(1)], Missed::None);
    machine.start_one(NOW).unwrap();
    finish(&mut machine, NOW, 1, Answer::new(503).retry_after("60"));
    assert!(!pump(&mut machine, at(59)));
    assert!(
        pump(&mut machine, at(60)),
        "a hold ends, and no probe begins"
    );
    assert!(!pump(&mut machine, at(60)));
}
