//! A subscriber without anything to do retires, and the next one continues where it ended.

use std::task::Poll;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext as _, Context, Handler};
use actix_webhooks::testing::Reply;
use actix_webhooks::{
    EndpointState, EndpointStatus, Engine, EngineBuilder, ListStatus, PauseEndpoint, Redeliver,
    ResumeEndpoint, Rule, WatchStatus,
};

use super::support::{HOOK, Sim, event, plain, simulate, simulate_with};

#[test]
fn what_was_counted_and_the_window_outlive_a_retired_subscriber() {
    simulate(async |sim| {
        for round in 1..=5_u64 {
            sim.publish(&round.to_string()).await;
            sim.sleep(60).await;
            let status = sim.status(HOOK).await;
            assert_eq!((status.delivered, status.attempts), (round, round));
            assert_eq!(status.window, 2_u32.pow(u32::try_from(round).unwrap()));
            assert_eq!(status.state, EndpointState::Idle);
        }
        assert_eq!(sim.receivers.requests().len(), 5, "each once");
    });
}

/// URLs contained changing tokens, and the table of endpoints grew for ever.
#[test]
fn endpoints_that_have_rested_longest_are_forgotten_where_there_are_too_many() {
    let rule = || {
        let mut rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
        for number in 0..10 {
            rule = rule.webhook(&format!("http://r-{number}.test/")).unwrap();
        }
        rule
    };
    let settings = |builder: EngineBuilder| {
        let builder = builder.max_endpoints_at_rest(3).rule(rule());
        builder.endpoint(plain(HOOK))
    };
    simulate_with(settings, async |sim| {
        let listed = async || {
            let all = sim.engine.supervisor().send(ListStatus::default()).await;
            let all = all.unwrap();
            let urls = all
                .statuses
                .iter()
                .map(|status| status.url.as_str().to_owned());
            urls.collect::<Vec<_>>()
        };
        sim.publish("first").await;
        let pause = sim
            .engine
            .supervisor()
            .send(PauseEndpoint::new("http://r-7.test/"));
        pause.await.unwrap().unwrap();
        assert_eq!(listed().await.len(), 11);
        sim.sleep(120).await;
        let resting = listed().await;
        assert_eq!(resting.len(), 5, "{resting:?}");
        assert!(resting.contains(&HOOK.to_owned()), "it has settings");
        assert!(
            resting.contains(&"http://r-7.test/".to_owned()),
            "it is paused"
        );
        sim.publish("second").await;
        sim.sleep(1).await;
        assert_eq!(listed().await.len(), 11, "as they are again");
        assert_eq!(sim.receivers.requests().len(), 21, "but the paused one");
        sim.sleep(120).await;
        assert_eq!(listed().await.len(), 5);
    });
}

/// Runs `act` after `steps` polls of the subscriber's retirement, which begins after `seconds`
/// seconds.
async fn during_retirement<T: 'static>(
    sim: &Sim,
    seconds: u64,
    steps: u32,
    act: impl AsyncFnOnce(Engine) -> T + 'static,
) -> T {
    let (engine, clock) = (sim.engine.clone(), sim.clock.clone());
    // A task among the actors, because a future outside is polled only when all actors are idle.
    let acting = actix_rt::spawn(async move {
        clock.sleep(Duration::from_secs(seconds)).await;
        let mut left = steps;
        std::future::poll_fn(move |cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            // Wakes at once, behind everything else that is ready.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        act(engine).await
    });
    acting.await.unwrap()
}

/// More polls than a retirement takes.
const STEPS: u32 = 16;

#[test]
fn an_event_that_comes_while_a_subscriber_retires_is_delivered() {
    for steps in 0..STEPS {
        simulate(async |sim| {
            // Slow enough that the second is in flight when the subscriber is asked to retire.
            let slow = Reply::status(200).after(Duration::from_millis(100));
            sim.receivers.on(HOOK, [Reply::status(200), slow]);
            sim.publish("first").await;
            let publish = async |engine: Engine| engine.publish(event("second")).await.unwrap();
            during_retirement(&sim, 15, steps, publish).await;
            sim.sleep(1).await;
            let status = sim.status(HOOK).await;
            assert_eq!(
                (status.delivered, status.queued),
                (2, 0),
                "after {steps} steps"
            );
            sim.publish("third").await;
            sim.sleep(1).await;
            assert_eq!(sim.receivers.requests().len(), 3, "after {steps} steps");
        });
    }
}

#[test]
fn a_redelivery_that_comes_while_a_subscriber_retires_is_delivered() {
    for steps in 0..STEPS {
        simulate(async |sim| {
            sim.publish("first").await;
            sim.sleep(1).await;
            let first = sim.reports()[0].delivery_id;
            let redeliver = async move |engine: Engine| {
                let fresh = engine.supervisor().send(Redeliver::one(first)).await;
                fresh.unwrap().unwrap()
            };
            let fresh = during_retirement(&sim, 14, steps, redeliver).await;
            assert_eq!(fresh.len(), 1);
            sim.sleep(1).await;
            assert_eq!(sim.receivers.requests().len(), 2, "after {steps} steps");
        });
    }
}

#[test]
fn a_pause_outlives_a_retired_subscriber() {
    simulate(async |sim| {
        sim.publish("first").await;
        sim.sleep(1).await;
        let supervisor = sim.engine.supervisor();
        supervisor
            .send(PauseEndpoint::new(HOOK))
            .await
            .unwrap()
            .unwrap();
        sim.sleep(60).await;
        assert_eq!(sim.status(HOOK).await.state, EndpointState::Paused);
        for open in [true, false] {
            let state = if open {
                let resumed = supervisor.send(ResumeEndpoint::new(HOOK)).await;
                resumed.unwrap().unwrap();
                EndpointState::Idle
            } else {
                let paused = supervisor.send(PauseEndpoint::new(HOOK)).await;
                paused.unwrap().unwrap();
                EndpointState::Paused
            };
            sim.sleep(1).await;
            assert_eq!(sim.states().last(), Some(&state), "watchers are told");
        }
        sim.publish("second").await;
        sim.sleep(60).await;
        assert_eq!(sim.receivers.requests().len(), 1);
        supervisor
            .send(ResumeEndpoint::new(HOOK))
            .await
            .unwrap()
            .unwrap();
        sim.sleep(1).await;
        assert_eq!(sim.receivers.requests().len(), 2);
    });
}

/// A watcher whose mailbox is always full.
struct Stuck;

impl Actor for Stuck {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(1);
        ctx.wait(wrap_future(std::future::pending()));
    }
}

impl Handler<EndpointStatus> for Stuck {
    type Result = ();

    fn handle(&mut self, _: EndpointStatus, _: &mut Context<Self>) {}
}

#[test]
fn a_watcher_without_a_place_is_tried_ever_more_rarely() {
    simulate(async |sim| {
        let watch = WatchStatus::new(Stuck.start().recipient());
        sim.engine.supervisor().send(watch).await.unwrap();
        sim.publish("e").await;
        sim.sleep(600).await;
        let lost = sim.status(HOOK).await.reports_lost;
        assert!((10..70).contains(&lost), "{lost} in ten minutes");
    });
}
