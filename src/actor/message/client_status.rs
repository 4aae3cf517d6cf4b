//! The question how a client is.

use actix::Message;
use serde::{Deserialize, Serialize};

use crate::domain::endpoint::standing::EndpointCounts;
use crate::domain::value::id::ClientId;
use crate::domain::value::time::Timestamp;
use crate::store::{Count, StoreError};

/// Returns the status of a client: application → [`RouterActor`](crate::RouterActor).
///
/// Rules and endpoints are counted in memory, deliveries in the store. The client need not have
/// been put: events and rules may name others.
///
/// ```
/// use actix_webhooks::{Engine, GetClientStatus, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rule = Rule::new("invoices", "invoice.*").client("client-1");
/// # let rule = rule.webhook("https://example.com/hooks")?;
/// # let engine = Engine::builder().rule(rule).start().await?;
/// let status = engine.router().send(GetClientStatus::new("client-1")).await??;
/// assert_eq!((status.rules.count, status.endpoints.idle), (1, 1));
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GetClientStatus {
    /// The client's id.
    pub id: ClientId,
}

impl GetClientStatus {
    /// Returns the message.
    pub fn new(id: impl Into<ClientId>) -> Self {
        Self { id: id.into() }
    }
}

impl Message for GetClientStatus {
    type Result = Result<ClientStatus, StoreError>;
}

/// The status of a client. Counts stop at 10,000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ClientStatus {
    /// The client's id.
    pub id: ClientId,
    /// Number of rules that name the client. Rules for every client are not among them.
    pub rules: Count,
    /// The endpoints of these rules by state. If there are more rules than are counted, those of
    /// the counted ones.
    pub endpoints: EndpointCounts,
    /// Number of open deliveries.
    pub open: Count,
    /// Number of dead letters.
    pub dead_letters: Count,
    /// The latest time at which one of its receivers accepted a delivery; `None` if none is found.
    ///
    /// The hundred newest deliveries that were accepted decide, found among the client's 10,000
    /// newest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_delivered_at: Option<Timestamp>,
}
