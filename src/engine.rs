//! The facade: builds the actors, wires them, and ends them in order.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, Context, MailboxError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::actor::clock::Clock;
use crate::actor::credentials::Credentials;
use crate::actor::message::{
    Close, DrainAll, KnowEndpoints, LookIntoOutbox, Publish, Receipt, Terminate, Wake,
};
use crate::actor::places::Places;
use crate::actor::router::RouterActor;
use crate::actor::shared::Shared;
use crate::actor::supervisor::{Introduce, SupervisorActor};
use crate::actor::watchers::Watchers;
use crate::domain::client::Client;
use crate::domain::endpoint::{Endpoint, EndpointPolicy, check_header_name};
use crate::domain::event::Event;
use crate::domain::id::ClientId;
use crate::domain::rule::Rule;
use crate::domain::time::Timestamp;
use crate::domain::url::WebhookUrl;
use crate::error::{BuildError, PublishError};
use crate::store::{Change, Configuration, MemoryStore, Store};
use crate::transport::{AwcTransport, Transport};

/// A running engine. Clones are handles to the same one, and any thread may use them.
///
/// ```
/// use std::time::Duration;
/// use actix_webhooks::{Client, Engine, Event, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder()
///     .client(Client::new("client-1").name("Bank of Dave"))
///     .rule(Rule::new("rule-1", "invoice.*").webhook("http://127.0.0.1:9/hooks")?)
///     .start()
///     .await?;
///
/// let receipt = engine.publish(Event::new("invoice.paid", "client-1")).await?;
/// assert_eq!(receipt.deliveries, 1);
///
/// let report = engine.shutdown(Duration::from_secs(1)).await;
/// assert_eq!(report.delivered, 0, "nobody listens there");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Engine {
    router: Addr<RouterActor>,
    supervisor: Addr<SupervisorActor>,
    store: Arc<dyn Store>,
    arbiters: Arc<Mutex<Vec<Arbiter>>>,
}

/// What shutting an engine down came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ShutdownReport {
    /// How many deliveries were completed while shutting down.
    pub delivered: u64,
    /// How many deliveries are still open: in the store, to go on when an engine is started on it again. With a [`MemoryStore`] they are lost.
    pub pending: u64,
    /// How many attempts were broken off at the deadline. Their deliveries are among the pending.
    pub aborted: u64,
}

impl Engine {
    /// Returns a builder with the default settings.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Returns the actor that takes events and rules.
    pub fn router(&self) -> Addr<RouterActor> {
        self.router.clone()
    }

    /// Returns the actor that answers for the endpoints.
    pub fn supervisor(&self) -> Addr<SupervisorActor> {
        self.supervisor.clone()
    }

    /// Publishes an event: the same as sending [`Publish`] to the [`router`](Self::router).
    ///
    /// # Errors
    /// [`PublishError`]; nothing was accepted, and the same event can be published again.
    ///
    /// # Cancel safety
    /// An event may have been accepted although the future was dropped. Publishing it again under its id is safe.
    pub async fn publish(&self, event: Event) -> Result<Receipt, PublishError> {
        match self.router.send(Publish::new(event)).await {
            Ok(answer) => answer,
            Err(MailboxError::Closed | MailboxError::Timeout) => Err(PublishError::ShuttingDown),
        }
    }

    /// Tells the engine that events were stored in an outbox (such as by [`SqliteStore::publish_in`](crate::store::SqliteStore::publish_in)) and committed.
    /// Without it they are found within a second.
    pub fn notify_outbox(&self) {
        // A full mailbox or a stopped engine: the next look finds them.
        let _ = self.router.try_send(LookIntoOutbox);
    }

    /// Refuses new events, lets what is in flight end, breaks off what has not ended by `deadline`, and stops the actors.
    ///
    /// What is queued or waits for a retry stays in the store. A second call finds nothing to do.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        // A mailbox error means that another handle has shut the engine down: then the answers below are zero too.
        let _ = self.router.send(Close).await;
        let drained = self
            .supervisor
            .send(DrainAll(deadline))
            .await
            .unwrap_or_default();
        if let Err(error) = self.store.flush().await {
            log::error!(error:? = error; "store could not be flushed at shutdown");
        }
        let pending = self.store.open_total().await.unwrap_or_else(|error| {
            log::error!(error:? = error; "store could not be asked what is pending at shutdown");
            0
        });
        // Without arbiters of the engine's own they would go on until the system ends, and keep the store open.
        let _ = self.router.send(Terminate).await;
        let _ = self.supervisor.send(Terminate).await;
        for arbiter in self
            .arbiters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            arbiter.stop();
        }
        ShutdownReport {
            delivered: drained.delivered,
            pending,
            aborted: drained.aborted,
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("running", &self.router.connected())
            .finish_non_exhaustive()
    }
}

/// Settings of an engine. [`start`](Self::start) checks them all.
pub struct EngineBuilder {
    store: Option<Arc<dyn Store>>,
    transport: Option<Arc<dyn Transport>>,
    clients: Vec<Client>,
    rules: Vec<Rule>,
    endpoints: Vec<Endpoint>,
    default_policy: EndpointPolicy,
    client_id_header: String,
    arbiters: Option<usize>,
    max_in_flight: u32,
    max_body_bytes: usize,
    mailbox: usize,
    clock: Option<Clock>,
    seed: Option<u64>,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            store: None,
            transport: None,
            clients: Vec::new(),
            rules: Vec::new(),
            endpoints: Vec::new(),
            default_policy: EndpointPolicy::default(),
            client_id_header: "X-Codat-ClientId".to_owned(),
            arbiters: None,
            max_in_flight: 512,
            max_body_bytes: 1_024 * 1_024,
            mailbox: 256,
            clock: None,
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

    /// Sets how receivers are reached. Defaults to an [`AwcTransport`] with its default settings.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Arc::new(transport));
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

    /// Sets the hard limit on attempts in flight in the whole engine; endpoints that fail or hang hold at most a quarter of it. Defaults
    /// to 512, which with 256 idle connections stays under the usual limit of 1,024 file descriptors; 4 to 65,536.
    #[must_use]
    pub fn max_in_flight(mut self, max: u32) -> Self {
        self.max_in_flight = max;
        self
    }

    /// Sets the largest body, in bytes; larger ones fail with [`PublishError::TooLarge`]. Defaults to 1 MiB.
    #[must_use]
    pub fn max_body_bytes(mut self, max: usize) -> Self {
        self.max_body_bytes = max;
        self
    }

    /// Sets how many messages wait in an actor's mailbox, and how many events wait in the router to be stored when another message with events is refused. Defaults to 256; at least 1.
    #[must_use]
    pub fn mailbox_capacity(mut self, messages: usize) -> Self {
        self.mailbox = messages;
        self
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn clocked(mut self, clock: Clock, seed: u64) -> Self {
        self.clock = Some(clock);
        self.seed = Some(seed);
        self
    }

    /// Checks the settings, starts the actors, and goes on with what the store holds.
    ///
    /// # Errors
    /// [`BuildError`] says what to correct; nothing was started.
    pub async fn start(self) -> Result<Engine, BuildError> {
        if Arbiter::try_current().is_none() {
            return Err(BuildError::NoSystem);
        }
        self.check()?;
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryStore::new()));
        let transport = match self.transport {
            Some(transport) => transport,
            None => default_transport()?,
        };
        let given = Configuration {
            rules: self.rules,
            clients: self.clients,
            endpoints: self.endpoints,
            paused: Vec::new(),
        };
        let configuration = merge(&*store, given).await?;
        let shared = Arc::new(Shared {
            store: Arc::clone(&store),
            transport,
            clock: self.clock.unwrap_or_else(Clock::system),
            places: Places::new(self.max_in_flight),
            watchers: Watchers::default(),
            credentials: Credentials::default(),
            client_id_header: self.client_id_header,
            max_body_bytes: self.max_body_bytes,
            mailbox: self.mailbox,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..)),
        });
        let count = self.arbiters.unwrap_or_else(cores);
        let arbiters: Vec<Arbiter> = std::iter::repeat_with(Arbiter::new).take(count).collect();
        let engine = start_actors(shared, arbiters, self.default_policy, configuration).await?;
        recover(&engine).await?;
        Ok(engine)
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
        let policy = Endpoint::at(
            WebhookUrl::parse("http://localhost/")
                .map_err(|error| BuildError::Setting(error.to_string()))?,
        )
        .policy(self.default_policy.clone());
        if let Err(error) = policy.check(&self.client_id_header) {
            return setting(format!("default policy: {error}"));
        }
        if self.arbiters.is_some_and(|count| count > 256) {
            return setting("arbiters must be at most 256".to_owned());
        }
        if !(4..=65_536).contains(&self.max_in_flight) {
            return setting("max_in_flight must be from 4 to 65,536".to_owned());
        }
        if self.mailbox == 0 {
            return setting("mailbox_capacity must be at least 1".to_owned());
        }
        Ok(())
    }
}

impl Event {
    /// Returns an event with a new id (`UUIDv7`) and the current time.
    ///
    /// `rule_type` is what rules match; any text of 1 to 256 bytes without control characters will do.
    #[expect(
        clippy::disallowed_methods,
        reason = "the facade gives new events their time"
    )]
    pub fn new(rule_type: impl Into<String>, client_id: impl Into<ClientId>) -> Self {
        let now = Timestamp::from(std::time::SystemTime::now());
        Self::identified(Uuid::now_v7(), now, rule_type, client_id)
    }
}

fn default_transport() -> Result<Arc<dyn Transport>, BuildError> {
    let transport = AwcTransport::builder()
        .build()
        .map_err(|error| BuildError::Transport(Box::new(error)))?;
    Ok(Arc::new(transport))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Adds what the store kept to what the builder was given, which wins, and has the store keep the latter.
async fn merge(store: &dyn Store, given: Configuration) -> Result<Configuration, BuildError> {
    let changes = given.rules.iter().cloned().map(Change::PutRule);
    let changes = changes.chain(given.clients.iter().cloned().map(Change::PutClient));
    let changes = changes.chain(given.endpoints.iter().cloned().map(Change::PutEndpoint));
    // Asked for all at once, so that a store can write them together.
    let kept: Vec<_> = changes.map(|change| store.keep(change)).collect();
    for change in kept {
        change.await.map_err(BuildError::Store)?;
    }
    store.configuration().await.map_err(BuildError::Store)
}

async fn start_actors(
    shared: Arc<Shared>,
    arbiters: Vec<Arbiter>,
    default_policy: EndpointPolicy,
    configuration: Configuration,
) -> Result<Engine, BuildError> {
    let Configuration {
        rules,
        clients,
        endpoints,
        paused,
    } = configuration;
    let mut known: Vec<WebhookUrl> = rules
        .iter()
        .flat_map(|rule| rule.webhooks.iter().cloned())
        .collect();
    known.sort();
    known.dedup();
    let store = Arc::clone(&shared.store);
    let handles = arbiters.iter().map(Arbiter::handle).collect();
    let first = arbiters.first();
    let supervisor = {
        let shared = Arc::clone(&shared);
        start_on(first, shared.mailbox, move || {
            SupervisorActor::new(shared, handles, default_policy, endpoints, paused)
        })
    };
    let router = {
        let (capacity, supervisor) = (shared.mailbox, supervisor.clone());
        start_on(first, capacity, move || {
            RouterActor::new(shared, supervisor, rules, clients)
        })
    };
    let stopped = |_: MailboxError| BuildError::Stopped;
    supervisor
        .send(Introduce(router.clone().recipient()))
        .await
        .map_err(stopped)?;
    supervisor
        .send(KnowEndpoints(known.into()))
        .await
        .map_err(stopped)?;
    Ok(Engine {
        router,
        supervisor,
        store,
        arbiters: Arc::new(Mutex::new(arbiters)),
    })
}

/// Starts an actor on an arbiter, or on the calling thread.
fn start_on<A>(
    arbiter: Option<&Arbiter>,
    capacity: usize,
    make: impl FnOnce() -> A + Send + 'static,
) -> Addr<A>
where
    A: Actor<Context = Context<A>>,
{
    let make = move |ctx: &mut Context<A>| {
        ctx.set_mailbox_capacity(capacity);
        make()
    };
    match arbiter {
        Some(arbiter) => A::start_in_arbiter(&arbiter.handle(), make),
        None => A::create(make),
    }
}

/// Wakes every endpoint that has open deliveries, page by page.
async fn recover(engine: &Engine) -> Result<(), BuildError> {
    let mut after = None;
    loop {
        let page = engine
            .store
            .backlogs(after.take(), RECOVERY_PAGE)
            .await
            .map_err(BuildError::Store)?;
        let full = page.len() == RECOVERY_PAGE;
        after = page.last().map(|backlog| backlog.url.clone());
        let wake = page
            .into_iter()
            .map(|backlog| (backlog.url, backlog.open))
            .collect();
        engine
            .supervisor
            .send(Wake(wake))
            .await
            .map_err(|_| BuildError::Stopped)?;
        if !full {
            return Ok(());
        }
    }
}

/// How many endpoints are woken at once when an engine starts on a store.
const RECOVERY_PAGE: usize = 1_000;
