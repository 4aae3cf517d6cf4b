//! Living through a world: the application and the operators at work, a restart, and the wait for everything to end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler};
use actix_rt::task::JoinHandle;
use actix_webhooks::store::{DeliveryQuery, MemoryLimits, MemoryStore, Store as _};
use actix_webhooks::testing::{FaultyStore, Reply, ScriptedTransport, SimClock};
use actix_webhooks::{
    Delivery, DeliveryId, DeliveryReport, Endpoint, EndpointStatus, Engine, Event, EventId,
    ListStatus, PauseEndpoint, PublishBatch, PublishError, PutEndpoint, Receipt, Redeliver,
    RemoveEndpoint, ResumeEndpoint, StatusPage, WatchDeliveries, WatchStatus, WebhookUrl,
};
use futures_util::future::join_all;

use super::check::check_all;
use super::ledger::{Bounds, Key, Ledger, Watched};
use super::world::{HEALED, Place, Step, World, default_policy};

/// What came of a world.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) problems: Vec<String>,
    pub(crate) lines: Vec<String>,
    pub(crate) hash: u64,
}

/// A world that is being lived through.
pub(crate) struct Life<'a> {
    pub(crate) world: &'a World,
    pub(crate) clock: SimClock,
    pub(crate) store: FaultyStore<MemoryStore>,
    pub(crate) transport: Watched,
    pub(crate) ledger: Ledger,
    pub(crate) engine: Engine,
    pub(crate) heard: Heard,
    pub(crate) published: Rc<RefCell<Published>>,
    /// Deliveries that were made by hand.
    pub(crate) fresh: BTreeSet<DeliveryId>,
    /// Deliveries that were delivered again.
    pub(crate) again: BTreeSet<DeliveryId>,
    tasks: Vec<JoinHandle<()>>,
    engines: u64,
}

/// What the publishers know.
#[derive(Default)]
pub(crate) struct Published {
    pub(crate) accepted: BTreeMap<EventId, (Event, usize)>,
    refused: Vec<Event>,
}

/// What watchers were told.
#[derive(Clone, Default)]
pub(crate) struct Heard {
    pub(crate) reports: Arc<Mutex<Vec<DeliveryReport>>>,
    /// The last status of each endpoint, of the engine that runs now.
    pub(crate) statuses: Arc<Mutex<BTreeMap<WebhookUrl, EndpointStatus>>>,
}

struct Watcher(Heard);

pub(crate) fn live_through(world: &World) -> Story {
    SimClock::run(async |clock| {
        let ledger = Ledger::new(&clock);
        // Whatever hangs for ever hangs until then.
        let lived = tokio::time::timeout(
            Duration::from_hours(24 * 365),
            live(world, clock, ledger.clone()),
        )
        .await;
        if lived.is_err() {
            ledger.problem("something hangs");
        }
        let notes = ledger.notes();
        let mut hasher = DefaultHasher::new();
        notes.lines.hash(&mut hasher);
        Story {
            problems: notes.problems.clone(),
            lines: notes.lines.clone(),
            hash: hasher.finish(),
        }
    })
}

async fn live(world: &World, clock: SimClock, ledger: Ledger) {
    let mut life = Life::begin(world, clock, ledger).await;
    for (wait, step) in &world.steps {
        life.clock.sleep(*wait).await;
        life.publish_refused();
        life.take(step).await;
    }
    life.settle().await;
    check_all(&life).await;
}

impl<'a> Life<'a> {
    async fn begin(world: &'a World, clock: SimClock, ledger: Ledger) -> Self {
        let receivers = ScriptedTransport::new();
        let rng = Mutex::new(fastrand::Rng::with_seed(world.seed ^ 0x5eed));
        let tempers: Vec<_> = world
            .places
            .iter()
            .map(|place| (host(place), place.temper))
            .collect();
        let now = clock.clone();
        receivers.decide(move |request| {
            let url = request.url.as_str();
            let found = tempers.iter().find(|(host, _)| url.contains(host));
            found.map_or_else(
                || Reply::status(404),
                |(_, temper)| temper.reply(url, now.now(), &mut rng.lock().unwrap()),
            )
        });
        for place in &world.places {
            let url = WebhookUrl::parse(&place.url).unwrap();
            ledger
                .notes()
                .endpoints
                .insert(url, Bounds::of(&place.policy()));
            ledger.line(&format!(
                "world: {} {:?} {:?}",
                place.url,
                place.temper,
                place
                    .settings
                    .as_ref()
                    .map(|endpoint| endpoint.policy.ordering)
            ));
        }
        ledger.line(&format!(
            "world: limit {} mailbox {} faults {:?}",
            world.max_in_flight, world.mailbox, world.faults
        ));
        let limits = MemoryLimits {
            delivered: 100_000,
            ..MemoryLimits::default()
        };
        let store = FaultyStore::new(MemoryStore::with_limits(limits), world.faults, world.seed);
        let transport = Watched {
            receivers,
            ledger: ledger.clone(),
        };
        let settings = world
            .places
            .iter()
            .filter_map(|place| place.settings.clone())
            .collect();
        let heard = Heard::default();
        let engine = start(
            world,
            &clock,
            &store,
            &transport,
            (world.seed, &heard),
            settings,
        )
        .await;
        Self {
            world,
            clock,
            store,
            transport,
            ledger,
            engine,
            heard,
            published: Rc::default(),
            fresh: BTreeSet::new(),
            again: BTreeSet::new(),
            tasks: Vec::new(),
            engines: 1,
        }
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Publish { events, as_batch } => self.publish(events.clone(), *as_batch),
            Step::Pause(place) => self.pause(&self.world.places[*place].url).await,
            Step::Resume(place) => self.resume(&self.world.places[*place].url).await,
            Step::Put(endpoint) => self.put(endpoint).await,
            Step::Redeliver(draw) => self.redeliver(*draw).await,
            Step::Remove(place) => self.remove(&self.world.places[*place].url).await,
            Step::Heal => self.store.set(HEALED),
            Step::Restart(deadline) => self.restart(*deadline).await,
        }
    }

    fn publish(&mut self, events: Vec<Event>, as_batch: bool) {
        self.ledger.line(&format!(
            "publish {:?}",
            events
                .iter()
                .map(|event| event.id.as_str())
                .collect::<Vec<_>>()
        ));
        let (engine, published, ledger) = (
            self.engine.clone(),
            Rc::clone(&self.published),
            self.ledger.clone(),
        );
        let (faulty, narrow) = (self.world.is_faulty(), self.world.mailbox < 256);
        self.tasks.push(actix_rt::spawn(async move {
            let results = publish(&engine, &events, as_batch).await;
            for (event, result) in events.into_iter().zip(results) {
                match result {
                    Ok(receipt) => published.borrow_mut().accept(event, &receipt, &ledger),
                    Err(PublishError::Store(_)) if faulty => {
                        published.borrow_mut().refused.push(event)
                    }
                    Err(PublishError::Overloaded(_)) if narrow => {
                        published.borrow_mut().refused.push(event)
                    }
                    Err(PublishError::ShuttingDown) => published.borrow_mut().refused.push(event),
                    Err(error) => ledger.problem(format!("{} is refused: {error:?}", event.id)),
                }
            }
        }));
    }

    fn publish_refused(&mut self) {
        let refused = std::mem::take(&mut self.published.borrow_mut().refused);
        if !refused.is_empty() {
            self.publish(refused, true);
        }
    }

    async fn pause(&self, url: &str) {
        self.ledger.line(&format!("pause {url}"));
        if self
            .engine
            .supervisor()
            .send(PauseEndpoint::new(url))
            .await
            .unwrap()
            .is_ok()
        {
            self.bounds(url, |bounds| bounds.paused = true);
        }
    }

    async fn resume(&self, url: &str) {
        self.ledger.line(&format!("resume {url}"));
        self.bounds(url, |bounds| bounds.paused = false);
        // One that was removed and has had no event since is not known.
        drop(
            self.engine
                .supervisor()
                .send(ResumeEndpoint::new(url))
                .await
                .unwrap(),
        );
    }

    async fn put(&self, endpoint: &Endpoint) {
        let (url, max) = (endpoint.url.as_str(), endpoint.policy.max_in_flight);
        self.ledger.line(&format!("put {url} max {max}"));
        self.bounds(url, |bounds| {
            bounds.max_in_flight = bounds.max_in_flight.max(max)
        });
        self.engine
            .supervisor()
            .send(PutEndpoint(endpoint.clone()))
            .await
            .unwrap()
            .unwrap();
        self.bounds(url, |bounds| bounds.max_in_flight = max);
    }

    async fn redeliver(&mut self, draw: usize) {
        let all = self.deliveries().await;
        let Some(delivery) = all.get(draw % all.len().max(1)) else {
            return;
        };
        self.ledger.line(&format!(
            "redeliver {} of {} to {}",
            delivery.id, delivery.event_id, delivery.url
        ));
        self.ledger
            .notes()
            .keys
            .entry((delivery.url.clone(), delivery.alert_id))
            .or_default()
            .redelivered += 1;
        match self
            .engine
            .supervisor()
            .send(Redeliver::one(delivery.id))
            .await
            .unwrap()
        {
            Ok(fresh) => self.fresh.extend(fresh),
            Err(error) => self.ledger.problem(format!(
                "delivery {} cannot be redelivered: {error}",
                delivery.id
            )),
        }
        self.again.insert(delivery.id);
    }

    async fn remove(&self, url: &str) {
        self.ledger.line(&format!("remove {url}"));
        self.ledger
            .notes()
            .removed
            .insert(WebhookUrl::parse(url).unwrap());
        // Its settings are gone with it, its hold and its pause too, and attempts in flight are broken off.
        self.bounds(url, |bounds| {
            (bounds.paused, bounds.max_in_flight) = (false, default_policy().max_in_flight)
        });
        self.bounds(url, Bounds::release);
        drop(
            self.engine
                .supervisor()
                .send(RemoveEndpoint::new(url))
                .await
                .unwrap(),
        );
        self.bounds(url, Bounds::release);
    }

    async fn restart(&mut self, deadline: Duration) {
        self.ledger.line("restart");
        let report = self.engine.shutdown(deadline).await;
        self.ledger.line(&format!("stopped: {report:?}"));
        self.finish_tasks().await;
        if self.transport.receivers.in_flight() > 0 {
            self.ledger.problem("attempts outlive their engine");
        }
        let recorded = self.recorded();
        let lost = self.ledger.notes().forget_unrecorded(&recorded);
        let removed = !self.ledger.notes().removed.is_empty();
        if u64::from(lost) != report.aborted && !self.world.is_faulty() && !removed {
            self.ledger.problem(format!(
                "{lost} attempts are not on record, {} were broken off",
                report.aborted
            ));
        }
        self.heard = Heard {
            reports: Arc::clone(&self.heard.reports),
            statuses: Arc::default(),
        };
        let seed = self.world.seed + (self.engines << 32);
        self.engine = start(
            self.world,
            &self.clock,
            &self.store,
            &self.transport,
            (seed, &self.heard),
            Vec::new(),
        )
        .await;
        self.engines += 1;
    }

    /// Lets everything end: the store works, nothing is paused, and time passes until nothing more happens.
    async fn settle(&mut self) {
        self.ledger.line("settle");
        self.store.set(HEALED);
        for place in &self.world.places {
            self.resume(&place.url).await;
        }
        for _ in 0..MOST_PUBLISHINGS {
            self.finish_tasks().await;
            if self.published.borrow().refused.is_empty() {
                break;
            }
            self.publish_refused();
        }
        let mut sent = usize::MAX;
        while self.store.open_total().await.unwrap() > 0 && sent != self.sent() {
            sent = self.sent();
            self.clock.sleep(LONGEST_QUIET).await;
        }
        // Statuses are told ten times a second, and an idle endpoint gives up its connections after a while.
        self.clock.sleep(LONGEST_QUIET).await;
    }

    async fn finish_tasks(&mut self) {
        for task in self.tasks.drain(..) {
            if !matches!(
                tokio::time::timeout(Duration::from_hours(1), task).await,
                Ok(Ok(()))
            ) {
                self.ledger.problem("a publisher never gets its answer");
            }
        }
        // Watchers read what they were told meanwhile.
        self.clock.sleep(Duration::from_millis(1)).await;
    }

    fn sent(&self) -> usize {
        self.ledger.notes().lines.len()
    }

    fn bounds(&self, url: &str, change: impl FnOnce(&mut Bounds)) {
        change(
            self.ledger
                .notes()
                .endpoints
                .get_mut(&WebhookUrl::parse(url).unwrap())
                .unwrap(),
        );
    }

    /// Returns how many attempts of each key are on record.
    pub(crate) fn recorded(&self) -> BTreeMap<Key, u32> {
        let mut recorded = BTreeMap::new();
        for report in &*self.heard.reports.lock().unwrap() {
            *recorded
                .entry((report.url.clone(), report.alert_id))
                .or_default() += 1;
        }
        recorded
    }

    /// Returns every delivery that the store knows, page by page.
    pub(crate) async fn deliveries(&self) -> Vec<Delivery> {
        let mut all: Vec<Delivery> = Vec::new();
        loop {
            let before = all.last().map(|delivery| delivery.id);
            let page = self
                .store
                .inner()
                .deliveries(DeliveryQuery {
                    before,
                    limit: 1_000,
                    ..DeliveryQuery::default()
                })
                .await
                .unwrap();
            let full = page.len() == 1_000;
            all.extend(page);
            if !full {
                return all;
            }
        }
    }

    pub(crate) async fn statuses(&self) -> Vec<EndpointStatus> {
        let page = self.engine.supervisor().send(ListStatus {
            limit: 1_000,
            ..ListStatus::default()
        });
        let StatusPage { statuses, .. } = page.await.unwrap();
        statuses
    }
}

impl Published {
    fn accept(&mut self, event: Event, receipt: &Receipt, ledger: &Ledger) {
        let before = self
            .accepted
            .insert(event.id.clone(), (event, receipt.deliveries));
        if let Some((event, deliveries)) =
            before.filter(|(_, deliveries)| *deliveries != receipt.deliveries)
        {
            ledger.problem(format!(
                "{} has receipts for {deliveries} and {} deliveries",
                event.id, receipt.deliveries
            ));
        }
    }
}

async fn publish(
    engine: &Engine,
    events: &[Event],
    as_batch: bool,
) -> Vec<Result<Receipt, PublishError>> {
    if !as_batch {
        return join_all(events.iter().map(|event| engine.publish(event.clone()))).await;
    }
    match engine
        .router()
        .send(PublishBatch::new(events.iter().cloned()))
        .await
    {
        Ok(results) => results,
        Err(_) => events
            .iter()
            .map(|_| Err(PublishError::ShuttingDown))
            .collect(),
    }
}

async fn start(
    world: &World,
    clock: &SimClock,
    store: &FaultyStore<MemoryStore>,
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
    engine
        .supervisor()
        .send(WatchStatus::new(watcher.recipient()))
        .await
        .unwrap();
    engine
}

fn host(place: &Place) -> String {
    place
        .url
        .trim_start_matches("http://")
        .trim_end_matches("/hook")
        .to_owned()
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

/// How often what was refused is published again once the store works.
const MOST_PUBLISHINGS: usize = 1_000;

/// After how long without anything happening nothing will: longer than any `Retry-After` here.
const LONGEST_QUIET: Duration = Duration::from_hours(2);
