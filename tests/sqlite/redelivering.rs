//! Redeliveries of everything that a filter finds, across restarts.

use std::time::Duration;

use actix_webhooks::StartRedelivery;
use actix_webhooks::store::{
    BacklogLimits, DeadLetterQuery, DeliveryQuery, DeliveryStage, RedeliveryState, SqliteOptions,
};
use actix_webhooks::testing::{Reply, SimClock};

use super::support::{HOOK, Life, crash, event};

#[test]
fn a_redelivery_goes_on_after_a_crash_and_repeats_nothing() {
    let life = Life::new();
    life.receivers.on(HOOK, [Reply::status(400)]);
    SimClock::run(async |clock| {
        let options = SqliteOptions {
            backlog: BacklogLimits {
                endpoint_deliveries: 600,
                ..BacklogLimits::default()
            },
            ..SqliteOptions::default()
        };
        let engine = life.start_on(options, &clock).await;
        for half in [0..500, 500..1_000] {
            for number in half {
                engine.publish(event(&number.to_string())).await.unwrap();
            }
            clock.sleep(Duration::from_mins(5)).await;
        }
        // Paused, so that what the redelivery starts stays open, and it waits for room.
        engine.endpoint(HOOK).pause().await.unwrap();
        let all = StartRedelivery::dead_letters(DeadLetterQuery::default());
        let job = engine.start_redelivery(all).await.unwrap();
        assert_eq!((job.total, job.state), (1_000, RedeliveryState::Running));
        clock.sleep(Duration::from_secs(5)).await;
        let job = engine.redeliveries().await.unwrap().pop().unwrap();
        assert_eq!(
            (job.done, job.state),
            (600, RedeliveryState::WaitingForRoom)
        );
        crash(engine).await;

        let engine = life.start(&clock).await;
        clock.sleep(Duration::from_secs(5)).await;
        let job = engine.redeliveries().await.unwrap().pop().unwrap();
        assert_eq!((job.done, job.skipped, job.left()), (1_000, 0, 0));
        assert_eq!(job.state, RedeliveryState::Finished);
        life.receivers.on(HOOK, [Reply::status(200)]);
        let before = life.receivers.requests().len();
        engine.endpoint(HOOK).resume().await.unwrap();
        clock.sleep(Duration::from_mins(5)).await;
        assert_eq!(life.receivers.requests().len(), before + 1_000);
        let query = DeliveryQuery {
            stage: Some(DeliveryStage::Delivered),
            limit: 1_000,
            ..DeliveryQuery::default()
        };
        let delivered = engine.deliveries(query).await.unwrap();
        let events: Vec<_> = delivered
            .iter()
            .rev()
            .map(|delivery| delivery.event_id.to_string())
            .collect();
        let expected: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
        assert_eq!(events, expected, "each once, in the order of acceptance");
        crash(engine).await;
    });
}
