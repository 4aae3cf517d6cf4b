//! Questions about an endpoint's settings, its URL, and the engine itself.

use std::sync::Arc;

use actix::Message;
use serde::{Deserialize, Serialize};

use super::EndpointError;
use super::endpoints::about_an_endpoint;
use crate::domain::endpoint::id::EndpointId;
use crate::domain::endpoint::policy::EndpointPolicy;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;

about_an_endpoint! {
    /// Returns the settings of an endpoint, secrets included: application →
    /// [`SupervisorActor`](crate::SupervisorActor).
    ///
    /// An endpoint without settings of its own has the engine's default policy. To change one
    /// setting, change the answer and put it again ([`PutEndpoint`](crate::PutEndpoint)).
    ///
    /// ```
    /// use std::time::Duration;
    /// use actix_webhooks::{Engine, GetEndpoint, Rule};
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
    /// # let engine = Engine::builder().rule(rule).start().await?;
    /// let settings = engine.supervisor().send(GetEndpoint::new("https://example.com/hooks")).await??;
    /// engine.put_endpoint(settings.timeout(Duration::from_secs(5))).await?;
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    GetEndpoint -> Result<Endpoint, EndpointError>
}

/// Returns the URL of the endpoint with an id: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The answer is `None` if no known endpoint has the id. The first such message computes the ids of
/// all endpoints; later ones look one up.
///
/// ```
/// use actix_webhooks::{EndpointId, Engine, FindEndpoint, Rule, WebhookUrl};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
/// # let engine = Engine::builder().rule(rule).start().await?;
/// let id = EndpointId::of(&WebhookUrl::parse("https://example.com/hooks")?);
/// let url = engine.supervisor().send(FindEndpoint::new(id)).await?;
/// assert_eq!(url.unwrap(), "https://example.com/hooks");
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FindEndpoint {
    /// The endpoint's id.
    pub id: EndpointId,
}

impl FindEndpoint {
    /// Returns the message.
    pub fn new(id: EndpointId) -> Self {
        Self { id }
    }
}

impl Message for FindEndpoint {
    type Result = Option<WebhookUrl>;
}

/// Returns the status of the engine: application → [`SupervisorActor`](crate::SupervisorActor).
///
/// ```
/// use actix_webhooks::{Engine, GetEngine};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let status = engine.supervisor().send(GetEngine).await?;
/// println!("running since {}", status.started_at);
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "it has no content")]
pub struct GetEngine;

impl Message for GetEngine {
    type Result = EngineStatus;
}

/// The status of an engine. Times are wall-clock times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EngineStatus {
    /// When the engine started.
    pub started_at: Timestamp,
    /// The time of the answer, by the clock that the engine shows.
    pub now: Timestamp,
    /// Whether the engine is shutting down.
    pub draining: bool,
    /// The policy of endpoints without settings of their own.
    pub default_policy: EndpointPolicy,
    /// Why the store is in trouble; `None` if it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub store_error: Option<Arc<str>>,
}
