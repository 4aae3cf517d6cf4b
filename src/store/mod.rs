//! Where accepted events live until they are delivered, and the record of what happened to them.
//!
//! [`Store`] is the one boundary. `SqliteStore` (feature `sqlite`) is durable, [`MemoryStore`] is not. Another implementation passes
//! `testing::store_conformance` (feature `test-util`) and is given to
//! [`EngineBuilder::store`](crate::EngineBuilder::store).

mod claim;
mod contract;
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

/// What a store method returns: a future that any thread may await.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// The cause of an error, of whatever type the store's driver has.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The traits of a store, to be imported together.
pub mod prelude {
    pub use super::{DeliveryStore, OutboxStore, RecordStore, SettingsStore, Store};
}

/// An event to be accepted, with the alerts that it raises.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event's id, by which accepting is idempotent for each client.
    pub id: EventId,
    /// Whose event it is.
    pub client_id: ClientId,
    /// What it says. The same id with two digests that differ is an error; without one on either side
    /// it counts as the same. `None` for ids that the engine has made: nobody else has them.
    pub content: Option<ContentDigest>,
    /// Whether the ids of its alerts are its client's alone. If not, and another client has used the
    /// event's id, nothing is stored, and the answer is [`Appended::UsedByAnother`].
    pub alerts_are_its_own: bool,
    /// When it is accepted.
    pub at: Timestamp,
    /// Its alerts; none when no rule matched.
    pub alerts: Vec<NewAlert>,
    /// Its place in the outbox, from which it is taken in the same transaction; `None` when it does not come from there.
    pub outbox: Option<u64>,
}

/// An event in the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEntry {
    /// Its place.
    pub seq: u64,
    /// The event, or why it cannot be read.
    pub event: Result<Event, String>,
}

/// How the engine's time, on which everything in a store is, stands to the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredClock {
    /// By how many milliseconds the wall clock is ahead of it; negative when it is behind. It differs from 0 once the wall clock
    /// was set while an engine ran.
    pub wall_ahead_ms: i64,
    /// The latest time at which something was written, or a time about a second earlier; `None` when it is not known. The next
    /// engine's time does not begin before it.
    pub latest: Option<Timestamp>,
}

/// For how long a store keeps what has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Deliveries that have ended, with their attempts.
    pub ended: Duration,
    /// Dead letters that were neither redelivered nor discarded.
    pub dead_letters: Duration,
    /// The ids of events, at least.
    pub event_ids: Duration,
}

/// How much may be open at once. What exceeds it is refused, or given up if [`WhenFull::DeadLetter`] says so; what is open already is not touched.
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
    /// The most open deliveries of one endpoint. Defaults to 1,000,000.
    pub endpoint_deliveries: u64,
    /// The most bytes of bodies of one endpoint's open deliveries. Defaults to 4 GiB.
    pub endpoint_bytes: u64,
    /// The most open deliveries in all. Defaults to 10,000,000; in a [`MemoryStore`] to 1,000,000.
    pub total_deliveries: u64,
    /// The most bytes of bodies of all open deliveries, each delivery counted with its whole body. Defaults to 64 GiB; in a [`MemoryStore`] to 4 GiB.
    pub total_bytes: u64,
    /// What happens beyond the limits of an endpoint. Defaults to [`WhenFull::Refuse`].
    pub when_full: WhenFull,
}

/// What happens to an event when one of its endpoints has as much open as it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// An event none of whose endpoints has room is refused with `PublishError::Overloaded`, and nothing
    /// of it is stored. One that has others too is accepted, and they get it; its deliveries to the full
    /// ones are dead letters at once, with the reason `BacklogFull`, and the receipt names them.
    #[default]
    Refuse,
    /// Every event is accepted; its deliveries to endpoints without room are dead letters at once, with
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

/// An alert to be accepted, with the webhooks that it goes to.
#[derive(Clone, Debug)]
pub struct NewAlert {
    /// The alert, stored once however many webhooks it has.
    pub alert: Arc<Alert>,
    /// One delivery each.
    pub urls: Arc<[WebhookUrl]>,
}

/// What became of an event that was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Appended {
    /// It was stored; these are its deliveries, alert by alert, webhook by webhook.
    Stored(Vec<DeliveryId>),
    /// It was stored, but some of its deliveries are dead letters already: their endpoints have as much open as they may, or
    /// were removed.
    StoredInPart {
        /// Its deliveries, alert by alert, webhook by webhook.
        ids: Vec<DeliveryId>,
        /// Those of them that are dead letters, and why.
        dead: Vec<(DeliveryId, DeadLetterReason)>,
    },
    /// There is no room for it; nothing of it was stored.
    Full(Overflow),
    /// Its id was remembered for its client: nothing was stored. The first one had so many deliveries.
    Remembered {
        /// The deliveries of the first receipt.
        deliveries: usize,
    },
    /// Its id was remembered for its client, but that event said something else. Nothing was stored.
    IdTaken,
    /// Its id was remembered for another client, and its alerts would have that one's ids
    /// ([`NewEvent::alerts_are_its_own`]). Nothing was stored.
    UsedByAnother,
}

/// Which open deliveries of an endpoint are asked for. Defaults to all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenQuery {
    /// Only those of this rule.
    pub rule_id: Option<RuleId>,
    /// Only those of this client.
    pub client_id: Option<ClientId>,
}

/// Which limit an event would have exceeded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} has {open} {unit} open, the limit is {limit}", self.endpoint.as_ref().map_or("the store", |url| url.without_query()))]
pub struct Overflow {
    /// The endpoint; `None` when it is the limit for all.
    pub endpoint: Option<WebhookUrl>,
    /// What is counted: `deliveries` or `bytes`.
    pub unit: &'static str,
    /// How much is open.
    pub open: u64,
    /// How much may be.
    pub limit: u64,
}

/// The open deliveries of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSummary {
    /// The endpoint.
    pub url: WebhookUrl,
    /// How many are open.
    pub open: u64,
    /// When the oldest was accepted.
    pub oldest: Timestamp,
    /// When the first waiting retry is due; `None` when none waits.
    pub next_due: Option<Timestamp>,
}

/// Which deliveries to list. Defaults to the newest 100 of everything. In JSON an unknown field is an error: a filter that is misspelt must not find
/// everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DeliveryQuery {
    /// Only those of this endpoint.
    pub url: Option<WebhookUrl>,
    /// Only those of this client.
    pub client_id: Option<ClientId>,
    /// Only those of this event.
    pub event_id: Option<EventId>,
    /// Only those with this rule type.
    pub rule_type: Option<String>,
    /// Only those in this stage.
    pub stage: Option<DeliveryStage>,
    /// Only those accepted at or after this instant.
    pub since: Option<Timestamp>,
    /// Only those accepted before this instant.
    pub until: Option<Timestamp>,
    /// Only those before this one, to turn the page.
    pub before: Option<DeliveryId>,
    /// At most so many. 0 means 100; more than 1,000 is 1,000.
    pub limit: usize,
}

/// A coarse state to ask for.
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

/// Which dead letters to list, redeliver or discard. Defaults to the newest 100 of all; redelivered are the oldest first. In JSON an unknown field is an error: a filter that is misspelt must
/// not find everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DeadLetterQuery {
    /// Only those of this endpoint.
    pub url: Option<WebhookUrl>,
    /// Only those of this client.
    pub client_id: Option<ClientId>,
    /// Only those of this event.
    pub event_id: Option<EventId>,
    /// Only those given up at or after this instant.
    pub since: Option<Timestamp>,
    /// Only those before this one, to turn the page.
    pub before: Option<DeliveryId>,
    /// At most so many. 0 means 100; more than 1,000 is 1,000.
    pub limit: usize,
}

impl DeliveryQuery {
    /// Returns the query with its wall times turned into the engine's.
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
    /// Returns the query with its wall times turned into the engine's.
    #[must_use]
    pub(crate) fn in_engine_time(self, offset: WallOffset) -> Self {
        Self {
            since: self.since.map(|at| offset.to_engine(at)),
            ..self
        }
    }
}

/// Returns how many rows a query gets.
pub(crate) fn page_limit(asked: usize) -> usize {
    const DEFAULT: usize = 100;
    const MOST: usize = 1_000;
    if asked == 0 { DEFAULT } else { asked.min(MOST) }
}

/// What to deliver again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Redelivery {
    /// One delivery, whatever its state.
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
    /// Returns the choice with its wall times turned into the engine's.
    #[must_use]
    pub(crate) fn in_engine_time(self, offset: WallOffset) -> Self {
        match self {
            Self::One(id) => Self::One(id),
            Self::DeadLetters(query) => Self::DeadLetters(query.in_engine_time(offset)),
        }
    }
}

/// A change of the configuration that outlives the process, if the store does.
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
    /// If its requests carried something that was set for it (authorisation, headers, a content type,
    /// signatures, a certificate), or its settings cannot be read, what is open for it and what comes for it
    /// from then on are dead letters with the reason that it was removed: a call without its settings is not what
    /// anybody has asked for. That lasts until [`PutEndpoint`](Self::PutEndpoint) for it, or
    /// [`PutRule`](Self::PutRule) with a rule that names it.
    RemoveEndpoint(WebhookUrl),
    /// An endpoint was paused.
    Pause(WebhookUrl),
    /// An endpoint was disabled.
    Disable(WebhookUrl, DisabledReason),
    /// An endpoint was resumed: it is neither paused nor disabled, its failures are forgotten, and it is held back no longer. What is kept of
    /// it is [`lifted`](Agreed::lifted); deliveries that wait for the hold's end, or for nearly that, are due since it began.
    Resume(WebhookUrl),
    /// A credential is about to be given no longer, and deliveries that were made under it may still show it. It takes the
    /// place of one with the same [`key`](PastCredential::key).
    KeepPast(PastCredential),
    /// The past credential with this key is needed no longer.
    ForgetPast(String),
}

/// A configuration as far as it can be read, and what cannot.
pub type Readable = (Configuration, Vec<UnreadableSetting>);

/// The configuration as a store kept it.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// The rules, ordered by id.
    pub rules: Vec<Rule>,
    /// The clients, ordered by id.
    pub clients: Vec<Client>,
    /// The endpoints with settings of their own, ordered by URL.
    pub endpoints: Vec<Endpoint>,
    /// The endpoints that are paused, ordered by URL.
    pub paused: Vec<WebhookUrl>,
    /// The endpoints that are disabled and why, ordered by URL.
    pub disabled: Vec<(WebhookUrl, DisabledReason)>,
}

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be reached or is busy; nothing was changed. Asking again can help.
    #[error("delivery store is unavailable; try again later")]
    Unavailable(#[source] BoxError),
    /// There is no room left where it writes. Nothing was changed; asking again helps once there is.
    #[error("delivery store has no room left on its disk; make room, it goes on by itself")]
    NoSpace(#[source] BoxError),
    /// It may not write. Nothing was changed; asking again helps once it may.
    #[error("delivery store may not be written to; check the rights of the file and of its folder")]
    ReadOnly(#[source] BoxError),
    /// The delivery that was named goes to an endpoint that was removed. Put the endpoint, or a rule that names it, first.
    #[error(
        "endpoint {} was removed; put it, or a rule that names it, before something is delivered to it again",
        .0.without_query()
    )]
    EndpointRemoved(WebhookUrl),
    /// It is open already, in another process or in this one, or another engine works on it. Close it there first.
    #[error(
        "delivery store {0} is in use already, in another process or by another engine in this one; close it there first"
    )]
    InUse(String),
    /// Its file, or its log, was removed, moved or replaced while it is open. What is told to it now would be lost with it. Put it back, or start again.
    #[error(
        "delivery store's file {0} was removed or replaced while it is open; put it back, or start again on the file that is to be used"
    )]
    Replaced(String),
    /// There can be no file at its path. Name one in a folder that exists; for a store in memory there is [`MemoryStore`].
    #[error("delivery store cannot be at {path:?}; name a file in a folder that exists")]
    BadPath {
        /// The path that was given.
        path: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// It was written by a newer version of this crate.
    #[error(
        "delivery store has schema version {found}, this version of the crate knows {known}; use a newer one"
    )]
    NewerSchema {
        /// The version that was found.
        found: i64,
        /// The newest version that is known.
        known: i64,
    },
    /// It is sealed with a key that was not given; this is the key's id. Nothing was changed.
    #[error(
        "delivery store is sealed with key {0}, which was not given; open it with that key in SqliteOptions::encryption, to change keys by Encryption::also_reads"
    )]
    Sealed(String),
    /// What it holds cannot be read. Asking again does not help.
    #[error("delivery store is damaged; mend it or restore a copy")]
    Damaged(#[source] BoxError),
    /// It cannot do this at all; another store can.
    #[error("delivery store does not support {0}; use one that does")]
    Unsupported(&'static str),
    /// A question took longer than the store lets one take, because of what it keeps from being tidied up meanwhile. Ask for less.
    #[error(
        "question to the delivery store took too long and was broken off; narrow its filter, or ask for a shorter page"
    )]
    TookTooLong,
    /// There is no room for what was to be delivered again. It stays as it is; asking again helps once there is.
    #[error("there is no room to deliver it again: {0}")]
    Full(Overflow),
    /// The delivery that was named does not exist, or is remembered no longer.
    #[error("there is no delivery {0}")]
    UnknownDelivery(DeliveryId),
}

impl StoreError {
    /// Returns the error with its causes, for people.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// Returns an error like this one for another caller; of the cause only the text is left.
    pub(crate) fn copy(&self) -> Self {
        let text = |cause: &BoxError| BoxError::from(cause.to_string());
        match self {
            Self::Unavailable(cause) => Self::Unavailable(text(cause)),
            Self::NoSpace(cause) => Self::NoSpace(text(cause)),
            Self::ReadOnly(cause) => Self::ReadOnly(text(cause)),
            Self::Damaged(cause) => Self::Damaged(text(cause)),
            Self::InUse(path) => Self::InUse(path.clone()),
            Self::Replaced(path) => Self::Replaced(path.clone()),
            Self::BadPath { path, source } => Self::BadPath {
                path: path.clone(),
                source: text(source),
            },
            Self::Sealed(key) => Self::Sealed(key.clone()),
            Self::NewerSchema { found, known } => Self::NewerSchema {
                found: *found,
                known: *known,
            },
            Self::Unsupported(what) => Self::Unsupported(what),
            Self::TookTooLong => Self::TookTooLong,
            Self::Full(overflow) => Self::Full(overflow.clone()),
            Self::UnknownDelivery(id) => Self::UnknownDelivery(*id),
            Self::EndpointRemoved(url) => Self::EndpointRemoved(url.clone()),
        }
    }

    /// Says whether asking again later can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::NoSpace(_) | Self::ReadOnly(_) | Self::Full(_) => true,
            Self::Damaged(_)
            | Self::InUse(_)
            | Self::Replaced(_)
            | Self::BadPath { .. }
            | Self::Sealed(_)
            | Self::NewerSchema { .. }
            | Self::EndpointRemoved(_)
            | Self::Unsupported(_)
            | Self::TookTooLong
            | Self::UnknownDelivery(_) => false,
        }
    }
}
