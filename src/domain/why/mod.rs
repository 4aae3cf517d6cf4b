//! Why a receiver got nothing, or what it got: facts in, findings out.
//!
//! One function over facts that the shells collect; nothing is asked from here.

mod finding;
mod of_delivery;
mod shown;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use self::finding::{Evidence, Finding, FindingCode, Remedy, Why};
use crate::domain::deliveries::attempt::Attempt;
use crate::domain::deliveries::delivery::Delivery;
use crate::domain::endpoint::place::Place;
use crate::domain::endpoint::status::EndpointStatus;
use crate::domain::routing::explain::{Explanation, MissReason};
use crate::domain::value::id::EventId;
use crate::domain::value::time::Timestamp;

/// Everything that is known about the events and deliveries asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The present, in the same time as all other times here.
    pub(crate) now: Timestamp,
    /// The event asked for, if the question names one.
    pub(crate) event: Option<EventFacts>,
    /// The deliveries asked for, newest first.
    pub(crate) deliveries: Vec<DeliveryFacts>,
    /// What an event like the one asked for, which no rule matched, would match now.
    pub(crate) routing: Option<Explanation>,
    /// Why the store does not work, if it does not.
    pub(crate) store_error: Option<Arc<str>>,
    /// How long the oldest delivery that could start has been waiting.
    pub(crate) lag: Duration,
}

/// What is known about an event.
#[derive(Clone, Debug)]
pub(crate) struct EventFacts {
    pub(crate) id: EventId,
    /// When it was accepted, and the number of its deliveries then; `None` if its id is not
    /// remembered.
    pub(crate) accepted: Option<(Timestamp, u64)>,
    /// Set if it is in the outbox.
    pub(crate) outbox: Option<InOutbox>,
    /// How long ids of events are kept at least, if the store keeps them for a time.
    pub(crate) kept: Option<Duration>,
}

/// The place of an event in the outbox.
#[derive(Clone, Debug)]
pub(crate) enum InOutbox {
    /// It waits, with this number of events before it.
    Waiting { before: u64 },
    /// It was set aside for this reason.
    Refused { reason: String },
}

/// What is known about a delivery.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryFacts {
    pub(crate) delivery: Delivery,
    pub(crate) attempts: Vec<Attempt>,
    /// `None` if the endpoint is unknown.
    pub(crate) status: Option<EndpointStatus>,
    /// `None` if the delivery has ended, or its endpoint's subscriber does not run.
    pub(crate) place: Option<Place>,
}

/// Returns the findings, in the order of [`FindingCode`]: the first one is the headline.
pub(crate) fn why(facts: &Facts) -> Why {
    let mut findings = Vec::new();
    if let Some(event) = &facts.event {
        findings.extend(of_event(event, facts));
    }
    for delivery in &facts.deliveries {
        findings.extend(of_delivery::findings(delivery, facts.now));
    }
    let open = facts
        .deliveries
        .iter()
        .any(|facts| facts.delivery.state.is_open());
    let waits = open
        || findings
            .iter()
            .any(|finding| finding.code == FindingCode::EventInOutbox);
    if let Some(error) = facts.store_error.as_deref().filter(|_| waits) {
        let text = format!("the delivery store does not work: {error}");
        findings.push(Finding::new(FindingCode::StoreFailing, text).do_(Remedy::CheckStore));
    }
    if open && facts.lag >= LATE {
        let text = format!(
            "this engine is late: a delivery that could start has been waiting for {} s",
            facts.lag.as_secs()
        );
        let since = facts.now.before(facts.lag);
        findings.push(Finding::new(FindingCode::EngineLate, text).since(since));
    }
    // Stable: findings of one kind stay in the order of the deliveries, newest first.
    findings.sort_by_key(|finding| finding.code);
    Why { findings }
}

fn of_event(event: &EventFacts, facts: &Facts) -> Vec<Finding> {
    let id = &event.id;
    match &event.outbox {
        Some(InOutbox::Waiting { before }) => {
            let text = format!("event {id} waits in the outbox, with {before} events before it");
            return vec![Finding::new(FindingCode::EventInOutbox, text).of_event(id)];
        }
        Some(InOutbox::Refused { reason }) => {
            let text = format!("event {id} was set aside in the outbox: {reason}");
            let refused = Finding::new(FindingCode::EventRefused, text);
            return vec![refused.of_event(id).do_(Remedy::PublishAgain)];
        }
        None => {}
    }
    if !facts.deliveries.is_empty() {
        return Vec::new();
    }
    match event.accepted {
        None => {
            let kept = event.kept.map_or_else(String::new, |kept| {
                format!(" (ids are kept for at least {} h)", kept.as_secs() / 3_600)
            });
            let text = format!("no event with the id {id} is known{kept}");
            let unknown = Finding::new(FindingCode::EventUnknown, text);
            vec![unknown.of_event(id).do_(Remedy::PublishAgain)]
        }
        Some((at, 0)) => no_rule(id, at, facts.routing.as_ref()),
        Some((at, count)) => {
            let text = format!("event {id} had {count} deliveries, which are forgotten");
            vec![
                Finding::new(FindingCode::Removed, text)
                    .of_event(id)
                    .since(at),
            ]
        }
    }
}

fn no_rule(id: &EventId, at: Timestamp, routing: Option<&Explanation>) -> Vec<Finding> {
    let mut text = format!("no rule matched event {id}, so nothing was to be sent");
    let matches = routing.and_then(|routing| routing.matches.first());
    let misses = routing.map_or(&[][..], |routing| &routing.misses);
    if let Some(rule) = matches {
        text = format!("{text}; rule {rule} would match it now");
    } else if let Some(miss) = misses.first() {
        text = format!(
            "{text}; the nearest rule now is {}: {}",
            miss.rule, miss.why
        );
    }
    let nothing = Finding::new(FindingCode::NoRule, text)
        .of_event(id)
        .since(at);
    let mut findings = vec![match matches {
        Some(rule) => nothing.of_rule(rule).do_(Remedy::PublishAgain),
        None => nothing.do_(Remedy::ChangeRule),
    }];
    let disabled = misses
        .iter()
        .filter(|miss| miss.why == MissReason::Disabled);
    findings.extend(disabled.map(|miss| {
        let text = format!("rule {} comes near, and is disabled", miss.rule);
        let finding = Finding::new(FindingCode::RuleDisabled, text).of_event(id);
        finding.of_rule(&miss.rule).do_(Remedy::EnableRule)
    }));
    findings
}

/// The wait of a delivery that could start from which the engine counts as late.
const LATE: Duration = Duration::from_secs(5);
