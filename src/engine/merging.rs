//! Merging the builder's settings with the stored ones.

use std::collections::BTreeMap;

use crate::domain::credentials::CredentialBook;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::routing::client::Client;
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::RuleId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::error::BuildError;
use crate::store::{
    Change, Configuration, PastCredential, Readable, Setting, Store, UnreadableSetting,
};

/// The builder's settings, which take precedence over stored ones.
pub(super) struct Given {
    pub(super) rules: Vec<Rule>,
    pub(super) clients: Vec<Client>,
    pub(super) endpoints: Vec<Endpoint>,
    /// `true` if stored rules that are not among these are removed.
    pub(super) exactly_these_rules: bool,
}

/// The settings that an engine starts with.
pub(super) struct Merged {
    pub(super) configuration: Configuration,
    /// Stored settings that cannot be read or used.
    pub(super) set_aside: Vec<UnreadableSetting>,
    /// Endpoints that are not called until they are requested again.
    pub(super) removed: Vec<WebhookUrl>,
    /// The credentials of rules and clients, current and past.
    pub(super) credentials: CredentialBook,
}

/// Stores the given settings that differ from the stored ones, and returns both merged.
pub(super) async fn merge(
    store: &dyn Store,
    (stored, unreadable): Readable,
    given: Given,
    client_id_header: &str,
    now: Timestamp,
) -> Result<Merged, BuildError> {
    let past = store.past_credentials().await.map_err(BuildError::Store)?;
    let difference = Difference::of(&stored.rules, &unreadable, &given);
    difference.tell();
    let news = News::of(&stored, &given, difference.removed);
    let book = CredentialBook::load(stored.rules.clone(), stored.clients.clone(), past);
    let (changes, credentials) = news.changes(book, now);
    // All changes are requested at once, so that a store can write them together.
    let kept: Vec<_> = changes.map(|change| store.apply(change)).collect();
    for change in kept {
        change.await.map_err(BuildError::Store)?;
    }
    let (configuration, mut set_aside) = store.readable().await.map_err(BuildError::Store)?;
    let configuration = usable(configuration, client_id_header, &mut set_aside);
    for UnreadableSetting { setting, reason } in &set_aside {
        log::error!(setting:% = setting, reason; "{setting} cannot be used: {reason}; set aside until put again");
    }
    Ok(Merged {
        removed: store.removed().await.map_err(BuildError::Store)?,
        configuration,
        set_aside,
        credentials,
    })
}

/// The given settings that differ from the stored ones.
///
/// Unchanged settings are left out: putting a rule again would request its removed endpoints again,
/// which nobody asked for.
struct News<'a> {
    removed: Vec<RuleId>,
    rules: Vec<&'a Rule>,
    clients: Vec<&'a Client>,
    endpoints: Vec<&'a Endpoint>,
}

impl<'a> News<'a> {
    fn of(stored: &Configuration, given: &'a Given, removed: Vec<RuleId>) -> Self {
        let rules: BTreeMap<_, _> = stored.rules.iter().map(|rule| (&rule.id, rule)).collect();
        let clients: BTreeMap<_, _> = stored.clients.iter().map(|one| (&one.id, one)).collect();
        let endpoints = stored.endpoints.iter().map(|one| (&one.url, one));
        let endpoints: BTreeMap<_, _> = endpoints.collect();
        let is_new = |rule: &&Rule| rules.get(&rule.id) != Some(rule);
        let is_new_client = |client: &&Client| clients.get(&client.id) != Some(client);
        let is_new_endpoint = |endpoint: &&Endpoint| endpoints.get(&endpoint.url) != Some(endpoint);
        Self {
            removed,
            rules: given.rules.iter().filter(is_new).collect(),
            clients: given.clients.iter().filter(is_new_client).collect(),
            endpoints: given.endpoints.iter().filter(is_new_endpoint).collect(),
        }
    }

    /// Returns the changes to store, with the credentials that they end first, and the resulting
    /// credentials.
    fn changes(
        self,
        mut book: CredentialBook,
        now: Timestamp,
    ) -> (impl Iterator<Item = Change>, CredentialBook) {
        let mut changes = Vec::new();
        let mut end = |book: &mut CredentialBook, ending: Vec<PastCredential>| {
            for past in ending {
                book.keep(past.clone());
                changes.push(Change::KeepPast(past));
            }
        };
        for id in &self.removed {
            let ending = book.before_rule(id, None, now);
            end(&mut book, ending);
            book.remove_rule(id);
        }
        for rule in &self.rules {
            let ending = book.before_rule(&rule.id, Some(rule), now);
            end(&mut book, ending);
            book.put_rule(Rule::clone(rule));
        }
        // After the rules, because a credential that ends with a rule may be the client's old one.
        for client in &self.clients {
            let ending = book.before_client(&client.id, Some(client), now);
            end(&mut book, ending.into_iter().collect());
            book.put_client(client);
        }
        changes.extend(self.removed.into_iter().map(Change::RemoveRule));
        changes.extend(self.rules.into_iter().cloned().map(Change::PutRule));
        changes.extend(self.clients.into_iter().cloned().map(Change::PutClient));
        changes.extend(self.endpoints.into_iter().cloned().map(Change::PutEndpoint));
        (changes.into_iter(), book)
    }
}

/// The differences between stored rules and the builder's.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    /// Stored rules that the builder does not name and that stay in force.
    others: Vec<RuleId>,
    /// Stored rules that the builder defines differently.
    replaced: Vec<RuleId>,
    /// Stored rules that the builder does not name and that are removed.
    removed: Vec<RuleId>,
}

impl Difference {
    fn of(stored: &[Rule], unreadable: &[UnreadableSetting], given: &Given) -> Self {
        let named: BTreeMap<_, _> = given.rules.iter().map(|rule| (&rule.id, rule)).collect();
        let mut difference = Self::default();
        for rule in stored {
            match named.get(&rule.id) {
                Some(new) if *new == rule => {}
                Some(_) => difference.replaced.push(rule.id.clone()),
                None => difference.others.push(rule.id.clone()),
            }
        }
        if given.exactly_these_rules {
            difference.removed = std::mem::take(&mut difference.others);
            let unreadable = unreadable.iter().filter_map(|one| match &one.setting {
                Setting::Rule { id } if !named.contains_key(id) => Some(id.clone()),
                Setting::Rule { .. }
                | Setting::Client { .. }
                | Setting::Endpoint { .. }
                | Setting::PastCredential
                | Setting::Unnamed { .. } => None,
            });
            difference.removed.extend(unreadable);
        }
        difference
    }

    fn tell(&self) {
        let told = |ids: &[RuleId], what: &str| {
            if !ids.is_empty() {
                log::info!(count = ids.len(); "stored {} {what}: {}", rules(ids), listed(ids));
            }
        };
        told(
            &self.others,
            "not named by the builder and still in force (EngineBuilder::exactly_these_rules removes such rules)",
        );
        told(&self.replaced, "replaced by the builder's");
        told(&self.removed, "removed, not named by the builder");
    }
}

fn rules(ids: &[RuleId]) -> &'static str {
    if ids.len() == 1 { "rule" } else { "rules" }
}

/// Returns the first ids as text, and the number of the others.
fn listed(ids: &[RuleId]) -> String {
    let first: Vec<String> = ids
        .iter()
        .take(MOST_LISTED)
        .map(|id| format!("{id:?}"))
        .collect();
    let more = ids.len().saturating_sub(MOST_LISTED);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{rest}", first.join(", "))
}

/// Sets aside settings that can be read but are not valid, because no store validates its content.
fn usable(
    configuration: Configuration,
    client_id_header: &str,
    set_aside: &mut Vec<UnreadableSetting>,
) -> Configuration {
    let mut refused = |setting, error: &dyn std::error::Error| {
        set_aside.push(UnreadableSetting::new(setting, error.to_string()));
    };
    let mut rules = Vec::with_capacity(configuration.rules.len());
    for rule in configuration.rules {
        let id = rule.id.clone();
        match rule.checked() {
            Ok(rule) => rules.push(rule),
            Err(error) => refused(Setting::Rule { id }, &error),
        }
    }
    let mut clients = configuration.clients;
    clients.retain(|client| {
        let id = client.id.clone();
        let checked = client.check();
        checked
            .map_err(|error| refused(Setting::Client { id }, &error))
            .is_ok()
    });
    let mut endpoints = configuration.endpoints;
    endpoints.retain(|endpoint| {
        let url = endpoint.url.clone();
        let checked = endpoint.check(client_id_header);
        checked
            .map_err(|error| refused(Setting::Endpoint { url }, &error))
            .is_ok()
    });
    Configuration {
        rules,
        clients,
        endpoints,
        ..configuration
    }
}

/// The maximum number of rules named in one log line.
const MOST_LISTED: usize = 20;
