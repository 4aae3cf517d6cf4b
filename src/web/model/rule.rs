//! Rules, in the API's form and in the alert service's.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::AuthView;
use super::page::{Limit, always};
use super::reshape;
use crate::domain::endpoint::id::EndpointId;
use crate::domain::events::projection::Projection;
use crate::domain::routing::filter::Filter;
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::{ClientId, CompanyId, RuleId};
use crate::domain::value::url::WebhookUrl;
use crate::web::problems::{Code, Problem};

/// Which events raise an alert, and where the alert goes.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Rule)]
pub(in crate::web) struct RuleView {
    /// The id; in a `PUT`, that of the path.
    #[schema(value_type = Option<String>, max_length = 256)]
    id: Option<RuleId>,
    /// The event types that it matches: an exact text, `prefix.*`, or `*`.
    #[schema(min_length = 1, max_length = 256)]
    rule_type: String,
    /// The client whose events it matches; absent for every client's.
    #[schema(value_type = Option<String>, max_length = 256)]
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<ClientId>,
    /// The company whose events it matches; absent for every company's.
    #[schema(value_type = Option<String>, max_length = 256)]
    #[serde(skip_serializing_if = "Option::is_none")]
    company_id: Option<CompanyId>,
    /// The URLs that its alerts go to.
    #[schema(value_type = Vec<String>, min_items = 1)]
    webhooks: Vec<WebhookUrl>,
    /// The conditions on the event's data: `{"pointer":"/amount","gte":1000}`, or `all` or `any` of
    /// such. Absent if there are none.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<Arc<Filter>>,
    /// The values of the event's data that are sent, as JSON Pointers. Absent if all are.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    projection: Option<Projection>,
    /// The format of the body. `alert` by default.
    #[serde(default)]
    format: FormatName,
    /// Whether it raises alerts at all. `true` by default.
    #[serde(default = "yes")]
    enabled: bool,
    /// The authorisation of calls; absent if there is none. Change it by `PUT /rules/{id}/auth`.
    #[schema(read_only)]
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<AuthView>,
}

/// A merge patch (RFC 7386) on a rule.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it documents a merge patch")]
#[schema(as = RulePatch, rename_all = "camelCase")]
pub(in crate::web) struct RulePatch {
    rule_type: Option<String>,
    client_id: Option<String>,
    company_id: Option<String>,
    webhooks: Option<Vec<String>>,
    #[schema(value_type = Option<Object>)]
    filter: Option<Filter>,
    projection: Option<Vec<String>>,
    format: Option<FormatName>,
    enabled: Option<bool>,
}

super::words! {
    /// The format of the body of a rule's alerts.
    #[derive(Default)]
    #[schema(as = PayloadFormat)]
    FormatName {
        /// The alert service's envelope.
        #[default]
        Alert,
        /// Standard Webhooks 1.0.
        StandardWebhooks,
        /// `CloudEvents` 1.0 in structured mode.
        CloudEvents,
        /// The event's data alone.
        Raw,
    }
}

fn yes() -> bool {
    true
}

impl RuleView {
    pub(in crate::web) fn new(rule: &Rule) -> Result<Self, Problem> {
        Ok(Self {
            id: Some(rule.id.clone()),
            rule_type: rule.rule_type.clone(),
            client_id: rule.client_id.clone(),
            company_id: rule.company_id.clone(),
            webhooks: rule.webhooks.to_vec(),
            filter: rule.filter.clone(),
            projection: rule.projection.clone(),
            format: reshape(&rule.format)?,
            enabled: rule.enabled,
            auth: rule.auth.as_ref().map(AuthView::from),
        })
    }

    pub(in crate::web) fn id(&self) -> Option<&RuleId> {
        self.id.as_ref()
    }

    /// Returns the rule to put under `id`. The authorisation of the current one stays.
    pub(in crate::web) fn with_id(
        self,
        id: RuleId,
        current: Option<&Rule>,
    ) -> Result<Rule, Problem> {
        if self.id.is_some_and(|given| given != id) {
            let why = "id differs from that of the path";
            return Err(Problem::part(Code::InvalidRule, "/id", why));
        }
        let auth = current.and_then(|rule| rule.auth.as_ref());
        if self.auth.is_some() && self.auth != auth.map(AuthView::from) {
            let why = "authorisation cannot be changed here; use PUT /rules/{id}/auth";
            return Err(Problem::part(Code::InvalidRule, "/auth", why));
        }
        Ok(Rule {
            id,
            rule_type: self.rule_type,
            client_id: self.client_id,
            company_id: self.company_id,
            webhooks: self.webhooks.into(),
            filter: self.filter,
            projection: self.projection,
            auth: auth.cloned(),
            format: reshape(&self.format)?,
            enabled: self.enabled,
        })
    }
}

/// A rule in the alert service's form. It holds one webhook, and no client.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::web) struct AlertServiceRule {
    /// The id; given by the service if a rule is created without one.
    #[schema(value_type = Option<String>)]
    id: Option<RuleId>,
    /// The event type that it matches.
    r#type: String,
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    company_id: Option<CompanyId>,
    notifiers: Notifiers,
}

/// A rule in the form that was asked for.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it documents an answer")]
#[serde(untagged)]
pub(in crate::web) enum RuleInAnyForm {
    /// In the API's form.
    Own(RuleView),
    /// In the alert service's form, with `form=alert-service`.
    AlertService(AlertServiceRule),
}

/// Where the alerts of a rule go.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Notifiers {
    /// Accepted and left out: this service sends no e-mail.
    #[serde(default)]
    emails: Vec<String>,
    #[schema(value_type = String, format = "uri")]
    webhook: WebhookUrl,
}

impl AlertServiceRule {
    /// Returns the rule in this form; `None` if it has several webhooks.
    pub(in crate::web) fn new(rule: &Rule) -> Option<Self> {
        let [webhook] = &*rule.webhooks else {
            return None;
        };
        Some(Self {
            id: Some(rule.id.clone()),
            r#type: rule.rule_type.clone(),
            company_id: rule.company_id.clone(),
            notifiers: Notifiers {
                emails: Vec::new(),
                webhook: webhook.clone(),
            },
        })
    }

    pub(in crate::web) fn id(&self) -> Option<&RuleId> {
        self.id.as_ref()
    }

    /// Returns the rule to put under `id`. What this form does not hold stays.
    pub(in crate::web) fn with_id(
        self,
        id: RuleId,
        current: Option<&Rule>,
    ) -> Result<Rule, Problem> {
        if self.id.is_some_and(|given| given != id) {
            let why = "id differs from that of the path";
            return Err(Problem::part(Code::InvalidRule, "/id", why));
        }
        let blank = Rule::new(id, self.r#type.clone());
        Ok(Rule {
            rule_type: self.r#type,
            company_id: self.company_id,
            webhooks: [self.notifiers.webhook].into(),
            ..current.cloned().unwrap_or(blank)
        })
    }
}

/// The form of a rule.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct RuleForm {
    /// `alert-service` for the alert service's form, as the media type
    /// `application/vnd.alert-service.rule+json` does.
    #[param(inline)]
    pub(in crate::web) form: Option<Form>,
}

/// A form of rules other than the API's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(in crate::web) enum Form {
    /// The alert service's.
    #[serde(rename = "alert-service")]
    AlertService,
}

/// Which rules are listed.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct RuleFilter {
    /// Only rules for this client.
    pub(in crate::web) client: Option<String>,
    /// Only rules with exactly this rule type.
    pub(in crate::web) rule_type: Option<String>,
    /// Only rules whose alerts go to the endpoint with this id.
    #[param(value_type = Option<String>)]
    pub(in crate::web) endpoint: Option<EndpointId>,
    /// Only rules that are enabled, or only those that are not.
    pub(in crate::web) enabled: Option<bool>,
    /// Only rules whose id or type contains this text, regardless of the case of ASCII letters.
    pub(in crate::web) q: Option<String>,
    /// `alert-service` for the alert service's form, as the media type
    /// `application/vnd.alert-service.rule+json` does. Rules with several webhooks are left out.
    #[serde(skip_serializing_if = "always")]
    #[param(inline)]
    pub(in crate::web) form: Option<Form>,
    /// The most things on the page: 1 to 200, 50 by default.
    #[serde(skip_serializing_if = "always", default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    pub(in crate::web) limit: Limit,
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "always")]
    pub(in crate::web) cursor: Option<String>,
}
