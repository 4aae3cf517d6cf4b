//! The process that is killed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::redelivery;
use actix::System;
use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{
    DeadLetterQuery, Encryption, EncryptionKey, SqliteOptions, SqliteStore, StoreError,
};
use actix_webhooks::{
    AddressRange, Endpoint, EndpointPolicy, EndpointState, Engine, Event, GetStatus,
    ListDeadLetters, ListStatus, Ordering, PauseEndpoint, PublishError, Receipt, Redeliver,
    RemoveEndpoint, ResumeEndpoint, RetryPolicy, Rule, Timestamp, WebhookUrl,
};

/// Command-line argument that makes this program the child.
pub(crate) const COMMAND: &str = "child";

/// The life in which nothing is published.
pub(crate) const LAST_LIFE: &str = "last";

/// The life in which the disk is full for a while.
pub(crate) const FULL_LIFE: &str = "full";

/// Line written when an event was refused because the disk is full.
pub(crate) const REFUSED: &str = "!refused";

/// Line written when a status reports that the store cannot be used.
pub(crate) const TOLD: &str = "!told";

/// Prefix of the line for an event whose delivery was started again.
pub(crate) const REDELIVERED: &str = "!again ";

/// The rule of most events.
pub(crate) const RULE: &str = "rule";

/// The limit of attempts in flight.
pub(crate) const IN_FLIGHT: u32 = 32;

/// The waits before the second and the third attempt.
pub(crate) const WAITS: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(600)];

/// Number of tasks that publish.
const PUBLISHERS: usize = 8;

/// The ordered endpoint.
pub(crate) const ORDERED: &str = "ordered";

/// Held by `Retry-After`.
pub(crate) const HELD: &str = "held";

/// Published through the outbox.
pub(crate) const OUTBOX: &str = "outbox";

/// Refused for good at first, and then redelivered.
pub(crate) const AGAIN: &str = "again";

/// Removed now and then.
pub(crate) const REMOVED: &str = "removed";

/// Paused in one life, and resumed in the next.
pub(crate) const PAUSED: &str = "paused";

/// Refused for good until the receiver is mended, and then redelivered by filter.
pub(crate) const LETTERS: &str = "letters";

/// Lines written when an endpoint was paused or resumed, and for the state found at the start.
pub(crate) const PAUSE: &str = "!paused";
pub(crate) const RESUME: &str = "!resumed";
pub(crate) const FOUND_PAUSED: &str = "!found paused";
pub(crate) const FOUND_RESUMED: &str = "!found resumed";

const RULES: [&str; 8] = [RULE, ORDERED, HELD, OUTBOX, AGAIN, REMOVED, PAUSED, LETTERS];

/// A store with a short log, so that WAL checkpoints happen all the time.
fn options(sealed: bool) -> SqliteOptions {
    SqliteOptions {
        log_bytes: 128 * 1_024,
        encryption: sealed.then(|| Encryption::new(EncryptionKey::from_bytes([7; 32]))),
        ..SqliteOptions::default()
    }
}

pub(crate) fn run(file: &Path, url: &str, life: &str, sealed: bool) {
    System::new().block_on(async {
        let store = SqliteStore::open_with(file, options(sealed)).expect("the store opens");
        let mut policy = EndpointPolicy::default();
        policy.retry = RetryPolicy::custom(WAITS).without_jitter();
        let mut builder = Engine::builder()
            .store(store.clone())
            .allow_addresses(AddressRange::loopback())
            .arbiters(2)
            .default_policy(policy.clone())
            .max_in_flight(IN_FLIGHT);
        for name in RULES {
            let url = format!("{url}{name}");
            let rule = Rule::new(name, name).webhook(&url).expect("a URL");
            let mut policy = policy.clone();
            if name == ORDERED {
                policy.ordering = Ordering::Fifo;
            }
            let endpoint = Endpoint::new(&url).expect("a URL").policy(policy);
            builder = builder.rule(rule).endpoint(endpoint);
        }
        let engine = builder.start().await.expect("the engine starts");
        if life == LAST_LIFE {
            finish(&engine, &store, url).await;
        } else if let Some(what) = life.strip_prefix(redelivery::LIFE) {
            redelivery::work(&engine, &store, what).await;
        } else {
            if life != FULL_LIFE {
                operate(&engine, &store, file, url, life);
            }
            publish(&engine, life).await;
        }
    });
}

/// Writes a whole line at once, so that the parent never sees part of one.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").expect("the parent listens");
    out.flush().expect("the parent listens");
}

pub(crate) fn event(rule: &str, id: &str) -> Event {
    Event::new(rule, "client").id(id)
}

/// Publishes until it is killed, and writes a line for every receipt.
async fn publish(engine: &Engine, life: &str) {
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let (engine, life) = (engine.clone(), life.to_owned());
        actix_rt::spawn(async move {
            for number in 0..MOST_EVENTS / PUBLISHERS {
                let id = format!("{RULE}/{life}-{publisher}-{number}");
                let event = event(RULE, &id);
                let receipt = if life == FULL_LIFE {
                    insist(&engine, event).await
                } else {
                    engine.publish(event).await.expect("it is accepted")
                };
                assert_eq!(receipt.deliveries, 1);
                say(&id);
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    for publisher in publishers {
        publisher.await.expect("no publisher panics");
    }
    // Everything is published. The child runs until the parent kills it.
    std::future::pending::<()>().await;
}

/// Performs the work of operators, and the application's work besides publishing, until it is
/// killed.
fn operate(engine: &Engine, store: &SqliteStore, file: &Path, url: &str, life: &str) {
    for rule in [ORDERED, HELD, AGAIN, REMOVED, PAUSED] {
        let (engine, life) = (engine.clone(), life.to_owned());
        actix_rt::spawn(async move {
            for number in 0..FEW_EVENTS {
                let id = format!("{rule}/{life}-{number:04}");
                let receipt = engine.publish(event(rule, &id)).await;
                assert_eq!(receipt.expect("it is accepted").deliveries, 1);
                say(&id);
            }
        });
    }
    actix_rt::spawn(through_the_outbox(
        engine.clone(),
        file.to_owned(),
        life.to_owned(),
    ));
    actix_rt::spawn(pause(
        engine.clone(),
        format!("{url}{PAUSED}"),
        life.to_owned(),
    ));
    actix_rt::spawn(redeliver(engine.clone(), format!("{url}{AGAIN}")));
    let (engine, store, url) = (engine.clone(), store.clone(), format!("{url}{REMOVED}"));
    actix_rt::spawn(async move {
        let mut keep = store.retention().expect("it says so");
        keep.ended = Duration::ZERO;
        loop {
            actix_rt::time::sleep(Duration::from_millis(40)).await;
            let now = Timestamp::from(std::time::SystemTime::now());
            store.prune(now, keep).await.expect("it forgets");
            let removed = engine.supervisor().send(RemoveEndpoint::new(&url)).await;
            // The endpoint is unknown before its first event and during a removal.
            let _ = removed.expect("the supervisor answers");
        }
    });
}

async fn through_the_outbox(engine: Engine, file: PathBuf, life: String) {
    let mut shop = rusqlite::Connection::open(file).expect("the file opens");
    shop.busy_timeout(Duration::from_secs(30))
        .expect("it waits");
    shop.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY)")
        .expect("the application has a table");
    for number in 0..FEW_EVENTS {
        let id = format!("{OUTBOX}/{life}-{number:04}");
        let order = shop
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .expect("a transaction begins");
        order
            .execute("INSERT INTO orders VALUES (?1)", [&id])
            .expect("the order is new");
        SqliteStore::publish_in(&order, &event(OUTBOX, &id)).expect("it is stored");
        order.commit().expect("it is committed");
        say(&id);
        engine.notify_outbox();
        actix_rt::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Writes the state of the endpoint, then pauses it in one life and resumes it in the next.
async fn pause(engine: Engine, url: String, life: String) {
    let status = engine.supervisor().send(GetStatus::new(&url)).await;
    let status = status
        .expect("the supervisor answers")
        .expect("the rule names it");
    say(if status.state == EndpointState::Paused {
        FOUND_PAUSED
    } else {
        FOUND_RESUMED
    });
    if life.ends_with(['0', '2']) {
        let paused = engine.supervisor().send(PauseEndpoint::new(&url)).await;
        paused
            .expect("the supervisor answers")
            .expect("it is known");
        say(PAUSE);
    } else {
        let resumed = engine.supervisor().send(ResumeEndpoint::new(&url)).await;
        resumed
            .expect("the supervisor answers")
            .expect("it is known");
        say(RESUME);
    }
}

/// Redelivers dead letters as they come.
async fn redeliver(engine: Engine, url: String) {
    loop {
        actix_rt::time::sleep(Duration::from_millis(20)).await;
        let query = DeadLetterQuery {
            url: Some(WebhookUrl::parse(&url).expect("a URL")),
            ..DeadLetterQuery::default()
        };
        let listed = engine.supervisor().send(ListDeadLetters::new(query)).await;
        let listed = listed
            .expect("the supervisor answers")
            .expect("the store answers");
        for letter in listed {
            let again = Redeliver::one(letter.delivery_id);
            let again = engine.supervisor().send(again).await;
            again
                .expect("the supervisor answers")
                .expect("it is started again");
            say(&format!("{REDELIVERED}{}", letter.event_id));
        }
    }
}

/// Publishes an event until it is accepted. While the disk is full, checks that both the publisher
/// and the endpoint's status are told so.
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
            error.is_some_and(|error| error.contains("disk is full"))
        });
        if told {
            println!("{TOLD}");
        }
        actix_rt::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until nothing is open, and writes the events of the dead letters.
async fn finish(engine: &Engine, store: &SqliteStore, url: &str) {
    let resume = ResumeEndpoint::new(format!("{url}{PAUSED}"));
    let resumed = engine.supervisor().send(resume).await;
    resumed
        .expect("the supervisor answers")
        .expect("it is known");
    // Events leave the outbox within a second.
    actix_rt::time::sleep(Duration::from_millis(1_200)).await;
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

/// The most events that one life publishes for each of the other rules.
const FEW_EVENTS: usize = 60;

/// The most events that one life publishes, so that the last life has little to do.
const MOST_EVENTS: usize = 3_000;
