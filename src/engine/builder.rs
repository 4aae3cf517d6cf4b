//! Building an engine: settings, and their checks.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;

use super::{Engine, start};
use crate::actor::bodies::Bodies;
use crate::actor::clock::{Clock, Wall};
use crate::actor::credentials::Credentials;
use crate::actor::places::Places;
use crate::actor::shared::Shared;
use crate::actor::tokens::Tokens;
use crate::actor::watchers::Watchers;
use crate::domain::address::AddressRange;
use crate::domain::client::Client;
use crate::domain::credentials::CredentialBook;
use crate::domain::endpoint::{Endpoint, EndpointPolicy, OWNED_HEADERS, check_header_name};
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use crate::domain::url::WebhookUrl;
use crate::error::BuildError;
use crate::store::{Change, Configuration, MemoryStore, PastCredential, Store};
#[cfg(feature = "awc")]
use crate::transport::AwcTransport as DefaultTransport;
#[cfg(not(feature = "awc"))]
use crate::transport::HttpTransport as DefaultTransport;
use crate::transport::Transport;

/// Settings of an engine. [`start`](Self::start) checks them all.
pub struct EngineBuilder {
    store: Option<Arc<dyn Store>>,
    transport: Option<Arc<dyn Transport>>,
    allowed_addresses: Vec<AddressRange>,
    clients: Vec<Client>,
    rules: Vec<Rule>,
    endpoints: Vec<Endpoint>,
    default_policy: EndpointPolicy,
    client_id_header: String,
    arbiters: Option<usize>,
    max_in_flight: u32,
    max_body_bytes: usize,
    max_bytes_read_ahead: usize,
    mailbox: usize,
    publish_timeout: Duration,
    wall: Option<Wall>,
    seed: Option<u64>,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            store: None,
            transport: None,
            allowed_addresses: Vec::new(),
            clients: Vec::new(),
            rules: Vec::new(),
            endpoints: Vec::new(),
            default_policy: EndpointPolicy::default(),
            client_id_header: "X-Codat-ClientId".to_owned(),
            arbiters: None,
            max_in_flight: 512,
            max_body_bytes: 1_024 * 1_024,
            max_bytes_read_ahead: 64 * 1_024 * 1_024,
            mailbox: 256,
            publish_timeout: Duration::from_secs(30),
            wall: None,
            seed: None,
        }
    }
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineBuilder")
            .field("clients", &self.clients.len())
            .field("rules", &self.rules.len())
            .field("endpoints", &self.endpoints.len())
            .finish_non_exhaustive()
    }
}

impl EngineBuilder {
    /// Sets where events live. Defaults to a [`MemoryStore`], with which **a crash loses every open delivery**.
    #[must_use]
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Sets how receivers are reached. Defaults to an `AwcTransport` with its
    /// default settings, which calls public addresses only; without the feature `awc`, to an
    /// [`HttpTransport`](crate::transport::HttpTransport).
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Allows calls to go to further addresses, such as `10.0.0.0/8` or [`AddressRange::loopback`]. Defaults to public addresses only, so that
    /// whoever may choose a URL cannot reach what is internal; [`Endpoint::allow_addresses`] does so for one endpoint. With a transport of your
    /// own, say it there.
    #[must_use]
    pub fn allow_addresses(mut self, ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        self.allowed_addresses.extend(ranges);
        self
    }

    /// Adds a client. It wins over a stored one with its id.
    #[must_use]
    pub fn client(mut self, client: Client) -> Self {
        self.clients.push(client);
        self
    }

    /// Adds a rule. It wins over a stored one with its id.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Adds settings of one URL. They win over stored ones.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// Sets how endpoints without settings of their own are treated. Defaults to [`EndpointPolicy::alert_service`].
    #[must_use]
    pub fn default_policy(mut self, policy: EndpointPolicy) -> Self {
        self.default_policy = policy;
        self
    }

    /// Sets the name of the header that carries the client id on every call. Defaults to `X-Codat-ClientId`.
    #[must_use]
    pub fn client_id_header(mut self, name: impl Into<String>) -> Self {
        self.client_id_header = name.into();
        self
    }

    /// Sets on how many threads of its own the engine runs; subscribers are spread over them. 0 means on the calling thread. Defaults to one
    /// per core; at most 256.
    #[must_use]
    pub fn arbiters(mut self, count: usize) -> Self {
        self.arbiters = Some(count);
        self
    }

    /// Sets the hard limit on attempts in flight in the whole engine. Defaults to 512, which with
    /// 256 idle connections stays under the usual limit of 1,024 file descriptors; 4 to 65,536.
    ///
    /// Half of the places are for endpoints whose last attempt ended within a second, with whatever
    /// status: these never wait for attempts that hang. The other half is shared by endpoints of
    /// which nobody knows yet how they answer, or that answer more slowly, and those that hang,
    /// which start none while such attempts take up a quarter of all. An endpoint starts another
    /// attempt only while more places are free than it holds: alone it gets half.
    ///
    /// Where places are short, clients take turns, within a client its endpoints, then its hosts.
    /// With a timeout of 15 s and 512 places a client all of whose endpoints hang, or are new, has
    /// its next turn after 15 s at most while there are no more than 128 such clients, after 30 s
    /// with up to 256, and so on. An endpoint that is one of *k* of its client which hang waits for
    /// ⌈*k* / *s*⌉ + 1 timeouts at most, where *s* is its client's share of the quarter: 128
    /// divided by the number of such clients, at least 1, and 112 for a single one.
    /// `docs/adr/0015-three-kinds-of-endpoints.md` says why.
    #[must_use]
    pub fn max_in_flight(mut self, max: u32) -> Self {
        self.max_in_flight = max;
        self
    }

    /// Sets the largest body, in bytes; larger ones fail with [`PublishError::TooLarge`](crate::PublishError::TooLarge). Defaults to 1 MiB.
    #[must_use]
    pub fn max_body_bytes(mut self, max: usize) -> Self {
        self.max_body_bytes = max;
        self
    }

    /// Sets how many bytes of bodies all endpoints together read from the store ahead of sending them, those in flight included. When they have read so many, each
    /// still reads 64 KiB, or one body, so that everything goes on: one that hangs takes nothing from the others but their pages. What was published a moment ago and is in memory
    /// anyway is not counted. Defaults to 64 MiB; with 0 every endpoint reads 64 KiB at a time.
    #[must_use]
    pub fn max_bytes_read_ahead(mut self, max: usize) -> Self {
        self.max_bytes_read_ahead = max;
        self
    }

    /// Sets how many messages wait in an actor's mailbox, and how many events wait in the router to be stored when another message with events is refused. Defaults to 256; at least 1.
    #[must_use]
    pub fn mailbox_capacity(mut self, messages: usize) -> Self {
        self.mailbox = messages;
        self
    }

    /// Sets how long [`Engine::publish`] waits for room while as many events as may wait to be stored, before it is refused with
    /// [`PublishError::Overloaded`](crate::PublishError::Overloaded). 0 means not at all. Defaults to 30 s; at most a day.
    #[must_use]
    pub fn publish_timeout(mut self, longest: Duration) -> Self {
        self.publish_timeout = longest;
        self
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn clocked(mut self, wall: Wall, seed: u64) -> Self {
        self.wall = Some(wall);
        self.seed = Some(seed);
        self
    }

    /// Checks the settings, starts the actors, and goes on with what the store holds.
    ///
    /// # Errors
    /// [`BuildError`] says what to correct; nothing is left running. What was given may be in the store already if the store failed after that.
    pub async fn start(self) -> Result<Engine, BuildError> {
        if Arbiter::try_current().is_none() {
            return Err(BuildError::NoSystem);
        }
        self.check()?;
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryStore::new()));
        let transport = match self.transport {
            Some(transport) => transport,
            None => default_transport(self.allowed_addresses)?,
        };
        let claim = store.claim().await.map_err(BuildError::Store)?;
        check_endpoints(
            &self.rules,
            &self.endpoints,
            &self.default_policy,
            &self.client_id_header,
            &*store,
            &*transport,
        )
        .await?;
        let given = Configuration {
            rules: self.rules,
            clients: self.clients,
            endpoints: self.endpoints,
            ..Configuration::default()
        };
        let stored = store.clock().await.map_err(BuildError::Store)?;
        let clock = Clock::starting(self.wall.unwrap_or_else(Wall::system), stored);
        let (configuration, credentials) = merge(&*store, given, clock.now()).await?;
        let count = self.arbiters.unwrap_or_else(cores);
        let shared = Arc::new(Shared {
            // A simulation has one arbiter, and takes both ways in turn.
            several_arbiters: count > 1 || self.seed.is_some_and(|seed| seed % 2 == 1),
            _claim: claim,
            store: Arc::clone(&store),
            transport,
            clock,
            places: Places::new(self.max_in_flight),
            bodies: Bodies::new(self.max_bytes_read_ahead),
            watchers: Watchers::default(),
            credentials: Credentials::new(credentials),
            tokens: Tokens::default(),
            client_id_header: self.client_id_header,
            max_body_bytes: self.max_body_bytes,
            mailbox: self.mailbox,
            publish_timeout: self.publish_timeout,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..)),
        });
        let arbiters: Vec<Arbiter> = std::iter::repeat_with(Arbiter::new).take(count).collect();
        start(shared, arbiters, self.default_policy, configuration).await
    }

    fn check(&self) -> Result<(), BuildError> {
        let mut rules = BTreeSet::new();
        for rule in &self.rules {
            rule.check()
                .map_err(|error| BuildError::rule(rule, error))?;
            if !rules.insert(&rule.id) {
                return Err(BuildError::DuplicateRule(rule.id.clone()));
            }
        }
        let mut clients = BTreeSet::new();
        for client in &self.clients {
            client.check().map_err(BuildError::Client)?;
            if !clients.insert(&client.id) {
                return Err(BuildError::duplicate_client(client));
            }
        }
        let mut endpoints = BTreeSet::new();
        for endpoint in &self.endpoints {
            let url = || endpoint.url.without_query().to_owned();
            let checked = endpoint.check(&self.client_id_header);
            checked.map_err(|error| BuildError::Endpoint { url: url(), error })?;
            if !endpoints.insert(&endpoint.url) {
                return Err(BuildError::DuplicateEndpoint(url()));
            }
        }
        self.check_settings()
    }

    fn check_settings(&self) -> Result<(), BuildError> {
        let setting = |text: String| Err(BuildError::Setting(text));
        if let Err(error) = check_header_name(&self.client_id_header) {
            return setting(format!("client id header: {error}"));
        }
        let owned = |name: &&&str| name.eq_ignore_ascii_case(&self.client_id_header);
        if let Some(name) = OWNED_HEADERS
            .iter()
            .chain([&"user-agent", &"accept"])
            .find(owned)
        {
            return setting(format!("client id header: {name} is set by the engine"));
        }
        let policy = Endpoint::at(
            WebhookUrl::parse("http://localhost/")
                .map_err(|error| BuildError::Setting(error.to_string()))?,
        )
        .policy(EndpointPolicy {
            https_only: false,
            ..self.default_policy.clone()
        });
        if let Err(error) = policy.check(&self.client_id_header) {
            return setting(format!("default policy: {error}"));
        }
        if self.arbiters.is_some_and(|count| count > 256) {
            return setting("arbiters must be at most 256".to_owned());
        }
        if !(4..=65_536).contains(&self.max_in_flight) {
            return setting("max_in_flight must be from 4 to 65,536".to_owned());
        }
        if self.transport.is_some() && !self.allowed_addresses.is_empty() {
            return setting(
                "allow_addresses has to be said to the transport that was given".to_owned(),
            );
        }
        if self.mailbox == 0 {
            return setting("mailbox_capacity must be at least 1".to_owned());
        }
        if self.publish_timeout > Duration::from_hours(24) {
            return setting("publish_timeout must be at most a day".to_owned());
        }
        Ok(())
    }
}

/// Checks with the transport what was given, and the URLs of rules that have no settings.
async fn check_endpoints(
    rules: &[Rule],
    endpoints: &[Endpoint],
    default_policy: &EndpointPolicy,
    client_id_header: &str,
    store: &dyn Store,
    transport: &dyn Transport,
) -> Result<(), BuildError> {
    let stored = store.configuration().await.map_err(BuildError::Store)?;
    let known: BTreeSet<&WebhookUrl> = endpoints
        .iter()
        .chain(&stored.endpoints)
        .map(|endpoint| &endpoint.url)
        .collect();
    let urls: BTreeSet<&WebhookUrl> = rules.iter().flat_map(|rule| rule.webhooks.iter()).collect();
    let bare = urls.difference(&known);
    let bare = bare.map(|url| Endpoint::at((*url).clone()).policy(default_policy.clone()));
    for endpoint in endpoints.iter().cloned().chain(bare) {
        let checked = endpoint.check(client_id_header);
        let checked = checked.and_then(|()| transport.check(&endpoint));
        checked.map_err(|error| BuildError::Endpoint {
            url: endpoint.url.without_query().to_owned(),
            error,
        })?;
    }
    Ok(())
}

fn default_transport(allowed: Vec<AddressRange>) -> Result<Arc<dyn Transport>, BuildError> {
    let transport = DefaultTransport::builder()
        .allow_addresses(allowed)
        .build()
        .map_err(|error| BuildError::Transport(Box::new(error)))?;
    Ok(Arc::new(transport))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Adds what the store kept to what the builder was given, which wins, and has the store keep the latter.
async fn merge(
    store: &dyn Store,
    given: Configuration,
    now: Timestamp,
) -> Result<(Configuration, CredentialBook), BuildError> {
    let stored = store.configuration().await.map_err(BuildError::Store)?;
    let past = store.past_credentials().await.map_err(BuildError::Store)?;
    let book = CredentialBook::load(stored.rules, stored.clients, past);
    let (changes, book) = changes(book, &given, now);
    let changes = changes.into_iter();
    // Asked for all at once, so that a store can write them together.
    let kept: Vec<_> = changes.map(|change| store.keep(change)).collect();
    for change in kept {
        change.await.map_err(BuildError::Store)?;
    }
    let merged = store.configuration().await.map_err(BuildError::Store)?;
    Ok((merged, book))
}

/// Returns what has to be kept of what was given, after the credentials that it ends, and what is given then.
fn changes(
    mut book: CredentialBook,
    given: &Configuration,
    now: Timestamp,
) -> (Vec<Change>, CredentialBook) {
    let mut changes = Vec::new();
    let mut end = |book: &mut CredentialBook, ending: Vec<PastCredential>| {
        for past in ending {
            book.keep(past.clone());
            changes.push(Change::KeepPast(past));
        }
    };
    for rule in &given.rules {
        let ending = book.before_rule(&rule.id, Some(rule), now);
        end(&mut book, ending);
        book.put_rule(rule.clone());
    }
    // After the rules: what these no longer give is still what the clients had.
    for client in &given.clients {
        let ending = book.before_client(&client.id, Some(client), now);
        end(&mut book, ending.into_iter().collect());
        book.put_client(client);
    }
    let rules = given.rules.iter().cloned().map(Change::PutRule);
    let clients = given.clients.iter().cloned().map(Change::PutClient);
    let endpoints = given.endpoints.iter().cloned().map(Change::PutEndpoint);
    changes.extend(rules.chain(clients).chain(endpoints));
    (changes, book)
}
