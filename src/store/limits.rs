//! How much a store holds, and how long it keeps what has ended.

use std::fmt;
use std::time::Duration;

use crate::domain::value::url::WebhookUrl;

/// How long a store keeps finished records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
#[expect(
    clippy::exhaustive_structs,
    reason = "written with `..default()`, which goes on working with a further field"
)]
pub struct BacklogLimits {
    /// The maximum number of open deliveries per endpoint. Defaults to 1,000,000.
    pub endpoint_deliveries: u64,
    /// The maximum number of bytes of bodies of one endpoint's open deliveries. Defaults to 4 GiB.
    pub endpoint_bytes: u64,
    /// The maximum total number of open deliveries. Defaults to 10,000,000; in a
    /// [`MemoryStore`](crate::store::MemoryStore) to 1,000,000.
    pub total_deliveries: u64,
    /// The maximum total number of bytes of bodies. Each open delivery counts with its whole body.
    ///
    /// Defaults to 64 GiB; in a [`MemoryStore`](crate::store::MemoryStore) to 4 GiB.
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

/// The limit that an event would have exceeded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} has {open} {unit} open, and the limit is {limit}", self.endpoint.as_ref().map_or("the store", |url| url.without_query()))]
#[non_exhaustive]
pub struct Overflow {
    /// The endpoint; `None` for a limit on the total.
    pub endpoint: Option<WebhookUrl>,
    /// What is counted.
    pub unit: BacklogUnit,
    /// The open amount.
    pub open: u64,
    /// The maximum open amount.
    pub limit: u64,
}

impl Overflow {
    /// Returns the overflow of a limit on an endpoint, or on the total.
    pub fn new(endpoint: Option<WebhookUrl>, unit: BacklogUnit, open: u64, limit: u64) -> Self {
        Self {
            endpoint,
            unit,
            open,
            limit,
        }
    }
}

/// What a limit on open deliveries counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BacklogUnit {
    /// Deliveries.
    Deliveries,
    /// Bytes of bodies.
    Bytes,
}

impl fmt::Display for BacklogUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deliveries => "deliveries",
            Self::Bytes => "bytes",
        })
    }
}
