//! What an endpoint costs that has nothing to do.

use std::time::Duration;

use actix::System;
use actix_webhooks::transport::AwcTransport;
use actix_webhooks::{Engine, Event, PublishBatch, Rule};

use crate::delivering::wait_until_empty;
use crate::measure::resident_bytes;
use crate::receiver::Receiver;

/// The argument by which this program measures idle endpoints alone.
pub(crate) const COMMAND: &str = "idle";

/// Measures in a process of its own, whose memory nothing else has used before.
pub(crate) fn run_apart(endpoints: usize) {
    let program = std::env::current_exe().expect("this program has a path");
    let status = std::process::Command::new(program)
        .args([COMMAND, &endpoints.to_string()])
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
        let transport = AwcTransport::builder()
            .max_idle_connections(64)
            .build()
            .expect("no extra roots");
        let builder = (0..endpoints).fold(
            Engine::builder().arbiters(2).transport(transport),
            |builder, number| builder.rule(rule(number)),
        );
        let engine = builder.start().await.expect("the engine starts");
        let configured = resident_bytes();
        for first in (0..endpoints).step_by(256) {
            let batch = PublishBatch::new(
                (first..endpoints.min(first + 256))
                    .map(|number| Event::new(number.to_string(), "client")),
            );
            for answer in engine.router().send(batch).await.expect("the router runs") {
                answer.expect("it is accepted");
            }
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
