//! The store: accepted events, their deliveries, and the record of what happened to them.
//!
//! [`Store`] is the only interface to it. `SqliteStore` (feature `sqlite`) is durable;
//! [`MemoryStore`] is not. Another implementation must pass `testing::store_conformance` (feature
//! `test-util`), and is passed to [`EngineBuilder::store`](crate::EngineBuilder::store).

pub(crate) mod attempts;
mod claim;
mod contract;
mod error;
mod events;
pub(crate) mod forwarding;
mod given_up;
mod ledger;
mod limits;
mod memory;
mod page;
mod queries;
mod redelivering;
pub(crate) mod search;
#[cfg(feature = "sqlite")]
mod sqlite;
mod unreadable;

use std::future::Future;
use std::pin::Pin;

pub use self::attempts::{AttemptCursor, AttemptPage, AttemptQuery};
pub use self::claim::StoreClaim;
pub use self::contract::{DeliveryStore, OutboxStore, RecordStore, SettingsStore, Store};
pub use self::error::{Cause, StoreError};
pub use self::events::{
    Appended, NewAlert, NewEvent, OldestInOutbox, OutboxEntry, OutboxSummary, RefusedEntry,
    StoredEvent, Unmatched,
};
pub use self::given_up::GivenUp;
pub use self::limits::{BacklogLimits, BacklogUnit, Overflow, Retention, WhenFull};
pub use self::memory::{MemoryLimits, MemoryStore};
pub use self::page::{Count, InvalidCursor, Page};
pub(crate) use self::queries::page_limit;
pub use self::queries::{
    DeadLetterQuery, DeliveryQuery, DeliveryStage, OpenQuery, OpenSummary, Redelivery,
};
pub(crate) use self::redelivering::{ENDED_AT_ONCE, REMEMBERED, Surveyor};
pub use self::redelivering::{
    RedeliveryId, RedeliveryJob, RedeliveryState, RedeliveryStep, Survey,
};
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
    DeliveryDetails, EndedDelivery, Loaded, OpenDelivery, OpenPage, PageLimit, WaitingDelivery,
};
#[doc(no_inline)]
pub use crate::domain::endpoint::status::Stopped;
pub use crate::domain::endpoint::stored::StoredEndpoint;
pub use crate::domain::events::content::ContentDigest;
pub use crate::domain::policy::agreed::Agreed;
#[doc(no_inline)]
pub use crate::domain::policy::agreed::Hold;
pub use crate::domain::policy::health::Health;
pub use crate::domain::policy::retry::Progress;

use crate::domain::endpoint::settings::Endpoint;
use crate::domain::policy::health::DisabledReason;
use crate::domain::routing::client::Client;
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::{ClientId, RuleId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;

/// The future that a store method returns. Any thread may await it.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// The cause of an error, of any type that the store's driver uses.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The traits of a store, for importing together.
pub mod prelude {
    pub use super::{DeliveryStore, OutboxStore, RecordStore, SettingsStore, Store};
}

/// The relation of the engine's time, which all times in a store use, to the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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

impl StoredClock {
    /// Returns the relation to a wall clock that is this far ahead.
    pub fn new(wall_ahead_ms: i64, latest: Option<Timestamp>) -> Self {
        Self {
            wall_ahead_ms,
            latest,
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
    /// An endpoint was paused: when, by whom, with which note.
    ///
    /// If it is paused already, this changes nothing: the first pause stays.
    Pause(WebhookUrl, Stopped),
    /// An endpoint was disabled: why, when, by whom, with which note.
    ///
    /// If it is disabled for this reason already, this changes nothing.
    ///
    /// A record that disables an endpoint ([`AttemptRecord::disabled`]) does the same, with the
    /// attempt's end as the time, and without operator and note.
    Disable(WebhookUrl, DisabledReason, Stopped),
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
#[non_exhaustive]
pub struct Configuration {
    /// The rules, ordered by id.
    pub rules: Vec<Rule>,
    /// The clients, ordered by id.
    pub clients: Vec<Client>,
    /// The endpoints with their own settings, ordered by URL.
    pub endpoints: Vec<Endpoint>,
    /// The paused endpoints, ordered by URL: each with when, by whom and with which note.
    pub paused: Vec<(WebhookUrl, Stopped)>,
    /// The disabled endpoints with the reasons, ordered by URL: each with when, by whom and with
    /// which note.
    pub disabled: Vec<(WebhookUrl, DisabledReason, Stopped)>,
}
