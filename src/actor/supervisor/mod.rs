//! The actor that knows every endpoint: it starts a subscriber for each that has deliveries, watches it, starts it again after a panic, and
//! answers operators.

mod life;
mod operators;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, ArbiterHandle, AsyncContext as _, Context,
    Handler, Recipient, ResponseFuture,
};
use futures_util::future::join_all;

use super::inbox::SubscriberHandle;
use super::message::{
    Abort, CheckEndpoints, Disabled, Drain, DrainAll, Drained, EndpointError, Gate, KnowEndpoints,
    Reach, RuleError, Terminate, Wake,
};
use super::shared::Shared;
use crate::domain::endpoint::{Endpoint, EndpointPolicy};
use crate::domain::health::DisabledReason;
use crate::domain::status::EndpointState;
use crate::domain::tally::Past;
use crate::domain::time::Timestamp;
use crate::domain::url::{WebhookUrl, without_query};
use crate::store::Retention;

/// Knows every endpoint and supervises their subscribers: the actor that operators talk to.
///
/// It answers [`PutEndpoint`](crate::PutEndpoint), [`RemoveEndpoint`](crate::RemoveEndpoint), [`PauseEndpoint`](crate::PauseEndpoint), [`DisableEndpoint`](crate::DisableEndpoint), [`ResumeEndpoint`](crate::ResumeEndpoint), [`GetStatus`](crate::GetStatus), [`ListStatus`](crate::ListStatus),
/// [`WatchStatus`](crate::WatchStatus), [`WatchDeliveries`](crate::WatchDeliveries), [`Redeliver`](crate::Redeliver), [`ListDeliveries`](crate::ListDeliveries), [`ListAttempts`](crate::ListAttempts), [`ListDeadLetters`](crate::ListDeadLetters) and
/// [`DiscardDeadLetters`](crate::DiscardDeadLetters).
pub struct SupervisorActor {
    shared: Arc<Shared>,
    /// Where subscribers run; none means on the supervisor's own arbiter.
    arbiters: Vec<ArbiterHandle>,
    router: Option<Recipient<Reach>>,
    default_policy: Arc<EndpointPolicy>,
    /// The last one that was handed out: many endpoints have the same settings, and share them.
    recent_policy: RefCell<Arc<EndpointPolicy>>,
    endpoints: BTreeMap<WebhookUrl, Entry>,
    started: u64,
    draining: bool,
    pruning: bool,
}

/// What the supervisor knows of one endpoint.
#[derive(Debug, Default)]
struct Entry {
    endpoint: Option<Arc<Endpoint>>,
    paused: bool,
    disabled: Option<DisabledReason>,
    /// How often it was resumed.
    resumed: u64,
    restarts: u32,
    subscriber: Subscriber,
}

#[derive(Debug, Default)]
enum Subscriber {
    /// It has had no deliveries since the engine started.
    #[default]
    NotStarted,
    /// It had nothing left to do and has retired; the next one goes on counting where it ended.
    Retired(Box<Past>),
    Running {
        handle: SubscriberHandle,
        incarnation: u64,
        since: Timestamp,
    },
    /// It retires: the router forgets it, then it ends unless something has arrived meanwhile.
    Leaving {
        handle: SubscriberHandle,
        incarnation: u64,
        since: Timestamp,
        /// Whether there is something new for it, which it may or may not hear of before it ends.
        woken: bool,
    },
    /// It panicked and is started again after a while.
    Restarting,
}

impl Subscriber {
    /// Returns what the last one left behind, if it has retired.
    fn past(&self) -> Option<&Past> {
        if let Self::Retired(past) = self {
            Some(past)
        } else {
            None
        }
    }
}

impl SupervisorActor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        arbiters: Vec<ArbiterHandle>,
        default_policy: EndpointPolicy,
        endpoints: Vec<Endpoint>,
        paused: Vec<WebhookUrl>,
        disabled: Vec<(WebhookUrl, DisabledReason)>,
    ) -> Self {
        let default_policy = Arc::new(default_policy);
        let mut supervisor = Self {
            shared,
            arbiters,
            router: None,
            recent_policy: RefCell::new(Arc::clone(&default_policy)),
            default_policy,
            endpoints: BTreeMap::new(),
            started: 0,
            draining: false,
            pruning: false,
        };
        for endpoint in endpoints {
            let entry = supervisor
                .endpoints
                .entry(endpoint.url.clone())
                .or_default();
            entry.endpoint = Some(Arc::new(endpoint));
        }
        for url in paused {
            supervisor.endpoints.entry(url).or_default().paused = true;
        }
        for (url, reason) in disabled {
            supervisor.endpoints.entry(url).or_default().disabled = Some(reason);
        }
        supervisor
    }

    fn entry(&self, url: &str) -> Result<(WebhookUrl, &Entry), EndpointError> {
        let unknown = || EndpointError::Unknown(without_query(url).to_owned());
        let url = WebhookUrl::parse(url).map_err(|_| unknown())?;
        self.endpoints
            .get_key_value(&url)
            .map(|(url, entry)| (url.clone(), entry))
            .ok_or_else(unknown)
    }

    /// Returns the settings and the policy of an endpoint.
    fn settings(&self, entry: &Entry) -> (Option<Arc<Endpoint>>, Arc<EndpointPolicy>) {
        let Some(endpoint) = &entry.endpoint else {
            return (None, Arc::clone(&self.default_policy));
        };
        let mut recent = self.recent_policy.borrow_mut();
        if **recent != endpoint.policy {
            *recent = Arc::new(endpoint.policy.clone());
        }
        (Some(Arc::clone(endpoint)), Arc::clone(&recent))
    }
}

impl Entry {
    /// Returns the gates that are shut.
    fn gates(&self) -> Vec<Gate> {
        let paused = self.paused.then_some(Gate::Pause);
        let disabled = self.disabled.map(Gate::Disable);
        paused.into_iter().chain(disabled).collect()
    }

    /// Returns what the gates make of the state of an endpoint that nobody runs for.
    fn gated(&self) -> Option<EndpointState> {
        let disabled = self.disabled.map(|reason| EndpointState::Disabled {
            reason: reason.to_string(),
        });
        disabled.or(self.paused.then_some(EndpointState::Paused))
    }
}

impl SupervisorActor {
    /// Has the store forget what is old, unless it still does so since the last time.
    fn prune(&mut self, keep: Retention, ctx: &mut Context<Self>) {
        if self.pruning || self.draining {
            return;
        }
        self.pruning = true;
        let pruning = self.shared.store.prune(self.shared.clock.now(), keep);
        let done = wrap_future::<_, Self>(pruning).map(|result, supervisor, _| {
            supervisor.pruning = false;
            match result {
                Ok(0) => {}
                Ok(forgotten) => log::debug!(forgotten; "old deliveries forgotten"),
                Err(error) => {
                    log::error!(error:? = error; "old deliveries could not be forgotten; tried again in a minute");
                }
            }
        });
        ctx.spawn(done);
    }
}

impl std::fmt::Debug for SupervisorActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SupervisorActor")
            .field("endpoints", &self.endpoints.len())
            .finish_non_exhaustive()
    }
}

impl Actor for SupervisorActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if let Some(keep) = self.shared.store.retention() {
            ctx.run_interval(PRUNE_EVERY, move |supervisor, ctx| {
                supervisor.prune(keep, ctx);
            });
        }
    }
}

impl Handler<Wake> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Wake(urls): Wake, ctx: &mut Context<Self>) {
        for (url, count) in urls {
            self.wake(&url, count, ctx);
        }
    }
}

impl Handler<Disabled> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, disabled: Disabled, _: &mut Context<Self>) {
        if let Some(entry) = self.endpoints.get_mut(&disabled.url)
            && entry.resumed == disabled.resumed
        {
            entry.disabled = Some(disabled.reason);
        }
    }
}

impl Handler<CheckEndpoints> for SupervisorActor {
    type Result = Result<(), RuleError>;

    fn handle(
        &mut self,
        CheckEndpoints(urls): CheckEndpoints,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let has_settings = |url| {
            let entry: Option<&Entry> = self.endpoints.get(url);
            entry.is_some_and(|entry| entry.endpoint.is_some())
        };
        // Settings were checked when they were put.
        for url in urls.iter().filter(|url| !has_settings(*url)) {
            let endpoint = Endpoint::at(url.clone()).policy((*self.default_policy).clone());
            let checked = endpoint.check(&self.shared.client_id_header);
            checked
                .and_then(|()| self.shared.transport.check(&endpoint))
                .map_err(|error| RuleError::Endpoint {
                    url: url.without_query().to_owned(),
                    error,
                })?;
        }
        Ok(())
    }
}

impl Handler<KnowEndpoints> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, KnowEndpoints(urls): KnowEndpoints, _: &mut Context<Self>) {
        for url in urls.iter() {
            self.endpoints.entry(url.clone()).or_default();
        }
    }
}

/// Whom to tell how subscribers are reached: engine → supervisor, once.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Introduce(pub(crate) Recipient<Reach>);

impl Handler<Introduce> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Introduce(router): Introduce, _: &mut Context<Self>) {
        self.router = Some(router);
    }
}

impl Handler<Terminate> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, _: Terminate, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl Handler<DrainAll> for SupervisorActor {
    type Result = ResponseFuture<Drained>;

    fn handle(&mut self, DrainAll(deadline): DrainAll, _: &mut Context<Self>) -> Self::Result {
        self.draining = true;
        let subscribers: Vec<_> = self
            .endpoints
            .keys()
            .filter_map(|url| self.running(url))
            .collect();
        Box::pin(async move {
            let drains = subscribers.iter().map(|subscriber| subscriber.send(Drain));
            // What has not ended by the deadline is broken off below, and counted.
            drop(tokio::time::timeout(deadline, join_all(drains)).await);
            let aborts = subscribers.iter().map(|subscriber| subscriber.send(Abort));
            let ended = join_all(aborts).await;
            ended
                .into_iter()
                .flatten()
                .fold(Drained::default(), |sum, one| Drained {
                    delivered: sum.delivered + one.delivered,
                    aborted: sum.aborted + one.aborted,
                })
        })
    }
}

/// How often the store is asked to forget what is old.
const PRUNE_EVERY: Duration = Duration::from_mins(1);
