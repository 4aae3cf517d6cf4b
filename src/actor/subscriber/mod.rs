//! The actor of one webhook URL: it performs what the endpoint's state machine decides.
//!
//! Message handlers only tell the machine what happened. All work is done in
//! [`poll_all`](SubscriberActor::poll_all). Actix runs it after the mailbox has been drained, and
//! whenever an attempt, a store call or the timer wakes the actor.
//!
//! Attempts and store calls are futures owned by the actor and end with it. A restarted subscriber
//! therefore never meets an attempt of its predecessor.

mod feed;
mod handlers;
mod making_due;
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
use futures_util::FutureExt as _;

use self::feed::{StatusFeed, Timer};
use self::making_due::MakingDue;
use self::records::Recording;
use self::running::Running;
use super::board::{Place, Showing};
use super::bodies::BodyShare;
use super::clock::Clock;
use super::message::{Retire, SubscriberStopped};
use super::permits::{Holdings, Waiter};
use super::reply::Answerer;
use super::shared::EngineContext;
use super::store_call::StoreCall;
use super::supervisor::SupervisorActor;
use crate::domain::credentials::Authorization;
use crate::domain::deliveries::attempt::{AttemptRecord, Exchange};
use crate::domain::endpoint::policy::EndpointPolicy;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::machine::read::{Found, Read};
use crate::domain::machine::run::{Disabling, RunChange};
use crate::domain::machine::tally::RetiredState;
use crate::domain::machine::{Action, EndpointMachine};
use crate::domain::policy::health::DisabledReason;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::watch::attention::Attention;
use crate::domain::watch::series::given_up;
use crate::domain::watch::waits::waits_since;
use crate::store::{Change, Stopped, StoreError};
use crate::transport::Channel;

/// Delivers to one webhook URL.
///
/// Started and watched by the [`SupervisorActor`]; applications send it no messages.
pub(crate) struct SubscriberActor {
    url: WebhookUrl,
    shared: Arc<EngineContext>,
    endpoint: Option<Arc<Endpoint>>,
    /// The endpoint's own; a rule or a client may override it.
    authorization: Authorization,
    policy: Arc<EndpointPolicy>,
    machine: EndpointMachine,
    waiter: Arc<Waiter>,
    /// Changes requested by operators, oldest first; they are written one at a time.
    changes: VecDeque<(RunChange, Answerer<Result<(), StoreError>>)>,
    /// The write of the first one, once it has begun.
    change_call: Option<StoreCall<()>>,
    /// Deliveries to be made due, if operators asked for any.
    making_due: Option<Box<MakingDue>>,
    /// The number of restarts after a panic.
    restarts: u32,
    rng: fastrand::Rng,
    active: Option<Box<Active>>,
    // Dropped after `active`, so that a permit is released only after its attempt has ended.
    holdings: Holdings,
    bodies: BodyShare,
    actions: Vec<Action>,
    // Kept to reuse its allocation.
    records: Vec<AttemptRecord>,
    timer: Timer,
    feed: StatusFeed,
    drain: Option<Draining>,
    showing: Showing,
    /// The latest store error. Cleared when a later read, reservation or recording succeeds.
    store_error: Option<Arc<str>>,
    // Last, so that everything else is dropped before the supervisor is told of the end.
    guard: StopGuard,
}

impl Drop for SubscriberActor {
    fn drop(&mut self) {
        if self.guard.armed {
            self.guard.past = Some(Box::new(self.past()));
        }
    }
}

/// State that a subscriber needs only while it has work.
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

    /// Drops attempts and store calls, except calls that record attempts.
    fn break_off(&mut self) {
        self.running = Running::default();
        self.channel = None;
    }
}

/// An attempt or a store call that has ended.
enum Completed {
    Attempt(DeliveryId, Exchange),
    /// The read, the number of body bytes granted to it, and its result.
    Read(Read, usize, Result<Found, StoreError>),
    Agreed(Result<(), StoreError>),
}

struct Draining {
    delivered_before: u64,
    /// Sent when nothing is in flight and everything is recorded.
    answers: Vec<Answerer<()>>,
}

/// Tells the supervisor that the subscriber has ended, for whatever reason.
///
/// After a panic, actix neither restarts the actor nor reports its end.
struct StopGuard {
    supervisor: Addr<SupervisorActor>,
    url: WebhookUrl,
    incarnation: u64,
    /// `true` if the supervisor must be told of the end: it did not request it.
    armed: bool,
    /// The state for the endpoint's next subscriber.
    past: Option<Box<RetiredState>>,
}

impl StopGuard {
    /// Asks the supervisor to retire this subscriber, because nothing is left to do.
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

/// The arguments of [`SubscriberActor::new`].
pub(crate) struct Start {
    pub(crate) url: WebhookUrl,
    pub(crate) shared: Arc<EngineContext>,
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    pub(crate) policy: Arc<EndpointPolicy>,
    /// The state left by the endpoint's last subscriber.
    pub(crate) past: RetiredState,
    pub(crate) supervisor: Addr<SupervisorActor>,
    pub(crate) incarnation: u64,
    /// `true` if the endpoint's settings are stored but cannot be read.
    pub(crate) withheld: bool,
    pub(crate) restarts: u32,
    /// Where the endpoint is counted.
    pub(crate) place: Arc<Place>,
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
            place,
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
            change_call: None,
            making_due: None,
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
            showing: Showing::new(place, incarnation),
            store_error: None,
        }
    }

    /// Returns the state from which the endpoint's next subscriber continues.
    fn past(&self) -> RetiredState {
        RetiredState {
            reports_lost: self.feed.lost,
            ..self.machine.past()
        }
    }

    /// Does all work that is ready, in rounds until one finds none.
    ///
    /// Ends earlier after [`ROUNDS_PER_POLL`] rounds, or after starting attempts with several
    /// arbiters; the actor is then polled again.
    fn poll_all(&mut self, cx: &mut TaskContext<'_>) {
        self.waiter.listen(cx);
        self.holdings.accept();
        self.machine.set_tight(self.bodies.is_tight());
        let mut now = self.shared.clock.now();
        let (mut settled, mut any_started) = (false, false);
        for _ in 0..ROUNDS_PER_POLL {
            let mut worked = self.collect(now, cx);
            self.feed.changed |= self.machine.pump(now, &mut self.actions);
            let started = self.start_attempts(now);
            any_started |= started;
            worked |= started | self.perform(now, cx);
            worked |= self.write_change(now, cx);
            worked |= self.write_due(now, cx);
            worked |= self.take_recorded(now, cx);
            self.feed.changed |= worked;
            self.tell_status(now);
            if started && self.shared.several_arbiters {
                // These attempts are sent in the next poll, right after those of the arbiter's
                // other endpoints. Waking a receiver once for many requests costs less than waking
                // it for each.
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
            // Lets other actors of this arbiter run first.
            cx.waker().wake_by_ref();
        }
        self.holdings.drop_spare();
        if self.bodies.is_counted() {
            self.bodies.settle(self.machine.bytes_in_memory());
        }
        self.answer_drain();
        self.rest_early(now, cx);
        self.show(now, any_started);
    }

    /// Shows on the board how the endpoint stands and whether it waits for the engine.
    fn show(&mut self, now: Timestamp, started: bool) {
        let (url, machine) = (&self.url, &self.machine);
        let note = |attention: &mut Attention, note| {
            attention.note(url, note, machine.failing_since(), now);
        };
        let standing = machine.standing();
        self.showing.show(standing, &self.shared.board, note);
        let (before, waits) = (self.showing.waits_since(), machine.waits_for_engine(now));
        self.showing.wait(waits_since(before, waits, started, now));
    }

    /// Counts recorded attempts.
    fn count(&self, now: Timestamp, records: &[AttemptRecord]) {
        let place = self.showing.place();
        place.gauges().meter().count(records, now);
        let count = given_up(records);
        if count > 0 {
            let mut attention = self.shared.board.attention();
            // Nobody would remove it once the endpoint is removed.
            if place.standing().is_some() {
                attention.give_up(&self.url, count, now);
            }
        }
    }

    /// Frees memory at once if there is no connection to keep.
    ///
    /// Otherwise, after a burst over many endpoints, each of them would hold its memory until it
    /// rests.
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

    /// Takes in work that has ended. Returns `true` if there was any.
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
                    // `Retry-After` may be a date, which needs the current wall clock.
                    self.machine.set_wall(self.shared.clock.look_at_wall());
                }
                // The attempt ended after `now` was read. Waits that start at its end must not end
                // too early.
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
        }
    }

    /// Writes the first change requested by operators. Returns `true` once the store has answered.
    ///
    /// Waits until no attempt is being recorded, so that the store has the same order as this
    /// actor.
    fn write_change(&mut self, now: Timestamp, cx: &mut TaskContext<'_>) -> bool {
        let Some((change, _)) = self.changes.front() else {
            return false;
        };
        let active = self.active.as_deref();
        let records = active.is_some_and(|active| !active.recording.is_empty());
        if self.change_call.is_none() && records {
            return false;
        }
        let (shared, url) = (&self.shared, &self.url);
        let call = self.change_call.get_or_insert_with(|| {
            let change = match change {
                RunChange::Pause(stopped) => Change::Pause(url.clone(), Stopped::clone(stopped)),
                RunChange::Disable(Disabling { reason, stopped }) => {
                    Change::Disable(url.clone(), *reason, Stopped::clone(stopped))
                }
                RunChange::Resume => Change::Resume(url.clone()),
            };
            shared.call(|store| store.apply(change))
        });
        let Poll::Ready(result) = call.poll_unpin(cx) else {
            return false;
        };
        self.change_call = None;
        self.on_changed(now, result);
        true
    }

    fn on_changed(&mut self, now: Timestamp, result: Result<(), StoreError>) {
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
            Ok(()) => {
                self.store_error = None;
                self.count(now, records);
            }
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
            "delivery store failed for endpoint {url}; retrying in a second: {what}"
        );
        self.store_error = Some(what.into());
    }

    /// Frees the state needed only for work, and asks to retire if nothing is left to do.
    fn rest(&mut self) {
        self.timer.drop_unarmed();
        match &mut self.active {
            Some(active) if !active.is_idle() => active.channel = None,
            _ => self.active = None,
        }
        self.holdings.rest();
        let untold = self.feed.changed && self.shared.watchers.statuses.is_watched(&self.url);
        if self.may_leave() && !untold {
            self.guard.ask_to_retire();
        }
    }

    /// Returns `true` if the endpoint's next subscriber could continue from the store and the
    /// [`RetiredState`] alone.
    fn may_leave(&self) -> bool {
        let no_work = self.active.as_ref().is_none_or(|active| active.is_idle());
        let asked = self.making_due.is_some();
        no_work && !asked && self.actions.is_empty() && self.machine.may_retire()
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

/// Calls [`SubscriberActor::poll_all`] whenever the actor is woken.
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

/// The maximum number of ended attempts and store calls taken in per round.
const WORK_PER_ROUND: usize = 64;

/// The maximum number of rounds per poll, so that other actors get to run.
const ROUNDS_PER_POLL: usize = 16;
