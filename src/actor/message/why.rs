//! The question why.

use actix::Message;
use serde::{Deserialize, Serialize};

use crate::domain::value::id::{AlertId, DeliveryId, EventId};
use crate::domain::why::Why;
use crate::store::{DeliveryQuery, StoreError};

/// Asks why a receiver got nothing, or what it got: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The answer lists what was found, the best explanation first.
///
/// ```
/// use actix_webhooks::{AskWhy, Engine, FindingCode};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let why = engine.supervisor().send(AskWhy::event("evt-1")).await??;
/// let headline = why.headline().expect("an explanation");
/// assert_eq!(headline.code, FindingCode::EventUnknown);
/// println!("{}", headline.text);
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AskWhy {
    /// About an event: all its deliveries, or why it has none.
    Event(EventId),
    /// About one delivery.
    Delivery(DeliveryId),
    /// About an alert, by the id that its receivers see as `webhook-id`.
    Alert(AlertId),
    /// About the newest deliveries that a query finds, at most 20.
    Deliveries(DeliveryQuery),
}

impl AskWhy {
    /// Returns the question about an event.
    pub fn event(id: impl Into<EventId>) -> Self {
        Self::Event(id.into())
    }

    /// Returns the question about one delivery.
    pub fn delivery(id: DeliveryId) -> Self {
        Self::Delivery(id)
    }

    /// Returns the question about an alert, by the id that its receivers see as `webhook-id`.
    pub fn alert(id: AlertId) -> Self {
        Self::Alert(id)
    }

    /// Returns the question about the newest deliveries that a query finds.
    pub fn deliveries(query: DeliveryQuery) -> Self {
        Self::Deliveries(query)
    }
}

impl Message for AskWhy {
    type Result = Result<Why, StoreError>;
}
