//! The actor that knows every endpoint: it starts a subscriber for each that has deliveries, watches it, starts it again after a panic, and
//! answers operators.

mod at_rest;
mod clock;
mod ending;
mod giving_up;
mod life;
mod operators;
mod removal;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt as _, Addr, ArbiterHandle, AsyncContext as _, Context, Handler};

use self::at_rest::{AtRest, RestOrder};
use self::clock::WallWatch;
use super::message::{CheckEndpoints, EndpointError, KnowEndpoints, RuleError};
use super::reply::Answerer;
use super::router::RouterActor;
use super::shared::EngineContext;
use super::subscriber::SubscriberActor;
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::policy::EndpointPolicy;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::machine::run::{Run, RunChange};
use crate::domain::machine::tally::RetiredState;
use crate::domain::machine::unread::Missed;
use crate::domain::policy::health::DisabledReason;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::{WebhookUrl, shown};
use crate::store::{Retention, Setting, UnreadableSetting};

/// Knows every endpoint and supervises their subscribers: the actor that operators talk to.
///
/// It answers [`PutEndpoint`](crate::PutEndpoint), [`RemoveEndpoint`](crate::RemoveEndpoint), [`PauseEndpoint`](crate::PauseEndpoint), [`DisableEndpoint`](crate::DisableEndpoint), [`ResumeEndpoint`](crate::ResumeEndpoint), [`GetStatus`](crate::GetStatus), [`ListStatus`](crate::ListStatus),
/// [`WatchStatus`](crate::WatchStatus), [`WatchDeliveries`](crate::WatchDeliveries), [`Redeliver`](crate::Redeliver), [`ListDeliveries`](crate::ListDeliveries), [`ListAttempts`](crate::ListAttempts), [`ListDeadLetters`](crate::ListDeadLetters),
/// [`DiscardDeadLetters`](crate::DiscardDeadLetters) and [`EndDeliveries`](crate::EndDeliveries).
pub struct SupervisorActor {
    shared: Arc<EngineContext>,
    /// Where subscribers run; none means on the supervisor's own arbiter.
    arbiters: Vec<ArbiterHandle>,
    router: Option<Addr<RouterActor>>,
    default_policy: Arc<EndpointPolicy>,
    /// The last one that was handed out: many endpoints have the same settings, and share them.
    recent_policy: RefCell<Arc<EndpointPolicy>>,
    endpoints: BTreeMap<WebhookUrl, EndpointEntry>,
    at_rest: AtRest,
    started: u64,
    /// How many changes of endpoints were asked for.
    changes: u64,
    draining: bool,
    pruning: bool,
    wall_watch: WallWatch,
}

/// What the supervisor knows of one endpoint.
#[derive(Debug, Default)]
struct EndpointEntry {
    endpoint: Option<Arc<Endpoint>>,
    /// Whether its settings are kept and cannot be read: it is disabled until they are put again.
    unreadable: bool,
    /// How often its subscribers have panicked, and how often of that without a steady time in between.
    restarts: u32,
    restarts_in_a_row: u32,
    /// How many reports were lost of deliveries that were given up without an attempt.
    reports_lost: u64,
    /// Which settings were applied last: answers of the store may be taken up in another order.
    settings: u64,
    subscriber: Subscriber,
}

/// Who delivers to an endpoint. Whether attempts may start is known to the one that runs, and else is
/// part of what the last one left behind.
#[derive(Debug)]
enum Subscriber {
    /// It has had no deliveries since the engine started.
    NotStarted(Run),
    /// It had nothing left to do and has retired; the next one goes on counting where it ended.
    Retired {
        past: Box<RetiredState>,
        order: RestOrder,
    },
    Running {
        address: Addr<SubscriberActor>,
        incarnation: u64,
        since: Timestamp,
    },
    /// It retires: the router forgets its address, then it ends unless something has arrived.
    Leaving {
        address: Addr<SubscriberActor>,
        incarnation: u64,
        since: Timestamp,
        /// Deliveries that were stored since and that it was not told of; `None` without any news.
        missed: Option<Missed>,
    },
    /// It panicked and is started again after a while; the next one goes on from what it has left behind.
    Restarting(Box<RetiredState>),
    /// The endpoint is being removed: nobody delivers to it meanwhile.
    Removing {
        past: Box<RetiredState>,
        /// Who delivered to it, and may still be recording.
        ending: Option<Addr<SubscriberActor>>,
        /// Whether something has arrived since.
        woken: bool,
        /// Who waits for its end.
        waiting: Vec<Answerer<()>>,
    },
}

impl Default for Subscriber {
    fn default() -> Self {
        Self::NotStarted(Run::default())
    }
}

impl Subscriber {
    /// Returns what the last one left behind, if none runs.
    fn past(&self) -> Option<RetiredState> {
        match self {
            Self::NotStarted(run) => Some(RetiredState {
                run: *run,
                ..RetiredState::default()
            }),
            Self::Retired { past, .. } | Self::Restarting(past) | Self::Removing { past, .. } => {
                Some(RetiredState::clone(past))
            }
            Self::Running { .. } | Self::Leaving { .. } => None,
        }
    }
}

impl SupervisorActor {
    pub(crate) fn new(
        shared: Arc<EngineContext>,
        arbiters: Vec<ArbiterHandle>,
        default_policy: EndpointPolicy,
        endpoints: Vec<Endpoint>,
        paused: Vec<WebhookUrl>,
        disabled: Vec<(WebhookUrl, DisabledReason)>,
    ) -> Self {
        let default_policy = Arc::new(default_policy);
        let mut supervisor = Self {
            at_rest: AtRest::new(shared.endpoints_at_rest),
            shared,
            arbiters,
            router: None,
            recent_policy: RefCell::new(Arc::clone(&default_policy)),
            default_policy,
            endpoints: BTreeMap::new(),
            started: 0,
            changes: 0,
            draining: false,
            pruning: false,
            wall_watch: WallWatch::default(),
        };
        for endpoint in endpoints {
            let entry = supervisor
                .endpoints
                .entry(endpoint.url.clone())
                .or_default();
            entry.endpoint = Some(Arc::new(endpoint));
        }
        let paused = paused.into_iter().map(|url| (url, RunChange::Pause));
        let disabled = disabled.into_iter();
        let disabled = disabled.map(|(url, reason)| (url, RunChange::Disable(reason)));
        for (url, change) in paused.chain(disabled) {
            let entry = supervisor.endpoints.entry(url).or_default();
            if let Subscriber::NotStarted(run) = &mut entry.subscriber {
                run.apply(change);
            }
        }
        for UnreadableSetting { setting, .. } in supervisor.shared.set_aside.list() {
            if let Setting::Endpoint { url } = setting {
                supervisor.endpoints.entry(url).or_default().unreadable = true;
            }
        }
        supervisor
    }

    fn number_change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    fn entry(&self, url: &str) -> Result<(WebhookUrl, &EndpointEntry), EndpointError> {
        let unknown = || EndpointError::Unknown(shown(url));
        let url = WebhookUrl::parse(url).map_err(|_| unknown())?;
        let known = self.endpoints.get_key_value(&url);
        // What is being removed is as good as gone.
        let known =
            known.filter(|(_, entry)| !matches!(entry.subscriber, Subscriber::Removing { .. }));
        known
            .map(|(url, entry)| (url.clone(), entry))
            .ok_or_else(unknown)
    }

    /// Returns the settings and the policy of an endpoint.
    fn settings(&self, entry: &EndpointEntry) -> (Option<Arc<Endpoint>>, Arc<EndpointPolicy>) {
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

impl SupervisorActor {
    /// Has the store forget what is old, unless it still does so since the last time.
    fn prune(&mut self, keep: Retention, ctx: &mut Context<Self>) {
        if self.pruning || self.draining {
            return;
        }
        self.pruning = true;
        let now = self.shared.clock.now();
        let pruning = self.shared.call(|store| store.prune(now, keep));
        let done = wrap_future::<_, Self>(pruning).map(|result, supervisor, _| {
            supervisor.pruning = false;
            match result {
                Ok(0) => {}
                Ok(forgotten) => log::debug!(forgotten; "{forgotten} old deliveries forgotten"),
                Err(error) => {
                    log::error!(
                        error:? = error;
                        "old deliveries could not be forgotten; tried again in a minute: {}",
                        error.with_causes()
                    );
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
        self.watch_wall(ctx);
        if let Some(keep) = self.shared.store.retention() {
            ctx.run_interval(PRUNE_EVERY, move |supervisor, ctx| {
                supervisor.prune(keep, ctx);
            });
        }
    }
}

impl Handler<CheckEndpoints> for SupervisorActor {
    type Result = Result<(), RuleError>;

    fn handle(
        &mut self,
        CheckEndpoints { urls, client }: CheckEndpoints,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let settings = |url| {
            let entry: &EndpointEntry = self.endpoints.get(url)?;
            let stays = !matches!(entry.subscriber, Subscriber::Removing { .. });
            entry.endpoint.as_ref().filter(|_| stays)
        };
        for url in urls.iter() {
            if let Some(endpoint) = settings(url) {
                // The rest was checked when they were put.
                if !endpoint.is_for(client.as_ref()) {
                    return Err(RuleError::Endpoint {
                        url: url.without_query().to_owned(),
                        error: InvalidEndpoint::OtherClient,
                    });
                }
                continue;
            }
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
            let entry = self.endpoints.entry(url.clone()).or_default();
            if let Subscriber::Removing { woken, .. } = &mut entry.subscriber {
                // It is not forgotten when it has been removed.
                *woken = true;
            }
        }
    }
}

/// Who routes events to the subscribers: engine → supervisor, once.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Introduce(pub(crate) Addr<RouterActor>);

impl Handler<Introduce> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Introduce(router): Introduce, _: &mut Context<Self>) {
        self.router = Some(router);
    }
}

/// How often the store is asked to forget what is old.
const PRUNE_EVERY: Duration = Duration::from_mins(1);
