//! The file stores what an endpoint has agreed on with its receiver.

use std::time::Duration;

use actix_webhooks::store::SqliteStore;
use actix_webhooks::testing::{Blocking, Reply, SimClock};
use actix_webhooks::transport::Answer;
use actix_webhooks::{
    CircuitBreaker, Endpoint, EndpointState, Engine, PauseEndpoint, RateLimit, ResumeEndpoint, Rule,
};

use super::support::{HOOK, Life, crash, event, status};

fn endpoint() -> Endpoint {
    Endpoint::new(HOOK).unwrap()
}

async fn start(life: &Life, clock: &SimClock, endpoint: &Endpoint) -> Engine {
    let builder = Engine::builder()
        .simulated(clock, 1)
        .store(Blocking(SqliteStore::open(life.file()).unwrap()))
        .transport(life.receivers.clone())
        .rule(Rule::new("rule", "*").webhook(HOOK).unwrap())
        .endpoint(endpoint.clone());
    builder.start().await.unwrap()
}

#[test]
fn a_rate_limit_is_kept_across_engines() {
    let life = Life::new();
    let limited = endpoint().rate_limit(RateLimit::new(1, Duration::from_mins(1)));
    SimClock::run(async |clock| {
        let limit = || start(&life, &clock, &limited);
        let engine = limit().await;
        engine.publish(event("first")).await.unwrap();
        clock.sleep(Duration::from_secs(20)).await;
        crash(engine).await;
        let engine = limit().await;
        engine.publish(event("second")).await.unwrap();
        clock.sleep(Duration::from_secs(39)).await;
        assert_eq!(life.receivers.requests().len(), 1);
        clock.sleep(Duration::from_millis(1_100)).await;
        assert_eq!(life.receivers.requests().len(), 2);
        crash(engine).await;
    });
}

#[test]
fn an_open_circuit_is_kept_across_engines() {
    let life = Life::new();
    let breaker = CircuitBreaker::after(1).waits(Duration::from_mins(10), Duration::from_mins(10));
    let broken = endpoint().circuit_breaker(breaker);
    life.receivers
        .on(HOOK, [Reply::status(502), Reply::status(200)]);
    SimClock::run(async |clock| {
        let start = || start(&life, &clock, &broken);
        let engine = start().await;
        engine.publish(event("first")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        let state = status(&engine).await.state;
        assert!(
            matches!(state, EndpointState::CircuitOpen { .. }),
            "{state:?}"
        );
        crash(engine).await;
        let engine = start().await;
        clock.sleep(Duration::from_mins(5)).await;
        assert_eq!(status(&engine).await.state, state);
        assert_eq!(life.receivers.requests().len(), 1);
        clock.sleep(Duration::from_mins(5)).await;
        assert_eq!(status(&engine).await.delivered, 1);
        crash(engine).await;
    });
}

#[test]
fn a_hold_that_was_lifted_stays_lifted() {
    let life = Life::new();
    let day = Answer::new(503).retry_after("86400");
    life.receivers
        .on(HOOK, [Reply::answer(day), Reply::status(200)]);
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        engine.publish(event("refused")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        let held = status(&engine).await.held.unwrap();
        crash(engine).await;
        // An engine that is resumed and paused at the same moment sends nothing.
        let engine = life.start(&clock).await;
        assert_eq!(status(&engine).await.held, Some(held));
        engine.endpoint(HOOK).pause().await.unwrap();
        let resume = engine.supervisor().send(ResumeEndpoint::new(HOOK));
        let pause = engine.supervisor().send(PauseEndpoint::new(HOOK));
        let (resumed, paused) = futures_util::join!(resume, pause);
        resumed.unwrap().unwrap();
        paused.unwrap().unwrap();
        crash(engine).await;
        let sent = life.receivers.requests().len();
        let engine = life.start(&clock).await;
        assert_eq!(status(&engine).await.held, None);
        engine.endpoint(HOOK).resume().await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        assert!(sent <= 2);
        assert_eq!(
            status(&engine).await.queued,
            0,
            "it does not wait for tomorrow"
        );
        assert_eq!(life.receivers.requests().len(), 2);
        crash(engine).await;
    });
}

/// An agreement that cannot be read must not keep its endpoint from being served.
#[test]
fn what_cannot_be_read_is_as_if_nothing_had_been_agreed_on() {
    let life = Life::new();
    let limited = endpoint().rate_limit(RateLimit::new(1, Duration::from_hours(1)));
    SimClock::run(async |clock| {
        let start = || start(&life, &clock, &limited);
        let engine = start().await;
        engine.publish(event("first")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        crash(engine).await;
        let file = rusqlite::Connection::open(life.file()).unwrap();
        let kept: String = file
            .query_row("SELECT agreed FROM webhook_endpoint", [], |row| row.get(0))
            .unwrap();
        assert!(kept.contains("lastTurn"), "{kept}");
        file.execute(
            "UPDATE webhook_endpoint SET agreed = '{\"lastTurn\":7}'",
            [],
        )
        .unwrap();
        drop(file);
        let engine = start().await;
        engine.publish(event("second")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(status(&engine).await.delivered, 1);
        crash(engine).await;
    });
}

/// Nothing is written for endpoints without an agreement.
#[test]
fn an_endpoint_without_an_agreement_has_none_in_the_file() {
    let life = Life::new();
    life.receivers
        .on(HOOK, [Reply::status(502), Reply::status(200)]);
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        engine.publish(event("first")).await.unwrap();
        clock.sleep(Duration::from_mins(1)).await;
        crash(engine).await;
        let file = rusqlite::Connection::open(life.file()).unwrap();
        let kept: Option<String> = file
            .query_row("SELECT agreed FROM webhook_endpoint", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, None);
    });
}
