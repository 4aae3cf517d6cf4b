//! The outcome of each answer.

use actix_webhooks::testing::Reply;
use actix_webhooks::{DeadLetterReason, Failure, Outcome, RetryPolicy, Rule};

use super::support::{HOOK, event, plain, simulate, simulate_with};

#[test]
fn every_final_status_ends_or_retries_the_delivery_as_the_table_says() {
    let transient = [408, 420, 429, 460, 502, 503, 504, 522, 524];
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    simulate_with(
        |builder| {
            builder
                .rule(rule)
                .endpoint(plain(HOOK).retry(RetryPolicy::none()))
        },
        async |sim| {
            sim.receivers.on(HOOK, (200..=999).map(Reply::status));
            for status in 200..=999 {
                sim.publish(&format!("event-{status}")).await;
                sim.clock.sleep(std::time::Duration::from_millis(1)).await;
            }
            let reports = sim.reports();
            assert_eq!(reports.len(), 800);
            for (status, report) in (200..=999).zip(reports) {
                assert_eq!(report.status, Some(status));
                let reason = match report.outcome {
                    Outcome::Delivered => {
                        assert!((200..300).contains(&status), "{status}");
                        continue;
                    }
                    Outcome::DeadLettered { reason } => reason,
                    other => panic!("{status} led to {other:?}"),
                };
                let failure = match reason {
                    DeadLetterReason::AttemptsExhausted(failure) => {
                        assert!(transient.contains(&status), "{status}");
                        failure
                    }
                    DeadLetterReason::Permanent(failure) => {
                        assert!(!transient.contains(&status) && status >= 300, "{status}");
                        failure
                    }
                    other => panic!("{status} led to {other:?}"),
                };
                if (300..400).contains(&status) {
                    assert!(
                        matches!(failure, Failure::Redirect(_)),
                        "{status} without a Location"
                    );
                } else {
                    assert_eq!(failure, Failure::Status(status));
                }
            }
        },
    );
}

#[test]
fn what_is_no_answer_is_transient_or_permanent_by_its_kind() {
    for (failure, transient) in [
        (Failure::Connect, true),
        (Failure::Dns, true),
        (Failure::Tls, true),
        (Failure::ConnectionClosed, true),
        (Failure::Malformed, true),
        (Failure::TlsIncompatible, true),
        (Failure::Certificate, false),
        (Failure::CertificateExpired, false),
        (Failure::CertificateNotYetValid, false),
        (Failure::CertificateWrongName, false),
        (Failure::CertificateUntrusted, false),
        (Failure::CertificateUnsupported, false),
    ] {
        simulate(async |sim| {
            sim.receivers
                .on(HOOK, [Reply::fail(failure), Reply::status(200)]);
            sim.publish("e").await;
            sim.sleep(200).await;
            let permanent = Outcome::DeadLettered {
                reason: DeadLetterReason::Permanent(failure),
            };
            let expected = if transient {
                vec![Outcome::Failed { failure }, Outcome::Delivered]
            } else {
                vec![permanent]
            };
            assert_eq!(sim.outcomes(), expected);
        });
    }
}

#[test]
fn an_interim_answer_is_tried_again() {
    simulate(async |sim| {
        sim.receivers
            .on(HOOK, [Reply::status(102), Reply::status(200)]);
        sim.publish("e").await;
        sim.sleep(20).await;
        assert_eq!(
            sim.outcomes(),
            [
                Outcome::Failed {
                    failure: Failure::Status(102)
                },
                Outcome::Delivered
            ]
        );
    });
}

#[test]
fn a_panic_in_the_transport_costs_one_attempt() {
    simulate(async |sim| {
        sim.receivers.on(HOOK, [Reply::panic(), Reply::status(200)]);
        sim.publish("e").await;
        sim.sleep(20).await;
        assert_eq!(
            sim.outcomes(),
            [
                Outcome::Failed {
                    failure: Failure::Panicked
                },
                Outcome::Delivered
            ]
        );
        assert_eq!(sim.status(HOOK).await.restarts, 0);
    });
}

#[test]
fn the_same_event_id_delivers_once_and_gets_the_first_receipt() {
    simulate(async |sim| {
        let first = sim.engine.publish(event("e")).await.unwrap();
        let second = sim.engine.publish(event("e")).await.unwrap();
        assert_eq!((first.deliveries, first.duplicate), (1, false));
        assert_eq!((&second.event_id, second.deliveries), (&first.event_id, 1));
        assert!(second.duplicate, "and says so");
        sim.sleep(1).await;
        assert_eq!(sim.receivers.requests().len(), 1);
    });
}
