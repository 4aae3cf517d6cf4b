//! Finding endpoints, rules and clients.

use actix::Message;
use serde::{Deserialize, Serialize};

use crate::domain::routing::client::Client;
use crate::domain::routing::query::{ClientQuery, RuleQuery};
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::{ClientId, RuleId};
use crate::domain::value::url::WebhookUrl;

/// Returns the URLs of endpoints by a part of the URL or by the beginning of the id, a page at a
/// time: application → [`SupervisorActor`](crate::SupervisorActor).
///
/// Endpoints whose id begins with the text, such as `ep_1f`, come first, on the first page. Then
/// come those whose URL contains it, ordered by URL. Up to 20,000 are looked at for a page, and
/// none is asked for its status; [`ListEndpoints`](crate::ListEndpoints) does that.
///
/// ```
/// use actix_webhooks::{Engine, FindEndpoints, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
/// # let engine = Engine::builder().rule(rule).start().await?;
/// let page = engine.supervisor().send(FindEndpoints::new("EXAMPLE.com")).await?;
/// assert_eq!((page.urls.len(), page.next), (1, None));
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[non_exhaustive]
pub struct FindEndpoints {
    /// The text, regardless of the case of ASCII letters in a URL.
    pub text: String,
    /// Continues after an earlier page.
    pub after: Option<WebhookUrl>,
    /// The maximum number of results. 0 means 100; more than 1,000 means 1,000.
    pub limit: usize,
}

impl FindEndpoints {
    /// Returns the message for the first page.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            after: None,
            limit: 0,
        }
    }
}

impl Message for FindEndpoints {
    type Result = UrlPage;
}

/// A page of the URLs of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UrlPage {
    /// The URLs of the endpoints that were found.
    pub urls: Vec<WebhookUrl>,
    /// The `after` of the next page; `None` at the end.
    ///
    /// A page for which as many endpoints were looked at as may be can be empty and still have a
    /// next one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<WebhookUrl>,
}

/// Returns a page of the rules that a query finds, ordered by id: application →
/// [`RouterActor`](crate::RouterActor).
///
/// Up to 20,000 rules are looked at for a page; only those of the answer are copied. If the mailbox
/// is full, `send` waits for a place and `try_send` fails.
///
/// ```
/// use actix_webhooks::{Engine, FindRules, Rule, RuleQuery};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rule = Rule::new("invoices", "invoice.*").client("client-1");
/// # let rule = rule.webhook("https://example.com/hooks")?;
/// # let engine = Engine::builder().rule(rule).start().await?;
/// let of_client = RuleQuery { client_id: Some("client-1".into()), ..RuleQuery::default() };
/// let page = engine.router().send(FindRules::new(of_client)).await?;
/// assert_eq!((page.rules.len(), page.next), (1, None));
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FindRules(pub RuleQuery);

impl FindRules {
    /// Returns the message.
    pub fn new(query: RuleQuery) -> Self {
        Self(query)
    }
}

impl Message for FindRules {
    type Result = RulePage;
}

/// A page of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RulePage {
    /// The rules that the query finds, ordered by id.
    pub rules: Vec<Rule>,
    /// The `after` of the next page; `None` at the end.
    ///
    /// A page for which as many rules were looked at as may be can be empty and still have a next
    /// one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<RuleId>,
}

/// Returns a page of the clients that a query finds, ordered by id: application →
/// [`RouterActor`](crate::RouterActor).
///
/// Only clients that were put are found. Up to 20,000 are looked at for a page; only those of the
/// answer are copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FindClients(pub ClientQuery);

impl FindClients {
    /// Returns the message.
    pub fn new(query: ClientQuery) -> Self {
        Self(query)
    }
}

impl Message for FindClients {
    type Result = ClientPage;
}

/// A page of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ClientPage {
    /// The clients that the query finds, ordered by id.
    pub clients: Vec<Client>,
    /// The `after` of the next page; `None` at the end.
    ///
    /// A page for which as many clients were looked at as may be can be empty and still have a next
    /// one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<ClientId>,
}

/// Returns the rule with an id; `None` if there is none: application →
/// [`RouterActor`](crate::RouterActor).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GetRule {
    /// The rule's id.
    pub id: RuleId,
}

impl GetRule {
    /// Returns the message.
    pub fn new(id: impl Into<RuleId>) -> Self {
        Self { id: id.into() }
    }
}

impl Message for GetRule {
    type Result = Option<Rule>;
}

/// Returns the client with an id; `None` if none was put: application →
/// [`RouterActor`](crate::RouterActor).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GetClient {
    /// The client's id.
    pub id: ClientId,
}

impl GetClient {
    /// Returns the message.
    pub fn new(id: impl Into<ClientId>) -> Self {
        Self { id: id.into() }
    }
}

impl Message for GetClient {
    type Result = Option<Client>;
}
