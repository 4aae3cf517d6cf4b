//! Setting the wall clock moves nothing that is under way, and displayed times follow it.

use std::time::{Duration, UNIX_EPOCH};

use actix_webhooks::store::{DeadLetterQuery, DeliveryQuery, MemoryStore};
use actix_webhooks::testing::{Faults, FaultyStore, Reply, ScriptedTransport, SimClock};
use actix_webhooks::transport::Answer;
use actix_webhooks::{
    CircuitBreaker, Delivery, DeliveryState, DiscardDeadLetters, Endpoint, EndpointState, Engine,
    ListAttempts, ListDeadLetters, ListDeliveries, RateLimit, RetryPolicy, Rule, Timestamp,
};

use super::support::{HOOK, Sim, event, plain, simulate, simulate_with};

const HOUR: Duration = Duration::from_hours(1);
const MONTH: Duration = Duration::from_hours(31 * 24);

/// A change of the wall clock.
#[derive(Clone, Copy, Debug)]
enum Set {
    Not,
    Forward(Duration),
    Back(Duration),
    /// Forward, and back again after a minute.
    ForAMinute(Duration),
}

const SETTINGS: [Set; 6] = [
    Set::Not,
    Set::Forward(HOUR),
    Set::Back(HOUR),
    Set::Forward(Duration::from_secs(2)),
    Set::Back(Duration::from_secs(2)),
    Set::ForAMinute(MONTH),
];

impl Set {
    fn apply(self, clock: &SimClock) {
        match self {
            Self::Not => {}
            Self::Forward(by) => clock.set_forward(by),
            Self::Back(by) => clock.set_back(by),
            Self::ForAMinute(by) => {
                clock.set_forward(by);
                let clock = clock.clone();
                actix_rt::spawn(async move {
                    clock.sleep(Duration::from_mins(1)).await;
                    clock.set_back(by);
                });
            }
        }
    }
}

/// Publishes, sets the clock `set_after` seconds later, continues to publish once a second for a
/// while, and compares when the requests for the first event are sent.
#[track_caller]
fn check(endpoint: &Endpoint, replies: &[Reply], set_after: f64, expected: &[f64]) {
    for set in SETTINGS {
        let rule = Rule::new("rule", "first").webhook(HOOK).unwrap();
        let rest = Rule::new("rest", "*")
            .webhook("http://other.test/")
            .unwrap();
        simulate_with(
            |builder| builder.rule(rule).rule(rest).endpoint(endpoint.clone()),
            async |sim| {
                sim.receivers.on(HOOK, replies.iter().cloned());
                let first = actix_webhooks::Event::new("first", "client").id("first");
                sim.engine.publish(first).await.unwrap();
                sim.clock.sleep(Duration::from_secs_f64(set_after)).await;
                set.apply(&sim.clock);
                // Traffic, because it used to make the engine look at the clock.
                for number in 0..30 {
                    sim.publish(&number.to_string()).await;
                    sim.sleep(1).await;
                }
                sim.sleep(100_000).await;
                assert_eq!(sent_to_hook(&sim), expected, "{set:?}");
            },
        );
    }
}

/// Returns when requests were sent to [`HOOK`], in seconds.
fn sent_to_hook(sim: &Sim) -> Vec<f64> {
    let sent = sim.sent_at().into_iter().zip(sim.sent_to());
    let to_hook = sent.filter(|(_, url)| url == HOOK);
    to_hook.map(|(at, _)| at).collect()
}

fn asks(status: u16, retry_after: &str) -> Reply {
    Reply::answer(Answer::new(status).retry_after(retry_after))
}

/// When the clock was set back by an hour, a retry due in 8 s had not come after 30 s. When it was
/// set forward, the retry came at once.
#[test]
fn a_retry_comes_when_it_would_have() {
    let endpoint =
        plain(HOOK).retry(RetryPolicy::custom([Duration::from_secs(8)]).without_jitter());
    check(&endpoint, &[Reply::status(502)], 1.5, &[0.0, 8.0]);
}

/// When the clock was set forward by an hour, with traffic, a `Retry-After: 15` was ignored after 5
/// s.
#[test]
fn a_wait_that_was_asked_for_is_kept() {
    let replies = [asks(503, "15"), Reply::status(200)];
    check(&plain(HOOK), &replies, 1.5, &[0.0, 15.0]);
    let replies = [asks(502, "15"), Reply::status(200)];
    check(&plain(HOOK), &replies, 1.5, &[0.0, 15.0]);
}

/// When the clock was set forward by ten minutes during an attempt, the time for retries was over
/// after one attempt.
#[test]
fn the_window_for_retries_is_as_long_as_it_was() {
    let replies = [Reply::status(502).after(Duration::from_secs(10))];
    check(&plain(HOOK), &replies, 5.0, &[0.0, 25.0, 65.0, 120.0]);
    check(
        &plain(HOOK),
        &[Reply::hang()],
        5.0,
        &[0.0, 30.0, 75.0, 120.0],
    );
}

#[test]
fn an_open_circuit_waits_as_long_as_it_did() {
    let breaker = CircuitBreaker::after(1).waits(Duration::from_secs(20), HOUR);
    let endpoint = plain(HOOK).circuit_breaker(breaker);
    let replies = [Reply::status(502), Reply::status(200)];
    check(&endpoint, &replies, 3.0, &[0.0, 20.0]);
}

#[test]
fn a_rate_is_kept() {
    for set in SETTINGS {
        let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
        let limit = RateLimit::new(1, Duration::from_secs(10));
        simulate_with(
            |builder| builder.rule(rule).endpoint(plain(HOOK).rate_limit(limit)),
            async |sim| {
                for number in 0..4 {
                    sim.publish(&number.to_string()).await;
                }
                sim.sleep(3).await;
                set.apply(&sim.clock);
                sim.sleep(1_000).await;
                assert_eq!(sim.sent_at(), [0.0, 10.0, 20.0, 30.0], "{set:?}");
            },
        );
    }
}

/// A date comes from the receiver. It is read by the wall clock at the moment the answer arrives,
/// however recently that clock was set.
#[test]
fn a_date_is_read_by_the_clock_as_it_is_when_the_answer_comes() {
    for set in SETTINGS {
        simulate(async |sim| {
            let clock = sim.clock.clone();
            sim.receivers.decide(move |request| {
                if request.attempt > 1 {
                    return Reply::status(200);
                }
                set.apply(&clock);
                let asked = clock.now() + Duration::from_secs(40);
                let since_1970 = u64::try_from(asked.unix_millis()).unwrap();
                let date = UNIX_EPOCH + Duration::from_millis(since_1970);
                asks(503, &httpdate::fmt_http_date(date)).after(Duration::from_millis(300))
            });
            sim.sleep(2).await;
            sim.publish("e").await;
            sim.sleep(1_000).await;
            assert_eq!(sim.sent_at(), [2.0, 42.0], "{set:?}");
        });
    }
}

/// A second after the clock was set, displayed times follow it, and queries by such times find what
/// they should.
#[test]
fn what_is_shown_follows_the_wall_clock() {
    for set in [Set::Forward(HOUR), Set::Back(HOUR), Set::Not] {
        simulate(async |sim| {
            sim.receivers
                .on(HOOK, [asks(503, "3600"), Reply::status(400)]);
            sim.publish("e").await;
            sim.sleep(10).await;
            set.apply(&sim.clock);
            sim.sleep(2).await;
            let accepted = sim.clock.now().before(Duration::from_secs(12));
            let due_at = accepted + HOUR;
            assert_shown_as_held(&sim, accepted, due_at).await;
            sim.clock.sleep(HOUR).await;
            let report = sim.reports().pop().unwrap();
            assert_eq!(report.at, due_at, "{set:?}");
            let sent = sim.receivers.requests().pop().unwrap();
            assert_eq!(sent.request.sent_at, due_at, "it signs by the wall clock");
            let letters = sim.dead_letters().await;
            assert_eq!(letters[0].at, due_at);
            let since = |at: Timestamp| DeadLetterQuery {
                since: Some(at),
                ..DeadLetterQuery::default()
            };
            for (at, found) in [(due_at, 1), (due_at + Duration::from_millis(1), 0)] {
                let letters = sim
                    .engine
                    .supervisor()
                    .send(ListDeadLetters::new(since(at)));
                assert_eq!(letters.await.unwrap().unwrap().len(), found);
            }
            for (at, found) in [(due_at + Duration::from_millis(1), 0), (due_at, 1)] {
                let discarded = sim
                    .engine
                    .supervisor()
                    .send(DiscardDeadLetters::new(since(at)));
                assert_eq!(discarded.await.unwrap().unwrap(), found);
            }
        });
    }
}

async fn assert_shown_as_held(sim: &Sim, accepted: Timestamp, due_at: Timestamp) {
    let status = sim.status(HOOK).await;
    assert_eq!(status.state, EndpointState::RateLimited { until: due_at });
    assert_eq!(status.next_attempt_at, Some(due_at));
    assert_eq!(status.failing_since, Some(accepted));
    assert_eq!(status.last_attempt.unwrap().at, accepted);
    let query = |since, until| DeliveryQuery {
        since: Some(since),
        until: Some(until),
        ..DeliveryQuery::default()
    };
    let moment = Duration::from_millis(1);
    let found = deliveries(sim, query(accepted, accepted + moment)).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].accepted_at, accepted);
    assert_eq!(found[0].state, DeliveryState::Waiting { due_at });
    assert_eq!(found[0].last_attempt.unwrap().at, accepted);
    let attempts = sim.engine.supervisor().send(ListAttempts::new(found[0].id));
    assert_eq!(attempts.await.unwrap().unwrap()[0].summary.at, accepted);
    assert_eq!(deliveries(sim, query(accepted + moment, due_at)).await, []);
}

async fn deliveries(sim: &Sim, query: DeliveryQuery) -> Vec<Delivery> {
    let found = sim.engine.supervisor().send(ListDeliveries::new(query));
    found.await.unwrap().unwrap().items
}

/// A restarted engine continues the time of the previous one. A stored retry comes when it would
/// have, whether the clock was set well before the end or at the last moment.
#[test]
fn what_was_stored_means_the_same_after_a_restart() {
    for set in SETTINGS {
        for wait in [Duration::ZERO, Duration::from_secs(2)] {
            let (receivers, store) = (ScriptedTransport::new(), store());
            receivers.on(HOOK, [asks(503, "15"), Reply::status(502)]);
            SimClock::run(async |clock| {
                let engine = start(&clock, &store, &receivers).await;
                engine.publish(event("e")).await.unwrap();
                clock.sleep(Duration::from_secs(1)).await;
                set.apply(&clock);
                clock.sleep(wait).await;
                engine.shutdown(Duration::ZERO).await;
                let engine = start(&clock, &store, &receivers).await;
                clock.sleep(Duration::from_secs(1_000)).await;
                assert_eq!(
                    sent_at(&clock, &receivers),
                    [0.0, 15.0, 45.0, 105.0],
                    "{set:?}"
                );
                engine.shutdown(Duration::ZERO).await;
            });
        }
    }
}

/// No engine notices a clock that is set back while none runs. The next engine continues from the
/// time of the last write, and does not wait for the clock to catch up.
#[test]
fn a_clock_that_is_set_back_between_two_engines_makes_nobody_wait() {
    let (receivers, store) = (ScriptedTransport::new(), store());
    receivers.on(HOOK, [Reply::status(502)]);
    SimClock::run(async |clock| {
        let engine = start(&clock, &store, &receivers).await;
        engine.publish(event("e")).await.unwrap();
        clock.sleep(Duration::from_secs(5)).await;
        engine.shutdown(Duration::ZERO).await;
        clock.set_back(HOUR);
        let engine = start(&clock, &store, &receivers).await;
        clock.sleep(Duration::from_secs(16)).await;
        assert_eq!(sent_at(&clock, &receivers), [0.0, 20.0]);
        let sent = receivers.requests().pop().unwrap();
        let now = clock.now();
        assert_eq!(sent.request.sent_at, now.before(Duration::from_secs(1)));
        engine.shutdown(Duration::ZERO).await;
    });
}

/// Times were truncated to milliseconds without compensation: of ten retries, one or two came up to
/// 0.7 ms early.
#[test]
fn nothing_comes_a_fraction_of_a_millisecond_early() {
    let second = Duration::from_secs(1);
    let retry = RetryPolicy::custom([second; 3]).without_jitter();
    let soon = RetryPolicy::custom([Duration::ZERO; 3]).without_jitter();
    let hook = || Endpoint::new(HOOK).unwrap();
    let breaker = CircuitBreaker::after(1).waits(second, second);
    let kinds = [
        ("retry", hook().retry(retry), Reply::status(502)),
        ("asked", hook(), asks(502, "1")),
        ("held", hook(), asks(503, "1")),
        (
            "circuit",
            hook().retry(soon.clone()).circuit_breaker(breaker),
            Reply::status(502),
        ),
        (
            "rate",
            hook().retry(soon).rate_limit(RateLimit::per_second(1)),
            Reply::status(502),
        ),
    ];
    let mut early = Vec::new();
    for (kind, endpoint, reply) in kinds {
        let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
        simulate_with(
            |builder| builder.rule(rule).endpoint(endpoint),
            async |sim| {
                sim.receivers.on(HOOK, [reply]);
                let mut rng = fastrand::Rng::with_seed(1);
                for number in 0..20 {
                    tokio::time::advance(Duration::from_micros(rng.u64(..1_000))).await;
                    sim.publish(&number.to_string()).await;
                    // Timers fire in whole milliseconds unless time advances like this.
                    for _ in 0..4 {
                        tokio::time::advance(Duration::from_millis(999)).await;
                        for _ in 0..20 {
                            tokio::time::advance(Duration::from_micros(rng.u64(..250))).await;
                        }
                    }
                    sim.sleep(30).await;
                }
                let requests = sim.receivers.requests();
                assert_eq!(requests.len(), 80, "{kind}");
                for attempts in requests.chunks(4) {
                    for (number, attempt) in (1..).zip(&attempts[1..]) {
                        // A rate limit catches up after a late timer, so its attempts count from
                        // the first. A wait starts again at each attempt.
                        let (since, wait) = if kind == "rate" {
                            (attempts[0].at, second * number)
                        } else {
                            (attempts[number as usize - 1].at, second)
                        };
                        let apart = attempt.at - since;
                        if apart < wait {
                            early.push((kind, wait.abs_diff(apart)));
                        }
                        let late = apart.saturating_sub(wait);
                        assert!(late < Duration::from_millis(10), "{kind}: late by {late:?}");
                    }
                }
            },
        );
    }
    assert!(early.is_empty(), "{early:?}");
}

fn store() -> FaultyStore {
    let none = Faults {
        failing: 0.0,
        failing_after: 0.0,
        delay: Duration::ZERO,
    };
    FaultyStore::new(MemoryStore::new(), none, 1)
}

async fn start(clock: &SimClock, store: &FaultyStore, receivers: &ScriptedTransport) -> Engine {
    let builder = Engine::builder()
        .simulated(clock, 1)
        .store(store.clone())
        .transport(receivers.clone())
        .rule(Rule::new("rule", "*").webhook(HOOK).unwrap())
        .endpoint(plain(HOOK));
    builder.start().await.unwrap()
}

/// Returns when each request was sent, in seconds since the simulation began.
fn sent_at(clock: &SimClock, receivers: &ScriptedTransport) -> Vec<f64> {
    let now = clock.elapsed();
    let requests = receivers.requests();
    let ago = requests.iter().map(|request| request.at.elapsed());
    ago.map(|ago| now.saturating_sub(ago).as_secs_f64())
        .collect()
}
