//! What operators did outlives the process: who paused an endpoint, and which retry is due.

use std::time::Duration;

use actix_webhooks::store::DeliveryQuery;
use actix_webhooks::testing::{Reply, SimClock};
use actix_webhooks::{ActionKind, AttemptNowAnswer, EndpointState, ListActions};
use rusqlite::Connection;

use super::support::{HOOK, Life, crash, event, status};

#[test]
fn a_pause_and_a_disabling_keep_their_time_operator_and_note() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        let hook = engine.endpoint(HOOK).by("alice").note("flooding us");
        hook.pause().await.unwrap();
        let paused = status(&engine).await.stopped.unwrap();
        assert_eq!(paused.note.as_ref().unwrap(), "flooding us");
        crash(engine).await;
        clock.sleep(Duration::from_hours(1)).await;

        let engine = life.start(&clock).await;
        assert_eq!(status(&engine).await.stopped.as_ref(), Some(&paused));
        engine.endpoint(HOOK).by("bob").disable().await.unwrap();
        let disabled = status(&engine).await.stopped.unwrap();
        assert_eq!(disabled.by.as_ref().unwrap(), "bob");
        crash(engine).await;

        let engine = life.start(&clock).await;
        let shown = status(&engine).await;
        assert!(matches!(shown.state, EndpointState::Disabled { .. }));
        assert_eq!(shown.stopped, Some(disabled));
        engine.endpoint(HOOK).resume().await.unwrap();
        crash(engine).await;

        let engine = life.start(&clock).await;
        let shown = status(&engine).await;
        assert_eq!((shown.state, shown.stopped), (EndpointState::Idle, None));
        crash(engine).await;
    });
}

#[test]
fn a_name_that_cannot_be_read_does_not_end_the_pause() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        engine.endpoint(HOOK).by("alice").pause().await.unwrap();
        crash(engine).await;
        let file = Connection::open(life.file()).unwrap();
        let damage = "UPDATE webhook_paused SET paused_at = 'then', paused_by = x'ff', note = ''";
        file.execute_batch(damage).unwrap();
        drop(file);
        let engine = life.start(&clock).await;
        let shown = status(&engine).await;
        assert_eq!(shown.state, EndpointState::Paused);
        let stopped = shown.stopped.unwrap();
        assert_eq!((stopped.at, stopped.by, stopped.note), (None, None, None));
        crash(engine).await;
    });
}

#[test]
fn a_retry_made_due_is_due_after_a_restart_and_keeps_its_number() {
    let life = Life::new();
    life.receivers.on(HOOK, [502, 200].map(Reply::status));
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        engine.publish(event("e")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        let id = engine.deliveries(DeliveryQuery::default()).await.unwrap()[0].id;
        let answer = engine.attempt_now(id).await.unwrap();
        assert_eq!(answer, AttemptNowAnswer::Started);
        crash(engine).await;

        let engine = life.start(&clock).await;
        clock.sleep(Duration::from_secs(1)).await;
        let numbers: Vec<u32> = life
            .receivers
            .requests()
            .iter()
            .map(|sent| sent.request.attempt)
            .collect();
        // The attempt may have begun before the engine ended; then it is made again.
        assert_eq!((numbers[0], numbers[1]), (1, 2), "{numbers:?}");
        assert_eq!(status(&engine).await.queued, 0);
        crash(engine).await;
    });
}

#[test]
fn an_action_on_one_delivery_is_listed_at_its_endpoint() {
    let life = Life::new();
    life.receivers.on(HOOK, [502, 400].map(Reply::status));
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        engine.publish(event("e")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        let id = engine.deliveries(DeliveryQuery::default()).await.unwrap()[0].id;
        engine.attempt_now(id).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        engine.redeliver(id).await.unwrap();
        let listed = engine.actions(ListActions::about(HOOK)).await.unwrap();
        let kinds: Vec<_> = listed.iter().map(|it| it.action).collect();
        assert_eq!(kinds, [ActionKind::Redeliver, ActionKind::AttemptNow]);
        crash(engine).await;
    });
}

#[test]
fn a_delivery_is_attempted_now_by_the_engine_that_takes_it_over() {
    let life = Life::new();
    life.receivers.on(HOOK, [502, 200].map(Reply::status));
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        engine.publish(event("e")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        crash(engine).await;

        // At once: nothing of the endpoint has been read yet.
        let engine = life.start(&clock).await;
        let id = engine.deliveries(DeliveryQuery::default()).await.unwrap()[0].id;
        let answer = engine.attempt_now(id).await.unwrap();
        assert_eq!(answer, AttemptNowAnswer::Started);
        clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(status(&engine).await.delivered, 1);
        crash(engine).await;
    });
}
