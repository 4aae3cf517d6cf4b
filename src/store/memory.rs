//! A store in memory: as fast as it gets, and gone with the process.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Alert, Appended, AttemptRecord, Change, Configuration, DeadLetterQuery, DeliveryQuery,
    DeliveryStage, EndpointBacklog, NewEvent, OpenDelivery, Progress, Redelivery, Store,
    StoreError, StoreFuture, WaitingDelivery, page_limit,
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
/// let store = MemoryStore::with_limits(MemoryLimits { open_deliveries: 10_000, ..MemoryLimits::default() });
/// # drop(store);
/// ```
#[derive(Debug, Default)]
pub struct MemoryStore {
    limits: MemoryLimits,
    kept: Mutex<Kept>,
}

/// How much a [`MemoryStore`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// The most open deliveries; beyond them publishing fails with `Overloaded`. Defaults to 1,000,000.
    pub open_deliveries: usize,
    /// The most dead letters; beyond them the oldest is forgotten, with a warning in the log. Defaults to 100,000.
    pub dead_letters: usize,
    /// The most delivered deliveries that can still be listed and redelivered. Defaults to 1,000.
    pub delivered: usize,
    /// The most event ids that are remembered, so that publishing them again delivers nothing. Defaults to 100,000.
    pub event_ids: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            open_deliveries: 1_000_000,
            dead_letters: 100_000,
            delivered: 1_000,
            event_ids: 100_000,
        }
    }
}

impl MemoryStore {
    /// Returns an empty store with the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an empty store with these limits.
    pub fn with_limits(limits: MemoryLimits) -> Self {
        Self {
            limits,
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Every change below is complete or not begun when a panic could pass through, so a poisoned lock is harmless.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that is kept.
#[derive(Debug, Default)]
struct Kept {
    last_id: u64,
    open: HashMap<WebhookUrl, Shelf>,
    open_total: usize,
    delivered: BTreeMap<DeliveryId, Entry>,
    dead: BTreeMap<DeliveryId, Entry>,
    events: HashMap<EventId, usize>,
    events_in_order: VecDeque<(Timestamp, EventId)>,
    rules: BTreeMap<RuleId, Rule>,
    clients: BTreeMap<ClientId, Client>,
    endpoints: BTreeMap<WebhookUrl, Endpoint>,
    paused: BTreeSet<WebhookUrl>,
}

/// The open deliveries of one endpoint: never attempted, or waiting for a retry.
#[derive(Debug, Default)]
struct Shelf {
    queued: BTreeMap<DeliveryId, Entry>,
    waiting: BTreeMap<DeliveryId, Entry>,
}

/// One delivery.
#[derive(Clone, Debug)]
struct Entry {
    alert: Arc<Alert>,
    url: WebhookUrl,
    accepted_at: Timestamp,
    state: DeliveryState,
    progress: Progress,
    last_attempt: Option<AttemptSummary>,
}

impl Entry {
    fn new(alert: Arc<Alert>, url: WebhookUrl, accepted_at: Timestamp) -> Self {
        Self {
            alert,
            url,
            accepted_at,
            state: DeliveryState::Queued,
            progress: Progress::default(),
            last_attempt: None,
        }
    }

    fn open(&self, id: DeliveryId) -> OpenDelivery {
        let due_at = match self.state {
            DeliveryState::Waiting { due_at } => Some(due_at),
            _ => None,
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
            last_attempt: self.last_attempt,
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
            last_attempt: self.last_attempt,
        })
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
    fn append(
        &mut self,
        limits: &MemoryLimits,
        batch: &[NewEvent],
    ) -> Result<Vec<Appended>, StoreError> {
        let new: usize = batch
            .iter()
            .flat_map(|event| &event.alerts)
            .map(|alert| alert.urls.len())
            .sum();
        if self.open_total + new > limits.open_deliveries {
            let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
            return Err(StoreError::Full {
                open: count(self.open_total),
                limit: count(limits.open_deliveries),
            });
        }
        Ok(batch
            .iter()
            .map(|event| self.append_one(limits, event))
            .collect())
    }

    fn append_one(&mut self, limits: &MemoryLimits, event: &NewEvent) -> Appended {
        if let Some(deliveries) = self.events.get(&event.id) {
            return Appended::Remembered {
                deliveries: *deliveries,
            };
        }
        let mut ids = Vec::with_capacity(event.alerts.iter().map(|alert| alert.urls.len()).sum());
        for new in &event.alerts {
            for url in new.urls.iter() {
                ids.push(self.open(Entry::new(Arc::clone(&new.alert), url.clone(), event.at)));
            }
        }
        self.events.insert(event.id.clone(), ids.len());
        self.events_in_order.push_back((event.at, event.id.clone()));
        if self.events_in_order.len() > limits.event_ids
            && let Some((_, oldest)) = self.events_in_order.pop_front()
        {
            self.events.remove(&oldest);
        }
        Appended::Stored(ids)
    }

    fn open(&mut self, entry: Entry) -> DeliveryId {
        self.last_id += 1;
        let id = DeliveryId::new(self.last_id);
        self.open_total += 1;
        match self.open.get_mut(&entry.url) {
            Some(shelf) => drop(shelf.queued.insert(id, entry)),
            None => drop(
                self.open
                    .entry(entry.url.clone())
                    .or_default()
                    .queued
                    .insert(id, entry),
            ),
        }
        id
    }

    fn record(&mut self, limits: &MemoryLimits, record: &AttemptRecord) {
        let Some(shelf) = self.open.get_mut(&record.url) else {
            return;
        };
        let id = record.delivery_id;
        let found = shelf
            .queued
            .remove(&id)
            .or_else(|| shelf.waiting.remove(&id));
        let Some(mut entry) = found else { return };
        entry.progress = record.progress;
        entry.last_attempt = Some(record.summary);
        let at = record.summary.at;
        match (record.outcome, record.next_attempt_at) {
            (Outcome::Failed { .. }, due_at) => {
                entry.state = DeliveryState::Waiting {
                    due_at: due_at.unwrap_or(at),
                };
                shelf.waiting.insert(id, entry);
            }
            (Outcome::Delivered, _) => {
                entry.state = DeliveryState::Delivered { at };
                self.open_total -= 1;
                self.delivered.insert(id, entry);
                if self.delivered.len() > limits.delivered {
                    self.delivered.pop_first();
                }
            }
            (Outcome::DeadLettered { reason }, _) => {
                self.open_total -= 1;
                self.bury(limits, id, entry, at, reason);
            }
        }
    }

    fn bury(
        &mut self,
        limits: &MemoryLimits,
        id: DeliveryId,
        mut entry: Entry,
        at: Timestamp,
        reason: DeadLetterReason,
    ) {
        entry.state = DeliveryState::DeadLettered { at, reason };
        self.dead.insert(id, entry);
        if self.dead.len() > limits.dead_letters
            && let Some((forgotten, _)) = self.dead.pop_first()
        {
            log::warn!(delivery_id = forgotten.get(), limit = limits.dead_letters; "dead letter forgotten: the memory store is full of them");
        }
    }

    fn all(&self) -> impl Iterator<Item = (&DeliveryId, &Entry)> {
        let open = self
            .open
            .values()
            .flat_map(|shelf| shelf.queued.iter().chain(&shelf.waiting));
        open.chain(&self.delivered).chain(&self.dead)
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
            let found = self.dead.remove(&id).or_else(|| {
                self.all()
                    .find(|(other, _)| **other == id)
                    .map(|(_, entry)| entry.clone())
            });
            let old = found.ok_or(StoreError::UnknownDelivery(id))?;
            let url = old.url.clone();
            again.push((self.open(Entry::new(old.alert, old.url, now)), url));
        }
        Ok(again)
    }

    fn remove_endpoint(&mut self, limits: &MemoryLimits, url: &WebhookUrl, now: Timestamp) -> u64 {
        let Some(shelf) = self.open.remove(url) else {
            return 0;
        };
        let mut removed = 0;
        for (id, entry) in shelf.queued.into_iter().chain(shelf.waiting) {
            self.open_total -= 1;
            removed += 1;
            self.bury(limits, id, entry, now, DeadLetterReason::EndpointRemoved);
        }
        removed
    }

    fn keep(&mut self, change: Change) {
        match change {
            Change::PutRule(rule) => drop(self.rules.insert(rule.id.clone(), rule)),
            Change::RemoveRule(id) => drop(self.rules.remove(&id)),
            Change::PutClient(client) => drop(self.clients.insert(client.id.clone(), client)),
            Change::PutEndpoint(endpoint) => {
                drop(self.endpoints.insert(endpoint.url.clone(), endpoint))
            }
            Change::RemoveEndpoint(url) => {
                self.endpoints.remove(&url);
                self.paused.remove(&url);
            }
            Change::Pause(url) => drop(self.paused.insert(url)),
            Change::Resume(url) => drop(self.paused.remove(&url)),
        }
    }

    fn prune(&mut self, before: Timestamp) -> u64 {
        let kept = self.delivered.len() + self.dead.len();
        let recent = |entry: &Entry| match entry.state {
            DeliveryState::Delivered { at } | DeliveryState::DeadLettered { at, .. } => {
                at >= before
            }
            DeliveryState::Queued | DeliveryState::Waiting { .. } => true,
        };
        self.delivered.retain(|_, entry| recent(entry));
        self.dead.retain(|_, entry| recent(entry));
        while self
            .events_in_order
            .front()
            .is_some_and(|(at, _)| *at < before)
        {
            if let Some((_, id)) = self.events_in_order.pop_front() {
                self.events.remove(&id);
            }
        }
        self.open
            .retain(|_, shelf| !shelf.queued.is_empty() || !shelf.waiting.is_empty());
        u64::try_from(kept - self.delivered.len() - self.dead.len()).unwrap_or(u64::MAX)
    }
}

impl Shelf {
    fn open(&self) -> u64 {
        u64::try_from(self.queued.len() + self.waiting.len()).unwrap_or(u64::MAX)
    }

    fn backlog(&self, url: &WebhookUrl) -> Option<EndpointBacklog> {
        let first = [&self.queued, &self.waiting]
            .into_iter()
            .flat_map(|kind| kind.values().next());
        let oldest = first.map(|entry| entry.accepted_at).min()?;
        let next_due = self
            .waiting
            .iter()
            .filter_map(|(id, entry)| entry.open(*id).due_at)
            .min();
        Some(EndpointBacklog {
            url: url.clone(),
            open: self.open(),
            oldest,
            next_due,
        })
    }

    fn waiting(&self, limit: usize) -> Vec<WaitingDelivery> {
        let mut waiting: Vec<WaitingDelivery> = self
            .waiting
            .iter()
            .filter_map(|(id, entry)| {
                let company_id = entry.alert.company_id.clone();
                entry.open(*id).due_at.map(|due_at| WaitingDelivery {
                    id: *id,
                    due_at,
                    company_id,
                })
            })
            .collect();
        waiting.sort_by_key(|delivery| (delivery.due_at, delivery.id));
        waiting.truncate(limit);
        waiting
    }
}

impl Store for MemoryStore {
    fn append(&self, batch: Arc<[NewEvent]>) -> StoreFuture<Vec<Appended>> {
        done(self.kept().append(&self.limits, &batch))
    }

    fn queued(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<OpenDelivery>> {
        let next = DeliveryId::new(after.get().saturating_add(1));
        let kept = self.kept();
        let shelf = kept.open.get(url);
        let entries = shelf
            .into_iter()
            .flat_map(|shelf| shelf.queued.range(next..));
        let found = entries
            .take(limit)
            .map(|(id, entry)| entry.open(*id))
            .collect();
        done(Ok(found))
    }

    fn waiting(&self, url: &WebhookUrl, limit: usize) -> StoreFuture<Vec<WaitingDelivery>> {
        done(Ok(self
            .kept()
            .open
            .get(url)
            .map(|shelf| shelf.waiting(limit))
            .unwrap_or_default()))
    }

    fn load(&self, url: &WebhookUrl, ids: Vec<DeliveryId>) -> StoreFuture<Vec<OpenDelivery>> {
        let kept = self.kept();
        let shelf = kept.open.get(url);
        let find = |id: &DeliveryId| {
            let shelf = shelf?;
            shelf
                .waiting
                .get(id)
                .or_else(|| shelf.queued.get(id))
                .map(|entry| entry.open(*id))
        };
        done(Ok(ids.iter().filter_map(find).collect()))
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
        let mut urls: Vec<_> = kept
            .open
            .iter()
            .filter(|(url, _)| after.as_ref().is_none_or(|after| *url > after))
            .collect();
        urls.sort_by(|a, b| a.0.cmp(b.0));
        done(Ok(urls
            .into_iter()
            .filter_map(|(url, shelf)| shelf.backlog(url))
            .take(limit)
            .collect()))
    }

    fn open_count(&self, url: &WebhookUrl) -> StoreFuture<u64> {
        done(Ok(self.kept().open.get(url).map_or(0, Shelf::open)))
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

    fn prune(&self, before: Timestamp) -> StoreFuture<u64> {
        done(Ok(self.kept().prune(before)))
    }

    fn open_total(&self) -> StoreFuture<u64> {
        done(Ok(u64::try_from(self.kept().open_total).unwrap_or(u64::MAX)))
    }

    fn flush(&self) -> StoreFuture<()> {
        done(Ok(()))
    }
}

/// Returns a future that is ready at once: everything here happens under one short lock.
fn done<T: Send + 'static>(result: Result<T, StoreError>) -> StoreFuture<T> {
    Box::pin(std::future::ready(result))
}
