//! Building an engine: settings and their checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;

use super::merging::{Given, Merged, merge};
use super::{Engine, start};
use crate::actor::acting::Actions;
use crate::actor::board::Board;
use crate::actor::bodies::Bodies;
use crate::actor::clock::{Clock, Wall};
use crate::actor::credentials::Credentials;
use crate::actor::permits::Permits;
use crate::actor::set_aside::SetAside;
use crate::actor::shared::EngineContext;
use crate::actor::tokens::Tokens;
use crate::actor::watchers::Watchers;
use crate::domain::endpoint::address::AddressRange;
use crate::domain::endpoint::header::{OWNED_HEADERS, check_header_name};
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::policy::EndpointPolicy;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::routing::client::Client;
use crate::domain::routing::rule::Rule;
use crate::error::{BuildError, InvalidSetting};
use crate::store::{Configuration, MemoryStore, Store};
#[cfg(feature = "awc")]
use crate::transport::AwcTransport as DefaultTransport;
#[cfg(not(feature = "awc"))]
use crate::transport::HttpTransport as DefaultTransport;
use crate::transport::Transport;

/// Settings of an engine, all checked by [`start`](Self::start).
pub struct EngineBuilder {
    store: Option<Arc<dyn Store>>,
    transport: Option<Arc<dyn Transport>>,
    allowed_addresses: Vec<AddressRange>,
    clients: Vec<Client>,
    rules: Vec<Rule>,
    endpoints: Vec<Endpoint>,
    exactly_these_rules: bool,
    default_policy: EndpointPolicy,
    client_id_header: String,
    arbiters: Option<usize>,
    max_in_flight: u32,
    max_body_bytes: usize,
    max_bytes_read_ahead: usize,
    mailbox: usize,
    endpoints_at_rest: usize,
    publish_timeout: Duration,
    wall: Option<Wall>,
    seed: Option<u64>,
    as_on_several_arbiters: bool,
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
            exactly_these_rules: false,
            default_policy: EndpointPolicy::default(),
            client_id_header: "X-Codat-ClientId".to_owned(),
            arbiters: None,
            max_in_flight: 512,
            max_body_bytes: 1_024 * 1_024,
            max_bytes_read_ahead: 64 * 1_024 * 1_024,
            mailbox: 256,
            endpoints_at_rest: 100_000,
            publish_timeout: Duration::from_secs(30),
            wall: None,
            seed: None,
            as_on_several_arbiters: false,
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
    /// Sets the store of events and deliveries.
    ///
    /// Defaults to a [`MemoryStore`], with which **a crash loses every open delivery**.
    #[must_use]
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Sets the transport to receivers.
    ///
    /// Defaults to an `AwcTransport` with its default settings, which calls public addresses only;
    /// without the feature `awc`, to an [`HttpTransport`](crate::transport::HttpTransport).
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Allows calls to further addresses, such as `10.0.0.0/8` or [`AddressRange::loopback`].
    ///
    /// By default only public addresses are allowed, so that a user who chooses a URL cannot reach
    /// internal services. [`Endpoint::allow_addresses`] does the same for one endpoint. If you set
    /// your own transport, configure the addresses there.
    #[must_use]
    pub fn allow_addresses(mut self, ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        self.allowed_addresses.extend(ranges);
        self
    }

    /// Adds a client, which replaces a stored client with the same id.
    #[must_use]
    pub fn client(mut self, client: Client) -> Self {
        self.clients.push(client);
        self
    }

    /// Adds a rule, which replaces a stored rule with the same id.
    ///
    /// **Stored rules under other ids stay in force**, even if they are no longer in the code.
    /// Remove such a rule with [`RemoveRule`](crate::RemoveRule), or call
    /// [`exactly_these_rules`](Self::exactly_these_rules).
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Removes the stored rules that the builder does not name, as
    /// [`RemoveRule`](crate::RemoveRule) does.
    ///
    /// Their open deliveries continue. Use it if all rules are in the code: rules put by
    /// [`PutRule`](crate::PutRule) are removed too. Clients and endpoint settings stay. By default
    /// stored rules stay in force, and every start logs which there are.
    ///
    /// ```
    /// use actix_webhooks::{Engine, ListRules, PutRule, Rule};
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("webhooks.db");
    /// # let open = || actix_webhooks::store::SqliteStore::open(&path);
    /// # let rule = |id: &str| Rule::new(id, "invoice.*").webhook("https://example.com/hooks");
    /// # let before = Engine::builder().store(open()?).rule(rule("old")?).start().await?;
    /// # before.shutdown(std::time::Duration::ZERO).await;
    /// # drop(before);
    /// let engine = Engine::builder()
    ///     .store(open()?) // it has a rule "old" of an earlier version of the program
    ///     .rule(rule("new")?)
    ///     .exactly_these_rules()
    ///     .start()
    ///     .await?;
    /// let rules = engine.router().send(ListRules).await?;
    /// assert_eq!(rules.len(), 1);
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn exactly_these_rules(mut self) -> Self {
        self.exactly_these_rules = true;
        self
    }

    /// Adds the settings of one URL, which replace stored settings.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// Sets the policy of endpoints without settings of their own.
    ///
    /// Defaults to [`EndpointPolicy::alert_service`].
    #[must_use]
    pub fn default_policy(mut self, policy: EndpointPolicy) -> Self {
        self.default_policy = policy;
        self
    }

    /// Sets the name of the header that carries the client id on every call.
    ///
    /// Defaults to `X-Codat-ClientId`.
    #[must_use]
    pub fn client_id_header(mut self, name: impl Into<String>) -> Self {
        self.client_id_header = name.into();
        self
    }

    /// Sets the number of the engine's own threads, over which subscribers are spread.
    ///
    /// 0 runs the engine on the calling thread. Defaults to one per core; at most 256.
    #[must_use]
    pub fn arbiters(mut self, count: usize) -> Self {
        self.arbiters = Some(count);
        self
    }

    /// Sets the hard limit on attempts in flight in the whole engine.
    ///
    /// Defaults to 512; allowed are 4 to 65,536. With 256 idle connections, 512 stays under the
    /// usual limit of 1,024 file descriptors.
    ///
    /// Half of the permits are reserved for prompt endpoints: their last attempt ended within a
    /// second, with any status. These never wait for attempts that hang. The other half is shared
    /// by three kinds of endpoints: endpoints not called since the engine started, slower ones, and
    /// hanging ones. Hanging endpoints start no attempt while hanging attempts hold a quarter of
    /// all permits. An endpoint starts a further attempt only while more permits are free than it
    /// holds, so a single endpoint gets half of them.
    ///
    /// When permits are short, clients take turns; within a client, its endpoints take turns, then
    /// its hosts. Take a timeout of 15 s and 512 permits. A client whose endpoints all hang or are
    /// new has its next turn after at most 15 s with up to 128 such clients, after 30 s with up to
    /// 256, and so on. If *k* endpoints of a client hang, each waits at most ⌈*k* / *s*⌉ + 1
    /// timeouts, where *s* is the client's share of the quarter: 128 divided by the number of such
    /// clients, at least 1, and 112 for a single client. The reasons are in
    /// `docs/adr/0015-three-kinds-of-endpoints.md`.
    #[must_use]
    pub fn max_in_flight(mut self, max: u32) -> Self {
        self.max_in_flight = max;
        self
    }

    /// Sets the maximum size of a body in bytes.
    ///
    /// Events with larger bodies fail with
    /// [`PublishError::TooLarge`](crate::PublishError::TooLarge). Defaults to 1 MiB.
    #[must_use]
    pub fn max_body_bytes(mut self, max: usize) -> Self {
        self.max_body_bytes = max;
        self
    }

    /// Sets the maximum number of body bytes that all endpoints together read ahead from the store.
    ///
    /// Bodies in flight count; recently published bodies that are still in memory do not. At the
    /// limit each endpoint still reads 64 KiB or one body at a time, so that every endpoint makes
    /// progress: an endpoint that hangs only reduces the page size of the others. Defaults to 64
    /// MiB; with 0 every endpoint reads 64 KiB at a time.
    #[must_use]
    pub fn max_bytes_read_ahead(mut self, max: usize) -> Self {
        self.max_bytes_read_ahead = max;
        self
    }

    /// Sets the capacity of each actor's mailbox in messages, and the router's limit of events that
    /// wait to be stored.
    ///
    /// At that limit the router refuses further messages with events. Defaults to 256; at least 1.
    #[must_use]
    pub fn mailbox_capacity(mut self, messages: usize) -> Self {
        self.mailbox = messages;
        self
    }

    /// Sets the maximum number of idle endpoints kept in memory that have no settings of their own.
    ///
    /// It bounds memory if there are new URLs every day. Past the limit, the endpoint that has been
    /// idle longest is forgotten until its next event: it is not listed, and its counts restart
    /// from zero. Its agreements with the receiver, its history and its dead letters stay in the
    /// store. Paused and disabled endpoints are not forgotten. Defaults to 100,000.
    #[must_use]
    pub fn max_endpoints_at_rest(mut self, max: usize) -> Self {
        self.endpoints_at_rest = max;
        self
    }

    /// Sets how long [`Engine::publish`] waits for room before it fails with
    /// [`PublishError::Overloaded`](crate::PublishError::Overloaded).
    ///
    /// It waits only while the limit of events waiting to be stored is reached. 0 means no wait.
    /// Defaults to 30 s; at most a day.
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

    #[cfg(feature = "test-util")]
    pub(crate) fn polled_as_on_several_arbiters(mut self) -> Self {
        self.as_on_several_arbiters = true;
        self
    }

    /// Checks the settings, starts the actors, and continues with the content of the store.
    ///
    /// # Errors
    /// [`BuildError`] states what to correct; nothing is left running. If the store failed after
    /// saving the given settings, they may already be in it.
    pub async fn start(mut self) -> Result<Engine, BuildError> {
        if Arbiter::try_current().is_none() {
            return Err(BuildError::NoSystem);
        }
        self.check()?;
        let store = self
            .store
            .take()
            .unwrap_or_else(|| Arc::new(MemoryStore::new()));
        let transport = match self.transport.take() {
            Some(transport) => transport,
            None => default_transport(std::mem::take(&mut self.allowed_addresses))?,
        };
        let claim = store.claim().await.map_err(BuildError::Store)?;
        let stored = store.readable().await.map_err(BuildError::Store)?;
        self.check_endpoints(&stored.0, &*transport)?;
        let given = Given {
            rules: self.rules,
            clients: self.clients,
            endpoints: self.endpoints,
            exactly_these_rules: self.exactly_these_rules,
        };
        let found = store.clock().await.map_err(BuildError::Store)?;
        let clock = Clock::starting(self.wall.unwrap_or_else(Wall::system), found);
        let merged = merge(&*store, stored, given, &self.client_id_header, clock.now()).await?;
        let Merged {
            configuration,
            set_aside,
            removed,
            credentials,
        } = merged;
        let count = self.arbiters.unwrap_or_else(cores);
        let shared = Arc::new(EngineContext {
            several_arbiters: count > 1 || self.as_on_several_arbiters,
            _claim: claim,
            store: Arc::clone(&store),
            transport,
            clock,
            permits: Permits::new(self.max_in_flight),
            bodies: Bodies::new(self.max_bytes_read_ahead),
            watchers: Watchers::default(),
            board: Board::new(count),
            credentials: Credentials::new(credentials),
            tokens: Tokens::default(),
            set_aside: SetAside::new(set_aside),
            actions: Actions::default(),
            client_id_header: self.client_id_header,
            max_body_bytes: self.max_body_bytes,
            mailbox: self.mailbox,
            endpoints_at_rest: self.endpoints_at_rest,
            publish_timeout: self.publish_timeout,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..)),
        });
        let arbiters: Vec<Arbiter> = std::iter::repeat_with(Arbiter::new).take(count).collect();
        start(
            shared,
            arbiters,
            self.default_policy,
            configuration,
            &removed,
        )
        .await
    }

    /// Checks what needs neither store nor transport, and reports everything that is wrong.
    fn check(&mut self) -> Result<(), BuildError> {
        let mut wrong = self.wrong_rules();
        wrong.extend(self.wrong_clients());
        wrong.extend(self.wrong_endpoints());
        wrong.extend(self.wrong_settings().into_iter().map(BuildError::from));
        match wrong.pop() {
            None => Ok(()),
            Some(only) if wrong.is_empty() => Err(only),
            Some(last) => {
                wrong.push(last);
                Err(BuildError::Several(wrong))
            }
        }
    }

    fn wrong_rules(&mut self) -> Vec<BuildError> {
        let (mut wrong, mut ids) = (Vec::new(), BTreeSet::new());
        for rule in &mut self.rules {
            match rule.clone().checked() {
                Ok(checked) => *rule = checked,
                Err(error) => wrong.push(BuildError::rule(rule, error)),
            }
            if !ids.insert(rule.id.clone()) {
                wrong.push(BuildError::DuplicateRule(rule.id.clone()));
            }
        }
        wrong
    }

    fn wrong_clients(&self) -> Vec<BuildError> {
        let (mut wrong, mut ids) = (Vec::new(), BTreeSet::new());
        for client in &self.clients {
            wrong.extend(client.check().err().map(BuildError::Client));
            if !ids.insert(&client.id) {
                wrong.push(BuildError::duplicate_client(client));
            }
        }
        wrong
    }

    fn wrong_endpoints(&self) -> Vec<BuildError> {
        let (mut wrong, mut urls) = (Vec::new(), BTreeSet::new());
        for endpoint in &self.endpoints {
            let url = || endpoint.url.without_query().to_owned();
            let checked = endpoint.check(&self.client_id_header);
            let error = checked.err();
            wrong.extend(error.map(|error| BuildError::Endpoint { url: url(), error }));
            if !urls.insert(&endpoint.url) {
                wrong.push(BuildError::DuplicateEndpoint(url()));
            }
        }
        wrong
    }

    fn wrong_settings(&self) -> Vec<InvalidSetting> {
        use InvalidSetting as Wrong;

        let header = check_header_name(&self.client_id_header).err();
        let owned = |name: &&&str| name.eq_ignore_ascii_case(&self.client_id_header);
        let mut names = OWNED_HEADERS.iter().chain(&["user-agent", "accept"]);
        let policy = EndpointPolicy {
            https_only: false,
            ..self.default_policy.clone()
        };
        let endpoint = Endpoint::new("http://localhost/").map(|endpoint| endpoint.policy(policy));
        // The header is checked above.
        let policy = endpoint.map(|endpoint| endpoint.check("X-Client"));
        let no_transport = self.transport.is_none() || self.allowed_addresses.is_empty();
        let ranges = [
            (
                self.arbiters.is_none_or(|count| count <= 256),
                Wrong::Arbiters,
            ),
            (
                (4..=65_536).contains(&self.max_in_flight),
                Wrong::MaxInFlight,
            ),
            (no_transport, Wrong::AllowedAddresses),
            (self.mailbox > 0, Wrong::MailboxCapacity),
            (
                self.publish_timeout <= Duration::from_hours(24),
                Wrong::PublishTimeout,
            ),
        ];
        let mut wrong = Vec::new();
        wrong.extend(header.map(Wrong::ClientIdHeader));
        wrong.extend(names.find(owned).map(|name| Wrong::HeaderOfEngine(name)));
        wrong.extend(policy.ok().and_then(Result::err).map(Wrong::DefaultPolicy));
        wrong.extend(
            ranges
                .into_iter()
                .filter(|(holds, _)| !holds)
                .map(|(_, wrong)| wrong),
        );
        wrong
    }

    /// Checks the given endpoints with the transport, and the URLs of rules without settings.
    fn check_endpoints(
        &self,
        stored: &Configuration,
        transport: &dyn Transport,
    ) -> Result<(), BuildError> {
        // Given settings take precedence over stored ones.
        let known = stored.endpoints.iter().chain(&self.endpoints);
        let known: BTreeMap<_, _> = known.map(|endpoint| (&endpoint.url, endpoint)).collect();
        let mut bare = BTreeSet::new();
        for rule in &self.rules {
            for url in rule.webhooks.iter() {
                match known.get(url) {
                    Some(endpoint) if !endpoint.is_for(rule.client_id.as_ref()) => {
                        return Err(BuildError::Endpoint {
                            url: url.without_query().to_owned(),
                            error: InvalidEndpoint::OtherClient,
                        });
                    }
                    Some(_) => {}
                    None => drop(bare.insert(url)),
                }
            }
        }
        let bare = bare.into_iter();
        let bare = bare.map(|url| Endpoint::at(url.clone()).policy(self.default_policy.clone()));
        for endpoint in self.endpoints.iter().cloned().chain(bare) {
            let checked = endpoint.check(&self.client_id_header);
            let checked = checked.and_then(|()| transport.check(&endpoint));
            checked.map_err(|error| BuildError::Endpoint {
                url: endpoint.url.without_query().to_owned(),
                error,
            })?;
        }
        Ok(())
    }
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
