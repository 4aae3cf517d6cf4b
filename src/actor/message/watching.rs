//! Subscribing to statuses and reports.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use actix::{Message, Recipient};
use tokio::sync::mpsc;

use crate::domain::endpoint::status::{DeliveryReport, EndpointStatus};
use crate::domain::value::url::WebhookUrl;

/// Watches the status of every endpoint: application → [`SupervisorActor`](crate::SupervisorActor).
///
/// A status is sent on every change, at most ten times a second per endpoint. A watcher whose
/// mailbox is full misses statuses but never the latest, which is sent again until it fits. A
/// watcher that has stopped is removed.
///
/// If an endpoint is waiting for a permit when the first watcher arrives, the deliveries already
/// queued for it are reported only when its turn comes; [`GetStatus`](super::GetStatus) shows them
/// at once.
///
/// ```
/// use actix::{Actor, Context, Handler};
/// use actix_webhooks::{EndpointStatus, Engine, WatchStatus};
///
/// struct Watcher;
///
/// impl Actor for Watcher {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<EndpointStatus> for Watcher {
///     type Result = ();
///
///     fn handle(&mut self, status: EndpointStatus, _: &mut Context<Self>) {
///         println!("{}: {:?}", status.url, status.state);
///     }
/// }
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let watcher = Watcher.start();
/// engine.supervisor().send(WatchStatus::new(watcher.recipient())).await?;
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WatchStatus(
    /// The watcher.
    pub Recipient<EndpointStatus>,
    /// The only endpoint to watch; `None` for all.
    pub Option<WebhookUrl>,
);

impl WatchStatus {
    /// Returns the message, for all endpoints.
    pub fn new(recipient: Recipient<EndpointStatus>) -> Self {
        Self(recipient, None)
    }

    /// Sends only the statuses of one endpoint. Nothing is built or sent for the others.
    #[must_use]
    pub fn of(self, url: WebhookUrl) -> Self {
        Self(self.0, Some(url))
    }
}

impl Message for WatchStatus {
    type Result = ();
}

/// Watches the end of every attempt, and deliveries given up without one: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// Given up without an attempt are deliveries of an endpoint that is removed or full, deliveries
/// ended by [`EndDeliveries`](super::EndDeliveries), and deliveries that cannot be read in the
/// store. Those that the store gives up itself are reported within a second: unreadable deliveries,
/// and deliveries that arrive while an endpoint is removed. Discarding a dead letter is not
/// reported.
///
/// A watcher whose mailbox is full misses reports; `EndpointStatus::reports_lost` counts them.
///
/// ```
/// use actix::{Actor, Context, Handler};
/// use actix_webhooks::{DeliveryReport, Engine, WatchDeliveries};
///
/// struct Watcher;
///
/// impl Actor for Watcher {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<DeliveryReport> for Watcher {
///     type Result = ();
///
///     fn handle(&mut self, report: DeliveryReport, _: &mut Context<Self>) {
///         println!("attempt {} to {}: {:?}", report.attempt, report.url, report.outcome);
///     }
/// }
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let watcher = Watcher.start();
/// engine.supervisor().send(WatchDeliveries::new(watcher.recipient())).await?;
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WatchDeliveries(
    /// The watcher.
    pub Recipient<DeliveryReport>,
    /// The only endpoint to watch; `None` for all.
    pub Option<WebhookUrl>,
);

impl WatchDeliveries {
    /// Returns the message, for all endpoints.
    pub fn new(recipient: Recipient<DeliveryReport>) -> Self {
        Self(recipient, None)
    }

    /// Sends only the reports of one endpoint. Nothing is built or sent for the others.
    #[must_use]
    pub fn of(self, url: WebhookUrl) -> Self {
        Self(self.0, Some(url))
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

/// Sends the updates of [`WatchStatus`] to a channel, of all endpoints or of one: engine →
/// supervisor.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StreamStatuses {
    pub(crate) updates: mpsc::Sender<EndpointStatus>,
    pub(crate) of: Option<WebhookUrl>,
}

/// Sends the updates of [`WatchDeliveries`] to a channel, of all endpoints or of one: engine →
/// supervisor.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StreamDeliveries {
    pub(crate) updates: mpsc::Sender<DeliveryReport>,
    pub(crate) of: Option<WebhookUrl>,
    /// Counts the reports for which there was no room, if that is no loss: of a sample.
    pub(crate) left_out: Option<Arc<AtomicU64>>,
}
