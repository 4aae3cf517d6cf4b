//! Errors of the facade: publishing, and building an engine.

use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::events::event::InvalidEvent;
use crate::domain::routing::client::Client;
use crate::domain::routing::rule::{InvalidRule, Rule};
use crate::domain::value::id::{ClientId, EventId, RuleId};
use crate::domain::value::text::InvalidText;
use crate::store::{BoxError, StoreError};

/// Why an event was not accepted. It can be published again under the same id.
///
/// Nothing of it was stored, save that a store may have done its work before it failed ([`Store`](Self::Store)): then it is delivered, and publishing it
/// again is answered with the receipt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The event cannot be published as it is; correct it.
    #[error("event is not valid: {0}")]
    Invalid(#[from] InvalidEvent),
    /// A body that it leads to is larger than the engine's limit; publish less data, or a link to it.
    #[error("body of {size} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// How large it is, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// More is open or under way than may be; publish it again later.
    #[error("too much is open: {0}; publish it again later")]
    Overloaded(String),
    /// The store could not accept it; [`StoreError::is_transient`] says whether publishing again can help.
    #[error("event could not be stored")]
    Store(#[source] StoreError),
    /// The client has published something else under this id, which is still remembered. Nothing of this
    /// event was accepted; publish it under an id of its own.
    #[error(
        "event id {event_id:?} of client {client_id:?} is taken by an event that says something else; publish this one under an id of its own"
    )]
    IdTaken {
        /// The id.
        event_id: EventId,
        /// Whose it is.
        client_id: ClientId,
    },
    /// The engine is shutting down or has stopped.
    #[error("engine is shutting down")]
    ShuttingDown,
}

impl PublishError {
    /// Says whether publishing the same event again later can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Overloaded(_) => true,
            Self::Store(error) => error.is_transient(),
            Self::Invalid(_)
            | Self::TooLarge { .. }
            | Self::IdTaken { .. }
            | Self::ShuttingDown => false,
        }
    }
}

/// Why an engine could not be started. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no actix system on this thread: start the engine inside `#[actix_web::main]` or `actix::System`.
    #[error("no actix system is running on this thread")]
    NoSystem,
    /// A rule cannot be used.
    #[error("rule {id:?} is not valid: {error}")]
    Rule {
        /// The rule's id.
        id: RuleId,
        /// What is wrong with it.
        error: InvalidRule,
    },
    /// Two rules have one id.
    #[error("two rules have the id {0:?}")]
    DuplicateRule(RuleId),
    /// A client cannot be used.
    #[error("client is not valid: {0}")]
    Client(InvalidText),
    /// Two clients have one id.
    #[error("two clients have the id {0:?}")]
    DuplicateClient(String),
    /// An endpoint cannot be used.
    #[error("endpoint {url:?} is not valid: {error}")]
    Endpoint {
        /// The endpoint's URL without its query.
        url: String,
        /// What is wrong with it.
        error: InvalidEndpoint,
    },
    /// Two endpoints have one URL, after normalisation.
    #[error("two endpoints have the URL {0:?}")]
    DuplicateEndpoint(String),
    /// A setting is out of its range.
    #[error("{0}")]
    Setting(String),
    /// The transport could not be made.
    #[error("transport could not be made")]
    Transport(#[source] BoxError),
    /// The store could not be read, or could not keep what the builder was given.
    #[error("store could not be used")]
    Store(#[source] StoreError),
    /// The actors stopped while the engine was being started.
    #[error("actors stopped while starting; is the system being stopped?")]
    Stopped,
}

impl BuildError {
    pub(crate) fn rule(rule: &Rule, error: InvalidRule) -> Self {
        Self::Rule {
            id: rule.id.clone(),
            error,
        }
    }

    pub(crate) fn duplicate_client(client: &Client) -> Self {
        Self::DuplicateClient(client.id.as_str().to_owned())
    }
}
