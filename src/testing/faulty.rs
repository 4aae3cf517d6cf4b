//! A store that fails and delays.

use std::fmt;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::dead_letter::{DeadLetter, DeadLetterReason};
use crate::domain::delivery::Delivery;
use crate::domain::id::DeliveryId;
use crate::domain::time::Timestamp;
use crate::domain::url::WebhookUrl;
use crate::store::{
    Agreed, Appended, Attempt, AttemptRecord, Change, Configuration, DeadLetterQuery,
    DeliveryQuery, EndedDelivery, GivenUp, Loaded, NewEvent, OpenDelivery, OpenPage, OpenQuery,
    OpenSummary, OutboxEntry, PageLimit, PastCredential, Readable, Redelivery, Retention, Store,
    StoreClaim, StoreError, StoreFuture, StoredClock, StoredEndpoint, WaitingDelivery,
};

/// How a [`FaultyStore`] misbehaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// The share of calls that fail without having done anything, from 0 to 1.
    pub failing: f64,
    /// The share of calls that did their work and then report a failure, from 0 to 1. Recording and appending must stand that.
    pub failing_after: f64,
    /// How long a call takes at most; each takes a random part of it.
    pub delay: Duration,
}

/// How a [`FaultyStore`] misbehaves in calls that are rare: `keep`, `remove_endpoint`, `open_of`, `end`, `prune`, `open_summaries` and `flush`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RareFault {
    /// It fails without having done anything.
    Fails,
    /// It does its work only after so long.
    Waits(Duration),
    /// It never answers.
    Hangs,
    /// It panics when the answer is waited for.
    Panics,
}

/// Wraps a store and makes its hot calls (append, record, and the reads of subscribers) fail and take time.
///
/// Calls to the store behind it keep their order, as the contract asks.
#[derive(Clone)]
pub struct FaultyStore {
    store: Arc<dyn Store>,
    faults: Arc<Mutex<(Faults, fastrand::Rng)>>,
    rare: Arc<Mutex<Option<RareFault>>>,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore")
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl FaultyStore {
    /// Wraps a store; chance is drawn from `seed`.
    pub fn new(store: impl Store, faults: Faults, seed: u64) -> Self {
        Self {
            store: Arc::new(store),
            faults: Arc::new(Mutex::new((faults, fastrand::Rng::with_seed(seed)))),
            rare: Arc::default(),
        }
    }

    /// Makes it misbehave differently from now on.
    pub fn set(&self, faults: Faults) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).0 = faults;
    }

    /// Makes calls that are rare misbehave from now on, or no longer.
    pub fn set_rare(&self, fault: Option<RareFault>) {
        *self.rare.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn rare_call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Store) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let fault = *self.rare.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            None => call(&*self.store),
            Some(RareFault::Fails) => {
                let error = StoreError::Unavailable("scripted fault".into());
                Box::pin(ready(Err(error)))
            }
            Some(RareFault::Waits(time)) => {
                let store = Arc::clone(&self.store);
                Box::pin(async move {
                    #[expect(clippy::disallowed_methods, reason = "a faulty store takes its time")]
                    tokio::time::sleep(time).await;
                    call(&*store).await
                })
            }
            Some(RareFault::Hangs) => Box::pin(pending()),
            #[expect(clippy::panic, reason = "that is what was asked for")]
            Some(RareFault::Panics) => Box::pin(async { panic!("scripted panic of a store") }),
        }
    }

    /// Returns the store behind it.
    pub fn inner(&self) -> &dyn Store {
        &*self.store
    }

    /// Makes a call, or does not; the work is done at once, so that its order is that of the calls.
    fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Store) -> StoreFuture<T>,
    ) -> StoreFuture<T> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let (
            Faults {
                failing,
                failing_after,
                delay,
            },
            rng,
        ) = (faults.0, &mut faults.1);
        let fails = rng.f64() < failing;
        let fails_after = rng.f64() < failing_after;
        let delay = delay.mul_f64(rng.f64());
        drop(faults);
        let work = (!fails).then(|| call(&*self.store));
        Box::pin(async move {
            if !delay.is_zero() {
                #[expect(clippy::disallowed_methods, reason = "a faulty store takes its time")]
                tokio::time::sleep(delay).await;
            }
            let failure = || StoreError::Unavailable("scripted fault".into());
            match work {
                None => Err(failure()),
                Some(work) => {
                    let result = work.await;
                    if fails_after { Err(failure()) } else { result }
                }
            }
        })
    }
}

impl Store for FaultyStore {
    fn claim(&self) -> StoreFuture<StoreClaim> {
        self.store.claim()
    }

    fn condition(&self) -> Option<Arc<str>> {
        self.store.condition()
    }

    fn take_given_up(&self) -> Vec<GivenUp> {
        self.store.take_given_up()
    }

    fn append(&self, batch: Arc<[NewEvent]>) -> StoreFuture<Vec<Appended>> {
        self.call(|store| store.append(batch))
    }

    fn queued(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<OpenDelivery>> {
        self.call(|store| store.queued(url, after, limit))
    }

    fn waiting(&self, url: &WebhookUrl, limit: usize) -> StoreFuture<Vec<WaitingDelivery>> {
        self.call(|store| store.waiting(url, limit))
    }

    fn load(&self, url: &WebhookUrl, ids: Vec<DeliveryId>) -> StoreFuture<Vec<OpenDelivery>> {
        self.call(|store| store.load(url, ids))
    }

    fn queued_within(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: PageLimit,
    ) -> StoreFuture<OpenPage> {
        self.call(|store| store.queued_within(url, after, limit))
    }

    fn load_within(
        &self,
        url: &WebhookUrl,
        ids: Vec<DeliveryId>,
        bytes: usize,
    ) -> StoreFuture<Loaded> {
        self.call(|store| store.load_within(url, ids, bytes))
    }

    fn record(&self, batch: Arc<[AttemptRecord]>) -> StoreFuture<()> {
        self.call(|store| store.record(batch))
    }

    fn agree(&self, url: &WebhookUrl, agreed: Agreed) -> StoreFuture<()> {
        self.call(|store| store.agree(url, agreed))
    }

    fn open_summaries(
        &self,
        after: Option<WebhookUrl>,
        limit: usize,
    ) -> StoreFuture<Vec<OpenSummary>> {
        self.rare_call(move |store| store.open_summaries(after, limit))
    }

    fn endpoint_summary(&self, url: &WebhookUrl) -> StoreFuture<StoredEndpoint> {
        self.call(|store| store.endpoint_summary(url))
    }

    fn attempts(&self, id: DeliveryId) -> StoreFuture<Vec<Attempt>> {
        self.store.attempts(id)
    }

    fn discard(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        self.store.discard(query)
    }

    fn retention(&self) -> Option<Retention> {
        self.store.retention()
    }

    fn outbox(&self, after: u64, limit: usize) -> StoreFuture<Vec<OutboxEntry>> {
        self.store.outbox(after, limit)
    }

    fn reject_outbox(&self, seq: u64, reason: String) -> StoreFuture<()> {
        self.store.reject_outbox(seq, reason)
    }

    fn has_outbox(&self) -> bool {
        self.store.has_outbox()
    }

    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<Vec<Delivery>> {
        self.store.deliveries(query)
    }

    fn dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<Vec<DeadLetter>> {
        self.store.dead_letters(query)
    }

    fn redeliver(
        &self,
        which: Redelivery,
        now: Timestamp,
    ) -> StoreFuture<Vec<(DeliveryId, WebhookUrl)>> {
        self.store.redeliver(which, now)
    }

    fn open_of(
        &self,
        url: &WebhookUrl,
        which: OpenQuery,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<DeliveryId>> {
        let url = url.clone();
        self.rare_call(move |store| store.open_of(&url, which, after, limit))
    }

    fn end(
        &self,
        url: &WebhookUrl,
        ids: Vec<DeliveryId>,
        reason: DeadLetterReason,
        now: Timestamp,
    ) -> StoreFuture<Vec<EndedDelivery>> {
        let url = url.clone();
        self.rare_call(move |store| store.end(&url, ids, reason, now))
    }

    fn count_dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        self.store.count_dead_letters(query)
    }

    fn remove_endpoint(&self, url: &WebhookUrl, now: Timestamp) -> StoreFuture<u64> {
        let url = url.clone();
        self.rare_call(move |store| store.remove_endpoint(&url, now))
    }

    fn apply(&self, change: Change) -> StoreFuture<()> {
        self.rare_call(move |store| store.apply(change))
    }

    fn configuration(&self) -> StoreFuture<Configuration> {
        self.store.configuration()
    }

    fn readable(&self) -> StoreFuture<Readable> {
        self.store.readable()
    }

    fn removed(&self) -> StoreFuture<Vec<WebhookUrl>> {
        self.store.removed()
    }

    fn past_credentials(&self) -> StoreFuture<Vec<PastCredential>> {
        self.store.past_credentials()
    }

    fn prune(&self, now: Timestamp, keep: Retention) -> StoreFuture<u64> {
        self.rare_call(move |store| store.prune(now, keep))
    }

    fn clock(&self) -> StoreFuture<StoredClock> {
        self.store.clock()
    }

    fn keep_clock(&self, wall_ahead_ms: i64) -> StoreFuture<()> {
        // What was drawn for the other calls stays as it was, whether or not a clock is set.
        self.store.keep_clock(wall_ahead_ms)
    }

    fn open_total(&self) -> StoreFuture<u64> {
        self.store.open_total()
    }

    fn flush(&self) -> StoreFuture<()> {
        self.rare_call(move |store| store.flush())
    }
}
