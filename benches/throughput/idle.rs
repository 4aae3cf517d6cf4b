//! The memory cost of an idle endpoint.

use std::time::Duration;

use actix::System;
use actix_webhooks::store::{BacklogLimits, MemoryLimits, MemoryStore};
use actix_webhooks::{Engine, Event, PublishError, Rule};

use crate::delivering::{Over, pause, wait_until_empty};
use crate::measure::resident_bytes;
use crate::receiver::Receiver;

/// The argument that selects this measurement in a child process.
pub(crate) const COMMAND: &str = "idle";

/// Measures in a process of its own, so that memory used earlier does not count.
pub(crate) fn run_apart(endpoints: usize) {
    let program = std::env::current_exe().expect("this program has a path");
    let status = std::process::Command::new(program)
        .args([COMMAND, &endpoints.to_string()])
        .env(crate::LARGE_PAGES, "0")
        .env_remove(crate::PURGE_DELAY)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "idle endpoints could not be measured"
    );
}

/// Delivers once to each of `endpoints`, lets them become idle, and prints the memory left in use.
pub(crate) fn run(endpoints: usize) {
    let receiver = Receiver::start(1, 0);
    let Some(base) = receiver.urls.first() else {
        return;
    };
    System::new().block_on(async {
        let at_start = resident_bytes();
        let rule = |number: usize| {
            Rule::new(number.to_string(), number.to_string())
                .webhook(&format!("{base}/{number}"))
                .expect("a URL")
        };
        let limits = MemoryLimits {
            backlog: BacklogLimits {
                total_deliveries: OPEN,
                ..BacklogLimits::default()
            },
            ..MemoryLimits::default()
        };
        let transport = Over::Awc.transport(64);
        let builder = (0..endpoints).fold(
            Engine::builder()
                .arbiters(2)
                .store(MemoryStore::with_limits(limits))
                .transport(transport),
            |builder, number| builder.rule(rule(number)),
        );
        let engine = builder.start().await.expect("the engine starts");
        let configured = resident_bytes();
        for number in 0..endpoints {
            deliver(&engine, number).await;
        }
        wait_until_empty(&engine).await;
        // Connections and buffers are released after 15 s without work.
        #[expect(clippy::disallowed_methods, reason = "the endpoints rest")]
        tokio::time::sleep(Duration::from_secs(20)).await;
        let rested = resident_bytes();
        let each = |bytes: u64| bytes / u64::try_from(endpoints).unwrap_or(1);
        println!("\n{endpoints} endpoints, each after one delivery and at rest:");
        println!(
            "  {} bytes each for the actor and all that is known of the endpoint",
            each(rested.saturating_sub(configured))
        );
        println!(
            "  {} bytes each for its rule, in the router, in the store and in the index",
            each(configured.saturating_sub(at_start))
        );
        engine.shutdown(Duration::from_secs(1)).await;
    });
}

/// Publishes an event for one endpoint as soon as the store has room.
///
/// Endpoints are idle most of their life. The measurement must not include memory that an allocator
/// keeps after a burst to all endpoints at once.
async fn deliver(engine: &Engine, number: usize) {
    loop {
        match engine
            .publish(Event::new(number.to_string(), "client"))
            .await
        {
            Ok(_) => return,
            Err(PublishError::Overloaded(_)) => pause().await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The maximum number of open deliveries.
const OPEN: u64 = 1_000;
