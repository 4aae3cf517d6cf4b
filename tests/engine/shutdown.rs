//! Shutting an engine down, and starting one on the store of another.

use std::time::Duration;

use actix_webhooks::store::MemoryStore;
use actix_webhooks::testing::{Faults, FaultyStore, Reply, ScriptedTransport, SimClock};
use actix_webhooks::{Engine, EngineBuilder, PublishError, Rule};

use super::support::{HOOK, event, plain, simulate};

#[test]
fn shutdown_refuses_new_events_and_lets_what_is_in_flight_end() {
    simulate(async |sim| {
        sim.receivers
            .on(HOOK, [Reply::status(200).after(Duration::from_secs(3))]);
        sim.publish("in flight").await;
        sim.publish("queued").await;
        sim.sleep(1).await;
        let report = sim.engine.shutdown(Duration::from_secs(10)).await;
        assert_eq!(
            (report.delivered, report.pending, report.aborted),
            (1, 1, 0)
        );
        assert_eq!(
            sim.clock.elapsed(),
            Duration::from_secs(3),
            "it waits no longer than it must"
        );
        assert!(matches!(
            sim.engine.publish(event("late")).await,
            Err(PublishError::ShuttingDown)
        ));
        assert_eq!(sim.receivers.requests().len(), 1);
    });
}

#[test]
fn shutdown_breaks_off_what_does_not_end_by_the_deadline() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::hang()]);
        sim.publish("hangs").await;
        sim.sleep(1).await;
        let report = sim.engine.shutdown(Duration::from_secs(2)).await;
        assert_eq!(
            (report.delivered, report.pending, report.aborted),
            (0, 1, 1)
        );
        assert_eq!(sim.receivers.in_flight(), 0);
        let again = sim.engine.shutdown(Duration::from_secs(2)).await;
        assert_eq!((again.delivered, again.aborted), (0, 0));
    });
}

#[test]
fn two_that_shut_an_engine_down_at_once_break_nothing_off_before_the_deadline() {
    simulate(async |sim| {
        sim.receivers
            .on(HOOK, [Reply::status(200).after(Duration::from_secs(3))]);
        sim.publish("in flight").await;
        sim.sleep(1).await;
        let shutdowns = [10, 20].map(|seconds| {
            let engine = sim.engine.clone();
            actix_rt::spawn(async move { engine.shutdown(Duration::from_secs(seconds)).await })
        });
        let mut reports = Vec::new();
        for shutdown in shutdowns {
            reports.push(shutdown.await.unwrap());
        }
        assert_eq!(sim.clock.elapsed(), Duration::from_secs(3));
        let delivered: u64 = reports.iter().map(|report| report.delivered).sum();
        let aborted: u64 = reports.iter().map(|report| report.aborted).sum();
        assert_eq!((delivered, aborted), (1, 0));
    });
}

#[test]
fn an_engine_goes_on_with_what_the_one_before_left_in_the_store() {
    SimClock::run(async |clock| {
        let faults = Faults {
            failing: 0.0,
            failing_after: 0.0,
            delay: Duration::ZERO,
        };
        let store = FaultyStore::new(MemoryStore::new(), faults, 1);
        let receivers = ScriptedTransport::new();
        let other = "http://paused.test/";
        let build = || -> EngineBuilder {
            Engine::builder()
                .simulated(&clock, 1)
                .store(store.clone())
                .transport(receivers.clone())
        };
        let rule = Rule::new("r", "*")
            .webhook(HOOK)
            .unwrap()
            .webhook(other)
            .unwrap();
        receivers.on(HOOK, [Reply::status(502), Reply::status(200)]);
        let first = build()
            .rule(rule)
            .endpoint(plain(HOOK))
            .start()
            .await
            .unwrap();
        first.endpoint(other).pause().await.unwrap();
        for number in 0..300 {
            first.publish(event(&number.to_string())).await.unwrap();
        }
        let report = first.shutdown(Duration::from_secs(1)).await;
        assert!(report.pending >= 301, "{report:?}");

        clock.sleep(Duration::from_secs(5)).await;
        let second = build().start().await.unwrap();
        clock.sleep(Duration::from_mins(1)).await;
        let status = second.endpoint(HOOK).status().await.unwrap().unwrap();
        assert_eq!((status.queued, status.dead_lettered), (0, 0));
        let to_hook = receivers
            .requests()
            .iter()
            .filter(|sent| sent.request.url == HOOK)
            .count();
        assert_eq!(to_hook, 301, "each once, and the failed one twice");
        let paused = second.endpoint(other).status().await.unwrap().unwrap();
        assert_eq!(paused.queued, 300, "it is paused still");
        let receipt = second.publish(event("7")).await.unwrap();
        assert_eq!(receipt.deliveries, 2, "the rule was kept");
        assert_eq!(
            receivers
                .requests()
                .iter()
                .filter(|sent| sent.request.url == HOOK)
                .count(),
            301,
            "the event was known"
        );
    });
}
