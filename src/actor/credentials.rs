//! Which `Authorization` header a call carries: the rule's before the client's before the endpoint's.
//!
//! Looked up for every attempt, so that a token that was changed is used from the next attempt on. Shared by the router, which
//! writes it, and the subscribers, which read it.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::HashMap;

use crate::domain::alert::Alert;
use crate::domain::auth::{Auth, Secret};
use crate::domain::client::Client;
use crate::domain::endpoint::Endpoint;
use crate::domain::id::{ClientId, RuleId};
use crate::domain::oauth2::ClientCredentials;
use crate::domain::rule::Rule;

/// The credentials of rules and clients.
#[derive(Debug, Default)]
pub(crate) struct Credentials(RwLock<Tables>);

/// How a call is authorised.
#[derive(Clone, Debug)]
pub(crate) enum Authorization {
    /// By this header, or by none.
    Header(Option<Secret>),
    /// By an access token that is fetched with these.
    Token(Arc<ClientCredentials>),
}

impl Authorization {
    /// Returns how an endpoint's calls are authorised where neither their rule nor their client says so.
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

/// Only rules and clients that say something about authorisation are in here.
#[derive(Debug, Default)]
struct Tables {
    rules: HashMap<RuleId, Authorization>,
    clients: HashMap<ClientId, Authorization>,
    /// Removed rules whose open deliveries still need their credential, oldest first.
    retired: VecDeque<RuleId>,
}

impl Credentials {
    pub(crate) fn put_rule(&self, rule: &Rule) {
        self.write(|tables| {
            tables.retired.retain(|id| *id != rule.id);
            match &rule.auth {
                Some(auth) => drop(tables.rules.insert(rule.id.clone(), auth.into())),
                None => drop(tables.rules.remove(&rule.id)),
            }
        });
    }

    /// Notes that a rule was removed. Its open deliveries keep its credential: to send them with the client's instead could show
    /// that to someone who was never meant to see it.
    pub(crate) fn retire_rule(&self, id: &RuleId) {
        self.write(|tables| {
            if tables.rules.contains_key(id) {
                tables.retired.push_back(id.clone());
            }
            if tables.retired.len() > MAX_RETIRED
                && let Some(oldest) = tables.retired.pop_front()
            {
                tables.rules.remove(&oldest);
            }
        });
    }

    pub(crate) fn put_client(&self, client: &Client) {
        self.write(|tables| match &client.auth {
            Some(auth) => drop(tables.clients.insert(client.id.clone(), auth.into())),
            None => drop(tables.clients.remove(&client.id)),
        });
    }

    /// Says how a call with this alert to an endpoint with these settings is authorised.
    pub(crate) fn authorization(&self, alert: &Alert, endpoint: &Authorization) -> Authorization {
        let tables = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let of_rule = if tables.rules.is_empty() {
            None
        } else {
            tables.rules.get(&alert.rule_id)
        };
        let of_client = || {
            if tables.clients.is_empty() {
                None
            } else {
                tables.clients.get(&alert.client_id)
            }
        };
        of_rule.or_else(of_client).unwrap_or(endpoint).clone()
    }

    fn write(&self, change: impl FnOnce(&mut Tables)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// How many removed rules keep their credentials for deliveries that are still open.
const MAX_RETIRED: usize = 10_000;

#[cfg(test)]
mod tests {

    use super::*;

    fn alert() -> Alert {
        Alert::example(None)
    }

    fn rule(auth: Option<Auth>) -> Rule {
        let rule = Rule::new("r", "t");
        match auth {
            Some(auth) => rule.auth(auth),
            None => rule,
        }
    }

    #[test]
    fn the_rule_wins_over_the_client_and_the_client_over_the_endpoint() {
        let credentials = Credentials::default();
        let endpoint = Authorization::from(&Auth::raw("endpoint"));
        let header = || {
            let authorization = credentials.authorization(&alert(), &endpoint);
            let Authorization::Header(header) = authorization else {
                panic!("{authorization:?}");
            };
            header.map(|secret| secret.expose().to_owned())
        };
        assert_eq!(header().as_deref(), Some("endpoint"));
        credentials.put_client(&Client::new("c").auth(Auth::raw("client")));
        assert_eq!(header().as_deref(), Some("client"));
        credentials.put_rule(&rule(Some(Auth::raw("rule"))));
        assert_eq!(header().as_deref(), Some("rule"));
        credentials.put_rule(&rule(Some(Auth::None)));
        assert_eq!(header(), None, "a rule can say that there is no header");
        credentials.put_rule(&rule(None));
        credentials.put_client(&Client::new("c"));
        assert_eq!(header().as_deref(), Some("endpoint"));
    }

    #[test]
    fn a_removed_rule_keeps_its_credential_for_what_is_still_open() {
        let credentials = Credentials::default();
        credentials.put_client(&Client::new("c").auth(Auth::raw("client")));
        credentials.put_rule(&rule(Some(Auth::raw("rule"))));
        credentials.retire_rule(&"r".into());
        let none = Authorization::of(None);
        let Authorization::Header(Some(header)) = credentials.authorization(&alert(), &none) else {
            panic!("the rule has a header");
        };
        assert_eq!(header.expose(), "rule");
    }
}
