//! The state machine of one endpoint: which attempts may start, which deliveries wait, and what to
//! do next.
//!
//! It takes events (deliveries, finished attempts, answers of the store, the passing of time) and
//! pushes [`Action`]s. It does no I/O and reads no clock. The shell around it performs the actions,
//! takes permits for attempts, and wakes it at [`next_wake`](EndpointMachine::next_wake).
//!
//! A delivery in memory is in exactly one place: in the queue (with its alert), in flight, being
//! recorded, or waiting for a retry (its alert is in the store). Deliveries that do not fit in the
//! buffer are only in the store, and `Unread` remembers that there are more.

mod agreeing;
pub(crate) mod bodies;
mod by_hand;
mod finishing;
mod forgetting;
mod locating;
mod making_due;
pub(crate) mod permits;
pub(crate) mod queue;
pub(crate) mod read;
mod reading;
mod resting;
pub(crate) mod run;
pub(crate) mod tally;
mod under_way;
pub(crate) mod unread;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::agreeing::Reserved;
use self::forgetting::Forgotten;
use self::read::Read;
use self::resting::Rest;
use self::run::{Control, Run, RunChange};
use self::under_way::UnderWay;
use crate::domain::deliveries::alert::Alert;
use crate::domain::deliveries::attempt::AttemptRecord;
use crate::domain::deliveries::delivery::OpenDelivery;
use crate::domain::endpoint::policy::{EndpointPolicy, Ordering};
use crate::domain::endpoint::standing::Standing;
use crate::domain::endpoint::status::{EndpointState, EndpointStatus};
use crate::domain::machine::permits::{Charge, PermitClass, SiteId};
use crate::domain::machine::queue::Queue;
use crate::domain::machine::tally::{RetiredState, Tally};
use crate::domain::machine::unread::{ReadKind, Unread};
use crate::domain::policy::agreed::{Agreed, Hold};
use crate::domain::policy::breaker::Circuit;
use crate::domain::policy::health::{DisabledReason, Health};
use crate::domain::policy::pace::Pace;
use crate::domain::policy::rate::Pacer;
use crate::domain::policy::window::ConcurrencyWindow;
use crate::domain::value::id::{ClientId, CompanyId, DeliveryId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::WallOffset;

/// A task for the shell.
#[derive(Debug)]
pub(crate) enum Action {
    /// Write this attempt to the store, then call `on_recorded` or `on_record_refused`.
    Record(AttemptRecord),
    /// Read this, then call `on_read` or `on_read_failed`.
    Read(Read),
    /// Write the endpoint's agreement with its receiver, then call `on_agreed` or
    /// `on_agree_failed`.
    Agree(Agreed),
    /// Attempts of a prompt endpoint have become late in flight: charge their permits, which are at
    /// these sites, to the hanging class.
    CountAsLate(Vec<SiteId>),
    /// Report that the circuit breaker has opened.
    TellCircuitOpen {
        /// No attempt starts before this instant.
        until: Timestamp,
    },
    /// Report that the endpoint is disabled, with the reason. It is written with the attempt that
    /// caused it.
    TellDisabled(DisabledReason),
    /// The endpoint has been idle for a while: release connections and buffers.
    Rest,
}

/// An attempt for the shell to make now.
#[derive(Debug)]
pub(crate) struct AttemptOrder {
    pub(crate) delivery_id: DeliveryId,
    pub(crate) alert: Arc<Alert>,
    /// Number of the attempt, from 1.
    pub(crate) number: u32,
}

/// A delivery that is being read back, or will be when it is due.
#[derive(Debug, Default)]
struct WaitingRetry {
    company: Option<CompanyId>,
    /// Whether later deliveries of its lane wait for it. `false` for one redelivered by hand: it
    /// has not passed the gate yet.
    closed_lane: bool,
    /// The earliest instant of the attempt.
    at: Timestamp,
    /// Set if it may have ended already, and been counted out.
    may_have_ended: bool,
}

impl WaitingRetry {
    /// Returns a delivery that was attempted before.
    fn retry(company: Option<CompanyId>, at: Timestamp) -> Self {
        Self {
            company,
            closed_lane: true,
            at,
            may_have_ended: false,
        }
    }
}

/// The state of one endpoint.
#[derive(Debug)]
pub(crate) struct EndpointMachine {
    url: WebhookUrl,
    policy: Arc<EndpointPolicy>,
    control: Control,
    window: ConcurrencyWindow,
    queue: Queue,
    /// Tests, which wait for a permit alone.
    by_hand: VecDeque<OpenDelivery>,
    /// Due retries, with the companies by which order is kept: being read back, or in the queue
    /// already.
    due: BTreeMap<DeliveryId, WaitingRetry>,
    /// Number of them being read back.
    loading: usize,
    /// Set while the engine's shared limit on bodies is used up: each endpoint reads only a little
    /// more.
    tight: bool,
    under_way: UnderWay,
    late: u32,
    /// The class that its last attempt showed.
    class: PermitClass,
    /// Ended attempts that the store refused for now, or that wait for a change to be written.
    /// Issued again at `record_again_at`.
    refused: Vec<AttemptRecord>,
    waiting: BTreeMap<(Timestamp, DeliveryId), WaitingRetry>,
    forgotten: Forgotten,
    /// The delivery that the store is making due, unless an attempt of it was recorded since.
    making_due: Option<DeliveryId>,
    hold: Option<Hold>,
    circuit: Circuit,
    pacer: Pacer,
    pace: Pace,
    reserved: Reserved,
    /// When the rate limit or the receiver's pace allows the next attempt, if a delivery waits for
    /// that.
    paced_until: Option<Timestamp>,
    /// Whether the state comes from the endpoint's last subscriber, so that the store's is not
    /// needed.
    is_known: bool,
    /// Set if the endpoint was resumed before the store was asked about it: the store's answer may
    /// be out of date.
    lifted: bool,
    unread: Unread,
    tally: Tally,
    /// The wall clock's offset when last asked for. Dates in answers are wall time.
    wall: WallOffset,
    late_check_at: Option<Timestamp>,
    record_again_at: Option<Timestamp>,
    rest: Rest,
}

impl EndpointMachine {
    /// Returns the state of an endpoint of which nothing has been read from the store yet. `past`
    /// comes from the endpoint's last subscriber.
    pub(crate) fn new(url: WebhookUrl, policy: Arc<EndpointPolicy>, past: RetiredState) -> Self {
        Self {
            url,
            window: past.window.with_max(policy.max_in_flight),
            policy,
            control: Control {
                run: past.run,
                ..Control::default()
            },
            queue: Queue::default(),
            by_hand: VecDeque::new(),
            due: BTreeMap::new(),
            loading: 0,
            tight: false,
            under_way: UnderWay::default(),
            late: 0,
            class: past.class,
            refused: Vec::new(),
            waiting: BTreeMap::new(),
            forgotten: Forgotten::default(),
            making_due: None,
            hold: past.hold.map(|hold| *hold),
            circuit: past.circuit,
            pacer: past.pacer,
            pace: past.pace.map(|pace| *pace).unwrap_or_default(),
            reserved: Reserved::default(),
            paced_until: None,
            is_known: past.is_known,
            lifted: false,
            unread: Unread::of_everything(),
            tally: past.tally,
            wall: WallOffset::default(),
            late_check_at: None,
            record_again_at: None,
            rest: Rest::Awake,
        }
    }

    /// Returns `true` if an attempt may start, provided the process has a permit for it.
    pub(crate) fn can_start(&self, now: Timestamp) -> bool {
        !self.queue.is_blocked() && self.may_start(now)
    }

    /// Returns `true` if an attempt could start if there were one more delivery.
    pub(crate) fn may_start(&self, now: Timestamp) -> bool {
        self.would_start(now) && self.is_reserved(now)
    }

    /// Like `may_start`, but without checking that the store has reserved the turn.
    fn would_start(&self, now: Timestamp) -> bool {
        self.control.is_on()
            && !self.control.draining
            && self.endpoint_is_read()
            && self.lanes_are_known()
            && self.hold.is_none()
            && self.circuit.lets_through()
            && self.in_window() < self.window.size()
            && self.in_flight() < self.policy.max_in_flight.max(1)
            && self.under_way.unrecorded() < MAX_UNRECORDED
            && self.pace(now).is_none()
            && !self.waits_for_refused()
    }

    /// Returns `true` if refused deliveries are being read back. They go before new ones, because
    /// the receiver limits how many it takes.
    fn waits_for_refused(&self) -> bool {
        self.loading > 0 && self.pace.overloaded_at().is_some()
    }

    /// Returns the client of the delivery to be attempted next; `None` if none
    /// [`can_start`](Self::can_start) and there is no test.
    pub(crate) fn next_client(&self, now: Timestamp) -> Option<&ClientId> {
        let next = self.next_test().or_else(|| {
            let next = self.queue.next();
            next.filter(|_| self.may_start(now))
        })?;
        Some(&next.alert.client_id)
    }

    /// Returns the class in which the endpoint counts against the process-wide limit.
    pub(crate) fn permit_class(&self) -> PermitClass {
        if self.late > 0 {
            PermitClass::Hanging
        } else {
            self.class
        }
    }

    /// Starts the next attempt with this permit; `None` if none [`can_start`](Self::can_start) and
    /// there is no test.
    pub(crate) fn start(&mut self, now: Timestamp, permit: Charge) -> Option<AttemptOrder> {
        let mut delivery = match self.pop_test() {
            Some(test) => test,
            None if self.can_start(now) => {
                let delivery = self.queue.pop()?;
                self.circuit.on_start(delivery.id);
                self.take_turn(now);
                delivery
            }
            None => return None,
        };
        self.due.remove(&delivery.id);
        let lateness = delivery
            .due_at
            .map_or(Duration::ZERO, |due_at| now.since(due_at));
        self.policy
            .retry
            .begin_attempt(&mut delivery.progress, now, lateness);
        let order = AttemptOrder {
            delivery_id: delivery.id,
            alert: Arc::clone(&delivery.alert),
            number: delivery.progress.attempts_made.saturating_add(1),
        };
        self.late_check_at.get_or_insert(now + LATE_AFTER);
        self.rest = Rest::Awake;
        self.under_way.start(delivery, now, permit);
        Some(order)
    }

    /// Handles the passing of time: moves due retries on, reads more of the backlog if there is
    /// room, and marks late attempts. Called after every other event too; a superfluous call does
    /// nothing.
    ///
    /// Returns `true` if a hold has ended or the circuit has become half-open. These are the only
    /// changes of the status made here that have no action.
    pub(crate) fn pump(&mut self, now: Timestamp, actions: &mut Vec<Action>) -> bool {
        let hold_ends = self.hold.is_some_and(|hold| hold.until <= now);
        if hold_ends {
            self.hold = None;
            self.window.restart();
        }
        let probes = self.circuit.on_wake(now);
        if hold_ends || probes {
            // The endpoint may have rested with only this to wait for.
            self.rest = Rest::Awake;
        }
        self.pace_next(now, actions);
        self.record_again(now, actions);
        self.judge_lateness(now, actions);
        self.leave_to_store(now);
        self.load_due(now, actions);
        self.read_unread(now, actions);
        self.rest(now, actions);
        hold_ends || probes
    }

    /// Returns when [`pump`](Self::pump) next has work, if nothing else happens before.
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        [
            // When a delivery is due to be read back.
            self.next_load(),
            // When the hold ends that the receiver asked for.
            self.held_until(),
            // When the open circuit lets a probe through.
            self.circuit.open_until(),
            // When the rate limit, or the receiver's pace, lets the next attempt start.
            self.paced_until,
            // When the oldest attempt in flight becomes late.
            self.late_check_at,
            // When records that the store refused are handed out again.
            self.record_again_at.filter(|_| !self.control.changing),
            // When the store is asked again to note that an attempt may start.
            self.reserve_again_at(),
            // When a read that failed is repeated.
            self.unread.again_at(),
            // When a quiet endpoint gives back its connections and buffers.
            self.rest.at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns `true` if the store has answered about the endpoint itself. Before that no attempt
    /// may start: the endpoint may be held.
    pub(crate) fn endpoint_is_read(&self) -> bool {
        !self.unread.has_more(ReadKind::Endpoint)
    }

    /// Starts no attempt until [`configure`](Self::configure), because the settings cannot be read.
    pub(crate) fn withhold(&mut self) {
        self.control.withheld = true;
    }

    /// Prepares for a change of `run`: attempts that end from now on are recorded after
    /// [`end_change`](Self::end_change).
    pub(crate) fn begin_change(&mut self) {
        self.control.changing = true;
    }

    /// Applies a change that has been written; `None` if writing failed.
    pub(crate) fn end_change(
        &mut self,
        now: Timestamp,
        change: Option<RunChange>,
        actions: &mut Vec<Action>,
    ) {
        self.control.changing = false;
        self.rest = Rest::Awake;
        if !self.refused.is_empty() {
            self.record_again_at = Some(now);
        }
        if let Some(change) = change {
            self.apply(now, change, actions);
        }
    }

    fn apply(&mut self, now: Timestamp, change: RunChange, actions: &mut Vec<Action>) {
        let was_disabled = self.control.run.disabled.is_some();
        let resumes = change == RunChange::Resume;
        self.control.run.apply(change);
        if !resumes {
            return;
        }
        if was_disabled {
            self.tally.health = Health::default();
        }
        // Recording it could disable the endpoint again, at least in the store.
        for record in &mut self.refused {
            record.disabled = None;
            record.health = None;
        }
        self.lift(now, actions);
    }

    /// Limits reading ahead to a little, or lifts that limit.
    pub(crate) fn set_tight(&mut self, tight: bool) {
        self.tight = tight;
    }

    /// Sets the wall clock's offset. Call this before `on_finished` for an answer that may contain
    /// a date.
    pub(crate) fn set_wall(&mut self, offset: WallOffset) {
        self.wall = offset;
    }

    /// Starts no more attempts; those in flight finish.
    pub(crate) fn drain(&mut self) {
        self.control.draining = true;
    }

    /// Forgets the attempts in flight and returns their permits. Attempts that have ended are still
    /// recorded.
    pub(crate) fn break_off(&mut self) -> Vec<Charge> {
        self.late = 0;
        self.under_way.break_off()
    }

    /// Applies other settings from the next attempt on.
    pub(crate) fn configure(&mut self, policy: Arc<EndpointPolicy>) {
        self.control.withheld = false;
        self.window.set_max(policy.max_in_flight);
        let ordering = policy.ordering;
        let changed = ordering != self.policy.ordering;
        if policy.circuit_breaker != self.policy.circuit_breaker {
            self.circuit.look_again(policy.circuit_breaker.as_ref());
        }
        self.policy = policy;
        if changed {
            self.reorder(ordering);
        }
    }

    /// Returns the number of attempts in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        u32::try_from(self.under_way.in_flight()).unwrap_or(u32::MAX)
    }

    /// Returns the number of attempts in flight that count towards the window.
    fn in_window(&self) -> u32 {
        u32::try_from(self.under_way.in_window()).unwrap_or(u32::MAX)
    }

    /// Returns the endpoint's standing and the number of its open deliveries, which the status
    /// shows too.
    pub(crate) fn standing(&self) -> (Standing, u64) {
        let standing = Standing {
            kind: self.state().kind(),
            failing: self.tally.is_failing(),
        };
        (standing, self.tally.open)
    }

    /// Returns since when the endpoint has been failing; `None` if its last attempt delivered.
    pub(crate) fn failing_since(&self) -> Option<Timestamp> {
        self.tally.health.failing_since
    }

    /// Returns `true` if an attempt could start now as far as the receiver and the settings say,
    /// and waits only for the engine: for a permit, or for the store.
    pub(crate) fn waits_for_engine(&self, now: Timestamp) -> bool {
        if !self.endpoint_is_read() {
            return self.control.is_on() && !self.control.draining;
        }
        if !self.would_start(now) {
            return false;
        }
        let alone = self.under_way.is_empty() && self.waiting.is_empty() && self.due.is_empty();
        let in_order = self.policy.ordering != Ordering::Unordered;
        let known = self.under_way.len() + self.waiting.len() + self.due.len();
        let unread = self.queue.len() == 0
            && self.unread.has_more(ReadKind::Queued)
            && self.tally.open > u64::try_from(known).unwrap_or(u64::MAX)
            && (alone || !in_order);
        !self.queue.is_blocked() || self.loading > 0 || unread
    }

    fn state(&self) -> EndpointState {
        let next_due = self.waiting.keys().next().map(|(due_at, _)| *due_at);
        let queued = self.queue.len() + self.by_hand.len() + self.due.len();
        let busy = !self.under_way.is_empty() || queued > 0;
        let open_until = self.circuit.open_until();
        let held_until = self.hold.map(|hold| hold.until);
        let waits = match (held_until.max(open_until), next_due) {
            (Some(until), _) if held_until.is_some() => EndpointState::RateLimited { until },
            (Some(until), _) => EndpointState::CircuitOpen { until },
            _ if busy || self.unread.has_more(ReadKind::Queued) => EndpointState::Delivering,
            (None, Some(until)) => EndpointState::BackingOff { until },
            (None, None) => EndpointState::Idle,
        };
        self.run().state().unwrap_or(waits)
    }

    fn run(&self) -> Run {
        self.control.run.or_withheld(self.control.withheld)
    }

    /// Returns the endpoint's status; the shell adds the fields that only it knows.
    pub(crate) fn status(&self) -> EndpointStatus {
        let state = self.state();
        let next_attempt_at = match state {
            EndpointState::RateLimited { until }
            | EndpointState::BackingOff { until }
            | EndpointState::CircuitOpen { until } => Some(until),
            EndpointState::Delivering => self.paced_until,
            EndpointState::Idle | EndpointState::Paused | EndpointState::Disabled { .. } => None,
        };
        EndpointStatus {
            state,
            stopped: self.run().stopped(),
            queued: self.tally.open.saturating_sub(u64::from(self.in_flight())),
            in_flight: self.in_flight(),
            window: self.window.size(),
            held: self.hold,
            next_attempt_at,
            ..self.tally.status(self.url.clone())
        }
    }

    /// Rebuilds the queue for another ordering. Deliveries that were already attempted keep their
    /// lanes closed, wherever they are.
    pub(super) fn reorder(&mut self, ordering: Ordering) {
        let queued = self.queue.take_all();
        let under_way = self.under_way.alerts();
        let under_way = under_way.map(|(id, alert)| (id, alert.company_id.as_ref()));
        let waiting = self.waiting.iter().map(|((_, id), due)| (*id, due));
        let due = self.due.iter().map(|(id, due)| (*id, due));
        let attempted = waiting.chain(due).filter(|(_, due)| due.closed_lane);
        let attempted = attempted.map(|(id, due)| (id, due.company.as_ref()));
        for (id, company) in under_way.chain(attempted) {
            self.queue.close_lane(ordering, company, id);
        }
        let forgotten = &self.forgotten;
        let queued = queued
            .into_iter()
            .filter(|delivery| !forgotten.contains(delivery.id));
        for delivery in queued {
            let past_gate = |due: &WaitingRetry| due.closed_lane;
            if self.due.get(&delivery.id).is_some_and(past_gate) {
                self.queue.push_due(ordering, delivery);
            } else {
                self.queue.push(ordering, delivery);
            }
        }
    }
}

/// How long an attempt may be in flight before it is late and its endpoint counts as hanging.
pub(crate) const LATE_AFTER: Duration = Duration::from_secs(1);

/// The most deliveries of one endpoint in memory with their alerts, not counting those in flight.
pub(crate) const MAX_BUFFERED: usize = 256;

/// How many bytes of bodies of one endpoint may be in memory before no more are added, not counting
/// those in flight. This applies to a small concurrency window; one of 64 or more allows eight
/// times as much.
const BYTES_AHEAD: usize = 1_024 * 1_024;

/// If nothing may start for at least this long, deliveries in memory are left to the store again.
const SHUT_FOR_LONG: Duration = Duration::from_secs(10);

/// The most waiting retries of one endpoint in memory, without their alerts.
const MAX_WAITING: usize = 1_024;

/// The most tests of one endpoint in memory that arrive without a read. More are read one by one.
const MAX_TESTS: usize = 16;

/// The most ended attempts of one endpoint that are not recorded yet. Beyond this none starts.
const MAX_UNRECORDED: usize = 1_024;

/// The wait before a failed call of the store is repeated.
const STORE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The idle time after which an endpoint's connections are released.
const REST_AFTER: Duration = Duration::from_secs(15);

/// The same for an endpoint without a connection worth keeping.
const REST_SOON_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
#[cfg(test)]
mod visibility;
