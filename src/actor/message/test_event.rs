//! Tests that operators send to an endpoint.

use std::fmt;

use actix::Message;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::EndpointError;
use crate::domain::value::id::{ClientId, DeliveryId};
use crate::domain::value::url;
use crate::error::PublishError;

/// Sends one test event to an endpoint now: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The answer is the id of its delivery, once the test is stored. How it ended is reported
/// ([`WatchDeliveries`](crate::WatchDeliveries)) and listed like that of any other delivery.
///
/// - The request is like those of the endpoint's deliveries: its headers, signatures and client
///   certificate, and the format and credentials of the first enabled rule, by id, that names the
///   URL for the client. The rule's filters do not count. If no rule names the URL: the alert
///   service's format, the endpoint's own credentials, and the rule id `webhook.test`.
/// - There is **one** attempt. If it fails, the delivery is a dead letter.
/// - It waits for a permit and nothing else, even if the endpoint is paused, disabled, on hold or
///   behind an open circuit. Only settings that cannot be read, or a restart of the engine before
///   the attempt, let it wait until the endpoint's deliveries go on.
/// - It says nothing about the endpoint: failures in a row, health, circuit, hold, pace and window
///   stay as they are, and no answer to it disables the endpoint. The status's counts and its last
///   attempt include it.
/// - Its event id begins with `webhook.test:` ([`EventId::is_test`](crate::EventId::is_test)),
///   which no other event's can.
///
/// ```
/// use actix_webhooks::{Engine, Rule, SendTest};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.invalid/hooks")?;
/// # let engine = Engine::builder().rule(rule).start().await?;
/// let test = SendTest::new("https://example.invalid/hooks").rule_type("invoice.paid");
/// let id = engine.supervisor().send(test).await??;
/// println!("delivery {id}");
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SendTest {
    /// The endpoint's URL in any spelling. `Debug` omits user info and query.
    pub url: String,
    /// The event's type. Defaults to `webhook.test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_type: Option<String>,
    /// The event's data. Defaults to `{"test":true}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// The client whose event it is. Defaults to the one that the endpoint is restricted to, else
    /// to the rule's, else to `webhook.test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
}

impl SendTest {
    /// Returns the message, with an example as the event's data.
    pub fn new(url: impl AsRef<str>) -> Self {
        Self {
            url: url.as_ref().to_owned(),
            rule_type: None,
            data: None,
            client: None,
        }
    }

    /// Sets the event's type: a text of 1 to [`MAX_TEXT_BYTES`](crate::limits::MAX_TEXT_BYTES)
    /// bytes without control characters. Defaults to `webhook.test`.
    #[must_use]
    pub fn rule_type(self, rule_type: impl Into<String>) -> Self {
        let rule_type = Some(rule_type.into());
        Self { rule_type, ..self }
    }

    /// Sets the event's data. Defaults to `{"test":true}`.
    #[must_use]
    pub fn data(self, data: impl Into<Value>) -> Self {
        let data = Some(data.into());
        Self { data, ..self }
    }

    /// Sets the client whose event it is. Defaults to the one that the endpoint is restricted to,
    /// else to the rule's, else to `webhook.test`.
    #[must_use]
    pub fn client(self, id: impl Into<ClientId>) -> Self {
        let client = Some(id.into());
        Self { client, ..self }
    }
}

impl fmt::Debug for SendTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendTest")
            .field("url", &url::shown(&self.url))
            .field("rule_type", &self.rule_type)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Message for SendTest {
    type Result = Result<DeliveryId, TestError>;
}

/// The reason why a test was not sent. Nothing was stored, except as described at
/// [`PublishError`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// The endpoint is unknown.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The event was not accepted.
    #[error(transparent)]
    Event(#[from] PublishError),
}
