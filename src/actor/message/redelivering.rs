//! Redeliveries of everything that a filter finds.

use actix::Message;
use serde::{Deserialize, Serialize};

use crate::store::{
    DeadLetterQuery, DeliveryQuery, Redelivery, RedeliveryId, RedeliveryJob, StoreError,
};

/// Redelivers everything that a filter finds, oldest first, step by step: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The answer is the redelivery as it begins; [`ListRedeliveries`] shows its progress, and
/// [`StopRedelivery`] stops it. It survives a restart, and repeats no delivery after a crash. If
/// the backlog is full, it waits for room.
///
/// ```
/// use actix_webhooks::store::DeadLetterQuery;
/// use actix_webhooks::{Engine, StartRedelivery};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// // Whatever could not be delivered to this endpoint, now that it works again.
/// let query = DeadLetterQuery {
///     url: Some("https://example.com/hooks".parse()?),
///     ..DeadLetterQuery::default()
/// };
/// let job = engine.supervisor().send(StartRedelivery::dead_letters(query)).await??;
/// assert_eq!(job.total, 0, "nothing was given up");
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StartRedelivery(pub Redelivery);

impl StartRedelivery {
    /// Returns the message for the dead letters that a query finds.
    pub fn dead_letters(query: DeadLetterQuery) -> Self {
        Self(Redelivery::DeadLetters(query))
    }

    /// Returns the message for deliveries that have ended, also those that were delivered.
    pub fn ended(query: DeliveryQuery) -> Self {
        Self(Redelivery::Ended(query))
    }
}

impl Message for StartRedelivery {
    type Result = Result<RedeliveryJob, StoreError>;
}

/// Stops a redelivery: application → [`SupervisorActor`](crate::SupervisorActor).
///
/// Deliveries already started go on; what is left was not touched. The answer is the redelivery;
/// `None` if it is unknown. One that has ended stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StopRedelivery {
    /// The redelivery.
    pub id: RedeliveryId,
}

impl StopRedelivery {
    /// Returns the message.
    pub fn new(id: RedeliveryId) -> Self {
        Self { id }
    }
}

impl Message for StopRedelivery {
    type Result = Result<Option<RedeliveryJob>, StoreError>;
}

/// Lists the redeliveries by filter, oldest first: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// All that go on, and at least the last 100 that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListRedeliveries;

impl ListRedeliveries {
    /// Returns the message.
    pub fn new() -> Self {
        Self
    }
}

impl Message for ListRedeliveries {
    type Result = Result<Vec<RedeliveryJob>, StoreError>;
}
