mod agreement;
mod by_hand;
mod making_due;
mod memory;
mod resting;
mod standing;

use super::*;
use crate::domain::deliveries::answer::Answer;
use crate::domain::deliveries::attempt::{AttemptRecord, Exchange};
use crate::domain::deliveries::delivery::{Loaded, OpenDelivery, OpenPage, WaitingDelivery};
use crate::domain::deliveries::outcome::Failure;
use crate::domain::endpoint::stored::StoredEndpoint;
use crate::domain::machine::permits::PermitBook;
use crate::domain::machine::read::Found;
use crate::domain::machine::unread::Missed;
use crate::domain::policy::rate::RateLimit;
use crate::domain::policy::retry::{Progress, RetryPolicy};
use fastrand::Rng;

const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);

fn at(seconds: u64) -> Timestamp {
    NOW + Duration::from_secs(seconds)
}

fn delivery(id: u64) -> OpenDelivery {
    let alert = Alert::example(None);
    OpenDelivery {
        id: DeliveryId::new(id),
        alert: Arc::new(alert),
        progress: Progress::default(),
        due_at: None,
    }
}

fn page(deliveries: Vec<OpenDelivery>, limit: usize) -> OpenPage {
    let more = deliveries.len() == limit;
    OpenPage { deliveries, more }
}

fn all(deliveries: Vec<OpenDelivery>) -> Loaded {
    let rest = Vec::new();
    Loaded { deliveries, rest }
}

/// A machine without jitter that has read an empty store.
fn machine() -> EndpointMachine {
    let mut policy = EndpointPolicy::alert_service();
    policy.retry = RetryPolicy::three_in_two_minutes().without_jitter();
    let mut machine = EndpointMachine::new(
        WebhookUrl::parse("http://a.test/").unwrap(),
        Arc::new(policy),
        RetiredState::default(),
    );
    let reads = pump(&mut machine, NOW);
    assert!(matches!(
        reads[..],
        [
            Action::Read(Read::Endpoint),
            Action::Read(Read::Waiting { .. })
        ]
    ));
    machine.on_endpoint_read(&StoredEndpoint::default());
    machine.on_waiting_read(Vec::new(), 1);
    let reads = pump(&mut machine, NOW);
    assert!(matches!(reads[..], [Action::Read(Read::Queued { .. })]));
    machine.on_queued_read(page(Vec::new(), 1));
    machine
}

impl EndpointMachine {
    /// Starts the next attempt with a permit such as it would get.
    fn start_one(&mut self, now: Timestamp) -> Option<AttemptOrder> {
        let class = self.permit_class();
        let site = PermitBook::<()>::new(4).site(None, &"c".into(), 0);
        self.start(now, Charge { class, site })
    }
}

fn pump(machine: &mut EndpointMachine, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    machine.pump(now, &mut actions);
    actions
}

/// Ends an attempt with a status and returns its record.
fn finish(machine: &mut EndpointMachine, now: Timestamp, id: u64, answer: Answer) -> AttemptRecord {
    let exchange = Exchange {
        status: Some(answer.status),
        result: Ok(answer),
        ..Exchange::failed(Failure::Timeout)
    };
    let (mut actions, mut rng) = (Vec::new(), Rng::with_seed(1));
    machine.on_finished(now, DeliveryId::new(id), &exchange, &mut rng, &mut actions);
    let Some(Action::Record(record)) = actions.pop() else {
        panic!("an attempt is recorded")
    };
    record
}

#[test]
fn nothing_follows_from_an_attempt_before_it_is_on_record() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1)], Missed::None);
    assert_eq!(machine.start_one(NOW).unwrap().number, 1);
    let record = finish(&mut machine, NOW, 1, Answer::new(503));
    assert_eq!(record.next_attempt_at, Some(at(15)));
    assert!(!machine.is_drained());
    assert!(
        pump(&mut machine, at(60)).is_empty(),
        "its retry is not due while it is not on record"
    );
    assert!(machine.on_recorded(&record).is_some());
    assert!(
        matches!(&pump(&mut machine, at(60))[..], [Action::Read(Read::Due(ids))] if *ids == [DeliveryId::new(1)])
    );
    assert!(machine.on_recorded(&record).is_none(), "once");
}

#[test]
fn a_record_that_the_store_refuses_is_handed_out_again() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1)], Missed::None);
    machine.start_one(NOW).unwrap();
    let record = finish(&mut machine, NOW, 1, Answer::new(200));
    machine.on_record_refused(NOW, &record);
    assert!(pump(&mut machine, NOW).is_empty());
    assert_eq!(machine.next_wake(), Some(at(1)));
    assert!(matches!(&pump(&mut machine, at(1))[..], [Action::Record(again)] if *again == record));
}

/// A store may report a failure although it has done the work.
#[test]
fn a_record_that_is_handed_out_again_counts_once() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1), delivery(2)], Missed::None);
    machine.start_one(NOW).unwrap();
    let record = finish(&mut machine, NOW, 1, Answer::new(200));
    machine.on_record_refused(NOW, &record);
    let again = pump(&mut machine, at(1));
    assert!(matches!(&again[..], [Action::Record(again)] if *again == record));
    let counts = |machine: &EndpointMachine| {
        let status = machine.status();
        (
            status.attempts,
            status.delivered,
            status.queued,
            status.in_flight,
        )
    };
    assert_eq!(counts(&machine), (0, 0, 2, 0));
    assert!(machine.on_recorded(&record).is_some());
    assert_eq!(counts(&machine), (1, 1, 1, 0));
    for later in 2..5 {
        let actions = pump(&mut machine, at(later));
        let records = |action: &Action| matches!(action, Action::Record(_));
        assert!(!actions.iter().any(records), "{actions:?}");
        assert!(machine.on_recorded(&record).is_none());
        assert_eq!(counts(&machine), (1, 1, 1, 0));
    }
}

#[test]
fn an_attempt_that_takes_long_makes_its_endpoint_one_that_hangs_while_it_lasts() {
    let mut machine = machine();
    machine.class = PermitClass::Prompt;
    machine.on_deliveries([delivery(1)], Missed::None);
    machine.start_one(NOW).unwrap();
    assert_eq!(
        (machine.permit_class(), machine.next_wake()),
        (PermitClass::Prompt, Some(at(1)))
    );
    let late = pump(&mut machine, at(1));
    assert!(matches!(&late[..], [Action::CountAsLate(permits)] if permits.len() == 1));
    assert_eq!(machine.permit_class(), PermitClass::Hanging);
    let record = finish(&mut machine, at(3), 1, Answer::new(200));
    machine.on_recorded(&record);
    assert_eq!(
        machine.permit_class(),
        PermitClass::Unproven,
        "slow, but it answers"
    );
}

/// The class depends on how long an attempt holds its permit. A receiver that is in trouble and
/// answers so costs the others nothing.
#[test]
fn an_endpoint_is_prompt_once_it_has_answered_within_a_second_whatever_the_answer() {
    let failed = |failure| (Exchange::failed(failure), 10);
    let answered = |status| {
        let answer = Answer::new(status);
        Exchange {
            status: Some(status),
            result: Ok(answer),
            ..Exchange::failed(Failure::Timeout)
        }
    };
    let cases = [
        ((answered(200), 10), PermitClass::Prompt),
        ((answered(503), 999), PermitClass::Prompt),
        ((answered(410), 10), PermitClass::Prompt),
        (failed(Failure::Connect), PermitClass::Prompt),
        (failed(Failure::Panicked), PermitClass::Prompt),
        ((answered(200), 1_000), PermitClass::Unproven),
        ((answered(503), 14_999), PermitClass::Unproven),
        (
            (Exchange::failed(Failure::Timeout), 15_000),
            PermitClass::Hanging,
        ),
        (
            (Exchange::failed(Failure::Connect), 5_000),
            PermitClass::Hanging,
        ),
    ];
    for ((exchange, millis), class) in cases {
        let mut machine = machine();
        assert_eq!(machine.permit_class(), PermitClass::Unproven);
        machine.on_deliveries([delivery(1)], Missed::None);
        machine.start_one(NOW).unwrap();
        let end = NOW + Duration::from_millis(millis);
        let (mut actions, mut rng) = (Vec::new(), Rng::with_seed(1));
        machine.on_finished(end, DeliveryId::new(1), &exchange, &mut rng, &mut actions);
        assert_eq!(
            machine.permit_class(),
            class,
            "{exchange:?} after {millis} ms"
        );
        assert_eq!(machine.past().class, class, "the next subscriber knows");
    }
}

#[test]
fn large_bodies_wait_in_the_store_however_few_they_are() {
    let large = |id| {
        let mut alert = Alert::example(None);
        alert.body = vec![0; 300 * 1_024].into();
        OpenDelivery {
            alert: Arc::new(alert),
            ..delivery(id)
        }
    };
    let mut machine = machine();
    machine.on_deliveries((1..=20).map(large), Missed::None);
    assert_eq!((machine.queue.len(), machine.status().queued), (4, 20));
    assert!(pump(&mut machine, NOW).is_empty());
    for id in 1..=3 {
        machine.start_one(NOW).unwrap();
        let record = finish(&mut machine, NOW, id, Answer::new(502));
        machine.on_recorded(&record);
    }
    let reads = pump(&mut machine, NOW);
    let [Action::Read(Read::Queued { after, limit: 3 })] = reads[..] else {
        panic!("there is room for three: {reads:?}");
    };
    assert_eq!(after, DeliveryId::new(4));
    machine.on_queued_read(page((5..=7).map(large).collect(), 3));
    assert_eq!(machine.queue.len(), 4);
    let loads = pump(&mut machine, at(15));
    assert!(loads.is_empty(), "retries wait for room too: {loads:?}");
    machine.start_one(at(15)).unwrap();
    let loads = pump(&mut machine, at(15));
    assert!(
        matches!(&loads[..], [Action::Read(Read::Due(ids))] if ids.len() == 1),
        "{loads:?}"
    );
}

#[test]
fn after_a_hold_the_window_restarts_whatever_was_answered_meanwhile() {
    let mut machine = machine();
    machine.on_deliveries((1..=4).map(delivery), Missed::None);
    for id in 1..=2 {
        machine.start_one(NOW).unwrap();
        let record = finish(&mut machine, NOW, id, Answer::new(200));
        machine.on_recorded(&record);
    }
    machine.start_one(NOW).unwrap();
    machine.start_one(NOW).unwrap();
    let mut busy = Answer::new(503);
    busy.retry_after = Some("60".to_owned());
    let record = finish(&mut machine, NOW, 3, busy);
    machine.on_recorded(&record);
    let record = finish(&mut machine, at(1), 4, Answer::new(200));
    machine.on_recorded(&record);
    assert_eq!(machine.status().window, 2);
    pump(&mut machine, at(60));
    assert_eq!(machine.status().window, 1);
}

/// After an occasional large body, the deliveries behind it must not be read one by one.
#[test]
fn after_a_large_body_small_ones_are_read_in_pages_again() {
    let mut machine = machine();
    let mut alert = Alert::example(None);
    alert.body = vec![0; 1_024 * 1_024].into();
    let large = OpenDelivery {
        alert: Arc::new(alert),
        ..delivery(1)
    };
    machine.on_deliveries([large], Missed::None);
    machine.on_deliveries((2..=60).map(delivery), Missed::None);
    let mut reads = 0;
    let mut next = 2;
    for id in 1..=60 {
        machine.start_one(NOW).unwrap();
        let record = finish(&mut machine, NOW, id, Answer::new(200));
        machine.on_recorded(&record);
        for action in pump(&mut machine, NOW) {
            let Action::Read(Read::Queued { after, limit }) = action else {
                panic!("nothing but reads is to be done: {action:?}")
            };
            reads += 1;
            next = after.get() + 1;
            let ids = next..=60.min(after.get() + limit as u64);
            machine.on_queued_read(page(ids.map(delivery).collect(), limit));
        }
    }
    assert!(next > 2 && reads < 30, "{reads} reads");
    assert_eq!(machine.status().queued, 0);
}

#[test]
fn a_redelivery_behind_others_is_counted_once() {
    let mut machine = machine();
    let mut policy = EndpointPolicy::alert_service();
    policy.ordering = Ordering::Fifo;
    machine.configure(Arc::new(policy));
    machine.on_deliveries([delivery(9)], Missed::None);
    machine.on_redelivered(vec![DeliveryId::new(8)]);
    let loads = pump(&mut machine, NOW);
    assert!(matches!(&loads[..], [Action::Read(Read::Due(ids))] if ids.len() == 1));
    machine.on_loaded(&[DeliveryId::new(8)], all(vec![delivery(8)]));
    machine.on_deliveries([], Missed::these([DeliveryId::new(1)]));
    let reads = pump(&mut machine, NOW);
    assert!(
        matches!(reads[..], [Action::Read(Read::Queued { .. })]),
        "{reads:?}"
    );
    machine.on_queued_read(page(vec![delivery(10)], 100));
    assert_eq!(machine.status().queued, 3);
}

/// On an ordered endpoint a due retry is always read, even if deliveries behind others take up all
/// room.
#[test]
fn the_retry_that_others_wait_for_is_read_though_there_is_no_room() {
    let mut machine = machine();
    let mut policy = EndpointPolicy::alert_service();
    policy.ordering = Ordering::Fifo;
    policy.retry = RetryPolicy::three_in_two_minutes().without_jitter();
    machine.configure(Arc::new(policy));
    machine.on_deliveries([delivery(1)], Missed::None);
    machine.start_one(NOW).unwrap();
    let record = finish(&mut machine, NOW, 1, Answer::new(503));
    machine.on_recorded(&record);
    machine.on_deliveries((2..=MAX_BUFFERED as u64 + 50).map(delivery), Missed::None);
    assert_eq!(machine.room(), 0);
    machine.on_redelivered(vec![DeliveryId::new(1), DeliveryId::new(2)]);
    let loads = pump(&mut machine, at(15));
    assert!(
        matches!(&loads[..], [Action::Read(Read::Due(ids))] if *ids == [DeliveryId::new(1)]),
        "{loads:?}"
    );
    assert!(pump(&mut machine, at(16)).is_empty(), "it is being read");
    let due = OpenDelivery {
        due_at: Some(at(15)),
        ..delivery(1)
    };
    machine.on_loaded(&[DeliveryId::new(1)], all(vec![due]));
    assert_eq!(
        machine.start_one(at(16)).unwrap().delivery_id,
        DeliveryId::new(1)
    );
}

/// Deliveries for which a page had no room wait with their due times, and are read once there is
/// room.
#[test]
fn what_a_page_had_no_room_for_is_asked_for_again() {
    let mut machine = machine();
    machine.on_deliveries((1..=3).map(delivery), Missed::None);
    machine.window.set_max(32);
    for id in 1..=2 {
        machine.start_one(NOW).unwrap();
        let record = finish(&mut machine, NOW, id, Answer::new(503));
        machine.on_recorded(&record);
    }
    let loads = pump(&mut machine, at(15));
    let both = [1, 2].map(DeliveryId::new);
    assert!(
        matches!(&loads[..], [Action::Read(Read::Due(ids))] if *ids == both),
        "{loads:?}"
    );
    let due = OpenDelivery {
        due_at: Some(at(15)),
        ..delivery(1)
    };
    let (deliveries, rest) = (vec![due], vec![DeliveryId::new(2)]);
    machine.on_loaded(&both, Loaded { deliveries, rest });
    assert_eq!(machine.status().queued, 3, "the other is open");
    let loads = pump(&mut machine, at(15));
    assert!(
        matches!(&loads[..], [Action::Read(Read::Due(ids))] if *ids == both[1..]),
        "{loads:?}"
    );
}

#[test]
fn what_does_not_fit_stays_in_the_store_until_there_is_room() {
    let mut machine = machine();
    machine.on_deliveries((1..=300).map(delivery), Missed::None);
    assert_eq!(machine.status().queued, 300);
    assert!(
        pump(&mut machine, NOW).is_empty(),
        "half of the buffer must be free"
    );
    for id in 1..=129 {
        machine.start_one(NOW).unwrap();
        let record = finish(&mut machine, NOW, id, Answer::new(200));
        machine.on_recorded(&record);
    }
    let actions = pump(&mut machine, NOW);
    let [Action::Read(Read::Queued { after, limit: 129 })] = actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(after, DeliveryId::new(256));
    machine.on_deliveries([delivery(301)], Missed::None);
    machine.on_queued_read(page((257..=300).map(delivery).collect(), 129));
    assert!(
        pump(&mut machine, NOW).is_empty(),
        "it is filled well enough"
    );
    assert_eq!(
        machine.status().queued,
        172,
        "301 is known, though it came during the read"
    );
    for id in 130..=180 {
        machine.start_one(NOW).unwrap();
        let record = finish(&mut machine, NOW, id, Answer::new(200));
        machine.on_recorded(&record);
    }
    let actions = pump(&mut machine, NOW);
    assert!(
        matches!(actions[..], [Action::Read(Read::Queued { .. })]),
        "and read with the next page"
    );
}

#[test]
fn a_503_with_retry_after_holds_everything_and_wakes_on_time() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1), delivery(2)], Missed::None);
    machine.start_one(NOW).unwrap();
    let record = finish(&mut machine, NOW, 1, Answer::new(503).retry_after("8"));
    machine.on_recorded(&record);
    assert!(!machine.can_start(NOW));
    assert_eq!(
        machine.status().state,
        EndpointState::RateLimited { until: at(8) }
    );
    assert!(pump(&mut machine, at(2)).is_empty());
    assert_eq!(machine.next_wake(), Some(at(8)));
    let mut actions = Vec::new();
    assert!(
        machine.pump(at(8), &mut actions),
        "the end of a hold is news"
    );
    assert!(
        matches!(&actions[..], [Action::Read(Read::Due(ids))] if ids.len() == 1),
        "the held one is due too"
    );
    assert!(!machine.can_start(at(8)), "and goes first");
    let due = OpenDelivery {
        due_at: Some(at(8)),
        ..delivery(1)
    };
    machine.on_loaded(&[DeliveryId::new(1)], all(vec![due]));
    assert_eq!(
        machine.start_one(at(8)).unwrap().delivery_id,
        DeliveryId::new(1)
    );
}

/// The store fails to reserve an attempt, and then the endpoint is paused. This caused one wake-up
/// after another.
#[test]
fn a_store_that_is_asked_again_wakes_nobody_who_cannot_ask() {
    let mut machine = machine();
    let limited = EndpointPolicy {
        rate_limit: Some(RateLimit::new(1, Duration::from_mins(1))),
        ..EndpointPolicy::alert_service()
    };
    machine.configure(Arc::new(limited));
    machine.on_deliveries([delivery(1)], Missed::None);
    assert!(matches!(pump(&mut machine, NOW)[..], [Action::Agree(_)]));
    assert!(!machine.can_start(NOW), "nothing starts before it is noted");
    machine.on_agree_failed(NOW);
    assert!(pump(&mut machine, NOW).is_empty());
    assert_eq!(machine.next_wake(), Some(at(1)));
    machine.end_change(NOW, Some(RunChange::Pause(Arc::default())), &mut Vec::new());
    assert!(pump(&mut machine, at(1)).is_empty());
    assert!(machine.next_wake().is_none_or(|wake| wake > at(1)));
    machine.end_change(at(2), Some(RunChange::Resume), &mut Vec::new());
    pump(&mut machine, at(2));
    machine.on_loaded(&[DeliveryId::new(1)], all(vec![delivery(1)]));
    assert!(matches!(pump(&mut machine, at(2))[..], [Action::Agree(_)]));
    machine.on_agreed();
    assert_eq!(machine.start_one(at(2)).unwrap().number, 1);
}

#[test]
fn a_redelivery_whose_id_was_passed_is_read_by_its_id() {
    let mut machine = machine();
    machine.on_deliveries([delivery(9)], Missed::None);
    machine.on_redelivered(vec![DeliveryId::new(8)]);
    let actions = pump(&mut machine, NOW);
    assert!(matches!(&actions[..], [Action::Read(Read::Due(ids))] if *ids == [DeliveryId::new(8)]));
    machine.on_loaded(&[DeliveryId::new(8)], all(vec![delivery(8)]));
    assert_eq!(machine.status().queued, 2);
    // A later id is read in its turn.
    machine.on_redelivered(vec![DeliveryId::new(12)]);
    assert!(matches!(
        pump(&mut machine, NOW)[..],
        [Action::Read(Read::Queued { .. })]
    ));
}

#[test]
fn a_waiting_delivery_is_not_taken_in_twice_by_a_read_that_comes_late() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1)], Missed::None);
    machine.start_one(NOW).unwrap();
    let record = finish(&mut machine, NOW, 1, Answer::new(503));
    machine.on_recorded(&record);
    let stale = WaitingDelivery {
        id: DeliveryId::new(1),
        due_at: at(5),
        company_id: None,
    };
    machine.on_waiting_read(vec![stale], 10);
    assert!(
        pump(&mut machine, at(5)).is_empty(),
        "only its latest due time counts"
    );
    assert!(
        matches!(&pump(&mut machine, at(15))[..], [Action::Read(Read::Due(ids))] if ids.len() == 1)
    );
}

/// A delivery was taken in with its old due time, and attempted again at once (simulated seed
/// 17677).
#[test]
fn what_is_recorded_during_a_read_is_not_taken_in_as_it_was_before() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1), delivery(2)], Missed::None);
    machine.start_one(NOW).unwrap();
    let record = finish(&mut machine, NOW, 1, Answer::new(503));
    machine.unread.note(ReadKind::Waiting);
    let reads = pump(&mut machine, NOW);
    assert!(
        matches!(reads[..], [Action::Read(Read::Waiting { .. })]),
        "{reads:?}"
    );
    // The store records it before the read is answered; it is left to the store.
    machine.on_recorded(&record).unwrap();
    let old = WaitingDelivery {
        id: DeliveryId::new(1),
        due_at: NOW,
        company_id: None,
    };
    machine.on_waiting_read(vec![old.clone()], 100);
    assert_eq!(loads(&mut machine, NOW), 0, "it is due in 15 s");
    let new = WaitingDelivery {
        due_at: at(15),
        ..old
    };
    machine.on_waiting_read(vec![new], 100);
    assert_eq!(loads(&mut machine, at(14)), 0);
    assert_eq!(loads(&mut machine, at(15)), 1);
}

/// Returns the number of deliveries to read back.
fn loads(machine: &mut EndpointMachine, now: Timestamp) -> usize {
    let actions = pump(machine, now);
    let loads = actions.iter().map(|action| match action {
        Action::Read(Read::Due(ids)) => ids.len(),
        _ => 0,
    });
    loads.sum()
}

#[test]
fn an_endpoint_at_rest_needs_no_waking() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1)], Missed::None);
    machine.start_one(NOW).unwrap();
    let record = finish(&mut machine, NOW, 1, Answer::new(200));
    machine.on_recorded(&record);
    pump(&mut machine, at(1));
    let rest_at = machine.next_wake().unwrap();
    assert!(matches!(pump(&mut machine, rest_at)[..], [Action::Rest]));
    assert_eq!(machine.next_wake(), None);
}

#[test]
fn one_started_again_by_hand_that_a_read_found_first_is_attempted_once() {
    let mut machine = machine();
    machine.on_deliveries([], Missed::these([DeliveryId::new(1)]));
    pump(&mut machine, NOW);
    machine.on_queued_read(page(vec![delivery(11)], 100));
    let again = |machine: &mut EndpointMachine| {
        machine.on_redelivered(vec![DeliveryId::new(11)]);
        pump(machine, NOW)
    };
    let actions = again(&mut machine);
    assert!(actions.is_empty(), "it is in the queue: {actions:?}");
    machine.start_one(NOW).unwrap();
    let actions = again(&mut machine);
    assert!(actions.is_empty(), "it is in flight: {actions:?}");
    let record = finish(&mut machine, NOW, 11, Answer::new(503));
    machine.on_redelivered(vec![DeliveryId::new(11)]);
    machine.on_recorded(&record);
    let actions = again(&mut machine);
    assert!(actions.is_empty(), "it waits for its retry: {actions:?}");
    assert_eq!(machine.status().queued, 1);
}

#[test]
fn a_lane_opens_when_what_closed_it_is_gone() {
    let mut policy = EndpointPolicy::alert_service();
    policy.ordering = Ordering::Fifo;
    let url = WebhookUrl::parse("http://a.test/").unwrap();
    let mut machine = EndpointMachine::new(url, Arc::new(policy), RetiredState::default());
    pump(&mut machine, NOW);
    machine.on_endpoint_read(&StoredEndpoint {
        open: 1,
        ..StoredEndpoint::default()
    });
    let waiting = WaitingDelivery {
        id: DeliveryId::new(1),
        due_at: at(5),
        company_id: None,
    };
    machine.on_waiting_read(vec![waiting], 1_000);
    pump(&mut machine, NOW);
    machine.on_queued_read(page(Vec::new(), 100));
    machine.on_deliveries([delivery(2)], Missed::None);
    pump(&mut machine, at(6));
    assert!(
        machine.start_one(at(6)).is_none(),
        "it waits behind the first"
    );
    machine.on_loaded(&[DeliveryId::new(1)], all(Vec::new()));
    let next = machine.start_one(at(6)).map(|order| order.delivery_id);
    assert_eq!(next, Some(DeliveryId::new(2)));
}

#[test]
fn a_record_that_is_handed_out_again_disables_nothing_that_was_resumed_since() {
    let mut policy = EndpointPolicy::alert_service();
    policy.disable.on_gone = true;
    for refused_first in [true, false] {
        let mut machine = machine();
        machine.configure(Arc::new(policy.clone()));
        machine.on_deliveries([delivery(1)], Missed::None);
        machine.start_one(NOW).unwrap();
        let exchange = Exchange {
            status: Some(410),
            result: Ok(Answer::new(410)),
            ..Exchange::failed(Failure::Timeout)
        };
        let (mut actions, mut rng) = (Vec::new(), Rng::with_seed(1));
        machine.on_finished(NOW, DeliveryId::new(1), &exchange, &mut rng, &mut actions);
        let [Action::TellDisabled(_), Action::Record(record)] = &actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!(record.disabled, Some(DisabledReason::Gone));
        let since = machine.status().stopped.and_then(|stopped| stopped.at);
        assert_eq!(since, Some(record.summary.at));
        if refused_first {
            machine.on_record_refused(NOW, record);
            machine.end_change(NOW, Some(RunChange::Resume), &mut Vec::new());
        } else {
            machine.end_change(NOW, Some(RunChange::Resume), &mut Vec::new());
            machine.on_record_refused(NOW, record);
        }
        let again = pump(&mut machine, at(1));
        assert!(matches!(&again[..], [Action::Record(record)] if record.disabled.is_none()));
    }
}

/// An attempt recorded while a change is being written might be written before it or after.
#[test]
fn an_attempt_that_ends_while_a_change_is_written_is_recorded_after_it() {
    let mut policy = EndpointPolicy::alert_service();
    policy.disable.on_gone = true;
    for written in [true, false] {
        let mut machine = machine();
        machine.configure(Arc::new(policy.clone()));
        machine.on_deliveries([delivery(1)], Missed::None);
        machine.start_one(NOW).unwrap();
        machine.begin_change();
        let (mut actions, mut rng) = (Vec::new(), Rng::with_seed(1));
        let gone = Exchange {
            status: Some(410),
            result: Ok(Answer::new(410)),
            ..Exchange::failed(Failure::Timeout)
        };
        machine.on_finished(NOW, DeliveryId::new(1), &gone, &mut rng, &mut actions);
        assert!(matches!(&actions[..], [Action::TellDisabled(_)]));
        assert!(pump(&mut machine, at(5)).is_empty());
        assert!(machine.next_wake().is_none_or(|wake| wake > at(5)));
        let change = written.then_some(RunChange::Resume);
        machine.end_change(at(5), change, &mut Vec::new());
        let recorded = pump(&mut machine, at(5));
        let [Action::Record(record)] = &recorded[..] else {
            panic!("{recorded:?}")
        };
        let reason = (!written).then_some(DisabledReason::Gone);
        assert_eq!(
            (
                record.disabled,
                machine.past().run.disabled.map(|now| now.reason)
            ),
            (reason, reason)
        );
    }
}

/// Regression: what was ended by hand while it was being attempted was looked for again after its
/// attempt was recorded, and counted twice.
#[test]
fn a_delivery_that_was_recorded_before_it_is_forgotten_is_counted_once() {
    let mut machine = machine();
    machine.on_deliveries([delivery(1), delivery(2)], Missed::None);
    let id = machine.start_one(NOW).unwrap().delivery_id;
    assert_eq!(machine.forget(&[id]), [id], "it is in flight");
    let record = finish(&mut machine, NOW, id.get(), Answer::new(200));
    machine.on_recorded(&record);
    assert_eq!(machine.forget(&[id]), []);
    let status = machine.status();
    assert_eq!(
        (status.delivered, status.dead_lettered, status.queued),
        (1, 0, 1)
    );
}

/// Regression: one that rested while the store could not be read was never asked to retire.
#[test]
fn an_answer_of_the_store_ends_a_rest() {
    let mut machine = machine();
    pump(&mut machine, NOW);
    let rest_at = machine.next_wake().unwrap();
    assert!(matches!(pump(&mut machine, rest_at)[..], [Action::Rest]));
    assert!(machine.is_at_rest());
    machine.on_read(&Read::Due(Vec::new()), Found::Due(all(Vec::new())));
    assert!(!machine.is_at_rest());
    pump(&mut machine, rest_at);
    let again = machine.next_wake().unwrap();
    assert!(matches!(pump(&mut machine, again)[..], [Action::Rest]));
}

#[test]
fn a_redelivered_one_that_could_not_be_read_does_not_open_the_lane_of_another() {
    let mut machine = machine();
    let mut policy = EndpointPolicy::alert_service();
    policy.ordering = Ordering::Fifo;
    machine.configure(Arc::new(policy));
    machine.on_deliveries([delivery(6), delivery(7), delivery(8)], Missed::None);
    machine.start_one(NOW).unwrap();
    let record = finish(&mut machine, NOW, 6, Answer::new(200));
    machine.on_recorded(&record);
    assert_eq!(
        machine.start_one(NOW).unwrap().delivery_id,
        DeliveryId::new(7)
    );
    assert!(machine.window.size() > 1);
    // Its id was already passed. At first the store cannot read it; later it is gone.
    machine.on_redelivered(vec![DeliveryId::new(3)]);
    assert!(matches!(
        &pump(&mut machine, NOW)[..],
        [Action::Read(Read::Due(_))]
    ));
    machine.on_load_failed(NOW, &[DeliveryId::new(3)]);
    let again = pump(&mut machine, at(1));
    assert!(
        again
            .iter()
            .any(|action| matches!(action, Action::Read(Read::Due(_))))
    );
    machine.on_loaded(&[DeliveryId::new(3)], all(Vec::new()));
    assert!(!machine.can_start(at(1)), "7 is still in flight");
}

#[test]
fn what_is_forgotten_is_not_attempted_wherever_it_is() {
    let mut machine = machine();
    machine.on_deliveries((1..=6).map(delivery), Missed::None);
    // Two wait for retries, one is in flight, three are queued.
    for _ in 0..2 {
        let order = machine.start_one(NOW).unwrap();
        let record = finish(&mut machine, NOW, order.delivery_id.get(), Answer::new(503));
        assert!(machine.on_recorded(&record).is_some());
    }
    assert_eq!(
        machine.start_one(NOW).unwrap().delivery_id,
        DeliveryId::new(3)
    );
    assert_eq!(machine.status().queued, 5);
    let ids = [1, 3, 4, 6, 7].map(DeliveryId::new);
    assert_eq!(machine.forget(&ids), [DeliveryId::new(3)], "in flight");
    machine.count_ended(4);
    // A read in progress, and a late hand-over by the router.
    machine.on_queued_read(page(vec![delivery(7), delivery(8)], 10));
    machine.on_deliveries([delivery(6), delivery(7)], Missed::None);
    let loaded = |id| OpenDelivery {
        due_at: Some(at(15)),
        ..delivery(id)
    };
    machine.on_loaded(&[], all(vec![loaded(1)]));
    let waiting = WaitingDelivery {
        id: DeliveryId::new(1),
        due_at: at(15),
        company_id: None,
    };
    machine.on_waiting_read(vec![waiting], 10);
    let record = finish(&mut machine, NOW, 3, Answer::new(200));
    machine.on_recorded(&record);
    let mut started = Vec::new();
    for second in 0..30 {
        let actions = pump(&mut machine, at(second));
        for action in actions {
            if let Action::Read(Read::Due(ids)) = action {
                let found = ids.iter().map(|id| loaded(id.get())).collect();
                machine.on_loaded(&ids, all(found));
            }
        }
        while let Some(order) = machine.start_one(at(second)) {
            let id = order.delivery_id.get();
            started.push(id);
            let record = finish(&mut machine, at(second), id, Answer::new(200));
            machine.on_recorded(&record);
        }
    }
    assert_eq!(started, [5, 8, 2]);
    let status = machine.status();
    assert_eq!(
        (status.queued, status.delivered, status.dead_lettered),
        (0, 4, 4)
    );
}
