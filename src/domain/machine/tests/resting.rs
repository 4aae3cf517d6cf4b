//! When an endpoint rests and retires, and what it leaves behind.

use super::*;
use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::endpoint::status::EndpointState;
use crate::domain::endpoint::status::Stopped;
use crate::domain::machine::resting::Rest;
use crate::domain::machine::run::{Disabling, Run, RunChange};
use crate::domain::policy::agreed::Hold;
use crate::domain::policy::breaker::Circuit;
use crate::domain::policy::health::DisabledReason;

fn open() -> Circuit {
    Circuit::Open {
        until: at(60),
        wait: Duration::from_mins(1),
    }
}

#[test]
fn an_endpoint_retires_only_if_nothing_is_left_of_it() {
    assert!(machine().may_retire());
    let changes: [fn(&mut EndpointMachine); 7] = [
        EndpointMachine::drain,
        EndpointMachine::begin_change,
        |machine| machine.on_deliveries([delivery(1)], Missed::None),
        |machine| machine.wait((at(100), DeliveryId::new(1)), None),
        |machine| machine.hold = Some(Hold::until(at(60))),
        |machine| machine.circuit = open(),
        |machine| machine.tally.open = 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut machine = machine();
        change(&mut machine);
        assert!(!machine.may_retire(), "change {number}");
    }
    let mut unread = machine();
    unread.unread.note(ReadKind::Waiting);
    assert!(!unread.may_retire());
}

#[test]
fn what_is_left_behind_is_gone_on_with() {
    let mut machine = machine();
    machine.tally.open = 3;
    machine.tally.delivered = 7;
    machine.hold = Some(Hold::until(at(60)));
    machine.circuit = Circuit::HalfOpen {
        wait: Duration::from_secs(9),
        probe: Some(DeliveryId::new(1)),
    };
    let past = machine.past();
    assert_eq!((past.tally.open, past.tally.delivered), (0, 7));
    assert!(past.is_known);
    let unprobed = Circuit::HalfOpen {
        wait: Duration::from_secs(9),
        probe: None,
    };
    assert_eq!(past.circuit, unprobed, "its probe ends with it");
    let mut status = past.status(machine.url.clone());
    assert_eq!(status.state, EndpointState::RateLimited { until: at(60) });
    assert_eq!(
        (status.held.map(|hold| hold.until), status.delivered),
        (Some(at(60)), 7)
    );
    let mut paused = past;
    let stopped = Arc::new(Stopped::at(at(2)));
    paused.run.apply(RunChange::Pause(Arc::clone(&stopped)));
    paused.reports_lost = 2;
    paused.tally.open = 5;
    paused.tally.consecutive_failures = 4;
    paused.tally.health.failing_since = Some(NOW);
    paused.tally.health.warned_at = Some(at(1));
    let last = AttemptSummary::new(3, NOW, Duration::ZERO);
    paused.tally.last_attempt = Some(last);
    status = paused.status(machine.url.clone());
    assert_eq!(status.state, EndpointState::Paused);
    assert_eq!(status.stopped.as_ref(), Some(&*stopped));
    assert_eq!((status.reports_lost, status.queued), (2, 5));
    assert_eq!(
        (status.consecutive_failures, status.last_attempt),
        (4, Some(last))
    );
    assert_eq!(
        (status.failing_since, status.warned_at),
        (Some(NOW), Some(at(1)))
    );
    assert_eq!(status.window, machine.window.size());
    let unread = EndpointMachine::new(machine.url.clone(), machine.policy, RetiredState::default());
    assert!(!unread.past().is_known);
}

#[test]
fn rest_comes_once_it_has_been_quiet_for_long() {
    let mut machine = machine();
    assert!(matches!(machine.rest, Rest::At(_)));
    machine.on_deliveries([delivery(1)], Missed::None);
    pump(&mut machine, NOW);
    assert_eq!(machine.rest, Rest::Awake, "it is not quiet");
    machine.start_one(NOW).unwrap();
    pump(&mut machine, at(1));
    assert_eq!(machine.rest, Rest::Awake);
    let record = finish(&mut machine, at(1), 1, Answer::new(200));
    machine.on_recorded(&record);
    pump(&mut machine, at(1));
    let Rest::At(rests_at) = machine.rest else {
        panic!("{:?}", machine.rest);
    };
    assert!(rests_at > at(1));
    machine.rest_soon(at(1));
    let Rest::At(soon) = machine.rest else {
        panic!("{:?}", machine.rest);
    };
    assert!(soon > at(1) && soon < rests_at);
    let rest = pump(&mut machine, soon);
    assert!(matches!(rest[..], [Action::Rest]), "{rest:?}");
    assert!(machine.is_at_rest());
}

#[test]
fn settings_that_cannot_be_read_disable_an_endpoint() {
    let mut run = Run::default();
    run.apply(RunChange::Disable(Disabling {
        reason: DisabledReason::Gone,
        stopped: Arc::default(),
    }));
    let reason = |run: Run| run.disabled.map(|disabling| disabling.reason);
    assert_eq!(reason(run.or_withheld(false)), Some(DisabledReason::Gone));
    let unreadable = Some(DisabledReason::Unreadable);
    assert_eq!(reason(run.or_withheld(true)), unreadable);
    assert_eq!(reason(Run::default().or_withheld(false)), None);
}

#[test]
fn what_is_in_flight_and_what_is_not_recorded_is_counted() {
    let mut machine = machine();
    machine.window.set_max(4);
    let record = {
        machine.on_deliveries([delivery(1)], Missed::None);
        machine.start_one(NOW).unwrap();
        finish(&mut machine, NOW, 1, Answer::new(200))
    };
    assert_eq!(
        (
            machine.under_way.in_flight(),
            machine.under_way.unrecorded()
        ),
        (0, 1)
    );
    machine.on_recorded(&record);
    let mut large = delivery(2);
    Arc::make_mut(&mut large.alert).body = bytes::Bytes::from_static(b"12345");
    machine.on_deliveries([large, delivery(3)], Missed::None);
    machine.start_one(NOW).unwrap();
    machine.start_one(NOW).unwrap();
    let under_way = &machine.under_way;
    assert_eq!((under_way.in_flight(), under_way.unrecorded()), (2, 0));
    assert_eq!(under_way.bytes(), 5);
}

#[test]
fn missed_deliveries_are_counted_from_the_lowest_id() {
    let from = |first, count| Missed::From {
        first: DeliveryId::new(first),
        count,
    };
    let both = from(5, 3).and(from(4, 2));
    assert_eq!(both, from(4, 5));
    assert_eq!(from(5, 3).and(Missed::None), from(5, 3));
    assert_eq!(Missed::unknown(), from(0, 0));
    assert_ne!(Missed::unknown(), Missed::None);
}
