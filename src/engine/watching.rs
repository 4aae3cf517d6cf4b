//! Updates of an engine as streams, for applications without an actor to send them to.

use std::pin::Pin;
#[cfg(feature = "web")]
use std::sync::Arc;
#[cfg(feature = "web")]
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc;

use super::{Engine, OperateError};
use crate::actor::message::{StreamDeliveries, StreamStatuses};
use crate::domain::endpoint::status::{DeliveryReport, EndpointStatus};
use crate::domain::value::url::WebhookUrl;

/// A stream of an engine's updates from now on, which ends with the engine.
///
/// The updates of each endpoint come in the order of their occurrence. Dropping the stream ends the
/// watching.
#[derive(Debug)]
pub struct Updates<T>(mpsc::Receiver<T>);

impl<T> Updates<T> {
    /// Waits for the next update, or returns `None` once the engine has stopped.
    ///
    /// # Cancel safety
    /// Dropping the future loses no update.
    pub async fn next(&mut self) -> Option<T> {
        self.0.recv().await
    }

    /// Returns the next update if there already is one.
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
    /// Watches the statuses of all endpoints, as [`WatchStatus`](crate::WatchStatus) does.
    ///
    /// Up to `capacity` updates wait to be taken, at least one. A consumer that is slower gets only
    /// the latest status of an endpoint.
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn watch_statuses(
        &self,
        capacity: usize,
    ) -> Result<Updates<EndpointStatus>, OperateError> {
        self.stream_statuses(None, capacity).await
    }

    /// Watches the ends of attempts, and deliveries given up without one, as
    /// [`WatchDeliveries`](crate::WatchDeliveries) does.
    ///
    /// Up to `capacity` reports wait to be taken, at least one. Reports beyond that are lost, and
    /// counted in [`EndpointStatus::reports_lost`].
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
        self.stream_deliveries(None, capacity).await
    }

    pub(super) async fn stream_statuses(
        &self,
        of: Option<WebhookUrl>,
        capacity: usize,
    ) -> Result<Updates<EndpointStatus>, OperateError> {
        let (updates, watch) = channel(capacity);
        let stream = StreamStatuses { updates, of };
        self.ask_supervisor(stream).await?;
        Ok(watch)
    }

    pub(super) async fn stream_deliveries(
        &self,
        of: Option<WebhookUrl>,
        capacity: usize,
    ) -> Result<Updates<DeliveryReport>, OperateError> {
        let (updates, watch) = channel(capacity);
        let stream = StreamDeliveries {
            updates,
            of,
            left_out: None,
        };
        self.ask_supervisor(stream).await?;
        Ok(watch)
    }

    /// Watches a sample of the ends of attempts: up to `capacity` at a time, and the number of
    /// those left out. The others are neither built nor counted as lost.
    #[cfg(feature = "web")]
    pub(crate) async fn sample_deliveries(
        &self,
        of: Option<WebhookUrl>,
        capacity: usize,
    ) -> Result<(Updates<DeliveryReport>, Arc<AtomicU64>), OperateError> {
        let (updates, watch) = channel(capacity);
        let count = Arc::default();
        let stream = StreamDeliveries {
            updates,
            of,
            left_out: Some(Arc::clone(&count)),
        };
        self.ask_supervisor(stream).await?;
        Ok((watch, count))
    }
}

fn channel<T>(capacity: usize) -> (mpsc::Sender<T>, Updates<T>) {
    let (updates, watch) = mpsc::channel(capacity.clamp(1, MAX_CAPACITY));
    (updates, Updates(watch))
}

/// The maximum capacity of a tokio channel.
const MAX_CAPACITY: usize = usize::MAX >> 3;
