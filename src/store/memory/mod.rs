//! A store in memory: the fastest one, and lost with the process.

mod attempts;
mod entry;
mod jobs;
mod remembered;
mod state;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use self::entry::StoredDelivery;
use self::state::State;
use super::claim::Claimed;
use super::{
    Agreed, Appended, Attempt, AttemptPage, AttemptQuery, AttemptRecord, BacklogLimits, Change,
    Configuration, Count, DeadLetterQuery, DeliveryDetails, DeliveryQuery, EndedDelivery, GivenUp,
    NewEvent, OpenDelivery, OpenPage, OpenQuery, OpenSummary, Page, PageLimit, PastCredential,
    Redelivery, RedeliveryId, RedeliveryJob, RedeliveryStep, Retention, Store, StoreClaim,
    StoreError, StoreFuture, StoredClock, StoredEndpoint, StoredEvent, Survey, WaitingDelivery,
};
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::Delivery;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::value::id::{DeliveryId, EventId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::prelude::*;

/// Keeps everything in memory.
///
/// **A crash loses** all open deliveries, all dead letters and all records. Nothing is lost while
/// the process lives. It suits tests, and applications that accept this. [`MemoryLimits`] bounds
/// what it keeps.
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
    state: Mutex<State>,
    claimed: Claimed,
}

/// The limits of a [`MemoryStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "written with `..default()`, which goes on working with a further field"
)]
pub struct MemoryLimits {
    /// The limits of open deliveries.
    pub backlog: BacklogLimits,
    /// The most dead letters; beyond that the oldest is forgotten, with a warning in the log.
    /// Defaults to 10,000.
    pub dead_letters: usize,
    /// The most ended deliveries that can still be listed and redelivered: delivered ones, and dead
    /// letters that were redelivered or discarded. Defaults to 1,000.
    pub delivered: usize,
    /// The most event ids remembered, so that publishing them again delivers nothing. Defaults to
    /// 100,000.
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
            state: Mutex::new(State::new(limits.backlog)),
            claimed: Claimed::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change can panic halfway, so the state is consistent even after a panic.
        self.state.lock()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl DeliveryStore for MemoryStore {
    fn take_given_up(&self) -> Vec<GivenUp> {
        self.state().given_up.take()
    }

    fn append(&self, batch: Arc<[NewEvent]>) -> StoreFuture<Vec<Appended>> {
        let mut kept = self.state();
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
        done(Ok(self.state().queued(url, after, limit).deliveries))
    }

    fn queued_within(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: PageLimit,
    ) -> StoreFuture<OpenPage> {
        done(Ok(self.state().queued(url, after, limit)))
    }

    fn waiting(&self, url: &WebhookUrl, limit: usize) -> StoreFuture<Vec<WaitingDelivery>> {
        done(Ok(self.state().waiting(url, limit)))
    }

    fn load(&self, _: &WebhookUrl, ids: Vec<DeliveryId>) -> StoreFuture<Vec<OpenDelivery>> {
        let kept = self.state();
        done(Ok(ids.iter().filter_map(|id| kept.load(*id)).collect()))
    }

    fn record(&self, batch: Arc<[AttemptRecord]>) -> StoreFuture<()> {
        let mut kept = self.state();
        for record in &*batch {
            kept.record(&self.limits, record);
            kept.note_time(record.summary.at);
        }
        done(Ok(()))
    }

    fn open_summaries(
        &self,
        after: Option<WebhookUrl>,
        limit: usize,
    ) -> StoreFuture<Vec<OpenSummary>> {
        done(Ok(self.state().open_summaries(after.as_ref(), limit)))
    }

    fn resting_endpoints(
        &self,
        after: Option<WebhookUrl>,
        limit: usize,
    ) -> StoreFuture<Vec<(WebhookUrl, StoredEndpoint)>> {
        done(Ok(self.state().resting_endpoints(after.as_ref(), limit)))
    }

    fn endpoint_summary(&self, url: &WebhookUrl) -> StoreFuture<StoredEndpoint> {
        done(Ok(self.state().endpoint(url)))
    }

    fn agree(&self, url: &WebhookUrl, agreed: Agreed) -> StoreFuture<()> {
        self.state().agree(url, agreed);
        done(Ok(()))
    }
}

impl RecordStore for MemoryStore {
    fn attempts(&self, id: DeliveryId) -> StoreFuture<Vec<Attempt>> {
        let kept = self.state();
        let found = kept.find(id);
        done(Ok(found.map(StoredDelivery::attempts).unwrap_or_default()))
    }

    fn attempts_of(&self, url: &WebhookUrl, query: AttemptQuery) -> StoreFuture<AttemptPage> {
        done(Ok(self.state().attempts_of(url, &query)))
    }

    fn discard(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        let mut kept = self.state();
        let letters = kept.dead_letters(&query).items;
        for letter in &letters {
            kept.unlist(&self.limits, letter.delivery_id);
        }
        done(Ok(u64::try_from(letters.len()).unwrap_or(u64::MAX)))
    }

    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<Page<Delivery>> {
        done(Ok(self.state().deliveries(&query)))
    }

    fn count(&self, query: DeliveryQuery, at_most: u64) -> StoreFuture<Count> {
        let count = self.state().count(&query);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        done(Ok(Count::new(count.min(at_most), count > at_most)))
    }

    fn delivery(&self, id: DeliveryId) -> StoreFuture<Option<DeliveryDetails>> {
        done(Ok(self.state().delivery(id)))
    }

    fn events(&self, id: EventId) -> StoreFuture<Vec<StoredEvent>> {
        done(Ok(self.state().events(&id)))
    }

    fn dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<Page<DeadLetter>> {
        done(Ok(self.state().dead_letters(&query)))
    }

    fn redeliver(
        &self,
        which: Redelivery,
        now: Timestamp,
    ) -> StoreFuture<Vec<(DeliveryId, WebhookUrl)>> {
        done(self.state().redeliver(&self.limits, &which, now))
    }

    fn begin_redelivery(&self, which: Redelivery, now: Timestamp) -> StoreFuture<RedeliveryJob> {
        done(self.state().begin_redelivery(which, now))
    }

    fn survey(&self, which: Redelivery, at_most: u64) -> StoreFuture<Survey> {
        done(self.state().survey(&which, at_most))
    }

    fn go_on_redelivering(
        &self,
        id: RedeliveryId,
        limit: usize,
        now: Timestamp,
    ) -> StoreFuture<Option<RedeliveryStep>> {
        done(self.state().go_on(&self.limits, id, limit, now))
    }

    fn stop_redelivery(
        &self,
        id: RedeliveryId,
        now: Timestamp,
    ) -> StoreFuture<Option<RedeliveryJob>> {
        done(Ok(self.state().jobs.stop(id, now)))
    }

    fn redeliveries(&self) -> StoreFuture<Vec<RedeliveryJob>> {
        done(Ok(self.state().jobs.list()))
    }

    fn open_of(
        &self,
        url: &WebhookUrl,
        which: OpenQuery,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<DeliveryId>> {
        done(Ok(self.state().open_of(url, &which, after, limit)))
    }

    fn end(
        &self,
        url: &WebhookUrl,
        ids: Vec<DeliveryId>,
        reason: DeadLetterReason,
        now: Timestamp,
    ) -> StoreFuture<Vec<EndedDelivery>> {
        let mut kept = self.state();
        let ended = ids
            .into_iter()
            .filter_map(|id| kept.end(&self.limits, url, id, reason, now));
        done(Ok(ended.collect()))
    }

    fn make_due(
        &self,
        url: &WebhookUrl,
        id: DeliveryId,
        now: Timestamp,
    ) -> StoreFuture<Option<WaitingDelivery>> {
        let mut kept = self.state();
        kept.note_time(now);
        done(Ok(kept.make_due(url, id, now)))
    }

    fn count_dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        let count = self.state().matching(&query).count();
        done(Ok(u64::try_from(count).unwrap_or(u64::MAX)))
    }

    fn count_dead_letters_to(&self, query: DeadLetterQuery, at_most: u64) -> StoreFuture<Count> {
        let limit = usize::try_from(at_most).unwrap_or(usize::MAX);
        let state = self.state();
        let mut found = state.matching(&query);
        let count = found.by_ref().take(limit).count();
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        done(Ok(Count::new(count, found.next().is_some())))
    }

    fn prune(&self, now: Timestamp, keep: Retention) -> StoreFuture<u64> {
        done(Ok(self.state().prune(now, keep)))
    }

    fn open_total(&self) -> StoreFuture<u64> {
        done(Ok(self.state().open))
    }
}

impl SettingsStore for MemoryStore {
    fn remove_endpoint(&self, url: &WebhookUrl, now: Timestamp) -> StoreFuture<u64> {
        done(Ok(self.state().remove_endpoint(&self.limits, url, now)))
    }

    fn apply(&self, change: Change) -> StoreFuture<()> {
        self.state().keep(&self.limits, change);
        done(Ok(()))
    }

    fn configuration(&self) -> StoreFuture<Configuration> {
        let kept = self.state();
        done(Ok(Configuration {
            rules: kept.rules.values().cloned().collect(),
            clients: kept.clients.values().cloned().collect(),
            endpoints: kept.endpoints.values().cloned().collect(),
            paused: kept.paused.clone().into_iter().collect(),
            disabled: kept
                .disabled
                .iter()
                .map(|(url, (reason, stopped))| (url.clone(), *reason, stopped.clone()))
                .collect(),
        }))
    }

    fn removed(&self) -> StoreFuture<Vec<WebhookUrl>> {
        let mut removed: Vec<_> = self.state().removed.iter().cloned().collect();
        removed.sort();
        done(Ok(removed))
    }

    fn past_credentials(&self) -> StoreFuture<Vec<PastCredential>> {
        done(Ok(self.state().past.values().cloned().collect()))
    }
}

impl OutboxStore for MemoryStore {}

impl Store for MemoryStore {
    fn claim(&self) -> StoreFuture<StoreClaim> {
        done(self.claimed.claim(|| "in memory".to_owned()))
    }

    fn clock(&self) -> StoreFuture<StoredClock> {
        done(Ok(self.state().clock))
    }

    fn keep_clock(&self, wall_ahead_ms: i64) -> StoreFuture<()> {
        self.state().clock.wall_ahead_ms = wall_ahead_ms;
        done(Ok(()))
    }

    fn flush(&self) -> StoreFuture<()> {
        done(Ok(()))
    }
}

/// Returns a ready future: all work happens under one short lock.
fn done<T: Send + 'static>(result: Result<T, StoreError>) -> StoreFuture<T> {
    Box::pin(std::future::ready(result))
}

#[cfg(test)]
mod tests;
