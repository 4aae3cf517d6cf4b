//! Events, and what decides where they go.

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
/// The answer comes once the event and its deliveries are in the store. On an error nothing was accepted, save as [`PublishError`] says. While as many events
/// as may ([`EngineBuilder::mailbox_capacity`](crate::EngineBuilder::mailbox_capacity)) wait to be stored, it is refused at once;
/// [`Engine::publish`](crate::Engine::publish) waits for room.
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

/// Publishes several events, each accepted or refused by itself: application → [`RouterActor`](crate::RouterActor).
///
/// The answers are in the order of the events. Cheaper than one message each. The batch is taken as a whole, or, while as many events as may
/// ([`EngineBuilder::mailbox_capacity`](crate::EngineBuilder::mailbox_capacity), 256 by default) wait to be stored already, refused as a whole with
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

/// What a publisher gets once its event is durable, as far as the store is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Receipt {
    /// The event.
    pub event_id: EventId,
    /// How many deliveries it led to; 0 when no rule matched. Of a duplicate, those of the first one.
    pub deliveries: usize,
    /// Whether the client had published this event before: nothing was stored or is delivered again.
    #[serde(default)]
    pub duplicate: bool,
    /// The endpoints that had as much open as they may, or were removed ([`RemoveEndpoint`](crate::RemoveEndpoint)): their deliveries, which are among the
    /// [`deliveries`](Self::deliveries), are dead letters with the reason `BacklogFull` or `EndpointRemoved`, to be redelivered
    /// later. Nearly always none. Not known of a duplicate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<WebhookUrl>,
}

impl Receipt {
    pub(crate) fn new(event_id: EventId, deliveries: usize) -> Self {
        Self {
            event_id,
            deliveries,
            duplicate: false,
            given_up: Vec::new(),
        }
    }

    /// Returns the receipt of an event that was accepted before.
    pub(crate) fn of_a_repetition(event_id: EventId, deliveries: usize) -> Self {
        Self {
            duplicate: true,
            ..Self::new(event_id, deliveries)
        }
    }
}

/// Adds a rule or replaces the one with its id: application → [`RouterActor`](crate::RouterActor).
///
/// It holds for every event that is published after it. While the store keeps it, the router takes no events; the same goes for [`RemoveRule`] and
/// [`PutClient`]. What the builder is given wins over what was put, when an engine is started again.
///
/// What is open under the rule already goes on: to URLs that the rule still names with what it says now, to others with what it
/// said when it last named them. A receiver that is no longer named is never shown a newer credential.
///
/// ```
/// use actix_webhooks::{Engine, PutRule, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let rule = Rule::new("invoices", "invoice.*").client("client-1").webhook("https://example.com/hooks")?;
/// engine.router().send(PutRule(rule)).await??;
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Removes a rule: application → [`RouterActor`](crate::RouterActor). Deliveries that it led to go on, unless [`ending_deliveries`](Self::ending_deliveries)
/// is asked for. The answer is `true` if there was one.
///
/// ```
/// use actix_webhooks::{Engine, RemoveRule, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
/// # let engine = Engine::builder().rule(rule).start().await?;
/// assert!(engine.router().send(RemoveRule("invoices".into())).await??);
/// assert!(!engine.router().send(RemoveRule("invoices".into())).await??, "there is none any more");
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRule(pub RuleId);

impl RemoveRule {
    /// Returns the message.
    pub fn new(id: impl Into<RuleId>) -> Self {
        Self(id.into())
    }

    /// Returns the message that also ends the open deliveries that the rule led to.
    pub fn ending_deliveries(self) -> EndRule {
        EndRule(self.0)
    }
}

impl Message for RemoveRule {
    type Result = Result<bool, RuleError>;
}

/// Removes a rule and ends its open deliveries, which become dead letters with the reason `RuleEnded`: application →
/// [`RouterActor`](crate::RouterActor). The answer says how many there were; see [`EndDeliveries`](crate::EndDeliveries). It may be sent for a rule that was
/// removed before. If the deliveries cannot be ended, the rule is removed all the same, and sending it again is safe.
///
/// ```
/// use actix_webhooks::{Engine, RemoveRule, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
/// # let engine = Engine::builder().rule(rule).start().await?;
/// let remove = RemoveRule("invoices".into()).ending_deliveries();
/// assert_eq!(engine.router().send(remove).await??, 0, "nothing was open");
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Asks for every rule, ordered by id: application → [`RouterActor`](crate::RouterActor).
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
pub struct ListRules;

impl Message for ListRules {
    type Result = Vec<Rule>;
}

/// Asks for all clients, by id: application → [`RouterActor`](crate::RouterActor).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListClients;

impl Message for ListClients {
    type Result = Vec<Client>;
}

/// Adds a client or replaces the one with its id: application → [`RouterActor`](crate::RouterActor).
///
/// ```
/// use actix_webhooks::{Auth, Client, Engine, PutClient};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let client = Client::new("client-1").name("Bank of Dave").auth(Auth::bearer("token"));
/// engine.router().send(PutClient(client)).await??;
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Removes a client: application → [`RouterActor`](crate::RouterActor). Its name and its authorisation are forgotten, as if it had been put without them; its
/// deliveries go on, unless [`ending_deliveries`](Self::ending_deliveries) is asked for. Rules for it stay, and so does what may still be published for it:
/// remove its rules first. The answer is `true` if there was one.
///
/// ```
/// use actix_webhooks::{Client, Engine, RemoveClient};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().client(Client::new("client-1")).start().await?;
/// assert!(engine.router().send(RemoveClient("client-1".into())).await??);
/// // What it still has open is given up, and nobody else's, though they share a URL.
/// let ended = engine.router().send(RemoveClient("client-1".into()).ending_deliveries()).await??;
/// assert_eq!(ended, 0, "nothing was open");
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Removes a client and ends its open deliveries, which become dead letters with the reason `ClientEnded`: application →
/// [`RouterActor`](crate::RouterActor). The answer says how many there were; see [`EndDeliveries`](crate::EndDeliveries). If they cannot be ended, the client
/// is removed all the same, and sending it again is safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Why a rule or client was not put or removed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The rule cannot be used as it is.
    #[error(transparent)]
    InvalidRule(#[from] InvalidRule),
    /// One of its webhook URLs cannot be called: it leads to an address that is not allowed, or is not https where the default policy wants that.
    #[error("endpoint {url:?} is not valid: {error}")]
    Endpoint {
        /// The endpoint's URL without its query.
        url: String,
        /// What is wrong with it.
        error: InvalidEndpoint,
    },
    /// The client cannot be used as it is.
    #[error(transparent)]
    InvalidClient(#[from] InvalidText),
    /// The store could not keep the change; asking again may help.
    #[error("change could not be kept")]
    Store(#[source] StoreError),
    /// The engine is shutting down or has stopped.
    #[error("engine is shutting down")]
    ShuttingDown,
}
