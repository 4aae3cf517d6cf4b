//! The times of retries.

use std::time::Duration;

use actix_webhooks::testing::Reply;
use actix_webhooks::transport::Answer;
use actix_webhooks::{DeadLetterReason, EndpointState, Failure, Outcome, Rule};

use super::support::{HOOK, event, plain, simulate, simulate_with};

fn asks(status: u16, retry_after: &str) -> Reply {
    Reply::answer(Answer::new(status).retry_after(retry_after))
}

#[track_caller]
fn check(replies: Vec<Reply>, expected: &[f64]) {
    simulate(async |sim| {
        sim.receivers.on(HOOK, replies);
        sim.publish("e").await;
        sim.sleep(100_000).await;
        assert_eq!(sim.sent_at(), expected);
    });
}

#[test]
fn failures_at_once_are_retried_three_times_in_two_minutes() {
    check(vec![Reply::status(502)], &[0.0, 15.0, 45.0, 105.0]);
}

#[test]
fn with_a_timeout_each_time_the_third_retry_begins_at_two_minutes() {
    check(vec![Reply::hang()], &[0.0, 30.0, 75.0, 120.0]);
}

#[test]
fn with_jitter_intervals_increase_and_stay_within_a_minute() {
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    simulate_with(
        |builder| builder.rule(rule),
        async |sim| {
            sim.receivers.on(HOOK, [Reply::status(502)]);
            sim.publish("e").await;
            sim.sleep(200).await;
            let sent_at = sim.sent_at();
            let waits: Vec<f64> = sent_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert_eq!(waits.len(), 3);
            assert!(
                waits.is_sorted() && waits[2] <= 60.0 && waits[0] < 15.0,
                "{waits:?}"
            );
        },
    );
}

#[test]
fn the_fourth_failure_is_a_dead_letter_with_its_reason() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::status(502)]);
        sim.publish("e").await;
        sim.sleep(106).await;
        let letters = sim.dead_letters().await;
        assert_eq!(letters.len(), 1);
        assert_eq!(
            letters[0].reason,
            DeadLetterReason::AttemptsExhausted(Failure::Status(502))
        );
        assert_eq!(letters[0].attempts_made, 4);
        let reports = sim.reports();
        assert_eq!(
            reports
                .iter()
                .map(|report| report.attempt)
                .collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
        assert!(
            reports
                .iter()
                .all(|report| report.alert_id == letters[0].alert_id)
        );
        assert!(
            reports[..3]
                .iter()
                .all(|report| report.next_attempt_at.is_some())
        );
        assert_eq!(reports[3].next_attempt_at, None);
    });
}

#[test]
fn retry_after_in_seconds_replaces_the_interval() {
    check(vec![asks(502, "120"), Reply::status(200)], &[0.0, 120.0]);
    check(
        vec![asks(408, "7"), Reply::status(502)],
        &[0.0, 7.0, 37.0, 97.0],
    );
}

/// There used to be four attempts in one millisecond, and a dead letter.
#[test]
fn a_retry_after_of_nothing_is_as_soon_as_is_decent() {
    for nothing in [
        "0",
        "0.0",
        "0.001",
        "Wed, 31 Dec 2025 23:00:00 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
    ] {
        for status in [502, 503, 429] {
            check(vec![asks(status, nothing)], &[0.0, 1.0, 3.0, 7.0]);
            let mut replies = vec![asks(status, nothing); 3];
            replies.push(Reply::status(200));
            check(replies, &[0.0, 1.0, 3.0, 7.0]);
        }
    }
    check(
        vec![asks(503, "0"), Reply::status(502), Reply::status(200)],
        &[0.0, 1.0, 31.0],
    );
}

/// The receiver's clock is an hour behind or ahead, or has never been set.
#[test]
fn a_date_is_compared_with_the_answers_own() {
    for (answered, asked) in [
        (
            "Wed, 31 Dec 2025 23:00:00 GMT",
            "Wed, 31 Dec 2025 23:00:30 GMT",
        ),
        (
            "Thu, 01 Jan 2026 01:00:00 GMT",
            "Thu, 01 Jan 2026 01:00:30 GMT",
        ),
        (
            "Thu, 01 Jan 1970 00:00:07 GMT",
            "Thu, 01 Jan 1970 00:00:37 GMT",
        ),
        ("tomorrow", "Thu, 01 Jan 2026 00:00:30 GMT"),
        ("", "Thu, 01 Jan 2026 00:00:30 GMT"),
    ] {
        let answer = Answer::new(503).retry_after(asked).date(answered);
        check(
            vec![Reply::answer(answer), Reply::status(200)],
            &[0.0, 30.0],
        );
    }
}

#[test]
fn retry_after_as_a_date_is_waited_for() {
    // The simulation begins at 2026-01-01T00:00:00Z.
    check(
        vec![
            asks(503, "Thu, 01 Jan 2026 00:05:00 GMT"),
            Reply::status(200),
        ],
        &[0.0, 300.0],
    );
    check(
        vec![
            asks(502, "Wed, 31 Dec 2025 23:00:00 GMT"),
            Reply::status(200),
        ],
        &[0.0, 1.0],
    );
}

#[test]
fn retry_after_is_cut_to_a_day() {
    check(
        vec![asks(502, "99999999999999999999"), Reply::status(200)],
        &[0.0, 86_400.0],
    );
}

#[test]
fn garbage_in_retry_after_is_ignored() {
    for garbage in ["inf", "1e300", "-5", "", "soon", "60, 60"] {
        check(vec![asks(502, garbage), Reply::status(200)], &[0.0, 15.0]);
    }
}

#[test]
fn retry_after_on_a_final_answer_means_nothing() {
    check(vec![asks(200, "120")], &[0.0]);
    check(vec![asks(400, "120")], &[0.0]);
}

#[test]
fn a_503_that_asks_for_time_holds_the_whole_endpoint_and_no_other() {
    let other = "http://other.test/";
    let rule = Rule::new("rule", "*")
        .webhook(HOOK)
        .unwrap()
        .webhook(other)
        .unwrap();
    simulate_with(
        |builder| builder.rule(rule).endpoint(plain(HOOK)),
        async |sim| {
            sim.receivers
                .on(HOOK, [asks(503, "60"), Reply::status(200)]);
            sim.publish("first").await;
            sim.sleep(1).await;
            sim.publish("second").await;
            sim.sleep(1).await;
            let until = sim.clock.now() + Duration::from_secs(58);
            assert_eq!(
                sim.status(HOOK).await.state,
                EndpointState::RateLimited { until }
            );
            assert_eq!(
                sim.status(other).await.delivered,
                2,
                "the other endpoint goes on"
            );
            sim.sleep(60).await;
            let to_hook = |sent: &actix_webhooks::testing::SentRequest| sent.request.url == HOOK;
            assert_eq!(
                sim.receivers
                    .requests()
                    .iter()
                    .filter(|sent| to_hook(sent))
                    .count(),
                3
            );
            assert!(
                sim.sent_at()
                    .iter()
                    .zip(sim.sent_to())
                    .all(|(at, url)| url != HOOK || *at == 0.0 || *at >= 60.0)
            );
        },
    );
}

#[test]
fn other_transient_answers_hold_only_their_own_delivery() {
    simulate(async |sim| {
        sim.receivers
            .on(HOOK, [asks(502, "60"), Reply::status(200)]);
        sim.publish("first").await;
        sim.sleep(1).await;
        sim.publish("second").await;
        sim.sleep(1).await;
        assert_eq!(sim.status(HOOK).await.delivered, 1);
    });
}

#[test]
fn time_held_back_by_others_does_not_cost_a_delivery_its_retries() {
    simulate(async |sim| {
        let replies = [
            Reply::status(502),
            asks(503, "600"),
            Reply::status(502),
            Reply::status(502),
            Reply::status(200),
        ];
        sim.receivers.on(HOOK, replies);
        sim.publish("first").await;
        sim.sleep(1).await;
        sim.publish("second").await;
        sim.sleep(2_000).await;
        assert_eq!(
            sim.status(HOOK).await.dead_lettered,
            0,
            "{:?}",
            sim.outcomes()
        );
        assert_eq!(sim.status(HOOK).await.delivered, 2);
    });
}

#[test]
fn statuses_tell_the_story_of_an_endpoint() {
    simulate(async |sim| {
        sim.receivers
            .on(HOOK, [Reply::status(502), Reply::status(200)]);
        sim.publish("e").await;
        sim.sleep(5).await;
        let status = sim.status(HOOK).await;
        assert_eq!(
            status.state,
            EndpointState::BackingOff {
                until: sim.clock.now() + Duration::from_secs(10)
            }
        );
        assert_eq!(
            (status.queued, status.attempts, status.consecutive_failures),
            (1, 1, 1)
        );
        assert_eq!(
            status.next_attempt_at,
            Some(sim.clock.now() + Duration::from_secs(10))
        );
        assert_eq!(
            status.last_attempt.unwrap().failure,
            Some(Failure::Status(502))
        );
        sim.sleep(20).await;
        let status = sim.status(HOOK).await;
        assert_eq!(status.state, EndpointState::Idle);
        assert_eq!(
            (status.queued, status.delivered, status.consecutive_failures),
            (0, 1, 0)
        );
        let states = sim.states();
        assert!(
            states
                .iter()
                .any(|state| matches!(state, EndpointState::BackingOff { .. })),
            "{states:?}"
        );
        assert_eq!(
            states.last(),
            Some(&EndpointState::Idle),
            "the last state always arrives"
        );
    });
}

#[test]
fn a_timeout_of_an_endpoint_covers_the_whole_attempt() {
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    simulate_with(
        |builder| {
            builder
                .rule(rule)
                .endpoint(plain(HOOK).timeout(Duration::from_secs(2)))
        },
        async |sim| {
            sim.receivers.on(
                HOOK,
                [
                    Reply::status(200).after(Duration::from_secs(3)),
                    Reply::status(200),
                ],
            );
            sim.engine.publish(event("e")).await.unwrap();
            sim.sleep(30).await;
            assert_eq!(
                sim.outcomes(),
                [
                    Outcome::Failed {
                        failure: Failure::Timeout
                    },
                    Outcome::Delivered
                ]
            );
            assert_eq!(sim.sent_at(), [0.0, 17.0]);
        },
    );
}
