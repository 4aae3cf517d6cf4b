//! Deliveries, attempts and dead letters: listed, started again, discarded.

use actix::Message;
use serde::{Deserialize, Serialize};

use crate::domain::attempt::Attempt;
use crate::domain::dead_letter::DeadLetter;
use crate::domain::delivery::Delivery;
use crate::domain::id::DeliveryId;
use crate::store::{DeadLetterQuery, DeliveryQuery, Redelivery, StoreError};

/// Delivers something again, as a fresh delivery with the same alert: application → [`SupervisorActor`](crate::SupervisorActor). The answer
/// names the fresh deliveries.
///
/// ```
/// use actix_webhooks::store::DeadLetterQuery;
/// use actix_webhooks::{Engine, Redeliver};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// // Whatever could not be delivered to this endpoint, now that it works again.
/// let query = DeadLetterQuery {
///     url: Some("https://example.com/hooks".parse()?),
///     ..DeadLetterQuery::default()
/// };
/// let fresh = engine.supervisor().send(Redeliver::dead_letters(query)).await??;
/// println!("{} deliveries started again", fresh.len());
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
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
///
/// ```
/// use actix_webhooks::store::{DeliveryQuery, DeliveryStage};
/// use actix_webhooks::{Engine, ListDeliveries};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let query = DeliveryQuery {
///     client_id: Some("client-1".into()),
///     stage: Some(DeliveryStage::Open),
///     ..DeliveryQuery::default()
/// };
/// for delivery in engine.supervisor().send(ListDeliveries(query)).await?? {
///     println!("{} to {}: {:?}", delivery.event_id, delivery.url, delivery.state);
/// }
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
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
///
/// ```
/// use actix_webhooks::store::DeadLetterQuery;
/// use actix_webhooks::{DiscardDeadLetters, Engine};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let query = DeadLetterQuery {
///     client_id: Some("client-that-left".into()),
///     ..DeadLetterQuery::default()
/// };
/// let discarded = engine.supervisor().send(DiscardDeadLetters(query)).await??;
/// assert_eq!(discarded, 0);
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscardDeadLetters(pub DeadLetterQuery);

impl Message for DiscardDeadLetters {
    type Result = Result<u64, StoreError>;
}

/// Asks for dead letters, newest first: application → [`SupervisorActor`](crate::SupervisorActor).
///
/// ```
/// use actix_webhooks::{Engine, ListDeadLetters};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// for letter in engine.supervisor().send(ListDeadLetters::default()).await?? {
///     println!("{} to {}: {}", letter.event_id, letter.url, letter.reason);
/// }
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListDeadLetters(pub DeadLetterQuery);

impl Message for ListDeadLetters {
    type Result = Result<Vec<DeadLetter>, StoreError>;
}
