//! The process whose clock is set.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use actix::System;
use actix_webhooks::store::SqliteStore;
use actix_webhooks::store::prelude::*;
use actix_webhooks::{
    AddressRange, Endpoint, EndpointPolicy, Engine, Event, GetStatus, RetryPolicy, Rule,
};

/// Command-line argument that makes this program the child.
pub(crate) const COMMAND: &str = "child";

/// The life in which nothing is published.
pub(crate) const LAST_LIFE: &str = "last";

/// Paths of the receiver: `PLAIN` is retried by the policy, `ASKED` names a wait for one delivery,
/// `HELD` makes all its deliveries wait.
pub(crate) const PLAIN: &str = "/plain";
pub(crate) const ASKED: &str = "/asked";
pub(crate) const HELD: &str = "/held";

/// The only rule.
pub(crate) const RULE: &str = "rule";

/// The waits before the second and the third attempt.
pub(crate) const WAITS: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(700)];

/// Number of tasks that publish, and the interval of each.
const PUBLISHERS: usize = 3;
const PUBLISH_EVERY: Duration = Duration::from_millis(50);

pub(crate) fn run(file: &Path, origin: &str, life: &str) {
    // The engine's log appears in the output of a failed test.
    env_logger::builder()
        .filter_level(log::LevelFilter::Warn)
        .init();
    System::new().block_on(async {
        let store = SqliteStore::open(file).expect("the store opens");
        let mut policy = EndpointPolicy::default();
        policy.retry = RetryPolicy::custom(WAITS).without_jitter();
        let mut rule = Rule::new(RULE, "*");
        for path in [PLAIN, ASKED, HELD] {
            rule = rule.webhook(&format!("{origin}{path}")).expect("a URL");
        }
        let held = Endpoint::new(&format!("{origin}{HELD}")).expect("a URL");
        let held = held.policy(policy.clone()).max_in_flight(1);
        let engine = Engine::builder()
            .store(store.clone())
            .allow_addresses(AddressRange::loopback())
            .arbiters(2)
            .default_policy(policy)
            .endpoint(held)
            .rule(rule)
            .start()
            .await
            .expect("the engine starts");
        if life == LAST_LIFE {
            finish(&engine, &store).await;
        } else {
            publish(&engine, life, origin).await;
        }
    });
}

/// Publishes until it is killed. Writes a line for every receipt, and for the time of the last
/// attempt as the status shows it.
async fn publish(engine: &Engine, life: &str, origin: &str) {
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let (engine, life) = (engine.clone(), life.to_owned());
        actix_rt::spawn(async move {
            for number in 0.. {
                let id = format!("{life}-{publisher}-{number}");
                let event = Event::new("thing.happened", "client").id(id.as_str());
                engine.publish(event).await.expect("it is accepted");
                say(&id);
                actix_rt::time::sleep(PUBLISH_EVERY).await;
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let url = format!("{origin}{PLAIN}");
    loop {
        actix_rt::time::sleep(PUBLISH_EVERY).await;
        let status = engine.supervisor().send(GetStatus::new(url.as_str())).await;
        let status = status.expect("the supervisor answers");
        if let Some(last) = status.and_then(|status| status.last_attempt) {
            say(&format!("{SHOWS}{}", last.at.unix_millis()));
        }
        let panicked = |publisher: &actix_rt::task::JoinHandle<()>| publisher.is_finished();
        assert!(!publishers.iter().any(panicked), "no publisher ends");
    }
}

/// Waits until nothing is open.
async fn finish(engine: &Engine, store: &SqliteStore) {
    while store.open_total().await.expect("the store answers") > 0 {
        actix_rt::time::sleep(Duration::from_millis(20)).await;
    }
    engine.shutdown(Duration::from_secs(5)).await;
}

/// Writes a whole line at once, so that the parent never takes part of a line for a whole one.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").expect("the parent listens");
    out.flush().expect("the parent listens");
}

/// Prefix of the time of the last attempt as the status shows it, in milliseconds.
pub(crate) const SHOWS: &str = "!shows ";
