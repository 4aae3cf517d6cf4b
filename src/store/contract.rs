//! The contract between the engine and a store.

use std::sync::Arc;

use super::{
    Agreed, Appended, Attempt, AttemptPage, AttemptQuery, AttemptRecord, Change, Configuration,
    Count, DeadLetterQuery, DeliveryDetails, DeliveryQuery, EndedDelivery, GivenUp, Loaded,
    NewEvent, OpenDelivery, OpenPage, OpenQuery, OpenSummary, OutboxEntry, OutboxSummary, Page,
    PageLimit, PastCredential, Readable, Redelivery, RedeliveryId, RedeliveryJob, RedeliveryStep,
    RefusedEntry, Retention, StoreClaim, StoreError, StoreFuture, StoredClock, StoredEndpoint,
    StoredEvent, Survey, WaitingDelivery,
};
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::Delivery;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::value::id::{DeliveryId, EventId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;

/// The place where accepted events are kept until they are delivered.
///
/// # Contract
/// - Once a future has returned `Ok`, its effect survives everything that the store promises to
///   survive.
/// - Calls take effect in the order in which they are made, and delivery ids ascend in that order.
/// - A method does its work when it is called or when its future is polled. If the future is
///   dropped, the call may or may not have taken effect.
/// - Reads never return a delivery that a finished `record` has ended.
/// - Every time passed to or returned by a store is the engine's time, which setting the wall clock
///   does not change. The engine's own interface uses wall time.
///
/// Every method may return [`StoreError`]; [`StoreError::is_transient`] returns `true` if calling
/// again can help.
pub trait Store: DeliveryStore + RecordStore + SettingsStore + OutboxStore {
    /// Claims the store for one engine.
    ///
    /// The engine holds the claim while its actors run. Meanwhile another claim fails with
    /// [`StoreError::InUse`]: two engines on one store would each deliver everything. Defaults to a
    /// claim that excludes nobody, for a store that prevents this itself.
    fn claim(&self) -> StoreFuture<StoreClaim> {
        Box::pin(std::future::ready(Ok(StoreClaim::none())))
    }

    /// Returns the problem that affects the whole store, if one is known without checking.
    ///
    /// The status of every endpoint shows it as `store_error`. Called often; must not block.
    /// Defaults to `None`.
    fn condition(&self) -> Option<Arc<str>> {
        None
    }

    /// Returns the clock stored by [`keep_clock`](Self::keep_clock). Defaults to a wall clock that
    /// was never set.
    fn clock(&self) -> StoreFuture<StoredClock> {
        Box::pin(std::future::ready(Ok(StoredClock::default())))
    }

    /// Stores how far the wall clock is ahead of the engine's time, in milliseconds.
    ///
    /// The number is negative if it is behind. Called after the wall clock was set. Defaults to
    /// doing nothing: deliveries that wait across a restart then wait longer or shorter by the
    /// amount by which the clock was set while the previous engine ran.
    fn keep_clock(&self, wall_ahead_ms: i64) -> StoreFuture<()> {
        let _ = wall_ahead_ms;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns once all events and attempts accepted or recorded so far are as safe as the store
    /// can make them.
    fn flush(&self) -> StoreFuture<()>;
}

/// The calls that the engine makes for every delivery: accepting, reading, recording.
pub trait DeliveryStore: Send + Sync + 'static {
    /// Takes the deliveries that the store has given up by itself since the last call.
    ///
    /// The engine reports them: unreadable deliveries, and deliveries to a removed endpoint. Called
    /// once a second; must not block. Defaults to none.
    fn take_given_up(&self) -> Vec<GivenUp> {
        Vec::new()
    }

    /// Accepts events with their deliveries: the whole batch or, on an error, nothing.
    ///
    /// An event whose id is remembered for its client is not stored again. An event for which there
    /// is no room is not stored at all. The other events of the batch are stored. The answers are
    /// in the order of the batch. Deliveries to an endpoint that was removed
    /// ([`Change::RemoveEndpoint`]) become dead letters at once.
    ///
    /// If there is no room for an event from the outbox, later outbox events of the batch must not
    /// overtake it: one that goes only to endpoints of refused events is refused too.
    fn append(&self, batch: Arc<[NewEvent]>) -> StoreFuture<Vec<Appended>>;

    /// Returns deliveries of an endpoint that were never attempted.
    ///
    /// They are ordered by ascending id and start after `after`; at most `limit`.
    fn queued(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<OpenDelivery>>;

    /// Returns deliveries of an endpoint that wait for a retry, without their alerts.
    ///
    /// The earliest due comes first; at most `limit`.
    fn waiting(&self, url: &WebhookUrl, limit: usize) -> StoreFuture<Vec<WaitingDelivery>>;

    /// Returns the open ones among these deliveries of an endpoint, in the order of `ids`.
    fn load(&self, url: &WebhookUrl, ids: Vec<DeliveryId>) -> StoreFuture<Vec<OpenDelivery>>;

    /// Like [`queued`](Self::queued), but also ends the page at a number of bytes.
    ///
    /// An engine that starts on large bodies needs this: it does not know their sizes before it
    /// reads them. Defaults to `queued`, where only the number of deliveries ends a page.
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

    /// Like [`load`](Self::load), but stops once the bodies add up to `bytes`, and leaves the rest.
    ///
    /// The first open delivery is always read. Defaults to `load`, which reads all.
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

    /// Records finished attempts: delivered, to be retried, or a dead letter.
    ///
    /// A record for a delivery that is no longer open has no effect, so recording twice is
    /// harmless.
    fn record(&self, batch: Arc<[AttemptRecord]>) -> StoreFuture<()>;

    /// Stores an endpoint's agreement with its receiver, in place of the one stored before.
    ///
    /// An attempt record that carries an agreement replaces it too. Defaults to doing nothing: a
    /// rate limit, an open circuit and a pace then start afresh with the process.
    fn agree(&self, url: &WebhookUrl, agreed: Agreed) -> StoreFuture<()> {
        let (_, _) = (url, agreed);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns the endpoints that have open deliveries.
    ///
    /// They are ordered by URL and start after `after`; at most `limit`.
    fn open_summaries(
        &self,
        after: Option<WebhookUrl>,
        limit: usize,
    ) -> StoreFuture<Vec<OpenSummary>>;

    /// Returns the stored state of an endpoint.
    fn endpoint_summary(&self, url: &WebhookUrl) -> StoreFuture<StoredEndpoint>;

    /// Returns the endpoints without open deliveries of which a hold, a health or an agreement is
    /// stored, with their stored states.
    ///
    /// They are ordered by URL and start after `after`; at most `limit`. An engine that starts
    /// asks, to know which endpoints are in trouble. Defaults to none: these endpoints then count
    /// as well until they have something to send.
    fn resting_endpoints(
        &self,
        after: Option<WebhookUrl>,
        limit: usize,
    ) -> StoreFuture<Vec<(WebhookUrl, StoredEndpoint)>> {
        let (_, _) = (after, limit);
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// The calls for operators: listing, redelivering, ending, forgetting.
pub trait RecordStore: Send + Sync + 'static {
    /// Returns the finished attempts of a delivery that are still kept, the first one first.
    fn attempts(&self, id: DeliveryId) -> StoreFuture<Vec<Attempt>>;

    /// Returns the finished attempts of all deliveries of an endpoint that are still kept, the
    /// latest first.
    ///
    /// The store may stop after a number of deliveries looked at, as for
    /// [`deliveries`](Self::deliveries). [`AttemptPage`] says in which order it may put them.
    /// Defaults to [`StoreError::Unsupported`].
    fn attempts_of(&self, url: &WebhookUrl, query: AttemptQuery) -> StoreFuture<AttemptPage> {
        let (_, _) = (url, query);
        Box::pin(std::future::ready(Err(StoreError::Unsupported(
            "listing the attempts of an endpoint",
        ))))
    }

    /// Returns deliveries, newest first.
    ///
    /// The store may stop after a number of deliveries looked at; the page then says how far it
    /// looked, and where to continue.
    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<Page<Delivery>>;

    /// Returns the number of deliveries that a query finds, ignoring its limit.
    ///
    /// It counts up to `at_most`, and may stop after a number of deliveries looked at. Defaults to
    /// counting one page.
    fn count(&self, query: DeliveryQuery, at_most: u64) -> StoreFuture<Count> {
        let limit = usize::try_from(at_most).unwrap_or(usize::MAX);
        let page = self.deliveries(DeliveryQuery { limit, ..query });
        Box::pin(async move {
            let page = page.await?;
            let count = u64::try_from(page.len()).unwrap_or(u64::MAX);
            Ok(Count::new(count.min(at_most), page.next.is_some()))
        })
    }

    /// Returns everything stored of a delivery, apart from its attempts; `None` if there is no such
    /// delivery, or if it was forgotten.
    ///
    /// Defaults to [`StoreError::Unsupported`].
    fn delivery(&self, id: DeliveryId) -> StoreFuture<Option<DeliveryDetails>> {
        let _ = id;
        Box::pin(std::future::ready(Err(StoreError::Unsupported(
            "reading a delivery by its id",
        ))))
    }

    /// Returns the events with this id, oldest first: each client may have one.
    ///
    /// An event without deliveries is returned too. Ids are forgotten after
    /// [`Retention::event_ids`]. Defaults to [`StoreError::Unsupported`].
    fn events(&self, id: EventId) -> StoreFuture<Vec<StoredEvent>> {
        let _ = id;
        Box::pin(std::future::ready(Err(StoreError::Unsupported(
            "reading an event by its id",
        ))))
    }

    /// Returns dead letters, newest first.
    ///
    /// The store may stop after a number of dead letters looked at, as for
    /// [`deliveries`](Self::deliveries).
    fn dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<Page<DeadLetter>>;

    /// Starts deliveries again, with new ids and the same alerts.
    ///
    /// Returns each new delivery with its endpoint.
    ///
    /// - Dead letters are taken in the order in which they were accepted. A page holds the oldest
    ///   that the query finds, and the new ids ascend in that order.
    /// - A redelivered dead letter is no longer listed. A delivery that is still open keeps its own
    ///   schedule.
    /// - The limits of the backlog apply. Dead letters of a query for which there is no room stay
    ///   dead letters. If there is room for none, the call fails with [`StoreError::Full`].
    /// - If the endpoint was removed ([`Change::RemoveEndpoint`]), a single delivery is refused
    ///   with [`StoreError::EndpointRemoved`]. A query skips such deliveries, and they stay listed.
    fn redeliver(
        &self,
        which: Redelivery,
        now: Timestamp,
    ) -> StoreFuture<Vec<(DeliveryId, WebhookUrl)>>;

    /// Begins to redeliver everything that a filter finds, and returns what was stored of it.
    ///
    /// Nothing is redelivered yet. Defaults to [`StoreError::Unsupported`].
    fn begin_redelivery(&self, which: Redelivery, now: Timestamp) -> StoreFuture<RedeliveryJob> {
        let (_, _) = (which, now);
        Box::pin(std::future::ready(Err(StoreError::Unsupported(
            STEP_BY_STEP,
        ))))
    }

    /// Looks at the deliveries that a redelivery by filter finds, without redelivering any.
    ///
    /// It counts up to `at_most`, the newest first, and may stop after a number of deliveries
    /// looked at. Those that would be passed over, because their endpoint was removed, count too.
    /// Defaults to [`StoreError::Unsupported`].
    fn survey(&self, which: Redelivery, at_most: u64) -> StoreFuture<Survey> {
        let (_, _) = (which, at_most);
        Box::pin(std::future::ready(Err(StoreError::Unsupported(
            "planning a redelivery",
        ))))
    }

    /// Redelivers up to `limit` further deliveries of a redelivery, oldest first, and stores its
    /// progress with them: all of it, or nothing.
    ///
    /// Returns the redelivery and the fresh deliveries, each with its endpoint; `None` if there is
    /// no such redelivery. Nothing happens if it has ended. If there is no room for a delivery, the
    /// redelivery waits before it. Defaults to [`StoreError::Unsupported`].
    fn go_on_redelivering(
        &self,
        id: RedeliveryId,
        limit: usize,
        now: Timestamp,
    ) -> StoreFuture<Option<RedeliveryStep>> {
        let (_, _, _) = (id, limit, now);
        Box::pin(std::future::ready(Err(StoreError::Unsupported(
            STEP_BY_STEP,
        ))))
    }

    /// Stops a redelivery, unless it has ended, and returns it; `None` if there is none.
    ///
    /// Defaults to [`StoreError::Unsupported`].
    fn stop_redelivery(
        &self,
        id: RedeliveryId,
        now: Timestamp,
    ) -> StoreFuture<Option<RedeliveryJob>> {
        let (_, _) = (id, now);
        Box::pin(std::future::ready(Err(StoreError::Unsupported(
            STEP_BY_STEP,
        ))))
    }

    /// Returns the redeliveries that go on, and at least the last 100 that have ended, oldest
    /// first. Defaults to none.
    fn redeliveries(&self) -> StoreFuture<Vec<RedeliveryJob>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Discards the dead letters that a query finds, at most one page, and returns their number.
    fn discard(&self, query: DeadLetterQuery) -> StoreFuture<u64>;

    /// Returns the ids of the open deliveries of an endpoint that match `which`.
    ///
    /// They ascend and start after `after`; at most `limit`. Defaults to
    /// [`StoreError::Unsupported`]: the deliveries of a rule or a client can then not be ended.
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

    /// Turns open deliveries of an endpoint into dead letters with this reason, without an attempt.
    ///
    /// Returns the deliveries that were open. Defaults to [`StoreError::Unsupported`].
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

    /// Makes a delivery of an endpoint that waits for a retry due at `now`, and returns it as it
    /// waits then.
    ///
    /// One that is due earlier stays so. Attempts and deadline stay as they are. Returns `None` and
    /// changes nothing if the delivery is not open or was never attempted. Defaults to
    /// [`StoreError::Unsupported`].
    fn make_due(
        &self,
        url: &WebhookUrl,
        id: DeliveryId,
        now: Timestamp,
    ) -> StoreFuture<Option<WaitingDelivery>> {
        let (_, _, _) = (url, id, now);
        Box::pin(std::future::ready(Err(StoreError::Unsupported(
            "attempting a delivery now",
        ))))
    }

    /// Returns the number of dead letters that a query finds, ignoring its limit. Defaults to
    /// counting at most 1,000.
    fn count_dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        let query = DeadLetterQuery {
            limit: usize::MAX,
            ..query
        };
        let letters = self.dead_letters(query);
        Box::pin(async move { Ok(u64::try_from(letters.await?.len()).unwrap_or(u64::MAX)) })
    }

    /// Returns the number of dead letters that a query finds, ignoring its limit.
    ///
    /// It counts up to `at_most`, and may stop after a number of dead letters looked at. Defaults
    /// to counting one page.
    fn count_dead_letters_to(&self, query: DeadLetterQuery, at_most: u64) -> StoreFuture<Count> {
        let limit = usize::try_from(at_most).unwrap_or(usize::MAX);
        let page = self.dead_letters(DeadLetterQuery { limit, ..query });
        Box::pin(async move {
            let page = page.await?;
            let count = u64::try_from(page.len()).unwrap_or(u64::MAX);
            Ok(Count::new(count.min(at_most), page.next.is_some()))
        })
    }

    /// Forgets records older than `keep` allows at `now`.
    ///
    /// Returns the number of deliveries forgotten.
    fn prune(&self, now: Timestamp, keep: Retention) -> StoreFuture<u64>;

    /// Returns how long records are kept.
    ///
    /// The engine calls [`prune`](Self::prune) with it every minute. Defaults to `None`: the engine
    /// then never calls `prune`.
    fn retention(&self) -> Option<Retention> {
        None
    }

    /// Returns the total number of open deliveries.
    fn open_total(&self) -> StoreFuture<u64>;
}

/// Rules, clients, and the settings of endpoints.
pub trait SettingsStore: Send + Sync + 'static {
    /// Turns the open deliveries of an endpoint into dead letters and returns their number.
    ///
    /// Their reason is that the endpoint was removed.
    fn remove_endpoint(&self, url: &WebhookUrl, now: Timestamp) -> StoreFuture<u64>;

    /// Stores a change of the configuration.
    fn apply(&self, change: Change) -> StoreFuture<()>;

    /// Returns the stored configuration; an error if any part of it cannot be read.
    fn configuration(&self) -> StoreFuture<Configuration>;

    /// Returns the readable part of the configuration, and the settings that cannot be read.
    ///
    /// The engine sets those aside and starts with the rest. Defaults to
    /// [`configuration`](Self::configuration), all or nothing.
    fn readable(&self) -> StoreFuture<Readable> {
        let whole = self.configuration();
        Box::pin(async move { Ok((whole.await?, Vec::new())) })
    }

    /// Returns the removed endpoints that must not be called.
    ///
    /// [`Change::RemoveEndpoint`] says which these are, and what allows calls again. Defaults to
    /// none.
    fn removed(&self) -> StoreFuture<Vec<WebhookUrl>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Returns the stored past credentials, in any order.
    ///
    /// Defaults to none, for stores that do not keep them. After a restart, deliveries to a URL
    /// that a rule no longer names are then sent without the credential that the rule gave.
    fn past_credentials(&self) -> StoreFuture<Vec<PastCredential>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// Events that the application stored in its own transaction.
///
/// A store without an outbox implements none of these methods.
pub trait OutboxStore: Send + Sync + 'static {
    /// Returns outbox events that were not routed yet, the oldest first.
    ///
    /// They start after `after`; at most `limit`. Storing an event with [`NewEvent::outbox`] takes
    /// it out of the outbox. Defaults to none, for stores without an outbox.
    fn outbox(&self, after: u64, limit: usize) -> StoreFuture<Vec<OutboxEntry>> {
        let (_, _) = (after, limit);
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Sets aside an outbox event that can never be routed, with the reason. Defaults to doing
    /// nothing.
    fn reject_outbox(&self, seq: u64, reason: String) -> StoreFuture<()> {
        let (_, _) = (seq, reason);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns the outbox events that were set aside, the oldest first.
    ///
    /// They start after `after`; at most `limit`. Defaults to none.
    fn refused(&self, after: u64, limit: usize) -> StoreFuture<Vec<RefusedEntry>> {
        let (_, _) = (after, limit);
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Counts the events in the outbox, and returns the first that waits.
    ///
    /// It counts waiting events up to `at_most`, and may stop after a number of events looked at.
    /// Defaults to none without an outbox, and to [`StoreError::Unsupported`] with one.
    fn outbox_summary(&self, at_most: u64) -> StoreFuture<OutboxSummary> {
        let _ = at_most;
        let summary = if self.has_outbox() {
            Err(StoreError::Unsupported("counting its outbox"))
        } else {
            Ok(OutboxSummary::default())
        };
        Box::pin(std::future::ready(summary))
    }

    /// Returns `true` if there is an outbox to check. Defaults to `false`.
    fn has_outbox(&self) -> bool {
        false
    }
}

/// What a store without redeliveries by filter cannot do.
const STEP_BY_STEP: &str = "redelivering step by step";
