//! Being told what happens.

use actix::{Message, Recipient};
use tokio::sync::mpsc;

use crate::domain::endpoint::status::{DeliveryReport, EndpointStatus};

/// Asks for the state of every endpoint whenever it changes, at most ten times a second each: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// A watcher whose mailbox is full misses states, never the last one: it is sent again until it fits. A watcher that has stopped is
/// forgotten. What had queued up for an endpoint that waits for a permit when the first watcher came is told when its turn comes; asking with
/// [`GetStatus`](super::GetStatus) finds it at once.
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

/// Asks for a report of every attempt that ends, and of every delivery that is given up without one: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The latter are those of an endpoint that is removed or full, those ended by [`EndDeliveries`](super::EndDeliveries), and those that cannot be read in the store. What the store gives
/// up by itself, the last kind and what arrives while an endpoint is removed, is reported within a second. Discarding a dead letter ends nothing.
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

/// Tell all that [`WatchStatus`] tells, by a channel: engine → supervisor.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StreamStatuses(pub(crate) mpsc::Sender<EndpointStatus>);

/// Tell all that [`WatchDeliveries`] tells, by a channel: engine → supervisor.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StreamDeliveries(pub(crate) mpsc::Sender<DeliveryReport>);
