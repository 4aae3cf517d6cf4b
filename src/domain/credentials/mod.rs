//! The credential that a call carries, and the receivers it was given for.
//!
//! A credential is given for a receiver. A rule's credential goes to the URLs that the rule names.
//! A client's goes to the URLs named for that client by rules without a credential of their own. An
//! endpoint's goes to its URL. While a rule names a URL, calls carry the current credential of
//! rule, client or endpoint, so that a changed token is used from the next attempt on. Once the
//! rule no longer names the URL, its open deliveries there carry the credential last given for it
//! ([`PastCredential`]). They carry neither another credential because the rule is gone, nor a
//! newer one that this receiver was never given. A receiver that no credential was given for sees
//! none of rule and client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::HashMap;
use serde::{Deserialize, Serialize};

use crate::domain::authorisation::auth::Auth;
use crate::domain::authorisation::oauth2::ClientCredentials;
use crate::domain::deliveries::alert::Alert;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::routing::client::Client;
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::{ClientId, RuleId};
use crate::domain::value::secret::Secret;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;

/// The authorisation of a call.
#[derive(Clone, Debug)]
pub(crate) enum Authorization {
    /// This header, or none.
    Header(Option<Secret>),
    /// An access token fetched with these credentials.
    Token(Arc<ClientCredentials>),
}

impl Authorization {
    /// Returns the authorisation of an endpoint's calls if neither their rule nor their client sets
    /// it.
    pub(crate) fn of(endpoint: Option<&Endpoint>) -> Self {
        let auth = endpoint.and_then(|endpoint| endpoint.auth.as_ref());
        auth.map_or(Self::Header(None), Self::from)
    }
}

impl From<&Auth> for Authorization {
    fn from(auth: &Auth) -> Self {
        match auth {
            Auth::OAuth2(credentials) => Self::Token(Arc::clone(credentials)),
            Auth::None | Auth::Basic { .. } | Auth::Bearer(_) | Auth::Raw(_) => {
                Self::Header(auth.header_value())
            }
        }
    }
}

/// A credential that is no longer given. Deliveries made under it may still carry it.
///
/// The engine stores it before the change that ends it, and deletes it once nothing can need it. A
/// store keeps it unchanged, under its [`key`](Self::key).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PastCredential {
    /// The owner of the credential.
    pub owner: CredentialOwner,
    /// Sequence number, from 1, of the ending: the change by which a rule stopped naming a URL.
    ///
    /// For a client, the last ending at which this was its credential.
    pub number: u64,
    /// When it ended.
    pub since: Timestamp,
    /// The credential. For a rule, `None` means that of the client at that time; for a client, that
    /// of the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

/// The owner of a credential, and where the credential went.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum CredentialOwner {
    /// A rule that no longer names a URL, for this client's events or for every client's.
    Rule {
        /// The rule.
        rule_id: RuleId,
        /// The client whose events it matched; `None` for every client's.
        client_id: Option<ClientId>,
        /// The URL.
        url: WebhookUrl,
    },
    /// A client that has another credential now.
    Client {
        /// The client.
        client_id: ClientId,
        /// Number of the last ending up to which the client had this credential.
        number: u64,
    },
}

impl PastCredential {
    /// Returns the text under which a store keeps it. A credential with the same key replaces it.
    pub fn key(&self) -> String {
        self.owner.key()
    }
}

impl CredentialOwner {
    pub(crate) fn key(&self) -> String {
        // Ids and URLs hold no control characters, so no two owners share a key.
        match self {
            Self::Rule {
                rule_id,
                client_id,
                url,
            } => {
                let client = client_id.as_ref().map_or("", ClientId::as_str);
                format!("rule\t{}\t{client}\t{url}", rule_id.as_str())
            }
            Self::Client { client_id, number } => {
                format!("client\t{}\t{number}", client_id.as_str())
            }
        }
    }
}

/// The credentials of rules and clients, current and past.
#[derive(Debug, Default)]
pub(crate) struct CredentialBook {
    rules: HashMap<RuleId, Given>,
    /// Only clients that set an authorisation.
    clients: HashMap<ClientId, OfClient>,
    past: BTreeMap<CredentialOwner, PastCredential>,
    /// Sequence number of the last ending, by which a rule stopped naming a URL.
    number: u64,
    /// Number of rules that set an authorisation.
    authorised_rules: usize,
}

/// A client's credential, as given and as sent.
#[derive(Debug)]
struct OfClient {
    auth: Auth,
    authorization: Authorization,
}

/// A rule with its credential.
#[derive(Debug)]
struct Given {
    authorization: Option<Authorization>,
    rule: Rule,
    /// The rule's URLs as a set, if there are too many for a linear search.
    urls: Option<BTreeSet<WebhookUrl>>,
}

impl Given {
    fn new(rule: Rule) -> Self {
        let many = rule.webhooks.len() > FEW_URLS;
        Self {
            authorization: rule.auth.as_ref().map(Authorization::from),
            urls: many.then(|| rule.webhooks.iter().cloned().collect()),
            rule,
        }
    }

    fn names(&self, url: &WebhookUrl) -> bool {
        match &self.urls {
            Some(urls) => urls.contains(url),
            None => self.rule.webhooks.contains(url),
        }
    }

    /// Returns `true` if the rule's credential is given for this client's events at this URL.
    fn covers(&self, client: &ClientId, url: &WebhookUrl) -> bool {
        let of_client = self.rule.client_id.as_ref();
        of_client.is_none_or(|only| only == client) && self.names(url)
    }
}

impl CredentialBook {
    /// Returns the book of a store's contents.
    pub(crate) fn load(
        rules: impl IntoIterator<Item = Rule>,
        clients: impl IntoIterator<Item = Client>,
        past: impl IntoIterator<Item = PastCredential>,
    ) -> Self {
        let mut book = Self::default();
        for past in past {
            book.keep(past);
        }
        for client in clients {
            book.put_client(&client);
        }
        for rule in rules {
            book.put_rule(rule);
        }
        book
    }

    /// Returns the authorisation of a call with this alert to an endpoint; `endpoint` is the
    /// endpoint's own.
    pub(crate) fn authorization(
        &self,
        alert: &Alert,
        url: &WebhookUrl,
        endpoint: &Authorization,
    ) -> Authorization {
        if self.authorised_rules == 0 && self.clients.is_empty() && self.past.is_empty() {
            return endpoint.clone();
        }
        let given = self.rules.get(&alert.rule_id);
        let Some(given) = given.filter(|given| given.covers(&alert.client_id, url)) else {
            let past = self.past_authorization(alert, url);
            return past.unwrap_or_else(|| endpoint.clone());
        };
        let of_client = || Some(&self.clients.get(&alert.client_id)?.authorization);
        let found = given.authorization.as_ref().or_else(of_client);
        found.unwrap_or(endpoint).clone()
    }

    /// Returns `true` if the rule of an alert no longer names this URL, so that its call carries a
    /// past credential.
    pub(crate) fn is_past(&self, alert: &Alert, url: &WebhookUrl) -> bool {
        let given = self.rules.get(&alert.rule_id);
        !given.is_some_and(|given| given.covers(&alert.client_id, url))
    }

    /// Returns the credential last given for a delivery whose rule no longer names its URL.
    fn past_authorization(&self, alert: &Alert, url: &WebhookUrl) -> Option<Authorization> {
        if self.past.is_empty() {
            return None;
        }
        let of_rule = |client_id: Option<&ClientId>| {
            self.past.get(&CredentialOwner::Rule {
                rule_id: alert.rule_id.clone(),
                client_id: client_id.cloned(),
                url: url.clone(),
            })
        };
        let past = of_rule(Some(&alert.client_id)).or_else(|| of_rule(None))?;
        match &past.auth {
            Some(auth) => Some(auth.into()),
            None => self.client_at(&alert.client_id, past.number),
        }
    }

    /// Returns the credential of a client at the ending `number`.
    fn client_at(&self, client: &ClientId, number: u64) -> Option<Authorization> {
        let from = |number| CredentialOwner::Client {
            client_id: client.clone(),
            number,
        };
        match self.past.range(from(number)..=from(u64::MAX)).next() {
            Some((_, past)) => past.auth.as_ref().map(Authorization::from),
            None => Some(self.clients.get(client)?.authorization.clone()),
        }
    }

    /// Returns the credentials to keep before a rule is put, or removed (`None`): those that it
    /// gives now for URLs that it will no longer name.
    pub(crate) fn before_rule(
        &self,
        id: &RuleId,
        put: Option<&Rule>,
        now: Timestamp,
    ) -> Vec<PastCredential> {
        let Some(given) = self.rules.get(id) else {
            return Vec::new();
        };
        let rule = &given.rule;
        // Neither rule nor client gives a credential here, and a missing entry already means none.
        if !self.gives_anything(rule) {
            return Vec::new();
        }
        let same_clients = |put: &Rule| put.client_id.is_none() || put.client_id == rule.client_id;
        let put = put.filter(|put| same_clients(put)).cloned().map(Given::new);
        let still = |url: &WebhookUrl| put.as_ref().is_some_and(|put| put.names(url));
        let ended = rule.webhooks.iter().filter(|url| !still(url));
        let past = ended.map(|url| PastCredential {
            owner: CredentialOwner::Rule {
                rule_id: id.clone(),
                client_id: rule.client_id.clone(),
                url: url.clone(),
            },
            number: self.number + 1,
            since: now,
            auth: rule.auth.clone(),
        });
        past.collect()
    }

    fn gives_anything(&self, rule: &Rule) -> bool {
        match (&rule.auth, &rule.client_id) {
            (Some(_), _) => true,
            (None, Some(client)) => self.clients.contains_key(client),
            (None, None) => !self.clients.is_empty(),
        }
    }

    /// Returns the credential to keep before a client is put, or removed (`None`), if a past
    /// credential of a rule refers to it.
    pub(crate) fn before_client(
        &self,
        id: &ClientId,
        put: Option<&Client>,
        now: Timestamp,
    ) -> Option<PastCredential> {
        let auth = self.clients.get(id).map(|given| &given.auth);
        if auth == put.and_then(|put| put.auth.as_ref()) {
            return None;
        }
        let owner = CredentialOwner::Client {
            client_id: id.clone(),
            number: self.number,
        };
        let refers = |past: &PastCredential| match &past.owner {
            CredentialOwner::Rule { client_id, .. } => {
                past.auth.is_none() && client_id.as_ref().is_none_or(|client| client == id)
            }
            CredentialOwner::Client { .. } => false,
        };
        // After a second change without a new ending, the credential kept at the first one is used.
        let needed = !self.past.contains_key(&owner) && self.past.values().any(refers);
        needed.then(|| PastCredential {
            owner,
            number: self.number,
            since: now,
            auth: auth.cloned(),
        })
    }

    pub(crate) fn put_rule(&mut self, rule: Rule) {
        self.authorised_rules += usize::from(rule.auth.is_some());
        let before = self.rules.insert(rule.id.clone(), Given::new(rule));
        self.authorised_rules -=
            usize::from(before.is_some_and(|before| before.rule.auth.is_some()));
    }

    pub(crate) fn remove_rule(&mut self, id: &RuleId) {
        let before = self.rules.remove(id);
        self.authorised_rules -=
            usize::from(before.is_some_and(|before| before.rule.auth.is_some()));
    }

    pub(crate) fn put_client(&mut self, client: &Client) {
        let Some(auth) = &client.auth else {
            self.clients.remove(&client.id);
            return;
        };
        let given = OfClient {
            auth: auth.clone(),
            authorization: auth.into(),
        };
        self.clients.insert(client.id.clone(), given);
    }

    pub(crate) fn remove_client(&mut self, id: &ClientId) {
        self.clients.remove(id);
    }

    pub(crate) fn keep(&mut self, past: PastCredential) {
        self.number = self.number.max(past.number);
        self.past.insert(past.owner.clone(), past);
    }

    /// Returns `true` if it ended before `cut`.
    pub(crate) fn ended_before(&self, owner: &CredentialOwner, cut: Timestamp) -> bool {
        let past = self.past.get(owner);
        past.is_some_and(|past| past.since < cut)
    }

    pub(crate) fn forget(&mut self, owner: &CredentialOwner) {
        self.past.remove(owner);
    }

    /// Returns the credentials that ended before `cut`, with the URL at which they may still be
    /// needed. A client's credential is listed only once no rule's refers to it.
    pub(crate) fn older_than(&self, cut: Timestamp) -> Vec<(CredentialOwner, Option<WebhookUrl>)> {
        let of_rules = self.past.values().filter(|past| past.auth.is_none());
        let first = of_rules
            .filter(|past| matches!(past.owner, CredentialOwner::Rule { .. }))
            .map(|past| past.number)
            .min();
        let old = self.past.values().filter(|past| past.since < cut);
        old.filter_map(|past| match &past.owner {
            owner @ CredentialOwner::Rule { url, .. } => Some((owner.clone(), Some(url.clone()))),
            owner @ CredentialOwner::Client { number, .. } => first
                .is_none_or(|first| first > *number)
                .then(|| (owner.clone(), None)),
        })
        .collect()
    }
}

/// Up to this many URLs are searched one by one.
const FEW_URLS: usize = 16;

#[cfg(test)]
mod tests;
