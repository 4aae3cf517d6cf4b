//! The store: accepted events, their deliveries, and the record of what happened to them.
//!
//! [`Store`] is the only interface to it. `SqliteStore` (feature `sqlite`) is durable;
//! [`MemoryStore`] is not. Another implementation must pass `testing::store_conformance` (feature
//! `test-util`), and is passed to [`EngineBuilder::store`](crate::EngineBuilder::store).

mod claim;
mod contract;
mod error;
pub(crate) mod forwarding;
mod given_up;
mod ledger;
mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;
mod unreadable;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::claim::StoreClaim;
pub use self::contract::{DeliveryStore, OutboxStore, RecordStore, SettingsStore, Store};
pub use self::error::{Cause, StoreError};
pub use self::given_up::GivenUp;
pub use self::memory::{MemoryLimits, MemoryStore};
#[cfg(all(feature = "fuzzing", feature = "sqlite"))]
pub(crate) use self::sqlite::fuzzing as sqlite_fuzzing;
#[cfg(feature = "sqlite")]
pub use self::sqlite::{
    Encryption, EncryptionKey, ForgottenEarly, OutboxError, SqliteOptions, SqliteStore,
};
pub use self::unreadable::{Setting, UnreadableSetting};
pub use crate::domain::credentials::{CredentialOwner, PastCredential};
pub use crate::domain::deliveries::alert::Alert;
pub use crate::domain::deliveries::attempt::{Attempt, AttemptRecord};
pub use crate::domain::deliveries::delivery::{
    EndedDelivery, Loaded, OpenDelivery, OpenPage, PageLimit, WaitingDelivery,
};
pub use crate::domain::endpoint::stored::StoredEndpoint;
pub use crate::domain::events::content::ContentDigest;
pub use crate::domain::policy::agreed::Agreed;
#[doc(no_inline)]
pub use crate::domain::policy::agreed::Hold;
pub use crate::domain::policy::health::Health;
pub use crate::domain::policy::retry::Progress;

use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::events::event::Event;
use crate::domain::policy::health::DisabledReason;
use crate::domain::routing::client::Client;
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::{ClientId, DeliveryId, EventId, RuleId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::WallOffset;

/// The future that a store method returns. Any thread may await it.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// The cause of an error, of any type that the store's driver uses.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The traits of a store, for importing together.
pub mod prelude {
    pub use super::{DeliveryStore, OutboxStore, RecordStore, SettingsStore, Store};
}

/// An event to accept, with the alerts that it raises.
#[derive(Clone, Debug)]
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
    /// Its place in the outbox, from which the same transaction removes it; `None` if it does not
    /// come from there.
    pub outbox: Option<u64>,
}

/// An event in the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEntry {
    /// Its place in the outbox.
    pub seq: u64,
    /// The event, or the reason why it cannot be read.
    pub event: Result<Event, String>,
}

/// The relation of the engine's time, which all times in a store use, to the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredClock {
    /// How far the wall clock is ahead of the engine's time, in milliseconds; negative if behind.
    ///
    /// It differs from 0 once the wall clock was set while an engine ran.
    pub wall_ahead_ms: i64,
    /// The time of the latest write, or up to about a second earlier; `None` if unknown.
    ///
    /// The next engine's time starts no earlier than this.
    pub latest: Option<Timestamp>,
}

/// How long a store keeps finished records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Deliveries that have ended, with their attempts.
    pub ended: Duration,
    /// Dead letters that were neither redelivered nor discarded.
    pub dead_letters: Duration,
    /// The ids of events, kept at least this long.
    pub event_ids: Duration,
}

/// The limits on open deliveries.
///
/// A new delivery beyond them is refused or, with [`WhenFull::DeadLetter`], given up. Deliveries
/// that are already open are not affected.
///
/// ```
/// use actix_webhooks::store::{BacklogLimits, MemoryLimits, MemoryStore, WhenFull};
///
/// let backlog = BacklogLimits {
///     endpoint_deliveries: 10_000,
///     when_full: WhenFull::DeadLetter,
///     ..BacklogLimits::default()
/// };
/// let store = MemoryStore::with_limits(MemoryLimits { backlog, ..MemoryLimits::default() });
/// # drop(store);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogLimits {
    /// The maximum number of open deliveries per endpoint. Defaults to 1,000,000.
    pub endpoint_deliveries: u64,
    /// The maximum number of bytes of bodies of one endpoint's open deliveries. Defaults to 4 GiB.
    pub endpoint_bytes: u64,
    /// The maximum total number of open deliveries. Defaults to 10,000,000; in a [`MemoryStore`] to
    /// 1,000,000.
    pub total_deliveries: u64,
    /// The maximum total number of bytes of bodies. Each open delivery counts with its whole body.
    ///
    /// Defaults to 64 GiB; in a [`MemoryStore`] to 4 GiB.
    pub total_bytes: u64,
    /// The treatment of events beyond the limits of an endpoint. Defaults to [`WhenFull::Refuse`].
    pub when_full: WhenFull,
}

/// The treatment of an event for an endpoint whose backlog is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// An event is refused with `PublishError::Overloaded`, and not stored, if none of its
    /// endpoints has room.
    ///
    /// If some have room, the event is accepted and they receive it. Its deliveries to the full
    /// endpoints become dead letters at once, with the reason `BacklogFull`, and the receipt names
    /// those endpoints.
    #[default]
    Refuse,
    /// Every event is accepted. Its deliveries to full endpoints become dead letters at once, with
    /// the reason `BacklogFull`.
    DeadLetter,
}

impl Default for BacklogLimits {
    fn default() -> Self {
        const GIB: u64 = 1_024 * 1_024 * 1_024;
        Self {
            endpoint_deliveries: 1_000_000,
            endpoint_bytes: 4 * GIB,
            total_deliveries: 10_000_000,
            total_bytes: 64 * GIB,
            when_full: WhenFull::Refuse,
        }
    }
}

/// An alert to accept, with the webhook URLs that it goes to.
#[derive(Clone, Debug)]
pub struct NewAlert {
    /// The alert, stored once for all its webhook URLs.
    pub alert: Arc<Alert>,
    /// The webhook URLs, with one delivery each.
    pub urls: Arc<[WebhookUrl]>,
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

/// A filter on the open deliveries of an endpoint. Defaults to all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenQuery {
    /// Only deliveries of this rule.
    pub rule_id: Option<RuleId>,
    /// Only deliveries of this client.
    pub client_id: Option<ClientId>,
}

/// The limit that an event would have exceeded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} has {open} {unit} open, and the limit is {limit}", self.endpoint.as_ref().map_or("the store", |url| url.without_query()))]
pub struct Overflow {
    /// The endpoint; `None` for a limit on the total.
    pub endpoint: Option<WebhookUrl>,
    /// The unit counted: `deliveries` or `bytes`.
    pub unit: &'static str,
    /// The open amount.
    pub open: u64,
    /// The maximum open amount.
    pub limit: u64,
}

/// The open deliveries of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSummary {
    /// The endpoint.
    pub url: WebhookUrl,
    /// The number of open deliveries.
    pub open: u64,
    /// When the oldest one was accepted.
    pub oldest: Timestamp,
    /// When the first waiting retry is due; `None` if none waits.
    pub next_due: Option<Timestamp>,
}

/// A filter for listing deliveries. Defaults to the newest 100 of all.
///
/// In JSON an unknown field is an error, so that a misspelt filter does not match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DeliveryQuery {
    /// Only deliveries to this endpoint.
    pub url: Option<WebhookUrl>,
    /// Only deliveries of this client.
    pub client_id: Option<ClientId>,
    /// Only deliveries of this event.
    pub event_id: Option<EventId>,
    /// Only deliveries with this rule type.
    pub rule_type: Option<String>,
    /// Only deliveries in this stage.
    pub stage: Option<DeliveryStage>,
    /// Only deliveries accepted at or after this instant.
    pub since: Option<Timestamp>,
    /// Only deliveries accepted before this instant.
    pub until: Option<Timestamp>,
    /// Only deliveries before this one, for the next page.
    pub before: Option<DeliveryId>,
    /// The maximum number of results. 0 means 100; more than 1,000 means 1,000.
    pub limit: usize,
}

/// The coarse state of a delivery, for filtering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeliveryStage {
    /// Not attempted yet, or waiting for a retry.
    Open,
    /// Delivered.
    Delivered,
    /// Given up.
    DeadLettered,
}

/// A filter for listing, redelivering or discarding dead letters. Defaults to the newest 100 of
/// all.
///
/// Redelivering takes the oldest first. In JSON an unknown field is an error, so that a misspelt
/// filter does not match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DeadLetterQuery {
    /// Only dead letters of this endpoint.
    pub url: Option<WebhookUrl>,
    /// Only dead letters of this client.
    pub client_id: Option<ClientId>,
    /// Only dead letters of this event.
    pub event_id: Option<EventId>,
    /// Only dead letters given up at or after this instant.
    pub since: Option<Timestamp>,
    /// Only dead letters before this one, for the next page.
    pub before: Option<DeliveryId>,
    /// The maximum number of results. 0 means 100; more than 1,000 means 1,000.
    pub limit: usize,
}

impl DeliveryQuery {
    /// Returns the query with its wall times converted to the engine's time.
    #[must_use]
    pub(crate) fn in_engine_time(self, offset: WallOffset) -> Self {
        Self {
            since: self.since.map(|at| offset.to_engine(at)),
            until: self.until.map(|at| offset.to_engine(at)),
            ..self
        }
    }
}

impl DeadLetterQuery {
    /// Returns the query with its wall times converted to the engine's time.
    #[must_use]
    pub(crate) fn in_engine_time(self, offset: WallOffset) -> Self {
        Self {
            since: self.since.map(|at| offset.to_engine(at)),
            ..self
        }
    }
}

/// Returns the number of rows for a requested limit.
pub(crate) fn page_limit(asked: usize) -> usize {
    const DEFAULT: usize = 100;
    const MOST: usize = 1_000;
    if asked == 0 { DEFAULT } else { asked.min(MOST) }
}

/// The deliveries to deliver again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Redelivery {
    /// One delivery, in any state.
    One(DeliveryId),
    /// The dead letters that a query finds.
    DeadLetters(DeadLetterQuery),
}

impl From<DeliveryId> for Redelivery {
    fn from(id: DeliveryId) -> Self {
        Self::One(id)
    }
}

impl From<DeadLetterQuery> for Redelivery {
    fn from(query: DeadLetterQuery) -> Self {
        Self::DeadLetters(query)
    }
}

impl Redelivery {
    /// Returns the choice with its wall times converted to the engine's time.
    #[must_use]
    pub(crate) fn in_engine_time(self, offset: WallOffset) -> Self {
        match self {
            Self::One(id) => Self::One(id),
            Self::DeadLetters(query) => Self::DeadLetters(query.in_engine_time(offset)),
        }
    }
}

/// A change of the configuration that survives the process if the store does.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and rarely"
)]
pub enum Change {
    /// A rule was added or replaced.
    PutRule(Rule),
    /// A rule was removed.
    RemoveRule(RuleId),
    /// A client was added or replaced.
    PutClient(Client),
    /// A client was removed.
    RemoveClient(ClientId),
    /// An endpoint's settings were added or replaced.
    PutEndpoint(Endpoint),
    /// An endpoint's settings and health were removed.
    ///
    /// Requests to the endpoint may have carried something set for it: authorisation, headers, a
    /// content type, signatures, a certificate. If they did, or if its settings cannot be read, its
    /// open and its later deliveries become dead letters with the reason that the endpoint was
    /// removed: nobody asked for a call without its settings. This lasts until
    /// [`PutEndpoint`](Self::PutEndpoint) for the endpoint, or [`PutRule`](Self::PutRule) with a
    /// rule that names it.
    RemoveEndpoint(WebhookUrl),
    /// An endpoint was paused.
    Pause(WebhookUrl),
    /// An endpoint was disabled.
    Disable(WebhookUrl, DisabledReason),
    /// An endpoint was resumed.
    ///
    /// It is no longer paused, disabled or held, and its failures are forgotten. Its stored
    /// agreement is [`lifted`](Agreed::lifted). Deliveries due at the end of the hold, or slightly
    /// before, become due as of the start of the hold.
    Resume(WebhookUrl),
    /// A credential is about to end, and deliveries made under it may still carry it.
    ///
    /// It replaces a past credential with the same [`key`](PastCredential::key).
    KeepPast(PastCredential),
    /// The past credential with this key is no longer needed.
    ForgetPast(String),
}

/// The readable part of a configuration, and the settings that cannot be read.
pub type Readable = (Configuration, Vec<UnreadableSetting>);

/// The configuration as stored.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// The rules, ordered by id.
    pub rules: Vec<Rule>,
    /// The clients, ordered by id.
    pub clients: Vec<Client>,
    /// The endpoints with their own settings, ordered by URL.
    pub endpoints: Vec<Endpoint>,
    /// The paused endpoints, ordered by URL.
    pub paused: Vec<WebhookUrl>,
    /// The disabled endpoints with the reasons, ordered by URL.
    pub disabled: Vec<(WebhookUrl, DisabledReason)>,
}
