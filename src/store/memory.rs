//! A store in memory: as fast as it gets, and gone with the process.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::backlog::{Ledger, Room};
use super::{
    Alert, Appended, Attempt, AttemptRecord, BacklogLimits, Change, Configuration, DeadLetterQuery,
    DeliveryQuery, DeliveryStage, EndpointBacklog, NewEvent, OpenDelivery, Progress, Redelivery,
    Retention, Store, StoreError, StoreFuture, StoredEndpoint, WaitingDelivery, page_limit,
};
use crate::domain::attempt::{AttemptSummary, Outcome};
use crate::domain::client::Client;
use crate::domain::dead_letter::{DeadLetter, DeadLetterReason};
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::endpoint::Endpoint;
use crate::domain::id::{ClientId, DeliveryId, EventId, RuleId};
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use crate::domain::url::WebhookUrl;

/// Keeps everything in memory.
///
/// **What a crash loses:** everything that is open, all dead letters and all records. It suits tests and applications that accept
/// that; nothing is lost while the process lives. What it keeps is bounded by [`MemoryLimits`].
///
/// ```
/// use actix_webhooks::store::{MemoryLimits, MemoryStore};
///
/// let store = MemoryStore::with_limits(MemoryLimits { dead_letters: 1_000, ..MemoryLimits::default() });
/// # drop(store);
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    limits: MemoryLimits,
    kept: Mutex<Kept>,
}

/// How much a [`MemoryStore`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// How much may be open.
    pub backlog: BacklogLimits,
    /// The most dead letters; beyond them the oldest is forgotten, with a warning in the log. Defaults to 10,000.
    pub dead_letters: usize,
    /// The most delivered deliveries that can still be listed and redelivered. Defaults to 1,000.
    pub delivered: usize,
    /// The most event ids that are remembered, so that publishing them again delivers nothing. Defaults to 100,000.
    pub event_ids: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            backlog: BacklogLimits {
                total_deliveries: 1_000_000,
                total_bytes: 4 * 1_024 * 1_024 * 1_024,
                ..BacklogLimits::default()
            },
            dead_letters: 10_000,
            delivered: 1_000,
            event_ids: 100_000,
        }
    }
}

impl MemoryStore {
    /// Returns an empty store with the default limits.
    pub fn new() -> Self {
        Self::with_limits(MemoryLimits::default())
    }

    /// Returns an empty store with these limits.
    pub fn with_limits(limits: MemoryLimits) -> Self {
        Self {
            limits,
            kept: Mutex::new(Kept::new(limits.backlog)),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Every change below is complete or not begun when a panic could pass through, so a poisoned lock is harmless.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

/// All that is kept.
#[derive(Debug)]
struct Kept {
    last_id: u64,
    last_shelf: u64,
    open: BTreeMap<DeliveryId, Entry>,
    shelves: HashMap<WebhookUrl, Shelf>,
    ledger: Ledger<u64>,
    delivered: BTreeMap<DeliveryId, Entry>,
    dead: BTreeMap<DeliveryId, Entry>,
    events: HashMap<EventId, usize>,
    events_in_order: VecDeque<(Timestamp, EventId)>,
    rules: BTreeMap<RuleId, Rule>,
    clients: BTreeMap<ClientId, Client>,
    endpoints: BTreeMap<WebhookUrl, Endpoint>,
    paused: BTreeSet<WebhookUrl>,
}

/// What is known of one endpoint: which deliveries are open, never attempted or waiting for a retry, and until when it is held back.
#[derive(Debug, Default)]
struct Shelf {
    /// By which the ledger knows it.
    number: u64,
    held_until: Option<Timestamp>,
    queued: BTreeSet<DeliveryId>,
    waiting: BTreeSet<(Timestamp, DeliveryId)>,
}

/// One delivery.
#[derive(Clone, Debug)]
struct Entry {
    alert: Arc<Alert>,
    url: WebhookUrl,
    accepted_at: Timestamp,
    state: DeliveryState,
    progress: Progress,
    attempts: Vec<Attempt>,
}

impl Entry {
    fn new(alert: Arc<Alert>, url: WebhookUrl, accepted_at: Timestamp) -> Self {
        Self {
            alert,
            url,
            accepted_at,
            state: DeliveryState::Queued,
            progress: Progress::default(),
            attempts: Vec::new(),
        }
    }

    fn open(&self, id: DeliveryId) -> OpenDelivery {
        let due_at = match self.state {
            DeliveryState::Waiting { due_at } => Some(due_at),
            DeliveryState::Queued
            | DeliveryState::Delivered { .. }
            | DeliveryState::DeadLettered { .. } => None,
        };
        OpenDelivery {
            id,
            alert: Arc::clone(&self.alert),
            progress: self.progress,
            due_at,
        }
    }

    fn shown(&self, id: DeliveryId) -> Delivery {
        Delivery {
            id,
            alert_id: self.alert.id,
            event_id: self.alert.event_id.clone(),
            rule_id: self.alert.rule_id.clone(),
            rule_type: self.alert.rule_type.clone(),
            client_id: self.alert.client_id.clone(),
            url: self.url.clone(),
            accepted_at: self.accepted_at,
            state: self.state,
            attempts_made: self.progress.attempts_made,
            last_attempt: self.last_attempt(),
        }
    }

    fn dead_letter(&self, id: DeliveryId) -> Option<DeadLetter> {
        let DeliveryState::DeadLettered { at, reason } = self.state else {
            return None;
        };
        Some(DeadLetter {
            delivery_id: id,
            alert_id: self.alert.id,
            event_id: self.alert.event_id.clone(),
            rule_id: self.alert.rule_id.clone(),
            rule_type: self.alert.rule_type.clone(),
            client_id: self.alert.client_id.clone(),
            url: self.url.clone(),
            reason,
            at,
            attempts_made: self.progress.attempts_made,
            last_attempt: self.last_attempt(),
        })
    }

    fn last_attempt(&self) -> Option<AttemptSummary> {
        self.attempts.last().map(|attempt| attempt.summary)
    }

    fn matches(&self, id: DeliveryId, query: &DeliveryQuery) -> bool {
        let in_stage = match query.stage {
            None => true,
            Some(DeliveryStage::Open) => self.state.is_open(),
            Some(DeliveryStage::Delivered) => matches!(self.state, DeliveryState::Delivered { .. }),
            Some(DeliveryStage::DeadLettered) => {
                matches!(self.state, DeliveryState::DeadLettered { .. })
            }
        };
        in_stage
            && query.before.is_none_or(|before| id < before)
            && query.since.is_none_or(|since| self.accepted_at >= since)
            && query.until.is_none_or(|until| self.accepted_at < until)
            && query.url.as_ref().is_none_or(|url| *url == self.url)
            && query
                .client_id
                .as_ref()
                .is_none_or(|client| *client == self.alert.client_id)
            && query
                .event_id
                .as_ref()
                .is_none_or(|event| *event == self.alert.event_id)
            && query
                .rule_type
                .as_ref()
                .is_none_or(|rule_type| *rule_type == self.alert.rule_type)
    }
}

impl Kept {
    fn new(limits: BacklogLimits) -> Self {
        Self {
            last_id: 0,
            last_shelf: 0,
            open: BTreeMap::new(),
            shelves: HashMap::new(),
            ledger: Ledger::new(limits),
            delivered: BTreeMap::new(),
            dead: BTreeMap::new(),
            events: HashMap::new(),
            events_in_order: VecDeque::new(),
            rules: BTreeMap::new(),
            clients: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            paused: BTreeSet::new(),
        }
    }

    fn append_one(&mut self, limits: &MemoryLimits, event: &NewEvent) -> Appended {
        if let Some(deliveries) = self.events.get(&event.id) {
            return Appended::Remembered {
                deliveries: *deliveries,
            };
        }
        let targets = event
            .alerts
            .iter()
            .flat_map(|new| new.urls.iter().map(move |url| (&new.alert, url)));
        let (shelves, numbers) = (&mut self.shelves, &mut self.last_shelf);
        let sizes = targets.clone().map(|(alert, url)| {
            let number = shelf(shelves, numbers, url).number;
            (number, url, size(alert))
        });
        let full = match self.ledger.room(sizes) {
            Room::Enough => Vec::new(),
            Room::NotFor(full) => full,
            Room::None(overflow) => return Appended::Full(overflow),
        };
        let mut ids = Vec::with_capacity(event.alerts.iter().map(|new| new.urls.len()).sum());
        let mut dead = Vec::new();
        for (alert, url) in targets {
            let id = self.open(Entry::new(Arc::clone(alert), url.clone(), event.at));
            ids.push(id);
            if !full.is_empty()
                && full.contains(&shelf(&mut self.shelves, &mut self.last_shelf, url).number)
            {
                self.give_up(limits, id, url, event.at, DeadLetterReason::BacklogFull);
                dead.push(id);
            }
        }
        self.events.insert(event.id.clone(), ids.len());
        self.events_in_order.push_back((event.at, event.id.clone()));
        if self.events_in_order.len() > limits.event_ids
            && let Some((_, oldest)) = self.events_in_order.pop_front()
        {
            self.events.remove(&oldest);
        }
        if dead.is_empty() {
            Appended::Stored(ids)
        } else {
            Appended::StoredInPart { ids, dead }
        }
    }

    fn open(&mut self, entry: Entry) -> DeliveryId {
        self.last_id += 1;
        let id = DeliveryId::new(self.last_id);
        let shelf = shelf(&mut self.shelves, &mut self.last_shelf, &entry.url);
        shelf.queued.insert(id);
        self.ledger.add(shelf.number, 1, size(&entry.alert));
        self.open.insert(id, entry);
        id
    }

    /// Makes an open delivery a dead letter without an attempt.
    fn give_up(
        &mut self,
        limits: &MemoryLimits,
        id: DeliveryId,
        url: &WebhookUrl,
        at: Timestamp,
        reason: DeadLetterReason,
    ) {
        let (Some(mut entry), Some(shelf)) = (self.open.remove(&id), self.shelves.get_mut(url))
        else {
            return;
        };
        shelf.queued.remove(&id);
        if let DeliveryState::Waiting { due_at } = entry.state {
            shelf.waiting.remove(&(due_at, id));
        }
        self.ledger.take(shelf.number, 1, size(&entry.alert));
        entry.state = DeliveryState::DeadLettered { at, reason };
        self.end(limits, id, entry);
    }

    fn record(&mut self, limits: &MemoryLimits, record: &AttemptRecord) {
        let (id, at) = (record.delivery_id, record.summary.at);
        let (Some(entry), Some(shelf)) =
            (self.open.get_mut(&id), self.shelves.get_mut(&record.url))
        else {
            return;
        };
        if entry
            .last_attempt()
            .is_some_and(|last| last.number >= record.summary.number)
        {
            // It is on record already.
            return;
        }
        if let DeliveryState::Waiting { due_at } = entry.state {
            shelf.waiting.remove(&(due_at, id));
        } else {
            shelf.queued.remove(&id);
        }
        entry.progress = record.progress;
        entry.attempts.push(Attempt::from(record));
        shelf.held_until = shelf.held_until.max(record.hold_until);
        let ended = match record.outcome {
            Outcome::Failed { .. } => {
                let due_at = record.next_attempt_at.unwrap_or(at);
                entry.state = DeliveryState::Waiting { due_at };
                shelf.waiting.insert((due_at, id));
                return;
            }
            Outcome::Delivered => DeliveryState::Delivered { at },
            Outcome::DeadLettered { reason } => DeliveryState::DeadLettered { at, reason },
        };
        let number = shelf.number;
        if let Some(mut entry) = self.open.remove(&id) {
            self.ledger.take(number, 1, size(&entry.alert));
            entry.state = ended;
            self.end(limits, id, entry);
        }
    }

    /// Keeps a delivery that has ended, as long as there is room.
    fn end(&mut self, limits: &MemoryLimits, id: DeliveryId, entry: Entry) {
        if let DeliveryState::Delivered { .. } = entry.state {
            self.delivered.insert(id, entry);
            if self.delivered.len() > limits.delivered {
                self.delivered.pop_first();
            }
            return;
        }
        self.dead.insert(id, entry);
        if self.dead.len() > limits.dead_letters
            && let Some((forgotten, _)) = self.dead.pop_first()
        {
            log::warn!(delivery_id = forgotten.get(), limit = limits.dead_letters; "dead letter forgotten: the memory store is full of them");
        }
    }

    fn all(&self) -> impl Iterator<Item = (&DeliveryId, &Entry)> {
        self.open.iter().chain(&self.delivered).chain(&self.dead)
    }

    fn find(&self, id: DeliveryId) -> Option<&Entry> {
        self.open.get(&id).or_else(|| self.delivered.get(&id))
    }

    fn deliveries(&self, query: &DeliveryQuery) -> Vec<Delivery> {
        let mut found: Vec<_> = self
            .all()
            .filter(|(id, entry)| entry.matches(**id, query))
            .collect();
        found.sort_by(|a, b| b.0.cmp(a.0));
        found
            .into_iter()
            .take(page_limit(query.limit))
            .map(|(id, entry)| entry.shown(*id))
            .collect()
    }

    fn dead_letters(&self, query: &DeadLetterQuery) -> Vec<DeadLetter> {
        let below = ..query.before.unwrap_or(DeliveryId::new(u64::MAX));
        let newest_first = self
            .dead
            .range(below)
            .rev()
            .filter_map(|(id, entry)| entry.dead_letter(*id));
        let matching = newest_first.filter(|letter| {
            query.url.as_ref().is_none_or(|url| *url == letter.url)
                && query
                    .client_id
                    .as_ref()
                    .is_none_or(|client| *client == letter.client_id)
                && query
                    .event_id
                    .as_ref()
                    .is_none_or(|event| *event == letter.event_id)
                && query.since.is_none_or(|since| letter.at >= since)
        });
        matching.take(page_limit(query.limit)).collect()
    }

    fn redeliver(
        &mut self,
        which: &Redelivery,
        now: Timestamp,
    ) -> Result<Vec<(DeliveryId, WebhookUrl)>, StoreError> {
        let mut ids = match which {
            Redelivery::One(id) => vec![*id],
            Redelivery::DeadLetters(query) => self
                .dead_letters(query)
                .into_iter()
                .map(|letter| letter.delivery_id)
                .collect(),
        };
        ids.sort_unstable();
        let mut again = Vec::with_capacity(ids.len());
        for id in ids {
            let found = self.dead.remove(&id).or_else(|| self.find(id).cloned());
            let old = found.ok_or(StoreError::UnknownDelivery(id))?;
            let url = old.url.clone();
            again.push((self.open(Entry::new(old.alert, old.url, now)), url));
        }
        Ok(again)
    }

    fn remove_endpoint(&mut self, limits: &MemoryLimits, url: &WebhookUrl, at: Timestamp) -> u64 {
        let Some(shelf) = self.shelves.get(url) else {
            return 0;
        };
        let open = shelf.open();
        let waiting = shelf.waiting.iter().map(|(_, id)| *id);
        let ids: Vec<_> = shelf.queued.iter().copied().chain(waiting).collect();
        for id in ids {
            self.give_up(limits, id, url, at, DeadLetterReason::EndpointRemoved);
        }
        self.shelves.remove(url);
        open
    }

    fn backlog(&self, url: &WebhookUrl, shelf: &Shelf) -> Option<EndpointBacklog> {
        let waiting = shelf.waiting.iter().map(|(_, id)| id);
        // Ids ascend with time, so that the smallest is the oldest.
        let oldest = self
            .open
            .get(shelf.queued.first().into_iter().chain(waiting).min()?)?
            .accepted_at;
        let next_due = shelf.waiting.first().map(|(due_at, _)| *due_at);
        Some(EndpointBacklog {
            url: url.clone(),
            open: shelf.open(),
            oldest,
            next_due,
        })
    }

    fn waiting(&self, url: &WebhookUrl, limit: usize) -> Vec<WaitingDelivery> {
        let waiting = self
            .shelves
            .get(url)
            .into_iter()
            .flat_map(|shelf| &shelf.waiting)
            .take(limit);
        let found = waiting.filter_map(|(due_at, id)| {
            let company_id = self.open.get(id)?.alert.company_id.clone();
            Some(WaitingDelivery {
                id: *id,
                due_at: *due_at,
                company_id,
            })
        });
        found.collect()
    }

    fn keep(&mut self, change: Change) {
        match change {
            Change::PutRule(rule) => drop(self.rules.insert(rule.id.clone(), rule)),
            Change::RemoveRule(id) => drop(self.rules.remove(&id)),
            Change::PutClient(client) => drop(self.clients.insert(client.id.clone(), client)),
            Change::PutEndpoint(endpoint) => {
                drop(self.endpoints.insert(endpoint.url.clone(), endpoint));
            }
            Change::RemoveEndpoint(url) => {
                self.endpoints.remove(&url);
                self.paused.remove(&url);
            }
            Change::Pause(url) => {
                self.paused.insert(url);
            }
            Change::Resume(url) => {
                self.paused.remove(&url);
            }
        }
    }

    fn prune(&mut self, now: Timestamp, keep: Retention) -> u64 {
        let kept = self.delivered.len() + self.dead.len();
        let recent = |entry: &Entry| match entry.state {
            DeliveryState::Delivered { at } => at >= now.before(keep.ended),
            DeliveryState::DeadLettered { at, .. } => at >= now.before(keep.dead_letters),
            DeliveryState::Queued | DeliveryState::Waiting { .. } => true,
        };
        self.delivered.retain(|_, entry| recent(entry));
        self.dead.retain(|_, entry| recent(entry));
        while self
            .events_in_order
            .front()
            .is_some_and(|(at, _)| *at < now.before(keep.event_ids))
        {
            if let Some((_, id)) = self.events_in_order.pop_front() {
                self.events.remove(&id);
            }
        }
        self.shelves
            .retain(|_, shelf| shelf.open() > 0 || shelf.held_until.is_some_and(|at| at >= now));
        u64::try_from(kept - self.delivered.len() - self.dead.len()).unwrap_or(u64::MAX)
    }
}

impl Shelf {
    fn open(&self) -> u64 {
        u64::try_from(self.queued.len() + self.waiting.len()).unwrap_or(u64::MAX)
    }
}

impl Store for MemoryStore {
    fn append(&self, batch: Arc<[NewEvent]>) -> StoreFuture<Vec<Appended>> {
        let mut kept = self.kept();
        done(Ok(batch
            .iter()
            .map(|event| kept.append_one(&self.limits, event))
            .collect()))
    }

    fn queued(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<OpenDelivery>> {
        let next = DeliveryId::new(after.get().saturating_add(1));
        let kept = self.kept();
        let ids = kept
            .shelves
            .get(url)
            .into_iter()
            .flat_map(|shelf| shelf.queued.range(next..))
            .take(limit);
        done(Ok(ids
            .filter_map(|id| Some(kept.open.get(id)?.open(*id)))
            .collect()))
    }

    fn waiting(&self, url: &WebhookUrl, limit: usize) -> StoreFuture<Vec<WaitingDelivery>> {
        done(Ok(self.kept().waiting(url, limit)))
    }

    fn load(&self, _: &WebhookUrl, ids: Vec<DeliveryId>) -> StoreFuture<Vec<OpenDelivery>> {
        let kept = self.kept();
        done(Ok(ids
            .iter()
            .filter_map(|id| Some(kept.open.get(id)?.open(*id)))
            .collect()))
    }

    fn record(&self, batch: Arc<[AttemptRecord]>) -> StoreFuture<()> {
        let mut kept = self.kept();
        for record in &*batch {
            kept.record(&self.limits, record);
        }
        done(Ok(()))
    }

    fn backlogs(
        &self,
        after: Option<WebhookUrl>,
        limit: usize,
    ) -> StoreFuture<Vec<EndpointBacklog>> {
        let kept = self.kept();
        let later = |url: &WebhookUrl| after.as_ref().is_none_or(|after| url > after);
        let mut urls: Vec<_> = kept.shelves.iter().filter(|(url, _)| later(url)).collect();
        urls.sort_by(|a, b| a.0.cmp(b.0));
        done(Ok(urls
            .into_iter()
            .filter_map(|(url, shelf)| kept.backlog(url, shelf))
            .take(limit)
            .collect()))
    }

    fn endpoint(&self, url: &WebhookUrl) -> StoreFuture<StoredEndpoint> {
        let known = |shelf: &Shelf| StoredEndpoint {
            open: shelf.open(),
            held_until: shelf.held_until,
        };
        done(Ok(self
            .kept()
            .shelves
            .get(url)
            .map(known)
            .unwrap_or_default()))
    }

    fn attempts(&self, id: DeliveryId) -> StoreFuture<Vec<Attempt>> {
        let kept = self.kept();
        let found = kept.find(id).or_else(|| kept.dead.get(&id));
        done(Ok(found
            .map(|entry| entry.attempts.clone())
            .unwrap_or_default()))
    }

    fn discard(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        let mut kept = self.kept();
        let letters = kept.dead_letters(&query);
        for letter in &letters {
            kept.dead.remove(&letter.delivery_id);
        }
        done(Ok(u64::try_from(letters.len()).unwrap_or(u64::MAX)))
    }

    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<Vec<Delivery>> {
        done(Ok(self.kept().deliveries(&query)))
    }

    fn dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<Vec<DeadLetter>> {
        done(Ok(self.kept().dead_letters(&query)))
    }

    fn redeliver(
        &self,
        which: Redelivery,
        now: Timestamp,
    ) -> StoreFuture<Vec<(DeliveryId, WebhookUrl)>> {
        done(self.kept().redeliver(&which, now))
    }

    fn remove_endpoint(&self, url: &WebhookUrl, now: Timestamp) -> StoreFuture<u64> {
        done(Ok(self.kept().remove_endpoint(&self.limits, url, now)))
    }

    fn keep(&self, change: Change) -> StoreFuture<()> {
        self.kept().keep(change);
        done(Ok(()))
    }

    fn configuration(&self) -> StoreFuture<Configuration> {
        let kept = self.kept();
        done(Ok(Configuration {
            rules: kept.rules.values().cloned().collect(),
            clients: kept.clients.values().cloned().collect(),
            endpoints: kept.endpoints.values().cloned().collect(),
            paused: kept.paused.iter().cloned().collect(),
        }))
    }

    fn prune(&self, now: Timestamp, keep: Retention) -> StoreFuture<u64> {
        done(Ok(self.kept().prune(now, keep)))
    }

    fn open_total(&self) -> StoreFuture<u64> {
        done(Ok(u64::try_from(self.kept().open.len()).unwrap_or(u64::MAX)))
    }

    fn flush(&self) -> StoreFuture<()> {
        done(Ok(()))
    }
}

/// Returns the shelf of an endpoint, a new one if there is none.
fn shelf<'a>(
    shelves: &'a mut HashMap<WebhookUrl, Shelf>,
    numbers: &mut u64,
    url: &WebhookUrl,
) -> &'a mut Shelf {
    shelves.entry(url.clone()).or_insert_with(|| {
        *numbers += 1;
        Shelf {
            number: *numbers,
            ..Shelf::default()
        }
    })
}

fn size(alert: &Alert) -> u64 {
    u64::try_from(alert.body.len()).unwrap_or(u64::MAX)
}

/// Returns a future that is ready at once: everything here happens under one short lock.
fn done<T: Send + 'static>(result: Result<T, StoreError>) -> StoreFuture<T> {
    Box::pin(std::future::ready(result))
}
