//! The actor that knows every endpoint: it starts a subscriber for each that has deliveries, watches it, starts it again after a panic, and
//! answers operators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::prelude::Request;
use actix::{
    Actor, ActorFutureExt as _, Addr, ArbiterHandle, AsyncContext, Context, Handler, Recipient,
    ResponseActFuture, ResponseFuture,
};
use futures_util::future::join_all;

use super::handle::{Gone, SubscriberHandle};
use super::message::{
    Abort, Configure, Describe, Drain, DrainAll, Drained, EndpointError, Gate, GetStatus,
    KnowEndpoints, ListDeadLetters, ListDeliveries, ListStatus, PauseEndpoint, PutEndpoint,
    Redeliver, Redelivered, RemoveEndpoint, ResumeEndpoint, StatusFilter, StatusPage,
    SubscriberStarted, SubscriberStopped, Wake, WatchDeliveries, WatchStatus,
};
use super::shared::Shared;
use super::subscriber::{Start, SubscriberActor};
use crate::domain::dead_letter::DeadLetter;
use crate::domain::delivery::Delivery;
use crate::domain::endpoint::{Endpoint, EndpointPolicy};
use crate::domain::id::DeliveryId;
use crate::domain::status::{EndpointState, EndpointStatus};
use crate::domain::time::Timestamp;
use crate::domain::url::WebhookUrl;
use crate::store::{Change, StoreError, page_limit};

/// Knows every endpoint and supervises their subscribers: the actor that operators talk to.
///
/// It answers [`PutEndpoint`], [`RemoveEndpoint`], [`PauseEndpoint`], [`ResumeEndpoint`], [`GetStatus`], [`ListStatus`], [`WatchStatus`],
/// [`WatchDeliveries`], [`Redeliver`], [`ListDeliveries`] and [`ListDeadLetters`].
pub struct SupervisorActor {
    shared: Arc<Shared>,
    /// Where subscribers run; none means on the supervisor's own arbiter.
    arbiters: Vec<ArbiterHandle>,
    router: Option<Recipient<SubscriberStarted>>,
    default_policy: Arc<EndpointPolicy>,
    endpoints: BTreeMap<WebhookUrl, Entry>,
    started: u64,
    draining: bool,
}

/// What the supervisor knows of one endpoint.
#[derive(Debug, Default)]
struct Entry {
    endpoint: Option<Arc<Endpoint>>,
    paused: bool,
    restarts: u32,
    subscriber: Subscriber,
}

#[derive(Debug, Default)]
enum Subscriber {
    /// It has had no deliveries since the engine started.
    #[default]
    NotStarted,
    Running {
        handle: SubscriberHandle,
        incarnation: u64,
        since: Timestamp,
    },
    /// It panicked and is started again after a while.
    Restarting,
}

impl SupervisorActor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        arbiters: Vec<ArbiterHandle>,
        default_policy: EndpointPolicy,
        endpoints: Vec<Endpoint>,
        paused: Vec<WebhookUrl>,
    ) -> Self {
        let mut supervisor = Self {
            shared,
            arbiters,
            router: None,
            default_policy: Arc::new(default_policy),
            endpoints: BTreeMap::new(),
            started: 0,
            draining: false,
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
        supervisor
    }

    fn entry(&self, url: &str) -> Result<(WebhookUrl, &Entry), EndpointError> {
        let unknown = || EndpointError::Unknown(url.to_owned());
        let url = WebhookUrl::parse(url).map_err(|_| unknown())?;
        self.endpoints
            .get_key_value(&url)
            .map(|(url, entry)| (url.clone(), entry))
            .ok_or_else(unknown)
    }

    /// Returns the settings and the policy of an endpoint.
    fn settings(&self, entry: &Entry) -> (Option<Arc<Endpoint>>, Arc<EndpointPolicy>) {
        let policy = entry
            .endpoint
            .as_ref()
            .map(|endpoint| Arc::new(endpoint.policy.clone()));
        (
            entry.endpoint.clone(),
            policy.unwrap_or_else(|| Arc::clone(&self.default_policy)),
        )
    }

    /// Tells the subscriber of an endpoint that the store holds more for it, and starts it if it does not run.
    fn wake(&mut self, url: &WebhookUrl, count: u64, ctx: &mut Context<Self>) {
        let entry = self.endpoints.entry(url.clone()).or_default();
        match &entry.subscriber {
            Subscriber::NotStarted => self.start_subscriber(url, ctx),
            Subscriber::Running { handle, .. } => {
                if let Err(Gone) = handle.nudge(count) {
                    // Its guard has told so, or will; a new one reads everything from the store.
                    log::debug!(endpoint = url.without_query(); "subscriber has just ended");
                }
            }
            Subscriber::Restarting => {}
        }
    }

    fn start_subscriber(&mut self, url: &WebhookUrl, ctx: &mut Context<Self>) {
        let Some(entry) = self.endpoints.get(url).filter(|_| !self.draining) else {
            return;
        };
        self.started += 1;
        let (endpoint, policy) = self.settings(entry);
        let missed = Arc::new(AtomicU64::new(0));
        let start = Start {
            url: url.clone(),
            shared: Arc::clone(&self.shared),
            endpoint,
            policy,
            missed: Arc::clone(&missed),
            supervisor: ctx.address(),
            incarnation: self.started,
            gate: if entry.paused {
                Gate::Pause
            } else {
                Gate::Resume
            },
        };
        let capacity = self.shared.mailbox;
        let place = usize::try_from(self.started)
            .unwrap_or(0)
            .checked_rem(self.arbiters.len());
        let addr: Addr<SubscriberActor> = match place.and_then(|place| self.arbiters.get(place)) {
            Some(arbiter) => SubscriberActor::start_in_arbiter(arbiter, move |ctx| {
                ctx.set_mailbox_capacity(capacity);
                SubscriberActor::new(start)
            }),
            None => SubscriberActor::create(move |ctx| {
                ctx.set_mailbox_capacity(capacity);
                SubscriberActor::new(start)
            }),
        };
        let handle = SubscriberHandle { addr, missed };
        self.tell_router(url, &handle);
        let since = self.shared.clock.now();
        if let Some(entry) = self.endpoints.get_mut(url) {
            entry.subscriber = Subscriber::Running {
                handle,
                incarnation: self.started,
                since,
            };
        }
    }

    fn tell_router(&self, url: &WebhookUrl, handle: &SubscriberHandle) {
        if let Some(router) = &self.router {
            let started = SubscriberStarted {
                url: url.clone(),
                handle: handle.clone(),
            };
            #[expect(clippy::disallowed_methods, reason = "once per start of a subscriber")]
            router.do_send(started);
        }
    }

    /// Tells subscribers of deliveries that were started again by hand, and starts those that do not run.
    fn tell_redelivered(
        &mut self,
        fresh: &[(DeliveryId, WebhookUrl)],
        ctx: &mut Context<Self>,
    ) -> Vec<Request<SubscriberActor, Redelivered>> {
        let mut by_url = BTreeMap::<&WebhookUrl, Vec<DeliveryId>>::new();
        for (id, url) in fresh {
            by_url.entry(url).or_default().push(*id);
        }
        let mut told = Vec::new();
        for (url, ids) in by_url {
            match self.running(url) {
                Some(subscriber) => told.push(subscriber.send(Redelivered(ids))),
                None => self.wake(url, 0, ctx),
            }
        }
        told
    }

    fn running(&self, url: &WebhookUrl) -> Option<Addr<SubscriberActor>> {
        match &self.endpoints.get(url)?.subscriber {
            Subscriber::Running { handle, .. } => Some(handle.addr.clone()),
            Subscriber::NotStarted | Subscriber::Restarting => None,
        }
    }

    /// Has an endpoint's gate opened or shut, now and after a restart.
    fn set_gate(
        &self,
        url: &str,
        gate: Gate,
    ) -> ResponseActFuture<Self, Result<(), EndpointError>> {
        let url = match self.entry(url) {
            Ok((url, _)) => url,
            Err(error) => return Box::pin(wrap_future(std::future::ready(Err(error)))),
        };
        let change = match gate {
            Gate::Pause => Change::Pause(url.clone()),
            Gate::Resume => Change::Resume(url.clone()),
        };
        let keep = wrap_future::<_, Self>(self.shared.store.keep(change));
        let apply = keep.then(move |kept, supervisor, _| {
            let subscriber = supervisor.running(&url).filter(|_| kept.is_ok());
            if let (Ok(()), Some(entry)) = (&kept, supervisor.endpoints.get_mut(&url)) {
                entry.paused = matches!(gate, Gate::Pause);
            }
            wrap_future(async move {
                if let Some(subscriber) = subscriber {
                    // One that has just ended is started again with the gate as it is now.
                    let _ = subscriber.send(gate).await;
                }
                kept.map_err(EndpointError::Store)
            })
        });
        Box::pin(apply)
    }

    /// Returns a question to one endpoint's subscriber; one that does not run needs no asking.
    fn describe(
        &self,
        url: &WebhookUrl,
        entry: &Entry,
    ) -> impl Future<Output = EndpointStatus> + use<> {
        let mut status = EndpointStatus {
            restarts: entry.restarts,
            ..EndpointStatus::untouched(url.clone())
        };
        if entry.paused {
            status.state = EndpointState::Paused;
        }
        let subscriber = self.running(url);
        async move {
            let Some(subscriber) = subscriber else {
                return status;
            };
            match subscriber.send(Describe).await {
                Ok(described) => EndpointStatus {
                    restarts: status.restarts,
                    ..described
                },
                Err(_) => status,
            }
        }
    }
}

/// Returns after how long a subscriber that has panicked so many times is started again.
fn restart_wait(restarts: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(30);
    FIRST
        .saturating_mul(2_u32.saturating_pow(restarts.saturating_sub(1)))
        .min(LONGEST)
}

fn passes(filter: StatusFilter, status: &EndpointStatus) -> bool {
    match filter {
        StatusFilter::All => true,
        StatusFilter::Failing => status.consecutive_failures > 0,
        StatusFilter::Busy => status.queued > 0 || status.in_flight > 0,
        StatusFilter::Paused => status.state == EndpointState::Paused,
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
}

impl Handler<Wake> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Wake(urls): Wake, ctx: &mut Context<Self>) {
        for (url, count) in urls {
            self.wake(&url, count, ctx);
        }
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

/// Whom to tell of subscribers that start: engine → supervisor, once.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Introduce(pub(crate) Recipient<SubscriberStarted>);

impl Handler<Introduce> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Introduce(router): Introduce, _: &mut Context<Self>) {
        self.router = Some(router);
    }
}

/// Start a panicked subscriber again: supervisor → itself.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
struct Restart(WebhookUrl);

impl Handler<SubscriberStopped> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, stopped: SubscriberStopped, ctx: &mut Context<Self>) {
        let now = self.shared.clock.now();
        let Some(entry) = self.endpoints.get_mut(&stopped.url) else {
            return;
        };
        let Subscriber::Running {
            incarnation, since, ..
        } = &entry.subscriber
        else {
            return;
        };
        if *incarnation != stopped.incarnation || self.draining {
            return;
        }
        let steady = now.since(*since) > STEADY_AFTER;
        entry.restarts += 1;
        entry.subscriber = Subscriber::Restarting;
        let wait = restart_wait(if steady { 1 } else { entry.restarts });
        log::error!(endpoint = stopped.url.without_query(), restarts = entry.restarts; "subscriber panicked; it is started again");
        ctx.notify_later(Restart(stopped.url), wait);
    }
}

impl Handler<Restart> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Restart(url): Restart, ctx: &mut Context<Self>) {
        if matches!(
            self.endpoints.get(&url),
            Some(Entry {
                subscriber: Subscriber::Restarting,
                ..
            })
        ) {
            self.start_subscriber(&url, ctx);
        }
    }
}

impl Handler<PutEndpoint> for SupervisorActor {
    type Result = ResponseActFuture<Self, Result<(), EndpointError>>;

    fn handle(
        &mut self,
        PutEndpoint(endpoint): PutEndpoint,
        _: &mut Context<Self>,
    ) -> Self::Result {
        if let Err(error) = endpoint.check(&self.shared.client_id_header) {
            return Box::pin(wrap_future(std::future::ready(Err(error.into()))));
        }
        let keep = wrap_future::<_, Self>(
            self.shared
                .store
                .keep(Change::PutEndpoint(endpoint.clone())),
        );
        let apply = keep.then(move |kept, supervisor, _| {
            let url = endpoint.url.clone();
            let mut configure = None;
            if kept.is_ok() {
                supervisor
                    .endpoints
                    .entry(url.clone())
                    .or_default()
                    .endpoint = Some(Arc::new(endpoint));
                let settings = supervisor
                    .endpoints
                    .get(&url)
                    .map(|entry| supervisor.settings(entry));
                configure = supervisor.running(&url).zip(settings);
            }
            wrap_future(async move {
                if let Some((subscriber, (endpoint, policy))) = configure {
                    // One that has just ended is started again with these settings.
                    let _ = subscriber.send(Configure { endpoint, policy }).await;
                }
                kept.map_err(EndpointError::Store)
            })
        });
        Box::pin(apply)
    }
}

impl Handler<RemoveEndpoint> for SupervisorActor {
    type Result = ResponseActFuture<Self, Result<u64, EndpointError>>;

    fn handle(
        &mut self,
        RemoveEndpoint { url }: RemoveEndpoint,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let url = match self.entry(&url) {
            Ok((url, _)) => url,
            Err(error) => return Box::pin(wrap_future(std::future::ready(Err(error)))),
        };
        let subscriber = self.running(&url);
        // Forgotten first, so that nothing starts it again; events that arrive meanwhile start a new one.
        self.endpoints.remove(&url);
        let (store, now) = (Arc::clone(&self.shared.store), self.shared.clock.now());
        Box::pin(wrap_future(async move {
            if let Some(subscriber) = subscriber {
                let _ = subscriber.send(Abort).await;
            }
            store
                .keep(Change::RemoveEndpoint(url.clone()))
                .await
                .map_err(EndpointError::Store)?;
            store
                .remove_endpoint(&url, now)
                .await
                .map_err(EndpointError::Store)
        }))
    }
}

impl Handler<PauseEndpoint> for SupervisorActor {
    type Result = ResponseActFuture<Self, Result<(), EndpointError>>;

    fn handle(
        &mut self,
        PauseEndpoint { url }: PauseEndpoint,
        _: &mut Context<Self>,
    ) -> Self::Result {
        self.set_gate(&url, Gate::Pause)
    }
}

impl Handler<ResumeEndpoint> for SupervisorActor {
    type Result = ResponseActFuture<Self, Result<(), EndpointError>>;

    fn handle(
        &mut self,
        ResumeEndpoint { url }: ResumeEndpoint,
        _: &mut Context<Self>,
    ) -> Self::Result {
        self.set_gate(&url, Gate::Resume)
    }
}

impl Handler<GetStatus> for SupervisorActor {
    type Result = ResponseFuture<Option<EndpointStatus>>;

    fn handle(&mut self, GetStatus { url }: GetStatus, _: &mut Context<Self>) -> Self::Result {
        let described = self
            .entry(&url)
            .ok()
            .map(|(url, entry)| self.describe(&url, entry));
        Box::pin(async move { Some(described?.await) })
    }
}

impl Handler<ListStatus> for SupervisorActor {
    type Result = ResponseFuture<StatusPage>;

    fn handle(
        &mut self,
        ListStatus {
            filter,
            after,
            limit,
        }: ListStatus,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut entries = self.endpoints.range((from, std::ops::Bound::Unbounded));
        let page: Vec<_> = entries.by_ref().take(page_limit(limit)).collect();
        let last = page.last().map(|(url, _)| (*url).clone());
        let next = last.filter(|_| entries.next().is_some());
        let described: Vec<_> = page
            .into_iter()
            .map(|(url, entry)| self.describe(url, entry))
            .collect();
        Box::pin(async move {
            let mut statuses = join_all(described).await;
            statuses.retain(|status| passes(filter, status));
            StatusPage { statuses, next }
        })
    }
}

impl Handler<WatchStatus> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, WatchStatus(recipient): WatchStatus, _: &mut Context<Self>) {
        self.shared.watchers.statuses.add(recipient);
    }
}

impl Handler<WatchDeliveries> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, WatchDeliveries(recipient): WatchDeliveries, _: &mut Context<Self>) {
        self.shared.watchers.reports.add(recipient);
    }
}

impl Handler<Redeliver> for SupervisorActor {
    type Result = ResponseActFuture<Self, Result<Vec<DeliveryId>, StoreError>>;

    fn handle(&mut self, Redeliver(which): Redeliver, _: &mut Context<Self>) -> Self::Result {
        let redeliver =
            wrap_future::<_, Self>(self.shared.store.redeliver(which, self.shared.clock.now()));
        let tell = redeliver.then(|result, supervisor, ctx: &mut Context<Self>| {
            let told = result
                .as_ref()
                .map(|fresh| supervisor.tell_redelivered(fresh, ctx))
                .unwrap_or_default();
            wrap_future(async move {
                // A subscriber that has just ended reads everything when it is started again.
                join_all(told).await;
                result.map(|fresh| fresh.into_iter().map(|(id, _)| id).collect())
            })
        });
        Box::pin(tell)
    }
}

impl Handler<ListDeliveries> for SupervisorActor {
    type Result = ResponseFuture<Result<Vec<Delivery>, StoreError>>;

    fn handle(
        &mut self,
        ListDeliveries(query): ListDeliveries,
        _: &mut Context<Self>,
    ) -> Self::Result {
        self.shared.store.deliveries(query)
    }
}

impl Handler<ListDeadLetters> for SupervisorActor {
    type Result = ResponseFuture<Result<Vec<DeadLetter>, StoreError>>;

    fn handle(
        &mut self,
        ListDeadLetters(query): ListDeadLetters,
        _: &mut Context<Self>,
    ) -> Self::Result {
        self.shared.store.dead_letters(query)
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

/// After how long without a panic a subscriber counts as steady again.
const STEADY_AFTER: Duration = Duration::from_mins(1);
