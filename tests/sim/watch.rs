//! An engine with watchers that note everything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use actix::{Actor, Context, Handler};
use actix_webhooks::testing::{FaultyStore, SimClock};
use actix_webhooks::{
    DeliveryReport, Endpoint, EndpointStatus, Engine, WatchDeliveries, WatchStatus, WebhookUrl,
};

use super::ledger::Watched;
use super::world::{World, default_policy};

/// What watchers were told.
#[derive(Clone, Default)]
pub(crate) struct Heard {
    pub(crate) reports: Arc<Mutex<Vec<DeliveryReport>>>,
    /// The last status of each endpoint, of the engine that runs now, where statuses are watched.
    pub(crate) statuses: Arc<Mutex<BTreeMap<WebhookUrl, EndpointStatus>>>,
}

struct Watcher(Heard);

/// Starts an engine on the world's store, and has it watched.
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
    for endpoint in settings {
        builder = builder.endpoint(endpoint);
    }
    for rule in &world.rules {
        builder = builder.rule(rule.clone());
    }
    transport.ledger.notes().started_at = Some(clock.now());
    let engine = builder.start().await.unwrap();
    let watcher = Watcher(heard.clone()).start();
    engine
        .supervisor()
        .send(WatchDeliveries::new(watcher.clone().recipient()))
        .await
        .unwrap();
    if world.watches_statuses {
        engine
            .supervisor()
            .send(WatchStatus::new(watcher.recipient()))
            .await
            .unwrap();
    }
    engine
}

impl Actor for Watcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(1_000_000);
    }
}

impl Handler<DeliveryReport> for Watcher {
    type Result = ();

    fn handle(&mut self, report: DeliveryReport, _: &mut Context<Self>) {
        self.0.reports.lock().unwrap().push(report);
    }
}

impl Handler<EndpointStatus> for Watcher {
    type Result = ();

    fn handle(&mut self, status: EndpointStatus, _: &mut Context<Self>) {
        self.0
            .statuses
            .lock()
            .unwrap()
            .insert(status.url.clone(), status);
    }
}
