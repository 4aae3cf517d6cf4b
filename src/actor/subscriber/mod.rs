//! The actor of one webhook URL: it performs what the endpoint's state machine decides.
//!
//! Message handlers only tell the machine what happened. All work is done in [`turn`](SubscriberActor::turn), which actix runs after the
//! mailbox has been drained and whenever an attempt, a store call or the timer wakes the actor. Attempts and store calls
//! are futures owned by the actor: when it ends, they end with it, so that a respawned one never meets an attempt of its predecessor.

mod feed;
mod handlers;
mod records;
mod running;
mod work;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher as _};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use actix::fut::ActorFuture;
use actix::{Actor, Addr, AsyncContext, Context};

use self::feed::{StatusFeed, Timer};
use self::records::Recording;
use self::running::Running;
use super::bodies::BodyShare;
use super::clock::Clock;
use super::message::{Retire, SubscriberStopped};
use super::permits::{Holdings, Waiter};
use super::reply::Answerer;
use super::shared::EngineContext;
use super::supervisor::SupervisorActor;
use crate::domain::credentials::Authorization;
use crate::domain::deliveries::attempt::{AttemptRecord, Exchange};
use crate::domain::endpoint::policy::EndpointPolicy;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::machine::read::{Found, Read};
use crate::domain::machine::run::RunChange;
use crate::domain::machine::tally::RetiredState;
use crate::domain::machine::{Action, EndpointMachine};
use crate::domain::policy::health::DisabledReason;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::{Change, StoreError};
use crate::transport::Channel;

/// Delivers to one webhook URL. Started and watched by the [`SupervisorActor`]; applications do not talk to it.
pub(crate) struct SubscriberActor {
    url: WebhookUrl,
    shared: Arc<EngineContext>,
    endpoint: Option<Arc<Endpoint>>,
    /// The endpoint's own.
    authorization: Authorization,
    policy: Arc<EndpointPolicy>,
    machine: EndpointMachine,
    waiter: Arc<Waiter>,
    /// What operators have asked for, in that order; the first one is being written.
    changes: VecDeque<(RunChange, Answerer<Result<(), StoreError>>)>,
    writes_change: bool,
    /// How often its subscribers have panicked.
    restarts: u32,
    rng: fastrand::Rng,
    active: Option<Box<Active>>,
    // After the attempts, so that a permit is free only when its attempt is gone.
    holdings: Holdings,
    bodies: BodyShare,
    actions: Vec<Action>,
    // Kept for its room.
    records: Vec<AttemptRecord>,
    timer: Timer,
    feed: StatusFeed,
    drain: Option<Draining>,
    /// Why the store could not be used the last time.
    store_error: Option<Arc<str>>,
    // Last, so that everything else is given back before the supervisor hears of the end.
    guard: StopGuard,
}

impl Drop for SubscriberActor {
    fn drop(&mut self) {
        if self.guard.armed {
            self.guard.past = Some(Box::new(self.past()));
        }
    }
}

/// What a subscriber needs only while it has something to do.
#[derive(Default)]
struct Active {
    channel: Option<Rc<dyn Channel>>,
    running: Running,
    recording: Recording,
}

impl Active {
    fn is_idle(&self) -> bool {
        self.running.is_empty() && self.recording.is_empty()
    }

    /// Ends all but what is being recorded.
    fn break_off(&mut self) {
        self.running = Running::default();
        self.channel = None;
    }
}

/// Work that has ended.
enum Completed {
    Attempt(DeliveryId, Exchange),
    /// With the number of bytes of bodies that it was granted.
    Read(Read, usize, Result<Found, StoreError>),
    Agreed(Result<(), StoreError>),
    Changed(Result<(), StoreError>),
}

struct Draining {
    delivered_before: u64,
    /// Whoever waits until nothing is in flight.
    answers: Vec<Answerer<()>>,
}

/// Tells the supervisor that the subscriber has ended, however it ended: actix restarts nothing after a panic and tells nobody.
struct StopGuard {
    supervisor: Addr<SupervisorActor>,
    url: WebhookUrl,
    incarnation: u64,
    /// Whether the supervisor has to hear of the end, which it does not when it asked for it.
    armed: bool,
    /// What is left behind.
    past: Option<Box<RetiredState>>,
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
            past: self.past.take().unwrap_or_default(),
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
    pub(crate) shared: Arc<EngineContext>,
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    pub(crate) policy: Arc<EndpointPolicy>,
    /// What the endpoint's last subscriber left behind.
    pub(crate) past: RetiredState,
    pub(crate) supervisor: Addr<SupervisorActor>,
    pub(crate) incarnation: u64,
    /// Whether its settings are kept and cannot be read.
    pub(crate) withheld: bool,
    pub(crate) restarts: u32,
}

impl SubscriberActor {
    pub(crate) fn new(start: Start) -> Self {
        let Start {
            url,
            shared,
            endpoint,
            policy,
            past,
            supervisor,
            incarnation,
            withheld,
            restarts,
        } = start;
        let waiter = Arc::<Waiter>::default();
        let reports_lost = past.reports_lost;
        let mut machine = EndpointMachine::new(url.clone(), Arc::clone(&policy), past);
        if withheld {
            machine.withhold();
        }
        Self {
            rng: fastrand::Rng::with_seed(shared.seed ^ hash(url.as_str()) ^ incarnation),
            holdings: Holdings::new(
                Arc::clone(&shared.permits),
                Arc::clone(&waiter),
                hash(url.host()),
            ),
            bodies: BodyShare::new(Arc::clone(&shared.bodies)),
            waiter,
            guard: StopGuard {
                supervisor,
                url: url.clone(),
                incarnation,
                armed: true,
                past: None,
            },
            url,
            shared,
            authorization: Authorization::of(endpoint.as_deref()),
            endpoint,
            policy,
            machine,
            changes: VecDeque::new(),
            writes_change: false,
            restarts,
            active: None,
            actions: Vec::new(),
            records: Vec::new(),
            timer: Timer::default(),
            feed: StatusFeed {
                lost: reports_lost,
                ..StatusFeed::default()
            },
            drain: None,
            store_error: None,
        }
    }

    /// Returns what the endpoint's next subscriber goes on from.
    fn past(&self) -> RetiredState {
        RetiredState {
            reports_lost: self.feed.lost,
            ..self.machine.past()
        }
    }

    /// Does everything that can be done now, in rounds until one finds nothing more to do.
    fn poll_all(&mut self, cx: &mut TaskContext<'_>) {
        self.waiter.listen(cx);
        self.holdings.accept();
        self.machine.set_tight(self.bodies.is_tight());
        let mut now = self.shared.clock.now();
        let mut settled = false;
        for _ in 0..ROUNDS_PER_POLL {
            let mut worked = self.collect(now, cx);
            self.feed.changed |= self.machine.pump(now, &mut self.actions);
            let started = self.start_attempts(now);
            worked |= started | self.perform(now, cx);
            worked |= self.write_change(now, cx);
            worked |= self.take_recorded(now, cx);
            self.feed.changed |= worked;
            self.tell_status(now);
            if started && self.shared.several_arbiters {
                // What has started is sent in the next poll, right after what the other endpoints of this arbiter send in theirs. A receiver that is
                // woken by the first of many requests costs less than one that is woken by each.
                break;
            }
            if worked {
                continue;
            }
            if !self.poll_timer(now, cx) {
                settled = true;
                break;
            }
            now = self.shared.clock.now();
        }
        if !settled {
            // Others on this arbiter want their turn too.
            cx.waker().wake_by_ref();
        }
        self.holdings.drop_spare();
        if self.bodies.is_counted() {
            self.bodies.settle(self.machine.bytes_in_memory());
        }
        self.answer_drain();
        self.rest_early(now, cx);
    }

    /// Gives up buffers at once where there is no connection to keep, so that a wave over many endpoints does not leave them all waiting to
    /// rest.
    fn rest_early(&mut self, now: Timestamp, cx: &mut TaskContext<'_>) {
        let Some(active) = &self.active else { return };
        let idle = active.is_idle() && self.machine.is_quiet() && self.actions.is_empty();
        let channel = active.channel.as_ref();
        if idle && !channel.is_some_and(|channel| channel.is_worth_keeping()) {
            self.machine.rest_soon(now);
            self.active = None;
            self.actions = Vec::new();
            self.records = Vec::new();
            self.poll_timer(now, cx);
        }
    }

    /// Takes in work that has ended. Says whether there was any.
    fn collect(&mut self, now: Timestamp, cx: &mut TaskContext<'_>) -> bool {
        let mut worked = false;
        for _ in 0..WORK_PER_ROUND {
            let active = self.active.as_mut();
            let Some(done) = active.and_then(|active| active.running.next_ended(cx)) else {
                break;
            };
            self.on_completed(now, done);
            worked = true;
        }
        worked
    }

    fn on_completed(&mut self, now: Timestamp, done: Completed) {
        match done {
            Completed::Attempt(id, exchange) => {
                if exchange.asks_for_a_wait() {
                    // Perhaps by a date: what that means is said by the wall clock as it is now.
                    self.machine.set_wall(self.shared.clock.look_at_wall());
                }
                // The attempt has ended after `now`; what waits from its end on must not be early by that.
                let now = self.shared.clock.at_latest(Clock::instant());
                let permit =
                    self.machine
                        .on_finished(now, id, &exchange, &mut self.rng, &mut self.actions);
                if let Some(charge) = permit {
                    self.holdings.give_back(charge);
                }
            }
            Completed::Read(read, granted, found) => {
                if read.brings_bodies() {
                    self.bodies.end_read(granted);
                }
                match found {
                    Ok(found) => {
                        self.store_error = None;
                        self.machine.on_read(&read, found);
                    }
                    Err(error) => {
                        self.store_failed(&error);
                        self.machine.on_read_failed(now, &read);
                    }
                }
            }
            Completed::Agreed(Ok(())) => {
                self.store_error = None;
                self.machine.on_agreed();
            }
            Completed::Agreed(Err(error)) => {
                self.store_failed(&error);
                self.machine.on_agree_failed(now);
            }
            Completed::Changed(result) => self.on_changed(now, result),
        }
    }

    /// Writes the first change that operators have asked for, once no attempt is being recorded, so
    /// that the order in the store is the order here. Returns `true` if it has begun.
    fn write_change(&mut self, now: Timestamp, cx: &mut TaskContext<'_>) -> bool {
        let records = |active: &Box<Active>| !active.recording.is_empty();
        let Some((change, _)) = self.changes.front() else {
            return false;
        };
        if self.writes_change || self.active.as_ref().is_some_and(records) {
            return false;
        }
        self.writes_change = true;
        let url = self.url.clone();
        let change = match *change {
            RunChange::Pause => Change::Pause(url),
            RunChange::Disable(reason) => Change::Disable(url, reason),
            RunChange::Resume => Change::Resume(url),
        };
        let call = self.shared.call(|store| store.apply(change));
        self.submit(now, cx, call, Completed::Changed);
        true
    }

    fn on_changed(&mut self, now: Timestamp, result: Result<(), StoreError>) {
        self.writes_change = false;
        let Some((change, answerer)) = self.changes.pop_front() else {
            return;
        };
        let change = result.is_ok().then_some(change);
        self.machine.end_change(now, change, &mut self.actions);
        if !self.changes.is_empty() {
            self.machine.begin_change();
        }
        self.feed.changed = true;
        answerer.send(result);
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
        let (url, what) = (self.url.without_query(), error.with_causes());
        log::error!(
            endpoint = url, error:? = error;
            "delivery store failed for endpoint {url}; asking again in a second: {what}"
        );
        self.store_error = Some(what.into());
    }

    /// Gives back what it needs only while it has something to do, and asks to retire if nothing is left.
    fn rest(&mut self) {
        self.timer.drop_unarmed();
        match &mut self.active {
            Some(active) if !active.is_idle() => active.channel = None,
            _ => self.active = None,
        }
        self.holdings.rest();
        let untold = self.feed.changed && self.shared.watchers.statuses.is_watched();
        if self.may_leave() && !untold {
            self.guard.ask_to_retire();
        }
    }

    /// Says whether the endpoint's next subscriber could go on from the store and the tally alone.
    fn may_leave(&self) -> bool {
        let no_work = self.active.as_ref().is_none_or(|active| active.is_idle());
        no_work && self.actions.is_empty() && self.machine.may_retire()
    }

    fn tell_disabled(&self, reason: DisabledReason) {
        let url = self.url.without_query();
        log::warn!(
            endpoint = url, reason:% = reason;
            "endpoint {url} disabled: {reason}; its events are kept until it is resumed"
        );
    }

    fn answer_drain(&mut self) {
        if let Some(draining) = &mut self.drain
            && self.machine.is_drained()
        {
            draining
                .answers
                .drain(..)
                .for_each(|answer| answer.send(()));
        }
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// Polls everything whenever the actor is woken.
struct Drive;

impl ActorFuture<SubscriberActor> for Drive {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut SubscriberActor,
        _: &mut Context<SubscriberActor>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        actor.poll_all(cx);
        Poll::Pending
    }
}

impl Actor for SubscriberActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn(Drive);
    }
}

/// How much ended work one round takes in.
const WORK_PER_ROUND: usize = 64;

/// How many rounds one poll has before others get theirs.
const ROUNDS_PER_POLL: usize = 16;
