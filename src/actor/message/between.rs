//! Messages between the actors.

use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Message};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{EndpointError, Receipt, RuleError};
use crate::actor::subscriber::SubscriberActor;
use crate::domain::deliveries::delivery::OpenDelivery;
use crate::domain::endpoint::policy::EndpointPolicy;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::endpoint::status::{EndpointStatus, ShutdownReport};
use crate::domain::events::event::Event;
use crate::domain::machine::run::RunChange;
use crate::domain::machine::tally::RetiredState;
use crate::domain::machine::unread::Missed;
use crate::domain::value::id::{ClientId, DeliveryId};
use crate::domain::value::url::WebhookUrl;
use crate::error::PublishError;
use crate::store::StoreError;

/// Publish an event once there is room: engine → router. It waits in line until then, and is refused if there is none until `until`.
#[derive(Debug, Message)]
#[rtype(result = "Result<Receipt, PublishError>")]
pub(crate) struct PublishInLine {
    pub(crate) event: Event,
    pub(crate) until: Instant,
}

/// Publish an event, or refuse it at once: engine → router. The answer comes by a channel, because a message that is to be answered waits for a place in the
/// mailbox.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PublishAtOnce {
    pub(crate) event: Event,
    pub(crate) answer: oneshot::Sender<Result<Receipt, PublishError>>,
}

/// Deliveries that are in the store: router → subscriber, and supervisor → subscriber for those that
/// nobody could send there.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Deliver {
    /// In the order of their ids.
    pub(crate) deliveries: Vec<OpenDelivery>,
    /// Those after them, which are in the store alone.
    pub(crate) missed: Missed,
}

/// The store holds deliveries that no subscriber was told of: router → supervisor, which tells or
/// starts one. The answer is its address; `None` while there is none.
#[derive(Debug, Message)]
#[rtype(result = "Option<Addr<SubscriberActor>>")]
pub(crate) struct Wake {
    pub(crate) url: WebhookUrl,
    pub(crate) missed: Missed,
}

/// Forget the address of an endpoint's subscriber: supervisor → router, before it ends. Once this is
/// answered, nothing is sent there any more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ForgetAddress(pub(crate) WebhookUrl);

/// May these URLs be called for events of this client, or of every client? Router → supervisor.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), RuleError>")]
pub(crate) struct CheckEndpoints {
    pub(crate) urls: Arc<[WebhookUrl]>,
    pub(crate) client: Option<ClientId>,
}

/// These URLs are named by a rule: router → supervisor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct KnowEndpoints(pub(crate) Arc<[WebhookUrl]>);

/// I have nothing to do and may end: subscriber → supervisor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Retire {
    pub(crate) url: WebhookUrl,
    pub(crate) incarnation: u64,
}

/// End, unless something has arrived meanwhile: supervisor → subscriber. The answer is what it leaves behind, or `None` if it stays.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<RetiredState>")]
pub(crate) struct Leave;

/// A subscriber has ended: its own guard → supervisor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct SubscriberStopped {
    pub(crate) url: WebhookUrl,
    pub(crate) incarnation: u64,
    /// What it leaves behind.
    pub(crate) past: Box<RetiredState>,
}

/// These deliveries were started again by hand and are in the store: supervisor → subscriber.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Redelivered(pub(crate) Vec<DeliveryId>);

/// Forget these deliveries, which are about to be ended: supervisor → itself → subscriber. The answer is which of them are being attempted or recorded, and
/// are not forgotten.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Vec<DeliveryId>")]
pub(crate) struct Forget {
    pub(crate) url: WebhookUrl,
    pub(crate) ids: Arc<[DeliveryId]>,
}

/// Have another subscriber read everything from the store: supervisor → itself, when what the first one forgot could not be ended.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StartOver(pub(crate) WebhookUrl);

/// So many reports about an endpoint had no place with a watcher: router → supervisor, and supervisor → itself.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ReportsLost {
    pub(crate) url: WebhookUrl,
    pub(crate) count: u64,
}

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

/// Change whether attempts may start, now and after a restart: supervisor → subscriber.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(crate) struct ChangeRun(pub(crate) RunChange);

/// Have the subscriber of an endpoint change whether attempts may start: supervisor → itself.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), EndpointError>")]
pub(crate) struct ChangeRunOf {
    pub(crate) url: WebhookUrl,
    pub(crate) change: RunChange,
    /// How many more subscribers are asked if this one ends before it answers.
    pub(crate) tries: u32,
}

/// Start nothing more and answer when nothing is in flight: supervisor → subscriber.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// Break off what is in flight and stop: supervisor → subscriber. The answer is what came of draining.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Drained")]
pub(crate) struct Abort;

/// Break off what is in flight, take and start nothing more: supervisor → subscriber. Answered once all that has ended is on
/// record.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct BreakOff;

/// There may be something new in the outbox: application → router.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct LookIntoOutbox;

/// Refuse events from now on, and answer when those under way are answered: supervisor → router.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

/// Stop, when everything else has ended: engine → supervisor → router.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Terminate;

/// End everything, breaking off what is not done by the deadline: engine → supervisor.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "ShutdownReport")]
pub(crate) struct ShutDown(pub(crate) Duration);

/// Drain every subscriber, and answer when nothing is in flight: supervisor → itself.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct DrainAll;

/// Break off what is in flight everywhere: supervisor → itself.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Drained")]
pub(crate) struct AbortAll;

/// What came of draining.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drained {
    /// What is left behind.
    pub(crate) past: RetiredState,
    /// How many deliveries ended well since draining began.
    pub(crate) delivered: u64,
    /// How many attempts were broken off.
    pub(crate) aborted: u64,
    /// How many deliveries were known to be open.
    pub(crate) open: u64,
}
