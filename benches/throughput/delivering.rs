//! The engine: the same requests, published as events and delivered from a store in memory or on
//! disk.

use std::path::Path;
use std::time::{Duration, Instant};

use actix::System;
use actix_webhooks::store::{BacklogLimits, MemoryLimits, MemoryStore, SqliteOptions, SqliteStore};
use actix_webhooks::transport::{AwcTransport, HttpTransport, Transport};
use actix_webhooks::{
    AddressRange, Endpoint, EndpointPolicy, Engine, EngineBuilder, Event, PublishBatch,
    PublishError, Rule,
};

use crate::IN_FLIGHT;
use crate::measure::{Meter, Sample};

/// Publishes for the duration `run`, waits until everything is delivered, and returns the
/// throughput. Meanwhile keeps what `beside` has started for the engine.
pub(crate) fn run<T>(
    urls: &[String],
    arbiters: usize,
    run: Duration,
    kept: Kept,
    over: Over,
    beside: impl FnOnce(&Engine) -> T,
) -> Sample {
    System::new().block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        // One arbiter means this thread, as for the bare loop; publishing is part of the
        // measurement.
        let arbiters = if arbiters == 1 { 0 } else { arbiters };
        let builder = match kept {
            Kept::InMemory => engine(urls, arbiters, over).store(in_memory(OPEN_IN_MEMORY)),
            Kept::OnDisk => {
                engine(urls, arbiters, over).store(on_disk(folder.path(), OPEN_ON_DISK))
            }
        };
        let engine = builder.start().await.expect("the engine starts");
        let _beside = beside(&engine);
        let meter = Meter::start();
        // Enough publishers to keep the store busy: on disk each waits for the disk most of the
        // time.
        let publishers = match kept {
            Kept::InMemory => 1,
            Kept::OnDisk => 8,
        };
        let sent = publish(&engine, publishers, urls.len(), run).await;
        let report = engine.shutdown(Duration::ZERO).await;
        assert_eq!(report.pending, 0, "everything was delivered");
        meter.stop(sent)
    })
}

/// The store in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    InMemory,
    OnDisk,
}

/// The transport in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Awc,
    Http,
}

impl Over {
    /// Returns the transport, with calls to this machine allowed.
    pub(crate) fn transport(self, idle: usize) -> Box<dyn Transport> {
        match self {
            Self::Awc => Box::new(
                AwcTransport::builder()
                    .allow_addresses(AddressRange::loopback())
                    .max_idle_connections(idle)
                    .build()
                    .expect("no extra roots"),
            ),
            Self::Http => Box::new(
                HttpTransport::builder()
                    .allow_addresses(AddressRange::loopback())
                    .max_idle_connections(idle)
                    .build()
                    .expect("no extra roots"),
            ),
        }
    }
}

/// Returns a store in memory that keeps only open deliveries.
pub(crate) fn in_memory(open: u64) -> MemoryStore {
    MemoryStore::with_limits(MemoryLimits {
        backlog: limited(open),
        delivered: 1,
        ..MemoryLimits::default()
    })
}

/// Returns a store on a file that keeps the whole record of deliveries.
pub(crate) fn on_disk(folder: &Path, open: u64) -> SqliteStore {
    let options = SqliteOptions {
        backlog: limited(open),
        ..SqliteOptions::default()
    };
    SqliteStore::open_with(folder.join("webhooks.db"), options).expect("the store opens")
}

fn limited(open: u64) -> BacklogLimits {
    BacklogLimits {
        endpoint_deliveries: open,
        total_deliveries: open,
        ..BacklogLimits::default()
    }
}

/// Returns an engine with a rule for each URL.
pub(crate) fn engine(urls: &[String], arbiters: usize, over: Over) -> EngineBuilder {
    let transport = over.transport(4_096);
    let in_flight = u32::try_from(IN_FLIGHT).expect("it is small");
    let mut policy = EndpointPolicy::default();
    policy.max_in_flight = in_flight;
    let builder = Engine::builder()
        .arbiters(arbiters)
        .transport(transport)
        .default_policy(policy)
        .mailbox_capacity(1_024)
        // A single endpoint gets only half of the permits.
        .max_in_flight(if urls.len() == 1 {
            2 * in_flight
        } else {
            in_flight
        });
    urls.iter()
        .enumerate()
        .fold(builder, |builder, (number, url)| {
            let endpoint = Endpoint::new(url).expect("a URL").max_in_flight(in_flight);
            let rule = Rule::new(number.to_string(), number.to_string())
                .webhook(url)
                .expect("a URL");
            builder.rule(rule).endpoint(endpoint)
        })
}

pub(crate) fn event(number: usize) -> Event {
    // The envelope makes this a body of 1 KiB.
    Event::new(number.to_string(), "client").message("x".repeat(850))
}

/// Publishes from several tasks for the duration `run`, and waits until everything is delivered.
async fn publish(engine: &Engine, publishers: usize, endpoints: usize, run: Duration) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
    let deadline = Instant::now() + run;
    let step = publishers * BATCH;
    let publishers: Vec<_> = (0..publishers)
        .map(|publisher| {
            let numbers = (publisher * BATCH..).step_by(step);
            actix_rt::spawn(publish_batches(
                engine.clone(),
                numbers,
                endpoints,
                deadline,
            ))
        })
        .collect();
    let mut sent = 0;
    for publisher in publishers {
        sent += publisher.await.expect("no publisher panics");
    }
    wait_until_empty(engine).await;
    sent
}

/// Publishes in batches, round robin. If too much is open it pauses, as a publisher would.
async fn publish_batches(
    engine: Engine,
    mut numbers: impl Iterator<Item = usize>,
    endpoints: usize,
    deadline: Instant,
) -> u64 {
    let mut sent = 0;
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
    while Instant::now() < deadline {
        let first = numbers.next().unwrap_or(0);
        let batch =
            PublishBatch::new((first..first + BATCH).map(|number| event(number % endpoints)));
        let answers = engine.router().send(batch).await.expect("the router runs");
        let mut full = false;
        for answer in answers {
            match answer {
                Ok(receipt) => sent += u64::try_from(receipt.deliveries).unwrap_or(0),
                Err(PublishError::Overloaded(_)) => full = true,
                Err(error) => panic!("{error}"),
            }
        }
        if full {
            pause().await;
        }
    }
    sent
}

/// Waits until no endpoint has anything open.
pub(crate) async fn wait_until_empty(engine: &Engine) {
    use actix_webhooks::{ListStatus, StatusFilter};
    let mut after = None;
    loop {
        let query = ListStatus {
            filter: StatusFilter::Busy,
            after: after.take(),
            limit: 1_000,
        };
        let page = engine
            .supervisor()
            .send(query)
            .await
            .expect("the supervisor runs");
        if !page.statuses.is_empty() {
            pause().await;
            continue;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a publisher that waits a moment")]
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// The maximum number of open deliveries: enough for every attempt that may start, and no more,
/// because each one is touched on arrival and again when sent.
pub(crate) const OPEN_IN_MEMORY: u64 = 2_048;

/// The same limit for the store on disk, where each batch first waits for the disk.
pub(crate) const OPEN_ON_DISK: u64 = 4_096;

/// The number of events per message.
const BATCH: usize = 64;
