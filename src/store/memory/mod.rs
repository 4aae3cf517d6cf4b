//! A store in memory: as fast as it gets, and gone with the process.

mod entry;
mod kept;
mod remembered;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::entry::Entry;
use self::kept::{Kept, Shelf};
use super::claim::Claimed;
use super::{
    Agreed, Appended, Attempt, AttemptRecord, BacklogLimits, Change, Configuration,
    DeadLetterQuery, DeliveryQuery, EndedDelivery, EndpointBacklog, GivenUp, NewEvent,
    OpenDelivery, OpenPage, OpenQuery, PageLimit, PastCredential, Redelivery, Retention, Store,
    StoreClaim, StoreError, StoreFuture, StoredClock, StoredEndpoint, WaitingDelivery,
};
use crate::domain::dead_letter::{DeadLetter, DeadLetterReason};
use crate::domain::delivery::Delivery;
use crate::domain::id::DeliveryId;
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
    claimed: Claimed,
}

/// How much a [`MemoryStore`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// How much may be open.
    pub backlog: BacklogLimits,
    /// The most dead letters; beyond them the oldest is forgotten, with a warning in the log. Defaults to 10,000.
    pub dead_letters: usize,
    /// The most deliveries that can still be listed and redelivered of those that were delivered, and of dead letters that were redelivered or
    /// discarded. Defaults to 1,000.
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
            claimed: Claimed::default(),
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

impl Store for MemoryStore {
    fn claim(&self) -> StoreFuture<StoreClaim> {
        done(self.claimed.claim(|| "in memory".to_owned()))
    }

    fn take_given_up(&self) -> Vec<GivenUp> {
        self.kept().given_up.take()
    }

    fn append(&self, batch: Arc<[NewEvent]>) -> StoreFuture<Vec<Appended>> {
        let mut kept = self.kept();
        done(Ok(batch
            .iter()
            .map(|event| {
                kept.note_time(event.at);
                kept.append_one(&self.limits, event)
            })
            .collect()))
    }

    fn queued(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<OpenDelivery>> {
        let limit = PageLimit {
            deliveries: limit,
            bytes: usize::MAX,
        };
        done(Ok(self.kept().queued(url, after, limit).deliveries))
    }

    fn queued_within(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: PageLimit,
    ) -> StoreFuture<OpenPage> {
        done(Ok(self.kept().queued(url, after, limit)))
    }

    fn waiting(&self, url: &WebhookUrl, limit: usize) -> StoreFuture<Vec<WaitingDelivery>> {
        done(Ok(self.kept().waiting(url, limit)))
    }

    fn load(&self, _: &WebhookUrl, ids: Vec<DeliveryId>) -> StoreFuture<Vec<OpenDelivery>> {
        let kept = self.kept();
        done(Ok(ids.iter().filter_map(|id| kept.load(*id)).collect()))
    }

    fn record(&self, batch: Arc<[AttemptRecord]>) -> StoreFuture<()> {
        let mut kept = self.kept();
        for record in &*batch {
            kept.record(&self.limits, record);
            kept.note_time(record.summary.at);
        }
        done(Ok(()))
    }

    fn backlogs(
        &self,
        after: Option<WebhookUrl>,
        limit: usize,
    ) -> StoreFuture<Vec<EndpointBacklog>> {
        done(Ok(self.kept().backlogs(after.as_ref(), limit)))
    }

    fn endpoint(&self, url: &WebhookUrl) -> StoreFuture<StoredEndpoint> {
        let kept = self.kept();
        let shelf = kept.shelf_of(url);
        done(Ok(StoredEndpoint {
            open: shelf.map_or(0, Shelf::open),
            held_until: shelf.and_then(|shelf| shelf.held_until),
            health: kept.health.get(url).copied().unwrap_or_default(),
            agreed: kept.agreed.get(url).cloned().unwrap_or_default(),
        }))
    }

    fn agree(&self, url: &WebhookUrl, agreed: Agreed) -> StoreFuture<()> {
        self.kept().agree(url, agreed);
        done(Ok(()))
    }

    fn attempts(&self, id: DeliveryId) -> StoreFuture<Vec<Attempt>> {
        let kept = self.kept();
        let found = kept.find(id);
        done(Ok(found.map(Entry::attempts).unwrap_or_default()))
    }

    fn discard(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        let mut kept = self.kept();
        let letters = kept.dead_letters(&query);
        for letter in &letters {
            kept.unlist(&self.limits, letter.delivery_id);
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
        done(self.kept().redeliver(&self.limits, &which, now))
    }

    fn open_of(
        &self,
        url: &WebhookUrl,
        which: OpenQuery,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<DeliveryId>> {
        done(Ok(self.kept().open_of(url, &which, after, limit)))
    }

    fn end(
        &self,
        url: &WebhookUrl,
        ids: Vec<DeliveryId>,
        reason: DeadLetterReason,
        now: Timestamp,
    ) -> StoreFuture<Vec<EndedDelivery>> {
        let mut kept = self.kept();
        let ended = ids
            .into_iter()
            .filter_map(|id| kept.end(&self.limits, url, id, reason, now));
        done(Ok(ended.collect()))
    }

    fn count_dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        let count = self.kept().matching(&query).count();
        done(Ok(u64::try_from(count).unwrap_or(u64::MAX)))
    }

    fn remove_endpoint(&self, url: &WebhookUrl, now: Timestamp) -> StoreFuture<u64> {
        done(Ok(self.kept().remove_endpoint(&self.limits, url, now)))
    }

    fn keep(&self, change: Change) -> StoreFuture<()> {
        self.kept().keep(&self.limits, change);
        done(Ok(()))
    }

    fn configuration(&self) -> StoreFuture<Configuration> {
        let kept = self.kept();
        done(Ok(Configuration {
            rules: kept.rules.values().cloned().collect(),
            clients: kept.clients.values().cloned().collect(),
            endpoints: kept.endpoints.values().cloned().collect(),
            paused: kept.paused.iter().cloned().collect(),
            disabled: kept.disabled.clone().into_iter().collect(),
        }))
    }

    fn removed(&self) -> StoreFuture<Vec<WebhookUrl>> {
        let mut removed: Vec<_> = self.kept().removed.iter().cloned().collect();
        removed.sort();
        done(Ok(removed))
    }

    fn past_credentials(&self) -> StoreFuture<Vec<PastCredential>> {
        done(Ok(self.kept().past.values().cloned().collect()))
    }

    fn prune(&self, now: Timestamp, keep: Retention) -> StoreFuture<u64> {
        done(Ok(self.kept().prune(now, keep)))
    }

    fn clock(&self) -> StoreFuture<StoredClock> {
        done(Ok(self.kept().clock))
    }

    fn keep_clock(&self, wall_ahead_ms: i64) -> StoreFuture<()> {
        self.kept().clock.wall_ahead_ms = wall_ahead_ms;
        done(Ok(()))
    }

    fn open_total(&self) -> StoreFuture<u64> {
        done(Ok(self.kept().open))
    }

    fn flush(&self) -> StoreFuture<()> {
        done(Ok(()))
    }
}

/// Returns a future that is ready at once: everything here happens under one short lock.
fn done<T: Send + 'static>(result: Result<T, StoreError>) -> StoreFuture<T> {
    Box::pin(std::future::ready(result))
}
