//! Rules, clients and their tokens change while deliveries wait, are redelivered, and engines are
//! restarted. No receiver is shown a token that it was never given, and a receiver that a rule
//! still names is shown the current one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{MemoryStore, SqliteStore};
use actix_webhooks::testing::{Blocking, FaultyStore, Reply, ScriptedTransport, SimClock};
use actix_webhooks::transport::Request;
use actix_webhooks::{
    Auth, Client, DeliveryId, Engine, EngineBuilder, Event, ListDeadLetters, PutClient, PutRule,
    Redeliver, RemoveRule, Rule,
};
use fastrand::Rng;

use super::seeds::{in_all_threads, number, told};
use super::world::HEALED;

#[test]
fn no_receiver_is_shown_what_it_was_not_given() {
    if let Some(seed) = number("SIM_GIVEN_SEED") {
        assert_eq!(problems(seed, MemoryStore::new()), Vec::<String>::new());
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(DEFAULT_SEEDS);
    let failed = in_all_threads(seeds, |seed| problems(seed, MemoryStore::new()));
    assert!(
        failed.is_empty(),
        "SIM_GIVEN_SEED=n replays one\n{}",
        told(&failed)
    );
}

#[test]
fn no_receiver_is_shown_what_it_was_not_given_by_what_a_file_kept() {
    let seeds = number("SIM_FILE_SEEDS").unwrap_or(DEFAULT_FILE_SEEDS);
    let folder = tempfile::tempdir().unwrap();
    let failed = in_all_threads(seeds, |seed| {
        let file = folder.path().join(seed.to_string());
        problems(seed, Blocking(SqliteStore::open(file).unwrap()))
    });
    assert!(failed.is_empty(), "{}", told(&failed));
}

/// The current rules and clients with their tokens.
#[derive(Clone, Default)]
struct Said {
    rules: BTreeMap<String, Rule>,
    clients: BTreeMap<String, String>,
}

impl Said {
    /// Returns the token that a request should show, or an empty text for none. Returns `None` if
    /// its rule no longer names its URL.
    fn shown(&self, request: &Request) -> Option<String> {
        let alert = &request.alert;
        let rule = self.rules.get(alert.rule_id.as_str())?;
        let only = rule.client_id.as_ref();
        if only.is_some_and(|only| *only != alert.client_id)
            || !rule.webhooks.contains(&request.url)
        {
            return None;
        }
        let shown = match &rule.auth {
            Some(auth) => auth.header_value().map(|value| value.expose().to_owned()),
            None => self.clients.get(alert.client_id.as_str()).cloned(),
        };
        Some(shown.unwrap_or_default())
    }

    /// Returns every token with every URL that it is given to.
    fn given(&self) -> impl Iterator<Item = (String, String)> {
        let of_rule = |rule: &Rule| -> Vec<(String, String)> {
            let tokens: Vec<String> = if let Some(auth) = &rule.auth {
                let token = auth.header_value();
                token
                    .iter()
                    .map(|token| token.expose().to_owned())
                    .collect()
            } else {
                let only = rule.client_id.as_ref();
                let in_scope = |id: &&String| only.is_none_or(|only| only.as_str() == id.as_str());
                let clients = self.clients.iter().filter(|(id, _)| in_scope(id));
                clients.map(|(_, token)| token.clone()).collect()
            };
            let urls = rule.webhooks.iter().map(ToString::to_string);
            urls.flat_map(|url| tokens.iter().map(move |token| (token.clone(), url.clone())))
                .collect()
        };
        self.rules
            .values()
            .flat_map(of_rule)
            .collect::<Vec<_>>()
            .into_iter()
    }
}

/// The receivers' knowledge.
#[derive(Default)]
struct Seen {
    now: Said,
    /// The state before the last change: an attempt that began then may arrive a moment later.
    before: Said,
    given: BTreeSet<(String, String)>,
    problems: Vec<String>,
    requests: usize,
}

impl Seen {
    fn change(&mut self, change: impl FnOnce(&mut Said)) {
        self.before = self.now.clone();
        change(&mut self.now);
        self.given.extend(self.now.given());
    }

    fn judge(&mut self, request: &Request) {
        self.requests += 1;
        let shown = request
            .authorization
            .as_ref()
            .map(|value| value.expose().to_owned());
        let url = request.url.to_string();
        if let Some(token) = &shown
            && !self.given.contains(&(token.clone(), url.clone()))
        {
            self.problems
                .push(format!("{url} is shown {token}, which it was never given"));
        }
        let expected = [self.now.shown(request), self.before.shown(request)];
        // While a rule names the URL, the request shows the current token, or the previous one at
        // the moment of a change.
        if let [Some(now), Some(before)] = expected
            && ![now.as_str(), &before].contains(&shown.as_deref().unwrap_or_default())
        {
            self.problems
                .push(format!("{url} is shown {shown:?} instead of {now:?}"));
        }
    }
}

struct Play {
    rng: Rng,
    seed: u64,
    clock: SimClock,
    store: FaultyStore,
    receivers: ScriptedTransport,
    seen: Arc<Mutex<Seen>>,
    engine: Engine,
    tokens: u32,
    again: Vec<DeliveryId>,
}

fn problems(seed: u64, store: impl Store) -> Vec<String> {
    let store = FaultyStore::new(store, HEALED, seed);
    SimClock::run(async |clock| {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let receivers = ScriptedTransport::new();
        let (judge, answers) = (Arc::clone(&seen), Mutex::new(Rng::with_seed(seed ^ 1)));
        receivers.decide(move |request| {
            judge.lock().unwrap().judge(request);
            let status = [200, 503, 503, 503, 400];
            Reply::status(answers.lock().unwrap().choice(status).unwrap())
        });
        let engine = start(seed, &clock, &store, &receivers, Vec::new()).await;
        let mut play = Play {
            rng: Rng::with_seed(seed),
            seed,
            clock,
            store,
            receivers,
            seen,
            engine,
            tokens: 0,
            again: Vec::new(),
        };
        for _ in 0..STEPS {
            play.step().await;
            let wait = Duration::from_millis(play.rng.u64(..30_000));
            play.clock.sleep(wait).await;
        }
        play.clock.sleep(Duration::from_mins(5)).await;
        play.engine.shutdown(Duration::ZERO).await;
        let mut seen = play.seen.lock().unwrap();
        if seen.requests < STEPS / 4 {
            let few = format!("only {} requests", seen.requests);
            seen.problems.push(few);
        }
        std::mem::take(&mut seen.problems)
    })
}

async fn start(
    seed: u64,
    clock: &SimClock,
    store: &FaultyStore,
    receivers: &ScriptedTransport,
    rules: Vec<Rule>,
) -> Engine {
    let mut builder = Engine::builder().simulated(clock, seed);
    if seed % 2 == 1 {
        builder = builder.as_on_several_arbiters();
    }
    let builder = builder.store(store.clone()).transport(receivers.clone());
    let builder = rules.into_iter().fold(builder, EngineBuilder::rule);
    builder.start().await.unwrap()
}

impl Play {
    async fn step(&mut self) {
        match self.rng.u32(..100) {
            0..25 => {
                let rule = self.draw_rule();
                self.say(|said| drop(said.rules.insert(rule.id.to_string(), rule.clone())));
                let put = self.engine.router().send(PutRule::new(rule));
                put.await.unwrap().unwrap();
            }
            25..33 => {
                let id = self.draw("rule", 3);
                self.say(|said| drop(said.rules.remove(&id)));
                let removed = self.engine.router().send(RemoveRule::new(id.as_str()));
                removed.await.unwrap().unwrap();
            }
            33..45 => self.put_client().await,
            45..80 => {
                let event = Event::new("thing.happened", self.draw("client", 3).as_str());
                self.engine.publish(event).await.unwrap();
            }
            80..92 => self.redeliver().await,
            _ => self.restart().await,
        }
    }

    async fn put_client(&mut self) {
        let id = self.draw("client", 3);
        let token = self.rng.bool().then(|| self.token(&id));
        self.say(|said| match &token {
            Some(token) => drop(said.clients.insert(id.clone(), token.clone())),
            None => drop(said.clients.remove(&id)),
        });
        let client = Client::new(id.as_str());
        let client = match token {
            Some(token) => client.auth(Auth::raw(token)),
            None => client,
        };
        let put = self.engine.router().send(PutClient::new(client));
        put.await.unwrap().unwrap();
    }

    async fn redeliver(&mut self) {
        let letters = self.engine.supervisor().send(ListDeadLetters::default());
        let letters = letters.await.unwrap().unwrap();
        self.again
            .extend(letters.iter().map(|letter| letter.delivery_id));
        if let Some(id) = self.rng.choice(self.again.iter().copied()) {
            let again = self.engine.supervisor().send(Redeliver::one(id)).await;
            again.unwrap().unwrap();
        }
    }

    /// Ends the engine and starts another on the same store, which may get a rule of its own.
    async fn restart(&mut self) {
        self.engine.shutdown(Duration::ZERO).await;
        let mut rules = Vec::new();
        if self.rng.bool() {
            rules.push(self.draw_rule());
        }
        let said = rules.clone();
        self.say(|now| {
            let said = said.into_iter();
            now.rules
                .extend(said.map(|rule| (rule.id.to_string(), rule)));
        });
        let (clock, receivers) = (self.clock.clone(), self.receivers.clone());
        self.engine = start(self.seed, &clock, &self.store, &receivers, rules).await;
    }

    fn say(&self, change: impl FnOnce(&mut Said)) {
        self.seen.lock().unwrap().change(change);
    }

    fn draw(&mut self, what: &str, of: u32) -> String {
        format!("{what}-{}", self.rng.u32(..of))
    }

    fn token(&mut self, owner: &str) -> String {
        self.tokens += 1;
        format!("{owner}#{}", self.tokens)
    }

    fn draw_rule(&mut self) -> Rule {
        let id = self.draw("rule", 3);
        let mut rule = Rule::new(id.as_str(), "*");
        if self.rng.f64() < 0.3 {
            rule = rule.client(self.draw("client", 3).as_str());
        }
        for _ in 0..self.rng.usize(1..=2) {
            let url = format!("http://{}.test/", self.draw("receiver", 4));
            rule = rule.webhook(&url).unwrap();
        }
        match self.rng.u32(..10) {
            0..5 => rule.auth(Auth::raw(self.token(&id))),
            5 => rule.auth(Auth::None),
            _ => rule,
        }
    }
}

/// Number of steps in each world.
const STEPS: usize = 60;

/// Number of worlds, unless `SIM_SEEDS` is set.
const DEFAULT_SEEDS: u64 = 100;

/// Number of worlds over a store on a file, unless `SIM_FILE_SEEDS` is set.
const DEFAULT_FILE_SEEDS: u64 = 5;
