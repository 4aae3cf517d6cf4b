//! Deliveries, attempts and dead letters: listing, redelivering, discarding.

use std::ops::Deref;

use actix::Message;
use serde::{Deserialize, Serialize};

use crate::domain::deliveries::attempt::Attempt;
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::Delivery;
use crate::domain::endpoint::due::AttemptNowAnswer;
use crate::domain::value::id::{ClientId, DeliveryId, RuleId};
use crate::domain::value::url::WebhookUrl;
use crate::store::{
    AttemptPage, AttemptQuery, DeadLetterQuery, DeliveryQuery, Page, Redelivery, StoreError,
};

/// Redelivers a delivery or dead letters, each as a fresh delivery of the same alert: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The answer lists the fresh deliveries and the number of dead letters left. The fresh deliveries
/// wait while the endpoint is paused, disabled or held; only
/// [`ResumeEndpoint`](crate::ResumeEndpoint) lifts that.
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
///     limit: 1_000,
///     ..DeadLetterQuery::default()
/// };
/// loop {
///     let fresh = engine.supervisor().send(Redeliver::dead_letters(query.clone())).await??;
///     println!("{} deliveries started again, {} are left", fresh.len(), fresh.remaining);
///     if fresh.remaining == 0 {
///         break;
///     }
/// }
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Redeliver(pub Redelivery);

impl Redeliver {
    /// Returns the message for a [`DeliveryId`] or a [`DeadLetterQuery`].
    pub fn new(which: impl Into<Redelivery>) -> Self {
        Self(which.into())
    }

    /// Returns the message for one delivery in any state.
    pub fn one(id: DeliveryId) -> Self {
        Self(Redelivery::One(id))
    }

    /// Returns the message for the dead letters of a query, oldest first.
    ///
    /// One message redelivers up to the query's limit: 100 by default, at most 1,000. Send it until
    /// nothing is left to redeliver all of them in the order of acceptance.
    pub fn dead_letters(query: DeadLetterQuery) -> Self {
        Self(Redelivery::DeadLetters(query))
    }
}

impl Message for Redeliver {
    type Result = Result<Redeliveries, StoreError>;
}

/// The result of [`Redeliver`]. It dereferences to the list of fresh deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Redeliveries {
    /// The fresh deliveries, in the order of the deliveries they repeat.
    pub fresh: Vec<DeliveryId>,
    /// The number of dead letters that match the query and were not redelivered; 0 if one delivery
    /// was named.
    pub remaining: u64,
}

impl Redeliveries {
    pub(crate) fn new(fresh: Vec<DeliveryId>, remaining: u64) -> Self {
        Self { fresh, remaining }
    }
}

impl Deref for Redeliveries {
    type Target = [DeliveryId];

    fn deref(&self) -> &[DeliveryId] {
        &self.fresh
    }
}

impl IntoIterator for Redeliveries {
    type Item = DeliveryId;
    type IntoIter = std::vec::IntoIter<DeliveryId>;

    fn into_iter(self) -> Self::IntoIter {
        self.fresh.into_iter()
    }
}

impl<'a> IntoIterator for &'a Redeliveries {
    type Item = &'a DeliveryId;
    type IntoIter = std::slice::Iter<'a, DeliveryId>;

    fn into_iter(self) -> Self::IntoIter {
        self.fresh.iter()
    }
}

/// Ends the open deliveries of a rule or of a client at all endpoints: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// They become dead letters with the reason `RuleEnded` or `ClientEnded`, which can be listed,
/// redelivered and discarded. Each is reported to the watchers of deliveries. Nothing else about
/// their endpoints changes. An attempt in flight is not aborted: if it succeeds, its delivery is
/// delivered, otherwise ended. The answer comes once none of the deliveries is open. It is their
/// number, including those in flight.
///
/// The message ends the deliveries that are open when it arrives. Deliveries accepted later are not
/// affected, so remove the rule first;
/// [`RemoveRule::ending_deliveries`](crate::RemoveRule::ending_deliveries) does both.
///
/// ```
/// use actix_webhooks::{EndDeliveries, Engine};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// // The client has left, and shares its URL with others.
/// let ended = engine.supervisor().send(EndDeliveries::of_client("client-1")).await??;
/// assert_eq!(ended, 0, "nothing was open");
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct EndDeliveries {
    /// Limits it to the deliveries of this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_id: Option<RuleId>,
    /// Limits it to the deliveries of this client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
}

impl EndDeliveries {
    /// Returns the message for the deliveries of a rule.
    pub fn of_rule(id: impl Into<RuleId>) -> Self {
        Self {
            rule_id: Some(id.into()),
            client_id: None,
        }
    }

    /// Returns the message for the deliveries of a client.
    pub fn of_client(id: impl Into<ClientId>) -> Self {
        Self {
            rule_id: None,
            client_id: Some(id.into()),
        }
    }

    /// Limits the message to the deliveries of one client.
    #[must_use]
    pub fn and_client(mut self, id: impl Into<ClientId>) -> Self {
        self.client_id = Some(id.into());
        self
    }
}

impl Message for EndDeliveries {
    type Result = Result<u64, StoreError>;
}

/// Attempts a delivery now that waits for a retry: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The delivery becomes due now, which is stored before the answer, and is attempted as soon as its
/// endpoint may start an attempt: permits, window, rate limit and order count as always. It is its
/// next attempt, not one more: the number of attempts made and the deadline stay as they are, and
/// the waits after it are those of the retry policy.
///
/// Nothing changes if it is queued, due or in flight already, if it is not open, or if its endpoint
/// attempts nothing at present because it is paused, disabled, on hold or behind an open circuit;
/// the answer says which. An ended delivery is started again by [`Redeliver`].
///
/// ```
/// use actix_webhooks::{AttemptNow, AttemptNowAnswer, DeliveryId, Engine};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let answer = engine.supervisor().send(AttemptNow::new(DeliveryId::new(42))).await??;
/// assert_eq!(answer, AttemptNowAnswer::Unknown);
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AttemptNow {
    /// The delivery.
    pub id: DeliveryId,
}

impl AttemptNow {
    /// Returns the message.
    pub fn new(id: DeliveryId) -> Self {
        Self { id }
    }
}

impl Message for AttemptNow {
    type Result = Result<AttemptNowAnswer, StoreError>;
}

/// Lists deliveries, newest first: application → [`SupervisorActor`](crate::SupervisorActor).
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
/// for delivery in engine.supervisor().send(ListDeliveries::new(query)).await?? {
///     println!("{} to {}: {:?}", delivery.event_id, delivery.url, delivery.state);
/// }
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListDeliveries(pub DeliveryQuery);

impl ListDeliveries {
    /// Returns the message.
    pub fn new(query: DeliveryQuery) -> Self {
        Self(query)
    }
}

impl Message for ListDeliveries {
    type Result = Result<Page<Delivery>, StoreError>;
}

/// Lists the finished attempts of a delivery, oldest first: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// ```
/// use actix_webhooks::store::DeliveryQuery;
/// use actix_webhooks::{Engine, ListAttempts, ListDeliveries};
///
/// /// Prints what happened to an event.
/// async fn tell(engine: &Engine, event: &str) -> Result<(), Box<dyn std::error::Error>> {
///     let query = DeliveryQuery { event_id: Some(event.into()), ..DeliveryQuery::default() };
///     for delivery in engine.supervisor().send(ListDeliveries::new(query)).await?? {
///         println!("{}: {:?}", delivery.url, delivery.state);
///         for attempt in engine.supervisor().send(ListAttempts::new(delivery.id)).await?? {
///             println!("  {:?} {}", attempt.summary, attempt.excerpt);
///         }
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListAttempts {
    /// The delivery.
    pub id: DeliveryId,
}

impl ListAttempts {
    /// Returns the message.
    pub fn new(id: DeliveryId) -> Self {
        Self { id }
    }
}

impl Message for ListAttempts {
    type Result = Result<Vec<Attempt>, StoreError>;
}

/// Lists the finished attempts of all deliveries of an endpoint, the latest first: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The endpoint need not be known any more. [`AttemptPage`] says how far one page looks.
///
/// ```
/// use actix_webhooks::store::AttemptQuery;
/// use actix_webhooks::{Engine, ListEndpointAttempts, WebhookUrl};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let url = WebhookUrl::parse("https://example.com/hooks")?;
/// let failed = AttemptQuery { failed: Some(true), limit: 20, ..AttemptQuery::default() };
/// let list = ListEndpointAttempts::new(url, failed);
/// for found in engine.supervisor().send(list).await??.items {
///     println!("{}: {}", found.event_id, found.attempt.summary);
/// }
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListEndpointAttempts {
    /// The endpoint.
    pub url: WebhookUrl,
    /// Which attempts, and how many.
    pub query: AttemptQuery,
}

impl ListEndpointAttempts {
    /// Returns the message.
    pub fn new(url: WebhookUrl, query: AttemptQuery) -> Self {
        Self { url, query }
    }
}

impl Message for ListEndpointAttempts {
    type Result = Result<AttemptPage, StoreError>;
}

/// Discards the dead letters of a query, at most 1,000 per message: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// They stay in the record of deliveries. The answer is their number.
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
/// let discarded = engine.supervisor().send(DiscardDeadLetters::new(query)).await??;
/// assert_eq!(discarded, 0);
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DiscardDeadLetters(pub DeadLetterQuery);

impl DiscardDeadLetters {
    /// Returns the message.
    pub fn new(query: DeadLetterQuery) -> Self {
        Self(query)
    }
}

impl Message for DiscardDeadLetters {
    type Result = Result<u64, StoreError>;
}

/// Lists dead letters, newest first: application → [`SupervisorActor`](crate::SupervisorActor).
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
#[non_exhaustive]
pub struct ListDeadLetters(pub DeadLetterQuery);

impl ListDeadLetters {
    /// Returns the message.
    pub fn new(query: DeadLetterQuery) -> Self {
        Self(query)
    }
}

impl Message for ListDeadLetters {
    type Result = Result<Page<DeadLetter>, StoreError>;
}
