//! The part of the store that is read into memory: an engine that starts needs no more than one
//! that runs.

use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{
    Alert, Appended, Attempt, AttemptRecord, Change, Configuration, DeadLetterQuery, DeliveryQuery,
    Loaded, MemoryStore, NewEvent, OpenDelivery, OpenPage, OpenSummary, Page, PageLimit,
    Redelivery, Retention, StoreFuture, StoredEndpoint, WaitingDelivery,
};
use actix_webhooks::testing::SimClock;
use actix_webhooks::transport::{Answer, Channel, Request, Sent, Transport};
use actix_webhooks::{
    DeadLetter, Delivery, DeliveryId, Endpoint, Engine, Event, Ordering, PauseEndpoint,
    RetryPolicy, Rule, Timestamp, WebhookUrl,
};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

const BODY: usize = 1_024 * 1_024;
const MIB: usize = 1_024 * 1_024;

/// A store whose bodies are a mebibyte each when read back, and that counts the bodies still in
/// use.
#[derive(Clone, Default)]
struct Large {
    store: Arc<MemoryStore>,
    read: Arc<Mutex<Vec<Weak<Alert>>>>,
    /// The most bytes that were in memory at once.
    most: Arc<AtomicUsize>,
}

impl Large {
    fn most(&self) -> usize {
        self.most.swap(0, SeqCst)
    }

    /// Enlarges bodies up to a total of `bytes`. Returns the deliveries, and the ids of those left
    /// out.
    fn enlarge(
        &self,
        deliveries: Vec<OpenDelivery>,
        bytes: usize,
    ) -> (Vec<OpenDelivery>, Vec<DeliveryId>) {
        let mut read = self.read.lock().unwrap();
        let (mut large, mut rest) = (Vec::new(), Vec::new());
        for delivery in deliveries {
            if large.len() * BODY >= bytes {
                rest.push(delivery.id);
                continue;
            }
            let body = vec![0; BODY].into();
            let mut delivery = delivery;
            Arc::make_mut(&mut delivery.alert).body = body;
            read.push(Arc::downgrade(&delivery.alert));
            large.push(delivery);
        }
        read.retain(|alert| alert.strong_count() > 0);
        self.most.fetch_max(read.len() * BODY, SeqCst);
        (large, rest)
    }
}

impl DeliveryStore for Large {
    fn append(&self, batch: Arc<[NewEvent]>) -> StoreFuture<Vec<Appended>> {
        self.store.append(batch)
    }

    fn queued(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<OpenDelivery>> {
        let read = self.store.queued(url, after, limit);
        let this = self.clone();
        Box::pin(async move { Ok(this.enlarge(read.await?, usize::MAX).0) })
    }

    fn waiting(&self, url: &WebhookUrl, limit: usize) -> StoreFuture<Vec<WaitingDelivery>> {
        self.store.waiting(url, limit)
    }

    fn load(&self, url: &WebhookUrl, ids: Vec<DeliveryId>) -> StoreFuture<Vec<OpenDelivery>> {
        let (read, this) = (self.store.load(url, ids), self.clone());
        Box::pin(async move { Ok(this.enlarge(read.await?, usize::MAX).0) })
    }

    fn queued_within(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: PageLimit,
    ) -> StoreFuture<OpenPage> {
        let read = self.store.queued_within(url, after, limit);
        let this = self.clone();
        Box::pin(async move {
            let mut page = read.await?;
            let (deliveries, rest) = this.enlarge(page.deliveries, limit.bytes);
            page.deliveries = deliveries;
            page.more |= !rest.is_empty();
            Ok(page)
        })
    }

    fn load_within(
        &self,
        url: &WebhookUrl,
        ids: Vec<DeliveryId>,
        bytes: usize,
    ) -> StoreFuture<Loaded> {
        let (read, this) = (self.store.load(url, ids), self.clone());
        Box::pin(async move {
            let (deliveries, rest) = this.enlarge(read.await?, bytes);
            Ok(Loaded::new(deliveries, rest))
        })
    }

    fn record(&self, batch: Arc<[AttemptRecord]>) -> StoreFuture<()> {
        self.store.record(batch)
    }

    fn open_summaries(
        &self,
        after: Option<WebhookUrl>,
        limit: usize,
    ) -> StoreFuture<Vec<OpenSummary>> {
        self.store.open_summaries(after, limit)
    }

    fn endpoint_summary(&self, url: &WebhookUrl) -> StoreFuture<StoredEndpoint> {
        self.store.endpoint_summary(url)
    }
}

impl RecordStore for Large {
    fn attempts(&self, id: DeliveryId) -> StoreFuture<Vec<Attempt>> {
        self.store.attempts(id)
    }

    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<Page<Delivery>> {
        self.store.deliveries(query)
    }

    fn dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<Page<DeadLetter>> {
        self.store.dead_letters(query)
    }

    fn redeliver(
        &self,
        which: Redelivery,
        now: Timestamp,
    ) -> StoreFuture<Vec<(DeliveryId, WebhookUrl)>> {
        self.store.redeliver(which, now)
    }

    fn discard(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        self.store.discard(query)
    }

    fn prune(&self, now: Timestamp, keep: Retention) -> StoreFuture<u64> {
        self.store.prune(now, keep)
    }

    fn open_total(&self) -> StoreFuture<u64> {
        self.store.open_total()
    }
}

impl SettingsStore for Large {
    fn remove_endpoint(&self, url: &WebhookUrl, now: Timestamp) -> StoreFuture<u64> {
        self.store.remove_endpoint(url, now)
    }

    fn apply(&self, change: Change) -> StoreFuture<()> {
        self.store.apply(change)
    }

    fn configuration(&self) -> StoreFuture<Configuration> {
        self.store.configuration()
    }
}

impl OutboxStore for Large {}

impl Store for Large {
    fn flush(&self) -> StoreFuture<()> {
        self.store.flush()
    }
}

/// Receivers that all answer alike, and keep nothing of what they are sent.
#[derive(Clone)]
struct Receivers {
    status: Arc<AtomicU16>,
    clock: SimClock,
    answers_after_ms: Arc<AtomicU64>,
}

impl Receivers {
    fn answer(&self, status: u16, after_ms: u64) {
        self.status.store(status, SeqCst);
        self.answers_after_ms.store(after_ms, SeqCst);
    }
}

impl Transport for Receivers {
    fn open(&self, _: &Endpoint, _: &str) -> Box<dyn Channel> {
        Box::new(self.clone())
    }
}

impl Channel for Receivers {
    fn send(&self, request: Request) -> LocalBoxFuture<'static, Sent> {
        let this = self.clone();
        async move {
            let wait = this.answers_after_ms.load(SeqCst);
            this.clock.sleep(Duration::from_millis(wait)).await;
            drop(request);
            Sent::from(Ok(Answer::new(this.status.load(SeqCst))))
        }
        .boxed_local()
    }
}

fn hook(number: usize) -> String {
    format!("http://receiver-{number}.test/")
}

struct World {
    store: Large,
    receivers: Receivers,
    endpoints: usize,
    ordering: Ordering,
}

impl World {
    fn new(clock: &SimClock, endpoints: usize) -> Self {
        Self {
            store: Large::default(),
            receivers: Receivers {
                status: Arc::new(AtomicU16::new(503)),
                clock: clock.clone(),
                answers_after_ms: Arc::new(AtomicU64::new(10)),
            },
            endpoints,
            ordering: Ordering::Unordered,
        }
    }

    async fn start(&self, clock: &SimClock) -> Engine {
        let mut builder = Engine::builder()
            .simulated(clock, 2)
            .store(self.store.clone())
            .transport(self.receivers.clone());
        for number in 0..self.endpoints {
            let rule = Rule::new(number.to_string(), number.to_string());
            let endpoint = Endpoint::new(&hook(number))
                .unwrap()
                .retry(RetryPolicy::three_in_two_minutes().without_jitter())
                .ordering(self.ordering);
            builder = builder
                .rule(rule.webhook(&hook(number)).unwrap())
                .endpoint(endpoint);
        }
        builder.start().await.unwrap()
    }

    /// Publishes `each` events to each endpoint, each for a company of its own.
    async fn publish(&self, engine: &Engine, each: usize) {
        for event in 0..each {
            for number in 0..self.endpoints {
                let event =
                    Event::new(number.to_string(), "client").company(format!("company-{event}"));
                engine.publish(event).await.unwrap();
            }
        }
    }

    async fn open(&self) -> u64 {
        self.store.open_total().await.unwrap()
    }
}

/// After a restart, three endpoints with 256 due retries of a mebibyte each held 769 MiB. An engine
/// that was killed for its memory was killed again.
#[test]
fn a_hundred_endpoints_with_a_thousand_large_retries_that_are_due_start_in_256_mib() {
    SimClock::run(async |clock| {
        let world = World::new(&clock, 100);
        let engine = world.start(&clock).await;
        world.publish(&engine, 10).await;
        clock.sleep(Duration::from_secs(5)).await;
        engine.shutdown(Duration::ZERO).await;
        assert_eq!(world.open().await, 1_000);
        clock.sleep(Duration::from_mins(1)).await;
        world.store.most();

        world.receivers.answer(200, 5_000);
        let engine = world.start(&clock).await;
        clock.sleep(Duration::from_mins(10)).await;
        assert_eq!(world.open().await, 0, "all of them are delivered");
        let most = world.store.most();
        assert!(most <= 180 * MIB, "{} MiB", most / MIB);
        assert!(most >= 64 * MIB, "{} MiB: it reads ahead", most / MIB);
        engine.shutdown(Duration::ZERO).await;
    });
}

/// The same for deliveries that were never attempted, and for ordered endpoints.
#[test]
fn a_backlog_of_large_bodies_is_read_as_far_as_there_is_room_whatever_the_order() {
    for ordering in [
        Ordering::Unordered,
        Ordering::Fifo,
        Ordering::FifoPerCompany,
    ] {
        SimClock::run(async |clock| {
            let mut world = World::new(&clock, 30);
            world.ordering = ordering;
            let engine = world.start(&clock).await;
            for number in 0..world.endpoints {
                let pause = PauseEndpoint::new(hook(number));
                engine.supervisor().send(pause).await.unwrap().unwrap();
            }
            world.publish(&engine, 20).await;
            engine.shutdown(Duration::ZERO).await;
            let engine = world.start(&clock).await;
            clock.sleep(Duration::from_mins(1)).await;
            assert_eq!(world.store.most(), 0, "nothing is read of what is paused");

            world.receivers.answer(200, 5_000);
            for number in 0..world.endpoints {
                let resume = actix_webhooks::ResumeEndpoint::new(hook(number));
                engine.supervisor().send(resume).await.unwrap().unwrap();
            }
            clock.sleep(Duration::from_mins(5)).await;
            assert_eq!(world.open().await, 0, "{ordering:?}");
            let most = world.store.most();
            assert!(most <= 100 * MIB, "{ordering:?}: {} MiB", most / MIB);
            engine.shutdown(Duration::ZERO).await;
        });
    }
}

/// Resuming an endpoint with 20,000 companies took 449 MiB, because all their retries were read
/// back at once.
#[test]
fn retries_of_many_companies_are_read_back_as_far_as_there_is_room() {
    SimClock::run(async |clock| {
        let mut world = World::new(&clock, 1);
        world.ordering = Ordering::FifoPerCompany;
        let engine = world.start(&clock).await;
        world.publish(&engine, 2_000).await;
        clock.sleep(Duration::from_secs(100)).await;
        let pause = PauseEndpoint::new(hook(0));
        engine.supervisor().send(pause).await.unwrap().unwrap();
        let resume = actix_webhooks::ResumeEndpoint::new(hook(0));
        clock.sleep(Duration::from_mins(10)).await;
        world.store.most();
        world.receivers.answer(200, 10);
        engine.supervisor().send(resume).await.unwrap().unwrap();
        clock.sleep(Duration::from_mins(10)).await;
        assert_eq!(world.open().await, 0);
        let most = world.store.most();
        assert!((1..=48 * MIB).contains(&most), "{} MiB", most / MIB);
        engine.shutdown(Duration::ZERO).await;
    });
}

/// Bodies that were read are dropped from memory when their endpoint may not start for a long time.
#[test]
fn an_endpoint_that_is_held_or_paused_keeps_no_bodies() {
    SimClock::run(async |clock| {
        let world = World::new(&clock, 40);
        world.receivers.answer(200, 5_000);
        let engine = world.start(&clock).await;
        world.publish(&engine, 200).await;
        clock.sleep(Duration::from_secs(6)).await;
        for number in 0..world.endpoints {
            let pause = PauseEndpoint::new(hook(number));
            engine.supervisor().send(pause).await.unwrap().unwrap();
        }
        clock.sleep(Duration::from_secs(30)).await;
        world.store.enlarge(Vec::new(), 0);
        let kept = world.store.read.lock().unwrap().len();
        assert_eq!(kept, 0, "bodies in memory");
        for number in 0..world.endpoints {
            let resume = actix_webhooks::ResumeEndpoint::new(hook(number));
            engine.supervisor().send(resume).await.unwrap().unwrap();
        }
        clock.sleep(Duration::from_hours(1)).await;
        assert_eq!(world.open().await, 0, "nothing of it is lost");
        engine.shutdown(Duration::ZERO).await;
    });
}
