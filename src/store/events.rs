//! Events as they go into a store.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Count, Overflow};
use crate::domain::deliveries::alert::Alert;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::events::content::ContentDigest;
use crate::domain::events::event::Event;
use crate::domain::value::id::{ClientId, CompanyId, DeliveryId, EventId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::{OnWall, WallOffset};

/// An event to accept, with the alerts that it raises.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewEvent {
    /// The event's id, which makes accepting idempotent per client.
    pub id: EventId,
    /// The event's owner.
    pub client_id: ClientId,
    /// The digest of the event's content.
    ///
    /// The same id with two different digests is an error. If either digest is missing, the content
    /// counts as equal. `None` for an id that the engine has made: no other event has it.
    pub content: Option<ContentDigest>,
    /// Whether the ids of its alerts belong to its client alone.
    ///
    /// If `false`, and another client has used the event's id, nothing is stored and the answer is
    /// [`Appended::UsedByAnother`].
    pub alerts_are_its_own: bool,
    /// The time of acceptance.
    pub at: Timestamp,
    /// Its alerts; empty if no rule matched.
    pub alerts: Vec<NewAlert>,
    /// Its type and company, if no rule matched it: nothing else stored would tell them. `None`
    /// otherwise.
    pub unmatched: Option<Unmatched>,
    /// Its place in the outbox, from which the same transaction removes it; `None` if it does not
    /// come from there.
    pub outbox: Option<u64>,
}

impl NewEvent {
    /// Returns an event without a digest, whose alerts are its client's own, and which does not
    /// come from an outbox.
    pub fn new(id: EventId, client_id: ClientId, at: Timestamp, alerts: Vec<NewAlert>) -> Self {
        Self {
            id,
            client_id,
            content: None,
            alerts_are_its_own: true,
            at,
            alerts,
            unmatched: None,
            outbox: None,
        }
    }
}

/// What is kept of an event that no rule matched, to explain why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Unmatched {
    /// The event's type.
    pub rule_type: String,
    /// The company that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub company_id: Option<CompanyId>,
}

impl Unmatched {
    /// Returns what is kept of an event of this type.
    pub fn new(rule_type: impl Into<String>, company_id: Option<CompanyId>) -> Self {
        Self {
            rule_type: rule_type.into(),
            company_id,
        }
    }
}

/// An accepted event whose id is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StoredEvent {
    /// The event's id.
    pub id: EventId,
    /// The event's owner; `None` if the store does not know it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_id: Option<ClientId>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Number of its deliveries when it was accepted; 0 if no rule matched.
    pub deliveries: u64,
    /// Its type and company, if no rule matched it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unmatched: Option<Unmatched>,
}

impl StoredEvent {
    /// Returns an event of an unknown client.
    pub fn new(id: EventId, accepted_at: Timestamp, deliveries: u64) -> Self {
        Self {
            id,
            client_id: None,
            accepted_at,
            deliveries,
            unmatched: None,
        }
    }
}

impl OnWall for StoredEvent {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            accepted_at: self.accepted_at.on_wall(offset),
            ..self
        }
    }
}

/// An event in the outbox.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OutboxEntry {
    /// Its place in the outbox.
    pub seq: u64,
    /// The event, or the reason why it cannot be read.
    pub event: Result<Event, String>,
}

impl OutboxEntry {
    /// Returns the event at this place, or the reason why it cannot be read.
    pub fn new(seq: u64, event: Result<Event, String>) -> Self {
        Self { seq, event }
    }
}

/// An event in the outbox that was set aside, because it can never be routed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedEntry {
    /// Its place in the outbox.
    pub seq: u64,
    /// The event's id, if it can be read.
    pub event_id: Option<EventId>,
    /// Why it was set aside.
    pub reason: String,
}

impl RefusedEntry {
    /// Returns the event at this place, and why it was set aside.
    pub fn new(seq: u64, event_id: Option<EventId>, reason: String) -> Self {
        Self {
            seq,
            event_id,
            reason,
        }
    }
}

/// The events in the outbox, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OutboxSummary {
    /// The events that were not routed yet.
    pub waiting: Count,
    /// The first of them; `None` if none waits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub oldest: Option<OldestInOutbox>,
    /// The events that were set aside, because they can never be routed.
    pub refused: Count,
}

impl OutboxSummary {
    /// Returns the summary of an outbox in which nothing waits if `oldest` is `None`.
    pub fn new(waiting: Count, oldest: Option<OldestInOutbox>, refused: Count) -> Self {
        Self {
            waiting,
            oldest,
            refused,
        }
    }
}

/// The first event that waits in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OldestInOutbox {
    /// Its place in the outbox.
    pub seq: u64,
    /// Its id, if it can be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event_id: Option<EventId>,
    /// When it happened, as its publisher says, by the wall clock. The outbox does not know when
    /// it was stored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub occurred_at: Option<Timestamp>,
}

impl From<OutboxEntry> for OldestInOutbox {
    fn from(entry: OutboxEntry) -> Self {
        let event = entry.event.ok();
        Self {
            seq: entry.seq,
            occurred_at: event.as_ref().map(|event| event.occurred_at),
            event_id: event.map(|event| event.id),
        }
    }
}

/// An alert to accept, with the webhook URLs that it goes to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewAlert {
    /// The alert, stored once for all its webhook URLs.
    pub alert: Arc<Alert>,
    /// The webhook URLs, with one delivery each.
    pub urls: Arc<[WebhookUrl]>,
}

impl NewAlert {
    /// Returns an alert that goes to these webhook URLs.
    pub fn new(alert: impl Into<Arc<Alert>>, urls: impl Into<Arc<[WebhookUrl]>>) -> Self {
        Self {
            alert: alert.into(),
            urls: urls.into(),
        }
    }
}

/// The result of appending an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Appended {
    /// The event was stored, with these deliveries: alert by alert, webhook URL by webhook URL.
    Stored(Vec<DeliveryId>),
    /// The event was stored, but some of its deliveries are dead letters already.
    ///
    /// The backlog of their endpoints is full, or their endpoints were removed.
    StoredInPart {
        /// All its deliveries: alert by alert, webhook URL by webhook URL.
        ids: Vec<DeliveryId>,
        /// The dead letters among them, with the reasons.
        dead: Vec<(DeliveryId, DeadLetterReason)>,
    },
    /// There is no room for the event; nothing was stored.
    Full(Overflow),
    /// The event's id is remembered for its client; nothing was stored.
    Remembered {
        /// The number of deliveries of the event that first had this id.
        deliveries: usize,
    },
    /// The event's id is remembered for its client with different content; nothing was stored.
    IdTaken,
    /// The event's id is remembered for another client, and its alerts would have the same ids as
    /// that client's ([`NewEvent::alerts_are_its_own`]); nothing was stored.
    UsedByAnother,
}
