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
use super::message::{
    CheckEndpoints, Disabled, EndpointError, KnowEndpoints, RuleError, RunChange,
};
use super::reply::Answerer;
use super::router::RouterActor;
use super::shared::EngineContext;
use super::subscriber::SubscriberActor;
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::policy::EndpointPolicy;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::endpoint::status::EndpointState;
use crate::domain::machine::tally::RetiredState;
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
    paused: bool,
    disabled: Option<DisabledReason>,
    /// Whether its settings are kept and cannot be read: it is disabled until they are put again.
    unreadable: bool,
    /// How often it was resumed.
    resumed: u64,
    /// How often its subscribers have panicked, and how often of that without a steady time in between.
    restarts: u32,
    restarts_in_a_row: u32,
    /// How many reports were lost of deliveries that were given up without an attempt.
    reports_lost: u64,
    numbers: ChangeNumbers,
    subscriber: Subscriber,
}

/// Which changes were applied last. The store makes them in the order in which they were asked for; its answers may be taken up in another.
#[derive(Clone, Copy, Debug, Default)]
struct ChangeNumbers {
    settings: u64,
    paused: u64,
    disabled: u64,
    resumed: u64,
}

#[derive(Debug, Default)]
enum Subscriber {
    /// It has had no deliveries since the engine started.
    #[default]
    NotStarted,
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
        /// How many deliveries were stored since that it was not told of; `None` without any news.
        unread: Option<u64>,
    },
    /// It panicked and is started again after a while; the next one goes on from what it has left behind.
    Restarting(Box<RetiredState>),
    /// The endpoint is being removed: nobody delivers to it meanwhile.
    Removing {
        /// Who delivered to it, and may still be recording.
        ending: Option<Addr<SubscriberActor>>,
        /// Whether something has arrived since.
        woken: bool,
        /// Who waits for its end.
        waiting: Vec<Answerer<()>>,
    },
}

impl Subscriber {
    /// Returns what the last one left behind, if none runs.
    fn past(&self) -> Option<&RetiredState> {
        match self {
            Self::Retired { past, .. } | Self::Restarting(past) => Some(past),
            Self::NotStarted
            | Self::Running { .. }
            | Self::Leaving { .. }
            | Self::Removing { .. } => None,
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
        for url in paused {
            supervisor.endpoints.entry(url).or_default().paused = true;
        }
        for (url, reason) in disabled {
            supervisor.endpoints.entry(url).or_default().disabled = Some(reason);
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

impl EndpointEntry {
    /// Applies a change as far as none that was asked for later has been applied, and returns what the subscriber has to hear.
    fn apply(&mut self, change: RunChange, number: u64) -> Vec<RunChange> {
        match change {
            RunChange::Pause if number > self.numbers.resumed => {
                self.paused = true;
                self.numbers.paused = self.numbers.paused.max(number);
            }
            RunChange::Disable(reason) if number > self.numbers.resumed => {
                self.disabled = Some(reason);
                self.numbers.disabled = self.numbers.disabled.max(number);
            }
            RunChange::Pause | RunChange::Disable(_) => return Vec::new(),
            RunChange::Resume(resumed) => {
                self.paused &= self.numbers.paused > number;
                self.disabled = self.disabled.filter(|_| self.numbers.disabled > number);
                self.numbers.resumed = self.numbers.resumed.max(number);
                self.resumed = resumed;
                if let Subscriber::Retired { past, .. } | Subscriber::Restarting(past) =
                    &mut self.subscriber
                {
                    past.lift();
                }
                return [change].into_iter().chain(self.run_changes()).collect();
            }
        }
        vec![change]
    }

    /// Returns why it is disabled, if it is.
    fn disabled_for(&self) -> Option<DisabledReason> {
        let unreadable = self.unreadable.then_some(DisabledReason::Unreadable);
        unreadable.or(self.disabled)
    }

    /// Takes settings in, and returns what a subscriber that ran without any has to hear.
    fn set(&mut self, endpoint: Endpoint) -> Vec<RunChange> {
        self.endpoint = Some(Arc::new(endpoint));
        if !std::mem::take(&mut self.unreadable) {
            return Vec::new();
        }
        self.resumed += 1;
        let opened = RunChange::Resume(self.resumed);
        [opened].into_iter().chain(self.run_changes()).collect()
    }

    /// Returns what a subscriber has to hear of an endpoint that may not run.
    fn run_changes(&self) -> Vec<RunChange> {
        let paused = self.paused.then_some(RunChange::Pause);
        let disabled = self.disabled_for().map(RunChange::Disable);
        paused.into_iter().chain(disabled).collect()
    }

    /// Returns what pausing and disabling make of the state of an endpoint that nobody runs for.
    fn gated(&self) -> Option<EndpointState> {
        let disabled = self.disabled_for().map(|reason| EndpointState::Disabled {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// In whatever order the answers of the store are taken up, what was asked for last holds, as it does in the store.
    #[test]
    fn gates_end_as_they_were_asked_for() {
        let asked = [
            RunChange::Pause,
            RunChange::Disable(DisabledReason::Application),
            RunChange::Resume(1),
        ];
        for first in asked {
            for second in asked {
                let mut expected = EndpointEntry::default();
                expected.apply(first, 1);
                expected.apply(second, 2);
                let (mut entry, mut told) = (EndpointEntry::default(), EndpointEntry::default());
                for (change, number) in [(second, 2), (first, 1)] {
                    for change in entry.apply(change, number) {
                        match change {
                            RunChange::Pause => told.paused = true,
                            RunChange::Disable(reason) => told.disabled = Some(reason),
                            RunChange::Resume(_) => (told.paused, told.disabled) = (false, None),
                        }
                    }
                }
                for entry in [entry, told] {
                    assert_eq!(entry.gated(), expected.gated(), "{first:?}, {second:?}");
                    assert_eq!(entry.paused, expected.paused, "{first:?}, {second:?}");
                }
            }
        }
    }
}
