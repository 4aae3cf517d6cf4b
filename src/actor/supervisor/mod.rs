//! The actor that knows every endpoint.
//!
//! It starts a subscriber for each endpoint that has deliveries, restarts it after a panic, and
//! answers operators.

mod asked;
mod asking;
mod at_rest;
mod attempting;
mod clock;
mod counting;
mod ending;
mod finding;
mod giving_up;
mod known;
mod life;
mod listing;
mod operators;
mod planning;
mod redelivering;
mod removal;
mod shards;
mod why;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt as _, Addr, ArbiterHandle, AsyncContext as _, Context, Handler};

use self::at_rest::{AtRest, RestOrder};
use self::clock::WallWatch;
use self::counting::Counted;
use self::known::Endpoints;
use self::redelivering::Redelivering;
pub(crate) use self::redelivering::ResumeRedeliveries;
#[cfg(feature = "test-util")]
pub(crate) use self::shards::LayDown;
pub(crate) use self::shards::TakeUp;
use super::message::{CheckEndpoints, EndpointError, KnowEndpoints, RuleError};
use super::reply::Answerer;
use super::router::RouterActor;
use super::shared::EngineContext;
use super::subscriber::SubscriberActor;
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::policy::EndpointPolicy;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::endpoint::shard::Shards;
use crate::domain::endpoint::status::Stopped;
use crate::domain::machine::run::{Disabling, Run, RunChange};
use crate::domain::machine::tally::RetiredState;
use crate::domain::machine::unread::Missed;
use crate::domain::policy::health::DisabledReason;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::{WebhookUrl, shown};
use crate::store::{Retention, Setting, UnreadableSetting};

/// The actor that operators talk to: it knows every endpoint and supervises its subscriber.
///
/// It answers [`PutEndpoint`](crate::PutEndpoint), [`RemoveEndpoint`](crate::RemoveEndpoint),
/// [`PauseEndpoint`](crate::PauseEndpoint), [`DisableEndpoint`](crate::DisableEndpoint),
/// [`ResumeEndpoint`](crate::ResumeEndpoint), [`GetStatus`](crate::GetStatus),
/// [`ListStatus`](crate::ListStatus), [`ListEndpoints`](crate::ListEndpoints),
/// [`FindEndpoints`](crate::FindEndpoints),
/// [`GetOverview`](crate::GetOverview), [`GetSeries`](crate::GetSeries),
/// [`GetEndpointStatistics`](crate::GetEndpointStatistics),
/// [`WatchStatus`](crate::WatchStatus),
/// [`WatchDeliveries`](crate::WatchDeliveries), [`Redeliver`](crate::Redeliver),
/// [`PlanRedelivery`](crate::PlanRedelivery),
/// [`StartRedelivery`](crate::StartRedelivery), [`StopRedelivery`](crate::StopRedelivery),
/// [`ListRedeliveries`](crate::ListRedeliveries), [`ListDeliveries`](crate::ListDeliveries),
/// [`CountDeliveries`](crate::CountDeliveries), [`GetDelivery`](crate::GetDelivery),
/// [`GetEvent`](crate::GetEvent), [`ListAttempts`](crate::ListAttempts),
/// [`ListEndpointAttempts`](crate::ListEndpointAttempts),
/// [`ListDeadLetters`](crate::ListDeadLetters), [`DiscardDeadLetters`](crate::DiscardDeadLetters),
/// [`GetOutbox`](crate::GetOutbox), [`ListRefused`](crate::ListRefused),
/// [`EndDeliveries`](crate::EndDeliveries),
/// [`AttemptNow`](crate::AttemptNow), [`SendTest`](crate::SendTest),
/// [`ListActions`](crate::ListActions) and [`AskWhy`](crate::AskWhy), and those that change
/// something also inside [`By`](crate::By).
pub struct SupervisorActor {
    pub(super) shared: Arc<EngineContext>,
    /// The arbiters on which subscribers run. If empty, they run on the supervisor's own.
    arbiters: Vec<ArbiterHandle>,
    router: Option<Addr<RouterActor>>,
    default_policy: Arc<EndpointPolicy>,
    /// The policy used last. Many endpoints have the same policy, and share it.
    recent_policy: RefCell<Arc<EndpointPolicy>>,
    endpoints: Endpoints,
    /// The shards of the endpoints that this engine delivers to.
    held: Shards,
    at_rest: AtRest,
    started: u64,
    /// When the engine started.
    started_at: Timestamp,
    /// The number of endpoint changes requested.
    changes: u64,
    draining: bool,
    pruning: bool,
    /// The redeliveries by filter under way.
    redelivering: Redelivering,
    wall_watch: WallWatch,
}

/// The supervisor's knowledge of one endpoint.
#[derive(Debug, Default)]
struct EndpointEntry {
    endpoint: Option<Arc<Endpoint>>,
    /// `true` if its stored settings cannot be read. It is disabled until they are put again.
    unreadable: bool,
    /// The number of panics of its subscribers: in total, and since the last steady time.
    restarts: u32,
    restarts_in_a_row: u32,
    /// The number of lost reports of deliveries given up without an attempt.
    reports_lost: u64,
    /// The number of the change applied last. The store's answers may be handled in another order.
    settings: u64,
    subscriber: Subscriber,
    counted: Counted,
}

/// The subscriber of an endpoint.
///
/// A running subscriber decides whether attempts may start. Otherwise this is part of the state
/// that the last one left behind.
#[derive(Debug)]
enum Subscriber {
    /// There were no deliveries since the engine started.
    NotStarted(Run),
    /// It had nothing left to do and retired. The next one continues its counts.
    Retired {
        past: Box<RetiredState>,
        order: RestOrder,
    },
    Running {
        address: Addr<SubscriberActor>,
        incarnation: u64,
        since: Timestamp,
    },
    /// It is retiring: the router forgets its address, then it ends unless deliveries have arrived.
    Leaving {
        address: Addr<SubscriberActor>,
        incarnation: u64,
        since: Timestamp,
        /// Deliveries that were stored since and that it was not told of; `None` without any news.
        missed: Option<Missed>,
    },
    /// It panicked and is started again after a wait. The next one continues from the state left
    /// behind.
    Restarting(Box<RetiredState>),
    /// The endpoint is being removed, and no subscriber is started for it meanwhile.
    Removing {
        past: Box<RetiredState>,
        /// The last subscriber, which may still be recording.
        ending: Option<Addr<SubscriberActor>>,
        /// `true` if deliveries have arrived, or a rule has named the endpoint, since.
        woken: bool,
        /// Requests that wait for the end of the removal.
        waiting: Vec<Answerer<()>>,
    },
}

impl Default for Subscriber {
    fn default() -> Self {
        Self::NotStarted(Run::default())
    }
}

impl Subscriber {
    /// Returns the state that the last subscriber left behind, if none runs.
    fn past(&self) -> Option<RetiredState> {
        match self {
            Self::NotStarted(run) => Some(RetiredState {
                run: run.clone(),
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
        paused: Vec<(WebhookUrl, Stopped)>,
        disabled: Vec<(WebhookUrl, DisabledReason, Stopped)>,
    ) -> Self {
        let default_policy = Arc::new(default_policy);
        let mut supervisor = Self {
            at_rest: AtRest::new(shared.endpoints_at_rest),
            started_at: shared.clock.now(),
            shared,
            arbiters,
            router: None,
            recent_policy: RefCell::new(Arc::clone(&default_policy)),
            default_policy,
            endpoints: Endpoints::default(),
            held: Shards::NONE,
            started: 0,
            changes: 0,
            draining: false,
            pruning: false,
            redelivering: Redelivering::default(),
            wall_watch: WallWatch::default(),
        };
        for endpoint in endpoints {
            let entry = supervisor.endpoints.know(endpoint.url.clone());
            entry.endpoint = Some(Arc::new(endpoint));
        }
        let paused = paused.into_iter();
        let paused = paused.map(|(url, stopped)| (url, RunChange::Pause(Arc::new(stopped))));
        let disabled = disabled.into_iter().map(|(url, reason, stopped)| {
            let stopped = Arc::new(stopped);
            (url, RunChange::Disable(Disabling { reason, stopped }))
        });
        for (url, change) in paused.chain(disabled) {
            let entry = supervisor.endpoints.know(url);
            if let Subscriber::NotStarted(run) = &mut entry.subscriber {
                run.apply(change);
            }
        }
        for UnreadableSetting { setting, .. } in supervisor.shared.set_aside.list() {
            if let Setting::Endpoint { url } = setting {
                supervisor.endpoints.know(url).unreadable = true;
            }
        }
        let urls: Vec<WebhookUrl> = supervisor.endpoints.keys().cloned().collect();
        for url in &urls {
            supervisor.recount(url);
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
        // An endpoint being removed counts as unknown.
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
    /// Makes the store forget old deliveries, unless the last such call is still under way.
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
                        "old deliveries could not be forgotten; retrying in a minute: {}",
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
                // The other settings were checked when they were put.
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
            let entry = self.endpoints.know(url.clone());
            if let Subscriber::Removing { woken, .. } = &mut entry.subscriber {
                // The endpoint is kept when its removal has ended.
                *woken = true;
            }
            self.recount(url);
        }
    }
}

/// Names the router, which sends events to the subscribers: engine → supervisor, once.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Introduce(pub(crate) Addr<RouterActor>);

impl Handler<Introduce> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Introduce(router): Introduce, _: &mut Context<Self>) {
        self.router = Some(router);
    }
}

/// The interval at which the store is asked to forget old deliveries.
const PRUNE_EVERY: Duration = Duration::from_mins(1);
