//! What an endpoint costs that has nothing to do.

use std::time::Duration;

use actix::System;
use actix_webhooks::store::{BacklogLimits, MemoryLimits, MemoryStore};
use actix_webhooks::{Engine, Event, PublishError, Rule};

use crate::delivering::{Over, pause, wait_until_empty};
use crate::measure::resident_bytes;
use crate::receiver::Receiver;

/// The argument by which this program measures idle endpoints alone.
pub(crate) const COMMAND: &str = "idle";

/// Measures in a process of its own, whose memory nothing else has used before.
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

/// Delivers once to each of `endpoints`, lets them rest, and says what is left in memory.
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
        // Connections and buffers are given up after 15 s without work.
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

/// Publishes an event for one endpoint, as soon as the store has room: endpoints are idle for most of their life, and what is measured here is not
/// what an allocator keeps after a flood over all of them at once.
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

/// How many deliveries are open at most.
const OPEN: u64 = 1_000;
