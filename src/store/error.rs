//! Why a call of the store failed.

use std::error::Error;
use std::sync::Arc;

use super::{BoxError, Overflow};
use crate::domain::value::id::DeliveryId;
use crate::domain::value::url::WebhookUrl;

/// The cause of an error, shared by everyone whom the error is told.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why a call of the store failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be reached or is busy; nothing was changed. Trying again can help.
    #[error("delivery store is unavailable; try again later")]
    Unavailable(#[source] Cause),
    /// The store's disk is full; nothing was changed. Trying again helps once there is room.
    #[error("delivery store's disk is full; free some space, and the store continues by itself")]
    NoSpace(#[source] Cause),
    /// The store may not write; nothing was changed. Trying again helps once it may.
    #[error("delivery store is not writable; check the permissions of its file and directory")]
    ReadOnly(#[source] Cause),
    /// The endpoint of the delivery was removed. Put the endpoint, or a rule that names it, first.
    #[error(
        "endpoint {} was removed; put it, or a rule that names it, before you redeliver to it",
        .0.without_query()
    )]
    EndpointRemoved(WebhookUrl),
    /// The store is already open, in another process or in this one, or another engine uses it.
    /// Close it there first.
    #[error(
        "delivery store {0} is already in use by another process or engine; close it there first"
    )]
    InUse(String),
    /// The store's file or its log was removed, moved or replaced while open.
    ///
    /// Further writes would be lost with it. Put the file back, or start again.
    #[error(
        "delivery store's file {0} was removed or replaced while open; put it back, or restart with the file to use"
    )]
    Replaced(String),
    /// No file can exist at the path. Name one in a folder that exists, or use a
    /// [`MemoryStore`](crate::store::MemoryStore).
    #[error("delivery store cannot be created at {path:?}; name a file in a directory that exists")]
    BadPath {
        /// The given path.
        path: String,
        /// The reason.
        #[source]
        source: Cause,
    },
    /// The store was written by a newer version of this crate.
    #[error(
        "delivery store has schema version {found}, but this version of actix-webhooks supports at most {known}; upgrade the crate"
    )]
    NewerSchema {
        /// The schema version found.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// The store is sealed with a key that was not given; nothing was changed. Contains the key's
    /// id.
    #[error(
        "delivery store is sealed with key {0}, which was not given; give it in SqliteOptions::encryption, or in Encryption::also_reads to change keys"
    )]
    Sealed(String),
    /// The store's content cannot be read. Trying again does not help.
    #[error("delivery store is damaged; repair it or restore a backup")]
    Damaged(#[source] Cause),
    /// The store does not support this; another store can.
    #[error("delivery store does not support {0}; use one that does")]
    Unsupported(&'static str),
    /// A query exceeded the store's time limit. Ask for less.
    ///
    /// The limit exists because a long query keeps the store from tidying up.
    #[error(
        "query to the delivery store took too long and was cancelled; narrow its filter, or ask for a shorter page"
    )]
    TookTooLong,
    /// There is no room to deliver it again. It stays as it is; trying again helps once there is
    /// room.
    #[error("there is no room to redeliver: {0}; try again later")]
    Full(Overflow),
    /// The delivery does not exist, or is no longer remembered.
    #[error("delivery {0} does not exist, or is no longer stored")]
    UnknownDelivery(DeliveryId),
}

impl StoreError {
    /// Returns [`Unavailable`](Self::Unavailable) with its cause.
    pub fn unavailable(cause: impl Into<BoxError>) -> Self {
        Self::Unavailable(cause.into().into())
    }

    /// Returns [`NoSpace`](Self::NoSpace) with its cause.
    pub fn no_space(cause: impl Into<BoxError>) -> Self {
        Self::NoSpace(cause.into().into())
    }

    /// Returns [`ReadOnly`](Self::ReadOnly) with its cause.
    pub fn read_only(cause: impl Into<BoxError>) -> Self {
        Self::ReadOnly(cause.into().into())
    }

    /// Returns [`Damaged`](Self::Damaged) with its cause.
    pub fn damaged(cause: impl Into<BoxError>) -> Self {
        Self::Damaged(cause.into().into())
    }

    /// Returns the error with its causes, for display.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// Returns `true` if trying again later can help.
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
