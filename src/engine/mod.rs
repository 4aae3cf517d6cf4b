//! The facade: builds the actors, connects them, and shuts them down in order.

mod asking;
mod builder;
mod endpoint;
mod merging;
mod operating;
mod watching;

use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use actix::prelude::SendError;
use actix::{Actor, Addr, Arbiter, Context, MailboxError};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

pub use self::builder::EngineBuilder;
pub use self::endpoint::EndpointHandle;
pub use self::operating::OperateError;
pub use self::watching::Updates;
use crate::actor::clock::Clock;
use crate::actor::message::{
    KnowEndpoints, LookIntoOutbox, PublishAtOnce, PublishInLine, Receipt, ShutDown, Terminate,
};
use crate::actor::router::RouterActor;
use crate::actor::shared::EngineContext;
use crate::actor::supervisor::{Introduce, ResumeRedeliveries, SupervisorActor, TakeUp};
use crate::domain::endpoint::policy::EndpointPolicy;
use crate::domain::endpoint::shard::Shards;
use crate::domain::endpoint::status::ShutdownReport;
use crate::domain::events::event::Event;
use crate::domain::value::id::ClientId;
use crate::domain::value::operator::Operator;
use crate::domain::value::text::InvalidText;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::error::{BuildError, Overload, PublishError};
use crate::store::Configuration;

/// A running engine.
///
/// Clones are handles to the same engine, for use on any thread. It stops only by
/// [`shutdown`](Self::shutdown) or with the actix system. Without any handle it keeps running and
/// keeps its store.
///
/// ```
/// use std::time::Duration;
/// use actix_webhooks::{AddressRange, Client, Engine, Event, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder()
///     .allow_addresses(AddressRange::loopback()) // only public addresses are called otherwise
///     .client(Client::new("client-1").name("Bank of Dave"))
///     // Rules that are stored under other ids stay in force: see `EngineBuilder::exactly_these_rules`.
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
    arbiters: Arc<Mutex<Vec<Arbiter>>>,
    publish_timeout: Duration,
    /// Held while a setting is read, changed and put by one of several callers.
    #[cfg(feature = "web")]
    settings: Arc<tokio::sync::Mutex<()>>,
    /// The operator named in every action of this handle.
    operator: Named,
}

/// An operator, or the reason why the name is none.
type Named = Result<Option<Operator>, InvalidText>;

impl Engine {
    /// Returns a builder with the default settings.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Waits until no other caller is between reading a setting and putting it.
    #[cfg(feature = "web")]
    pub(crate) async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.settings.lock().await
    }

    /// Returns the actor that takes events and rules.
    pub fn router(&self) -> Addr<RouterActor> {
        self.router.clone()
    }

    /// Returns the actor that is responsible for the endpoints.
    pub fn supervisor(&self) -> Addr<SupervisorActor> {
        self.supervisor.clone()
    }

    /// Publishes an event, waiting for room if necessary.
    ///
    /// If [`EngineBuilder::mailbox_capacity`] events already wait to be stored, publishers queue in
    /// order of arrival, for up to [`EngineBuilder::publish_timeout`] (30 s by default).
    ///
    /// It never waits for deliveries to end: an event that all of its endpoints or the whole store
    /// refuse, because too much is open, is refused at once.
    ///
    /// # Errors
    /// [`PublishError`]. The event can be published again under its id. Nothing was accepted, with
    /// one exception: after [`PublishError::Store`] the outcome is unknown.
    ///
    /// # Cancel safety
    /// If the future is dropped, the event may still have been accepted, or may be later.
    /// Publishing it again under its id is safe.
    pub async fn publish(&self, event: Event) -> Result<Receipt, PublishError> {
        let until = Clock::instant() + self.publish_timeout;
        match self.router.send(PublishInLine { event, until }).await {
            Ok(answer) => answer,
            Err(MailboxError::Closed | MailboxError::Timeout) => Err(PublishError::ShuttingDown),
        }
    }

    /// Publishes an event if there is room, and otherwise refuses it at once.
    ///
    /// ```
    /// use actix_webhooks::{Engine, Event, PublishError};
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = Engine::builder().start().await?;
    /// match engine.try_publish(Event::new("invoice.paid", "client-1")).await {
    ///     Ok(receipt) => println!("{} deliveries", receipt.deliveries),
    ///     Err(PublishError::Overloaded(why)) => println!("not now: {why}"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`publish`](Self::publish). [`PublishError::Overloaded`] is also returned if
    /// too many events wait to be stored.
    ///
    /// # Cancel safety
    /// As for [`publish`](Self::publish).
    pub async fn try_publish(&self, event: Event) -> Result<Receipt, PublishError> {
        let (answer, answered) = oneshot::channel();
        match self.router.try_send(PublishAtOnce { event, answer }) {
            Ok(()) => answered.await.unwrap_or(Err(PublishError::ShuttingDown)),
            Err(SendError::Full(PublishAtOnce { event, .. })) => {
                event.discard();
                Err(PublishError::Overloaded(Overload::Mailbox))
            }
            Err(SendError::Closed(PublishAtOnce { event, .. })) => {
                event.discard();
                Err(PublishError::ShuttingDown)
            }
        }
    }

    /// Notifies the engine of events committed to an outbox, for example by
    /// `SqliteStore::publish_in`.
    ///
    /// Without the notice they are found within a second.
    pub fn notify_outbox(&self) {
        // If the mailbox is full or the engine has stopped, the next look finds the events.
        let _ = self.router.try_send(LookIntoOutbox);
    }

    /// Refuses new events, lets attempts in flight finish until `deadline`, aborts the rest, and
    /// stops the actors.
    ///
    /// Call it while the actix system runs. On a signal actix-web's `HttpServer` stops the system
    /// and with it all attempts in flight. So build the server with `disable_signals()`, wait for
    /// the signal yourself, stop the server by its handle, then call this
    /// (`examples/embed_in_actix_web.rs`).
    ///
    /// Queued deliveries and deliveries that wait for a retry stay in the store, which has up to 10
    /// s more to flush. Calling it again, or concurrently, is allowed: the earlier deadline counts,
    /// and once everything has ended the report is all zeros.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let report = self.supervisor.send(ShutDown(deadline)).await;
        // On the caller's thread the actors would otherwise run, and keep the store open, until the
        // system ends.
        let _ = self.supervisor.send(Terminate).await;
        let arbiters = std::mem::take(&mut *self.arbiters.lock());
        end_threads(arbiters).await;
        // A mailbox error means that another handle has shut the engine down.
        report.unwrap_or_default()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("running", &self.router.connected())
            .finish_non_exhaustive()
    }
}

impl Event {
    /// Returns an event with a new id (`UUIDv7`) and the current time.
    ///
    /// `rule_type` is matched by rules. It is a text of 1 to 256 bytes without control characters.
    pub fn new(rule_type: impl Into<String>, client_id: impl Into<ClientId>) -> Self {
        Self::identified(Uuid::now_v7(), Timestamp::now(), rule_type, client_id)
            .with_an_id_of_its_own()
    }
}

/// Starts the actors, which continue with the content of the store. On an error they are stopped
/// again.
async fn start(
    shared: Arc<EngineContext>,
    arbiters: Vec<Arbiter>,
    default_policy: EndpointPolicy,
    configuration: Configuration,
    removed: &[WebhookUrl],
) -> Result<Engine, BuildError> {
    let mut known: Vec<WebhookUrl> = configuration
        .rules
        .iter()
        .flat_map(|rule| rule.webhooks.iter().cloned())
        .collect();
    known.sort();
    known.dedup();
    // Removed endpoints count as unknown until they are requested again.
    known.retain(|url| removed.binary_search(url).is_err());
    let engine = start_actors(shared, arbiters, default_policy, configuration);
    let begun = async {
        introduce(&engine, known).await?;
        let taken_up = engine.supervisor.send(TakeUp(Shards::ALL)).await;
        let taken_up = taken_up.map_err(|_| BuildError::Stopped)?;
        taken_up.map_err(BuildError::Store)?;
        let resumed = engine.supervisor.send(ResumeRedeliveries).await;
        resumed
            .map_err(|_| BuildError::Stopped)?
            .map_err(BuildError::Store)
    };
    if let Err(error) = begun.await {
        engine.shutdown(Duration::ZERO).await;
        return Err(error);
    }
    Ok(engine)
}

fn start_actors(
    shared: Arc<EngineContext>,
    arbiters: Vec<Arbiter>,
    default_policy: EndpointPolicy,
    configuration: Configuration,
) -> Engine {
    let Configuration {
        rules,
        clients,
        endpoints,
        paused,
        disabled,
    } = configuration;
    let handles = arbiters.iter().map(Arbiter::handle).collect();
    let first = arbiters.first();
    let publish_timeout = shared.publish_timeout;
    let supervisor = {
        let shared = Arc::clone(&shared);
        start_on(first, shared.mailbox, move || {
            SupervisorActor::new(shared, handles, default_policy, endpoints, paused, disabled)
        })
    };
    let router = {
        let (capacity, supervisor) = (shared.mailbox, supervisor.clone());
        start_on(first, capacity, move || {
            RouterActor::new(shared, supervisor, rules, clients)
        })
    };
    Engine {
        router,
        supervisor,
        arbiters: Arc::new(Mutex::new(arbiters)),
        publish_timeout,
        #[cfg(feature = "web")]
        settings: Arc::default(),
        operator: Ok(None),
    }
}

/// Introduces the router, and the endpoints named by rules, to the supervisor.
async fn introduce(engine: &Engine, known: Vec<WebhookUrl>) -> Result<(), BuildError> {
    let stopped = |_: MailboxError| BuildError::Stopped;
    let introduced = engine.supervisor.send(Introduce(engine.router.clone()));
    introduced.await.map_err(stopped)?;
    let known = engine.supervisor.send(KnowEndpoints(known.into()));
    known.await.map_err(stopped)
}

/// Stops the arbiters' threads and waits for their end, which releases the actors' resources, above
/// all the store.
///
/// A thread that is blocked is not waited for.
async fn end_threads(arbiters: Vec<Arbiter>) {
    const LONGEST: Duration = Duration::from_secs(1);
    if arbiters.is_empty() {
        return;
    }
    for arbiter in &arbiters {
        // The arbiter has already ended if this fails.
        let _ = arbiter.stop();
    }
    let (all_ended, ended) = mpsc::channel();
    let (done, waited) = oneshot::channel();
    thread::spawn(move || {
        for arbiter in arbiters {
            // A thread that panicked has ended too.
            let _ = arbiter.join();
        }
        let _ = all_ended.send(());
    });
    // On a thread of its own, because this may be awaited on any executor.
    thread::spawn(move || {
        let _ = ended.recv_timeout(LONGEST);
        let _ = done.send(());
    });
    let _ = waited.await;
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
