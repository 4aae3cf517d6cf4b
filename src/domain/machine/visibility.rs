//! Ids that become visible late, late hand-overs, and reads older than recent events: in every
//! order each delivery is attempted until it is delivered, exactly once.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::*;
use crate::domain::deliveries::answer::Answer;
use crate::domain::deliveries::attempt::Exchange;
use crate::domain::deliveries::delivery::{Loaded, OpenDelivery, OpenPage, WaitingDelivery};
use crate::domain::deliveries::outcome::Failure;
use crate::domain::endpoint::stored::StoredEndpoint;
use crate::domain::machine::permits::PermitBook;
use crate::domain::machine::read::Found;
use crate::domain::machine::unread::Missed;
use crate::domain::policy::retry::{Progress, RetryPolicy};

/// An open delivery in the store.
#[derive(Clone, Copy)]
struct Row {
    visible: bool,
    due_at: Option<Timestamp>,
}

struct World {
    machine: EndpointMachine,
    now: Timestamp,
    rng: Rng,
    appended: u64,
    rows: BTreeMap<u64, Row>,
    /// Stored ids of which the machine was not told yet.
    untold: Vec<u64>,
    /// Reads in progress, with their results so far.
    reads: Vec<(Read, Option<Found>)>,
    in_flight: Vec<u64>,
    /// Attempts being recorded, and whether the store has written them.
    recording: Vec<(AttemptRecord, bool)>,
    delivered: BTreeSet<u64>,
}

fn delivery(id: u64, due_at: Option<Timestamp>) -> OpenDelivery {
    OpenDelivery {
        id: DeliveryId::new(id),
        alert: Arc::new(Alert::example(None)),
        progress: Progress::default(),
        due_at,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut policy = EndpointPolicy::alert_service();
        policy.retry = RetryPolicy::three_in_two_minutes();
        policy.ordering = match rng.u8(0..4) {
            0 => Ordering::Fifo,
            _ => Ordering::Unordered,
        };
        policy.max_in_flight = rng.u32(1..8);
        let url = WebhookUrl::parse("http://a.test/").unwrap();
        Self {
            machine: EndpointMachine::new(url, Arc::new(policy), RetiredState::default()),
            now: Timestamp::from_unix_millis(1_000_000),
            rng,
            appended: 0,
            rows: BTreeMap::new(),
            untold: Vec::new(),
            reads: Vec::new(),
            in_flight: Vec::new(),
            recording: Vec::new(),
            delivered: BTreeSet::new(),
        }
    }

    fn append(&mut self) {
        self.appended += 1;
        let visible = self.rng.u8(0..3) > 0;
        let due_at = None;
        self.rows.insert(self.appended, Row { visible, due_at });
        if visible {
            self.untold.push(self.appended);
        }
    }

    /// A transaction that took its ids before others commits after them.
    fn commit_late(&mut self) {
        let hidden = self.rows.iter().filter(|(_, row)| !row.visible);
        let hidden: Vec<u64> = hidden.map(|(id, _)| *id).collect();
        if let Some(id) = self.rng.choice(hidden) {
            self.rows.get_mut(&id).unwrap().visible = true;
            self.untold.push(id);
        }
    }

    fn tell(&mut self) {
        if self.untold.is_empty() {
            return;
        }
        // Those of one node arrive in order, those of several nodes in any order.
        let place = self.rng.usize(0..self.untold.len().min(3));
        let id = self.untold.remove(place);
        if self.rng.u8(0..4) == 0 {
            let missed = Missed::these([DeliveryId::new(id)]);
            self.machine.on_deliveries([], missed);
        } else {
            self.machine
                .on_deliveries([delivery(id, None)], Missed::None);
        }
    }

    fn find(&self, read: &Read) -> Found {
        let visible = self.rows.iter().filter(|(_, row)| row.visible);
        match read {
            Read::Endpoint => Found::Endpoint(StoredEndpoint {
                open: u64::try_from(visible.count()).unwrap(),
                ..StoredEndpoint::default()
            }),
            Read::Queued { after, limit } => {
                let queued = visible.filter(|(id, row)| row.due_at.is_none() && **id > after.get());
                let page = queued.take(*limit).map(|(id, _)| delivery(*id, None));
                let deliveries: Vec<_> = page.collect();
                let more = deliveries.len() == *limit;
                Found::Queued(OpenPage { deliveries, more })
            }
            Read::Waiting { limit } => {
                let mut waiting: Vec<_> = visible
                    .filter_map(|(id, row)| Some((row.due_at?, *id)))
                    .collect();
                waiting.sort_unstable();
                waiting.truncate(*limit);
                let waiting = waiting.into_iter().map(|(due_at, id)| WaitingDelivery {
                    id: DeliveryId::new(id),
                    due_at,
                    company_id: None,
                });
                Found::Waiting(waiting.collect())
            }
            Read::Due(ids) => {
                let open = |id: &DeliveryId| {
                    let row = self.rows.get(&id.get())?;
                    Some(delivery(id.get(), row.due_at))
                };
                Found::Due(Loaded {
                    deliveries: ids.iter().filter_map(open).collect(),
                    rest: Vec::new(),
                })
            }
        }
    }

    /// A read takes its snapshot of the store; its answer may arrive much later.
    fn look(&mut self) {
        let unseen = self.reads.iter().position(|(_, found)| found.is_none());
        if let Some(place) = unseen {
            let found = self.find(&self.reads[place].0);
            self.reads[place].1 = Some(found);
        }
    }

    fn answer(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let place = self.rng.usize(0..self.reads.len());
        let (read, found) = self.reads.remove(place);
        if self.rng.u8(0..10) == 0 {
            return self.machine.on_read_failed(self.now, &read);
        }
        let found = found.unwrap_or_else(|| self.find(&read));
        self.machine.on_read(&read, found);
    }

    fn start(&mut self) {
        let class = self.machine.permit_class();
        let site = PermitBook::<()>::new(4).site(None, &"c".into(), 0);
        while let Some(order) = self.machine.start(self.now, Charge { class, site }) {
            let id = order.delivery_id.get();
            let again = self.in_flight.contains(&id)
                || self.delivered.contains(&id)
                || self
                    .recording
                    .iter()
                    .any(|(record, _)| record.delivery_id == order.delivery_id);
            assert!(!again, "{id} is attempted again");
            self.in_flight.push(id);
        }
    }

    fn finish(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let id = self
            .in_flight
            .remove(self.rng.usize(0..self.in_flight.len()));
        // At most one failure per delivery, so that none is given up.
        let fails = self.rows[&id].due_at.is_none() && self.rng.u8(0..4) == 0;
        let answer = Answer::new(if fails { 503 } else { 200 });
        let exchange = Exchange {
            status: Some(answer.status),
            result: Ok(answer),
            ..Exchange::failed(Failure::Timeout)
        };
        let mut actions = Vec::new();
        let id = DeliveryId::new(id);
        self.machine
            .on_finished(self.now, id, &exchange, &mut self.rng, &mut actions);
        for action in actions {
            if let Action::Record(record) = action {
                self.recording.push((record, false));
            }
        }
    }

    fn write(&mut self) {
        if let Some((record, written)) = self.recording.iter_mut().find(|(_, written)| !written) {
            *written = true;
            let id = record.delivery_id.get();
            if let Some(at) = record.next_attempt_at {
                self.rows.get_mut(&id).unwrap().due_at = Some(at);
            } else {
                self.rows.remove(&id);
                assert!(self.delivered.insert(id), "{id} is delivered twice");
            }
        }
    }

    fn note(&mut self) {
        if let Some(place) = self.recording.iter().position(|(_, written)| *written) {
            let (record, _) = self.recording.remove(place);
            self.machine.on_recorded(&record);
        }
    }

    fn pump(&mut self) {
        let mut actions = Vec::new();
        self.machine.pump(self.now, &mut actions);
        for action in actions {
            match action {
                Action::Read(read) => self.reads.push((read, None)),
                Action::Agree(_) => self.machine.on_agreed(),
                _ => {}
            }
        }
    }

    fn step(&mut self) {
        match self.rng.u8(0..10) {
            0 | 1 => self.append(),
            2 => self.commit_late(),
            3 => self.tell(),
            4 => self.look(),
            5 => self.answer(),
            6 => self.start(),
            7 => self.finish(),
            8 => self.write(),
            _ => self.note(),
        }
        if self.rng.u8(0..20) == 0 {
            self.now = self.now + Duration::from_secs(self.rng.u64(1..20));
        }
        self.pump();
    }

    /// Adds nothing new; all deliveries must end.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.commit_late();
            self.tell();
            self.answer();
            self.start();
            self.finish();
            self.write();
            self.note();
            self.now = self.now + Duration::from_secs(1);
            self.pump();
            if self.rows.is_empty() && self.recording.is_empty() && self.untold.is_empty() {
                return;
            }
        }
        panic!(
            "never attempted: {:?}",
            self.rows.keys().collect::<Vec<_>>()
        );
    }
}

#[test]
fn an_id_that_becomes_visible_late_is_neither_lost_nor_doubled() {
    for seed in 0..600 {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..world.rng.u32(20..400) {
            world.step();
        }
        world.settle();
        let all = usize::try_from(world.appended).unwrap();
        assert_eq!(world.delivered.len(), all, "seed {seed}");
        for _ in 0..40 {
            world.answer();
            world.pump();
        }
        assert_eq!(world.machine.status().queued, 0, "seed {seed}");
    }
}
