//! An event under one rule: the content of a delivery.

use bytes::Bytes;

use crate::domain::events::payload::PayloadFormat;
use crate::domain::value::id::{AlertId, ClientId, CompanyId, EventId, RuleId};

/// One event under one rule, encoded once and shared by all its deliveries and attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alert {
    /// The alert's id, the same on every attempt.
    pub id: AlertId,
    /// The event that raised it.
    pub event_id: EventId,
    /// The rule that raised it.
    pub rule_id: RuleId,
    /// The event's type, for queries.
    pub rule_type: String,
    /// The client whose event it is; sent as the client id header.
    pub client_id: ClientId,
    /// The company of the event; `Ordering::FifoPerCompany` keeps order by it.
    pub company_id: Option<CompanyId>,
    /// The format of the body, which decides the content type.
    pub format: PayloadFormat,
    /// The request body, exactly as sent.
    pub body: Bytes,
}

impl Alert {
    /// Returns an alert of an event without a company, in the default format.
    pub fn new(
        event_id: EventId,
        rule_id: RuleId,
        rule_type: impl Into<String>,
        client_id: ClientId,
        body: Bytes,
    ) -> Self {
        Self {
            id: AlertId::new(&event_id, &rule_id),
            event_id,
            rule_id,
            rule_type: rule_type.into(),
            client_id,
            company_id: None,
            format: PayloadFormat::Alert,
            body,
        }
    }

    /// Returns `true` if it is a test ([`SendTest`](crate::SendTest)).
    pub fn is_test(&self) -> bool {
        self.event_id.is_test()
    }
}

#[cfg(test)]
impl Alert {
    /// Returns an alert without a body, of event `e` and rule `r`, for tests.
    pub(crate) fn example(company_id: Option<&str>) -> Self {
        Self {
            company_id: company_id.map(CompanyId::from),
            ..Self::new("e".into(), "r".into(), "t", "c".into(), Bytes::new())
        }
    }
}
