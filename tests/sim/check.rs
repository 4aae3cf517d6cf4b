//! Promises that are judged once everything has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix_webhooks::store::prelude::*;
use actix_webhooks::{
    CompanyId, Delivery, DeliveryId, DeliveryReport, DeliveryState, EndpointState, Ordering,
    Outcome, Timestamp, WebhookUrl,
};

use super::ledger::Key;
use super::run::Life;
use super::world::{LONGEST_HEALTHY, LONGEST_TIMEOUT, Step};

/// Notes every broken promise.
pub(crate) async fn check_all(life: &Life<'_>) {
    let deliveries = life.deliveries().await;
    nothing_is_lost(life, &deliveries).await;
    attempts_are_numbered(life, &deliveries);
    requests_are_on_record(life, &deliveries);
    order_is_kept(life, &deliveries);
    limits_are_kept(life);
    healthy_ones_go_on(life, &deliveries);
    watchers_know_the_end(life).await;
}

async fn nothing_is_lost(life: &Life<'_>, deliveries: &[Delivery]) {
    let problem = |text: String| life.ledger.problem(text);
    let open = life.store.open_total().await.unwrap();
    if open > 0 {
        problem(format!("{open} deliveries are open in the end"));
    }
    for delivery in deliveries
        .iter()
        .filter(|delivery| delivery.state.is_open())
    {
        problem(format!(
            "delivery {} of {} to {} never ends: {:?}",
            delivery.id, delivery.event_id, delivery.url, delivery.state
        ));
    }
    let mut found = BTreeMap::<_, Vec<DeliveryId>>::new();
    for delivery in deliveries {
        found
            .entry((
                delivery.event_id.as_str(),
                delivery.rule_id.as_str(),
                delivery.url.as_str(),
            ))
            .or_default()
            .push(delivery.id);
    }
    let published = life.published.borrow();
    for (event, receipted) in published.accepted.values() {
        let targets: Vec<_> = life.world.targets(event).collect();
        if targets.len() != *receipted {
            problem(format!(
                "{} has a receipt for {receipted} deliveries and matches {}",
                event.id,
                targets.len()
            ));
        }
        for (rule, url) in targets {
            let ids = found
                .remove(&(event.id.as_str(), rule, url))
                .unwrap_or_default();
            let originals = ids.iter().filter(|id| !life.fresh.contains(id)).count();
            if ids.is_empty() || originals > 1 {
                problem(format!(
                    "{} under {rule} has the deliveries {ids:?} to {url}",
                    event.id
                ));
            }
        }
    }
    if let Some((key, ids)) = found.first_key_value() {
        problem(format!(
            "nobody published what deliveries {ids:?} deliver: {key:?}"
        ));
    }
    let known: BTreeSet<DeliveryId> = deliveries.iter().map(|delivery| delivery.id).collect();
    for id in life
        .fresh
        .difference(&life.again)
        .filter(|id| !known.contains(id))
    {
        problem(format!("delivery {id}, made by hand, is gone"));
    }
    if published.accepted.len() != events_of(life) {
        problem(format!(
            "{} of {} events are accepted in the end",
            published.accepted.len(),
            events_of(life)
        ));
    }
}

fn attempts_are_numbered(life: &Life<'_>, deliveries: &[Delivery]) {
    let lost_any = life.ledger.notes().keys.values().any(|seen| seen.lost > 0);
    let mut reports = BTreeMap::<DeliveryId, Vec<DeliveryReport>>::new();
    for report in &life.heard.reports.reports() {
        reports
            .entry(report.delivery_id)
            .or_default()
            .push(report.clone());
    }
    for (id, reports) in &reports {
        let (attempts, by_hand): (Vec<_>, Vec<_>) =
            reports.iter().partition(|report| is_of_an_attempt(report));
        let numbers: Vec<u32> = attempts.iter().map(|report| report.attempt).collect();
        let made = u32::try_from(numbers.len()).unwrap();
        let of_all = |report: &&DeliveryReport| report.attempt == made || lost_any;
        if by_hand.len() > 1 || !by_hand.iter().all(of_all) {
            life.ledger.problem(format!(
                "delivery {id} was given up by hand as {by_hand:?} after {made} attempts"
            ));
        }
        let ascending = numbers.windows(2).all(|pair| pair[0] < pair[1]);
        let complete = (1..)
            .zip(&numbers)
            .all(|(expected, number)| expected == *number);
        if !ascending || !(complete || lost_any) || numbers.len() > 4 {
            life.ledger
                .problem(format!("delivery {id} has the attempts {numbers:?}"));
        }
        if let Some(early) = reports
            .iter()
            .rev()
            .skip(1)
            .find(|report| report.outcome.is_final())
        {
            life.ledger.problem(format!(
                "delivery {id} goes on after attempt {} was final",
                early.attempt
            ));
        }
        for pair in attempts.windows(2) {
            let begun = begun_at(pair[1]);
            // A resume also starts deliveries that the receiver told to wait, and deliveries due in
            // the last second of the lifted hold.
            let (told, due_at) = (pair[0].status, pair[0].next_attempt_at);
            let lifts = |held_until: &Timestamp| {
                let last = held_until.before(Duration::from_secs(1))..=*held_until;
                matches!(told, Some(429 | 503)) || due_at.is_some_and(|at| last.contains(&at))
            };
            let notes = life.ledger.notes();
            let lifted = notes.resumed.iter().any(|(url, at, held_until)| {
                *url == pair[0].url && (pair[0].at..=begun).contains(at) && lifts(held_until)
            });
            drop(notes);
            if !lifted && pair[0].next_attempt_at.is_none_or(|due_at| begun < due_at) {
                life.ledger.problem(format!(
                    "delivery {id} is tried again at {begun}, told for {:?}",
                    pair[0].next_attempt_at
                ));
            }
        }
    }
    for delivery in deliveries {
        let last = reports.get(&delivery.id).and_then(|reports| reports.last());
        let agrees = match (delivery.state, last.map(|report| report.outcome)) {
            (DeliveryState::Delivered { .. }, Some(Outcome::Delivered)) => true,
            (
                DeliveryState::DeadLettered { reason, .. },
                Some(Outcome::DeadLettered { reason: told }),
            ) => reason == told,
            // An outcome recorded as the engine ended was not reported any more.
            _ => lost_any,
        };
        if !agrees || delivery.attempts_made > 4 {
            let (state, made) = (delivery.state, delivery.attempts_made);
            life.ledger.problem(format!(
                "delivery {} ended as {state:?} after {made} attempts, told {last:?}",
                delivery.id
            ));
        }
    }
}

/// Returns `true` if a report is of an attempt that has ended, and not of a delivery that was given
/// up without one.
pub(crate) fn is_of_an_attempt(report: &DeliveryReport) -> bool {
    match report.outcome {
        Outcome::DeadLettered { reason } => reason.failure().is_some(),
        _ => true,
    }
}

fn requests_are_on_record(life: &Life<'_>, deliveries: &[Delivery]) {
    let recorded = life.recorded();
    let mut made = BTreeMap::<Key, u32>::new();
    for delivery in deliveries {
        *made
            .entry((delivery.url.clone(), delivery.alert_id))
            .or_default() += 1;
    }
    let mut wrong = Vec::new();
    let notes = life.ledger.notes();
    for (key, seen) in &notes.keys {
        let on_record = recorded.get(key).copied().unwrap_or(0);
        let expected = on_record + seen.lost;
        // An attempt that was in flight when its endpoint was removed is not on record.
        let agrees = if notes.removed.contains(&key.0) {
            seen.starts >= expected
        } else {
            seen.starts == expected
        };
        if !agrees || seen.starts > 4 * (1 + seen.redelivered) + seen.lost {
            let (url, alert) = key;
            wrong.push(format!(
                "{alert} was sent {} times to {url}, {on_record} on record, {} lost",
                seen.starts, seen.lost
            ));
        }
    }
    drop(notes);
    for text in wrong {
        life.ledger.problem(text);
    }
}

/// At an ordered endpoint, a delivery begins after every earlier one of its lane has ended.
fn order_is_kept(life: &Life<'_>, deliveries: &[Delivery]) {
    let published = life.published.borrow();
    let company_of = |id: &Delivery| {
        published
            .accepted
            .get(&id.event_id)
            .and_then(|(event, _)| event.company_id.clone())
    };
    let companies: BTreeMap<DeliveryId, Option<CompanyId>> = deliveries
        .iter()
        .map(|delivery| (delivery.id, company_of(delivery)))
        .collect();
    let mut spans = BTreeMap::<DeliveryId, (WebhookUrl, Timestamp, Timestamp)>::new();
    let reports = life.heard.reports.reports();
    for report in reports.iter().filter(|report| is_of_an_attempt(report)) {
        let (begun, ended) = (begun_at(report), report.at);
        spans
            .entry(report.delivery_id)
            .and_modify(|span| span.2 = ended)
            .or_insert((report.url.clone(), begun, ended));
    }
    let mut ends = BTreeMap::<(WebhookUrl, Option<CompanyId>), (Timestamp, DeliveryId)>::new();
    for (id, (url, begun, ended)) in spans {
        let company = match life
            .ledger
            .notes()
            .endpoints
            .get(&url)
            .map(|bounds| bounds.ordering)
        {
            Some(Ordering::Fifo) => None,
            // A dead letter that was redelivered is no longer listed, so its company is not known
            // here.
            Some(Ordering::FifoPerCompany) => match companies.get(&id) {
                Some(company) => company.clone(),
                None => continue,
            },
            _ => continue,
        };
        if life.ledger.notes().removed.contains(&url) {
            continue;
        }
        let last = ends.entry((url.clone(), company)).or_insert((ended, id));
        if last.1 != id && begun < last.0 {
            life.ledger.problem(format!(
                "delivery {id} to {url} began at {begun}, before delivery {} ended at {}",
                last.1, last.0
            ));
        }
        *last = (*last).max((ended, id));
    }
}

fn limits_are_kept(life: &Life<'_>) {
    let most = life.transport.receivers.most_in_flight();
    if most > life.world.max_in_flight as usize {
        life.ledger.problem(format!(
            "{most} attempts were in flight, the engine's limit is {}",
            life.world.max_in_flight
        ));
    }
}

/// An endpoint that answers within a second, and has nothing of its own to wait for, does not wait
/// for endpoints that hang. The one exception is a single timeout, when there are so few permits
/// that a handful of endpoints which begin to hang take them all.
fn healthy_ones_go_on(life: &Life<'_>, deliveries: &[Delivery]) {
    let world = life.world;
    let restarts = |(_, step): &(_, Step)| matches!(step, Step::Restart(_));
    if world.is_faulty() || world.steps.iter().any(restarts) {
        return;
    }
    for (number, place) in world.places.iter().enumerate() {
        if !place.waits_for_nothing() || world.is_touched(number) {
            continue;
        }
        let reports = life.heard.reports.reports();
        let own = reports
            .iter()
            .filter(|report| report.url.as_str() == place.url);
        let ended: BTreeMap<DeliveryId, Timestamp> = own
            .clone()
            .map(|report| (report.delivery_id, report.at))
            .collect();
        let accepted = deliveries
            .iter()
            .map(|delivery| (delivery.id, delivery.accepted_at))
            .collect::<BTreeMap<_, _>>();
        for report in own.filter(|report| !life.fresh.contains(&report.delivery_id)) {
            let Some(since) = accepted.get(&report.delivery_id) else {
                continue;
            };
            let before = ended.range(..report.delivery_id);
            let before = before.filter(|(_, at)| *at > since).count();
            let own = LONGEST_HEALTHY * u32::try_from(before).unwrap();
            let bound = own
                + if world.max_in_flight < 128 {
                    LONGEST_TIMEOUT
                } else {
                    Duration::ZERO
                };
            let late = begun_at(report).since(*since);
            if late > bound {
                life.ledger.problem(format!(
                    "delivery {} to {}, which is healthy, began {late:?} late, of {bound:?} at most",
                    report.delivery_id, place.url
                ));
            }
        }
    }
}

async fn watchers_know_the_end(life: &Life<'_>) {
    let heard = life.heard.statuses.latest_statuses();
    let removed = life.ledger.notes().removed.clone();
    for status in life.statuses().await {
        let url = status.url.clone();
        // The last delivery may have disabled it.
        let over = matches!(
            status.state,
            EndpointState::Idle | EndpointState::Disabled { .. }
        );
        if !over || status.queued > 0 || status.in_flight > 0 {
            life.ledger
                .problem(format!("{url} is not idle in the end: {status:?}"));
        }
        if status.restarts > 0 || status.reports_lost > 0 {
            life.ledger.problem(format!(
                "the subscriber of {url} panicked or had reports lost: {status:?}"
            ));
        }
        if !life.world.watches_statuses {
            continue;
        }
        match heard.get(&url) {
            // The removal of an endpoint is not reported to watchers.
            Some(told) if *told != status && !removed.contains(&url) => life.ledger.problem(
                format!("watchers were told last {told:?}, but it is {status:?}"),
            ),
            None if status.attempts > 0 => life
                .ledger
                .problem(format!("watchers were never told of {url}")),
            _ => {}
        }
    }
}

fn events_of(life: &Life<'_>) -> usize {
    let published = life.world.steps.iter().filter_map(|(_, step)| match step {
        Step::Publish { events, .. } => Some(events),
        _ => None,
    });
    published
        .flatten()
        .map(|event| &event.id)
        .collect::<BTreeSet<_>>()
        .len()
}

/// Returns when an attempt began, by its report.
fn begun_at(report: &DeliveryReport) -> Timestamp {
    let duration = i64::try_from(report.duration.as_millis()).unwrap();
    Timestamp::from_unix_millis(report.at.unix_millis() - duration)
}
