//! What a store in memory keeps, and how it changes. Everything here happens under one short lock.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::MemoryLimits;
use crate::domain::attempt::{AttemptSummary, Outcome};
use crate::domain::client::Client;
use crate::domain::dead_letter::{DeadLetter, DeadLetterReason};
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::endpoint::Endpoint;
use crate::domain::id::{ClientId, DeliveryId, EventId, RuleId};
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use crate::domain::url::WebhookUrl;
use crate::store::backlog::{Ledger, Room};
use crate::store::{
    Alert, Appended, Attempt, AttemptRecord, BacklogLimits, Change, DeadLetterQuery, DeliveryQuery,
    DeliveryStage, EndpointBacklog, NewEvent, OpenDelivery, Progress, Redelivery, Retention,
    StoreError, WaitingDelivery, page_limit,
};

/// All that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) last_id: u64,
    pub(super) last_shelf: u64,
    pub(super) open: BTreeMap<DeliveryId, Entry>,
    pub(super) shelves: HashMap<WebhookUrl, Shelf>,
    pub(super) ledger: Ledger<u64>,
    /// Delivered, or dead letters that were redelivered or discarded.
    pub(super) ended: BTreeMap<DeliveryId, Entry>,
    pub(super) dead: BTreeMap<DeliveryId, Entry>,
    pub(super) events: HashMap<EventId, usize>,
    pub(super) events_in_order: VecDeque<(Timestamp, EventId)>,
    pub(super) rules: BTreeMap<RuleId, Rule>,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) endpoints: BTreeMap<WebhookUrl, Endpoint>,
    pub(super) paused: BTreeSet<WebhookUrl>,
}

/// What is known of one endpoint: which deliveries are open, never attempted or waiting for a retry, and until when it is held back.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// By which the ledger knows it.
    pub(super) number: u64,
    pub(super) held_until: Option<Timestamp>,
    pub(super) queued: BTreeSet<DeliveryId>,
    pub(super) waiting: BTreeSet<(Timestamp, DeliveryId)>,
}

/// One delivery.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) alert: Arc<Alert>,
    pub(super) url: WebhookUrl,
    pub(super) accepted_at: Timestamp,
    pub(super) state: DeliveryState,
    pub(super) progress: Progress,
    pub(super) attempts: Vec<Attempt>,
}

impl Entry {
    pub(super) fn new(alert: Arc<Alert>, url: WebhookUrl, accepted_at: Timestamp) -> Self {
        Self {
            alert,
            url,
            accepted_at,
            state: DeliveryState::Queued,
            progress: Progress::default(),
            attempts: Vec::new(),
        }
    }

    pub(super) fn open(&self, id: DeliveryId) -> OpenDelivery {
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

    pub(super) fn shown(&self, id: DeliveryId) -> Delivery {
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

    pub(super) fn dead_letter(&self, id: DeliveryId) -> Option<DeadLetter> {
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

    pub(super) fn last_attempt(&self) -> Option<AttemptSummary> {
        self.attempts.last().map(|attempt| attempt.summary)
    }

    pub(super) fn matches(&self, id: DeliveryId, query: &DeliveryQuery) -> bool {
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
    pub(super) fn new(limits: BacklogLimits) -> Self {
        Self {
            last_id: 0,
            last_shelf: 0,
            open: BTreeMap::new(),
            shelves: HashMap::new(),
            ledger: Ledger::new(limits),
            ended: BTreeMap::new(),
            dead: BTreeMap::new(),
            events: HashMap::new(),
            events_in_order: VecDeque::new(),
            rules: BTreeMap::new(),
            clients: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            paused: BTreeSet::new(),
        }
    }

    pub(super) fn append_one(&mut self, limits: &MemoryLimits, event: &NewEvent) -> Appended {
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

    pub(super) fn open(&mut self, entry: Entry) -> DeliveryId {
        self.last_id += 1;
        let id = DeliveryId::new(self.last_id);
        let shelf = shelf(&mut self.shelves, &mut self.last_shelf, &entry.url);
        shelf.queued.insert(id);
        self.ledger.add(shelf.number, 1, size(&entry.alert));
        self.open.insert(id, entry);
        id
    }

    /// Makes an open delivery a dead letter without an attempt.
    pub(super) fn give_up(
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

    pub(super) fn record(&mut self, limits: &MemoryLimits, record: &AttemptRecord) {
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
    pub(super) fn end(&mut self, limits: &MemoryLimits, id: DeliveryId, entry: Entry) {
        if let DeliveryState::Delivered { .. } = entry.state {
            self.keep_ended(limits, id, entry);
            return;
        }
        self.dead.insert(id, entry);
        if self.dead.len() > limits.dead_letters
            && let Some((forgotten, _)) = self.dead.pop_first()
        {
            log::warn!(delivery_id = forgotten.get(), limit = limits.dead_letters; "dead letter forgotten: the memory store is full of them");
        }
    }

    fn keep_ended(&mut self, limits: &MemoryLimits, id: DeliveryId, entry: Entry) {
        self.ended.insert(id, entry);
        if self.ended.len() > limits.delivered {
            self.ended.pop_first();
        }
    }

    /// Takes a dead letter off the list; it stays in the record.
    pub(super) fn unlist(&mut self, limits: &MemoryLimits, id: DeliveryId) {
        if let Some(entry) = self.dead.remove(&id) {
            self.keep_ended(limits, id, entry);
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&DeliveryId, &Entry)> {
        self.open.iter().chain(&self.ended).chain(&self.dead)
    }

    pub(super) fn find(&self, id: DeliveryId) -> Option<&Entry> {
        let ended = || self.ended.get(&id).or_else(|| self.dead.get(&id));
        self.open.get(&id).or_else(ended)
    }

    pub(super) fn deliveries(&self, query: &DeliveryQuery) -> Vec<Delivery> {
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

    pub(super) fn dead_letters(&self, query: &DeadLetterQuery) -> Vec<DeadLetter> {
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

    pub(super) fn redeliver(
        &mut self,
        limits: &MemoryLimits,
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
            let old = self.find(id).ok_or(StoreError::UnknownDelivery(id))?;
            let (alert, url) = (Arc::clone(&old.alert), old.url.clone());
            self.unlist(limits, id);
            again.push((self.open(Entry::new(alert, url.clone(), now)), url));
        }
        Ok(again)
    }

    pub(super) fn remove_endpoint(
        &mut self,
        limits: &MemoryLimits,
        url: &WebhookUrl,
        at: Timestamp,
    ) -> u64 {
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

    pub(super) fn backlog(&self, url: &WebhookUrl, shelf: &Shelf) -> Option<EndpointBacklog> {
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

    pub(super) fn waiting(&self, url: &WebhookUrl, limit: usize) -> Vec<WaitingDelivery> {
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

    pub(super) fn keep(&mut self, change: Change) {
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

    pub(super) fn prune(&mut self, now: Timestamp, keep: Retention) -> u64 {
        let kept = self.ended.len() + self.dead.len();
        let ended_since = |entry: &Entry, since: Timestamp| match entry.state {
            DeliveryState::Delivered { at } | DeliveryState::DeadLettered { at, .. } => at >= since,
            DeliveryState::Queued | DeliveryState::Waiting { .. } => true,
        };
        let (ended, dead) = (now.before(keep.ended), now.before(keep.dead_letters));
        self.ended.retain(|_, entry| ended_since(entry, ended));
        self.dead.retain(|_, entry| ended_since(entry, dead));
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
        u64::try_from(kept - self.ended.len() - self.dead.len()).unwrap_or(u64::MAX)
    }
}

impl Shelf {
    pub(super) fn open(&self) -> u64 {
        u64::try_from(self.queued.len() + self.waiting.len()).unwrap_or(u64::MAX)
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
