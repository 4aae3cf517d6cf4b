//! The deliveries of one endpoint that may start, in the endpoint's order.
//!
//! An ordered endpoint has lanes: one for all its deliveries, or one per company. A lane lets one
//! delivery through its gate and keeps the others until that one is delivered or given up, however
//! many retries it takes. More than one is past the gate only if they were attempted before the
//! endpoint was set to keep an order. Then the oldest goes on, and the others wait for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::domain::deliveries::delivery::OpenDelivery;
use crate::domain::endpoint::place::Place;
use crate::domain::endpoint::policy::Ordering;
use crate::domain::value::id::{CompanyId, DeliveryId};

/// Deliveries waiting to be attempted, with their alerts.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    ready: VecDeque<OpenDelivery>,
    /// Lanes with a delivery past the gate. Empty for unordered endpoints.
    lanes: BTreeMap<Option<CompanyId>, Lane>,
    /// Number of deliveries that lanes hold back.
    behind: usize,
    /// Total size of all bodies, and size of the largest recent one.
    bytes: usize,
    largest: usize,
}

#[derive(Debug, Default)]
struct Lane {
    /// Deliveries that were let through and have not ended, wherever they are.
    past_gate: BTreeSet<DeliveryId>,
    /// Those of them whose retry is due, but that must wait for an older one.
    due: BTreeMap<DeliveryId, OpenDelivery>,
    behind: VecDeque<OpenDelivery>,
}

impl Lane {
    fn is_first(&self, id: DeliveryId) -> bool {
        self.past_gate.first().is_none_or(|first| *first >= id)
    }
}

impl Queue {
    /// Adds a delivery that was never attempted, behind the earlier ones.
    pub(crate) fn push(&mut self, ordering: Ordering, delivery: OpenDelivery) {
        self.weigh(&delivery);
        let Some(lane) = lane_of(ordering, delivery.alert.company_id.as_ref()) else {
            self.ready.push_back(delivery);
            return;
        };
        let lane = self.lanes.entry(lane).or_default();
        if lane.past_gate.is_empty() {
            lane.past_gate.insert(delivery.id);
            self.ready.push_back(delivery);
        } else {
            // The lowest id goes first, even if it becomes visible late.
            let place = lane.behind.partition_point(|other| other.id < delivery.id);
            lane.behind.insert(place, delivery);
            self.behind += 1;
        }
    }

    /// Adds a delivery whose retry is due. It has passed its lane's gate, so it goes before those
    /// that have not.
    pub(crate) fn push_due(&mut self, ordering: Ordering, delivery: OpenDelivery) {
        self.weigh(&delivery);
        let lane = lane_of(ordering, delivery.alert.company_id.as_ref());
        let lane = lane.and_then(|lane| self.lanes.get_mut(&lane));
        match lane.filter(|lane| !lane.is_first(delivery.id)) {
            Some(lane) => {
                lane.due.insert(delivery.id, delivery);
                self.behind += 1;
            }
            None => self.ready.push_front(delivery),
        }
    }

    /// Closes the lane of a delivery that has passed its gate: one found waiting for a retry at
    /// start, or one in flight.
    pub(crate) fn close_lane(
        &mut self,
        ordering: Ordering,
        company: Option<&CompanyId>,
        id: DeliveryId,
    ) {
        if let Some(lane) = lane_of(ordering, company) {
            self.lanes.entry(lane).or_default().past_gate.insert(id);
        }
    }

    /// Handles that a delivery was delivered or given up: the next one of its lane goes on.
    pub(crate) fn open_lane(
        &mut self,
        ordering: Ordering,
        company: Option<&CompanyId>,
        id: DeliveryId,
    ) {
        let Some(key) = lane_of(ordering, company) else {
            return;
        };
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        lane.past_gate.remove(&id);
        let next = match lane.past_gate.first() {
            Some(first) => lane.due.remove(first),
            None => lane.behind.pop_front(),
        };
        if let Some(next) = next {
            lane.past_gate.insert(next.id);
            self.behind -= 1;
            self.ready.push_back(next);
        } else if lane.past_gate.is_empty() {
            self.lanes.remove(&key);
        }
    }

    fn weigh(&mut self, delivery: &OpenDelivery) {
        let size = delivery.alert.body.len();
        self.bytes += size;
        self.largest = size.max(self.largest - self.largest / 8);
    }

    /// Returns the next delivery that may start.
    pub(crate) fn next(&self) -> Option<&OpenDelivery> {
        self.ready.front()
    }

    /// Takes the next delivery that may start.
    pub(crate) fn pop(&mut self) -> Option<OpenDelivery> {
        let next = self.ready.pop_front()?;
        self.bytes -= next.alert.body.len();
        Some(next)
    }

    /// Returns the total number of bytes of all bodies.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns `true` if this delivery need not wait for another one that has passed its lane's
    /// gate.
    pub(crate) fn is_next(
        &self,
        ordering: Ordering,
        company: Option<&CompanyId>,
        id: DeliveryId,
    ) -> bool {
        let lane = lane_of(ordering, company).and_then(|lane| self.lanes.get(&lane));
        lane.is_none_or(|lane| lane.is_first(id))
    }

    /// Returns how many deliveries as large as the largest recent one fit in `bytes`, and how many
    /// more fit beside those in the queue.
    pub(crate) fn room_within(&self, bytes: usize) -> (usize, usize) {
        let free = bytes.saturating_sub(self.bytes);
        let in_all = |bytes: usize| bytes.div_ceil(self.largest.max(1));
        (in_all(bytes), in_all(free))
    }

    /// Returns `true` if no delivery may start.
    pub(crate) fn is_blocked(&self) -> bool {
        self.ready.is_empty()
    }

    /// Returns the number of deliveries in the queue, including those behind a gate.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.behind
    }

    /// Takes out all deliveries, ordered by id, and forgets all lanes.
    pub(crate) fn take_all(&mut self) -> Vec<OpenDelivery> {
        let lanes = std::mem::take(&mut self.lanes).into_values();
        let behind = lanes.flat_map(|lane| lane.behind.into_iter().chain(lane.due.into_values()));
        (self.behind, self.bytes) = (0, 0);
        let mut all: Vec<OpenDelivery> = self.ready.drain(..).chain(behind).collect();
        all.sort_by_key(|delivery| delivery.id);
        all
    }

    /// Returns how many of these deliveries are in the queue.
    pub(crate) fn count_among<T>(&self, ids: &BTreeMap<DeliveryId, T>) -> usize {
        if ids.is_empty() {
            return 0;
        }
        let lanes = self.lanes.values();
        let behind = lanes.flat_map(|lane| lane.behind.iter().chain(lane.due.values()));
        self.ready
            .iter()
            .chain(behind)
            .filter(|delivery| ids.contains_key(&delivery.id))
            .count()
    }

    /// Returns where a delivery is in the queue; `None` if it is not there. Searches all of it.
    pub(crate) fn locate(&self, id: DeliveryId) -> Option<Place> {
        let mut ready = self.ready.iter();
        if let Some(ahead) = ready.position(|delivery| delivery.id == id) {
            let ahead = u64::try_from(ahead).unwrap_or(u64::MAX);
            return Some(Place::Queued { ahead });
        }
        let behind = |lane: &&Lane| {
            let mut behind = lane.behind.iter().chain(lane.due.values());
            behind.any(|delivery| delivery.id == id)
        };
        let lane = self.lanes.values().find(behind)?;
        let first = *lane.past_gate.first()?;
        Some(Place::Behind { first })
    }

    /// Returns `true` if a delivery is in the queue. Searches all of it.
    pub(crate) fn contains(&self, id: DeliveryId) -> bool {
        let lanes = self.lanes.values();
        let behind = lanes.flat_map(|lane| lane.behind.iter().chain(lane.due.values()));
        let mut queued = self.ready.iter().chain(behind);
        queued.any(|delivery| delivery.id == id)
    }

    /// Frees memory that a burst took.
    pub(crate) fn shrink(&mut self) {
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
    }
}

/// Returns the lane of a delivery; `None` if the endpoint keeps no order. The lane of deliveries
/// without a company is `Some(None)`.
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
    use crate::domain::deliveries::alert::Alert;

    use crate::domain::policy::retry::Progress;

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
        queue.push_due(Ordering::Fifo, delivery(0, None));
        assert_eq!(startable(&mut queue), [0], "its retry goes first");
        queue.open_lane(Ordering::Fifo, None, DeliveryId::new(0));
        assert_eq!(startable(&mut queue), [1]);
        assert_eq!(queue.len(), 1);
        queue.open_lane(Ordering::Fifo, Some(&"a".into()), DeliveryId::new(1));
        assert_eq!(startable(&mut queue), [2]);
        queue.open_lane(Ordering::Fifo, None, DeliveryId::new(2));
        assert!(queue.lanes.is_empty(), "an empty lane is forgotten");
    }

    #[test]
    fn companies_go_side_by_side_each_in_order() {
        let mut queue = queue(
            Ordering::FifoPerCompany,
            &[Some("a"), Some("a"), Some("b"), None, None],
        );
        assert_eq!(startable(&mut queue), [0, 2, 3]);
        queue.open_lane(
            Ordering::FifoPerCompany,
            Some(&"a".into()),
            DeliveryId::new(0),
        );
        assert_eq!(startable(&mut queue), [1]);
    }

    /// Three were in flight when the endpoint was set to keep an order.
    #[test]
    fn those_past_the_gate_go_on_one_after_the_other_and_then_the_next_is_let_through() {
        let mut queue = Queue::default();
        for id in [3, 1, 2, 1] {
            queue.close_lane(Ordering::Fifo, None, DeliveryId::new(id));
        }
        queue.push(Ordering::Fifo, delivery(4, None));
        queue.push(Ordering::Fifo, delivery(5, None));
        queue.push_due(Ordering::Fifo, delivery(3, None));
        queue.push_due(Ordering::Fifo, delivery(2, None));
        assert_eq!((startable(&mut queue), queue.len()), (vec![], 4));
        let mut startable_after = |id| {
            queue.open_lane(Ordering::Fifo, None, DeliveryId::new(id));
            startable(&mut queue)
        };
        let let_through = [1, 2, 3, 4, 5].map(&mut startable_after);
        assert_eq!(let_through, [vec![2], vec![3], vec![4], vec![5], vec![]]);
        assert!(queue.lanes.is_empty() && queue.len() == 0);
    }

    #[test]
    fn a_lane_that_waits_for_a_retry_is_closed_at_start() {
        let mut queue = Queue::default();
        queue.close_lane(Ordering::Fifo, None, DeliveryId::new(0));
        queue.push(Ordering::Fifo, delivery(1, None));
        assert!(queue.is_blocked());
        queue.open_lane(Ordering::Fifo, None, DeliveryId::new(0));
        assert_eq!(startable(&mut queue), [1]);
    }
}
