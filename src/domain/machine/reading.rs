//! Deliveries in the store and in memory: new arrivals, reads, and waiting retries.

use std::collections::BTreeSet;

use super::{
    Action, BYTES_AHEAD, EndpointMachine, MAX_BUFFERED, MAX_TESTS, MAX_WAITING, Rest,
    SHUT_FOR_LONG, WaitingRetry,
};
use crate::domain::deliveries::delivery::{Loaded, OpenDelivery, OpenPage, WaitingDelivery};
use crate::domain::endpoint::policy::Ordering;
use crate::domain::endpoint::stored::StoredEndpoint;
use crate::domain::machine::bodies::A_LITTLE;
use crate::domain::machine::read::Read;
use crate::domain::machine::unread::{Missed, ReadKind};
use crate::domain::policy::health::Health;
use crate::domain::value::id::{CompanyId, DeliveryId};
use crate::domain::value::time::Timestamp;

impl EndpointMachine {
    /// Takes deliveries that were just accepted, in order, followed by `missed` ones. Those that do
    /// not fit stay in the store.
    pub(crate) fn on_deliveries(
        &mut self,
        deliveries: impl IntoIterator<Item = OpenDelivery>,
        missed: Missed,
    ) {
        for delivery in deliveries {
            let id = delivery.id;
            if self.forgotten.contains(id) {
                continue;
            }
            if self.unread.may_have_seen(id) {
                self.on_late(id);
                continue;
            }
            self.tally.open += 1;
            if delivery.alert.is_test() && self.by_hand.len() < MAX_TESTS {
                self.unread.see(id);
                self.by_hand.push_back(delivery);
            } else if self.unread.has_more(ReadKind::Queued) || self.room() == 0 {
                self.unread.note_from(id);
            } else {
                self.unread.see(id);
                self.enqueue(delivery);
            }
        }
        if let Missed::From { first, count } = missed {
            self.tally.open += count;
            self.unread.note_from(first);
        }
        self.rest = Rest::Awake;
    }

    /// Takes a delivery whose id was already passed. A read may have found it before, and it may
    /// have ended since; or its id became visible late. The store knows which.
    fn on_late(&mut self, id: DeliveryId) {
        if !self.is_in_memory(id) {
            self.tally.open += 1;
            self.read_back(id);
        }
    }

    /// Schedules a never-attempted delivery to be read back by its id, like a due retry.
    fn read_back(&mut self, id: DeliveryId) {
        let at_once = (Timestamp::default(), id);
        self.waiting.insert(at_once, WaitingRetry::default());
    }

    /// Takes the stored state of the endpoint.
    pub(super) fn on_endpoint_read(&mut self, known: &StoredEndpoint) {
        self.unread.end(ReadKind::Endpoint, false);
        if self.tally.health == Health::default() && !self.lifted {
            self.tally.health = known.health;
        }
        if self.lifted && !self.is_known {
            self.remember(None, &known.agreed.clone().lifted());
        } else if !self.is_known {
            self.remember(known.hold(), &known.agreed);
        }
        // A late count includes deliveries that have ended since. Once everything is in memory, the
        // count here is more accurate.
        if !self.has_read_all() {
            self.tally.open = self.tally.open.max(known.open);
        }
    }

    /// Takes a page of deliveries that were never attempted.
    pub(super) fn on_queued_read(&mut self, OpenPage { deliveries, more }: OpenPage) {
        let last = deliveries.last().map(|delivery| delivery.id);
        for delivery in deliveries {
            let id = delivery.id;
            let known = self.unread.may_have_seen(id)
                && (self.unread.is_outdated(ReadKind::Queued, id) || self.is_in_memory(id));
            if !known && !self.forgotten.contains(id) {
                self.enqueue(delivery);
            }
        }
        self.unread.end_page(last, more);
        self.correct_count();
    }

    /// Takes the earliest deliveries that wait for a retry.
    pub(super) fn on_waiting_read(&mut self, deliveries: Vec<WaitingDelivery>, limit: usize) {
        let full = deliveries.len() == limit;
        // Since the read, a delivery may have ended, or may wait for a later retry, here or only in
        // the store.
        let waiting: BTreeSet<DeliveryId> = self.waiting.keys().map(|(_, id)| *id).collect();
        let mut found = Vec::new();
        for delivery in deliveries {
            let id = delivery.id;
            let known =
                self.due.contains_key(&id) || self.under_way.contains(id) || waiting.contains(&id);
            if !known
                && !self.unread.is_outdated(ReadKind::Waiting, id)
                && !self.forgotten.contains(id)
            {
                found.push(delivery);
            }
        }
        self.unread.end(ReadKind::Waiting, full);
        let any = !found.is_empty();
        for WaitingDelivery {
            id,
            due_at,
            company_id,
        } in found
        {
            let retry = WaitingRetry::retry(company_id, due_at);
            self.waiting.insert((due_at, id), retry);
            self.spill();
        }
        if any && self.policy.ordering != Ordering::Unordered {
            // Deliveries in the queue come after these.
            self.reorder(self.policy.ordering);
        }
        self.correct_count();
    }

    /// Takes deliveries that were redelivered by hand. Deliveries handed over first may have passed
    /// their ids; or a read has found them, and they are in memory.
    pub(crate) fn on_redelivered(&mut self, ids: Vec<DeliveryId>) {
        for id in ids {
            if self.is_in_memory(id) {
                continue;
            }
            self.tally.open += 1;
            if self.unread.may_have_seen(id) {
                self.read_back(id);
            } else {
                self.unread.note_from(id);
            }
        }
        self.rest = Rest::Awake;
    }

    /// Takes the result of `Read::Due`. A delivery that was requested and not found is no longer
    /// open.
    pub(super) fn on_loaded(&mut self, asked: &[DeliveryId], Loaded { deliveries, rest }: Loaded) {
        self.loading = self.loading.saturating_sub(asked.len());
        for id in rest {
            // Those not read wait until there is room again.
            if let Some(due) = self.due.remove(&id) {
                self.waiting.insert((due.at, id), due);
            }
        }
        let found: BTreeSet<DeliveryId> = deliveries.iter().map(|delivery| delivery.id).collect();
        for id in asked {
            if found.contains(id) {
                continue;
            }
            // Deliveries left for later are out of `due` already; this one is no longer open.
            if let Some(gone) = self.due.remove(id) {
                let counted = u64::from(!gone.may_have_ended);
                self.tally.open = self.tally.open.saturating_sub(counted);
                if gone.closed_lane {
                    let company = gone.company.as_ref();
                    self.queue.open_lane(self.policy.ordering, company, *id);
                }
            }
        }
        let (due, new): (Vec<_>, Vec<_>) = deliveries
            .into_iter()
            .filter(|delivery| !self.forgotten.contains(delivery.id))
            .partition(|delivery| delivery.due_at.is_some());
        for delivery in new {
            self.enqueue(delivery);
        }
        // Each goes to the front, so in reverse order the earliest due ends up first.
        for delivery in due.into_iter().rev() {
            let late = |due: &WaitingRetry| !due.closed_lane;
            match delivery.due_at {
                // It was read back as never attempted, but has been attempted since.
                Some(due_at) if self.due.get(&delivery.id).is_some_and(late) => {
                    self.due.remove(&delivery.id);
                    let company = delivery.alert.company_id.clone();
                    self.wait((due_at, delivery.id), company);
                }
                _ => self.queue.push_due(self.policy.ordering, delivery),
            }
        }
    }

    /// Postpones deliveries that could not be read back.
    pub(super) fn on_load_failed(&mut self, again_at: Timestamp, asked: &[DeliveryId]) {
        self.loading = self.loading.saturating_sub(asked.len());
        for id in asked {
            if let Some(due) = self.due.remove(id) {
                let due = WaitingRetry {
                    at: again_at,
                    ..due
                };
                self.waiting.insert((again_at, *id), due);
            }
        }
    }

    pub(super) fn wait(&mut self, key: (Timestamp, DeliveryId), company: Option<CompanyId>) {
        let last = self.waiting.keys().next_back();
        if self.unread.has_more(ReadKind::Waiting) && last.is_none_or(|last| key > *last) {
            // Deliveries that are only in the store are due after all that wait here.
            self.unread.note(ReadKind::Waiting);
        } else {
            self.waiting
                .insert(key, WaitingRetry::retry(company, key.0));
            self.spill();
        }
    }

    /// Leaves the retry due last to the store if too many wait.
    pub(super) fn spill(&mut self) {
        // An ordered endpoint has at most one waiting delivery per lane, and needs all of them to
        // know which lanes are closed.
        if self.waiting.len() > MAX_WAITING
            && self.policy.ordering == Ordering::Unordered
            && let Some(last) = self.waiting.last_entry()
            // A read of waiting deliveries would not find one that was never attempted.
            && last.get().closed_lane
        {
            last.remove();
            self.unread.note(ReadKind::Waiting);
        }
    }

    /// Returns how many more deliveries may be in memory with their alerts.
    pub(super) fn room(&self) -> usize {
        let (_, by_size) = self.room_by_size();
        let by_count = MAX_BUFFERED.saturating_sub(self.queue.len());
        by_count.min(by_size).saturating_sub(self.due.len())
    }

    /// Returns how many deliveries may be in memory given the size of their bodies, and how many
    /// more.
    fn room_by_size(&self) -> (usize, usize) {
        self.queue.room_within(self.bytes_ahead())
    }

    /// Returns how many bytes of bodies may be in memory, not counting those in flight.
    fn bytes_ahead(&self) -> usize {
        if self.tight {
            // Here those in flight count: they may be as many as there are permits.
            return A_LITTLE.saturating_sub(self.under_way.bytes());
        }
        let window = usize::try_from(self.window.size()).unwrap_or(MAX_BUFFERED);
        let bytes = window.saturating_mul(BYTES_AHEAD / 8);
        bytes.clamp(BYTES_AHEAD, 8 * BYTES_AHEAD)
    }

    /// Returns how many more bytes of bodies may be read. Their sizes are not known beforehand.
    pub(crate) fn bytes_wanted(&self) -> usize {
        self.bytes_ahead().saturating_sub(self.queue.bytes())
    }

    /// Returns the number of bytes of bodies in memory.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        self.queue.bytes() + self.bytes_by_hand() + self.under_way.bytes()
    }

    /// Returns how many deliveries of the backlog to read ahead: several rounds of the concurrency
    /// window. A thousand endpoints that have just started, or that fail, then do not fill the
    /// memory with deliveries that they cannot send yet.
    pub(super) fn read_ahead(&self) -> usize {
        let window = usize::try_from(self.window.size()).unwrap_or(MAX_BUFFERED);
        window
            .saturating_mul(8)
            .clamp(MAX_BUFFERED / 8, MAX_BUFFERED)
    }

    /// Returns `true` if due retries may be read back. On an ordered endpoint the others may wait
    /// for any due one, so one is always read.
    pub(super) fn can_load(&self) -> bool {
        self.lets_read() && (self.room() > 0 || self.must_load())
    }

    /// Returns `true` if attempts may start as far as known. Nothing is read for an endpoint that
    /// may not start.
    fn lets_read(&self) -> bool {
        self.control.is_on()
            && !self.control.draining
            && self.circuit.open_until().is_none()
            && self.endpoint_is_read()
    }

    /// Returns `true` if nothing in memory may start until another delivery is read back.
    fn must_load(&self) -> bool {
        let stands_still = self.queue.is_blocked() && self.loading == 0;
        self.policy.ordering != Ordering::Unordered
            && stands_still
            && (!self.tight || self.under_way.is_empty())
    }

    /// Returns the retries that may be read back when due, the earliest first. Those that must wait
    /// for another delivery would only take up room.
    fn loadable(&self) -> impl Iterator<Item = (Timestamp, DeliveryId)> {
        let loadable = self.waiting.iter().filter(|((_, id), due)| {
            let company = due.company.as_ref();
            !due.closed_lane || self.queue.is_next(self.policy.ordering, company, *id)
        });
        loadable.map(|(key, _)| *key)
    }

    /// Returns when the next retry is to be read back; `None` if none may be.
    pub(super) fn next_load(&self) -> Option<Timestamp> {
        let (at, _) = self.loadable().next().filter(|_| self.can_load())?;
        Some(self.held_until().map_or(at, |until| at.max(until)))
    }

    pub(super) fn load_due(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if !self.can_load() || self.held_until().is_some() {
            return;
        }
        let room = self.room().max(usize::from(self.must_load()));
        let due = self.loadable().take_while(|(at, _)| *at <= now);
        let keys: Vec<(Timestamp, DeliveryId)> = due.take(room).collect();
        let mut ids = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(due) = self.waiting.remove(&key) {
                self.due.insert(key.1, due);
                ids.push(key.1);
            }
        }
        if !ids.is_empty() {
            self.loading += ids.len();
            actions.push(Action::Read(Read::Due(ids)));
        }
    }

    /// Leaves queued deliveries to the store again if nothing may start for long. The endpoint then
    /// needs no more memory than one that has just started.
    pub(super) fn leave_to_store(&mut self, now: Timestamp) {
        let long = now + SHUT_FOR_LONG;
        let shut_until = self.held_until().max(self.circuit.open_until());
        let shut = !self.control.is_on() || shut_until.is_some_and(|until| until >= long);
        if !shut || self.queue.len() == 0 || self.policy.ordering != Ordering::Unordered {
            return;
        }
        for delivery in self.queue.take_all() {
            self.due.remove(&delivery.id);
            let at = delivery.due_at.unwrap_or_default();
            let due = WaitingRetry {
                company: delivery.alert.company_id.clone(),
                // A delivery that was never attempted is found only here, among those that wait.
                closed_lane: delivery.due_at.is_some(),
                at,
                may_have_ended: false,
            };
            self.waiting.insert((at, delivery.id), due);
        }
        self.queue.shrink();
    }

    pub(super) fn read_unread(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        self.unread.pass(now);
        if self.unread.may_read(ReadKind::Endpoint, now) {
            self.unread.begin(ReadKind::Endpoint);
            actions.push(Action::Read(Read::Endpoint));
        }
        let ordered = self.policy.ordering != Ordering::Unordered;
        let has_room = ordered || self.waiting.len() < MAX_WAITING / 2;
        if has_room && self.unread.may_read(ReadKind::Waiting, now) {
            let known = self.due.len() + self.under_way.len() + self.waiting.len();
            let limit = if ordered {
                usize::MAX
            } else {
                known + MAX_WAITING
            };
            self.unread.begin(ReadKind::Waiting);
            actions.push(Action::Read(Read::Waiting { limit }));
        }
        let (ahead, loaded) = (self.read_ahead(), self.queue.len() + self.due.len());
        let limit = ahead.saturating_sub(loaded).min(self.room());
        // Read only if more than half of the allowance is free, so that not every start causes a
        // read.
        let wanted = 2 * limit > ahead.min(self.room_by_size().0);
        let may = wanted && self.lanes_are_known() && self.unread.may_read(ReadKind::Queued, now);
        // An endpoint with nothing open needs no room, and learns that it has nothing to do.
        let nothing = self.tally.open == 0 && self.endpoint_is_read();
        if may && (nothing || self.lets_read() && self.held_until().is_none()) {
            let after = self.unread.begin(ReadKind::Queued);
            actions.push(Action::Read(Read::Queued { after, limit }));
        }
    }

    /// Returns `true` if every delivery that holds others back is in memory. Before that none is
    /// let through.
    pub(super) fn lanes_are_known(&self) -> bool {
        self.policy.ordering == Ordering::Unordered || !self.unread.has_more(ReadKind::Waiting)
    }

    /// Corrects the count by what is in memory: exactly, once every open delivery is.
    pub(super) fn correct_count(&mut self) {
        // Deliveries in `due` that are read back already are in the queue too.
        let read_back = self.queue.count_among(&self.due);
        let known = self.queue.len() + self.due.len() - read_back
            + self.count_by_hand()
            + self.under_way.len()
            + self.waiting.len();
        let known = u64::try_from(known).unwrap_or(u64::MAX);
        self.tally.open = if self.has_read_all() {
            known
        } else {
            self.tally.open.max(known)
        };
    }

    /// Returns `true` if every open delivery is in memory.
    pub(super) fn has_read_all(&self) -> bool {
        let kinds = [ReadKind::Queued, ReadKind::Waiting];
        !kinds.iter().any(|kind| self.unread.has_more(*kind))
    }

    /// Returns `true` if a delivery is in memory, in any place.
    pub(super) fn is_in_memory(&self, id: DeliveryId) -> bool {
        self.due.contains_key(&id)
            || self.has_test(id)
            || self.under_way.contains(id)
            || self.waiting.keys().any(|(_, waiting)| *waiting == id)
            || self.queue.contains(id)
    }
}
