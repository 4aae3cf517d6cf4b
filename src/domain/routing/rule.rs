//! The events that raise an alert, and where the alert goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::authorisation::auth::Auth;
use crate::domain::events::payload::PayloadFormat;
use crate::domain::value::id::{ClientId, CompanyId, RuleId};
use crate::domain::value::text::{InvalidText, check_text};
use crate::domain::value::url::{InvalidUrl, WebhookUrl};

/// The events, by type, client and company, that raise an alert, and the webhook URLs it goes to.
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
    use super::*;

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
