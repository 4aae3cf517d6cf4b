//! What happens in an engine, as streams: for whoever has no actor to send it to.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc;

use super::{Engine, OperateError};
use crate::actor::message::{StreamDeliveries, StreamStatuses};
use crate::domain::endpoint::status::{DeliveryReport, EndpointStatus};

/// What an engine tells from now on, in the order in which it happens at each endpoint: a stream that ends with the engine.
///
/// Dropping it ends the watching.
#[derive(Debug)]
pub struct Updates<T>(mpsc::Receiver<T>);

impl<T> Updates<T> {
    /// Waits for the next one; `None` when the engine has stopped.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<T> {
        self.0.recv().await
    }

    /// Returns the next one if there is one already.
    pub fn try_next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl<T> Stream for Updates<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(cx)
    }
}

/// # Watching
impl Engine {
    /// Watches the states of all endpoints, as [`WatchStatus`](crate::WatchStatus) does. At most `capacity` updates wait to be taken, at least one; who is
    /// slower than that gets the later state of an endpoint instead.
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn watch_statuses(
        &self,
        capacity: usize,
    ) -> Result<Updates<EndpointStatus>, OperateError> {
        let (updates, watch) = channel(capacity);
        self.ask_supervisor(StreamStatuses(updates)).await?;
        Ok(watch)
    }

    /// Watches the ends of attempts, and deliveries that are given up without one, as [`WatchDeliveries`](crate::WatchDeliveries) does. At most `capacity`
    /// reports wait to be taken, at least one; what exceeds that is lost, and counted in [`EndpointStatus::reports_lost`].
    ///
    /// ```
    /// use actix_webhooks::Engine;
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = Engine::builder().start().await?;
    /// let mut reports = engine.watch_deliveries(1_000).await?;
    /// actix_rt::spawn(async move {
    ///     while let Some(report) = reports.next().await {
    ///         println!("attempt {} to {}: {:?}", report.attempt, report.url, report.outcome);
    ///     }
    /// });
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn watch_deliveries(
        &self,
        capacity: usize,
    ) -> Result<Updates<DeliveryReport>, OperateError> {
        let (updates, watch) = channel(capacity);
        self.ask_supervisor(StreamDeliveries(updates)).await?;
        Ok(watch)
    }
}

fn channel<T>(capacity: usize) -> (mpsc::Sender<T>, Updates<T>) {
    let (updates, watch) = mpsc::channel(capacity.clamp(1, MAX_CAPACITY));
    (updates, Updates(watch))
}

/// What a channel of tokio's may hold.
const MAX_CAPACITY: usize = usize::MAX >> 3;
