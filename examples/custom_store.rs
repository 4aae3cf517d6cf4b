//! A store of your own, here one that logs writes to a `MemoryStore`, and its conformance test:
//! `cargo run --features test-util --example custom_store`.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{
    Agreed, Appended, Attempt, AttemptRecord, Change, Configuration, Count, DeadLetterQuery,
    DeliveryDetails, DeliveryQuery, EndedDelivery, GivenUp, MemoryStore, NewEvent, OpenDelivery,
    OpenPage, OpenQuery, OpenSummary, Page, PageLimit, PastCredential, Redelivery, RedeliveryId,
    RedeliveryJob, RedeliveryStep, Retention, StoreClaim, StoreFuture, StoredClock, StoredEndpoint,
    StoredEvent, WaitingDelivery,
};
use actix_webhooks::testing::store_conformance;
use actix_webhooks::{AddressRange, DeadLetter, DeadLetterReason, Delivery, DeliveryId, EventId};
use actix_webhooks::{Engine, Event, Rule, Timestamp, WebhookUrl};

#[derive(Default)]
struct LoggingStore {
    inner: MemoryStore,
    log: Mutex<Vec<String>>,
}

/// Forwards methods to the inner store.
macro_rules! forward {
    ($($method:ident($($name:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $method(&self, $($name: $type),*) -> StoreFuture<$answer> {
            self.inner.$method($($name),*)
        }
    )*};
}

impl DeliveryStore for LoggingStore {
    fn append(&self, batch: Arc<[NewEvent]>) -> StoreFuture<Vec<Appended>> {
        let lines = batch.iter().map(|event| {
            let deliveries: usize = event.alerts.iter().map(|new| new.urls.len()).sum();
            format!("append: event {}, deliveries: {deliveries}", event.id)
        });
        self.log.lock().unwrap().extend(lines);
        self.inner.append(batch)
    }

    fn record(&self, batch: Arc<[AttemptRecord]>) -> StoreFuture<()> {
        let lines = batch.iter().map(|record| {
            let (id, outcome) = (record.delivery_id, &record.outcome);
            format!("record: delivery {id}, {outcome:?}")
        });
        self.log.lock().unwrap().extend(lines);
        self.inner.record(batch)
    }

    fn take_given_up(&self) -> Vec<GivenUp> {
        self.inner.take_given_up()
    }

    forward! {
        queued(url: &WebhookUrl, after: DeliveryId, limit: usize) -> Vec<OpenDelivery>;
        waiting(url: &WebhookUrl, limit: usize) -> Vec<WaitingDelivery>;
        load(url: &WebhookUrl, ids: Vec<DeliveryId>) -> Vec<OpenDelivery>;
        open_summaries(after: Option<WebhookUrl>, limit: usize) -> Vec<OpenSummary>;
        endpoint_summary(url: &WebhookUrl) -> StoredEndpoint;
        // These have defaults; the trait says what a store without them cannot do.
        queued_within(url: &WebhookUrl, after: DeliveryId, limit: PageLimit) -> OpenPage;
        agree(url: &WebhookUrl, agreed: Agreed) -> ();
        resting_endpoints(after: Option<WebhookUrl>, limit: usize) -> Vec<(WebhookUrl, StoredEndpoint)>;
    }
}

impl RecordStore for LoggingStore {
    forward! {
        attempts(id: DeliveryId) -> Vec<Attempt>;
        deliveries(query: DeliveryQuery) -> Page<Delivery>;
        dead_letters(query: DeadLetterQuery) -> Page<DeadLetter>;
        redeliver(which: Redelivery, now: Timestamp) -> Vec<(DeliveryId, WebhookUrl)>;
        discard(query: DeadLetterQuery) -> u64;
        prune(now: Timestamp, keep: Retention) -> u64;
        open_total() -> u64;
        open_of(url: &WebhookUrl, which: OpenQuery, after: DeliveryId, limit: usize)
            -> Vec<DeliveryId>;
        end(url: &WebhookUrl, ids: Vec<DeliveryId>, reason: DeadLetterReason, now: Timestamp)
            -> Vec<EndedDelivery>;
        count_dead_letters(query: DeadLetterQuery) -> u64;
        count(query: DeliveryQuery, at_most: u64) -> Count;
        delivery(id: DeliveryId) -> Option<DeliveryDetails>;
        events(id: EventId) -> Vec<StoredEvent>;
        make_due(url: &WebhookUrl, id: DeliveryId, now: Timestamp) -> Option<WaitingDelivery>;
        begin_redelivery(which: Redelivery, now: Timestamp) -> RedeliveryJob;
        go_on_redelivering(id: RedeliveryId, limit: usize, now: Timestamp)
            -> Option<RedeliveryStep>;
        stop_redelivery(id: RedeliveryId, now: Timestamp) -> Option<RedeliveryJob>;
        redeliveries() -> Vec<RedeliveryJob>;
    }
}

impl SettingsStore for LoggingStore {
    forward! {
        remove_endpoint(url: &WebhookUrl, now: Timestamp) -> u64;
        apply(change: Change) -> ();
        configuration() -> Configuration;
        removed() -> Vec<WebhookUrl>;
        past_credentials() -> Vec<PastCredential>;
    }
}

/// It has no outbox.
impl OutboxStore for LoggingStore {}

impl Store for LoggingStore {
    forward! {
        flush() -> ();
        claim() -> StoreClaim;
        clock() -> StoredClock;
        keep_clock(wall_ahead_ms: i64) -> ();
    }
}

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The customer's server takes one request and answers.
    let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/hooks", server.local_addr()?);
    std::thread::spawn(move || {
        let (mut stream, _) = server.accept()?;
        let read = stream.read(&mut [0; 4_096])?;
        println!("the receiver got {read} bytes");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    });

    let store = Arc::new(LoggingStore::default());
    let engine = Engine::builder()
        .store(store.clone())
        .allow_addresses(AddressRange::loopback()) // by default only public addresses are called
        .rule(Rule::new("invoices", "invoice.*").webhook(&url)?)
        .start()
        .await?;
    let mut reports = engine.watch_deliveries(10).await?;
    let event = Event::new("invoice.paid", "client-1").id("invoice-42");
    engine.publish(event).await?;
    reports.next().await.ok_or("the engine has stopped")?;
    engine.shutdown(Duration::from_secs(1)).await;
    println!("{}", store.log.lock().unwrap().join("\n"));

    // Belongs in a test of yours. It panics if the store breaks the contract of `Store`.
    Box::pin(store_conformance(async || LoggingStore::default())).await;
    println!("the conformance suite passed");
    Ok(())
}
