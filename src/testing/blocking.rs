//! A store whose calls have ended when they return.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::domain::dead_letter::{DeadLetter, DeadLetterReason};
use crate::domain::delivery::Delivery;
use crate::domain::id::DeliveryId;
use crate::domain::time::Timestamp;
use crate::domain::url::WebhookUrl;
use crate::store::{
    Agreed, Appended, Attempt, AttemptRecord, Change, Configuration, DeadLetterQuery,
    DeliveryQuery, EndedDelivery, GivenUp, Loaded, NewEvent, OpenDelivery, OpenPage, OpenQuery,
    OpenSummary, OutboxEntry, PageLimit, PastCredential, Readable, Redelivery, Retention, Store,
    StoreClaim, StoreFuture, StoredClock, StoredEndpoint, WaitingDelivery,
};

/// Wraps a store and makes the caller's thread wait for every answer.
///
/// A store that answers from threads of its own takes real time, during which simulated time would run on: wrapped in this one it takes none, and
/// simulations with it are repeatable.
#[derive(Clone, Debug)]
pub struct Blocking<S>(pub S);

/// Wakes a thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for the answer, and returns it as a future that is ready.
fn block<T: Send + 'static>(call: StoreFuture<T>) -> StoreFuture<T> {
    // With the budget of the task spent it would be told "not yet", and be woken only when the task gives way, which it does not.
    let mut call = pin!(tokio::task::unconstrained(call));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(answer) = call.as_mut().poll(&mut cx) {
            return Box::pin(std::future::ready(answer));
        }
        thread::park();
    }
}

impl<S: Store> Store for Blocking<S> {
    fn claim(&self) -> StoreFuture<StoreClaim> {
        block(self.0.claim())
    }

    fn condition(&self) -> Option<Arc<str>> {
        self.0.condition()
    }

    fn take_given_up(&self) -> Vec<GivenUp> {
        self.0.take_given_up()
    }

    fn append(&self, batch: Arc<[NewEvent]>) -> StoreFuture<Vec<Appended>> {
        block(self.0.append(batch))
    }

    fn queued(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<OpenDelivery>> {
        block(self.0.queued(url, after, limit))
    }

    fn waiting(&self, url: &WebhookUrl, limit: usize) -> StoreFuture<Vec<WaitingDelivery>> {
        block(self.0.waiting(url, limit))
    }

    fn load(&self, url: &WebhookUrl, ids: Vec<DeliveryId>) -> StoreFuture<Vec<OpenDelivery>> {
        block(self.0.load(url, ids))
    }

    fn queued_within(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: PageLimit,
    ) -> StoreFuture<OpenPage> {
        block(self.0.queued_within(url, after, limit))
    }

    fn load_within(
        &self,
        url: &WebhookUrl,
        ids: Vec<DeliveryId>,
        bytes: usize,
    ) -> StoreFuture<Loaded> {
        block(self.0.load_within(url, ids, bytes))
    }

    fn record(&self, batch: Arc<[AttemptRecord]>) -> StoreFuture<()> {
        block(self.0.record(batch))
    }

    fn agree(&self, url: &WebhookUrl, agreed: Agreed) -> StoreFuture<()> {
        block(self.0.agree(url, agreed))
    }

    fn open_summaries(
        &self,
        after: Option<WebhookUrl>,
        limit: usize,
    ) -> StoreFuture<Vec<OpenSummary>> {
        block(self.0.open_summaries(after, limit))
    }

    fn endpoint_summary(&self, url: &WebhookUrl) -> StoreFuture<StoredEndpoint> {
        block(self.0.endpoint_summary(url))
    }

    fn attempts(&self, id: DeliveryId) -> StoreFuture<Vec<Attempt>> {
        block(self.0.attempts(id))
    }

    fn discard(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        block(self.0.discard(query))
    }

    fn retention(&self) -> Option<Retention> {
        self.0.retention()
    }

    fn outbox(&self, after: u64, limit: usize) -> StoreFuture<Vec<OutboxEntry>> {
        block(self.0.outbox(after, limit))
    }

    fn reject_outbox(&self, seq: u64, reason: String) -> StoreFuture<()> {
        block(self.0.reject_outbox(seq, reason))
    }

    fn has_outbox(&self) -> bool {
        self.0.has_outbox()
    }

    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<Vec<Delivery>> {
        block(self.0.deliveries(query))
    }

    fn dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<Vec<DeadLetter>> {
        block(self.0.dead_letters(query))
    }

    fn redeliver(
        &self,
        which: Redelivery,
        now: Timestamp,
    ) -> StoreFuture<Vec<(DeliveryId, WebhookUrl)>> {
        block(self.0.redeliver(which, now))
    }

    fn open_of(
        &self,
        url: &WebhookUrl,
        which: OpenQuery,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<DeliveryId>> {
        block(self.0.open_of(url, which, after, limit))
    }

    fn end(
        &self,
        url: &WebhookUrl,
        ids: Vec<DeliveryId>,
        reason: DeadLetterReason,
        now: Timestamp,
    ) -> StoreFuture<Vec<EndedDelivery>> {
        block(self.0.end(url, ids, reason, now))
    }

    fn count_dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        block(self.0.count_dead_letters(query))
    }

    fn remove_endpoint(&self, url: &WebhookUrl, now: Timestamp) -> StoreFuture<u64> {
        block(self.0.remove_endpoint(url, now))
    }

    fn apply(&self, change: Change) -> StoreFuture<()> {
        block(self.0.apply(change))
    }

    fn configuration(&self) -> StoreFuture<Configuration> {
        block(self.0.configuration())
    }

    fn readable(&self) -> StoreFuture<Readable> {
        block(self.0.readable())
    }

    fn removed(&self) -> StoreFuture<Vec<WebhookUrl>> {
        block(self.0.removed())
    }

    fn past_credentials(&self) -> StoreFuture<Vec<PastCredential>> {
        block(self.0.past_credentials())
    }

    fn prune(&self, now: Timestamp, keep: Retention) -> StoreFuture<u64> {
        block(self.0.prune(now, keep))
    }

    fn clock(&self) -> StoreFuture<StoredClock> {
        block(self.0.clock())
    }

    fn keep_clock(&self, wall_ahead_ms: i64) -> StoreFuture<()> {
        block(self.0.keep_clock(wall_ahead_ms))
    }

    fn open_total(&self) -> StoreFuture<u64> {
        block(self.0.open_total())
    }

    fn flush(&self) -> StoreFuture<()> {
        block(self.0.flush())
    }
}
