//! An engine with watchers that note everything.

use actix_webhooks::testing::{FaultyStore, Recorder, SimClock};
use actix_webhooks::{Endpoint, Engine};

use super::ledger::Watched;
use super::world::{World, default_policy};

/// The messages that watchers received.
#[derive(Clone)]
pub(crate) struct Heard {
    pub(crate) reports: Recorder,
    /// Statuses of the current engine, in worlds where statuses are watched.
    pub(crate) statuses: Recorder,
}

impl Heard {
    pub(crate) fn nothing() -> Self {
        Self {
            reports: Recorder::new(),
            statuses: Recorder::new(),
        }
    }
}

/// Starts an engine on the world's store, with watchers.
pub(crate) async fn start(
    world: &World,
    clock: &SimClock,
    store: &FaultyStore,
    transport: &Watched,
    (seed, heard): (u64, &Heard),
    settings: Vec<Endpoint>,
) -> Engine {
    let mut builder = Engine::builder()
        .simulated(clock, seed)
        .store(store.clone())
        .transport(transport.clone())
        .default_policy(default_policy())
        .max_in_flight(world.max_in_flight)
        .mailbox_capacity(world.mailbox);
    if seed % 2 == 1 {
        builder = builder.as_on_several_arbiters();
    }
    for endpoint in settings {
        builder = builder.endpoint(endpoint);
    }
    for rule in &world.rules {
        builder = builder.rule(rule.clone());
    }
    transport.ledger.notes().started_at = Some(clock.now());
    let engine = builder.start().await.unwrap();
    heard.reports.watch_deliveries(&engine).await.unwrap();
    if world.watches_statuses {
        heard.statuses.watch_statuses(&engine).await.unwrap();
    }
    engine
}
