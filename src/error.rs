//! Errors of publishing and of building an engine.

use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::events::event::InvalidEvent;
use crate::domain::routing::client::Client;
use crate::domain::routing::rule::{InvalidRule, Rule};
use crate::domain::value::id::{ClientId, EventId, RuleId};
use crate::domain::value::text::InvalidText;
use crate::store::{BoxError, Overflow, StoreError};

/// Why an event was not accepted. It can be published again under the same id.
///
/// Nothing was stored, with one exception: after [`Store`](Self::Store) the outcome is unknown. If
/// the store had done its work before it failed, the event is delivered, and publishing it again
/// returns the receipt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The event is not valid; correct it.
    #[error("event is not valid: {0}")]
    Invalid(#[from] InvalidEvent),
    /// A body made from the event exceeds the engine's limit; publish less data, or a link to it.
    #[error(
        "body of {size} bytes is larger than the limit of {limit} bytes; publish less data, or a link to it"
    )]
    TooLarge {
        /// The size of the body, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// More is open or in progress than allowed; publish it again later.
    #[error("no room for the event: {0}; publish it again later")]
    Overloaded(Overload),
    /// The store could not accept it; publish it again if [`StoreError::is_transient`] returns
    /// `true`.
    #[error("event could not be stored")]
    Store(#[source] StoreError),
    /// The client has published a different event under this id, which is still remembered. Nothing
    /// of this event was accepted; publish it under an id of its own.
    #[error(
        "client {client_id:?} has already published a different event under id {event_id:?}; publish this event under a new id"
    )]
    IdTaken {
        /// The id of the event.
        event_id: EventId,
        /// The client whose event it is.
        client_id: ClientId,
    },
    /// The engine is shutting down or has stopped.
    #[error("engine is shutting down")]
    ShuttingDown,
}

/// What there was no room for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Overload {
    /// Too many events wait to be stored.
    #[error("{waiting} events are waiting to be stored")]
    Waiting {
        /// Number of events that wait.
        waiting: usize,
    },
    /// The router's mailbox is full.
    #[error("the router's mailbox is full")]
    Mailbox,
    /// A limit of the store's backlog.
    #[error("{0}")]
    Backlog(#[from] Overflow),
}

impl PublishError {
    /// Returns `true` if publishing the same event again later can help.
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
    /// No actix system runs on this thread; start the engine inside `#[actix_web::main]` or
    /// `actix::System`.
    #[error(
        "no actix system is running on this thread; start the engine inside #[actix_web::main] or actix::System"
    )]
    NoSystem,
    /// A rule is not valid.
    #[error("rule {id:?} is not valid: {error}")]
    Rule {
        /// The rule's id.
        id: RuleId,
        /// The error in the rule.
        error: InvalidRule,
    },
    /// Two rules have the same id.
    #[error("two rules have the id {0:?}")]
    DuplicateRule(RuleId),
    /// A client is not valid.
    #[error("client is not valid: {0}")]
    Client(InvalidText),
    /// Two clients have the same id.
    #[error("two clients have the id {0:?}")]
    DuplicateClient(String),
    /// An endpoint is not valid.
    #[error("endpoint {url:?} is not valid: {error}")]
    Endpoint {
        /// The endpoint's URL without its query.
        url: String,
        /// The error in the endpoint.
        error: InvalidEndpoint,
    },
    /// Two endpoints have the same URL after normalisation.
    #[error("two endpoints have the URL {0:?}")]
    DuplicateEndpoint(String),
    /// A setting of the builder is not valid.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// Several of these, in the order of rules, clients, endpoints and settings.
    #[error("{} problems: {}", .0.len(), listed(.0))]
    Several(Vec<BuildError>),
    /// The transport could not be created.
    #[error("transport could not be created")]
    Transport(#[source] BoxError),
    /// The store could not be read, or could not store what the builder was given.
    #[error("delivery store could not be used")]
    Store(#[source] StoreError),
    /// The actors stopped during startup.
    #[error("actors stopped during startup; check that the actix system is not shutting down")]
    Stopped,
}

/// Why a setting of the builder is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSetting {
    /// The name of the client id header is not a header's name, or is too long.
    #[error("client id header: {0}")]
    ClientIdHeader(InvalidEndpoint),
    /// The engine sets the header of this name itself.
    #[error("client id header: {0} is set by the engine; choose another name")]
    HeaderOfEngine(&'static str),
    /// The default policy is not valid.
    #[error("default policy: {0}")]
    DefaultPolicy(InvalidEndpoint),
    /// There are too many arbiters.
    #[error("arbiters must be at most 256")]
    Arbiters,
    /// The number of attempts in flight is out of its range.
    #[error("max_in_flight must be from 4 to 65,536")]
    MaxInFlight,
    /// Addresses were allowed beside a transport of the application's own.
    #[error("allow_addresses has no effect on a transport of your own; configure it there")]
    AllowedAddresses,
    /// The mailboxes would have no room.
    #[error("mailbox_capacity must be at least 1")]
    MailboxCapacity,
    /// A publisher would wait too long.
    #[error("publish_timeout must be at most a day")]
    PublishTimeout,
}

fn listed(errors: &[BuildError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
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
