//! A store that fails, hangs or panics during an operator's request: the request has no effect, and
//! nothing else is harmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_webhooks::store::{MemoryStore, StoreError};
use actix_webhooks::testing::{
    Faults, FaultyStore, RareFault, Reply, ScriptedTransport, SentRequest, SimClock,
};
use actix_webhooks::transport::{Channel, Transport};
use actix_webhooks::{
    Auth, BuildError, Client, DeadLetterReason, Endpoint, EndpointError, Engine, GetStatus,
    ListDeadLetters, Outcome, PauseEndpoint, PutClient, PutEndpoint, PutRule, RemoveEndpoint, Rule,
    RuleError,
};

use futures_util::FutureExt as _;

use super::support::{HOOK, Sim, event, plain, simulate_with};

const NO_FAULTS: Faults = Faults {
    failing: 0.0,
    failing_after: 0.0,
    delay: Duration::ZERO,
};

/// Runs a test with one rule that sends everything to an endpoint with these settings, over a
/// scripted store.
fn over_store(endpoint: Endpoint, test: impl AsyncFnOnce(Sim, FaultyStore)) {
    let store = FaultyStore::new(MemoryStore::new(), NO_FAULTS, 1);
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    let given = store.clone();
    simulate_with(
        |builder| builder.store(given).rule(rule).endpoint(endpoint),
        async |sim| test(sim, store).await,
    );
}

#[test]
fn a_store_that_panics_costs_no_more_than_the_call() {
    over_store(plain(HOOK), async |sim, store| {
        store.set_rare(Some(RareFault::Panics));
        let (router, supervisor) = (sim.engine.router(), sim.engine.supervisor());
        let rule = Rule::new("other", "*").webhook(HOOK).unwrap();
        let refused = [
            matches!(
                router.send(PutRule::new(rule)).await,
                Ok(Err(RuleError::Store(_)))
            ),
            matches!(
                router.send(PutClient::new(Client::new("client"))).await,
                Ok(Err(RuleError::Store(_)))
            ),
            matches!(
                supervisor.send(PauseEndpoint::new(HOOK)).await,
                Ok(Err(EndpointError::Store(_)))
            ),
            matches!(
                supervisor.send(PutEndpoint::new(plain(HOOK))).await,
                Ok(Err(EndpointError::Store(_)))
            ),
            matches!(
                supervisor.send(RemoveEndpoint::new(HOOK)).await,
                Ok(Err(EndpointError::Store(_)))
            ),
        ];
        assert_eq!(refused, [true; 5]);
        sim.publish("e").await;
        sim.sleep(1).await;
        let status = sim.status(HOOK).await;
        assert_eq!(status.delivered, 1, "it is neither paused nor removed");
    });
}

#[test]
fn an_endpoint_that_could_not_be_removed_goes_on_with_its_settings() {
    let known = plain(HOOK).auth(Auth::bearer("token"));
    over_store(known, async |sim, store| {
        sim.receivers.on(HOOK, [Reply::hang()]);
        sim.publish("open").await;
        sim.sleep(1).await;
        sim.receivers.on(HOOK, [Reply::status(200)]);
        store.set_rare(Some(RareFault::Fails));
        let supervisor = sim.engine.supervisor();
        let remove = || supervisor.send(RemoveEndpoint::new(HOOK));
        for _ in 0..2 {
            let refused = remove().await.unwrap();
            assert!(
                matches!(refused, Err(EndpointError::Store(_))),
                "{refused:?}"
            );
            assert!(
                supervisor
                    .send(GetStatus::new(HOOK))
                    .await
                    .unwrap()
                    .is_some()
            );
        }
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.queued, 0);
        assert_eq!(sim.receivers.requests().len(), 2);
        let known = |request: &SentRequest| request.request.authorization.is_some();
        assert!(sim.receivers.requests().iter().all(known));
        store.set_rare(None);
        assert_eq!(remove().await.unwrap().unwrap(), 0);
        assert!(
            supervisor
                .send(GetStatus::new(HOOK))
                .await
                .unwrap()
                .is_none()
        );
    });
}

#[test]
fn an_endpoint_whose_removal_is_never_answered_goes_on_after_a_while() {
    over_store(plain(HOOK), async |sim, store| {
        store.set_rare(Some(RareFault::Hangs));
        let removal = sim.engine.supervisor().send(RemoveEndpoint::new(HOOK));
        let removal = actix_rt::spawn(removal);
        sim.sleep(1).await;
        sim.publish("e").await;
        store.set_rare(None);
        let refused = removal.await.unwrap().unwrap();
        assert!(
            matches!(refused, Err(EndpointError::Store(_))),
            "{refused:?}"
        );
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.delivered, 1);
    });
}

/// The store is slow. An event that arrives while an endpoint is removed is either removed with it
/// or delivered, not both.
#[test]
fn nothing_goes_out_while_an_endpoint_is_removed() {
    over_store(plain(HOOK), async |sim, store| {
        sim.receivers.on(HOOK, [Reply::hang()]);
        sim.publish("old").await;
        sim.sleep(1).await;
        sim.receivers.on(HOOK, [Reply::status(200)]);
        store.set_rare(Some(RareFault::Waits(Duration::from_secs(1))));
        let supervisor = sim.engine.supervisor();
        let removal = actix_rt::spawn(supervisor.send(RemoveEndpoint::new(HOOK)));
        for number in 0..10 {
            sim.publish(&format!("new {number}")).await;
            sim.clock.sleep(Duration::from_millis(90)).await;
        }
        assert!(
            supervisor
                .send(GetStatus::new(HOOK))
                .await
                .unwrap()
                .is_none()
        );
        let again = supervisor.send(RemoveEndpoint::new(HOOK)).await.unwrap();
        assert!(matches!(again, Err(EndpointError::Unknown(_))), "{again:?}");
        // Settings stored meanwhile belong to the endpoint that comes after the removed one.
        let put = PutEndpoint::new(plain(HOOK).auth(Auth::bearer("token")));
        supervisor.send(put).await.unwrap().unwrap();
        let removed = removal.now_or_never().expect("it has ended before");
        removed.unwrap().unwrap().unwrap();
        store.set_rare(None);
        sim.publish("last").await;
        sim.sleep(60).await;
        let dead = supervisor.send(ListDeadLetters::default()).await.unwrap();
        let dead: Vec<_> = dead
            .unwrap()
            .iter()
            .map(|dead| dead.event_id.clone())
            .collect();
        let sent: Vec<_> = sim.receivers.requests()[1..]
            .iter()
            .map(|sent| sent.request.alert.event_id.clone())
            .collect();
        assert!(dead.contains(&event("old").id));
        assert!(sent.contains(&event("last").id));
        assert!(
            !sent.iter().any(|id| dead.contains(id)),
            "{sent:?} {dead:?}"
        );
        assert_eq!(dead.len() + sent.len(), 12);
        let last = sim.receivers.requests().pop().unwrap();
        assert!(last.request.authorization.is_some());
    });
}

#[test]
fn an_engine_over_a_store_that_hangs_shuts_down_all_the_same() {
    over_store(plain(HOOK), async |sim, store| {
        sim.receivers.on(HOOK, [Reply::hang()]);
        sim.publish("in flight").await;
        sim.publish("queued").await;
        sim.sleep(1).await;
        let never = Faults {
            delay: Duration::from_hours(1_000),
            ..NO_FAULTS
        };
        store.set(never);
        store.set_rare(Some(RareFault::Hangs));
        let router = sim.engine.router();
        actix_rt::spawn(async move {
            let put = router.send(PutClient::new(Client::new("client")));
            assert!(put.await.is_err(), "it was never kept");
        });
        sim.sleep(1).await;
        let before = sim.clock.elapsed();
        let report = sim.engine.shutdown(Duration::from_secs(5)).await;
        let took = sim.clock.elapsed().saturating_sub(before);
        assert!(took <= Duration::from_secs(16), "{took:?}");
        assert_eq!((report.pending, report.aborted), (2, 1));
    });
}

/// An event that arrived while an endpoint with a token was being removed became a dead letter that
/// was reported to nobody.
#[test]
fn what_arrives_while_an_endpoint_is_removed_is_reported() {
    let known = plain(HOOK).auth(Auth::bearer("token"));
    over_store(known, async |sim, store| {
        sim.receivers.on(HOOK, [Reply::hang()]);
        sim.publish("old").await;
        sim.sleep(1).await;
        store.set_rare(Some(RareFault::Waits(Duration::from_secs(1))));
        let removal = actix_rt::spawn(sim.engine.supervisor().send(RemoveEndpoint::new(HOOK)));
        for number in 0..40 {
            sim.publish(&format!("new {number}")).await;
            sim.clock.sleep(Duration::from_millis(90)).await;
        }
        removal.await.unwrap().unwrap().unwrap();
        sim.sleep(2).await;
        let mut dead: Vec<_> = sim.dead_letters().await;
        dead.reverse();
        let told: BTreeMap<_, _> = sim
            .reports()
            .into_iter()
            .map(|report| (report.delivery_id, report.outcome))
            .collect();
        let reason = DeadLetterReason::EndpointRemoved;
        let expected = dead
            .iter()
            .map(|dead| (dead.delivery_id, Outcome::DeadLettered { reason }));
        assert_eq!(told, expected.collect());
        assert_eq!(sim.reports().len(), 41, "each once");
    });
}

/// A transport that shows whether anything still holds it.
struct Held {
    receivers: ScriptedTransport,
    _held: Arc<()>,
}

impl Transport for Held {
    fn open(&self, endpoint: &Endpoint, client_id_header: &str) -> Box<dyn Channel> {
        self.receivers.open(endpoint, client_id_header)
    }
}

/// The subscriber waited for the store and was not told that the engine had ended, so it held the
/// store for ever.
#[test]
fn a_shutdown_during_a_removal_leaves_nothing_running() {
    SimClock::run(async |clock| {
        let store = FaultyStore::new(MemoryStore::new(), NO_FAULTS, 1);
        let held = Arc::new(());
        let receivers = ScriptedTransport::new();
        receivers.decide(|_| Reply::status(200).after(Duration::from_millis(10)));
        let transport = Held {
            receivers,
            _held: Arc::clone(&held),
        };
        let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
        let engine = Engine::builder()
            .simulated(&clock, 1)
            .store(store.clone())
            .transport(transport)
            .rule(rule)
            .start()
            .await
            .unwrap();
        engine.publish(event("before")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        engine.publish(event("e")).await.unwrap();
        // The event is stored, but its record never completes.
        store.set(Faults {
            delay: Duration::from_hours(1_000),
            ..NO_FAULTS
        });
        clock.sleep(Duration::from_millis(20)).await;
        let removing = engine.endpoint(HOOK);
        let removal = actix_rt::spawn(async move { removing.remove().await });
        clock.sleep(Duration::from_secs(1)).await;
        assert!(!removal.is_finished(), "it waits for the record");
        assert!(Arc::strong_count(&held) > 1);
        engine.shutdown(Duration::from_secs(1)).await;
        drop(engine);
        clock.sleep(Duration::from_millis(1)).await;
        assert_eq!(Arc::strong_count(&held), 1, "nobody has the transport");
    });
}

#[test]
fn a_start_that_fails_leaves_nothing_running() {
    SimClock::run(async |clock| {
        for arbiters in [0, 2] {
            let store = FaultyStore::new(MemoryStore::new(), NO_FAULTS, 1);
            store.set_rare(Some(RareFault::Fails));
            let held = Arc::new(());
            let transport = Held {
                receivers: ScriptedTransport::new(),
                _held: Arc::clone(&held),
            };
            let builder = Engine::builder().simulated(&clock, 1).arbiters(arbiters);
            let started = builder.store(store).transport(transport).start().await;
            let failed = matches!(started, Err(BuildError::Store(StoreError::Unavailable(_))));
            assert!(failed, "{started:?}");
            // Actors and arbiters need further turns to end.
            while Arc::strong_count(&held) > 1 {
                tokio::task::yield_now().await;
            }
        }
    });
}
