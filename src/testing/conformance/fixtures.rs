//! Events and records that the suite stores.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::deliveries::outcome::{Failure, Outcome};
use crate::domain::events::payload::PayloadFormat;
use crate::domain::value::id::{AlertId, CompanyId, DeliveryId, EventId, RuleId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::{Alert, Appended, AttemptRecord, NewAlert, NewEvent, Progress, Store};

pub(super) const A: &str = "http://a.test/";
pub(super) const B: &str = "http://b.test/";

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(seconds * 1_000)
}

pub(super) fn url(text: &str) -> WebhookUrl {
    WebhookUrl::parse(text).unwrap()
}

pub(super) fn progress(attempts_made: u32) -> Progress {
    Progress {
        attempts_made,
        deadline: Some(at(120)),
    }
}

pub(super) fn alert(event: &str, rule: &str, company: Option<&str>) -> Arc<Alert> {
    let (event_id, rule_id) = (EventId::from(event), RuleId::from(rule));
    Arc::new(Alert {
        id: AlertId::new(&event_id, &rule_id),
        event_id,
        rule_id,
        rule_type: "t".into(),
        client_id: "c".into(),
        company_id: company.map(CompanyId::from),
        format: PayloadFormat::Alert,
        body: Bytes::from_static(b"{}"),
    })
}

pub(super) fn event(id: &str, rules: &[&str], urls: &[&str]) -> NewEvent {
    let urls: Arc<[WebhookUrl]> = urls.iter().map(|text| url(text)).collect();
    let new_alert = |rule: &&str| NewAlert {
        alert: alert(id, rule, Some("company")),
        urls: Arc::clone(&urls),
    };
    NewEvent {
        id: id.into(),
        client_id: "c".into(),
        content: None,
        alerts_are_its_own: true,
        at: at(0),
        alerts: rules.iter().map(new_alert).collect(),
        unmatched: None,
        outbox: None,
    }
}

/// Appends events `a-0`, `a-1`, … (or `b-…`) with one delivery each.
pub(super) async fn append(store: &impl Store, count: usize, to: &str) -> Vec<DeliveryId> {
    let prefix = if to == A { "a" } else { "b" };
    let batch = (0..count)
        .map(|number| event(&format!("{prefix}-{number}"), &["r"], &[to]))
        .collect();
    ids(store.append(batch).await.unwrap())
}

pub(super) fn ids(appended: Vec<Appended>) -> Vec<DeliveryId> {
    let stored = appended.into_iter().map(|appended| {
        let Appended::Stored(ids) = appended else {
            panic!("the event is new: {appended:?}");
        };
        ids
    });
    stored.flatten().collect()
}

pub(super) fn record(id: DeliveryId, to: &str, number: u32, outcome: Outcome) -> AttemptRecord {
    AttemptRecord {
        delivery_id: id,
        url: url(to),
        summary: AttemptSummary::new(number, at(1), Duration::from_millis(5)),
        outcome,
        progress: progress(number),
        next_attempt_at: None,
        hold_until: None,
        agreed: None,
        health: None,
        disabled: None,
        excerpt: Bytes::new(),
        trace: None,
    }
}

pub(super) fn delivered(id: DeliveryId, to: &str) -> AttemptRecord {
    record(id, to, 1, Outcome::Delivered)
}

pub(super) fn dead(id: DeliveryId, to: &str) -> AttemptRecord {
    record(
        id,
        to,
        1,
        Outcome::DeadLettered {
            reason: DeadLetterReason::Permanent(Failure::Status(400)),
        },
    )
}

pub(super) fn failed(id: DeliveryId, to: &str, number: u32, due: i64) -> AttemptRecord {
    let failed = record(
        id,
        to,
        number,
        Outcome::Failed {
            failure: Failure::Timeout,
        },
    );
    AttemptRecord {
        next_attempt_at: Some(at(due)),
        ..failed
    }
}
