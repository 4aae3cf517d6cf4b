//! Ordered endpoints after a restart.

use std::time::Duration;

use actix_webhooks::testing::{Reply, SimClock};
use actix_webhooks::{Endpoint, Ordering, PutEndpoint, RetryPolicy};

use super::support::{HOOK, Life, crash, event};

/// Returns the events that were sent after the first request, in order.
fn sent(life: &Life) -> Vec<String> {
    let requests = life.receivers.requests().into_iter().skip(1);
    requests
        .map(|sent| sent.request.alert.event_id.as_str().to_owned())
        .collect()
}

/// A retry waits. Another engine reads the waiting and the queued deliveries, and sends none that
/// the retry holds back. The first engine gets its ordering by a message, so the second can know it
/// only from the file.
#[test]
fn what_waits_still_holds_back_what_came_after_it() {
    for (ordering, freely, in_order) in [
        (Ordering::Fifo, vec![], vec!["a1", "a2", "b1", "a3", "b2"]),
        (
            Ordering::FifoPerCompany,
            vec!["b1", "b2"],
            vec!["a1", "a2", "a3"],
        ),
    ] {
        let life = Life::new();
        life.receivers
            .on(HOOK, [Reply::status(503), Reply::status(200)]);
        SimClock::run(async |clock| {
            let engine = life.start_bare(&clock).await;
            let retry = RetryPolicy::three_in_two_minutes().without_jitter();
            let endpoint = Endpoint::new(HOOK).unwrap().retry(retry).ordering(ordering);
            let put = engine.supervisor().send(PutEndpoint::new(endpoint));
            put.await.unwrap().unwrap();
            engine.publish(event("a1").company("a")).await.unwrap();
            clock.sleep(Duration::from_secs(1)).await;
            assert_eq!(life.receivers.requests().len(), 1, "refused for now");
            crash(engine).await;

            let engine = life.start_bare(&clock).await;
            for id in ["a2", "b1", "a3", "b2"] {
                let company = id.chars().next().unwrap().to_string();
                engine.publish(event(id).company(company)).await.unwrap();
            }
            clock.sleep(Duration::from_secs(10)).await;
            assert_eq!(sent(&life), freely, "{ordering:?}");
            crash(engine).await;

            // Once more, now with all of them in the file.
            let engine = life.start_bare(&clock).await;
            clock.sleep(Duration::from_secs(10)).await;
            let sent = sent(&life);
            assert_eq!(sent[freely.len()..], in_order, "{ordering:?}");
            crash(engine).await;
        });
    }
}
