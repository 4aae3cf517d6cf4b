//! The protocol: every message between the application and the actors, and between the actors.
//!
//! Mailboxes are bounded. `send(..).await` waits for a place in one; `try_send` fails with `SendError::Full`. Both are
//! safe, because nothing is accepted before its answer says so.

use std::fmt;
use std::sync::Arc;

use actix::{Message, Recipient};
use serde::{Deserialize, Serialize};

use super::inbox::SubscriberHandle;
use crate::domain::attempt::Attempt;
use crate::domain::client::Client;
use crate::domain::dead_letter::DeadLetter;
use crate::domain::delivery::Delivery;
use crate::domain::endpoint::{Endpoint, EndpointPolicy, InvalidEndpoint};
use crate::domain::event::Event;
use crate::domain::health::DisabledReason;
use crate::domain::id::{DeliveryId, EventId, InvalidText, RuleId};
use crate::domain::rule::{InvalidRule, Rule};
use crate::domain::status::{DeliveryReport, EndpointStatus};
use crate::domain::tally::Past;
use crate::domain::url::{WebhookUrl, without_query};
use crate::error::PublishError;
use crate::store::{DeadLetterQuery, DeliveryQuery, Redelivery, StoreError};

/// Publishes an event: application → [`RouterActor`](crate::RouterActor).
///
/// The answer comes once the event and its deliveries are in the store. On an error nothing was accepted.
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
    /// How many deliveries it led to; 0 when no rule matched.
    pub deliveries: usize,
}

impl Receipt {
    pub(crate) fn new(event_id: EventId, deliveries: usize) -> Self {
        Self {
            event_id,
            deliveries,
        }
    }
}

/// Adds a rule or replaces the one with its id: application → [`RouterActor`](crate::RouterActor).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRule(pub Rule);

impl Message for PutRule {
    type Result = Result<(), RuleError>;
}

/// Removes a rule: application → [`RouterActor`](crate::RouterActor). Deliveries that it led to go on. The answer says whether
/// there was one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRule(pub RuleId);

impl Message for RemoveRule {
    type Result = Result<bool, RuleError>;
}

/// Asks for every rule, ordered by id: application → [`RouterActor`](crate::RouterActor).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRules;

impl Message for ListRules {
    type Result = Vec<Rule>;
}

/// Adds a client or replaces the one with its id: application → [`RouterActor`](crate::RouterActor).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutClient(pub Client);

impl Message for PutClient {
    type Result = Result<(), RuleError>;
}

/// Why a rule or client was not put or removed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The rule cannot be used as it is.
    #[error(transparent)]
    InvalidRule(#[from] InvalidRule),
    /// The client cannot be used as it is.
    #[error(transparent)]
    InvalidClient(#[from] InvalidText),
    /// The store could not keep the change; asking again may help.
    #[error("change could not be kept")]
    Store(#[source] StoreError),
}

/// Adds settings for a URL or replaces those it has: application → [`SupervisorActor`](crate::SupervisorActor). They apply from the
/// next attempt on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutEndpoint(pub Endpoint);

impl Message for PutEndpoint {
    type Result = Result<(), EndpointError>;
}

macro_rules! about_an_endpoint {
    ($(#[$doc:meta])* $name:ident -> $result:ty) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// The endpoint's URL, in any spelling. `Debug` leaves its query out.
            pub url: String,
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut shown = f.debug_struct(stringify!($name));
                shown.field("url", &without_query(&self.url)).finish()
            }
        }

        impl $name {
            /// Returns the message.
            pub fn new(url: impl AsRef<str>) -> Self {
                Self { url: url.as_ref().to_owned() }
            }
        }

        impl Message for $name {
            type Result = $result;
        }
    };
}

about_an_endpoint! {
    /// Forgets an endpoint: application → [`SupervisorActor`](crate::SupervisorActor).
    ///
    /// Its open deliveries become dead letters with the reason that it was removed; the answer says how many. An attempt in flight is broken off. A
    /// rule that still names the URL leads to new deliveries.
    RemoveEndpoint -> Result<u64, EndpointError>
}

about_an_endpoint! {
    /// Stops attempts to an endpoint until [`ResumeEndpoint`]; what is in flight ends, events are kept: application →
    /// [`SupervisorActor`](crate::SupervisorActor).
    PauseEndpoint -> Result<(), EndpointError>
}

about_an_endpoint! {
    /// Lets attempts to a paused or disabled endpoint go on: application → [`SupervisorActor`](crate::SupervisorActor).
    ResumeEndpoint -> Result<(), EndpointError>
}

about_an_endpoint! {
    /// Stops attempts to an endpoint until [`ResumeEndpoint`], as disabled rather than paused: for a customer who has left, say. What is in flight ends,
    /// events are kept: application → [`SupervisorActor`](crate::SupervisorActor).
    DisableEndpoint -> Result<(), EndpointError>
}

about_an_endpoint! {
    /// Asks how an endpoint does: application → [`SupervisorActor`](crate::SupervisorActor). `None` when it is not known.
    GetStatus -> Option<EndpointStatus>
}

/// Why something could not be done with an endpoint. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// No rule, setting or delivery names this URL, shown without its query.
    #[error("endpoint {0:?} is not known")]
    Unknown(String),
    /// The settings cannot be used as they are.
    #[error(transparent)]
    Invalid(#[from] InvalidEndpoint),
    /// The store could not keep the change; asking again may help.
    #[error("change could not be kept")]
    Store(#[source] StoreError),
}

/// Asks how endpoints do, ordered by URL: application → [`SupervisorActor`](crate::SupervisorActor).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListStatus {
    /// Which endpoints to show. Defaults to all.
    pub filter: StatusFilter,
    /// Only those after this one, to turn the page.
    pub after: Option<WebhookUrl>,
    /// How many endpoints are looked at. 0 means 100; more than 1,000 is 1,000. A page holds those of them that the filter lets through.
    pub limit: usize,
}

impl Message for ListStatus {
    type Result = StatusPage;
}

/// Which endpoints a list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StatusFilter {
    /// All.
    #[default]
    All,
    /// Those whose last attempt failed.
    Failing,
    /// Those that have something open.
    Busy,
    /// Those that are paused.
    Paused,
    /// Those that are disabled.
    Disabled,
}

/// A page of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StatusPage {
    /// Those that the filter lets through.
    pub statuses: Vec<EndpointStatus>,
    /// What to pass as `after` for the next page; `None` at the end.
    pub next: Option<WebhookUrl>,
}

/// Asks for the state of every endpoint whenever it changes, at most ten times a second each: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// A watcher whose mailbox is full misses states, never the last one: it is sent again until it fits. A watcher that has stopped is
/// forgotten.
#[derive(Clone, Debug)]
pub struct WatchStatus(pub Recipient<EndpointStatus>);

impl WatchStatus {
    /// Returns the message.
    pub fn new(recipient: Recipient<EndpointStatus>) -> Self {
        Self(recipient)
    }
}

impl Message for WatchStatus {
    type Result = ();
}

/// Asks for a report of every attempt that ends: application → [`SupervisorActor`](crate::SupervisorActor).
///
/// A watcher whose mailbox is full misses reports; `EndpointStatus::reports_lost` counts them.
#[derive(Clone, Debug)]
pub struct WatchDeliveries(pub Recipient<DeliveryReport>);

impl WatchDeliveries {
    /// Returns the message.
    pub fn new(recipient: Recipient<DeliveryReport>) -> Self {
        Self(recipient)
    }
}

impl Message for WatchDeliveries {
    type Result = ();
}

impl Message for EndpointStatus {
    type Result = ();
}

impl Message for DeliveryReport {
    type Result = ();
}

/// Delivers something again, as a fresh delivery with the same alert: application → [`SupervisorActor`](crate::SupervisorActor). The answer
/// names the fresh deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redeliver(pub Redelivery);

impl Redeliver {
    /// Returns the message for one delivery, whatever its state.
    pub fn one(id: DeliveryId) -> Self {
        Self(Redelivery::One(id))
    }

    /// Returns the message for the dead letters that a query finds, at most 1,000 a time.
    pub fn dead_letters(query: DeadLetterQuery) -> Self {
        Self(Redelivery::DeadLetters(query))
    }
}

impl Message for Redeliver {
    type Result = Result<Vec<DeliveryId>, StoreError>;
}

/// Asks for deliveries, newest first: application → [`SupervisorActor`](crate::SupervisorActor).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListDeliveries(pub DeliveryQuery);

impl Message for ListDeliveries {
    type Result = Result<Vec<Delivery>, StoreError>;
}

/// Asks for the finished attempts of a delivery, the first one first: application → [`SupervisorActor`](crate::SupervisorActor).
///
/// ```
/// use actix_webhooks::store::DeliveryQuery;
/// use actix_webhooks::{Engine, ListAttempts, ListDeliveries};
///
/// /// Prints what happened to an event.
/// async fn tell(engine: &Engine, event: &str) -> Result<(), Box<dyn std::error::Error>> {
///     let query = DeliveryQuery { event_id: Some(event.into()), ..DeliveryQuery::default() };
///     for delivery in engine.supervisor().send(ListDeliveries(query)).await?? {
///         println!("{}: {:?}", delivery.url, delivery.state);
///         for attempt in engine.supervisor().send(ListAttempts { id: delivery.id }).await?? {
///             println!("  {:?} {}", attempt.summary, attempt.excerpt);
///         }
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListAttempts {
    /// The delivery.
    pub id: DeliveryId,
}

impl Message for ListAttempts {
    type Result = Result<Vec<Attempt>, StoreError>;
}

/// Discards the dead letters that a query finds, at most 1,000 a time: application → [`SupervisorActor`](crate::SupervisorActor). They stay in the record
/// of deliveries. The answer is how many there were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscardDeadLetters(pub DeadLetterQuery);

impl Message for DiscardDeadLetters {
    type Result = Result<u64, StoreError>;
}

/// Asks for dead letters, newest first: application → [`SupervisorActor`](crate::SupervisorActor).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListDeadLetters(pub DeadLetterQuery);

impl Message for ListDeadLetters {
    type Result = Result<Vec<DeadLetter>, StoreError>;
}

// Between the actors.

/// Deliveries to endpoints without a running subscriber are in the store: router → supervisor, which starts or tells them.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Wake(pub(crate) Vec<(WebhookUrl, u64)>);

/// These URLs are named by a rule: router → supervisor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct KnowEndpoints(pub(crate) Arc<[WebhookUrl]>);

/// How a subscriber is reached from now on: supervisor → router. Without a handle, only by waking it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Reach {
    pub(crate) url: WebhookUrl,
    pub(crate) handle: Option<SubscriberHandle>,
}

/// I have nothing to do and may end: subscriber → supervisor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Retire {
    pub(crate) url: WebhookUrl,
    pub(crate) incarnation: u64,
}

/// End, unless something has arrived meanwhile: supervisor → subscriber. The answer is what it leaves behind, or `None` if it stays.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<Past>")]
pub(crate) struct Leave;

/// A subscriber has ended: its own guard → supervisor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct SubscriberStopped {
    pub(crate) url: WebhookUrl,
    pub(crate) incarnation: u64,
}

/// These deliveries were started again by hand and are in the store: supervisor → subscriber.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Redelivered(pub(crate) Vec<DeliveryId>);

/// How does it do? Supervisor → subscriber.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "EndpointStatus")]
pub(crate) struct Describe;

/// Other settings: supervisor → subscriber.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Configure {
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    pub(crate) policy: Arc<EndpointPolicy>,
}

/// Whether attempts may start: supervisor → subscriber.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum Gate {
    Pause,
    Disable(DisabledReason),
    /// For the so-manieth time.
    Resume(u64),
}

/// The endpoint is disabled by what its receiver did: subscriber → supervisor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Disabled {
    pub(crate) url: WebhookUrl,
    pub(crate) reason: DisabledReason,
    /// How often the subscriber knows the endpoint to have been resumed: it may have been since.
    pub(crate) resumed: u64,
}

/// Start nothing more and answer when nothing is in flight: supervisor → subscriber.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// Break off what is in flight and stop: supervisor → subscriber. The answer is what came of draining.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Drained")]
pub(crate) struct Abort;

/// There may be something new in the outbox: application → router.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct LookIntoOutbox;

/// Refuse events from now on, and answer when those under way are answered: engine → router.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

/// Stop: engine → router and supervisor, when everything else has ended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Terminate;

/// Drain every subscriber, breaking off what is not done by the deadline: engine → supervisor.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Drained")]
pub(crate) struct DrainAll(pub(crate) std::time::Duration);

/// What came of draining.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drained {
    /// How many deliveries ended well since draining began.
    pub(crate) delivered: u64,
    /// How many attempts were broken off.
    pub(crate) aborted: u64,
}
