//! Questions about one event, one delivery, or a number of deliveries.

use actix::Message;
use serde::{Deserialize, Serialize};

use crate::domain::deliveries::delivery::DeliveryDetails;
use crate::domain::value::id::{DeliveryId, EventId};
use crate::store::{
    Count, DeadLetterQuery, DeliveryQuery, OutboxSummary, RefusedEntry, StoreError, StoredEvent,
};

/// Counts deliveries, up to a bound: application → [`SupervisorActor`](crate::SupervisorActor).
///
/// ```
/// use actix_webhooks::store::{DeliveryQuery, DeliveryStage};
/// use actix_webhooks::{CountDeliveries, Engine};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let query = DeliveryQuery {
///     client_id: Some("client-1".into()),
///     stage: Some(DeliveryStage::DeadLettered),
///     ..DeliveryQuery::default()
/// };
/// let given_up = engine.supervisor().send(CountDeliveries::new(query)).await??;
/// assert_eq!((given_up.count, given_up.at_least), (0, false));
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CountDeliveries {
    /// The deliveries to count. Its limit is ignored.
    pub query: DeliveryQuery,
    /// The number at which counting stops. Defaults to 10,000.
    pub at_most: u64,
}

impl CountDeliveries {
    /// Returns the message, which counts up to 10,000.
    pub fn new(query: DeliveryQuery) -> Self {
        Self {
            query,
            at_most: COUNTED,
        }
    }

    /// Sets the number at which counting stops. Defaults to 10,000.
    #[must_use]
    pub fn at_most(mut self, count: u64) -> Self {
        self.at_most = count;
        self
    }
}

impl Message for CountDeliveries {
    type Result = Result<Count, StoreError>;
}

/// Counts the dead letters that a query finds: application →
/// [`SupervisorActor`](crate::SupervisorActor).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CountDeadLetters(pub DeadLetterQuery);

impl CountDeadLetters {
    /// Returns the message. The query's limit is ignored.
    pub fn new(query: DeadLetterQuery) -> Self {
        Self(query)
    }
}

impl Message for CountDeadLetters {
    type Result = Result<Count, StoreError>;
}

/// Returns everything stored of one delivery, apart from its attempts: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The answer is `None` if there is no such delivery, or if it was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GetDelivery {
    /// The delivery.
    pub id: DeliveryId,
}

impl GetDelivery {
    /// Returns the message.
    pub fn new(id: DeliveryId) -> Self {
        Self { id }
    }
}

impl Message for GetDelivery {
    type Result = Result<Option<DeliveryDetails>, StoreError>;
}

/// Returns the accepted events with an id, also those that no rule matched: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// Each client may have an event with this id. The answer is empty if there is none, or if the id
/// was forgotten; deliveries of the event may still be listed.
///
/// ```
/// use actix_webhooks::{Engine, GetEvent};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let events = engine.supervisor().send(GetEvent::new("evt-1")).await??;
/// assert!(events.is_empty(), "it was not published");
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GetEvent {
    /// The event's id.
    pub id: EventId,
}

impl GetEvent {
    /// Returns the message.
    pub fn new(id: impl Into<EventId>) -> Self {
        Self { id: id.into() }
    }
}

impl Message for GetEvent {
    type Result = Result<Vec<StoredEvent>, StoreError>;
}

/// Lists the outbox events that were set aside because they can never be routed, oldest first:
/// application → [`SupervisorActor`](crate::SupervisorActor).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListRefused {
    /// The place in the outbox after which the page begins. Defaults to 0.
    pub after: u64,
    /// The maximum number of results. 0 means 100; more than 1,000 means 1,000.
    pub limit: usize,
}

impl ListRefused {
    /// Returns the message for a page that begins after a place in the outbox.
    pub fn new(after: u64, limit: usize) -> Self {
        Self { after, limit }
    }
}

impl Message for ListRefused {
    type Result = Result<Vec<RefusedEntry>, StoreError>;
}

/// Counts the events in the outbox: application → [`SupervisorActor`](crate::SupervisorActor).
///
/// In a store without an outbox none waits.
///
/// ```
/// use actix_webhooks::{Engine, GetOutbox};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let outbox = engine.supervisor().send(GetOutbox::new()).await??;
/// println!("{} events wait to be routed", outbox.waiting.count);
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct GetOutbox {
    /// The number at which counting waiting events stops. Defaults to 10,000.
    pub at_most: u64,
}

impl Default for GetOutbox {
    fn default() -> Self {
        Self::new()
    }
}

impl GetOutbox {
    /// Returns the message, which counts up to 10,000.
    pub fn new() -> Self {
        Self { at_most: COUNTED }
    }

    /// Sets the number at which counting stops. Defaults to 10,000.
    #[must_use]
    pub fn at_most(mut self, count: u64) -> Self {
        self.at_most = count;
        self
    }
}

impl Message for GetOutbox {
    type Result = Result<OutboxSummary, StoreError>;
}

/// The number at which counting stops by default.
pub(super) const COUNTED: u64 = 10_000;
