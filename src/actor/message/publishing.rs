//! Events, and the rules and clients that route them.

use actix::Message;
use serde::{Deserialize, Serialize};

use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::events::event::Event;
use crate::domain::routing::client::Client;
use crate::domain::routing::rule::{InvalidRule, Rule};
use crate::domain::value::id::{ClientId, EventId, RuleId};
use crate::domain::value::text::InvalidText;
use crate::domain::value::url::WebhookUrl;
use crate::error::PublishError;
use crate::store::StoreError;

/// Publishes an event: application → [`RouterActor`](crate::RouterActor).
///
/// The answer comes once the event and its deliveries are in the store. On an error nothing was
/// accepted, with the exception described at [`PublishError`]. If
/// [`EngineBuilder::mailbox_capacity`](crate::EngineBuilder::mailbox_capacity) events already wait
/// to be stored, the event is refused at once; [`Engine::publish`](crate::Engine::publish) waits
/// for room.
///
/// ```
/// use actix_webhooks::{Engine, Event, Publish};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let event = Event::new("invoice.paid", "client-1").message("Invoice 7 was paid.");
/// let receipt = engine.router().send(Publish::new(event)).await??;
/// assert_eq!(receipt.deliveries, 0, "no rule matches it");
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Publish {
    /// The event.
    pub event: Event,
}

impl Publish {
    /// Returns the message.
    pub fn new(event: Event) -> Self {
        Self { event }
    }
}

impl Message for Publish {
    type Result = Result<Receipt, PublishError>;
}

/// Publishes several events, each accepted or refused on its own: application →
/// [`RouterActor`](crate::RouterActor).
///
/// The answers are in the order of the events. A batch is cheaper than one message per event. It is
/// taken as a whole. If [`EngineBuilder::mailbox_capacity`](crate::EngineBuilder::mailbox_capacity)
/// events (256 by default) already wait to be stored, it is refused as a whole with
/// [`PublishError::Overloaded`].
///
/// ```
/// use actix_webhooks::{Engine, Event, PublishBatch};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let paid = |client: &str| Event::new("invoice.paid", client);
/// let batch = PublishBatch::new([paid("client-1"), paid("client-2")]);
/// for receipt in engine.router().send(batch).await? {
///     let receipt = receipt?;
///     println!("{} has {} deliveries", receipt.event_id, receipt.deliveries);
/// }
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PublishBatch {
    /// The events.
    pub events: Vec<Event>,
}

impl PublishBatch {
    /// Returns the message.
    pub fn new(events: impl IntoIterator<Item = Event>) -> Self {
        Self {
            events: events.into_iter().collect(),
        }
    }
}

impl Message for PublishBatch {
    type Result = Vec<Result<Receipt, PublishError>>;
}

/// The answer to a publisher once its event is as durable as the store can make it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Receipt {
    /// The event's id.
    pub event_id: EventId,
    /// The number of deliveries the event created; 0 if no rule matched. For a duplicate, the
    /// number of the first publication.
    pub deliveries: usize,
    /// The rules that the event matched, ordered by id.
    ///
    /// Always empty for a duplicate, for which they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleId>,
    /// `true` if the client had already published this event. Nothing is then stored or delivered
    /// again.
    #[serde(default)]
    pub duplicate: bool,
    /// The endpoints whose backlog is full, or that were removed
    /// ([`RemoveEndpoint`](crate::RemoveEndpoint)).
    ///
    /// Their deliveries are dead letters with the reason `BacklogFull` or `EndpointRemoved`, which
    /// can be redelivered later. They count among the [`deliveries`](Self::deliveries). The list is
    /// nearly always empty. It is always empty for a duplicate, for which it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<WebhookUrl>,
}

impl Receipt {
    pub(crate) fn new(event_id: EventId, deliveries: usize) -> Self {
        Self {
            event_id,
            deliveries,
            rules: Vec::new(),
            duplicate: false,
            given_up: Vec::new(),
        }
    }

    /// Returns the receipt of an event that was accepted earlier.
    pub(crate) fn of_a_repetition(event_id: EventId, deliveries: usize) -> Self {
        Self {
            duplicate: true,
            ..Self::new(event_id, deliveries)
        }
    }
}

/// Adds a rule, or replaces the rule with its id: application →
/// [`RouterActor`](crate::RouterActor).
///
/// The rule applies to every event published after it. The router takes no events while the store
/// saves it; the same goes for [`RemoveRule`] and [`PutClient`]. When the engine is started again,
/// rules given to the builder take precedence over rules that were put.
///
/// The rule's open deliveries continue. Calls to URLs that the rule still names use its current
/// credentials. Calls to other URLs use its credentials from when it last named them, so a receiver
/// that is no longer named never sees newer credentials.
///
/// ```
/// use actix_webhooks::{Engine, PutRule, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let rule = Rule::new("invoices", "invoice.*").client("client-1").webhook("https://example.com/hooks")?;
/// engine.router().send(PutRule::new(rule)).await??;
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PutRule(pub Rule);

impl PutRule {
    /// Returns the message.
    pub fn new(rule: Rule) -> Self {
        Self(rule)
    }
}

impl Message for PutRule {
    type Result = Result<(), RuleError>;
}

/// Removes a rule: application → [`RouterActor`](crate::RouterActor).
///
/// Its deliveries continue unless [`ending_deliveries`](Self::ending_deliveries) is called. The
/// answer is `true` if the rule existed.
///
/// ```
/// use actix_webhooks::{Engine, RemoveRule, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
/// # let engine = Engine::builder().rule(rule).start().await?;
/// assert!(engine.router().send(RemoveRule::new("invoices")).await??);
/// assert!(!engine.router().send(RemoveRule::new("invoices")).await??, "there is none any more");
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RemoveRule(pub RuleId);

impl RemoveRule {
    /// Returns the message.
    pub fn new(id: impl Into<RuleId>) -> Self {
        Self(id.into())
    }

    /// Returns the message that also ends the rule's open deliveries.
    pub fn ending_deliveries(self) -> EndRule {
        EndRule(self.0)
    }
}

impl Message for RemoveRule {
    type Result = Result<bool, RuleError>;
}

/// Removes a rule and ends its open deliveries: application → [`RouterActor`](crate::RouterActor).
///
/// The deliveries become dead letters with the reason `RuleEnded`. The answer is their number; see
/// [`EndDeliveries`](crate::EndDeliveries). The rule may have been removed before. If the
/// deliveries cannot be ended, the rule is removed nevertheless; sending the message again is safe.
///
/// ```
/// use actix_webhooks::{Engine, RemoveRule, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
/// # let engine = Engine::builder().rule(rule).start().await?;
/// let remove = RemoveRule::new("invoices").ending_deliveries();
/// assert_eq!(engine.router().send(remove).await??, 0, "nothing was open");
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EndRule(pub RuleId);

impl EndRule {
    /// Returns the message.
    pub fn new(id: impl Into<RuleId>) -> Self {
        Self(id.into())
    }
}

impl Message for EndRule {
    type Result = Result<u64, RuleError>;
}

/// Lists all rules, ordered by id: application → [`RouterActor`](crate::RouterActor).
///
/// ```
/// use actix_webhooks::{Engine, ListRules, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
/// # let engine = Engine::builder().rule(rule).start().await?;
/// for rule in engine.router().send(ListRules).await? {
///     println!("{} is for {}", rule.id, rule.rule_type);
/// }
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "it has no content")]
pub struct ListRules;

impl Message for ListRules {
    type Result = Vec<Rule>;
}

/// Lists all clients, ordered by id: application → [`RouterActor`](crate::RouterActor).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "it has no content")]
pub struct ListClients;

impl Message for ListClients {
    type Result = Vec<Client>;
}

/// Adds a client, or replaces the client with its id: application →
/// [`RouterActor`](crate::RouterActor).
///
/// ```
/// use actix_webhooks::{Auth, Client, Engine, PutClient};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let client = Client::new("client-1").name("Bank of Dave").auth(Auth::bearer("token"));
/// engine.router().send(PutClient::new(client)).await??;
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PutClient(pub Client);

impl PutClient {
    /// Returns the message.
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

impl Message for PutClient {
    type Result = Result<(), RuleError>;
}

/// Removes a client: application → [`RouterActor`](crate::RouterActor).
///
/// Its name and its authorisation are forgotten, as if it had been put without them. Its deliveries
/// continue unless [`ending_deliveries`](Self::ending_deliveries) is called. Rules for the client
/// stay, and events can still be published for it, so remove its rules first. The answer is `true`
/// if the client existed.
///
/// ```
/// use actix_webhooks::{Client, Engine, RemoveClient};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().client(Client::new("client-1")).start().await?;
/// assert!(engine.router().send(RemoveClient::new("client-1")).await??);
/// // What it still has open is given up, and nobody else's, though they share a URL.
/// let ended = engine.router().send(RemoveClient::new("client-1").ending_deliveries()).await??;
/// assert_eq!(ended, 0, "nothing was open");
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RemoveClient(pub ClientId);

impl RemoveClient {
    /// Returns the message.
    pub fn new(id: impl Into<ClientId>) -> Self {
        Self(id.into())
    }

    /// Returns the message that also ends the client's open deliveries.
    pub fn ending_deliveries(self) -> EndClient {
        EndClient(self.0)
    }
}

impl Message for RemoveClient {
    type Result = Result<bool, RuleError>;
}

/// Removes a client and ends its open deliveries: application →
/// [`RouterActor`](crate::RouterActor).
///
/// The deliveries become dead letters with the reason `ClientEnded`. The answer is their number;
/// see [`EndDeliveries`](crate::EndDeliveries). If the deliveries cannot be ended, the client is
/// removed nevertheless; sending the message again is safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EndClient(pub ClientId);

impl EndClient {
    /// Returns the message.
    pub fn new(id: impl Into<ClientId>) -> Self {
        Self(id.into())
    }
}

impl Message for EndClient {
    type Result = Result<u64, RuleError>;
}

/// The reason why a rule or client was not put or removed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The rule is not valid.
    #[error(transparent)]
    InvalidRule(#[from] InvalidRule),
    /// One of its webhook URLs cannot be called: its address is not allowed, or it is not https
    /// although the default policy requires it.
    #[error("endpoint {url:?} is not valid: {error}")]
    Endpoint {
        /// The endpoint's URL without its query.
        url: String,
        /// The error.
        error: InvalidEndpoint,
    },
    /// The client is not valid.
    #[error(transparent)]
    InvalidClient(#[from] InvalidText),
    /// The store could not save the change; trying again may help.
    #[error("change could not be saved")]
    Store(#[source] StoreError),
    /// The engine is shutting down or has stopped.
    #[error("engine is shutting down")]
    ShuttingDown,
}
