//! The contract between the engine and a store.

use std::sync::Arc;

use super::{
    Agreed, Appended, Attempt, AttemptRecord, Change, Configuration, DeadLetterQuery,
    DeliveryQuery, EndedDelivery, GivenUp, Loaded, NewEvent, OpenDelivery, OpenPage, OpenQuery,
    OpenSummary, OutboxEntry, PageLimit, PastCredential, Readable, Redelivery, Retention,
    StoreClaim, StoreError, StoreFuture, StoredClock, StoredEndpoint, WaitingDelivery,
};
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::Delivery;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;

/// Where accepted events live until they are delivered.
///
/// # Contract
/// - What a future has returned `Ok` for survives whatever the store promises to survive.
/// - Calls take effect in the order in which they were made, and delivery ids ascend in that order.
/// - A method does its work when it is called or when its future is polled; a future that is dropped may or may not have taken effect.
/// - Reads never return a delivery that a finished `record` has ended.
/// - Every time that a store is given or asked for is on the engine's time, which no setting of the wall clock moves; so is what
///   it returns. Asked through the engine, times are wall time.
///
/// Every method may return [`StoreError`]; [`StoreError::is_transient`] says whether asking again can help.
pub trait Store: DeliveryStore + RecordStore + SettingsStore + OutboxStore {
    /// Claims the store for one engine, which holds the claim as long as its actors run; meanwhile the next claim fails with [`StoreError::InUse`]. Two engines on one
    /// store would each deliver everything. Defaults to a claim that keeps nobody out, for a store that sees to that itself.
    fn claim(&self) -> StoreFuture<StoreClaim> {
        Box::pin(std::future::ready(Ok(StoreClaim::none())))
    }

    /// Returns what is wrong with the store as a whole, as far as it knows without looking: every endpoint's status shows it as its `store_error`. It is called often,
    /// and must not wait. Defaults to `None`.
    fn condition(&self) -> Option<Arc<str>> {
        None
    }

    /// Returns what [`keep_clock`](Self::keep_clock) kept. Defaults to a wall clock that was never set.
    fn clock(&self) -> StoreFuture<StoredClock> {
        Box::pin(std::future::ready(Ok(StoredClock::default())))
    }

    /// Keeps by how many milliseconds the wall clock is ahead of the engine's time, negative where it is behind: called where it
    /// was set. Defaults to doing nothing: then what waits when an engine is started again waits longer, or shorter, by as much
    /// as the clock was set while the one before ran.
    fn keep_clock(&self, wall_ahead_ms: i64) -> StoreFuture<()> {
        let _ = wall_ahead_ms;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns once everything accepted and recorded before is as safe as the store can make it.
    fn flush(&self) -> StoreFuture<()>;
}

/// What the engine needs for every delivery: accepting, reading, recording.
pub trait DeliveryStore: Send + Sync + 'static {
    /// Takes what the store has given up by itself since it was asked last, so that the engine reports it: deliveries that cannot be read,
    /// and those to an endpoint that is removed. It is called once a second, and must not wait. Defaults to nothing.
    fn take_given_up(&self) -> Vec<GivenUp> {
        Vec::new()
    }

    /// Accepts events with their deliveries, all of the batch or, on an error, none. An event whose id is remembered for its client is not stored
    /// again, and one for which there is no room is not stored at all; the others are. The answers are in the order of the batch.
    /// Deliveries to an endpoint that was removed ([`Change::RemoveEndpoint`]) are dead letters at once.
    ///
    /// Of events from the outbox, one for which there is no room also holds up those after it in the
    /// batch that go to no other endpoints than it does: they must not pass it.
    fn append(&self, batch: Arc<[NewEvent]>) -> StoreFuture<Vec<Appended>>;

    /// Returns deliveries of an endpoint that were never attempted, with ids after `after`, ascending, at most `limit`.
    fn queued(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<OpenDelivery>>;

    /// Returns deliveries of an endpoint that wait for a retry, those due first first, at most `limit`, without their alerts.
    fn waiting(&self, url: &WebhookUrl, limit: usize) -> StoreFuture<Vec<WaitingDelivery>>;

    /// Returns those of the given deliveries of an endpoint that are open, in the order asked for.
    fn load(&self, url: &WebhookUrl, ids: Vec<DeliveryId>) -> StoreFuture<Vec<OpenDelivery>>;

    /// Does what [`queued`](Self::queued) does, and ends the page at a number of bytes too. An engine that starts on large bodies needs it: before they are read, it
    /// does not know how large they are. Defaults to `queued`, with which only their number ends a page.
    fn queued_within(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: PageLimit,
    ) -> StoreFuture<OpenPage> {
        let read = self.queued(url, after, limit.deliveries);
        Box::pin(async move {
            let deliveries = read.await?;
            let more = deliveries.len() >= limit.deliveries;
            Ok(OpenPage { deliveries, more })
        })
    }

    /// Does what [`load`](Self::load) does, and leaves the rest when the bodies have so many bytes; the first that is open is always read. Defaults to `load`, which
    /// reads all.
    fn load_within(
        &self,
        url: &WebhookUrl,
        ids: Vec<DeliveryId>,
        bytes: usize,
    ) -> StoreFuture<Loaded> {
        let _ = bytes;
        let read = self.load(url, ids);
        Box::pin(async move {
            let (deliveries, rest) = (read.await?, Vec::new());
            Ok(Loaded { deliveries, rest })
        })
    }

    /// Records finished attempts: delivered, to be retried, or a dead letter. One for a delivery that is no longer open has no effect,
    /// so recording twice is harmless.
    fn record(&self, batch: Arc<[AttemptRecord]>) -> StoreFuture<()>;

    /// Keeps what an endpoint has agreed on with its receiver, in place of what was kept before; a record that says so replaces it too. Defaults to
    /// doing nothing: then a rate limit, an open circuit and a pace begin anew with the process.
    fn agree(&self, url: &WebhookUrl, agreed: Agreed) -> StoreFuture<()> {
        let (_, _) = (url, agreed);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns the endpoints that have open deliveries, ordered by URL, those after `after`, at most `limit`.
    fn open_summaries(
        &self,
        after: Option<WebhookUrl>,
        limit: usize,
    ) -> StoreFuture<Vec<OpenSummary>>;

    /// Returns what is known of an endpoint.
    fn endpoint_summary(&self, url: &WebhookUrl) -> StoreFuture<StoredEndpoint>;
}

/// What operators ask of what is kept: listing, redelivering, ending, forgetting.
pub trait RecordStore: Send + Sync + 'static {
    /// Returns the finished attempts of a delivery, the first one first, as far as they are kept.
    fn attempts(&self, id: DeliveryId) -> StoreFuture<Vec<Attempt>>;

    /// Returns deliveries, newest first.
    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<Vec<Delivery>>;

    /// Returns dead letters, newest first.
    fn dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<Vec<DeadLetter>>;

    /// Starts deliveries again as fresh ones, with ids of their own and the same alert, and returns each with its endpoint. Dead letters are taken in the
    /// order in which they were accepted: a page is the oldest of those that the query finds, and the fresh ids ascend in that order. Those that were
    /// redelivered are no longer listed; an open delivery keeps its own schedule.
    /// The limits of the backlog hold for them too: those of a query for which there is no room stay dead letters, and [`StoreError::Full`] says so when
    /// there is room for none.
    /// One to an endpoint that was removed ([`Change::RemoveEndpoint`]) is refused with [`StoreError::EndpointRemoved`]; a query leaves those out,
    /// and they stay listed.
    fn redeliver(
        &self,
        which: Redelivery,
        now: Timestamp,
    ) -> StoreFuture<Vec<(DeliveryId, WebhookUrl)>>;

    /// Discards the dead letters that a query finds, at most as many as a page, and returns how many.
    fn discard(&self, query: DeadLetterQuery) -> StoreFuture<u64>;

    /// Returns the ids of open deliveries of an endpoint that are asked for, those after `after`, ascending, at most `limit`. Defaults to
    /// [`StoreError::Unsupported`], with which deliveries of a rule or a client cannot be ended.
    fn open_of(
        &self,
        url: &WebhookUrl,
        which: OpenQuery,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<DeliveryId>> {
        let (_, _, _, _) = (url, which, after, limit);
        Box::pin(std::future::ready(Err(StoreError::Unsupported(
            "ending deliveries by hand",
        ))))
    }

    /// Makes those of the given deliveries of an endpoint that are open dead letters with this reason, without an attempt, and returns them. Defaults to
    /// [`StoreError::Unsupported`].
    fn end(
        &self,
        url: &WebhookUrl,
        ids: Vec<DeliveryId>,
        reason: DeadLetterReason,
        now: Timestamp,
    ) -> StoreFuture<Vec<EndedDelivery>> {
        let (_, _, _, _) = (url, ids, reason, now);
        Box::pin(std::future::ready(Err(StoreError::Unsupported(
            "ending deliveries by hand",
        ))))
    }

    /// Returns how many dead letters a query finds, whatever its limit. Defaults to counting up to 1,000 of them.
    fn count_dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        let query = DeadLetterQuery {
            limit: usize::MAX,
            ..query
        };
        let letters = self.dead_letters(query);
        Box::pin(async move { Ok(u64::try_from(letters.await?.len()).unwrap_or(u64::MAX)) })
    }

    /// Forgets what is kept for longer than it should be, as of `now`, and returns how many deliveries.
    fn prune(&self, now: Timestamp, keep: Retention) -> StoreFuture<u64>;

    /// Returns for how long things are kept: the engine calls [`prune`](Self::prune) with this every minute. Defaults to `None`, with which it never does.
    fn retention(&self) -> Option<Retention> {
        None
    }

    /// Returns how many deliveries are open in all.
    fn open_total(&self) -> StoreFuture<u64>;
}

/// Rules, clients, and the settings of endpoints.
pub trait SettingsStore: Send + Sync + 'static {
    /// Makes the open deliveries of an endpoint dead letters with the reason that it was removed, and returns how many.
    fn remove_endpoint(&self, url: &WebhookUrl, now: Timestamp) -> StoreFuture<u64>;

    /// Keeps a change of the configuration.
    fn apply(&self, change: Change) -> StoreFuture<()>;

    /// Returns the configuration as it was kept; an error if any of it cannot be read.
    fn configuration(&self) -> StoreFuture<Configuration>;

    /// Returns the configuration as far as it can be read, and what cannot: an engine sets that aside and
    /// starts with the rest. Defaults to [`configuration`](Self::configuration), all or nothing.
    fn readable(&self) -> StoreFuture<Readable> {
        let whole = self.configuration();
        Box::pin(async move { Ok((whole.await?, Vec::new())) })
    }

    /// Returns the endpoints that were removed and are not to be called until they are asked for again
    /// ([`Change::RemoveEndpoint`]). Defaults to none.
    fn removed(&self) -> StoreFuture<Vec<WebhookUrl>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Returns the credentials of the past that were kept, in any order. Defaults to none, for stores that do not keep them:
    /// then what a rule no longer names is sent without what the rule gave, once the engine was started again.
    fn past_credentials(&self) -> StoreFuture<Vec<PastCredential>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// Events that the application stored in a transaction of its own. A store without an outbox
/// implements none of the methods.
pub trait OutboxStore: Send + Sync + 'static {
    /// Returns events that the application stored in a transaction of its own and that were not routed yet, the oldest first. Storing one with
    /// [`NewEvent::outbox`] takes it out. Defaults to none, for stores without an outbox.
    fn outbox(&self, after: u64, limit: usize) -> StoreFuture<Vec<OutboxEntry>> {
        let (_, _) = (after, limit);
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Sets an event of the outbox aside with the reason why it can never be routed. Defaults to doing nothing.
    fn reject_outbox(&self, seq: u64, reason: String) -> StoreFuture<()> {
        let (_, _) = (seq, reason);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Says whether there is an outbox to be looked into. Defaults to `false`.
    fn has_outbox(&self) -> bool {
        false
    }
}
