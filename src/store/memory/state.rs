//! The state of the memory store and its changes. All of it happens under one short lock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::MemoryLimits;
use super::entry::{StoredDelivery, size};
use super::jobs::Jobs;
use super::remembered::{EventIdFound, Remembered};
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::{Delivery, DeliveryDetails, DeliveryState};
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::deliveries::outcome::Outcome;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::policy::health::{DisabledReason, Health};
use crate::domain::routing::client::Client;
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::{ClientId, DeliveryId, EventId, RuleId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::given_up::GivenUps;
use crate::store::ledger::{Ledger, Room};
use crate::store::search::Search;
use crate::store::{
    Agreed, Appended, AttemptRecord, BacklogLimits, Change, DeadLetterQuery, DeliveryQuery,
    ENDED_AT_ONCE, EndedDelivery, GivenUp, NewEvent, OpenDelivery, OpenPage, OpenQuery,
    OpenSummary, Page, PageLimit, PastCredential, Redelivery, Retention, Stopped, StoreError,
    StoredClock, StoredEndpoint, StoredEvent, WaitingDelivery, page_limit,
};

/// Everything that the store keeps.
#[derive(Debug)]
pub(super) struct State {
    pub(super) last_id: u64,
    last_queue: u64,
    /// Every delivery, open or ended.
    entries: HashMap<DeliveryId, StoredDelivery>,
    /// The number of open deliveries.
    pub(super) open: u64,
    /// Delivered ones, and dead letters that were redelivered or discarded, in the order in which
    /// that happened.
    ended: VecDeque<DeliveryId>,
    /// Listed dead letters.
    dead: BTreeSet<DeliveryId>,
    queue_numbers: HashMap<WebhookUrl, u64>,
    queues: HashMap<u64, EndpointQueue>,
    ledger: Ledger<u64>,
    events: Remembered,
    // Kept to reuse its allocation.
    targets: Vec<(u64, u64)>,
    pub(super) rules: BTreeMap<RuleId, Rule>,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) endpoints: BTreeMap<WebhookUrl, Endpoint>,
    pub(super) past: BTreeMap<String, PastCredential>,
    pub(super) paused: BTreeMap<WebhookUrl, Stopped>,
    pub(super) disabled: BTreeMap<WebhookUrl, (DisabledReason, Stopped)>,
    /// Removed endpoints, which are not called until a rule or a setting names them again.
    pub(super) removed: HashSet<WebhookUrl>,
    /// The health of failing endpoints.
    pub(super) health: BTreeMap<WebhookUrl, Health>,
    /// The holds, rate limits, circuits and paces of the endpoints that have any.
    pub(super) agreed: BTreeMap<WebhookUrl, Agreed>,
    pub(super) jobs: Jobs,
    pub(super) clock: StoredClock,
    pub(super) given_up: GivenUps,
}

/// The state of one endpoint: its queued deliveries, those waiting for a retry, and its hold.
#[derive(Debug, Default)]
pub(super) struct EndpointQueue {
    pub(super) held_until: Option<Timestamp>,
    pub(super) queued: BTreeSet<DeliveryId>,
    pub(super) waiting: BTreeSet<(Timestamp, DeliveryId)>,
}

impl State {
    pub(super) fn new(limits: BacklogLimits) -> Self {
        Self {
            last_id: 0,
            last_queue: 0,
            entries: HashMap::new(),
            open: 0,
            ended: VecDeque::new(),
            dead: BTreeSet::new(),
            queue_numbers: HashMap::new(),
            queues: HashMap::new(),
            ledger: Ledger::new(limits),
            events: Remembered::new(),
            targets: Vec::new(),
            rules: BTreeMap::new(),
            clients: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            past: BTreeMap::new(),
            paused: BTreeMap::new(),
            disabled: BTreeMap::new(),
            removed: HashSet::new(),
            health: BTreeMap::new(),
            agreed: BTreeMap::new(),
            jobs: Jobs::default(),
            clock: StoredClock::default(),
            given_up: GivenUps::default(),
        }
    }

    pub(super) fn append_one(&mut self, limits: &MemoryLimits, event: &NewEvent) -> Appended {
        let found = self.events.find(&event.id, &event.client_id, event.content);
        let key = match found {
            EventIdFound::Nothing(key) => key,
            EventIdFound::UsedByAnother(key) if event.alerts_are_its_own => key,
            EventIdFound::UsedByAnother(_) => return Appended::UsedByAnother,
            EventIdFound::Same(deliveries) => return Appended::Remembered { deliveries },
            EventIdFound::Different => return Appended::IdTaken,
        };
        let urls = event
            .alerts
            .iter()
            .flat_map(|new| new.urls.iter().map(move |url| (&new.alert, url)));
        let mut targets = std::mem::take(&mut self.targets);
        targets.clear();
        targets.extend(
            urls.clone()
                .map(|(alert, url)| (self.queue(url), size(alert))),
        );
        let sizes = targets.iter().zip(urls.clone());
        let sizes = sizes.map(|((queue, size), (_, url))| (*queue, url, *size));
        let removed = &self.removed;
        let sizes = sizes.filter(|(_, url, _)| removed.is_empty() || !removed.contains(*url));
        let full = match self.ledger.room(sizes) {
            Room::Enough => Vec::new(),
            Room::NotFor(full) => full,
            Room::None(overflow) => return Appended::Full(overflow),
        };
        let mut ids = Vec::with_capacity(targets.len());
        let mut dead = Vec::new();
        for ((queue, _), (alert, url)) in targets.iter().zip(urls) {
            let id = self.open(StoredDelivery::new(
                Arc::clone(alert),
                url.clone(),
                *queue,
                event.at,
            ));
            ids.push(id);
            let reason = if self.is_removed(url) {
                DeadLetterReason::EndpointRemoved
            } else if full.contains(queue) {
                DeadLetterReason::BacklogFull
            } else {
                continue;
            };
            self.give_up(limits, id, event.at, reason);
            dead.push((id, reason));
        }
        self.targets = targets;
        self.events.put(event, key, ids.len(), limits.event_ids);
        if dead.is_empty() {
            Appended::Stored(ids)
        } else {
            Appended::StoredInPart { ids, dead }
        }
    }

    /// Returns `true` if an endpoint was removed and not named again since.
    fn is_removed(&self, url: &WebhookUrl) -> bool {
        !self.removed.is_empty() && self.removed.contains(url)
    }

    /// Returns the number of an endpoint's queue, creating the queue if there is none.
    fn queue(&mut self, url: &WebhookUrl) -> u64 {
        if let Some(number) = self.queue_numbers.get(url) {
            return *number;
        }
        self.last_queue += 1;
        self.queue_numbers.insert(url.clone(), self.last_queue);
        self.queues
            .insert(self.last_queue, EndpointQueue::default());
        self.last_queue
    }

    pub(super) fn queue_of(&self, url: &WebhookUrl) -> Option<&EndpointQueue> {
        self.queues.get(self.queue_numbers.get(url)?)
    }

    fn open(&mut self, entry: StoredDelivery) -> DeliveryId {
        self.last_id += 1;
        let id = DeliveryId::new(self.last_id);
        self.queues
            .entry(entry.queue)
            .or_default()
            .queued
            .insert(id);
        self.ledger.add(entry.queue, 1, entry.size());
        self.open += 1;
        self.entries.insert(id, entry);
        id
    }

    /// Makes an open delivery a dead letter without an attempt.
    fn give_up(
        &mut self,
        limits: &MemoryLimits,
        id: DeliveryId,
        at: Timestamp,
        reason: DeadLetterReason,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if let Some(queue) = self.queues.get_mut(&entry.queue) {
            queue.take(id, entry.state);
        }
        entry.state = DeliveryState::DeadLettered { at, reason };
        self.open -= 1;
        self.ledger.take(entry.queue, 1, entry.size());
        self.list_dead(limits, id);
    }

    pub(super) fn record(&mut self, limits: &MemoryLimits, record: &AttemptRecord) {
        let (id, at) = (record.delivery_id, record.summary.at);
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let on_record = entry
            .last_attempt()
            .is_some_and(|last| last.number >= record.summary.number);
        let Some(queue) = self.queues.get_mut(&entry.queue) else {
            return;
        };
        if on_record || !entry.state.is_open() {
            return;
        }
        queue.take(id, entry.state);
        queue.held_until = queue.held_until.max(record.hold_until);
        match record.health {
            Some(health) if health != Health::default() => {
                self.health.insert(record.url.clone(), health);
            }
            Some(_) => drop(self.health.remove(&record.url)),
            None => {}
        }
        if let Some(agreed) = &record.agreed {
            agree(&mut self.agreed, &record.url, (**agreed).clone());
        }
        if let Some(reason) = record.disabled {
            disable(
                &mut self.disabled,
                record.url.clone(),
                reason,
                Stopped::at(at),
            );
        }
        entry.add_attempt(record);
        match record.outcome {
            Outcome::Failed { .. } => {
                let due_at = record.next_attempt_at.unwrap_or(at);
                entry.state = DeliveryState::Waiting { due_at };
                queue.waiting.insert((due_at, id));
                return;
            }
            Outcome::Delivered => entry.state = DeliveryState::Delivered { at },
            Outcome::DeadLettered { reason } => {
                entry.state = DeliveryState::DeadLettered { at, reason };
            }
        }
        self.open -= 1;
        self.ledger.take(entry.queue, 1, entry.size());
        if record.outcome == Outcome::Delivered {
            self.keep_ended(limits, id);
        } else {
            self.list_dead(limits, id);
        }
    }

    /// Lists a dead letter, and forgets the oldest beyond the limit.
    fn list_dead(&mut self, limits: &MemoryLimits, id: DeliveryId) {
        self.dead.insert(id);
        if self.dead.len() > limits.dead_letters
            && let Some(forgotten) = self.dead.pop_first()
        {
            self.entries.remove(&forgotten);
            let (id, limit) = (forgotten.get(), limits.dead_letters);
            log::warn!(
                delivery_id = id, limit;
                "dead letter {id} forgotten: the memory store keeps at most {limit}"
            );
        }
    }

    /// Keeps an ended delivery that needs no attention, and forgets the oldest beyond the limit.
    fn keep_ended(&mut self, limits: &MemoryLimits, id: DeliveryId) {
        self.ended.push_back(id);
        if self.ended.len() > limits.delivered
            && let Some(forgotten) = self.ended.pop_front()
        {
            self.entries.remove(&forgotten);
        }
    }

    /// Removes a dead letter from the list; the delivery stays on record.
    pub(super) fn unlist(&mut self, limits: &MemoryLimits, id: DeliveryId) {
        if self.dead.remove(&id) {
            self.keep_ended(limits, id);
        }
    }

    /// Returns all deliveries, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&DeliveryId, &StoredDelivery)> {
        self.entries.iter()
    }

    /// Returns `true` if a delivery is a dead letter that was neither redelivered nor discarded.
    pub(super) fn is_listed(&self, id: DeliveryId) -> bool {
        self.dead.contains(&id)
    }

    pub(super) fn find(&self, id: DeliveryId) -> Option<&StoredDelivery> {
        self.entries.get(&id)
    }

    pub(super) fn queued(&self, url: &WebhookUrl, after: DeliveryId, limit: PageLimit) -> OpenPage {
        let next = DeliveryId::new(after.get().saturating_add(1));
        let queue = self.queue_of(url).into_iter();
        let ids = queue.flat_map(|queue| queue.queued.range(next..));
        OpenPage::of(ids.filter_map(|id| self.load(*id)), limit)
    }

    pub(super) fn load(&self, id: DeliveryId) -> Option<OpenDelivery> {
        self.find(id)?.open(id)
    }

    /// Returns deliveries, newest first.
    pub(super) fn deliveries(&self, query: &DeliveryQuery) -> Page<Delivery> {
        let search = Search::from(query);
        let mut found: Vec<_> = self
            .entries
            .iter()
            .filter(|(id, entry)| search.finds(**id, &entry.facts()))
            .collect();
        let newest_first =
            |a: &(&DeliveryId, &StoredDelivery), b: &(&DeliveryId, &StoredDelivery)| b.0.cmp(a.0);
        let wanted = search.limit + 1;
        if found.len() > wanted {
            // There may be a million deliveries: sort one page of them only.
            found.select_nth_unstable_by(wanted, newest_first);
            found.truncate(wanted);
        }
        found.sort_unstable_by(newest_first);
        let shown = found.into_iter().map(|(id, entry)| entry.shown(*id));
        Page::cut(shown.collect(), search.limit, |delivery| delivery.id)
    }

    /// Returns the number of deliveries that a query finds.
    pub(super) fn count(&self, query: &DeliveryQuery) -> usize {
        let search = Search::from(query);
        let entries = self.entries.iter();
        entries
            .filter(|(id, entry)| search.finds(**id, &entry.facts()))
            .count()
    }

    /// Returns a delivery with its alert and the deliveries that it repeats or that repeat it.
    pub(super) fn delivery(&self, id: DeliveryId) -> Option<DeliveryDetails> {
        let entry = self.find(id)?;
        let repeats = |(again, entry): (&DeliveryId, &StoredDelivery)| {
            (entry.redelivery_of == Some(id)).then_some(*again)
        };
        let mut redelivered_as: Vec<_> = self.entries.iter().filter_map(repeats).collect();
        redelivered_as.sort_unstable();
        Some(DeliveryDetails {
            redelivery_of: entry.redelivery_of,
            redelivered_as,
            ..DeliveryDetails::new(entry.shown(id), Arc::clone(&entry.alert))
        })
    }

    /// Returns the events that have this id.
    pub(super) fn events(&self, id: &EventId) -> Vec<StoredEvent> {
        self.events.look(id)
    }

    /// Returns dead letters, newest first.
    pub(super) fn dead_letters(&self, query: &DeadLetterQuery) -> Page<DeadLetter> {
        let limit = page_limit(query.limit);
        let letters = self.matching(query).rev().take(limit + 1);
        Page::cut(letters.collect(), limit, |letter| letter.delivery_id)
    }

    /// Returns all dead letters that a query finds, oldest first.
    pub(super) fn matching(
        &self,
        query: &DeadLetterQuery,
    ) -> impl DoubleEndedIterator<Item = DeadLetter> + use<'_> {
        let search = Search::from(query);
        let below = ..query.before.unwrap_or(DeliveryId::new(u64::MAX));
        self.dead.range(below).filter_map(move |id| {
            let entry = self.find(*id)?;
            let found = search.finds(*id, &entry.facts());
            found.then(|| DeadLetter::of(entry.shown(*id)))?
        })
    }

    /// Returns the ids of open deliveries of an endpoint after `after`, ascending.
    pub(super) fn open_of(
        &self,
        url: &WebhookUrl,
        which: &OpenQuery,
        after: DeliveryId,
        limit: usize,
    ) -> Vec<DeliveryId> {
        let Some(queue) = self.queue_of(url) else {
            return Vec::new();
        };
        let asked = |id: &DeliveryId| {
            let alert = self.find(*id).map(|entry| &entry.alert);
            alert.is_some_and(|alert| {
                which
                    .rule_id
                    .as_ref()
                    .is_none_or(|rule| *rule == alert.rule_id)
                    && which
                        .client_id
                        .as_ref()
                        .is_none_or(|client| *client == alert.client_id)
            })
        };
        let next = DeliveryId::new(after.get().saturating_add(1));
        let queued = queue.queued.range(next..).copied();
        let mut found: Vec<DeliveryId> = queued.filter(asked).take(limit).collect();
        let waiting = queue.waiting.iter().map(|(_, id)| *id);
        found.extend(waiting.filter(|id| *id > after).filter(asked));
        found.sort_unstable();
        found.truncate(limit);
        found
    }

    /// Makes a delivery of an endpoint a dead letter, if it is open.
    pub(super) fn end(
        &mut self,
        limits: &MemoryLimits,
        url: &WebhookUrl,
        id: DeliveryId,
        reason: DeadLetterReason,
        at: Timestamp,
    ) -> Option<EndedDelivery> {
        let entry = self.find(id)?;
        if !entry.state.is_open() || entry.url != *url {
            return None;
        }
        let ended = entry.ended(id);
        self.give_up(limits, id, at, reason);
        Some(ended)
    }

    /// Makes a delivery of an endpoint due that waits for a retry.
    pub(super) fn make_due(
        &mut self,
        url: &WebhookUrl,
        id: DeliveryId,
        now: Timestamp,
    ) -> Option<WaitingDelivery> {
        let entry = self.entries.get_mut(&id)?;
        let DeliveryState::Waiting { due_at } = entry.state else {
            return None;
        };
        if entry.url != *url {
            return None;
        }
        let due_at = due_at.min(now);
        let queue = self.queues.get_mut(&entry.queue)?;
        queue.take(id, entry.state);
        queue.waiting.insert((due_at, id));
        entry.state = DeliveryState::Waiting { due_at };
        Some(WaitingDelivery {
            id,
            due_at,
            company_id: entry.alert.company_id.clone(),
        })
    }

    pub(super) fn redeliver(
        &mut self,
        limits: &MemoryLimits,
        which: &Redelivery,
        now: Timestamp,
    ) -> Result<Vec<(DeliveryId, WebhookUrl)>, StoreError> {
        let mut ids = match which {
            Redelivery::One(id) => vec![*id],
            Redelivery::DeadLetters(query) => self
                .matching(query)
                .filter(|letter| !self.is_removed(&letter.url))
                .take(page_limit(query.limit))
                .map(|letter| letter.delivery_id)
                .collect(),
            Redelivery::Ended(_) => return Err(StoreError::Unsupported(ENDED_AT_ONCE)),
        };
        ids.sort_unstable();
        let mut again = Vec::with_capacity(ids.len());
        let mut full = None;
        for id in ids {
            let old = self.find(id).ok_or(StoreError::UnknownDelivery(id))?;
            let (alert, url) = (Arc::clone(&old.alert), old.url.clone());
            if self.is_removed(&url) {
                return Err(StoreError::EndpointRemoved(url));
            }
            let queue = self.queue(&url);
            if let Some(overflow) = self.ledger.overflow(queue, &url, size(&alert)) {
                full.get_or_insert(overflow);
                continue;
            }
            self.unlist(limits, id);
            let mut entry = StoredDelivery::new(alert, url.clone(), queue, now);
            entry.redelivery_of = Some(id);
            again.push((self.open(entry), url));
        }
        match full {
            Some(overflow) if again.is_empty() => Err(StoreError::Full(overflow)),
            Some(_) | None => Ok(again),
        }
    }

    pub(super) fn remove_endpoint(
        &mut self,
        limits: &MemoryLimits,
        url: &WebhookUrl,
        at: Timestamp,
    ) -> u64 {
        self.dead_letter_open(limits, url, Some(at))
    }

    /// Gives up all open deliveries of an endpoint, as of `at`; if `None`, each as of its
    /// acceptance.
    fn dead_letter_open(
        &mut self,
        limits: &MemoryLimits,
        url: &WebhookUrl,
        at: Option<Timestamp>,
    ) -> u64 {
        let Some(number) = self.queue_numbers.remove(url) else {
            return 0;
        };
        let Some(queue) = self.queues.remove(&number) else {
            return 0;
        };
        let waiting = queue.waiting.iter().map(|(_, id)| *id);
        for id in queue.queued.iter().copied().chain(waiting) {
            let accepted = self.find(id).map(|entry| entry.accepted_at);
            let at = at.or(accepted).unwrap_or_default();
            let reason = DeadLetterReason::EndpointRemoved;
            self.give_up(limits, id, at, reason);
            self.tell_given_up(url, id, reason);
        }
        queue.open()
    }

    /// Queues a delivery that the store gave up by itself for the engine to report.
    fn tell_given_up(&self, url: &WebhookUrl, id: DeliveryId, reason: DeadLetterReason) {
        let given_up = self.entries.get(&id).map(|entry| GivenUp {
            url: url.clone(),
            delivery: entry.ended(id),
            reason,
        });
        self.given_up.add(given_up);
    }

    /// Returns the endpoints after `after` that have open deliveries, ordered by URL.
    pub(super) fn open_summaries(
        &self,
        after: Option<&WebhookUrl>,
        limit: usize,
    ) -> Vec<OpenSummary> {
        let later = |url: &WebhookUrl| after.is_none_or(|after| url > after);
        let mut urls: Vec<_> = self
            .queue_numbers
            .iter()
            .filter(|(url, _)| later(url))
            .collect();
        urls.sort_by(|a, b| a.0.cmp(b.0));
        let open_summaries = urls
            .into_iter()
            .filter_map(|(url, number)| self.backlog(url, self.queues.get(number)?));
        open_summaries.take(limit).collect()
    }

    /// Returns the stored state of an endpoint.
    pub(super) fn endpoint(&self, url: &WebhookUrl) -> StoredEndpoint {
        let queue = self.queue_of(url);
        StoredEndpoint {
            open: queue.map_or(0, EndpointQueue::open),
            held_until: queue.and_then(|queue| queue.held_until),
            health: self.health.get(url).copied().unwrap_or_default(),
            agreed: self.agreed.get(url).cloned().unwrap_or_default(),
        }
    }

    /// Returns the endpoints after `after` of which only a state is stored, ordered by URL.
    pub(super) fn resting_endpoints(
        &self,
        after: Option<&WebhookUrl>,
        limit: usize,
    ) -> Vec<(WebhookUrl, StoredEndpoint)> {
        let held = self.queue_numbers.keys();
        let urls = held.chain(self.health.keys()).chain(self.agreed.keys());
        let urls: BTreeSet<_> = urls
            .filter(|url| after.is_none_or(|after| *url > after))
            .collect();
        let states = urls
            .into_iter()
            .map(|url| (url.clone(), self.endpoint(url)));
        let nothing = StoredEndpoint::default();
        let resting = states.filter(|(_, state)| state.open == 0 && *state != nothing);
        resting.take(limit).collect()
    }

    fn backlog(&self, url: &WebhookUrl, queue: &EndpointQueue) -> Option<OpenSummary> {
        let waiting = queue.waiting.iter().map(|(_, id)| id);
        // Ids ascend with time, so the smallest id is the oldest delivery.
        let oldest = queue.queued.first().into_iter().chain(waiting).min()?;
        let oldest = self.find(*oldest)?.accepted_at;
        let next_due = queue.waiting.first().map(|(due_at, _)| *due_at);
        Some(OpenSummary {
            url: url.clone(),
            open: queue.open(),
            oldest,
            next_due,
        })
    }

    pub(super) fn waiting(&self, url: &WebhookUrl, limit: usize) -> Vec<WaitingDelivery> {
        let queue = self.queue_of(url).into_iter();
        let waiting = queue.flat_map(|queue| &queue.waiting).take(limit);
        let found = waiting.filter_map(|(due_at, id)| {
            let company_id = self.find(*id)?.alert.company_id.clone();
            Some(WaitingDelivery {
                id: *id,
                due_at: *due_at,
                company_id,
            })
        });
        found.collect()
    }

    pub(super) fn keep(&mut self, limits: &MemoryLimits, change: Change) {
        match change {
            Change::PutRule(rule) => {
                for url in rule.webhooks.iter() {
                    self.removed.remove(url);
                }
                self.rules.insert(rule.id.clone(), rule);
            }
            Change::RemoveRule(id) => drop(self.rules.remove(&id)),
            Change::PutClient(client) => drop(self.clients.insert(client.id.clone(), client)),
            Change::RemoveClient(id) => drop(self.clients.remove(&id)),
            Change::PutEndpoint(endpoint) => {
                self.removed.remove(&endpoint.url);
                self.endpoints.insert(endpoint.url.clone(), endpoint);
            }
            Change::RemoveEndpoint(url) => self.forget_endpoint(limits, url),
            Change::KeepPast(past) => drop(self.past.insert(past.key(), past)),
            Change::ForgetPast(key) => drop(self.past.remove(&key)),
            Change::Pause(url, stopped) => {
                self.paused.entry(url).or_insert(stopped);
            }
            Change::Disable(url, reason, stopped) => {
                disable(&mut self.disabled, url, reason, stopped);
            }
            Change::Resume(url) => {
                self.paused.remove(&url);
                self.disabled.remove(&url);
                self.health.remove(&url);
                self.lift(&url);
            }
        }
    }

    /// Stores what an endpoint has agreed on with its receiver.
    pub(super) fn agree(&mut self, url: &WebhookUrl, agreed: Agreed) {
        agree(&mut self.agreed, url, agreed);
    }

    /// Ends the hold and the open circuit of an endpoint, and makes the deliveries due that waited
    /// for the hold to end.
    fn lift(&mut self, url: &WebhookUrl) {
        let agreed = self.agreed.remove(url).unwrap_or_default();
        let hold = agreed.hold();
        agree(&mut self.agreed, url, agreed.lifted());
        let queue = self.queue_numbers.get(url);
        let Some(queue) = queue.and_then(|number| self.queues.get_mut(number)) else {
            return;
        };
        queue.held_until = None;
        let Some((hold, since)) = hold.and_then(|hold| Some((hold, hold.at?))) else {
            return;
        };
        let waiting = std::mem::take(&mut queue.waiting);
        for (due_at, id) in waiting {
            let due_at = if hold.made_wait(due_at) {
                since
            } else {
                due_at
            };
            queue.waiting.insert((due_at, id));
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.state = DeliveryState::Waiting { due_at };
            }
        }
    }

    fn forget_endpoint(&mut self, limits: &MemoryLimits, url: WebhookUrl) {
        let settings = self.endpoints.remove(&url);
        self.paused.remove(&url);
        self.disabled.remove(&url);
        self.health.remove(&url);
        self.agreed.remove(&url);
        if settings.is_some_and(|endpoint| endpoint.shapes_requests()) {
            // Deliveries accepted after `remove_endpoint` would go out without these settings.
            self.dead_letter_open(limits, &url, None);
            self.removed.insert(url);
        }
    }

    /// Notes the time of a write.
    pub(super) fn note_time(&mut self, at: Timestamp) {
        self.clock.latest = self.clock.latest.max(Some(at));
    }

    pub(super) fn prune(&mut self, now: Timestamp, keep: Retention) -> u64 {
        let before = self.entries.len();
        let ended_since = |entry: &StoredDelivery, since: Timestamp| match entry.state {
            DeliveryState::Delivered { at } | DeliveryState::DeadLettered { at, .. } => at >= since,
            DeliveryState::Queued | DeliveryState::Waiting { .. } => true,
        };
        let (ended, dead) = (now.before(keep.ended), now.before(keep.dead_letters));
        let listed = &self.dead;
        self.entries
            .retain(|id, entry| ended_since(entry, if listed.contains(id) { dead } else { ended }));
        let entries = &self.entries;
        self.ended.retain(|id| entries.contains_key(id));
        self.dead.retain(|id| entries.contains_key(id));
        self.events.forget_before(now.before(keep.event_ids));
        self.queues
            .retain(|_, queue| queue.open() > 0 || queue.held_until.is_some_and(|at| at >= now));
        self.agreed.retain(|_, agreed| !agreed.is_over(now));
        let queues = &self.queues;
        self.queue_numbers
            .retain(|_, number| queues.contains_key(number));
        u64::try_from(before - self.entries.len()).unwrap_or(u64::MAX)
    }
}

fn agree(kept: &mut BTreeMap<WebhookUrl, Agreed>, url: &WebhookUrl, agreed: Agreed) {
    if agreed.is_nothing() {
        kept.remove(url);
    } else {
        kept.insert(url.clone(), agreed);
    }
}

/// Disables an endpoint, unless it is disabled for this reason already.
fn disable(
    kept: &mut BTreeMap<WebhookUrl, (DisabledReason, Stopped)>,
    url: WebhookUrl,
    reason: DisabledReason,
    stopped: Stopped,
) {
    if kept.get(&url).is_none_or(|(known, _)| *known != reason) {
        kept.insert(url, (reason, stopped));
    }
}

impl EndpointQueue {
    /// Removes an open delivery.
    fn take(&mut self, id: DeliveryId, state: DeliveryState) {
        if let DeliveryState::Waiting { due_at } = state {
            self.waiting.remove(&(due_at, id));
        } else {
            self.queued.remove(&id);
        }
    }

    pub(super) fn open(&self) -> u64 {
        u64::try_from(self.queued.len() + self.waiting.len()).unwrap_or(u64::MAX)
    }
}
