//! Redeliveries of everything that a filter finds.

use actix::Message;
use serde::{Deserialize, Serialize};

use super::asking::COUNTED;
use crate::domain::endpoint::standing::StateKind;
use crate::domain::endpoint::status::EndpointState;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::{
    Count, DeadLetterQuery, DeliveryQuery, Redelivery, RedeliveryId, RedeliveryJob, StoreError,
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

/// Asks what a redelivery by filter would redeliver, without starting it: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// ```
/// use actix_webhooks::store::DeadLetterQuery;
/// use actix_webhooks::{Engine, PlanRedelivery};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let all = DeadLetterQuery::default();
/// let plan = engine.supervisor().send(PlanRedelivery::dead_letters(all)).await??;
/// println!("{} dead letters to {} endpoints", plan.count.count, plan.endpoints);
/// for blocked in &plan.blocked {
///     println!("{} takes nothing now", blocked.url);
/// }
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PlanRedelivery {
    /// What would be redelivered. Its limit and its `before` are ignored.
    pub which: Redelivery,
    /// The number at which counting stops. Defaults to 10,000.
    pub at_most: u64,
}

impl PlanRedelivery {
    /// Returns the message for the dead letters that a query finds.
    pub fn dead_letters(query: DeadLetterQuery) -> Self {
        Self::new(Redelivery::DeadLetters(query))
    }

    /// Returns the message for deliveries that have ended, also those that were delivered.
    pub fn ended(query: DeliveryQuery) -> Self {
        Self::new(Redelivery::Ended(query))
    }

    /// Sets the number at which counting stops. Defaults to 10,000.
    #[must_use]
    pub fn at_most(mut self, count: u64) -> Self {
        self.at_most = count;
        self
    }

    pub(crate) fn new(which: Redelivery) -> Self {
        let at_most = COUNTED;
        Self { which, at_most }
    }
}

impl Message for PlanRedelivery {
    type Result = Result<RedeliveryPlan, StoreError>;
}

/// What a redelivery by filter would redeliver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RedeliveryPlan {
    /// Number of deliveries. If there may be more, the rest of the plan is about those counted: the
    /// newest ones.
    #[serde(flatten)]
    pub count: Count,
    /// Number of their endpoints.
    pub endpoints: u64,
    /// The time of the oldest delivery: when it was given up, if dead letters are redelivered,
    /// otherwise when it was accepted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub oldest: Option<Timestamp>,
    /// The same of the newest one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub newest: Option<Timestamp>,
    /// Number of the endpoints that would not take their deliveries now.
    pub blocked_endpoints: u64,
    /// Those of them with most deliveries, at most 100, ordered by that number.
    pub blocked: Vec<BlockedEndpoint>,
}

/// An endpoint that would not take now what would be redelivered to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BlockedEndpoint {
    /// The endpoint.
    pub url: WebhookUrl,
    /// Number of deliveries to it.
    pub deliveries: u64,
    /// Its state: paused, disabled, on hold, or behind an open circuit. Its deliveries wait until
    /// that ends. `None` if it was removed and may not be called: its deliveries are passed over.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<EndpointState>,
}

impl BlockedEndpoint {
    /// Returns `true` if its state is one in which nothing starts.
    pub(crate) fn is_still(&self) -> bool {
        let kind = self.by.as_ref().map(EndpointState::kind);
        kind.is_none_or(StateKind::is_stopped)
    }
}
