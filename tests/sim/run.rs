//! Running a world: its steps, and the wait for everything to end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use actix_rt::task::JoinHandle;
use actix_webhooks::store::DeliveryQuery;
use actix_webhooks::store::prelude::*;
use actix_webhooks::testing::{FaultyStore, Reply, ScriptedTransport, SimClock};
use actix_webhooks::{
    Delivery, DeliveryId, EndpointState, EndpointStatus, Engine, Event, EventId, ListStatus,
    StatusPage, WebhookUrl,
};

use super::check::{check_all, is_of_an_attempt};
use super::ledger::{Bounds, Key, Ledger, Watched};
use super::watch::{Heard, start};
use super::world::{HEALED, Place, World};

/// The result of a world.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) problems: Vec<String>,
    pub(crate) lines: Vec<String>,
    pub(crate) hash: u64,
}

/// A world that is being run.
pub(crate) struct Life<'a> {
    pub(crate) world: &'a World,
    pub(crate) clock: SimClock,
    pub(crate) store: FaultyStore,
    pub(crate) transport: Watched,
    pub(crate) ledger: Ledger,
    pub(crate) engine: Engine,
    pub(crate) heard: Heard,
    pub(crate) published: Rc<RefCell<Published>>,
    /// Deliveries that were made by hand.
    pub(crate) fresh: BTreeSet<DeliveryId>,
    /// Deliveries that were redelivered.
    pub(crate) again: BTreeSet<DeliveryId>,
    pub(crate) tasks: Vec<JoinHandle<()>>,
    pub(crate) engines: u64,
}

/// The publishers' knowledge.
#[derive(Default)]
pub(crate) struct Published {
    pub(crate) accepted: BTreeMap<EventId, (Event, usize)>,
    pub(crate) refused: Vec<Event>,
}

pub(crate) fn live_through(world: &World, store: impl Store) -> Story {
    SimClock::run(async |clock| {
        let ledger = Ledger::new(&clock);
        // A hang for ever ends here.
        let lived = tokio::time::timeout(
            Duration::from_hours(24 * 365),
            live(world, clock, ledger.clone(), store),
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

async fn live(world: &World, clock: SimClock, ledger: Ledger, store: impl Store) {
    let mut life = Life::begin(world, clock, ledger, store).await;
    let Some(settings) = &world.settings else {
        life.take_all().await;
        return check_all(&life).await;
    };
    // The checks at the end use wall time, so they do not apply here. But nothing may differ from
    // the same world with an unchanged clock.
    let clock = life.clock.clone();
    futures_util::join!(life.take_all(), settings.apply(&clock));
}

impl<'a> Life<'a> {
    async fn begin(world: &'a World, clock: SimClock, ledger: Ledger, store: impl Store) -> Self {
        let receivers = ScriptedTransport::new();
        let rng = Mutex::new(fastrand::Rng::with_seed(world.seed ^ 0x5eed));
        let tempers: Vec<_> = world
            .places
            .iter()
            .map(|place| (host(place), place.temper))
            .collect();
        let (now, knows_time) = (clock.clone(), world.settings.is_none());
        receivers.decide(move |request| {
            let url = request.url.as_str();
            let found = tempers.iter().find(|(host, _)| url.contains(host));
            found.map_or_else(
                || Reply::status(404),
                |(_, temper)| {
                    temper.reply(url, knows_time.then(|| now.now()), &mut rng.lock().unwrap())
                },
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
        let store = FaultyStore::new(store, world.faults, world.seed);
        let transport = Watched {
            receivers,
            ledger: ledger.clone(),
        };
        let settings = world
            .places
            .iter()
            .filter_map(|place| place.settings.clone())
            .collect();
        let heard = Heard::nothing();
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

    async fn take_all(&mut self) {
        for (wait, step) in &self.world.steps {
            self.clock.sleep(*wait).await;
            self.publish_refused();
            self.take(step).await;
        }
        self.settle().await;
    }

    /// Lets everything end: the store works, nothing is paused, and time passes until nothing more
    /// happens.
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
            for status in self.statuses().await {
                // It may have been disabled again meanwhile.
                if matches!(status.state, EndpointState::Disabled { .. }) {
                    self.resume(status.url.as_str()).await;
                }
            }
        }
        // Statuses are reported ten times a second, and an idle endpoint closes its connections
        // after a while.
        self.clock.sleep(LONGEST_QUIET).await;
    }

    fn sent(&self) -> usize {
        self.ledger.notes().lines.len()
    }

    /// Returns the number of recorded attempts per key.
    pub(crate) fn recorded(&self) -> BTreeMap<Key, u32> {
        let mut recorded = BTreeMap::new();
        let reports = self.heard.reports.reports();
        for report in reports.iter().filter(|report| is_of_an_attempt(report)) {
            *recorded
                .entry((report.url.clone(), report.alert_id))
                .or_default() += 1;
        }
        recorded
    }

    /// Returns every delivery in the store, page by page.
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

fn host(place: &Place) -> String {
    place
        .url
        .trim_start_matches("http://")
        .trim_end_matches("/hook")
        .to_owned()
}

/// The most times that refused events are published again once the store works.
const MOST_PUBLISHINGS: usize = 1_000;

/// After this time without any event, nothing more will happen. It is longer than any `Retry-After`
/// here.
const LONGEST_QUIET: Duration = Duration::from_hours(2);
