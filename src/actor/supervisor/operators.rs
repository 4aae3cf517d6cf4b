//! Operators' requests: settings, pauses, status, lists and redelivery.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{
    ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message, ResponseActFuture,
    ResponseFuture,
};
use futures_util::FutureExt as _;
use futures_util::future::{Either, join_all};

use super::{EndpointEntry, Subscriber, SupervisorActor};
use crate::actor::acting::Act;
use crate::actor::message::{
    AskSubscriber, ChangeRun, Configure, Describe, DisableEndpoint, DiscardDeadLetters,
    EndpointError, GetStatus, ListStatus, ListUnreadable, PauseEndpoint, PutEndpoint, Redeliver,
    Redeliveries, ResumeEndpoint, StatusFilter, StatusPage, StreamDeliveries, StreamStatuses,
    WatchDeliveries, WatchStatus,
};
use crate::actor::subscriber::SubscriberActor;
use crate::actor::watchers::Watcher;
use crate::domain::endpoint::status::{EndpointState, EndpointStatus, Stopped};
use crate::domain::machine::run::{Disabling, RunChange};
use crate::domain::policy::health::DisabledReason;
use crate::domain::value::operator::{Note, Operator};
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::OnWall as _;
use crate::store::{Change, Redelivery, Setting, StoreError, UnreadableSetting, page_limit};

impl SupervisorActor {
    /// Pauses, disables or resumes an endpoint, now and after a restart.
    fn change_run(
        &mut self,
        url: &str,
        change: RunChange,
        ctx: &mut Context<Self>,
    ) -> ResponseFuture<Result<(), EndpointError>> {
        let url = match self.entry(url) {
            Ok((url, entry)) if entry.unreadable && change == RunChange::Resume => {
                let refused = EndpointError::Unreadable(url.without_query().to_owned());
                return Box::pin(ready(Err(refused)));
            }
            Ok((url, _)) => url,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        let written = self.handle(AskSubscriber::new(url, ChangeRun(change)), ctx);
        Box::pin(written.map(|written| written?.map_err(EndpointError::Store)))
    }

    /// Returns that something is stopped now.
    fn stopped(&self, by: Option<Operator>, note: Option<Note>) -> Arc<Stopped> {
        let stopped = Stopped::at(self.shared.clock.now());
        Arc::new(stopped.by(by).note(note))
    }

    /// Returns a future of an endpoint's status.
    ///
    /// Only a running subscriber is asked. If the endpoint has had none since the engine started,
    /// the store supplies what was agreed with the receiver before, if it may be asked.
    pub(super) fn describe(
        &self,
        url: &WebhookUrl,
        entry: &EndpointEntry,
        known: Known,
        this: Addr<Self>,
    ) -> impl Future<Output = EndpointStatus> + use<> {
        let mut past = entry.subscriber.past().unwrap_or_default();
        past.run = past.run.or_withheld(entry.unreadable);
        let shut = past.run.state();
        let past = past.status(url.clone());
        let mut status = EndpointStatus {
            restarts: entry.restarts,
            store_error: self.shared.store.condition(),
            ..past
        };
        let (now, offset) = (self.shared.clock.now(), self.shared.clock.offset());
        let is_new = matches!(entry.subscriber, Subscriber::NotStarted(_));
        let stored = (is_new && known == Known::FromStore)
            .then(|| self.shared.call(|store| store.endpoint_summary(url)));
        let lost = entry.reports_lost;
        status.reports_lost += lost;
        let leaving = matches!(entry.subscriber, Subscriber::Leaving { .. }) && !self.draining;
        let subscriber = self.running(url);
        async move {
            if let Some(stored) = stored
                && let Ok(Ok(known)) = tokio::time::timeout(KNOWN_WITHIN, stored).await
            {
                known.show(&mut status, now);
            }
            status = status.on_wall(offset);
            if let Some(shut) = shut {
                status.state = shut;
            }
            let Some(subscriber) = subscriber else {
                return status;
            };
            match subscriber.send(Describe).await {
                Ok(described) => EndpointStatus {
                    reports_lost: described.reports_lost + lost,
                    ..described
                },
                // It has just retired. The next request finds the state that it leaves behind.
                Err(_) if leaving => {
                    let url = status.url.to_string();
                    let again = this.send(GetStatus { url }).await;
                    again.ok().flatten().unwrap_or(status)
                }
                Err(_) => status,
            }
        }
    }
}

/// Where a status may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    InMemory,
    /// From the store too.
    FromStore,
}

/// The time that a status waits for the store's summary.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

fn passes(filter: StatusFilter, status: &EndpointStatus) -> bool {
    match filter {
        StatusFilter::All => true,
        StatusFilter::Failing => status.consecutive_failures > 0,
        StatusFilter::Busy => status.queued > 0 || status.in_flight > 0,
        StatusFilter::Paused => status.state == EndpointState::Paused,
        StatusFilter::Disabled => matches!(status.state, EndpointState::Disabled { .. }),
    }
}

impl Act<PutEndpoint> for SupervisorActor {
    type Response = ResponseActFuture<Self, Result<(), EndpointError>>;

    fn act(
        &mut self,
        PutEndpoint(endpoint): PutEndpoint,
        ctx: &mut Context<Self>,
    ) -> Self::Response {
        let checked = endpoint.check(&self.shared.client_id_header);
        if let Err(error) = checked.and_then(|()| self.shared.transport.check(&endpoint)) {
            return Box::pin(wrap_future(ready(Err(error.into()))));
        }
        let change = Change::PutEndpoint(endpoint.clone());
        let number = self.number_change();
        let kept = match self.removal_ended(&endpoint.url, ctx) {
            None => Either::Left(self.shared.call(|store| store.apply(change))),
            Some(ended) => {
                let shared = Arc::clone(&self.shared);
                Either::Right(ended.then(move |_| shared.call(|store| store.apply(change))))
            }
        };
        let apply = wrap_future::<_, Self>(kept).then(move |kept, supervisor, _| {
            let url = endpoint.url.clone();
            let mut configure = None;
            if kept.is_ok() {
                let setting = Setting::Endpoint { url: url.clone() };
                supervisor.shared.set_aside.forget(&setting);
                let entry = supervisor.endpoints.know(url.clone());
                // The answer to a later change may have been handled first.
                if number > entry.settings {
                    entry.settings = number;
                    entry.unreadable = false;
                    entry.endpoint = Some(Arc::new(endpoint));
                    let settings = supervisor.endpoints.get(&url);
                    let settings = settings.map(|entry| supervisor.settings(entry));
                    configure = supervisor.running(&url).zip(settings);
                }
                supervisor.recount(&url);
            }
            wrap_future(async move {
                if let Some((subscriber, (endpoint, policy))) = configure {
                    // A subscriber that has just ended is started again with these settings.
                    let _ = subscriber.send(Configure { endpoint, policy }).await;
                }
                kept.map_err(EndpointError::Store)
            })
        });
        Box::pin(apply)
    }
}

impl<M> Handler<AskSubscriber<M>> for SupervisorActor
where
    M: Message<Result: Send> + Clone + Send + 'static,
    SubscriberActor: Handler<M>,
{
    type Result = ResponseFuture<Result<M::Result, EndpointError>>;

    fn handle(&mut self, asked: AskSubscriber<M>, ctx: &mut Context<Self>) -> Self::Result {
        let url = asked.url.clone();
        let entry = match self.entry(url.as_str()) {
            Ok((_, entry)) => entry,
            // It was removed meanwhile.
            Err(error) => return Box::pin(ready(Err(error))),
        };
        let this = ctx.address();
        let again = async move |asked| {
            let answer = this.send(asked).await;
            answer.unwrap_or_else(|_| Err(subscriber_ended()))
        };
        if matches!(entry.subscriber, Subscriber::Restarting(_)) && !asked.forgotten {
            // It is started before its time, but not before the router has forgotten the last one.
            let forgotten = self.forget_address(&url);
            let asked = AskSubscriber {
                forgotten: true,
                ..asked
            };
            return Box::pin(async move {
                forgotten.await;
                again(asked).await
            });
        }
        let running = self.running(&url);
        let subscriber = running.or_else(|| self.start_subscriber(&url, ctx));
        Box::pin(async move {
            let subscriber = subscriber.ok_or_else(subscriber_ended)?;
            match subscriber.send(asked.message.clone()).await {
                Ok(answer) => Ok(answer),
                // It has just retired, or panicked.
                Err(_) if asked.tries > 1 => {
                    let tries = asked.tries - 1;
                    let forgotten = false;
                    again(AskSubscriber {
                        tries,
                        forgotten,
                        ..asked
                    })
                    .await
                }
                Err(_) => Err(subscriber_ended()),
            }
        })
    }
}

fn subscriber_ended() -> EndpointError {
    let why = "the endpoint's subscriber or the engine has just stopped";
    EndpointError::Store(StoreError::unavailable(why))
}

impl Act<PauseEndpoint> for SupervisorActor {
    type Response = ResponseFuture<Result<(), EndpointError>>;

    fn act(
        &mut self,
        PauseEndpoint { url, by, note }: PauseEndpoint,
        ctx: &mut Context<Self>,
    ) -> Self::Response {
        let stopped = self.stopped(by, note);
        self.change_run(&url, RunChange::Pause(stopped), ctx)
    }
}

impl Act<DisableEndpoint> for SupervisorActor {
    type Response = ResponseFuture<Result<(), EndpointError>>;

    fn act(
        &mut self,
        DisableEndpoint { url, by, note }: DisableEndpoint,
        ctx: &mut Context<Self>,
    ) -> Self::Response {
        let reason = DisabledReason::Application;
        let stopped = self.stopped(by, note);
        self.change_run(&url, RunChange::Disable(Disabling { reason, stopped }), ctx)
    }
}

impl Act<ResumeEndpoint> for SupervisorActor {
    type Response = ResponseFuture<Result<(), EndpointError>>;

    fn act(
        &mut self,
        ResumeEndpoint { url, .. }: ResumeEndpoint,
        ctx: &mut Context<Self>,
    ) -> Self::Response {
        self.change_run(&url, RunChange::Resume, ctx)
    }
}

impl Handler<GetStatus> for SupervisorActor {
    type Result = ResponseFuture<Option<EndpointStatus>>;

    fn handle(&mut self, GetStatus { url }: GetStatus, ctx: &mut Context<Self>) -> Self::Result {
        let described = self
            .entry(&url)
            .ok()
            .map(|(url, entry)| self.describe(&url, entry, Known::FromStore, ctx.address()));
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
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut entries = self.endpoints.range((from, std::ops::Bound::Unbounded));
        let page: Vec<_> = entries.by_ref().take(page_limit(limit)).collect();
        let last = page.last().map(|(url, _)| (*url).clone());
        let next = last.filter(|_| entries.next().is_some());
        let described: Vec<_> = page
            .into_iter()
            .map(|(url, entry)| self.describe(url, entry, Known::FromStore, ctx.address()))
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

    fn handle(&mut self, WatchStatus(recipient, of): WatchStatus, _: &mut Context<Self>) {
        let watcher = Watcher::Actor(recipient);
        self.shared.watchers.statuses.add(watcher, of);
    }
}

impl Handler<StreamStatuses> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, StreamStatuses { updates, of }: StreamStatuses, _: &mut Context<Self>) {
        let watcher = Watcher::Channel(updates);
        self.shared.watchers.statuses.add(watcher, of);
    }
}

impl Handler<StreamDeliveries> for SupervisorActor {
    type Result = ();

    fn handle(
        &mut self,
        StreamDeliveries {
            updates,
            of,
            left_out,
        }: StreamDeliveries,
        _: &mut Context<Self>,
    ) {
        let watcher = match left_out {
            None => Watcher::Channel(updates),
            Some(left_out) => Watcher::Sample(updates, left_out),
        };
        self.shared.watchers.reports.add(watcher, of);
    }
}

impl Handler<WatchDeliveries> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, WatchDeliveries(recipient, of): WatchDeliveries, _: &mut Context<Self>) {
        let watcher = Watcher::Actor(recipient);
        self.shared.watchers.reports.add(watcher, of);
    }
}

impl Act<Redeliver> for SupervisorActor {
    type Response = ResponseActFuture<Self, Result<Redeliveries, StoreError>>;

    fn act(&mut self, Redeliver(which): Redeliver, _: &mut Context<Self>) -> Self::Response {
        let now = self.shared.clock.now();
        let which = which.in_engine_time(self.shared.clock.offset());
        let query = match &which {
            Redelivery::One(_) | Redelivery::Ended(_) => None,
            Redelivery::DeadLetters(query) => Some(query.clone()),
        };
        let redeliver =
            wrap_future::<_, Self>(self.shared.call(|store| store.redeliver(which, now)));
        let tell = redeliver.then(|result, supervisor, ctx: &mut Context<Self>| {
            let told = result
                .as_ref()
                .map(|fresh| supervisor.tell_redelivered(fresh, ctx))
                .unwrap_or_default();
            let shared = Arc::clone(&supervisor.shared);
            wrap_future(async move {
                // A subscriber that has just ended reads everything when it is started again.
                join_all(told).await;
                let fresh = result?.into_iter().map(|(id, _)| id).collect();
                let remaining = match query {
                    None => 0,
                    Some(query) => {
                        let count = shared.call(|store| store.count_dead_letters(query));
                        count.await?
                    }
                };
                Ok(Redeliveries::new(fresh, remaining))
            })
        });
        Box::pin(tell)
    }
}

impl Handler<ListUnreadable> for SupervisorActor {
    type Result = Vec<UnreadableSetting>;

    fn handle(&mut self, _: ListUnreadable, _: &mut Context<Self>) -> Vec<UnreadableSetting> {
        self.shared.set_aside.list()
    }
}

impl Act<DiscardDeadLetters> for SupervisorActor {
    type Response = ResponseFuture<Result<u64, StoreError>>;

    fn act(
        &mut self,
        DiscardDeadLetters(query): DiscardDeadLetters,
        _: &mut Context<Self>,
    ) -> Self::Response {
        let query = query.in_engine_time(self.shared.clock.offset());
        Box::pin(self.shared.call(|store| store.discard(query)))
    }
}
