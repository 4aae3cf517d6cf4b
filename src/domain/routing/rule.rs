//! The events that raise an alert, and where the alert goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::domain::authorisation::auth::Auth;
use crate::domain::events::event::Event;
use crate::domain::events::payload::PayloadFormat;
use crate::domain::events::projection::{InvalidProjection, Projection, Selected};
use crate::domain::routing::filter::{Filter, InvalidFilter};
use crate::domain::value::id::{ClientId, CompanyId, RuleId};
use crate::domain::value::pointer::JsonPointer;
use crate::domain::value::text::{InvalidText, check_text};
use crate::domain::value::url::{InvalidUrl, WebhookUrl};

/// The events, by type, client, company and data, that raise an alert, and the webhook URLs it goes
/// to.
///
/// ```
/// use actix_webhooks::Rule;
///
/// # fn main() -> Result<(), actix_webhooks::InvalidUrl> {
/// let rule = Rule::new("70af3071-65d9-4ec3-b3cb-5283e8d55dac", "Dataset data changed")
///     .client("bae71d36-ff47-420a-b4a6-f8c9ddf41140")
///     .webhook("https://example.com/hooks")?;
/// assert_eq!(rule.webhooks.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Rule {
    /// The rule's id.
    pub id: RuleId,
    /// The event types it matches: an exact text, `prefix.*` for everything below a prefix, or `*`
    /// for everything.
    pub rule_type: String,
    /// The client whose events it matches; `None` matches every client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// The company whose events it matches; `None` matches every company's and those about no
    /// company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company_id: Option<CompanyId>,
    /// Conditions on the data of the events that it matches; `None` has none.
    ///
    /// It is evaluated only for events that match by type, client and company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Arc<Filter>>,
    /// The values of an event's data that its alerts carry, in any format; `None` is all data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<Projection>,
    /// The URLs that its alerts go to, one delivery each.
    ///
    /// A URL repeated in any spelling counts once: an engine drops the repetitions.
    #[serde(deserialize_with = "distinct_urls")]
    pub webhooks: Arc<[WebhookUrl]>,
    /// Authorisation of its calls; `None` leaves it to the client, then to the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// The format of the body.
    #[serde(default)]
    pub format: PayloadFormat,
    /// Whether it raises alerts at all.
    #[serde(default = "enabled_by_default")]
    pub enabled: bool,
}

/// Why a rule is refused. Nothing was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRule {
    /// One of its texts is invalid.
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// It has no webhook, so its alerts would go nowhere.
    #[error("rule has no webhook; add one with Rule::webhook")]
    NoWebhook,
    /// A `*` is neither alone nor after a final dot.
    #[error("rule type {0:?} has a misplaced `*`; write `*` alone or `prefix.*`")]
    Pattern(String),
    /// Events of this type are about a client as a whole and carry no company, so the rule could
    /// never match.
    #[error(
        "events of type {0:?} carry no company, so the rule would never match; remove its company"
    )]
    CompanyNeverGiven(String),
    /// Its filter is invalid.
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    /// Its projection is invalid.
    #[error(transparent)]
    Projection(#[from] InvalidProjection),
}

impl Rule {
    /// Returns a rule for every client and company, without a webhook yet.
    ///
    /// `rule_type` is an exact text, `prefix.*` (everything below the prefix, at any depth) or `*`.
    pub fn new(id: impl Into<RuleId>, rule_type: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            rule_type: rule_type.into(),
            client_id: None,
            company_id: None,
            filter: None,
            projection: None,
            webhooks: Arc::default(),
            auth: None,
            format: PayloadFormat::default(),
            enabled: true,
        }
    }

    /// Restricts the rule to one client. Defaults to every client.
    #[must_use]
    pub fn client(mut self, id: impl Into<ClientId>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// Restricts the rule to one company. Defaults to every company.
    #[must_use]
    pub fn company(mut self, id: impl Into<CompanyId>) -> Self {
        self.company_id = Some(id.into());
        self
    }

    /// Restricts the rule to events whose data it holds for. Defaults to all.
    ///
    /// An event without data has no values, so only conditions that ask for that hold.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<Filter>) -> Self {
        self.filter = Some(Arc::new(filter.into()));
        self
    }

    /// Sets the places of the values of the data that are sent. Defaults to all data. See
    /// [`Projection`].
    #[must_use]
    pub fn projection(
        mut self,
        pointers: impl IntoIterator<Item = impl Into<JsonPointer>>,
    ) -> Self {
        self.projection = Some(Projection::new(pointers));
        self
    }

    /// Adds a URL that the rule's alerts go to. Adding it twice has no further effect.
    ///
    /// # Errors
    /// Returns [`InvalidUrl`] if no webhook can be sent to it.
    pub fn webhook(mut self, url: &str) -> Result<Self, InvalidUrl> {
        let url = WebhookUrl::parse(url)?;
        if !self.webhooks.contains(&url) {
            self.webhooks = self.webhooks.iter().cloned().chain([url]).collect();
        }
        Ok(self)
    }

    /// Sets the authorisation of the rule's calls, overriding client and endpoint. Defaults to
    /// theirs.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Sets the format of the body. Defaults to [`PayloadFormat::Alert`].
    #[must_use]
    pub fn format(mut self, format: PayloadFormat) -> Self {
        self.format = format;
        self
    }

    /// Disables the rule: it raises no alerts until it is put again enabled.
    #[must_use]
    pub fn disabled(mut self) -> Self {
        self.enabled = false;
        self
    }

    /// Returns `true` if the rule's filter holds for an event's data, or if it has none.
    pub(crate) fn accepts(&self, data: Option<&Value>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.holds(data))
    }

    /// Returns the part of an event's data that the rule's alerts carry.
    pub(crate) fn sent_of<'a>(&self, event: &'a Event) -> Option<Selected<'a>> {
        let data = event.data.as_ref()?;
        match &self.projection {
            Some(projection) => projection.of(data),
            None => Some(Selected::Whole(data)),
        }
    }

    /// Returns a valid rule as the engine holds it, with each webhook once.
    pub(crate) fn checked(mut self) -> Result<Self, InvalidRule> {
        self.check()?;
        self.webhooks = distinct(self.webhooks);
        Ok(self)
    }

    fn check(&self) -> Result<(), InvalidRule> {
        check_text("rule id", self.id.as_str())?;
        check_text("rule type", &self.rule_type)?;
        if let Some(client) = &self.client_id {
            check_text("client id", client.as_str())?;
        }
        if let Some(company) = &self.company_id {
            check_text("company id", company.as_str())?;
        }
        self.auth.as_ref().map_or(Ok(()), Auth::check)?;
        let fixed = self.rule_type.strip_suffix(".*").unwrap_or(&self.rule_type);
        if self.rule_type != "*" && (fixed.contains('*') || fixed.is_empty()) {
            return Err(InvalidRule::Pattern(self.rule_type.clone()));
        }
        if self.webhooks.is_empty() {
            return Err(InvalidRule::NoWebhook);
        }
        if self.company_id.is_some() && CLIENT_WIDE_TYPES.contains(&self.rule_type.as_str()) {
            return Err(InvalidRule::CompanyNeverGiven(self.rule_type.clone()));
        }
        if let Some(filter) = &self.filter {
            filter.check()?;
        }
        if let Some(projection) = &self.projection {
            projection.check()?;
        }
        Ok(())
    }
}

fn enabled_by_default() -> bool {
    true
}

/// Returns each URL at its first position.
fn distinct(urls: Arc<[WebhookUrl]>) -> Arc<[WebhookUrl]> {
    let mut known = BTreeSet::new();
    let first: Vec<&WebhookUrl> = urls.iter().filter(|url| known.insert(*url)).collect();
    if first.len() == urls.len() {
        return urls;
    }
    first.into_iter().cloned().collect()
}

fn distinct_urls<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<[WebhookUrl]>, D::Error> {
    Deserialize::deserialize(from).map(distinct)
}

/// The alert service's types that are about a client as a whole: their events name no company.
const CLIENT_WIDE_TYPES: [&str; 2] = ["Rate Limit Reached", "Rate Limit Reset"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::routing::filter::Condition;

    fn rule(rule_type: &str) -> Rule {
        Rule::new("r1", rule_type)
            .webhook("https://example.com/")
            .unwrap()
    }

    #[test]
    fn rules_that_could_never_work_are_refused() {
        assert_eq!(rule("Push Operation Status Changed()").check(), Ok(()));
        assert_eq!(rule("order.*").check(), Ok(()));
        assert_eq!(rule("*").check(), Ok(()));
        assert!(matches!(rule("").check(), Err(InvalidRule::Text(_))));
        assert!(matches!(rule("a\r\nb").check(), Err(InvalidRule::Text(_))));
        assert!(matches!(
            rule("*.created").check(),
            Err(InvalidRule::Pattern(_))
        ));
        assert!(matches!(
            rule("order*").check(),
            Err(InvalidRule::Pattern(_))
        ));
        assert!(matches!(rule(".*").check(), Err(InvalidRule::Pattern(_))));
        assert_eq!(Rule::new("r", "t").check(), Err(InvalidRule::NoWebhook));
        assert!(rule("t").auth(Auth::bearer("a\nb")).check().is_err());
        let company = rule("Rate Limit Reached").company("c");
        assert!(matches!(
            company.check(),
            Err(InvalidRule::CompanyNeverGiven(_))
        ));
    }

    #[test]
    fn a_filter_and_a_projection_are_checked_with_the_rule() {
        let wrong = rule("t").filter(Filter::All(Vec::new()));
        assert_eq!(wrong.checked(), Err(InvalidFilter::Empty.into()));
        let wrong = rule("t").projection([""; 0]);
        assert_eq!(wrong.checked(), Err(InvalidProjection::Empty.into()));
        let fine = rule("t")
            .filter(Condition::equals("/a", 1))
            .projection(["/b"]);
        let json = serde_json::to_value(&fine).unwrap();
        assert_eq!(json["filter"], json!({ "pointer": "/a", "equals": 1 }));
        assert_eq!(json["projection"], json!(["/b"]));
        assert_eq!(serde_json::from_value::<Rule>(json).unwrap(), fine);
        assert!(fine.checked().is_ok());
    }

    #[test]
    fn one_url_twice_is_one_webhook() {
        let rule = rule("t").webhook("HTTPS://example.com:443/#x").unwrap();
        assert_eq!(rule.webhooks.len(), 1);
        assert!(Rule::new("r", "t").webhook("mailto:a@b.c").is_err());
    }

    /// Regression: a rule from JSON, or with its field set directly, had one URL in three
    /// spellings, so every event was delivered three times.
    #[test]
    fn no_way_into_a_rule_lets_one_url_in_twice() {
        let [a, b] = ["https://a.test/", "https://b.test/"];
        let json = format!(
            r#"{{"id":"r","ruleType":"t","webhooks":["{a}","HTTPS://A.test","{b}","{a}#x","{b}"]}}"#
        );
        let read: Rule = serde_json::from_str(&json).unwrap();
        assert_eq!(*read.webhooks, [a, b]);
        let mut set = rule("t");
        let twice = [a, b, "https://A.test:443", b].map(|url| WebhookUrl::parse(url).unwrap());
        set.webhooks = twice.into();
        assert_eq!(*set.checked().unwrap().webhooks, [a, b]);
    }

    #[test]
    fn a_company_and_a_type_of_whole_clients_go_well_apart() {
        assert_eq!(rule("order.paid").company("k").check(), Ok(()));
        assert_eq!(rule(CLIENT_WIDE_TYPES[0]).check(), Ok(()));
    }
}
