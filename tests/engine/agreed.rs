//! What an endpoint has agreed on with its receiver survives a retired subscriber, a panic and the
//! end of the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_webhooks::store::MemoryStore;
use actix_webhooks::testing::{Faults, FaultyStore, Reply, ScriptedTransport, SimClock};
use actix_webhooks::transport::{Answer, Channel, Request, Sent, Transport};
use actix_webhooks::{
    CircuitBreaker, Endpoint, EndpointState, EndpointStatus, Engine, GetStatus, PutEndpoint,
    RateLimit, Redeliver, ResumeEndpoint, Rule,
};
use futures_util::future::LocalBoxFuture;

use super::support::{HOOK, event, plain};

/// An event in the life of a subscriber between two deliveries.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Break {
    Nothing,
    Rest,
    Panic,
    Restart,
}

const BREAKS: [Break; 4] = [Break::Nothing, Break::Rest, Break::Panic, Break::Restart];

/// A transport whose channel panics once when the subscriber asks whether the connection is worth
/// keeping.
#[derive(Clone, Default)]
struct Fragile {
    receivers: ScriptedTransport,
    panics: Arc<AtomicBool>,
}

struct FragileChannel(Box<dyn Channel>, Arc<AtomicBool>);

impl Transport for Fragile {
    fn open(&self, endpoint: &Endpoint, client_id_header: &str) -> Box<dyn Channel> {
        let channel = self.receivers.open(endpoint, client_id_header);
        Box::new(FragileChannel(channel, Arc::clone(&self.panics)))
    }
}

impl Channel for FragileChannel {
    fn send(&self, request: Request) -> LocalBoxFuture<'static, Sent> {
        self.0.send(request)
    }

    fn is_worth_keeping(&self) -> bool {
        assert!(!self.1.swap(false, Ordering::Relaxed), "scripted panic");
        true
    }
}

/// Engines that use the same store one after the other.
struct World {
    clock: SimClock,
    transport: Fragile,
    store: FaultyStore,
    endpoint: Endpoint,
    engine: Engine,
    begun: Duration,
}

const FAULTLESS: Faults = Faults {
    failing: 0.0,
    failing_after: 0.0,
    delay: Duration::ZERO,
};

fn run(endpoint: Endpoint, test: impl AsyncFnOnce(World)) {
    SimClock::run(async |clock| {
        let transport = Fragile::default();
        let store = FaultyStore::new(MemoryStore::new(), FAULTLESS, 1);
        let engine = start(&clock, &transport, &store, &endpoint).await;
        let begun = clock.elapsed();
        test(World {
            clock,
            transport,
            store,
            endpoint,
            engine,
            begun,
        })
        .await;
    });
}

async fn start(
    clock: &SimClock,
    transport: &Fragile,
    store: &FaultyStore,
    endpoint: &Endpoint,
) -> Engine {
    let builder = Engine::builder()
        .simulated(clock, 1)
        .store(store.clone())
        .transport(transport.clone())
        .rule(Rule::new("rule", "*").webhook(HOOK).unwrap())
        .endpoint(endpoint.clone());
    builder.start().await.unwrap()
}

impl World {
    fn receives(&self, replies: impl IntoIterator<Item = Reply>) {
        self.transport.receivers.on(HOOK, replies);
    }

    async fn publish(&self, id: &str) {
        self.engine.publish(event(id)).await.unwrap();
    }

    /// Waits until `seconds` seconds after the beginning.
    async fn until(&self, seconds: u64) {
        let passed = self.clock.elapsed().saturating_sub(self.begun);
        let left = Duration::from_secs(seconds).saturating_sub(passed);
        self.clock.sleep(left).await;
    }

    async fn status(&self) -> EndpointStatus {
        let status = self.engine.supervisor().send(GetStatus::new(HOOK)).await;
        status.unwrap().unwrap()
    }

    async fn resume(&self) {
        let resumed = self.engine.supervisor().send(ResumeEndpoint::new(HOOK));
        resumed.await.unwrap().unwrap();
    }

    /// Makes a break happen, within 20 s.
    async fn suffer(&mut self, what: Break) {
        match what {
            Break::Nothing => {}
            Break::Rest => self.clock.sleep(Duration::from_millis(18_500)).await,
            Break::Panic => {
                let before = self.status().await.restarts;
                self.transport.panics.store(true, Ordering::Relaxed);
                self.status().await;
                self.clock.sleep(Duration::from_secs(1)).await;
                assert_eq!(self.status().await.restarts, before + 1, "it has panicked");
            }
            Break::Restart => {
                self.engine.shutdown(Duration::ZERO).await;
                self.engine =
                    start(&self.clock, &self.transport, &self.store, &self.endpoint).await;
            }
        }
    }

    /// Returns when each request was sent, in seconds since the beginning.
    fn sent_at(&self) -> Vec<f64> {
        let now = self.clock.elapsed().saturating_sub(self.begun);
        let requests = self.transport.receivers.requests();
        let sent_at = requests
            .iter()
            .map(|sent| now.saturating_sub(sent.at.elapsed()));
        sent_at.map(|at| at.as_secs_f64()).collect()
    }
}

fn asks(status: u16, seconds: &str) -> Reply {
    Reply::answer(Answer::new(status).retry_after(seconds))
}

/// With a limit of one per minute, the second event was sent after 20 s: the subscriber had retired
/// in between, and the limit was forgotten with it.
#[test]
fn a_rate_limit_is_kept() {
    for what in BREAKS {
        let limit = RateLimit::new(1, Duration::from_mins(1));
        run(plain(HOOK).rate_limit(limit), async |mut world| {
            world.publish("first").await;
            world.until(1).await;
            world.suffer(what).await;
            world.until(20).await;
            world.publish("second").await;
            world.until(130).await;
            assert_eq!(world.sent_at(), [0.0, 60.0], "{what:?}");
        });
    }
}

#[test]
fn a_rate_limit_that_is_changed_counts_from_the_last_attempt() {
    for (seconds, expected) in [(5, [0.0, 20.0]), (60, [0.0, 60.0]), (120, [0.0, 120.0])] {
        let limit = |seconds| RateLimit::new(1, Duration::from_secs(seconds));
        run(plain(HOOK).rate_limit(limit(60)), async |world| {
            world.publish("first").await;
            world.until(20).await;
            let put = PutEndpoint::new(plain(HOOK).rate_limit(limit(seconds)));
            world.engine.supervisor().send(put).await.unwrap().unwrap();
            world.publish("second").await;
            world.until(130).await;
            assert_eq!(world.sent_at(), expected, "{seconds}");
        });
    }
}

/// An attempt that was in flight when the process ended is not on record, but it was sent.
#[test]
fn an_attempt_that_a_crash_has_broken_off_counts_against_the_rate() {
    let limit = RateLimit::new(1, Duration::from_mins(1));
    run(plain(HOOK).rate_limit(limit), async |mut world| {
        world.receives([Reply::hang(), Reply::status(200)]);
        world.publish("first").await;
        world.until(5).await;
        world.suffer(Break::Restart).await;
        world.until(130).await;
        let sent_at = world.sent_at();
        assert_eq!(sent_at.len(), 2);
        assert!((60.0..=60.5).contains(&sent_at[1]), "{sent_at:?}");
    });
}

/// No second has more than ten attempts, although the engine is restarted over and over.
#[test]
fn frequent_attempts_are_counted_across_crashes_too() {
    let endpoint = plain(HOOK).rate_limit(RateLimit::per_second(10));
    run(endpoint, async |mut world| {
        for number in 0..300 {
            world.publish(&number.to_string()).await;
        }
        for _ in 0..10 {
            world.clock.sleep(Duration::from_millis(730)).await;
            world.suffer(Break::Restart).await;
        }
        world.until(60).await;
        let sent_at = world.sent_at();
        assert!(sent_at.len() >= 300);
        // A limit catches up to 20 ms that a late timer missed.
        let crowded = sent_at
            .windows(11)
            .find(|eleven| eleven[10] - eleven[0] < 0.98);
        assert_eq!(crowded, None);
    });
}

/// The store cannot write for a while. No attempt starts that the store does not know of.
#[test]
fn nothing_starts_that_a_store_could_not_be_told_of() {
    let endpoint = plain(HOOK).rate_limit(RateLimit::new(1, Duration::from_mins(1)));
    run(endpoint, async |world| {
        world.publish("first").await;
        world.until(30).await;
        world.publish("second").await;
        let broken = Faults {
            failing: 1.0,
            ..FAULTLESS
        };
        world.store.set(broken);
        world.until(70).await;
        world.store.set(FAULTLESS);
        world.until(80).await;
        let sent_at = world.sent_at();
        assert_eq!(sent_at.len(), 2);
        assert!((70.0..72.0).contains(&sent_at[1]), "{sent_at:?}");
    });
}

#[test]
fn a_hold_is_kept() {
    for what in BREAKS {
        run(plain(HOOK), async |mut world| {
            world.receives([asks(503, "100"), Reply::status(200)]);
            world.publish("first").await;
            world.until(1).await;
            let held = world.status().await.held.expect("it is held");
            world.suffer(what).await;
            world.until(20).await;
            assert_eq!(world.status().await.held, Some(held), "{what:?}");
            world.publish("second").await;
            world.until(200).await;
            assert_eq!(world.sent_at(), [0.0, 100.0, 100.0], "{what:?}");
        });
    }
}

#[test]
fn an_open_circuit_and_its_backoff_are_kept() {
    for what in BREAKS {
        let breaker =
            CircuitBreaker::after(2).waits(Duration::from_secs(30), Duration::from_mins(10));
        run(plain(HOOK).circuit_breaker(breaker), async |mut world| {
            world.receives([Reply::status(502)]);
            world.publish("first").await;
            world.until(16).await;
            // Failures at 0 and 15 s open the circuit until 45 s; the failed probe doubles the
            // wait.
            world.until(46).await;
            assert_eq!(world.sent_at(), [0.0, 15.0, 45.0]);
            world.suffer(what).await;
            world.until(70).await;
            world.publish("second").await;
            world.until(104).await;
            assert_eq!(world.sent_at().len(), 3, "{what:?}: open until 105");
            let state = world.status().await.state;
            assert!(
                matches!(state, EndpointState::CircuitOpen { .. }),
                "{what:?}: {state:?}"
            );
            world.until(106).await;
            assert_eq!(world.sent_at().len(), 4, "{what:?}");
            world.until(200).await;
            assert_eq!(world.sent_at().len(), 4, "{what:?}: and now for 120 s");
        });
    }
}

#[test]
fn failures_in_a_row_are_counted_on() {
    for what in BREAKS {
        let breaker =
            CircuitBreaker::after(3).waits(Duration::from_mins(5), Duration::from_mins(5));
        run(plain(HOOK).circuit_breaker(breaker), async |mut world| {
            world.receives([Reply::status(502)]);
            world.publish("first").await;
            world.until(16).await;
            world.suffer(what).await;
            world.until(46).await;
            let state = world.status().await.state;
            assert!(
                matches!(state, EndpointState::CircuitOpen { .. }),
                "{what:?}: {state:?} after the third"
            );
        });
    }
}

/// The receiver accepts five calls in two seconds, and answers 429 to the rest.
#[test]
fn the_pace_that_was_found_out_is_kept() {
    for what in BREAKS {
        run(plain(HOOK), async |mut world| {
            let mut replies = vec![Reply::status(200); 5];
            replies.extend([asks(429, "2"), Reply::status(200)]);
            world.receives(replies);
            for number in 0..6 {
                world.publish(&number.to_string()).await;
            }
            world.until(3).await;
            world.suffer(what).await;
            world.until(40).await;
            let before = world.sent_at().len();
            for number in 10..20 {
                world.publish(&number.to_string()).await;
            }
            world.until(60).await;
            let sent_at = world.sent_at()[before..].to_vec();
            assert_eq!(sent_at.len(), 10, "{what:?}");
            assert!(
                sent_at.windows(2).all(|pair| pair[1] - pair[0] > 0.3),
                "{what:?}: {sent_at:?}"
            );
        });
    }
}

/// The receiver asked for `Retry-After: 86400` but was back after a minute, and nothing lifted the
/// hold.
#[test]
fn a_resume_lifts_a_hold_for_good() {
    for what in [Break::Nothing, Break::Panic, Break::Restart] {
        run(plain(HOOK), async |mut world| {
            world.receives([asks(503, "86400"), Reply::status(200)]);
            world.publish("refused").await;
            world.until(1).await;
            let status = world.status().await;
            let held = status.held.expect("it says so");
            let asked = Duration::from_hours(24);
            assert_eq!(
                status.state,
                EndpointState::RateLimited { until: held.until }
            );
            assert_eq!((held.status, held.asked), (Some(503), Some(asked)));
            assert_eq!(held.at.map(|at| at + asked), Some(held.until));
            world.suffer(what).await;
            world.publish("held").await;
            let put = PutEndpoint::new(world.endpoint.clone());
            world.engine.supervisor().send(put).await.unwrap().unwrap();
            let deliveries = actix_webhooks::ListDeliveries::default();
            let deliveries = world.engine.supervisor().send(deliveries).await;
            let id = deliveries.unwrap().unwrap()[0].id;
            let again = world.engine.supervisor().send(Redeliver::one(id)).await;
            assert_eq!(again.unwrap().unwrap().len(), 1);
            world.until(10).await;
            assert_eq!(world.status().await.held, Some(held), "{what:?}");
            assert_eq!(
                world.sent_at(),
                [0.0],
                "{what:?}: neither put nor redeliver"
            );
            world.resume().await;
            world.clock.sleep(Duration::from_millis(1)).await;
            let status = world.status().await;
            assert_eq!((status.held, status.delivered), (None, 3), "{what:?}");
            world.suffer(Break::Restart).await;
            world.publish("later").await;
            world.clock.sleep(Duration::from_secs(1)).await;
            assert_eq!(world.sent_at().len(), 5, "{what:?}: it stays lifted");
        });
    }
}

/// The refused delivery waits in the store. The engine ends right after the resume, before anything
/// is sent.
#[test]
fn a_hold_that_was_lifted_while_the_endpoint_was_paused_is_lifted_after_a_restart() {
    run(plain(HOOK), async |mut world| {
        world.receives([asks(429, "86400"), Reply::status(200)]);
        world.publish("refused").await;
        world.until(1).await;
        world.resume().await;
        world.engine.shutdown(Duration::ZERO).await;
        let before = world.sent_at().len();
        world.engine = start(
            &world.clock,
            &world.transport,
            &world.store,
            &world.endpoint,
        )
        .await;
        world.until(5).await;
        let status = world.status().await;
        assert_eq!((status.queued, status.held), (0, None));
        assert!(before <= 2 && world.sent_at().len() >= 2);
    });
}

/// The last attempt was refused and nothing is open, but the endpoint is still held.
#[test]
fn a_status_says_that_an_endpoint_is_held_for_which_nothing_runs() {
    let endpoint = plain(HOOK).retry(actix_webhooks::RetryPolicy::none());
    run(endpoint, async |mut world| {
        world.receives([asks(429, "3600"), Reply::status(200)]);
        world.publish("refused").await;
        world.until(1).await;
        let held = world.status().await.held.expect("it is held");
        world.suffer(Break::Restart).await;
        let status = world.status().await;
        assert_eq!(status.held, Some(held));
        assert_eq!(
            status.state,
            EndpointState::RateLimited { until: held.until }
        );
        world.resume().await;
        let status = world.status().await;
        assert_eq!((status.held, status.state), (None, EndpointState::Idle));
        world.publish("next").await;
        world.clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.status().await.delivered, 1);
    });
}
