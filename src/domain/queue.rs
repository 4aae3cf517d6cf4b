//! The deliveries of one endpoint that may start, in the order that the endpoint asked for.
//!
//! An ordered endpoint has lanes: one for all its deliveries, or one per company. A lane lets one delivery through and keeps the
//! others until that one is delivered or given up, however many retries it takes.

use std::collections::{BTreeMap, VecDeque};

use super::delivery::OpenDelivery;
use super::endpoint::Ordering;
use super::id::{CompanyId, DeliveryId};

/// Deliveries that wait to be attempted, with their alerts.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    ready: VecDeque<OpenDelivery>,
    /// Every lane that has a delivery past its gate. Empty for unordered endpoints.
    lanes: BTreeMap<Option<CompanyId>, Lane>,
    behind: usize,
}

#[derive(Debug, Default)]
struct Lane {
    /// How many have been let through and have not ended. Several only where they were let through before the endpoint asked for an order.
    past_gate: usize,
    behind: VecDeque<OpenDelivery>,
}

impl Queue {
    /// Adds a delivery that was never attempted, behind those before it.
    pub(crate) fn push(&mut self, ordering: Ordering, delivery: OpenDelivery) {
        let Some(lane) = lane_of(ordering, delivery.alert.company_id.as_ref()) else {
            self.ready.push_back(delivery);
            return;
        };
        let lane = self.lanes.entry(lane).or_default();
        if lane.past_gate > 0 {
            lane.behind.push_back(delivery);
            self.behind += 1;
        } else {
            lane.past_gate = 1;
            self.ready.push_back(delivery);
        }
    }

    /// Adds a delivery whose retry is due: it has passed its lane's gate already and goes first.
    pub(crate) fn push_due(&mut self, delivery: OpenDelivery) {
        self.ready.push_front(delivery);
    }

    /// Closes the lane of a delivery that has passed its gate already: one that waits for a retry, as found at start, or that is under way.
    pub(crate) fn close_lane(&mut self, ordering: Ordering, company: Option<&CompanyId>) {
        if let Some(lane) = lane_of(ordering, company) {
            self.lanes.entry(lane).or_default().past_gate += 1;
        }
    }

    /// Notes that a delivery was delivered or given up. When no other of its lane is past the gate, the next one is let through.
    pub(crate) fn open_lane(&mut self, ordering: Ordering, company: Option<&CompanyId>) {
        let Some(key) = lane_of(ordering, company) else {
            return;
        };
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        lane.past_gate = lane.past_gate.saturating_sub(1);
        if lane.past_gate > 0 {
            return;
        }
        if let Some(next) = lane.behind.pop_front() {
            lane.past_gate = 1;
            self.behind -= 1;
            self.ready.push_back(next);
        } else {
            self.lanes.remove(&key);
        }
    }

    /// Takes the next delivery that may start.
    pub(crate) fn pop(&mut self) -> Option<OpenDelivery> {
        self.ready.pop_front()
    }

    /// Says whether no delivery may start.
    pub(crate) fn is_blocked(&self) -> bool {
        self.ready.is_empty()
    }

    /// Returns how many deliveries are in it, those behind a gate included.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.behind
    }

    /// Takes everything out, those past a gate first, and forgets all lanes.
    pub(crate) fn take_all(&mut self) -> Vec<OpenDelivery> {
        let lanes = std::mem::take(&mut self.lanes).into_values();
        let behind = lanes.flat_map(|lane| lane.behind);
        self.behind = 0;
        let mut all: Vec<OpenDelivery> = self.ready.drain(..).chain(behind).collect();
        all.sort_by_key(|delivery| delivery.id);
        all
    }

    /// Returns how many of these deliveries may start.
    pub(crate) fn count_among<T>(&self, ids: &BTreeMap<DeliveryId, T>) -> usize {
        if ids.is_empty() {
            return 0;
        }
        self.ready
            .iter()
            .filter(|delivery| ids.contains_key(&delivery.id))
            .count()
    }

    /// Says whether a delivery is in the queue. It looks through all of it.
    pub(crate) fn contains(&self, id: DeliveryId) -> bool {
        let behind = self.lanes.values().flat_map(|lane| &lane.behind);
        let mut queued = self.ready.iter().chain(behind);
        queued.any(|delivery| delivery.id == id)
    }

    /// Gives back memory that a burst took.
    pub(crate) fn shrink(&mut self) {
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
    }
}

/// Returns the lane of a delivery; `None` when the endpoint keeps no order. The lane of no company is `Some(None)`.
#[expect(
    clippy::option_option,
    reason = "whether there is a lane, and whose it is, are two questions"
)]
fn lane_of(ordering: Ordering, company: Option<&CompanyId>) -> Option<Option<CompanyId>> {
    match ordering {
        Ordering::Unordered => None,
        Ordering::Fifo => Some(None),
        Ordering::FifoPerCompany => Some(company.cloned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::alert::Alert;

    use crate::domain::retry::Progress;

    fn delivery(id: u64, company: Option<&str>) -> OpenDelivery {
        let alert = Alert::example(company);
        OpenDelivery {
            id: DeliveryId::new(id),
            alert: Arc::new(alert),
            progress: Progress::default(),
            due_at: None,
        }
    }

    fn queue(ordering: Ordering, companies: &[Option<&str>]) -> Queue {
        let mut queue = Queue::default();
        for (id, company) in (0..).zip(companies) {
            queue.push(ordering, delivery(id, *company));
        }
        queue
    }

    fn startable(queue: &mut Queue) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop())
            .map(|delivery| delivery.id.get())
            .collect()
    }

    #[test]
    fn unordered_deliveries_are_all_startable() {
        let mut queue = queue(Ordering::Unordered, &[None, Some("a"), None]);
        assert_eq!(startable(&mut queue), [0, 1, 2]);
    }

    #[test]
    fn fifo_lets_one_through_until_it_is_done() {
        let mut queue = queue(Ordering::Fifo, &[None, Some("a"), None]);
        assert_eq!(startable(&mut queue), [0]);
        queue.push_due(delivery(0, None));
        assert_eq!(startable(&mut queue), [0], "its retry goes first");
        queue.open_lane(Ordering::Fifo, None);
        assert_eq!(startable(&mut queue), [1]);
        assert_eq!(queue.len(), 1);
        queue.open_lane(Ordering::Fifo, Some(&"a".into()));
        assert_eq!(startable(&mut queue), [2]);
        queue.open_lane(Ordering::Fifo, None);
        assert!(queue.lanes.is_empty(), "an empty lane is forgotten");
    }

    #[test]
    fn companies_go_side_by_side_each_in_order() {
        let mut queue = queue(
            Ordering::FifoPerCompany,
            &[Some("a"), Some("a"), Some("b"), None, None],
        );
        assert_eq!(startable(&mut queue), [0, 2, 3]);
        queue.open_lane(Ordering::FifoPerCompany, Some(&"a".into()));
        assert_eq!(startable(&mut queue), [1]);
    }

    /// Three were under way when the endpoint began to ask for an order. Each of them, when it ended, let another one through.
    #[test]
    fn a_lane_opens_when_the_last_of_those_past_its_gate_has_ended() {
        let mut queue = Queue::default();
        for _ in 0..3 {
            queue.close_lane(Ordering::Fifo, None);
        }
        queue.push(Ordering::Fifo, delivery(1, None));
        queue.push(Ordering::Fifo, delivery(2, None));
        let mut startable_after = || {
            queue.open_lane(Ordering::Fifo, None);
            startable(&mut queue)
        };
        let let_through = [(); 5].map(|()| startable_after());
        assert_eq!(let_through, [vec![], vec![], vec![1], vec![2], vec![]]);
        assert!(queue.lanes.is_empty());
    }

    #[test]
    fn a_lane_that_waits_for_a_retry_is_closed_at_start() {
        let mut queue = Queue::default();
        queue.close_lane(Ordering::Fifo, None);
        queue.push(Ordering::Fifo, delivery(1, None));
        assert!(queue.is_blocked());
        queue.open_lane(Ordering::Fifo, None);
        assert_eq!(startable(&mut queue), [1]);
    }
}
