//! The state of all endpoints is counted and ordered by every change, and never wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_webhooks::store::MemoryStore;
use actix_webhooks::testing::{Recorder, Reply, ScriptedTransport, SimClock, lay_down, take_up};
use actix_webhooks::transport::{Answer, Channel, Transport};
use actix_webhooks::{
    CircuitBreaker, DeadLetterReason, DisablePolicy, Endpoint, EndpointCounts, EndpointSort,
    EndpointState, EndpointStatus, Engine, EngineBuilder, Event, FailingRule, ListEndpoints,
    ListStatus, ListedEndpoint, Outcome, Rule, StateKind, Timestamp, WebhookUrl,
};

use super::support::{HOOK, Sim, event, plain, simulate, simulate_with};

/// Panics where only the supervisor's guard catches it, as often as it is told to.
#[derive(Clone)]
struct Fragile {
    receivers: ScriptedTransport,
    panics_left: Arc<AtomicU32>,
}

impl Transport for Fragile {
    fn open(&self, endpoint: &Endpoint, client_id_header: &str) -> Box<dyn Channel> {
        let left = self.panics_left.load(Ordering::Relaxed);
        if left > 0 {
            self.panics_left.store(left - 1, Ordering::Relaxed);
            panic!("scripted panic of an actor");
        }
        self.receivers.open(endpoint, client_id_header)
    }
}

fn is_well(status: &EndpointStatus) -> bool {
    let kind = status.state.kind();
    let goes_on = matches!(
        kind,
        StateKind::Idle | StateKind::Delivering | StateKind::BackingOff
    );
    goes_on && !is_failing(status)
}

fn is_failing(status: &EndpointStatus) -> bool {
    status.consecutive_failures > 0 || status.failing_since.is_some()
}

/// Counts what a full scan finds.
fn counted(statuses: &[EndpointStatus]) -> EndpointCounts {
    let mut counts = EndpointCounts::default();
    counts.total = statuses.len() as u64;
    for status in statuses {
        counts.failing += u64::from(is_failing(status));
        let of_kind = match status.state {
            EndpointState::Idle => &mut counts.idle,
            EndpointState::Delivering => &mut counts.delivering,
            EndpointState::BackingOff { .. } => &mut counts.backing_off,
            EndpointState::RateLimited { .. } => &mut counts.rate_limited,
            EndpointState::CircuitOpen { .. } => &mut counts.circuit_open,
            EndpointState::Paused => &mut counts.paused,
            _ => &mut counts.disabled,
        };
        *of_kind += 1;
    }
    counts
}

async fn statuses(engine: &Engine) -> Vec<EndpointStatus> {
    let (mut all, mut query) = (Vec::new(), ListStatus::default());
    loop {
        let page = engine.endpoints(query.clone()).await.unwrap();
        all.extend(page.statuses);
        query.after = page.next;
        if query.after.is_none() {
            return all;
        }
    }
}

async fn listed(engine: &Engine, mut query: ListEndpoints) -> Vec<ListedEndpoint> {
    let mut all = Vec::new();
    loop {
        let page = engine.endpoints_by(query.clone()).await.unwrap();
        all.extend(page.endpoints);
        query.after = page.next;
        if query.after.is_none() {
            return all;
        }
    }
}

fn by_attention() -> ListEndpoints {
    ListEndpoints {
        sort: EndpointSort::Attention,
        limit: 3,
        ..ListEndpoints::default()
    }
}

fn urls<'a>(statuses: impl IntoIterator<Item = &'a EndpointStatus>) -> Vec<String> {
    let urls = statuses.into_iter().map(|status| status.url.to_string());
    urls.collect()
}

/// A world of twelve endpoints, to which anything happens.
struct World {
    engine: Engine,
    clock: SimClock,
    recorder: Recorder,
    fragile: Fragile,
    modes: Arc<Mutex<BTreeMap<String, u32>>>,
    rng: fastrand::Rng,
    seen: usize,
    /// When each endpoint gave up deliveries, since it was last removed.
    given_up: BTreeMap<String, Vec<Timestamp>>,
    next: u32,
    laid_down: Vec<WebhookUrl>,
}

const ENDPOINTS: u32 = 12;

fn url(number: u32) -> String {
    format!("http://r-{number}.test/Hook?key={number}")
}

fn settings(number: u32) -> Endpoint {
    let endpoint = plain(&url(number));
    match number % 4 {
        0 => endpoint,
        1 => endpoint.circuit_breaker(CircuitBreaker::after(3)),
        2 => {
            let mut disable = DisablePolicy::never();
            disable.when_failing = vec![FailingRule::new(Duration::from_secs(200), 4)];
            endpoint.disable(disable)
        }
        _ => endpoint.timeout(Duration::from_secs(3)),
    }
}

fn reply(mode: u32) -> Reply {
    match mode {
        0..=2 => Reply::status(200),
        3 => Reply::status(503),
        4 => Reply::answer(Answer::new(503).retry_after("90")),
        5 => Reply::status(404),
        6 => Reply::status(410),
        7 => Reply::hang(),
        8 => Reply::status(200).after(Duration::from_millis(1_500)),
        _ => Reply::panic(),
    }
}

impl World {
    async fn start(clock: &SimClock, seed: u64) -> Self {
        let receivers = ScriptedTransport::new();
        let modes = Arc::<Mutex<BTreeMap<String, u32>>>::default();
        let decides = Arc::clone(&modes);
        receivers.decide(move |request| {
            let modes = decides.lock().unwrap();
            reply(modes.get(request.url.as_str()).copied().unwrap_or_default())
        });
        let fragile = Fragile {
            receivers,
            panics_left: Arc::default(),
        };
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut builder = Engine::builder()
            .simulated(clock, seed)
            .max_in_flight(rng.u32(4..20))
            .transport(fragile.clone());
        for number in 0..ENDPOINTS {
            let rule = Rule::new(format!("rule-{number}"), format!("type-{number}"));
            builder = builder.rule(rule.webhook(&url(number)).unwrap());
            if rng.bool() {
                builder = builder.endpoint(settings(number));
            }
        }
        let engine = builder.start().await.unwrap();
        let recorder = Recorder::new();
        recorder.watch(&engine).await.unwrap();
        Self {
            engine,
            clock: clock.clone(),
            recorder,
            fragile,
            modes,
            rng,
            seen: 0,
            given_up: BTreeMap::new(),
            next: 0,
            laid_down: Vec::new(),
        }
    }

    async fn step(&mut self) {
        let number = self.rng.u32(0..ENDPOINTS);
        let endpoint = self.engine.endpoint(url(number));
        match self.rng.u32(0..20) {
            0..=6 => {
                for _ in 0..self.rng.u32(1..9) {
                    self.next += 1;
                    let event = Event::new(format!("type-{number}"), "client");
                    let event = event.id(self.next.to_string());
                    self.engine.publish(event).await.unwrap();
                }
            }
            7..=11 => {
                let mode = self.rng.u32(0..10);
                self.modes.lock().unwrap().insert(url(number), mode);
            }
            // A removed endpoint is unknown.
            12 => drop(endpoint.pause().await),
            13 => drop(endpoint.disable().await),
            14 | 15 => drop(endpoint.resume().await),
            16 => self.engine.put_endpoint(settings(number)).await.unwrap(),
            17 => {
                self.notice();
                if endpoint.remove().await.is_ok() {
                    self.notice();
                    self.given_up.remove(&url(number));
                }
            }
            18 => self.fragile.panics_left.store(1, Ordering::Relaxed),
            _ if self.laid_down.is_empty() => {
                let urls = (0..ENDPOINTS).filter(|_| self.rng.u8(..) < 60);
                let urls = urls.map(|number| WebhookUrl::parse(&url(number)).unwrap());
                self.laid_down = urls.collect();
                lay_down(&self.engine, &self.laid_down).await;
            }
            _ => {
                let urls = std::mem::take(&mut self.laid_down);
                take_up(&self.engine, &urls).await.unwrap();
            }
        }
        let wait = match self.rng.u32(0..10) {
            0..=5 => 1,
            6..=8 => self.rng.u64(1..60),
            _ => self.rng.u64(60..1_500),
        };
        self.clock.sleep(Duration::from_secs(wait)).await;
    }

    /// Takes in the reports of deliveries that were given up.
    fn notice(&mut self) {
        let reports = self.recorder.reports();
        for report in reports.iter().skip(self.seen) {
            let Outcome::DeadLettered { reason } = report.outcome else {
                continue;
            };
            if reason != DeadLetterReason::EndpointRemoved {
                let given_up = self.given_up.entry(report.url.to_string());
                given_up.or_default().push(report.at);
            }
        }
        self.seen = reports.len();
    }

    fn given_up(&self, url: &str) -> u64 {
        let block = |at: Timestamp| at.unix_millis().div_euclid(600_000);
        let now = block(self.clock.now());
        let given_up = self.given_up.get(url).into_iter().flatten();
        given_up.filter(|at| block(**at) > now - 6).count() as u64
    }

    async fn check(&mut self, trace: &str) {
        // What ended in this very instant is recorded by now.
        self.clock.sleep(Duration::from_millis(20)).await;
        self.notice();
        let statuses = statuses(&self.engine).await;
        let overview = self.engine.overview().await.unwrap();
        assert_eq!(
            overview.endpoints,
            counted(&statuses),
            "{trace}: {statuses:#?}"
        );
        let in_flight: u32 = statuses.iter().map(|status| status.in_flight).sum();
        assert_eq!(overview.permits.taken(), in_flight, "{trace}");
        let open: u64 = statuses.iter().map(|status| status.queued).sum();
        assert_eq!(overview.open, open + u64::from(in_flight), "{trace}");
        let expected: BTreeSet<_> = statuses
            .iter()
            .filter(|status| !is_well(status) || self.given_up(status.url.as_str()) > 0)
            .map(|status| status.url.to_string())
            .collect();
        let attention = listed(&self.engine, by_attention()).await;
        let found = urls(attention.iter().map(|listed| &listed.status));
        let sorted: BTreeSet<_> = found.iter().cloned().collect();
        assert_eq!(sorted, expected, "{trace}");
        assert_eq!(found.len(), sorted.len(), "{trace}: each once");
        let mut levels = Vec::new();
        for listed in &attention {
            let attention = listed.attention.unwrap();
            let expected = self.given_up(listed.status.url.as_str());
            assert_eq!(attention.given_up_in_hour, expected, "{trace}: {listed:?}");
            assert!(attention.since <= overview.at, "{trace}");
            levels.push(u64::BITS - expected.leading_zeros());
        }
        assert!(
            levels.is_sorted_by(|one, next| one >= next),
            "{trace}: {levels:?}"
        );
        let first = urls(overview.attention.iter().map(|listed| &listed.status));
        assert_eq!(
            first,
            found.iter().take(10).cloned().collect::<Vec<_>>(),
            "{trace}"
        );
        for kind in [StateKind::Paused, StateKind::Idle, StateKind::BackingOff] {
            let query = ListEndpoints {
                states: vec![kind],
                limit: 2,
                ..ListEndpoints::default()
            };
            let found = listed(&self.engine, query).await;
            let found = urls(found.iter().map(|listed| &listed.status));
            let of_kind = statuses.iter().filter(|status| status.state.kind() == kind);
            assert_eq!(found, urls(of_kind), "{trace}: {kind}");
        }
    }
}

fn anything_happens(seed: u64, steps: u32) {
    SimClock::run(async |clock| {
        let mut world = World::start(&clock, seed).await;
        for step in 0..steps {
            world.step().await;
            world.check(&format!("seed {seed}, step {step}")).await;
        }
        let dead = world.engine.overview().await.unwrap().dead_lettered;
        let reported = world.recorder.reports();
        let reported = reported
            .iter()
            .filter(|report| matches!(report.outcome, Outcome::DeadLettered { .. }));
        assert_eq!(dead, reported.count() as u64, "seed {seed}");
        world.engine.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn the_index_is_that_of_a_full_scan_whatever_happens() {
    for seed in 0..12 {
        anything_happens(seed, 60);
    }
}

#[test]
fn a_healthy_endpoint_needs_no_attention_and_is_counted_all_the_same() {
    simulate(async |sim| {
        sim.publish("e").await;
        sim.sleep(1).await;
        let overview = sim.engine.overview().await.unwrap();
        let counts = overview.endpoints;
        assert_eq!((counts.total, counts.idle, counts.failing), (1, 1, 0));
        assert!(overview.attention.is_empty());
        assert_eq!((overview.open, overview.lag), (0, Duration::ZERO));
    });
}

#[test]
fn what_was_given_up_needs_attention_for_an_hour_although_the_endpoint_is_well_again() {
    simulate(async |sim| {
        sim.receivers
            .on(HOOK, [Reply::status(404), Reply::status(200)]);
        sim.publish("a").await;
        sim.publish("b").await;
        sim.sleep(60).await;
        let overview = sim.engine.overview().await.unwrap();
        assert_eq!((overview.endpoints.failing, overview.dead_lettered), (0, 1));
        let attention = overview.attention[0].attention.unwrap();
        assert_eq!(attention.given_up_in_hour, 1);
        sim.sleep(3_600).await;
        let overview = sim.engine.overview().await.unwrap();
        assert!(overview.attention.is_empty(), "{:?}", overview.attention);
    });
}

/// The retirement of a subscriber must not end the trouble, nor its age.
#[test]
fn a_trouble_outlives_the_subscriber_and_keeps_its_age() {
    simulate(async |sim| {
        sim.receivers
            .on(HOOK, [Reply::status(404), Reply::status(200)]);
        let began = sim.clock.now();
        sim.publish("a").await;
        for _ in 0..5 {
            sim.sleep(1_800).await;
            let listed = listed(&sim.engine, by_attention()).await;
            let since = listed[0].attention.unwrap().since;
            assert!(since.since(began) < Duration::from_secs(1), "{since}");
        }
        sim.publish("b").await;
        sim.sleep(1).await;
        assert_eq!(listed(&sim.engine, by_attention()).await, []);
    });
}

fn many(sim_rule: Rule, count: u32) -> Rule {
    let urls = (0..count).map(url);
    urls.fold(sim_rule, |rule, url| rule.webhook(&url).unwrap())
}

#[test]
fn endpoints_are_found_by_a_part_of_their_url_in_any_case() {
    let rule = many(Rule::new("rule", "*"), 30);
    simulate_with(
        |builder| builder.rule(rule),
        async |sim| {
            let query = |part: &str| ListEndpoints {
                url_contains: Some(part.to_owned()),
                limit: 4,
                ..ListEndpoints::default()
            };
            let found = listed(&sim.engine, query("R-1")).await;
            assert_eq!(found.len(), 11, "1 and 10 to 19");
            assert_eq!(listed(&sim.engine, query("hook?KEY=29")).await.len(), 1);
            assert_eq!(listed(&sim.engine, query("nothing")).await, []);
            sim.receivers.on(&url(7), [Reply::status(404)]);
            sim.publish("e").await;
            sim.sleep(1).await;
            let failing = ListEndpoints {
                failing: true,
                ..query("r-")
            };
            let found = listed(&sim.engine, failing).await;
            assert_eq!(urls(found.iter().map(|listed| &listed.status)), [url(7)]);
            let page = sim.engine.endpoints_by(query("r-")).await.unwrap();
            assert_eq!((page.endpoints.len(), page.examined), (4, 4));
            let next = page.next.unwrap().to_string();
            let mut rest = query("r-");
            rest.after = Some(next.parse().unwrap());
            assert_eq!(listed(&sim.engine, rest).await.len(), 26);
        },
    );
}

#[test]
fn a_page_says_that_it_has_examined_as_many_endpoints_as_it_may() {
    let rules = (0..210_u32).map(|number| {
        let urls = (0..100).map(|place| url(number * 100 + place));
        let rule = Rule::new(number.to_string(), "*");
        urls.fold(rule, |rule, url| rule.webhook(&url).unwrap())
    });
    let rules: Vec<_> = rules.collect();
    simulate_with(
        |builder| rules.into_iter().fold(builder, EngineBuilder::rule),
        async |sim| {
            let query = ListEndpoints {
                url_contains: Some("nothing".to_owned()),
                ..ListEndpoints::default()
            };
            let page = sim.engine.endpoints_by(query.clone()).await.unwrap();
            assert_eq!((page.endpoints.len(), page.examined), (0, 20_000));
            let after = page.next;
            assert!(after.is_some());
            let page = sim
                .engine
                .endpoints_by(ListEndpoints { after, ..query })
                .await;
            let page = page.unwrap();
            assert_eq!((page.examined, page.next), (1_000, None));
            // A state in which few are is found without examining the others.
            sim.engine.endpoint(url(20_999)).pause().await.unwrap();
            let paused = ListEndpoints {
                states: vec![StateKind::Paused],
                ..ListEndpoints::default()
            };
            let page = sim.engine.endpoints_by(paused).await.unwrap();
            assert_eq!((page.endpoints.len(), page.examined), (1, 1));
        },
    );
}

#[test]
fn the_results_of_the_last_attempts_outlive_the_subscriber() {
    simulate(async |sim| {
        let replies = [503, 200, 404, 200].map(Reply::status);
        sim.receivers.on(HOOK, replies);
        for id in ["a", "b", "c"] {
            sim.publish(id).await;
            sim.sleep(30).await;
        }
        sim.sleep(300).await;
        let recent = sim.status(HOOK).await.recent;
        assert_eq!(recent.to_string(), "-+x+");
        for number in 0..30 {
            sim.publish(&number.to_string()).await;
        }
        sim.sleep(60).await;
        assert_eq!(sim.status(HOOK).await.recent.to_string(), "+".repeat(20));
    });
}

async fn publish_some(sim: &Sim, count: u32) {
    for number in 0..count {
        let id = number.to_string();
        sim.engine.publish(event(&id)).await.unwrap();
    }
}

#[test]
fn an_endpoint_that_waits_for_a_permit_is_lag_and_one_that_waits_for_its_receiver_is_not() {
    let rule = many(Rule::new("rule", "*"), 8);
    simulate_with(
        |builder| builder.rule(rule).max_in_flight(4),
        async |sim| {
            sim.receivers.decide(|_| Reply::hang());
            publish_some(&sim, 1).await;
            sim.sleep(6).await;
            let overview = sim.engine.overview().await.unwrap();
            assert!(overview.lag >= Duration::from_secs(5), "{overview:?}");
            let waiting = 8 - u64::from(overview.permits.taken());
            assert_eq!(
                (overview.late_endpoints, overview.permits.waiting),
                (waiting, waiting)
            );
            sim.receivers.decide(|_| Reply::status(200));
            sim.sleep(200).await;
            let overview = sim.engine.overview().await.unwrap();
            assert_eq!((overview.lag, overview.late_endpoints), (Duration::ZERO, 0));
        },
    );
    simulate(async |sim| {
        let busy = Reply::answer(Answer::new(503).retry_after("100"));
        sim.receivers
            .on(HOOK, [busy, Reply::hang(), Reply::status(200)]);
        publish_some(&sim, 50).await;
        for _ in 0..4 {
            sim.sleep(29).await;
            let overview = sim.engine.overview().await.unwrap();
            assert_eq!(overview.lag, Duration::ZERO, "{overview:?}");
        }
    });
}

#[test]
fn a_paused_endpoint_with_events_is_no_lag() {
    simulate(async |sim| {
        sim.engine.endpoint(HOOK).pause().await.unwrap();
        publish_some(&sim, 50).await;
        sim.sleep(60).await;
        let overview = sim.engine.overview().await.unwrap();
        assert_eq!((overview.lag, overview.open), (Duration::ZERO, 50));
    });
}

#[test]
fn a_series_and_rates_show_what_has_ended() {
    use actix_webhooks::SeriesWindow;

    simulate(async |sim| {
        sim.receivers
            .on(HOOK, [Reply::status(404), Reply::status(200)]);
        publish_some(&sim, 20).await;
        sim.sleep(2).await;
        let overview = sim.engine.overview().await.unwrap();
        assert_eq!(overview.rates.delivered_per_second, 1.9);
        assert_eq!(overview.rates.failed_per_second, 0.1);
        for window in [SeriesWindow::Minute, SeriesWindow::Hour, SeriesWindow::Day] {
            let series = sim.engine.series(window).await.unwrap();
            let delivered: u64 = series.points.iter().map(|point| point.delivered).sum();
            let dead: u64 = series.points.iter().map(|point| point.dead_lettered).sum();
            assert_eq!((delivered, dead), (19, 1));
            let last = series.points.last().unwrap().at;
            let now = sim.clock.now();
            assert!(last <= now && now < last + series.step, "{last} {now}");
        }
    });
}

/// Whatever an earlier engine has left in the store is in the index from the start.
#[test]
fn an_engine_knows_from_the_start_what_an_earlier_one_has_left() {
    SimClock::run(async |clock| {
        let store = Arc::new(MemoryStore::new());
        let receivers = ScriptedTransport::new();
        let start = async || {
            let mut builder = Engine::builder()
                .simulated(&clock, 1)
                .store(Arc::clone(&store))
                .transport(receivers.clone());
            for number in 0..ENDPOINTS {
                let rule = Rule::new(format!("rule-{number}"), format!("type-{number}"));
                builder = builder.rule(rule.webhook(&url(number)).unwrap());
                builder = builder.endpoint(settings(number));
            }
            builder.start().await.unwrap()
        };
        let publish = async |engine: &Engine, number: u32| {
            let event = Event::new(format!("type-{number}"), "client");
            engine.publish(event).await.unwrap();
        };
        let hold = || Reply::answer(Answer::new(503).retry_after("3000"));
        // The retries end before the hold does.
        receivers.on(&url(0), [hold(), hold(), hold(), hold()]);
        // A permanent failure: nothing stays open, and the policy keeps the health.
        receivers.on(&url(2), [Reply::status(404)]);
        receivers.on(&url(6), [Reply::status(410)]);
        receivers.on(&url(4), [Reply::status(503)]);
        let engine = start().await;
        for number in [0, 2, 4, 6] {
            publish(&engine, number).await;
        }
        engine.endpoint(url(3)).pause().await.unwrap();
        engine.endpoint(url(7)).disable().await.unwrap();
        publish(&engine, 3).await;
        clock.sleep(Duration::from_secs(2)).await;
        let before = engine.overview().await.unwrap();
        engine.shutdown(Duration::ZERO).await;
        let engine = start().await;
        clock.sleep(Duration::from_millis(10)).await;
        let statuses = statuses(&engine).await;
        let overview = engine.overview().await.unwrap();
        assert_eq!(overview.endpoints, counted(&statuses), "{statuses:#?}");
        // Whether an attempt failed is known where a policy depends on it.
        let found = urls(overview.attention.iter().map(|listed| &listed.status));
        let expected = [0, 2, 3, 6, 7].map(url);
        assert_eq!(BTreeSet::from_iter(found), BTreeSet::from(expected));
        assert_eq!(overview.endpoints.paused, before.endpoints.paused);
        engine.shutdown(Duration::ZERO).await;
    });
}
