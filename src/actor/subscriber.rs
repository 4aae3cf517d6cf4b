//! The actor of one webhook URL: it performs what the endpoint's state machine decides.
//!
//! Message handlers only tell the machine what happened. All work is done in [`turn`](SubscriberActor::turn), which actix runs after the
//! mailbox has been drained and whenever an attempt, a store call or the timer wakes the actor. Attempts and store calls
//! are futures owned by the actor: when it ends, they end with it, so that a respawned one never meets an attempt of its predecessor.

use std::hash::{DefaultHasher, Hasher as _};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, MessageResult};
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Sleep;

use super::message::{
    Abort, Configure, Deliver, Describe, Drain, Drained, Gate, Leave, Nudge, PlaceGranted,
    Redelivered, Retire, SubscriberStopped,
};
use super::places::Holdings;
use super::reply::{Answerer, Deferred};
use super::shared::Shared;
use super::store_call::StoreCall;
use super::supervisor::SupervisorActor;
use crate::domain::alert::Alert;
use crate::domain::attempt::{AttemptRecord, Exchange, Failure};
use crate::domain::delivery::{OpenDelivery, WaitingDelivery};
use crate::domain::endpoint::{Endpoint, EndpointPolicy};
use crate::domain::endpoint_state::{Action, AttemptOrder, EndpointMachine};
use crate::domain::id::DeliveryId;
use crate::domain::status::{DeliveryReport, EndpointStatus};
use crate::domain::tally::Past;
use crate::domain::time::Timestamp;
use crate::domain::url::WebhookUrl;
use crate::store::{StoreError, StoredEndpoint};
use crate::transport::{Channel, Request, exchange};

/// Delivers to one webhook URL. Started and watched by the [`SupervisorActor`]; applications do not talk to it.
pub(crate) struct SubscriberActor {
    url: WebhookUrl,
    shared: Arc<Shared>,
    endpoint: Option<Arc<Endpoint>>,
    policy: Arc<EndpointPolicy>,
    machine: EndpointMachine,
    missed: Arc<AtomicU64>,
    rng: fastrand::Rng,
    active: Option<Box<Active>>,
    // After the attempts, so that a place is free only when its attempt is gone.
    holdings: Holdings,
    actions: Vec<Action>,
    timer: Timer,
    feed: StatusFeed,
    drain: Option<Draining>,
    /// Why the store could not be used the last time.
    store_error: Option<Arc<str>>,
    // Last, so that everything else is given back before the supervisor hears of the end.
    guard: StopGuard,
}

/// What a subscriber needs only while it has something to do.
#[derive(Default)]
struct Active {
    channel: Option<Rc<dyn Channel>>,
    work: FuturesUnordered<LocalBoxFuture<'static, Done>>,
}

/// Work that has ended.
enum Done {
    Attempt(DeliveryId, Exchange),
    Recorded(Arc<[AttemptRecord]>, Result<(), StoreError>),
    Loaded(Vec<DeliveryId>, Result<Vec<OpenDelivery>, StoreError>),
    QueuedRead(usize, Result<Vec<OpenDelivery>, StoreError>),
    WaitingRead(usize, Result<Vec<WaitingDelivery>, StoreError>),
    EndpointRead(Result<StoredEndpoint, StoreError>),
}

/// The one timer, armed for what the machine says.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed_for: Option<Timestamp>,
}

/// When watchers were told, and whether there is something new.
#[derive(Default)]
struct StatusFeed {
    told_at: Option<Timestamp>,
    changed: bool,
    lost: u64,
}

struct Draining {
    delivered_before: u64,
    /// `None` once the supervisor was told that nothing is in flight.
    answer: Option<Answerer<()>>,
}

/// Tells the supervisor that the subscriber has ended, however it ended: actix restarts nothing after a panic and tells nobody.
struct StopGuard {
    supervisor: Addr<SupervisorActor>,
    url: WebhookUrl,
    incarnation: u64,
    /// Whether the supervisor has to hear of the end, which it does not when it asked for it.
    armed: bool,
}

impl StopGuard {
    /// Tells the supervisor that nothing is left to do.
    fn ask_to_retire(&self) {
        let (url, incarnation) = (self.url.clone(), self.incarnation);
        #[expect(clippy::disallowed_methods, reason = "once per rest")]
        self.supervisor.do_send(Retire { url, incarnation });
    }
}

impl Drop for StopGuard {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let stopped = SubscriberStopped {
            url: self.url.clone(),
            incarnation: self.incarnation,
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "once per subscriber, from a destructor that cannot wait"
        )]
        self.supervisor.do_send(stopped);
    }
}

/// What a subscriber is started with.
pub(crate) struct Start {
    pub(crate) url: WebhookUrl,
    pub(crate) shared: Arc<Shared>,
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    pub(crate) policy: Arc<EndpointPolicy>,
    /// What the endpoint's last subscriber left behind.
    pub(crate) past: Past,
    pub(crate) missed: Arc<AtomicU64>,
    pub(crate) supervisor: Addr<SupervisorActor>,
    pub(crate) incarnation: u64,
    pub(crate) gate: Gate,
}

impl SubscriberActor {
    pub(crate) fn new(start: Start) -> Self {
        let Start {
            url,
            shared,
            endpoint,
            policy,
            past,
            missed,
            supervisor,
            incarnation,
            gate,
        } = start;
        let mut machine = EndpointMachine::new(url.clone(), Arc::clone(&policy), past);
        if matches!(gate, Gate::Pause) {
            machine.pause();
        }
        Self {
            rng: fastrand::Rng::with_seed(shared.seed ^ hash(url.as_str()) ^ incarnation),
            holdings: Holdings::new(Arc::clone(&shared.places)),
            guard: StopGuard {
                supervisor,
                url: url.clone(),
                incarnation,
                armed: true,
            },
            url,
            shared,
            endpoint,
            policy,
            machine,
            missed,
            active: None,
            actions: Vec::new(),
            timer: Timer::default(),
            feed: StatusFeed {
                lost: past.reports_lost,
                ..StatusFeed::default()
            },
            drain: None,
            store_error: None,
        }
    }

    /// Does everything that can be done now, in rounds until one finds nothing more to do.
    fn turn(&mut self, ctx: &Context<Self>, cx: &mut TaskContext<'_>) {
        self.take_missed();
        let mut now = self.shared.clock.now();
        let mut settled = false;
        for _ in 0..ROUNDS_PER_TURN {
            let mut worked = self.collect(now, cx);
            self.feed.changed |= self.machine.pump(now, &mut self.actions);
            worked |= self.start_attempts(now, ctx);
            worked |= self.perform(now, cx);
            self.feed.changed |= worked;
            self.tell_status(now);
            let woken = self.poll_timer(cx);
            if !worked && !woken {
                settled = true;
                break;
            }
            if woken {
                now = self.shared.clock.now();
            }
        }
        if !settled {
            // Others on this arbiter want their turn too.
            cx.waker().wake_by_ref();
        }
        self.holdings.drop_spare();
        self.answer_drain();
        self.rest_early(now, cx);
    }

    /// Gives up buffers at once where there is no connection to keep, so that a wave over many endpoints does not leave them all waiting to
    /// rest.
    fn rest_early(&mut self, now: Timestamp, cx: &mut TaskContext<'_>) {
        let Some(active) = &self.active else { return };
        let idle = active.work.is_empty() && self.machine.is_quiet() && self.actions.is_empty();
        let keeps = active
            .channel
            .as_ref()
            .is_some_and(|channel| channel.is_worth_keeping());
        if idle && !keeps {
            self.machine.rest_soon(now);
            self.active = None;
            self.actions = Vec::new();
            self.poll_timer(cx);
        }
    }

    /// Takes note of deliveries that the full mailbox had no place for.
    fn take_missed(&mut self) {
        let missed = self.missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            self.machine.on_backlog(missed);
            self.feed.changed = true;
        }
    }

    /// Takes in work that has ended. Says whether there was any.
    fn collect(&mut self, now: Timestamp, cx: &mut TaskContext<'_>) -> bool {
        let mut worked = false;
        for _ in 0..WORK_PER_ROUND {
            let Some(active) = &mut self.active else {
                break;
            };
            let Poll::Ready(Some(done)) = active.work.poll_next_unpin(cx) else {
                break;
            };
            self.on_done(now, done);
            worked = true;
        }
        worked
    }

    fn on_done(&mut self, now: Timestamp, done: Done) {
        match done {
            Done::Attempt(id, exchange) => {
                let place =
                    self.machine
                        .on_finished(now, id, &exchange, &mut self.rng, &mut self.actions);
                if let Some(class) = place {
                    self.holdings.give_back(class);
                }
            }
            Done::Recorded(records, result) => self.on_recorded(now, &records, &result),
            Done::Loaded(ids, Ok(deliveries)) => {
                self.store_error = None;
                self.machine.on_loaded(&ids, deliveries);
            }
            Done::Loaded(ids, Err(error)) => {
                self.store_failed(&error);
                self.machine.on_load_failed(now, &ids);
            }
            Done::QueuedRead(limit, Ok(deliveries)) => {
                self.store_error = None;
                self.machine.on_queued_read(deliveries, limit);
            }
            Done::WaitingRead(limit, Ok(deliveries)) => {
                self.store_error = None;
                self.machine.on_waiting_read(deliveries, limit);
            }
            Done::QueuedRead(_, Err(error)) => {
                self.store_failed(&error);
                self.machine.on_queued_read_failed(now);
            }
            Done::WaitingRead(_, Err(error)) => {
                self.store_failed(&error);
                self.machine.on_waiting_read_failed(now);
            }
            Done::EndpointRead(Ok(StoredEndpoint { open, held_until })) => {
                self.store_error = None;
                self.machine.on_endpoint_read(open, held_until);
            }
            Done::EndpointRead(Err(error)) => {
                self.store_failed(&error);
                self.machine.on_endpoint_read_failed(now);
            }
        }
    }

    fn on_recorded(
        &mut self,
        now: Timestamp,
        records: &[AttemptRecord],
        result: &Result<(), StoreError>,
    ) {
        match result {
            Ok(()) => self.store_error = None,
            Err(error) => self.store_failed(error),
        }
        for record in records {
            if result.is_err() {
                self.machine.on_record_refused(now, record);
            } else if let Some(alert) = self.machine.on_recorded(record) {
                self.report(&alert, record);
            }
        }
    }

    fn store_failed(&mut self, error: &StoreError) {
        self.store_error = Some(describe(error).into());
        log::error!(endpoint = self.url.without_query(), error:? = error; "delivery store failed; asking again");
    }

    /// Starts attempts while the endpoint may and the process has places. Says whether any was started.
    fn start_attempts(&mut self, now: Timestamp, ctx: &Context<Self>) -> bool {
        let mut started = false;
        while self.machine.can_start() {
            let class = self.machine.place_class();
            if !self.holdings.take(class, || ctx.address().recipient()) {
                break;
            }
            let Some(order) = self.machine.start(now) else {
                self.holdings.give_back(class);
                break;
            };
            let attempt = self.attempt(order, now);
            self.active.get_or_insert_default().work.push(attempt);
            started = true;
        }
        started
    }

    fn attempt(&mut self, order: AttemptOrder, now: Timestamp) -> LocalBoxFuture<'static, Done> {
        let AttemptOrder {
            delivery_id,
            alert,
            number,
        } = order;
        let endpoint_auth = self
            .endpoint
            .as_ref()
            .and_then(|endpoint| endpoint.auth.as_ref());
        let authorization = self.shared.credentials.authorization(&alert, endpoint_auth);
        let request = Request {
            url: self.url.clone(),
            alert,
            attempt: number,
            sent_at: now,
            authorization,
            left_origin: false,
        };
        let attempt = exchange(self.channel(), request, Arc::clone(&self.policy));
        async move {
            let ended = AssertUnwindSafe(attempt).catch_unwind().await;
            let panicked = |_| Exchange {
                result: Err(Failure::Panicked),
                status: None,
                redirects: 0,
                sent_twice: false,
            };
            Done::Attempt(delivery_id, ended.unwrap_or_else(panicked))
        }
        .boxed_local()
    }

    fn channel(&mut self) -> Rc<dyn Channel> {
        let active = self.active.get_or_insert_default();
        let open = || {
            let header = &self.shared.client_id_header;
            if let Some(endpoint) = &self.endpoint {
                self.shared.transport.open(endpoint, header)
            } else {
                let endpoint = Endpoint::at(self.url.clone()).policy((*self.policy).clone());
                self.shared.transport.open(&endpoint, header)
            }
        };
        Rc::clone(active.channel.get_or_insert_with(|| Rc::from(open())))
    }

    /// Performs what the machine has decided. Says whether there was anything.
    fn perform(&mut self, now: Timestamp, cx: &mut TaskContext<'_>) -> bool {
        if self.actions.is_empty() {
            return false;
        }
        let mut actions = std::mem::take(&mut self.actions);
        let mut records = Vec::new();
        for action in actions.drain(..) {
            let (store, url) = (&self.shared.store, &self.url);
            match action {
                Action::Record(record) => records.push(record),
                Action::Load(ids) => {
                    let call = StoreCall::begin(|| store.load(url, ids.clone()));
                    self.submit(now, cx, call, move |result| Done::Loaded(ids, result));
                }
                Action::ReadEndpoint => {
                    let call = StoreCall::begin(|| store.endpoint(url));
                    self.submit(now, cx, call, Done::EndpointRead);
                }
                Action::ReadQueued { after, limit } => {
                    let call = StoreCall::begin(|| store.queued(url, after, limit));
                    self.submit(now, cx, call, move |result| Done::QueuedRead(limit, result));
                }
                Action::ReadWaiting { limit } => {
                    let call = StoreCall::begin(|| store.waiting(url, limit));
                    self.submit(now, cx, call, move |result| {
                        Done::WaitingRead(limit, result)
                    });
                }
                Action::CountAsSick(attempts) => self.holdings.count_as_sick(attempts),
                Action::Rest => self.rest(),
            }
        }
        if !records.is_empty() {
            let records: Arc<[AttemptRecord]> = records.into();
            let call = StoreCall::begin(|| self.shared.store.record(Arc::clone(&records)));
            self.submit(now, cx, call, move |result| Done::Recorded(records, result));
        }
        if self.actions.is_empty() && self.active.is_some() {
            // Nothing was added meanwhile, so the room is kept for the next time; at rest it is given back.
            self.actions = actions;
        }
        true
    }

    /// Polls a store call once, because a store in memory has the answer at once, and keeps it if it has not.
    fn submit<T: 'static>(
        &mut self,
        now: Timestamp,
        cx: &mut TaskContext<'_>,
        mut call: StoreCall<T>,
        done: impl FnOnce(Result<T, StoreError>) -> Done + 'static,
    ) {
        match call.poll_unpin(cx) {
            Poll::Ready(result) => self.on_done(now, done(result)),
            Poll::Pending => self
                .active
                .get_or_insert_default()
                .work
                .push(call.map(done).boxed_local()),
        }
    }

    fn report(&mut self, alert: &Alert, record: &AttemptRecord) {
        log::debug!(
            endpoint = self.url.without_query(), delivery_id = record.delivery_id.get(), attempt = record.summary.number,
            outcome:? = record.outcome; "attempt finished"
        );
        if !self.shared.watchers.reports.is_watched() {
            return;
        }
        let report = DeliveryReport {
            delivery_id: record.delivery_id,
            alert_id: alert.id,
            event_id: alert.event_id.clone(),
            rule_id: alert.rule_id.clone(),
            url: record.url.clone(),
            attempt: record.summary.number,
            outcome: record.outcome,
            status: record.summary.status,
            at: record.summary.at,
            duration: record.summary.duration,
            redirects: record.redirects,
            sent_twice: record.sent_twice,
            next_attempt_at: record.next_attempt_at,
        };
        self.feed.lost += self.shared.watchers.reports.tell(&report);
    }

    fn rest(&mut self) {
        self.timer.drop_unarmed();
        match &mut self.active {
            Some(active) if !active.work.is_empty() => active.channel = None,
            _ => self.active = None,
        }
        let untold = self.feed.changed && self.shared.watchers.statuses.is_watched();
        if self.may_leave() && !untold {
            self.guard.ask_to_retire();
        }
    }

    /// Says whether the endpoint's next subscriber could go on from the store and the tally alone.
    fn may_leave(&self) -> bool {
        let no_work = self
            .active
            .as_ref()
            .is_none_or(|active| active.work.is_empty());
        no_work && self.actions.is_empty() && self.machine.may_retire()
    }

    fn status(&self) -> EndpointStatus {
        EndpointStatus {
            store_error: self.store_error.clone(),
            reports_lost: self.feed.lost,
            ..self.machine.status()
        }
    }

    /// Tells watchers of statuses, if there is something new and the last time is long enough ago.
    fn tell_status(&mut self, now: Timestamp) {
        if !self.feed.changed
            || !self.shared.watchers.statuses.is_watched()
            || self.feed.due_at() > Some(now)
        {
            return;
        }
        let lost = self.shared.watchers.statuses.tell(&self.status());
        // Whoever had no place for it gets the state of the next time.
        self.feed = StatusFeed {
            told_at: Some(now),
            changed: lost > 0,
            lost: self.feed.lost + lost,
        };
    }

    /// Arms the timer for what comes first, and says whether it has fired.
    fn poll_timer(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let watched = self.feed.changed && self.shared.watchers.statuses.is_watched();
        let status_at = self.feed.due_at().filter(|_| watched);
        let next = [self.machine.next_wake(), status_at]
            .into_iter()
            .flatten()
            .min();
        self.timer.poll(next, &self.shared, cx)
    }

    fn answer_drain(&mut self) {
        if let Some(draining) = &mut self.drain
            && self.machine.is_drained()
            && let Some(answer) = draining.answer.take()
        {
            answer.send(());
        }
    }
}

impl Timer {
    /// Arms the timer for `next` if it would fire later, and says whether it has fired. A timer that fires too early does no harm, so that it
    /// is not moved every time something is postponed.
    fn poll(&mut self, next: Option<Timestamp>, shared: &Shared, cx: &mut TaskContext<'_>) -> bool {
        if let Some(next) = next
            && self.armed_for.is_none_or(|armed_for| next < armed_for)
        {
            match &mut self.sleep {
                Some(sleep) => shared.clock.reset(sleep.as_mut(), next),
                None => self.sleep = Some(Box::pin(shared.clock.sleep_until(next))),
            }
            self.armed_for = Some(next);
        }
        let armed = self.sleep.as_mut().filter(|_| self.armed_for.is_some());
        let fired = armed.is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if fired {
            self.armed_for = None;
        }
        fired
    }

    fn drop_unarmed(&mut self) {
        if self.armed_for.is_none() {
            self.sleep = None;
        }
    }
}

impl StatusFeed {
    /// Returns when watchers may be told again; `None` when they were never told.
    fn due_at(&self) -> Option<Timestamp> {
        self.told_at.map(|at| at + STATUS_INTERVAL)
    }
}

/// Returns an error with its causes.
fn describe(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// Runs a turn whenever the actor is woken.
struct Drive;

impl ActorFuture<SubscriberActor> for Drive {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut SubscriberActor,
        ctx: &mut Context<SubscriberActor>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        actor.turn(ctx, cx);
        Poll::Pending
    }
}

impl Actor for SubscriberActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn(Drive);
    }
}

impl Handler<Deliver> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, Deliver(deliveries): Deliver, _: &mut Context<Self>) {
        // What was missed came before, and later ids must not pass it.
        self.take_missed();
        self.machine.on_deliveries(deliveries);
        self.feed.changed = true;
    }
}

impl Handler<Nudge> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, Nudge(count): Nudge, _: &mut Context<Self>) {
        if count > 0 {
            self.machine.on_backlog(count);
            self.feed.changed = true;
        }
    }
}

impl Handler<Redelivered> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, Redelivered(ids): Redelivered, _: &mut Context<Self>) {
        self.machine.on_redelivered(ids, &mut self.actions);
        self.feed.changed = true;
    }
}

impl Handler<PlaceGranted> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, PlaceGranted(place): PlaceGranted, _: &mut Context<Self>) {
        self.holdings.accept(place);
    }
}

impl Handler<Describe> for SubscriberActor {
    type Result = MessageResult<Describe>;

    fn handle(&mut self, _: Describe, _: &mut Context<Self>) -> MessageResult<Describe> {
        MessageResult(self.status())
    }
}

impl Handler<Configure> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, Configure { endpoint, policy }: Configure, _: &mut Context<Self>) {
        self.endpoint = endpoint;
        self.policy = Arc::clone(&policy);
        self.machine.configure(policy);
        if let Some(active) = &mut self.active {
            // The next attempt opens one with the new settings.
            active.channel = None;
        }
    }
}

impl Handler<Gate> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, gate: Gate, _: &mut Context<Self>) {
        match gate {
            Gate::Pause => self.machine.pause(),
            Gate::Resume => self.machine.resume(),
        }
        self.feed.changed = true;
    }
}

impl Handler<Drain> for SubscriberActor {
    type Result = Deferred<()>;

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) -> Deferred<()> {
        self.machine.drain();
        let (answer, deferred) = Deferred::new();
        let delivered_before = self.machine.status().delivered;
        self.drain = Some(Draining {
            delivered_before,
            answer: Some(answer),
        });
        deferred
    }
}

impl Handler<Leave> for SubscriberActor {
    type Result = MessageResult<Leave>;

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) -> MessageResult<Leave> {
        self.take_missed();
        if !self.may_leave() {
            return MessageResult(None);
        }
        self.guard.armed = false;
        ctx.stop();
        MessageResult(Some(Past {
            reports_lost: self.feed.lost,
            ..self.machine.past()
        }))
    }
}

impl Handler<Abort> for SubscriberActor {
    type Result = MessageResult<Abort>;

    fn handle(&mut self, _: Abort, ctx: &mut Context<Self>) -> MessageResult<Abort> {
        self.active = None;
        ctx.stop();
        let delivered = self.machine.status().delivered;
        let before = self
            .drain
            .as_ref()
            .map_or(delivered, |draining| draining.delivered_before);
        let aborted = u64::from(self.machine.in_flight());
        MessageResult(Drained {
            delivered: delivered.saturating_sub(before),
            aborted,
        })
    }
}

/// How much ended work one round takes in.
const WORK_PER_ROUND: usize = 64;

/// How many rounds a turn has before others get theirs.
const ROUNDS_PER_TURN: usize = 16;

/// How often a watcher of statuses is told about one endpoint at most.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);
