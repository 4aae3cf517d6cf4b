//! The facade: builds the actors, wires them, and ends them in order.

mod builder;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, Context, MailboxError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::builder::EngineBuilder;
use crate::actor::message::{
    Close, DrainAll, KnowEndpoints, LookIntoOutbox, Publish, Receipt, Terminate, Wake,
};
use crate::actor::router::RouterActor;
use crate::actor::shared::Shared;
use crate::actor::supervisor::{Introduce, SupervisorActor};
use crate::domain::endpoint::EndpointPolicy;
use crate::domain::event::Event;
use crate::domain::id::ClientId;
use crate::domain::time::Timestamp;
use crate::domain::url::WebhookUrl;
use crate::error::{BuildError, PublishError};
use crate::store::{Configuration, Store};

/// A running engine. Clones are handles to the same one, and any thread may use them.
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
    /// How many deliveries are still open: in the store, to go on when an engine is started on it again. With a [`MemoryStore`](crate::store::MemoryStore) they are lost.
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

    /// Tells the engine that events were stored in an outbox (such as by `SqliteStore::publish_in`) and committed.
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
        disabled,
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
            SupervisorActor::new(shared, handles, default_policy, endpoints, paused, disabled)
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
