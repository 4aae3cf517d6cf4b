//! Endpoints that hang do not delay others, however many they are and whichever client owns them.
//!
//! All failing endpoints used to share one quarter of the permits, first come, first served. One
//! rule with 10,000 hanging URLs made 2,840 of 3,000 deliveries to a healthy endpoint late, by up
//! to 285 s. An endpoint that had answered a single 503 waited for 105 s beside 1,000 hanging
//! endpoints, and a new endpoint waited for 60 s beside 4,000.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_webhooks::testing::{Reply, ScriptedTransport, SimClock};
use actix_webhooks::transport::Request;
use actix_webhooks::{Engine, EngineBuilder, Event, PublishBatch, RetryPolicy, Rule, Timestamp};

use super::support::plain;

/// The default timeout of an attempt.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The time that a receiver takes to answer.
const ANSWER: Duration = Duration::from_millis(20);

/// The lateness of attempts, by kind of endpoint.
#[derive(Clone, Default)]
struct Lateness(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    /// When each delivery answered with 503 is due again.
    due: HashMap<String, Timestamp>,
    by_kind: HashMap<String, Vec<Duration>>,
}

impl Lateness {
    /// Notes how late an attempt began, and answers according to its kind of endpoint.
    fn receive(&self, request: &Request, now: Timestamp) -> Reply {
        let kind = request.alert.rule_type.split(' ').next().unwrap();
        let event = request.alert.event_id.as_str();
        let delivery = format!("{event} {}", request.url);
        let mut noted = self.0.lock().unwrap();
        let published = event.split(' ').next().unwrap().parse().unwrap();
        let published = Timestamp::from_unix_millis(published);
        let due = noted.due.remove(&delivery).unwrap_or(published);
        let late = noted.by_kind.entry(kind.to_owned()).or_default();
        late.push(now.since(due));
        // One delivery in ten of a healthy endpoint fails at first.
        let bad = kind == "healthy" && late.len().is_multiple_of(10);
        if matches!(kind, "hangs" | "stalls") {
            // The last retry is moved forward to the deadline.
            let wait = [15, 30, 30].get(request.attempt as usize - 1);
            let wait = Duration::from_secs(wait.copied().unwrap_or_default());
            noted.due.insert(delivery, now + TIMEOUT + wait);
            Reply::hang()
        } else if bad && request.attempt == 1 {
            noted
                .due
                .insert(delivery, now + ANSWER + Duration::from_secs(15));
            Reply::status(503).after(ANSWER)
        } else {
            Reply::status(200).after(ANSWER)
        }
    }

    /// Returns the number of attempts at a kind of endpoint, and the lateness of the latest.
    fn of(&self, kind: &str) -> (usize, Duration) {
        let noted = self.0.lock().unwrap();
        let late = noted.by_kind.get(kind).cloned().unwrap_or_default();
        (late.len(), late.into_iter().max().unwrap_or_default())
    }
}

struct World {
    engine: Engine,
    clock: SimClock,
    receivers: ScriptedTransport,
    lateness: Lateness,
}

impl World {
    /// Runs a test without watchers.
    fn run(settings: impl FnOnce(EngineBuilder) -> EngineBuilder, test: impl AsyncFnOnce(Self)) {
        SimClock::run(async |clock| {
            let receivers = ScriptedTransport::new();
            let builder = Engine::builder()
                .simulated(&clock, 1)
                .mailbox_capacity(65_536)
                .transport(receivers.clone());
            let engine = settings(builder).start().await.unwrap();
            let lateness = Lateness::default();
            let (noting, now) = (lateness.clone(), clock.clone());
            receivers.decide(move |request| noting.receive(request, now.now()));
            test(Self {
                engine,
                clock,
                receivers,
                lateness,
            })
            .await;
        });
    }

    /// Publishes an event of each type, all due now.
    async fn publish(&self, types: impl Iterator<Item = (String, String)>) {
        let now = self.clock.now().unix_millis();
        let event = |(rule_type, client): (String, String)| {
            let id = format!("{now} {rule_type}");
            Event::new(rule_type, client.as_str()).id(id)
        };
        let batch = PublishBatch::new(types.map(event));
        for answer in self.engine.router().send(batch).await.unwrap() {
            answer.unwrap();
        }
    }
}

/// Returns event types of healthy endpoints with their clients, ten endpoints per client.
fn healthy(count: usize) -> impl Iterator<Item = (String, String)> {
    (0..count).map(|number| {
        (
            format!("healthy {number}"),
            format!("client {}", number / 10),
        )
    })
}

/// One rule with 10,000 URLs of one hanging host.
fn one_rule(builder: EngineBuilder) -> EngineBuilder {
    let urls = (0..10_000).map(|number| format!("http://hangs.test/{number}"));
    let rule = urls.fold(Rule::new("hangs", "hangs"), |rule, url| {
        rule.webhook(&url).unwrap()
    });
    builder.rule(rule)
}

/// 10,000 rules, each with a hanging host of its own.
fn many_rules(builder: EngineBuilder) -> EngineBuilder {
    (0..10_000).fold(builder, |builder, number| {
        let rule = Rule::new(format!("hangs {number}"), "hangs");
        let url = format!("http://hangs-{number}.test/");
        builder.rule(rule.webhook(&url).unwrap())
    })
}

/// Adds a rule with its own host for each of these types.
fn with_rules(
    builder: EngineBuilder,
    retry: &RetryPolicy,
    types: impl Iterator<Item = String>,
) -> EngineBuilder {
    types.fold(builder, |builder, rule_type| {
        let url = format!("http://{}.test/", rule_type.replace(' ', "-"));
        let rule = Rule::new(rule_type.as_str(), rule_type.as_str());
        builder
            .rule(rule.webhook(&url).unwrap())
            .endpoint(plain(&url).retry(retry.clone()))
    })
}

fn one(rule_type: &str, client: &str) -> impl Iterator<Item = (String, String)> {
    std::iter::once((rule_type.to_owned(), client.to_owned()))
}

/// One event leads to 10,000 hanging attempts of one client. Beside them, 100 healthy endpoints of
/// other clients get events all the time and sometimes answer 503, new endpoints of other clients
/// get their first event, and another client's endpoint hangs too.
fn others_go_on_beside(hanging: impl FnOnce(EngineBuilder) -> EngineBuilder) {
    let settings = |builder| {
        let names = |kind, count| (0..count).map(move |number| format!("{kind} {number}"));
        let others = names("healthy", 100).chain(names("new", 30));
        let retry = RetryPolicy::three_in_two_minutes().without_jitter();
        let types = others.chain(names("stalls", 30));
        with_rules(hanging(builder), &retry, types)
    };
    World::run(settings, async |world| {
        world.publish(healthy(100)).await;
        world.clock.sleep(Duration::from_secs(5)).await;
        world.publish(one("hangs", "many")).await;
        for round in 0..30 {
            world.publish(healthy(100)).await;
            let new = format!("new {round}");
            world.publish(one(&new, &new)).await;
            if round % 10 == 1 {
                let stalls = format!("stalls {round}");
                world.publish(one(&stalls, "other")).await;
            }
            world.clock.sleep(Duration::from_secs(4)).await;
            let hanging = world.receivers.in_flight();
            assert!(
                hanging >= 224,
                "only {hanging} of those that hang are tried"
            );
        }
        let at_once = [("healthy", 3_100 + 200), ("new", 30), ("stalls", 6)];
        for (kind, least) in at_once {
            let (attempts, latest) = world.lateness.of(kind);
            assert!(attempts >= least, "{kind}: {attempts} attempts");
            assert!(latest <= ANSWER, "{kind}: one was {latest:?} late");
        }
        assert!(world.receivers.most_in_flight() <= 512);
    });
}

#[test]
fn one_rule_with_ten_thousand_urls_that_hang_keeps_nobody_waiting() {
    others_go_on_beside(one_rule);
}

#[test]
fn ten_thousand_rules_whose_hosts_hang_keep_nobody_waiting() {
    others_go_on_beside(many_rules);
}

/// A host with 10,000 URLs of one client has always answered, and stops. Each URL looks prompt
/// until it has had an attempt, so together they take nearly all permits for one timeout after
/// another. The permits left to other clients suffice for healthy endpoints, and new and other
/// hanging endpoints get their turns.
#[test]
fn ten_thousand_endpoints_that_begin_to_hang_leave_others_their_turns() {
    let settings = |builder| {
        let names = |kind, count| (0..count).map(move |number| format!("{kind} {number}"));
        let others = names("healthy", 20).chain(names("new", 20));
        let retry = RetryPolicy::three_in_two_minutes().without_jitter();
        with_rules(one_rule(builder), &retry, others.chain(names("stalls", 20)))
    };
    World::run(settings, async |world| {
        let answer = |_: &Request| Reply::status(200).after(ANSWER);
        world.receivers.decide(answer);
        world.publish(healthy(20)).await;
        world.publish(one("hangs", "many")).await;
        world.clock.sleep(Duration::from_secs(20)).await;
        assert_eq!(world.receivers.requests().len(), 10_020);
        let (noting, now) = (world.lateness.clone(), world.clock.clone());
        world
            .receivers
            .decide(move |request| noting.receive(request, now.now()));
        world.publish(one("hangs", "many")).await;
        for round in 0..20 {
            world.clock.sleep(Duration::from_secs(4)).await;
            world.publish(healthy(20)).await;
            let new = format!("new {round}");
            world.publish(one(&new, &new)).await;
            if round == 1 {
                world.publish(one("stalls 0", "other")).await;
            }
            if round % 5 == 0 {
                assert!(world.receivers.in_flight() >= 500, "round {round}");
            }
        }
        world.clock.sleep(TIMEOUT).await;
        // Twenty endpoints that answer after 20 ms share at least two permits.
        let bound = Duration::from_millis(200);
        for (kind, least) in [("healthy", 400 + 30), ("new", 20), ("stalls", 3)] {
            let (attempts, latest) = world.lateness.of(kind);
            assert!(attempts >= least, "{kind}: {attempts} attempts");
            assert!(latest <= bound, "{kind}: one was {latest:?} late");
        }
        assert!(world.receivers.most_in_flight() <= 512);
    });
}

/// Four clients have 30 hanging endpoints each, and one has a single endpoint. At most 16 hanging
/// attempts may be in flight, so each of the five clients has three. Thirty endpoints that take
/// turns of 15 s in three permits wait for 165 s at most, their first turn included. The client
/// with one endpoint waits for one turn.
#[test]
fn a_turn_of_an_endpoint_that_hangs_takes_no_longer_than_is_stated() {
    let hanging = || (0..4).flat_map(|client| (0..30).map(move |number| (client, number)));
    let name = |(client, number)| format!("hangs {client} {number}");
    let settings = |builder: EngineBuilder| {
        let others = ["stalls", "healthy 0"].map(str::to_owned);
        let types = hanging().map(name).chain(others);
        with_rules(builder.max_in_flight(64), &RetryPolicy::none(), types)
    };
    World::run(settings, async |world| {
        world.publish(healthy(1)).await;
        for round in 0..5 {
            let hanging = hanging().map(|key| (name(key), format!("client {}", key.0)));
            world.publish(hanging).await;
            for _ in 0..10 {
                world.clock.sleep(Duration::from_secs(10)).await;
                world.publish(healthy(1)).await;
            }
            world.publish(one("stalls", "other")).await;
            world.clock.sleep(Duration::from_secs(100)).await;
            let (attempts, _) = world.lateness.of("hangs");
            assert_eq!(attempts, 120 * (round + 1), "all have had their turn");
        }
        let (_, latest) = world.lateness.of("hangs");
        assert!(
            (Duration::from_mins(1)..=Duration::from_secs(165)).contains(&latest),
            "{latest:?}"
        );
        let (attempts, latest) = world.lateness.of("stalls");
        assert_eq!(attempts, 5);
        assert!(latest <= TIMEOUT, "{latest:?}");
        let (attempts, latest) = world.lateness.of("healthy");
        assert!((51..=60).contains(&attempts), "{attempts}");
        assert!(latest <= ANSWER, "{latest:?}");
        assert!(world.receivers.most_in_flight() <= 64);
    });
}
