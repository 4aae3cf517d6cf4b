//! Events published for an endpoint that was removed.

use std::time::Duration;

use actix_webhooks::store::{DeadLetterQuery, MemoryStore, StoreError};
use actix_webhooks::testing::{Faults, FaultyStore, RareFault, Reply};
use actix_webhooks::{
    Auth, DeadLetterReason, Endpoint, EndpointHandle, EndpointState, EngineBuilder, GetStatus,
    OperateError, Outcome, PutEndpoint, PutRule, Redeliver, RemoveEndpoint, Rule,
};
use futures_util::future::join;

use super::support::{HOOK, Sim, plain, simulate_with};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn rule() -> Rule {
    Rule::new("rule", "*").webhook(HOOK).unwrap()
}

/// Runs a test with an engine whose rule names an endpoint that was removed.
fn simulate(endpoint: Endpoint, test: impl AsyncFnOnce(Sim)) {
    simulate_with(
        |builder| builder.rule(rule()).endpoint(endpoint),
        async |sim| {
            remove(&sim).await;
            test(sim).await;
        },
    );
}

async fn remove(sim: &Sim) {
    let remove = sim.engine.supervisor().send(RemoveEndpoint::new(HOOK));
    assert_eq!(remove.await.unwrap().unwrap(), 0);
}

/// Such an event went out unsigned, without authorisation and headers.
#[test]
fn a_removed_endpoint_is_not_called_without_what_its_requests_carried() {
    let named = |name: &str| plain(HOOK).header(name, "value");
    for endpoint in [
        plain(HOOK).secret(SECRET).unwrap(),
        plain(HOOK).auth(Auth::bearer("token")),
        plain(HOOK).auth(Auth::None),
        plain(HOOK).content_type("text/plain"),
        named("X-Team"),
    ] {
        simulate(endpoint.clone(), async |sim| {
            sim.publish("meanwhile").await;
            sim.sleep(60).await;
            assert!(sim.receivers.requests().is_empty());
            let letters = sim.dead_letters().await;
            let [letter] = &letters[..] else {
                panic!("{letters:?}");
            };
            let reason = DeadLetterReason::EndpointRemoved;
            assert_eq!(letter.reason, reason);
            // Watchers used to be told that the backlog was full.
            let told = sim.outcomes();
            assert_eq!(told, [Outcome::DeadLettered { reason }]);
            let supervisor = sim.engine.supervisor();
            let status = supervisor.send(GetStatus::new(HOOK)).await.unwrap();
            assert_eq!(status, None, "as good as unknown");
            let again = Redeliver::one(letter.delivery_id);
            let refused = supervisor.send(again.clone()).await.unwrap();
            assert!(matches!(refused, Err(StoreError::EndpointRemoved(url)) if url == HOOK));
            let all = Redeliver::dead_letters(DeadLetterQuery::default());
            let none = supervisor.send(all).await.unwrap();
            assert!(none.unwrap().fresh.is_empty());

            supervisor
                .send(PutEndpoint::new(endpoint))
                .await
                .unwrap()
                .unwrap();
            sim.publish("after").await;
            supervisor.send(again).await.unwrap().unwrap();
            sim.sleep(1).await;
            assert_eq!(sim.status(HOOK).await.delivered, 2);
            remove(&sim).await;
            sim.publish("again").await;
            sim.sleep(1).await;
            assert_eq!(sim.receivers.requests().len(), 2);
        });
    }
}

#[test]
fn a_rule_that_is_put_asks_for_the_endpoints_that_it_names() {
    simulate(plain(HOOK).secret(SECRET).unwrap(), async |sim| {
        let router = sim.engine.router();
        let other = Rule::new("other", "*").webhook("http://other.test/");
        let put = PutRule::new(other.unwrap());
        router.send(put).await.unwrap().unwrap();
        sim.publish("meanwhile").await;
        router.send(PutRule::new(rule())).await.unwrap().unwrap();
        sim.publish("after").await;
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.delivered, 1);
        assert_eq!(sim.dead_letters().await.len(), 1);
    });
}

#[test]
fn an_endpoint_without_settings_is_called_again_as_before() {
    simulate(plain(HOOK), async |sim| {
        sim.publish("after").await;
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.delivered, 1);
        assert_eq!(sim.dead_letters().await, []);
    });
}

/// Regression: a pause that was still being written when its endpoint was removed was asked again,
/// and started a second subscriber while the first one's deliveries were given up.
#[test]
fn a_removal_that_meets_a_change_leaves_nobody_behind() {
    removed_during(async |endpoint| endpoint.pause().await);
    removed_during(async |endpoint| endpoint.disable().await);
    removed_during(async |endpoint| endpoint.resume().await);
}

fn removed_during(change: impl AsyncFnOnce(&EndpointHandle) -> Result<(), OperateError>) {
    let none = Faults {
        failing: 0.0,
        failing_after: 0.0,
        delay: Duration::ZERO,
    };
    let store = FaultyStore::new(MemoryStore::new(), none, 1);
    store.set_rare(Some(RareFault::AnswersAfter(Duration::from_secs(3))));
    let configure = |builder: EngineBuilder| builder.store(store).rule(rule());
    simulate_with(configure, async |sim| {
        sim.receivers.on(HOOK, [Reply::status(503)]);
        sim.publish("given up").await;
        sim.sleep(1).await;
        let endpoint = sim.engine.endpoint(HOOK);
        let change = change(&endpoint);
        let remove = async {
            sim.sleep(1).await;
            endpoint.remove().await
        };
        let (changed, removed) = join(change, remove).await;
        assert!(changed.is_err(), "it was removed: {changed:?}");
        assert_eq!(removed.unwrap(), 1);
        assert_eq!(endpoint.status().await.unwrap(), None);
        sim.receivers.on(HOOK, [Reply::status(200)]);
        let before = sim.sent_at().len();
        sim.publish("again").await;
        sim.sleep(600).await;
        assert_eq!(sim.sent_at().len(), before + 1, "one subscriber delivers");
        let status = sim.status(HOOK).await;
        assert_eq!((status.state, status.delivered), (EndpointState::Idle, 1));
    });
}
