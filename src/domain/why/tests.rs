//! Facts that lead to each finding.

use std::time::Duration;

use super::*;
use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::deliveries::content_type::ContentType;
use crate::domain::deliveries::delivery::DeliveryState;
use crate::domain::deliveries::outcome::{DeadLetterReason, Failure};
use crate::domain::deliveries::trace::AnswerTrace;
use crate::domain::endpoint::status::EndpointState;
use crate::domain::policy::health::DisabledReason;
use crate::domain::routing::explain::RuleMiss;
use crate::domain::value::id::{AlertId, DeliveryId};
use crate::domain::value::url::WebhookUrl;

const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);
const LATER: Timestamp = Timestamp::from_unix_millis(1_030_000);

fn event() -> EventFacts {
    EventFacts {
        id: "e".into(),
        accepted: None,
        outbox: None,
        kept: Some(Duration::from_hours(24)),
    }
}

fn delivery(state: DeliveryState) -> DeliveryFacts {
    let url = WebhookUrl::parse("https://a.test/hook?key=secret").unwrap();
    let mut last = AttemptSummary::new(1, NOW, Duration::from_millis(88));
    last.status = Some(200);
    DeliveryFacts {
        delivery: Delivery {
            id: DeliveryId::new(7),
            alert_id: AlertId::new(&"e".into(), &"r".into()),
            event_id: "e".into(),
            rule_id: "r".into(),
            rule_type: "t".to_owned(),
            client_id: "c".into(),
            company_id: None,
            url,
            accepted_at: NOW,
            state,
            attempts_made: 1,
            last_attempt: Some(last),
        },
        attempts: vec![Attempt::new(last, b"ok")],
        status: None,
        place: None,
    }
}

fn about(delivery: DeliveryFacts) -> Facts {
    Facts {
        now: NOW,
        deliveries: vec![delivery],
        ..Facts::default()
    }
}

fn at_endpoint(state: EndpointState) -> Facts {
    let mut facts = delivery(DeliveryState::Queued);
    let mut status = EndpointStatus::untouched(facts.delivery.url.clone());
    status.next_attempt_at = matches!(state, EndpointState::Delivering).then_some(LATER);
    status.state = state;
    facts.status = Some(status);
    about(facts)
}

fn at_place(place: Place) -> Facts {
    about(DeliveryFacts {
        place: Some(place),
        ..delivery(DeliveryState::Queued)
    })
}

fn given_up(reason: DeadLetterReason) -> Facts {
    about(delivery(DeliveryState::DeadLettered { at: NOW, reason }))
}

fn of_event(change: impl FnOnce(&mut EventFacts)) -> Facts {
    let mut event = event();
    change(&mut event);
    Facts {
        now: NOW,
        event: Some(event),
        ..Facts::default()
    }
}

/// Returns facts whose headline is this code.
fn facts_of(code: FindingCode) -> Facts {
    let delivered = || delivery(DeliveryState::Delivered { at: NOW });
    match code {
        FindingCode::EventUnknown => of_event(|_| {}),
        FindingCode::EventInOutbox => {
            of_event(|event| event.outbox = Some(InOutbox::Waiting { before: 3 }))
        }
        FindingCode::EventRefused => of_event(|event| {
            let reason = "body too large".to_owned();
            event.outbox = Some(InOutbox::Refused { reason });
        }),
        FindingCode::NoRule => of_event(|event| event.accepted = Some((NOW, 0))),
        FindingCode::RuleDisabled => {
            let mut facts = facts_of(FindingCode::NoRule);
            facts.routing = Some(Explanation {
                matches: Vec::new(),
                misses: vec![RuleMiss {
                    rule: "rule-9".into(),
                    why: MissReason::Disabled,
                }],
                more: false,
            });
            facts
        }
        FindingCode::StoreFailing => Facts {
            store_error: Some("disk full".into()),
            ..at_place(Place::Queued { ahead: 0 })
        },
        FindingCode::EngineLate => Facts {
            lag: Duration::from_secs(9),
            ..at_place(Place::Queued { ahead: 0 })
        },
        FindingCode::EndpointDisabled => at_endpoint(EndpointState::Disabled {
            reason: DisabledReason::Application,
        }),
        FindingCode::EndpointPaused => at_endpoint(EndpointState::Paused),
        FindingCode::HeldByReceiver => at_endpoint(EndpointState::RateLimited { until: LATER }),
        FindingCode::CircuitOpen => at_endpoint(EndpointState::CircuitOpen { until: LATER }),
        FindingCode::RatePaced => at_endpoint(EndpointState::Delivering),
        FindingCode::BehindInOrder => at_place(Place::Behind {
            first: DeliveryId::new(3),
        }),
        FindingCode::WaitingForPlace => at_place(Place::Queued { ahead: 2 }),
        FindingCode::WaitingForRetry => about(delivery(DeliveryState::Waiting { due_at: LATER })),
        FindingCode::InFlight => at_place(Place::InFlight { since: NOW }),
        FindingCode::BacklogFull => given_up(DeadLetterReason::BacklogFull),
        FindingCode::GivenUp => given_up(DeadLetterReason::AttemptsExhausted(Failure::Status(503))),
        FindingCode::Removed => given_up(DeadLetterReason::EndpointRemoved),
        FindingCode::Redirected => {
            let mut facts = delivered();
            let last = facts.delivery.last_attempt.as_mut().unwrap();
            last.redirects = 1;
            about(facts)
        }
        FindingCode::SuspiciousAnswer => {
            let mut facts = delivered();
            let last = facts.delivery.last_attempt.unwrap();
            facts.attempts = vec![Attempt::new(last, b"\n<!DOCTYPE html><title>Sign in")];
            about(facts)
        }
        FindingCode::Delivered => about(delivered()),
    }
}

#[test]
fn each_code_is_the_headline_of_some_facts() {
    for code in FindingCode::ALL {
        let why = why(&facts_of(code));
        let codes: Vec<_> = why.findings.iter().map(|finding| finding.code).collect();
        // A disabled rule explains why no rule matched.
        let headline = match code {
            FindingCode::RuleDisabled => FindingCode::NoRule,
            other => other,
        };
        assert_eq!(codes.first(), Some(&headline), "{code}: {codes:?}");
        assert!(codes.contains(&code), "{code}: {codes:?}");
        assert!(codes.is_sorted(), "{codes:?}");
    }
}

#[test]
fn all_codes_are_listed_once_and_in_order() {
    assert!(FindingCode::ALL.is_sorted_by(|one, other| one < other));
    let last = FindingCode::ALL.last().unwrap();
    assert_eq!(*last as usize + 1, FindingCode::ALL.len());
}

#[test]
fn each_code_has_a_paragraph_in_the_operators_guide() {
    let guide = include_str!("../../../docs/operating.md");
    for code in FindingCode::ALL {
        assert!(guide.contains(&format!("\n### `{code}`\n")), "{code}");
    }
}

#[test]
fn a_finding_names_its_delivery_and_shows_no_secret_of_a_url() {
    let why = why(&facts_of(FindingCode::GivenUp));
    let finding = why.headline().unwrap();
    assert_eq!(
        finding.text,
        "given up after 1 attempt at https://a.test/hook: answered 503 on the last attempt"
    );
    assert_eq!(finding.evidence.delivery_id, Some(DeliveryId::new(7)));
    assert_eq!(finding.evidence.attempts, Some(1));
    assert_eq!(finding.since, Some(NOW));
    assert_eq!(finding.remedies, [Remedy::Redeliver]);
}

#[test]
fn a_delivery_behind_another_names_it() {
    let why = why(&facts_of(FindingCode::BehindInOrder));
    let evidence = &why.headline().unwrap().evidence;
    assert_eq!(evidence.waits_for, Some(DeliveryId::new(3)));
    assert_eq!(evidence.delivery_id, Some(DeliveryId::new(7)));
}

fn answered(content_type: &str, excerpt: &str, redirects: u32) -> Why {
    let mut facts = delivery(DeliveryState::Delivered { at: NOW });
    let mut last = facts.delivery.last_attempt.unwrap();
    last.redirects = redirects;
    facts.delivery.last_attempt = Some(last);
    let trace = AnswerTrace::new()
        .content_type(ContentType::parse(content_type.as_bytes()))
        .address("203.0.113.7:443".parse().ok());
    facts.attempts = vec![Attempt::new(last, excerpt.as_bytes()).trace(trace)];
    why(&about(facts))
}

/// A comment or a script may stand before anything that only a page has.
#[test]
fn a_page_is_told_from_a_receiver_by_its_type() {
    let found = answered("text/html", "<!-- v3 --><div>Sign in</div>", 0);
    let headline = found.headline().unwrap();
    assert_eq!(headline.code, FindingCode::SuspiciousAnswer);
    let text = "https://a.test/hook answered 200 with a page for people (text/html), such as a log-in page";
    assert_eq!(headline.text, text);
    let evidence = &headline.evidence;
    assert_eq!(
        evidence.content_type.as_ref().unwrap().as_str(),
        "text/html"
    );
    assert_eq!(evidence.address, "203.0.113.7:443".parse().ok());
    assert_eq!(headline.remedies, [Remedy::AskReceiver, Remedy::Redeliver]);
    for (content_type, excerpt) in [("text/html", "ok"), ("application/xml", "<ok/>"), ("", "")] {
        let codes = answered(content_type, excerpt, 0);
        let codes: Vec<_> = codes.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [FindingCode::Delivered], "{content_type}: {excerpt}");
    }
}

#[test]
fn a_redirect_to_a_page_is_no_redirect_to_a_receiver() {
    for (excerpt, who) in [
        ("<form>Sign in", "a page for people has answered there"),
        ("ok", "another URL has taken it"),
    ] {
        let found = answered("text/html", excerpt, 1);
        let headline = found.headline().unwrap();
        assert_eq!(headline.code, FindingCode::Redirected);
        let expected = format!("https://a.test/hook redirected 1 times; {who}");
        assert_eq!(headline.text, expected);
        let codes = found.findings.iter().map(|finding| finding.code);
        let pages = codes.filter(|code| *code == FindingCode::SuspiciousAnswer);
        assert_eq!(pages.count(), usize::from(excerpt != "ok"));
    }
}

/// One receiver has it and another one does not: the one that does not is the headline.
#[test]
fn what_was_not_delivered_comes_before_what_was() {
    let mut facts = facts_of(FindingCode::Delivered);
    facts
        .deliveries
        .extend(facts_of(FindingCode::GivenUp).deliveries);
    let codes = why(&facts).findings.into_iter().map(|finding| finding.code);
    let expected = [FindingCode::GivenUp, FindingCode::Delivered];
    assert_eq!(codes.collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_delivered_does_not_suffer_from_the_engine() {
    let facts = Facts {
        store_error: Some("disk full".into()),
        lag: Duration::from_secs(9),
        ..facts_of(FindingCode::Delivered)
    };
    assert_eq!(why(&facts).findings.len(), 1);
}
