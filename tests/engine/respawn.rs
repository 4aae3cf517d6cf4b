//! A subscriber that panics is started again from the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_webhooks::testing::{Recorder, ScriptedTransport, SimClock};
use actix_webhooks::transport::{Channel, Transport};
use actix_webhooks::{Endpoint, EndpointState, Engine, Rule};

use super::support::{HOOK, event};

/// Panics `panics_left` times, where only the supervisor's guard catches it.
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

/// The delay before a subscriber is started again depends on its recent panics, not on all of them.
#[test]
fn a_panic_now_and_then_costs_no_more_than_the_first() {
    SimClock::run(async |clock| {
        let receivers = ScriptedTransport::new();
        let panics_left = Arc::new(AtomicU32::new(0));
        let fragile = Fragile {
            receivers: receivers.clone(),
            panics_left: Arc::clone(&panics_left),
        };
        let rule = Rule::new("r", "*").webhook(HOOK).unwrap();
        let builder = Engine::builder().simulated(&clock, 1).transport(fragile);
        let engine = builder.rule(rule).start().await.unwrap();
        for number in 1..=10 {
            engine.publish(event(&number.to_string())).await.unwrap();
            // The connections are given up meanwhile, and opening the next ones panics.
            clock.sleep(Duration::from_mins(2)).await;
            panics_left.store(2, Ordering::Relaxed);
            engine
                .publish(event(&format!("{number} again")))
                .await
                .unwrap();
            clock.sleep(Duration::from_secs(1)).await;
            assert_eq!(receivers.requests().len(), 2 * number);
        }
    });
}

#[test]
fn a_subscriber_that_panics_is_started_again_and_loses_nothing() {
    SimClock::run(async |clock| {
        let receivers = ScriptedTransport::new();
        let fragile = Fragile {
            receivers: receivers.clone(),
            panics_left: Arc::new(AtomicU32::new(3)),
        };
        let rule = Rule::new("r", "*").webhook(HOOK).unwrap();
        let engine = Engine::builder()
            .simulated(&clock, 1)
            .transport(fragile)
            .rule(rule)
            .start()
            .await
            .unwrap();
        let recorder = Recorder::new();
        recorder.watch_statuses(&engine).await.unwrap();
        for number in 0..10 {
            engine.publish(event(&number.to_string())).await.unwrap();
        }
        clock.sleep(Duration::from_millis(50)).await;
        engine.publish(event("while it is down")).await.unwrap();
        assert!(receivers.requests().is_empty());
        clock.sleep(Duration::from_secs(5)).await;
        let status = engine.endpoint(HOOK).status().await.unwrap().unwrap();
        assert_eq!(
            (status.restarts, status.delivered, status.queued),
            (3, 11, 0)
        );
        assert_eq!(receivers.requests().len(), 11, "each once");
        let told = recorder.statuses();
        assert_eq!(told.last().unwrap().restarts, 3, "watchers are told too");
        engine.publish(event("afterwards")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(receivers.requests().len(), 12);
    });
}

/// A change asks the subscriber, and the next one if that has panicked, before its time.
#[test]
fn an_endpoint_whose_subscriber_panicked_can_be_paused_at_once_and_stays_so() {
    SimClock::run(async |clock| {
        let receivers = ScriptedTransport::new();
        let panics_left = Arc::new(AtomicU32::new(4));
        let fragile = Fragile {
            receivers: receivers.clone(),
            panics_left: Arc::clone(&panics_left),
        };
        let rule = Rule::new("r", "*").webhook(HOOK).unwrap();
        let builder = Engine::builder().simulated(&clock, 1).transport(fragile);
        let engine = builder.rule(rule).start().await.unwrap();
        engine.publish(event("1")).await.unwrap();
        // It has panicked three times, and waits to be started for the fourth time.
        clock.sleep(Duration::from_millis(400)).await;
        let endpoint = engine.endpoint(HOOK);
        endpoint.pause().await.unwrap();
        let status = endpoint.status().await.unwrap().unwrap();
        // The one that was started for the change has panicked, too, and the next one was asked.
        assert_eq!((status.state, status.restarts), (EndpointState::Paused, 4));
        // The first one may have been under way before the pause was written.
        clock.sleep(Duration::from_secs(1)).await;
        let before = receivers.requests().len();
        engine.publish(event("2")).await.unwrap();
        clock.sleep(Duration::from_mins(10)).await;
        assert_eq!(receivers.requests().len(), before, "it stays paused");
        endpoint.resume().await.unwrap();
        clock.sleep(Duration::from_secs(5)).await;
        let status = endpoint.status().await.unwrap().unwrap();
        assert_eq!((status.restarts, status.delivered), (4, 2));
        assert_eq!(receivers.requests().len(), 2, "each once");
    });
}
