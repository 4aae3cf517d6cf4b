//! Questions about rules and events.

use actix::Message;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::events::event::Event;
use crate::domain::routing::explain::Explanation;
use crate::domain::routing::table::Traits;
use crate::domain::value::id::{ClientId, CompanyId};

/// Asks which rules an event would match now, and why others would not: application →
/// [`RouterActor`](crate::RouterActor).
///
/// Nothing is published or stored. The answer has every rule that matches, and up to 20 that do
/// not, nearest first: rules of the event's type, and rules for its client. Each comes with the
/// first of its conditions that fails. Texts are not checked: a type that no event could have is
/// compared like any other. If the mailbox is full, `send` waits for a place and `try_send` fails.
///
/// In JSON `{"ruleType":"invoice.paid","clientId":"client-1","companyId":"…","data":…}`; the last
/// two may be left out.
///
/// ```
/// use actix_webhooks::{Condition, Engine, ExplainRouting, MissReason, Rule};
/// use serde_json::json;
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rule = Rule::new("large", "invoice.*").webhook("https://example.com/hooks")?;
/// # let rule = rule.filter(Condition::gte("/amount", 1_000));
/// # let engine = Engine::builder().rule(rule).start().await?;
/// let small = ExplainRouting::new("invoice.paid", "client-1").data(json!({ "amount": 7 }));
/// let explanation = engine.router().send(small).await?;
/// for miss in &explanation.misses {
///     println!("{}: {}", miss.rule, miss.why); // large: asks for /amount >= 1000, found 7
/// }
/// # assert!(explanation.matches.is_empty() && !explanation.more);
/// # assert!(matches!(explanation.misses[0].why, MissReason::Filter { .. }));
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ExplainRouting {
    /// The event's type.
    pub rule_type: String,
    /// The client whose event it is.
    pub client_id: ClientId,
    /// The company that it is about; `None` for events about the client as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company_id: Option<CompanyId>,
    /// Its data. A JSON `null` is data like any other.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub data: Option<Value>,
}

impl ExplainRouting {
    /// Returns the message for an event without company and data.
    pub fn new(rule_type: impl Into<String>, client_id: impl Into<ClientId>) -> Self {
        Self {
            rule_type: rule_type.into(),
            client_id: client_id.into(),
            company_id: None,
            data: None,
        }
    }

    /// Sets the company that the event is about. Defaults to none.
    #[must_use]
    pub fn company(mut self, company_id: impl Into<CompanyId>) -> Self {
        self.company_id = Some(company_id.into());
        self
    }

    /// Sets the event's data. Defaults to none.
    #[must_use]
    pub fn data(mut self, data: impl Into<Value>) -> Self {
        self.data = Some(data.into());
        self
    }

    pub(crate) fn traits(&self) -> Traits<'_> {
        Traits {
            rule_type: &self.rule_type,
            client_id: &self.client_id,
            company_id: self.company_id.as_ref(),
            data: self.data.as_ref(),
        }
    }
}

impl From<Event> for ExplainRouting {
    /// Returns the message for an event that is, was or could be published.
    fn from(event: Event) -> Self {
        Self {
            rule_type: event.rule_type,
            client_id: event.client_id,
            company_id: event.company_id,
            data: event.data,
        }
    }
}

impl Message for ExplainRouting {
    type Result = Explanation;
}

/// Reads data that is present. A `null` would otherwise be read as no data.
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}
