//! The process that is killed.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use actix::System;
use actix_webhooks::store::{DeadLetterQuery, SqliteStore, Store as _, StoreError};
use actix_webhooks::{
    AddressRange, EndpointPolicy, Engine, Event, ListStatus, PublishError, Receipt, RetryPolicy,
    Rule,
};

/// The argument by which this program is the child.
pub(crate) const COMMAND: &str = "child";

/// The life in which nothing is published.
pub(crate) const LAST_LIFE: &str = "last";

/// The life in which the disk is full for a while.
pub(crate) const FULL_LIFE: &str = "full";

/// What it writes when an event was refused because the disk is full.
pub(crate) const REFUSED: &str = "!refused";

/// What it writes when a status says that the store cannot be used.
pub(crate) const TOLD: &str = "!told";

/// The only rule.
pub(crate) const RULE: &str = "rule";

/// How many attempts are in flight at most.
pub(crate) const IN_FLIGHT: u32 = 32;

/// The waits before the second and the third attempt.
pub(crate) const WAITS: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(600)];

/// How many tasks publish.
const PUBLISHERS: usize = 8;

pub(crate) fn run(file: &Path, url: &str, life: &str) {
    System::new().block_on(async {
        let store = SqliteStore::open(file).expect("the store opens");
        let mut policy = EndpointPolicy::default();
        policy.retry = RetryPolicy::custom(WAITS).without_jitter();
        let engine = Engine::builder()
            .store(store.clone())
            .allow_addresses(AddressRange::loopback())
            .arbiters(2)
            .default_policy(policy)
            .max_in_flight(IN_FLIGHT)
            .rule(Rule::new(RULE, "*").webhook(url).expect("a URL"))
            .start()
            .await
            .expect("the engine starts");
        if life == LAST_LIFE {
            finish(&engine, &store).await;
        } else {
            publish(&engine, life).await;
        }
    });
}

/// Publishes until it is killed, and writes a line for every receipt.
async fn publish(engine: &Engine, life: &str) {
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let (engine, life) = (engine.clone(), life.to_owned());
        actix_rt::spawn(async move {
            for number in 0..MOST_EVENTS / PUBLISHERS {
                let id = format!("{life}-{publisher}-{number}");
                let event = Event::new("thing.happened", "client").id(id.as_str());
                let receipt = if life == FULL_LIFE {
                    insist(&engine, event).await
                } else {
                    engine.publish(event).await.expect("it is accepted")
                };
                assert_eq!(receipt.deliveries, 1);
                // One write, so that the parent never sees part of a line as a whole one.
                let mut out = std::io::stdout().lock();
                writeln!(out, "{id}").expect("the parent listens");
                out.flush().expect("the parent listens");
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    for publisher in publishers {
        publisher.await.expect("no publisher panics");
    }
    // Everything is published; the end is the parent's business.
    std::future::pending::<()>().await;
}

/// Publishes until it is accepted, and says why it is not: the disk is full, the publisher hears so, and the endpoint's status says so.
async fn insist(engine: &Engine, event: Event) -> Receipt {
    loop {
        match engine.publish(event.clone()).await {
            Ok(receipt) => return receipt,
            Err(error @ PublishError::Store(StoreError::NoSpace(_))) => {
                assert!(error.is_transient());
                println!("{REFUSED}");
            }
            Err(error) => panic!("{error:?}"),
        }
        let page = engine.supervisor().send(ListStatus::default()).await;
        let page = page.expect("the supervisor answers");
        let told = page.statuses.iter().any(|status| {
            let error = status.store_error.as_deref();
            error.is_some_and(|error| error.contains("no room left"))
        });
        if told {
            println!("{TOLD}");
        }
        actix_rt::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until nothing is open, and writes the events of the dead letters.
async fn finish(engine: &Engine, store: &SqliteStore) {
    while store.open_total().await.expect("the store answers") > 0 {
        actix_rt::time::sleep(Duration::from_millis(20)).await;
    }
    let mut before = None;
    loop {
        let query = DeadLetterQuery {
            before,
            limit: 1_000,
            ..DeadLetterQuery::default()
        };
        let page = store.dead_letters(query).await.expect("the store answers");
        for letter in &page {
            println!("{}", letter.event_id);
        }
        before = page.last().map(|letter| letter.delivery_id);
        if before.is_none() {
            break;
        }
    }
    engine.shutdown(Duration::from_secs(5)).await;
}

/// How many events one life publishes at most, so that the last one has little to do.
const MOST_EVENTS: usize = 3_000;
