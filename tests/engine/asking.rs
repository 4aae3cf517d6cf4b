//! Questions about events and deliveries, and redeliveries of everything that a filter finds.

use std::time::Duration;

use actix_webhooks::store::{
    AttemptQuery, BacklogLimits, Count, DeadLetterQuery, DeliveryQuery, MemoryLimits, MemoryStore,
    RedeliveryState,
};
use actix_webhooks::testing::Reply;
use actix_webhooks::transport::Answer;
use actix_webhooks::{
    AlertId, AskWhy, DeliveryId, EndpointAttempt, EndpointState, FindingCode, Ordering,
    PlanRedelivery, Rule, SeriesWindow, StartRedelivery, Why,
};

use super::support::{HOOK, Sim, event, plain, simulate, simulate_with};

#[test]
fn an_event_that_no_rule_matched_is_found_by_its_id() {
    let rule = Rule::new("other", "other.*").webhook(HOOK).unwrap();
    simulate_with(
        move |builder| builder.rule(rule),
        async |sim| {
            let receipt = sim.engine.publish(event("e")).await.unwrap();
            assert_eq!(receipt.deliveries, 0);
            let found = sim.engine.events("e").await.unwrap();
            assert_eq!((found.len(), found[0].deliveries), (1, 0));
            assert!(sim.engine.events("unknown").await.unwrap().is_empty());
            let why = sim.engine.why(AskWhy::event("e")).await.unwrap();
            assert_eq!(codes(&why), [FindingCode::NoRule]);
            let nearest = "no rule matched event e, so nothing was to be sent";
            assert_eq!(why.headline().unwrap().text, nearest, "none comes near");
            let disabled = Rule::new("near", "thing.happened").webhook(HOOK).unwrap();
            sim.engine.put_rule(disabled.disabled()).await.unwrap();
            let why = sim.engine.why(AskWhy::event("e")).await.unwrap();
            assert_eq!(
                codes(&why),
                [FindingCode::NoRule, FindingCode::RuleDisabled]
            );
            let text = &why.headline().unwrap().text;
            assert!(
                text.ends_with("the nearest rule now is near: disabled"),
                "{text}"
            );
        },
    );
}

#[test]
fn a_delivery_is_shown_with_its_body_and_what_repeats_it() {
    simulate(async |sim| {
        sim.publish("e").await;
        sim.sleep(1).await;
        let id = sim.reports()[0].delivery_id;
        let again = sim.engine.redeliver(id).await.unwrap();
        let shown = sim.engine.delivery(id).await.unwrap().unwrap();
        assert_eq!(shown.redelivered_as, *again);
        assert_eq!(
            shown.alert.body,
            sim.receivers.requests()[0].request.alert.body
        );
        let repeated = sim.engine.delivery(again[0]).await.unwrap().unwrap();
        assert_eq!(repeated.redelivery_of, Some(id));
        let unknown = sim.engine.delivery(DeliveryId::new(99)).await.unwrap();
        assert_eq!(unknown, None);
    });
}

#[test]
fn attempts_of_an_endpoint_are_listed_in_wall_time_over_all_its_deliveries() {
    simulate(async |sim| {
        sim.receivers
            .on(HOOK, [Reply::status(503), Reply::status(200)]);
        sim.publish("a").await;
        sim.publish("b").await;
        sim.sleep(60).await;
        let endpoint = sim.engine.endpoint(HOOK);
        let list = async || endpoint.attempts(AttemptQuery::default()).await.unwrap();
        let before = list().await.items;
        let shown =
            |found: &EndpointAttempt| (found.event_id.to_string(), found.attempt.summary.number);
        let shown: Vec<_> = before.iter().map(shown).collect();
        let expected = [("a", 2), ("b", 1), ("a", 1)];
        assert_eq!(
            shown,
            expected.map(|(event, number)| (event.to_owned(), number))
        );
        sim.clock.set_forward(Duration::from_hours(1));
        sim.sleep(5).await;
        let after = list().await.items;
        let moved = after[0]
            .attempt
            .summary
            .at
            .since(before[0].attempt.summary.at);
        assert_eq!(moved, Duration::from_hours(1));
    });
}

#[test]
fn statistics_of_an_endpoint_end_at_a_bound_and_say_how_far_they_reach() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::status(400)]);
        for number in 0..5_100 {
            sim.publish(&number.to_string()).await;
        }
        sim.sleep(60).await;
        let endpoint = sim.engine.endpoint(HOOK);
        let hour = endpoint.statistics(SeriesWindow::Hour).await.unwrap();
        assert_eq!(hour.total.attempts, 5_000);
        assert_eq!(hour.total.failed.client_error, 5_000);
        assert!(hour.searched_to.is_some(), "there are more");
        let minutes = hour.points.iter().map(|point| point.counts.attempts);
        assert_eq!(minutes.sum::<u64>(), 5_000);
        sim.sleep(3_600).await;
        sim.publish("late").await;
        sim.sleep(1).await;
        let hour = endpoint.statistics(SeriesWindow::Hour).await.unwrap();
        assert_eq!(hour.total.attempts, 1);
    });
}

/// Publishes events that the receiver refuses for good, and lets it accept later ones.
async fn give_up(sim: &Sim, count: usize) {
    sim.receivers.on(HOOK, [Reply::status(400)]);
    for number in 0..count {
        sim.publish(&number.to_string()).await;
    }
    sim.sleep(60).await;
    assert_eq!(sim.dead_letters().await.len(), count.min(100));
    sim.receivers.on(HOOK, [Reply::status(200)]);
}

#[test]
fn a_redelivery_by_filter_repeats_all_dead_letters_once_and_oldest_first() {
    simulate(async |sim| {
        give_up(&sim, 450).await;
        let before = sim.receivers.requests().len();
        let all = StartRedelivery::dead_letters(DeadLetterQuery::default());
        let job = sim.engine.start_redelivery(all).await.unwrap();
        assert_eq!((job.total, job.done, job.left()), (450, 0, 450));
        sim.sleep(60).await;
        let job = sim.engine.redeliveries().await.unwrap().pop().unwrap();
        assert_eq!(job.state, RedeliveryState::Finished);
        assert_eq!((job.done, job.skipped, job.left()), (450, 0, 0));
        assert!(job.ended_at.is_some());
        assert_eq!(sim.receivers.requests().len(), before + 450);
        let mut reports = sim.reports().split_off(before);
        reports.sort_by_key(|report| report.delivery_id);
        let events: Vec<_> = reports
            .iter()
            .map(|report| report.event_id.to_string())
            .collect();
        let expected: Vec<_> = (0..450).map(|number| number.to_string()).collect();
        assert_eq!(events, expected);
        assert!(sim.dead_letters().await.is_empty());
    });
}

#[test]
fn what_fails_again_during_a_redelivery_is_not_repeated_by_it() {
    simulate(async |sim| {
        give_up(&sim, 5).await;
        sim.receivers.on(HOOK, [Reply::status(400)]);
        let before = sim.receivers.requests().len();
        let all = StartRedelivery::dead_letters(DeadLetterQuery::default());
        sim.engine.start_redelivery(all).await.unwrap();
        sim.sleep(60).await;
        assert_eq!(sim.receivers.requests().len(), before + 5);
        assert_eq!(sim.dead_letters().await.len(), 5);
    });
}

#[test]
fn deliveries_that_were_delivered_are_redelivered_by_filter() {
    simulate(async |sim| {
        for id in ["a", "b", "c"] {
            sim.publish(id).await;
        }
        sim.sleep(1).await;
        let query = DeliveryQuery {
            event_id: Some("b".into()),
            ..DeliveryQuery::default()
        };
        let job = sim
            .engine
            .start_redelivery(StartRedelivery::ended(query))
            .await;
        assert_eq!(job.unwrap().total, 1);
        sim.sleep(1).await;
        let events: Vec<_> = sim
            .reports()
            .iter()
            .map(|report| report.event_id.to_string())
            .collect();
        assert_eq!(events, ["a", "b", "c", "b"]);
    });
}

#[test]
fn a_plan_says_what_a_redelivery_would_redeliver_and_who_would_not_take_it() {
    const OTHER: &str = "https://other.test/hook";
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    let rule = rule.webhook(OTHER).unwrap();
    simulate_with(
        move |builder| builder.rule(rule).endpoint(plain(HOOK)),
        async |sim| {
            sim.receivers.on(HOOK, [Reply::status(400)]);
            sim.receivers.on(OTHER, [Reply::status(400)]);
            for id in ["a", "b", "c"] {
                sim.publish(id).await;
                sim.sleep(10).await;
            }
            sim.clock.set_forward(Duration::from_hours(1));
            sim.sleep(5).await;
            let all = PlanRedelivery::dead_letters(DeadLetterQuery::default());
            let plan = async || sim.engine.plan_redelivery(all.clone()).await.unwrap();
            let free = plan().await;
            assert_eq!((free.count, free.endpoints), (Count::new(6, false), 2));
            assert_eq!((free.blocked_endpoints, &free.blocked[..]), (0, &[][..]));
            let (oldest, newest) = (free.oldest.unwrap(), free.newest.unwrap());
            assert_eq!(newest.since(oldest), Duration::from_secs(20));
            let letters = sim.dead_letters().await;
            assert_eq!(newest, letters[0].at, "in wall time");
            let later = Answer::new(429).retry_after("600");
            sim.receivers.on(OTHER, [Reply::answer(later)]);
            sim.publish("d").await;
            sim.sleep(5).await;
            sim.engine.endpoint(HOOK).disable().await.unwrap();
            let stopped = plan().await;
            assert_eq!(stopped.blocked_endpoints, 2);
            let shown = stopped.blocked.iter();
            let shown = shown.map(|blocked| (blocked.url.as_str(), blocked.deliveries));
            assert_eq!(shown.collect::<Vec<_>>(), [(HOOK, 4), (OTHER, 3)]);
            let by: Vec<_> = stopped.blocked.iter().map(|blocked| &blocked.by).collect();
            assert!(
                matches!(by[0], Some(EndpointState::Disabled { .. })),
                "{by:?}"
            );
            let status = sim.status(OTHER).await;
            assert!(matches!(status.state, EndpointState::RateLimited { .. }));
            assert_eq!(by[1].as_ref(), Some(&status.state), "until the same time");
            let few = sim
                .engine
                .plan_redelivery(all.clone().at_most(2))
                .await
                .unwrap();
            assert_eq!((few.count, few.endpoints), (Count::new(2, true), 2));
        },
    );
}

/// With an endpoint that holds one open delivery, a redelivery waits before the second one.
#[test]
fn a_redelivery_waits_for_room_and_stops_when_asked_to() {
    let limits = MemoryLimits {
        backlog: BacklogLimits {
            endpoint_deliveries: 1,
            ..BacklogLimits::default()
        },
        ..MemoryLimits::default()
    };
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    simulate_with(
        move |builder| {
            builder
                .store(MemoryStore::with_limits(limits))
                .rule(rule)
                .endpoint(plain(HOOK))
        },
        async |sim| {
            sim.receivers.on(HOOK, [Reply::status(400)]);
            for id in ["a", "b", "c"] {
                sim.publish(id).await;
                sim.sleep(1).await;
            }
            sim.engine.endpoint(HOOK).pause().await.unwrap();
            let all = StartRedelivery::dead_letters(DeadLetterQuery::default());
            let id = sim.engine.start_redelivery(all).await.unwrap().id;
            sim.clock.sleep(Duration::from_secs(3)).await;
            let job = sim.engine.redeliveries().await.unwrap().pop().unwrap();
            assert_eq!((job.state, job.done), (RedeliveryState::WaitingForRoom, 1));
            let stopped = sim.engine.stop_redelivery(id).await.unwrap().unwrap();
            assert_eq!(
                (stopped.state, stopped.left()),
                (RedeliveryState::Stopped, 2)
            );
            sim.engine.endpoint(HOOK).resume().await.unwrap();
            sim.sleep(60).await;
            // The two that are left, and the one that failed again.
            assert_eq!(sim.dead_letters().await.len(), 3);
        },
    );
}

fn codes(why: &Why) -> Vec<FindingCode> {
    why.findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn why_follows_a_delivery_from_its_publication_to_its_end() {
    simulate(async |sim| {
        let ask = async || sim.engine.why(AskWhy::event("e")).await.unwrap();
        assert_eq!(codes(&ask().await), [FindingCode::EventUnknown]);
        sim.receivers.on(HOOK, [Reply::hang()]);
        sim.publish("e").await;
        sim.sleep(1).await;
        assert_eq!(codes(&ask().await), [FindingCode::InFlight]);
        sim.receivers.on(HOOK, [Reply::status(503)]);
        sim.sleep(16).await;
        let why = ask().await;
        assert_eq!(codes(&why), [FindingCode::WaitingForRetry]);
        assert_eq!(why.headline().unwrap().evidence.attempts, Some(1));
        sim.engine.endpoint(HOOK).pause().await.unwrap();
        let paused = [FindingCode::EndpointPaused, FindingCode::WaitingForRetry];
        assert_eq!(codes(&ask().await), paused);
        sim.engine.endpoint(HOOK).resume().await.unwrap();
        sim.sleep(300).await;
        assert_eq!(codes(&ask().await), [FindingCode::GivenUp]);
        let id = sim.dead_letters().await[0].delivery_id;
        let why = sim.engine.why(AskWhy::delivery(id)).await.unwrap();
        assert_eq!(codes(&why), [FindingCode::GivenUp]);
        sim.receivers.on(HOOK, [Reply::status(200)]);
        sim.engine.redeliver(id).await.unwrap();
        sim.sleep(1).await;
        let both = [FindingCode::GivenUp, FindingCode::Delivered];
        assert_eq!(codes(&ask().await), both);
    });
}

#[test]
fn why_finds_the_delivery_that_an_ordered_one_waits_for() {
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    simulate_with(
        move |builder| {
            builder
                .rule(rule)
                .endpoint(plain(HOOK).ordering(Ordering::Fifo))
        },
        async |sim| {
            sim.receivers.on(HOOK, [Reply::hang()]);
            sim.publish("first").await;
            sim.publish("second").await;
            sim.sleep(1).await;
            let why = sim.engine.why(AskWhy::event("second")).await.unwrap();
            assert_eq!(codes(&why), [FindingCode::BehindInOrder]);
            let first = why.headline().unwrap().evidence.waits_for;
            assert_eq!(first, Some(DeliveryId::new(1)));
            let alert = AlertId::new(&"first".into(), &"rule".into());
            let why = sim.engine.why(AskWhy::alert(alert)).await.unwrap();
            assert_eq!(codes(&why), [FindingCode::InFlight]);
        },
    );
}
