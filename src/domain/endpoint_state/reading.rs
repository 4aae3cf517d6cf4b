//! What the store holds and what is in memory: deliveries that arrive, that are read, and that wait there.

use std::collections::BTreeSet;

use super::{
    Action, BYTES_AHEAD, Due, EndpointMachine, MAX_WAITING, Run, STORE_AGAIN_AFTER, WINDOW,
};
use crate::domain::delivery::{OpenDelivery, WaitingDelivery};
use crate::domain::endpoint::Ordering;
use crate::domain::health::Health;
use crate::domain::id::{CompanyId, DeliveryId};
use crate::domain::time::Timestamp;

impl EndpointMachine {
    /// Takes deliveries that were just accepted, in their order. What does not fit stays in the store.
    pub(crate) fn on_deliveries(&mut self, deliveries: impl IntoIterator<Item = OpenDelivery>) {
        for delivery in deliveries {
            if self.backlog.has_seen(delivery.id) || self.forgotten.contains(delivery.id) {
                continue;
            }
            self.tally.open += 1;
            if self.backlog.more_queued() || self.room() == 0 {
                self.backlog.note_queued();
            } else {
                self.backlog.see(delivery.id);
                self.queue.push(self.policy.ordering, delivery);
            }
        }
        self.rest_at = None;
    }

    /// Takes what the store knows of the endpoint: how many deliveries are open, until when it is held back, and since when it fails.
    pub(crate) fn on_endpoint_read(
        &mut self,
        open: u64,
        held_until: Option<Timestamp>,
        health: Health,
    ) {
        self.backlog.endpoint_read();
        if self.tally.health == Health::default() {
            self.tally.health = health;
        }
        self.hold_until = self.hold_until.max(held_until);
        // A count that comes late counts deliveries that have ended since; once all is in memory it is known better.
        if self.backlog.more_queued() || self.backlog.more_waiting() {
            self.tally.open = self.tally.open.max(open);
        }
    }

    /// Notes that `Action::ReadEndpoint` failed: it is tried again a little later.
    pub(crate) fn on_endpoint_read_failed(&mut self, now: Timestamp) {
        self.backlog.endpoint_read_failed(now + STORE_AGAIN_AFTER);
    }

    /// Notes that the store holds `count` deliveries more than this machine was told of.
    pub(crate) fn on_backlog(&mut self, count: u64) {
        self.tally.open += count;
        self.backlog.note_queued();
        self.rest_at = None;
    }

    /// Takes what `Action::ReadQueued` found.
    pub(crate) fn on_queued_read(&mut self, deliveries: Vec<OpenDelivery>, limit: usize) {
        self.backlog.queued_read(deliveries.len() == limit);
        for delivery in deliveries {
            if !self.backlog.has_seen(delivery.id) {
                self.backlog.see(delivery.id);
                if !self.forgotten.contains(delivery.id) {
                    self.queue.push(self.policy.ordering, delivery);
                }
            }
        }
        self.correct_count();
    }

    /// Takes what `Action::ReadWaiting` found.
    pub(crate) fn on_waiting_read(&mut self, deliveries: Vec<WaitingDelivery>, limit: usize) {
        self.backlog.waiting_read(deliveries.len() == limit);
        // What was read may be older than what is known: a delivery may wait for a later retry by now.
        let waiting: BTreeSet<DeliveryId> = self.waiting.keys().map(|(_, id)| *id).collect();
        let mut found = false;
        for WaitingDelivery {
            id,
            due_at,
            company_id,
        } in deliveries
        {
            let known =
                self.due.contains_key(&id) || self.under_way.contains(id) || waiting.contains(&id);
            if !known && !self.forgotten.contains(id) {
                found = true;
                self.waiting.insert((due_at, id), Due::retry(company_id));
                self.spill();
            }
        }
        if found && self.policy.ordering != Ordering::Unordered {
            // What is in the queue comes after these.
            self.reorder(self.policy.ordering);
        }
        self.correct_count();
    }

    /// Notes that `Action::ReadQueued` failed: it is tried again a little later.
    pub(crate) fn on_queued_read_failed(&mut self, now: Timestamp) {
        self.backlog.queued_read_failed(now + STORE_AGAIN_AFTER);
    }

    /// Notes that `Action::ReadWaiting` failed: it is tried again a little later.
    pub(crate) fn on_waiting_read_failed(&mut self, now: Timestamp) {
        self.backlog.waiting_read_failed(now + STORE_AGAIN_AFTER);
    }

    /// Takes deliveries that were started again by hand. Their ids may have been passed already, by deliveries that were handed over first; or a read
    /// that was made for another reason has found them, and they are under way.
    pub(crate) fn on_redelivered(&mut self, mut ids: Vec<DeliveryId>, actions: &mut Vec<Action>) {
        ids.retain(|id| !self.is_under_way(*id));
        self.tally.open += u64::try_from(ids.len()).unwrap_or(u64::MAX);
        let (passed, ahead): (Vec<_>, Vec<_>) =
            ids.into_iter().partition(|id| self.backlog.has_seen(*id));
        if !ahead.is_empty() {
            self.backlog.note_queued();
        }
        if !passed.is_empty() {
            let due = |id: &DeliveryId| (*id, Due::default());
            self.due.extend(passed.iter().map(due));
            actions.push(Action::Load(passed));
        }
        self.rest_at = None;
    }

    /// Takes what `Action::Load` found. A delivery that is asked for and not found is no longer open.
    pub(crate) fn on_loaded(&mut self, asked: &[DeliveryId], deliveries: Vec<OpenDelivery>) {
        let found: BTreeSet<DeliveryId> = deliveries.iter().map(|delivery| delivery.id).collect();
        for id in asked {
            if found.contains(id) {
                continue;
            }
            if let Some(gone) = self.due.remove(id) {
                self.tally.open = self.tally.open.saturating_sub(1);
                if gone.closed_lane {
                    let company = gone.company.as_ref();
                    self.queue.open_lane(self.policy.ordering, company, *id);
                }
            }
        }
        for delivery in deliveries {
            if self.forgotten.contains(delivery.id) {
                continue;
            }
            if delivery.due_at.is_some() {
                self.queue.push_due(self.policy.ordering, delivery);
            } else {
                self.queue.push(self.policy.ordering, delivery);
            }
        }
    }

    /// Notes that reading due retries back failed: they wait a little longer.
    pub(crate) fn on_load_failed(&mut self, now: Timestamp, asked: &[DeliveryId]) {
        for id in asked {
            if let Some(due) = self.due.remove(id) {
                self.waiting.insert((now + STORE_AGAIN_AFTER, *id), due);
            }
        }
    }

    pub(super) fn wait(&mut self, key: (Timestamp, DeliveryId), company: Option<CompanyId>) {
        let last = self.waiting.keys().next_back();
        if self.backlog.more_waiting() && last.is_none_or(|last| key > *last) {
            // Whatever is in the store alone is due after everything that waits here.
            self.backlog.note_waiting();
        } else {
            self.waiting.insert(key, Due::retry(company));
            self.spill();
        }
    }

    /// Leaves what waits longest to the store alone when too much waits.
    pub(super) fn spill(&mut self) {
        // An ordered endpoint has at most one waiting delivery per lane and needs them all to know which lanes are closed.
        if self.waiting.len() > MAX_WAITING && self.policy.ordering == Ordering::Unordered {
            self.waiting.pop_last();
            self.backlog.note_waiting();
        }
    }

    /// How many more deliveries may be in memory with their alerts.
    pub(super) fn room(&self) -> usize {
        let (_, by_size) = self.room_by_size();
        let by_count = WINDOW.saturating_sub(self.queue.len());
        by_count.min(by_size).saturating_sub(self.due.len())
    }

    /// How many deliveries may be in memory for the size of their bodies, and how many more.
    fn room_by_size(&self) -> (usize, usize) {
        let window = usize::try_from(self.window.size()).unwrap_or(WINDOW);
        let bytes = window.saturating_mul(BYTES_AHEAD / 8);
        self.queue
            .room_within(bytes.clamp(BYTES_AHEAD, 8 * BYTES_AHEAD))
    }

    /// For how many deliveries the backlog is read ahead: for some rounds of the concurrency window, so that a thousand endpoints which have just
    /// started, or which fail, do not fill the memory with what they cannot send yet.
    pub(super) fn read_ahead(&self) -> usize {
        let window = usize::try_from(self.window.size()).unwrap_or(WINDOW);
        window.saturating_mul(8).clamp(WINDOW / 8, WINDOW)
    }

    pub(super) fn can_load(&self) -> bool {
        self.run == Run::Running
            && self.disabled.is_none()
            && self.circuit.open_until().is_none()
            // Of an ordered endpoint whichever is due may be the one that the others wait for.
            && (self.room() > 0 || self.policy.ordering != Ordering::Unordered)
    }

    pub(super) fn load_due(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let mut ids = Vec::new();
        while self.can_load() && self.hold_until.is_none() {
            let Some(entry) = self.waiting.first_entry() else {
                break;
            };
            let (due_at, id) = *entry.key();
            if due_at > now {
                break;
            }
            self.due.insert(id, entry.remove());
            ids.push(id);
        }
        if !ids.is_empty() {
            actions.push(Action::Load(ids));
        }
    }

    pub(super) fn read_backlog(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        self.backlog.pass(now);
        if self.backlog.may_read_endpoint(now) {
            self.backlog.begin_endpoint_read();
            actions.push(Action::ReadEndpoint);
        }
        let ordered = self.policy.ordering != Ordering::Unordered;
        let has_room = ordered || self.waiting.len() < MAX_WAITING / 2;
        if has_room && self.backlog.may_read_waiting(now) {
            let known = self.due.len() + self.under_way.len() + self.waiting.len();
            let limit = if ordered {
                usize::MAX
            } else {
                known + MAX_WAITING
            };
            self.backlog.begin_waiting_read();
            actions.push(Action::ReadWaiting { limit });
        }
        let (ahead, loaded) = (self.read_ahead(), self.queue.len() + self.due.len());
        let limit = ahead.saturating_sub(loaded).min(self.room());
        // Half of what there may be at a time, so that not every start leads to a read.
        let wanted = 2 * limit > ahead.min(self.room_by_size().0);
        if wanted && self.lanes_are_known() && self.backlog.may_read_queued(now) {
            let after = self.backlog.begin_queued_read();
            actions.push(Action::ReadQueued { after, limit });
        }
    }

    /// Says whether every delivery that keeps others back is in memory: before that, nothing is let through.
    pub(super) fn lanes_are_known(&self) -> bool {
        self.policy.ordering == Ordering::Unordered || !self.backlog.more_waiting()
    }

    /// Once everything open is in memory, the count can be checked against it.
    pub(super) fn correct_count(&mut self) {
        if !self.backlog.more_queued() && !self.backlog.more_waiting() {
            // Deliveries in `due` that are read back already are in the queue too.
            let read_back = self.queue.count_among(&self.due);
            let known = self.queue.len() + self.due.len() - read_back
                + self.under_way.len()
                + self.waiting.len();
            self.tally.open = u64::try_from(known).unwrap_or(u64::MAX);
        }
    }

    /// Says whether a delivery is anywhere in memory.
    fn is_under_way(&self, id: DeliveryId) -> bool {
        self.due.contains_key(&id)
            || self.under_way.contains(id)
            || self.waiting.keys().any(|(_, waiting)| *waiting == id)
            || self.queue.contains(id)
    }
}
