//! Messages between the actors.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Message};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{EndDeliveries, EndpointError, Receipt, RuleError, SendTest};
use crate::actor::subscriber::SubscriberActor;
use crate::domain::deliveries::delivery::OpenDelivery;
use crate::domain::endpoint::due::AttemptNowAnswer;
use crate::domain::endpoint::place::Place;
use crate::domain::endpoint::policy::EndpointPolicy;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::endpoint::standing::EndpointCounts;
use crate::domain::endpoint::status::{EndpointStatus, ShutdownReport};
use crate::domain::events::event::Event;
use crate::domain::machine::run::RunChange;
use crate::domain::machine::tally::RetiredState;
use crate::domain::machine::unread::Missed;
use crate::domain::value::id::{ClientId, DeliveryId};
use crate::domain::value::url::WebhookUrl;
use crate::error::PublishError;
use crate::store::StoreError;

/// Publishes an event once there is room: engine → router.
///
/// The event waits in line, and is refused if there is no room by `until`.
#[derive(Debug, Message)]
#[rtype(result = "Result<Receipt, PublishError>")]
pub(crate) struct PublishInLine {
    pub(crate) event: Event,
    pub(crate) until: Instant,
}

/// Publishes an event, or refuses it at once: engine → router.
///
/// The answer comes through a channel, because a message with an answer waits for a place in the
/// mailbox.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PublishAtOnce {
    pub(crate) event: Event,
    pub(crate) answer: oneshot::Sender<Result<Receipt, PublishError>>,
}

/// Hands on stored deliveries: router → subscriber. Tells of those that could not be sent there:
/// supervisor → subscriber, with `missed` alone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Deliver {
    /// In the order of their ids.
    pub(crate) deliveries: Vec<OpenDelivery>,
    /// Those after them, which are in the store alone.
    pub(crate) missed: Missed,
}

/// Reports stored deliveries that no subscriber was told of: router → supervisor.
///
/// The supervisor tells or starts the subscriber. The answer is its address; `None` while there is
/// none.
#[derive(Debug, Message)]
#[rtype(result = "Option<Addr<SubscriberActor>>")]
pub(crate) struct Wake {
    pub(crate) url: WebhookUrl,
    pub(crate) missed: Missed,
}

/// Makes the router forget the address of an endpoint's subscriber before the subscriber ends:
/// supervisor → router.
///
/// Once this is answered, nothing more is sent there.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ForgetAddress(pub(crate) WebhookUrl);

/// Checks that these URLs may be called for events of this client, or of every client (`None`):
/// router → supervisor.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), RuleError>")]
pub(crate) struct CheckEndpoints {
    pub(crate) urls: Arc<[WebhookUrl]>,
    pub(crate) client: Option<ClientId>,
}

/// Names the URLs of a rule: router → supervisor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct KnowEndpoints(pub(crate) Arc<[WebhookUrl]>);

/// Asks to end, because there is nothing left to do: subscriber → supervisor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Retire {
    pub(crate) url: WebhookUrl,
    pub(crate) incarnation: u64,
}

/// Ends the subscriber, unless deliveries have arrived meanwhile: supervisor → subscriber.
///
/// The answer is the state left behind, or `None` if the subscriber stays.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<RetiredState>")]
pub(crate) struct Leave;

/// Reports that a subscriber has ended without being asked to: its own guard → supervisor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct SubscriberStopped {
    pub(crate) url: WebhookUrl,
    pub(crate) incarnation: u64,
    /// The state that it leaves behind.
    pub(crate) past: Box<RetiredState>,
}

/// Announces redelivered deliveries that are in the store: supervisor → subscriber.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Redelivered(pub(crate) Vec<DeliveryId>);

/// Ends open deliveries as a part of another operator's action: router → supervisor.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<u64, StoreError>")]
pub(crate) struct EndOpen(pub(crate) EndDeliveries);

/// Forgets deliveries that are about to be ended: supervisor → itself → subscriber.
///
/// The answer lists those that are being attempted or recorded, and so are not forgotten.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Vec<DeliveryId>")]
pub(crate) struct Forget {
    pub(crate) url: WebhookUrl,
    pub(crate) ids: Arc<[DeliveryId]>,
}

/// `count` deliveries were ended by hand: supervisor → itself → subscriber, which counts them.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CountEnded {
    pub(crate) url: WebhookUrl,
    pub(crate) count: u64,
}

/// Makes another subscriber read everything from the store: supervisor → itself.
///
/// Used if deliveries that the first subscriber forgot could not be ended.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StartOver(pub(crate) WebhookUrl);

/// Reports that `count` reports about an endpoint did not fit into a watcher's mailbox: router →
/// supervisor, and supervisor → itself.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ReportsLost {
    pub(crate) url: WebhookUrl,
    pub(crate) count: u64,
}

/// Requests the status of an endpoint: supervisor → subscriber.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "EndpointStatus")]
pub(crate) struct Describe;

/// Asks where a delivery is: supervisor → subscriber.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Place")]
pub(crate) struct Locate(pub(crate) DeliveryId);

/// Asks where a delivery of an endpoint is: supervisor → itself. `None` if its subscriber does not
/// run.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Option<Place>")]
pub(crate) struct LocateDelivery {
    pub(crate) url: WebhookUrl,
    pub(crate) id: DeliveryId,
}

/// Changes the settings: supervisor → subscriber.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Configure {
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    pub(crate) policy: Arc<EndpointPolicy>,
}

/// Changes whether attempts may start, now and after a restart: supervisor → subscriber.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(crate) struct ChangeRun(pub(crate) RunChange);

/// Stores a test event for one endpoint: supervisor → router. The answer is its delivery.
#[derive(Debug, Message)]
#[rtype(result = "Result<DeliveryId, PublishError>")]
pub(crate) struct PublishTest {
    pub(crate) url: WebhookUrl,
    pub(crate) test: SendTest,
    /// The client that the endpoint is restricted to.
    pub(crate) client: Option<ClientId>,
}

/// Attempts a test that was just stored, whatever the state of its endpoint: supervisor →
/// subscriber.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AttemptTest(pub(crate) DeliveryId);

/// Makes a delivery due that waits for a retry: supervisor → subscriber.
///
/// The answer is `None` if it does not wait for a retry.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Option<AttemptNowAnswer>, StoreError>")]
pub(crate) struct MakeDue(pub(crate) DeliveryId);

/// Sends a message to an endpoint's subscriber, which is started if it does not run: supervisor →
/// itself.
#[derive(Clone, Debug)]
pub(crate) struct AskSubscriber<M> {
    pub(crate) url: WebhookUrl,
    pub(crate) message: M,
    /// The number of subscribers that are asked, including this one, in case one ends before it
    /// answers.
    pub(crate) tries: u32,
    /// Whether the router has forgotten the address of one that panicked.
    pub(crate) forgotten: bool,
}

impl<M> AskSubscriber<M> {
    pub(crate) fn new(url: WebhookUrl, message: M) -> Self {
        Self {
            url,
            message,
            tries: SUBSCRIBERS_ASKED,
            forgotten: false,
        }
    }
}

impl<M: Message> Message for AskSubscriber<M> {
    type Result = Result<M::Result, EndpointError>;
}

/// The maximum number of subscribers asked, because each may retire or panic.
const SUBSCRIBERS_ASKED: u32 = 3;

/// Counts these endpoints by state, as far as they are known: router → supervisor.
#[derive(Clone, Debug, Message)]
#[rtype(result = "EndpointCounts")]
pub(crate) struct CountEndpoints(pub(crate) BTreeSet<WebhookUrl>);

/// Starts no more attempts, and answers when none is in flight: supervisor → subscriber.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// Aborts the attempts in flight and stops: supervisor → subscriber. The answer is the result of
/// draining.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Drained")]
pub(crate) struct Abort;

/// Aborts the attempts in flight, and accepts and starts no more: supervisor → subscriber.
///
/// Answered once every ended attempt is recorded.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct BreakOff;

/// Announces that the outbox may have new events: application → router.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct LookIntoOutbox;

/// Refuses events from now on, and answers when those under way are answered: supervisor → router.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

/// Stops the actor, once everything else has ended: engine → supervisor → router.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Terminate;

/// Shuts down, and aborts attempts in flight at the deadline: engine → supervisor.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "ShutdownReport")]
pub(crate) struct ShutDown(pub(crate) Duration);

/// Drains every subscriber, and answers when no attempt is in flight: supervisor → itself.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct DrainAll;

/// Aborts all attempts in flight: supervisor → itself.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Drained")]
pub(crate) struct AbortAll;

/// The result of draining.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drained {
    /// The state that is left behind.
    pub(crate) past: RetiredState,
    /// The number of deliveries delivered since draining began.
    pub(crate) delivered: u64,
    /// The number of attempts aborted.
    pub(crate) aborted: u64,
    /// The number of deliveries known to be open.
    pub(crate) open: u64,
}
