//! What is to be said of one delivery.

use super::DeliveryFacts;
use super::finding::{Evidence, Finding, FindingCode, Remedy};
use super::shown::attempts;
use crate::domain::deliveries::delivery::DeliveryState;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::endpoint::place::Place;
use crate::domain::endpoint::status::{EndpointState, EndpointStatus};
use crate::domain::value::time::Timestamp;

/// Returns the findings about a delivery.
pub(super) fn findings(facts: &DeliveryFacts, now: Timestamp) -> Vec<Finding> {
    let delivery = &facts.delivery;
    let trace = facts.attempts.last().map(|last| &last.trace);
    let evidence = Evidence {
        event_id: Some(delivery.event_id.clone()),
        rule_id: Some(delivery.rule_id.clone()),
        delivery_id: Some(delivery.id),
        waits_for: None,
        url: Some(delivery.url.clone()),
        attempts: Some(delivery.attempts_made),
        status: delivery.last_attempt.and_then(|last| last.status),
        content_type: trace.and_then(|trace| trace.content_type.clone()),
        address: trace.and_then(|trace| trace.address),
    };
    let mut findings = match delivery.state {
        DeliveryState::Delivered { at } => delivered(facts, at),
        DeliveryState::DeadLettered { at, reason } => vec![given_up(facts, at, reason)],
        DeliveryState::Queued => open(facts, None, now),
        DeliveryState::Waiting { due_at } => open(facts, Some(due_at), now),
    };
    for finding in &mut findings {
        finding.evidence = Evidence {
            waits_for: finding.evidence.waits_for,
            ..evidence.clone()
        };
    }
    findings
}

fn endpoint(facts: &DeliveryFacts) -> &str {
    facts.delivery.url.without_query()
}

fn delivered(facts: &DeliveryFacts, at: Timestamp) -> Vec<Finding> {
    let to = endpoint(facts);
    let last = facts.delivery.last_attempt;
    let answer = last.and_then(|last| last.status).unwrap_or_default();
    let took = last.map_or(0, |last| last.duration.as_millis());
    let text = format!("{to} has it: answered {answer} in {took} ms at {at}");
    let has_it = Finding::new(FindingCode::Delivered, text).since(at);
    let mut findings = vec![has_it.do_(Remedy::AskReceiver)];
    let page = page(facts);
    if let Some(redirects) = last.map(|last| last.redirects).filter(|count| *count > 0) {
        let who = match page {
            Some(_) => "a page for people has answered there",
            None => "another URL has taken it",
        };
        let text = format!("{to} redirected {redirects} times; {who}");
        let redirected = Finding::new(FindingCode::Redirected, text).since(at);
        findings.push(redirected.do_(Remedy::AskReceiver));
    }
    if let Some(kind) = page {
        let text = format!("{to} answered {answer} with {kind}, such as a log-in page");
        let page = Finding::new(FindingCode::SuspiciousAnswer, text).since(at);
        findings.push(page.do_(Remedy::AskReceiver).do_(Remedy::Redeliver));
    }
    findings
}

/// Returns what the last answer was, in words, if a page has answered in place of a receiver.
fn page(facts: &DeliveryFacts) -> Option<String> {
    let last = facts.attempts.last()?;
    if !last.trace.is_of_page(last.excerpt.as_bytes()) {
        return None;
    }
    let content_type = last.trace.content_type.as_ref();
    let kind = content_type.map_or_else(String::new, |kind| format!(" ({kind})"));
    Some(format!("a page for people{kind}"))
}

fn given_up(facts: &DeliveryFacts, at: Timestamp, reason: DeadLetterReason) -> Finding {
    let (to, made) = (endpoint(facts), facts.delivery.attempts_made);
    let (code, text) = match reason {
        DeadLetterReason::BacklogFull => (
            FindingCode::BacklogFull,
            format!("{to} had the maximum of open deliveries when it was accepted"),
        ),
        DeadLetterReason::EndpointRemoved
        | DeadLetterReason::RuleEnded
        | DeadLetterReason::ClientEnded => (
            FindingCode::Removed,
            format!("it was ended by hand: {reason}"),
        ),
        DeadLetterReason::Permanent(_)
        | DeadLetterReason::AttemptsExhausted(_)
        | DeadLetterReason::DeadlinePassed(_)
        | DeadLetterReason::AbortedByReceiver(_)
        | DeadLetterReason::Unreadable => (
            FindingCode::GivenUp,
            format!("given up after {} at {to}: {reason}", attempts(made)),
        ),
    };
    Finding::new(code, text).since(at).do_(Remedy::Redeliver)
}

/// Returns why an open delivery has not been delivered: everything that keeps it, and where it is.
fn open(facts: &DeliveryFacts, due_at: Option<Timestamp>, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(status) = &facts.status {
        findings.extend(of_endpoint(status));
    }
    findings.extend(of_place(facts, due_at, now));
    if findings.is_empty() {
        let text = format!("it waits for its turn at {}", endpoint(facts));
        let since = facts.delivery.accepted_at;
        let place = Finding::new(FindingCode::WaitingForPlace, text).since(since);
        findings.push(place.do_(Remedy::Wait));
    }
    findings
}

fn of_endpoint(status: &EndpointStatus) -> Option<Finding> {
    let url = status.url.without_query();
    let found = match &status.state {
        EndpointState::Disabled { reason } => {
            let text = format!("{url} is disabled: {reason}");
            Finding::new(FindingCode::EndpointDisabled, text).do_(Remedy::Resume)
        }
        EndpointState::Paused => {
            let text = format!("{url} is paused");
            Finding::new(FindingCode::EndpointPaused, text).do_(Remedy::Resume)
        }
        EndpointState::RateLimited { until } => {
            let text = format!("{url} asked for a pause until {until}");
            let held = Finding::new(FindingCode::HeldByReceiver, text).until(*until);
            held.do_(Remedy::Wait).do_(Remedy::Resume)
        }
        EndpointState::CircuitOpen { until } => {
            let text = format!("{url} kept failing; the next attempt probes it at {until}");
            let open = Finding::new(FindingCode::CircuitOpen, text).until(*until);
            open.do_(Remedy::Wait).do_(Remedy::Resume)
        }
        EndpointState::Delivering => {
            let until = status.next_attempt_at?;
            let text = format!("{url} is paced; the next attempt starts at {until}");
            let paced = Finding::new(FindingCode::RatePaced, text).until(until);
            paced.do_(Remedy::Wait)
        }
        EndpointState::Idle | EndpointState::BackingOff { .. } => return None,
    };
    Some(match status.failing_since {
        Some(at) => found.since(at),
        None => found,
    })
}

fn of_place(facts: &DeliveryFacts, due_at: Option<Timestamp>, now: Timestamp) -> Option<Finding> {
    let to = endpoint(facts);
    match facts.place {
        Some(Place::InFlight { since }) => {
            let text = format!("an attempt at {to} is in flight since {since}");
            Some(
                Finding::new(FindingCode::InFlight, text)
                    .since(since)
                    .do_(Remedy::Wait),
            )
        }
        Some(Place::Recording) => {
            let text = format!("an attempt at {to} has ended and is being recorded");
            Some(Finding::new(FindingCode::InFlight, text).do_(Remedy::Wait))
        }
        Some(Place::Behind { first }) => {
            let text = format!("{to} keeps an order, and delivery {first} comes first");
            let mut behind = Finding::new(FindingCode::BehindInOrder, text);
            behind.evidence.waits_for = Some(first);
            Some(behind.do_(Remedy::LookAtFirst).do_(Remedy::Wait))
        }
        Some(Place::Queued { ahead }) => {
            let text = format!("it waits for its turn at {to}, with {ahead} deliveries before it");
            let since = facts.delivery.accepted_at;
            let place = Finding::new(FindingCode::WaitingForPlace, text).since(since);
            Some(place.do_(Remedy::Wait))
        }
        Some(Place::Waiting { .. } | Place::Stored) | None => {
            let due_at = due_at.filter(|due_at| *due_at > now)?;
            let made = facts.delivery.attempts_made;
            let failure = facts.delivery.last_attempt.and_then(|last| last.failure);
            let failed = failure.map_or_else(String::new, |failure| format!(" ({failure})"));
            let text =
                format!("attempt {made} at {to} failed{failed}; the next one is due {due_at}");
            let waits = Finding::new(FindingCode::WaitingForRetry, text).until(due_at);
            Some(waits.do_(Remedy::Wait))
        }
    }
}
