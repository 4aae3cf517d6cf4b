//! The state machine of one endpoint: what may start, what waits, and what is to be done next.
//!
//! It is given events (deliveries, finished attempts, answers of the store, the passing of time) and pushes [`Action`]s; it does no I/O and
//! reads no clock. The shell around it performs the actions, takes permits for attempts, and wakes it at
//! [`next_wake`](EndpointMachine::next_wake).
//!
//! A delivery is in exactly one place here: in the queue (its alert in memory), in flight, being recorded, or waiting for a retry (its
//! alert in the store). What does not fit in the buffer is in the store alone, and `Unread` remembers that there is more.

mod agreeing;
pub(crate) mod bodies;
mod finishing;
mod forgetting;
pub(crate) mod permits;
pub(crate) mod queue;
pub(crate) mod read;
mod reading;
mod resting;
pub(crate) mod run;
pub(crate) mod tally;
mod under_way;
pub(crate) mod unread;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use self::agreeing::Reserved;
use self::forgetting::Forgotten;
use self::read::Read;
use self::run::{Run, RunChange};
use self::under_way::UnderWay;
use crate::domain::deliveries::alert::Alert;
use crate::domain::deliveries::attempt::AttemptRecord;
use crate::domain::endpoint::policy::{EndpointPolicy, Ordering};
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

/// What the shell has to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Write this attempt to the store, then call `on_recorded` or `on_record_refused`.
    Record(AttemptRecord),
    /// Read this, then call `on_read` or `on_read_failed`.
    Read(Read),
    /// Write what the endpoint has agreed on, then call `on_agreed` or `on_agree_failed`.
    Agree(Agreed),
    /// Attempts in flight of an endpoint that was prompt have become late: count their permits,
    /// which are at these sites, to those of the hanging.
    CountAsLate(Vec<SiteId>),
    /// Tell that the circuit breaker has opened.
    TellCircuitOpen {
        /// Until when nothing starts.
        until: Timestamp,
    },
    /// Tell that the endpoint is disabled, and why. It is written with the attempt that caused it.
    TellDisabled(DisabledReason),
    /// Nothing has happened for a while: give up connections and buffers.
    Rest,
}

/// An attempt that the shell has to make now.
#[derive(Debug)]
pub(crate) struct AttemptOrder {
    pub(crate) delivery_id: DeliveryId,
    pub(crate) alert: Arc<Alert>,
    /// Which attempt it is, from 1.
    pub(crate) number: u32,
}

/// A delivery that is read back, or will be when it is due.
#[derive(Debug, Default)]
struct WaitingRetry {
    company: Option<CompanyId>,
    /// Whether those behind it wait for it where order is kept. One that was started again by hand has not passed the gate yet.
    closed_lane: bool,
    /// Not before this instant.
    at: Timestamp,
}

impl WaitingRetry {
    /// Returns a delivery that was attempted before.
    fn retry(company: Option<CompanyId>, at: Timestamp) -> Self {
        Self {
            company,
            closed_lane: true,
            at,
        }
    }
}

/// The state of one endpoint.
#[derive(Debug)]
pub(crate) struct EndpointMachine {
    url: WebhookUrl,
    policy: Arc<EndpointPolicy>,
    run: Run,
    /// Whether its settings are kept and cannot be read: then nothing starts.
    withheld: bool,
    /// Whether the engine shuts down: what is in flight ends, nothing starts.
    draining: bool,
    /// Whether a change of `run` is being written: until then no attempt is recorded, so that the
    /// order in the store is the order here.
    changing: bool,
    window: ConcurrencyWindow,
    queue: Queue,
    /// Retries that are due, with the companies by which order is kept: being read back, or in the queue already.
    due: BTreeMap<DeliveryId, WaitingRetry>,
    /// How many of them are being read back.
    loading: usize,
    /// Whether all endpoints together have read so much that each reads only a little more.
    tight: bool,
    under_way: UnderWay,
    late: u32,
    /// How its last attempt showed it.
    class: PermitClass,
    /// Attempts that have ended and that the store refused for now, or that wait for a change, to be
    /// handed out again at `record_again_at`.
    refused: Vec<AttemptRecord>,
    waiting: BTreeMap<(Timestamp, DeliveryId), WaitingRetry>,
    forgotten: Forgotten,
    hold: Option<Hold>,
    circuit: Circuit,
    pacer: Pacer,
    pace: Pace,
    reserved: Reserved,
    /// When the rate limit, or the receiver's pace, lets the next attempt start, if something waits for that.
    paced_until: Option<Timestamp>,
    /// Whether the endpoint's state is what its last subscriber left behind, and not to be read from the store.
    is_known: bool,
    /// Whether somebody has resumed it before the store was asked about it: what that says may be out of date.
    lifted: bool,
    unread: Unread,
    tally: Tally,
    /// How the wall clock stood when it was asked for: what receivers say as a date is wall time.
    wall: WallOffset,
    late_check_at: Option<Timestamp>,
    record_again_at: Option<Timestamp>,
    rest_at: Option<Timestamp>,
}

impl EndpointMachine {
    /// Returns the state of an endpoint of which nothing was read from the store yet.
    /// The past is what the endpoint's last subscriber left behind.
    pub(crate) fn new(url: WebhookUrl, policy: Arc<EndpointPolicy>, past: RetiredState) -> Self {
        Self {
            url,
            window: past.window.with_max(policy.max_in_flight),
            policy,
            run: past.run,
            withheld: false,
            draining: false,
            changing: false,
            queue: Queue::default(),
            due: BTreeMap::new(),
            loading: 0,
            tight: false,
            under_way: UnderWay::default(),
            late: 0,
            class: past.class,
            refused: Vec::new(),
            waiting: BTreeMap::new(),
            forgotten: Forgotten::default(),
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
            rest_at: None,
        }
    }

    /// Returns `true` if an attempt may start, provided the process has a permit for it.
    pub(crate) fn can_start(&self, now: Timestamp) -> bool {
        !self.queue.is_blocked() && self.may_start(now)
    }

    /// Says whether an attempt might start if there were one more delivery.
    pub(crate) fn may_start(&self, now: Timestamp) -> bool {
        self.would_start(now) && self.is_reserved(now)
    }

    /// The same, but for what the store has to know before.
    fn would_start(&self, now: Timestamp) -> bool {
        self.is_on()
            && !self.draining
            && self.endpoint_is_read()
            && self.lanes_are_known()
            && self.hold.is_none()
            && self.circuit.lets_through()
            && self.in_flight() < self.window.size()
            && self.under_way.unrecorded() < MAX_UNRECORDED
            && self.pace(now).is_none()
            && !self.waits_for_refused()
    }

    /// Returns `true` if what was refused is being read back, and goes before what is new because the receiver takes only so many.
    fn waits_for_refused(&self) -> bool {
        self.loading > 0 && self.pace.overloaded_at().is_some()
    }

    /// Returns whose delivery would be attempted next; `None` when none
    /// [`can_start`](Self::can_start).
    pub(crate) fn next_client(&self, now: Timestamp) -> Option<&ClientId> {
        let next = self.queue.next().filter(|_| self.may_start(now))?;
        Some(&next.alert.client_id)
    }

    /// Returns how the endpoint counts against the process-wide limit.
    pub(crate) fn permit_class(&self) -> PermitClass {
        if self.late > 0 {
            PermitClass::Hanging
        } else {
            self.class
        }
    }

    /// Starts the next attempt in this permit; `None` when none [`can_start`](Self::can_start).
    pub(crate) fn start(&mut self, now: Timestamp, permit: Charge) -> Option<AttemptOrder> {
        if !self.can_start(now) {
            return None;
        }
        let mut delivery = self.queue.pop()?;
        self.due.remove(&delivery.id);
        self.circuit.on_start(delivery.id);
        self.take_turn(now);
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
        self.rest_at = None;
        self.under_way.start(delivery, now, permit);
        Some(order)
    }

    /// Lets time pass: moves due retries on, reads more of the backlog where there is room, judges what has become late. Called after
    /// every other event too; calling it once too often does nothing.
    /// Says whether a hold has ended or a circuit become half-open, which is all that it changes about the status without an action.
    pub(crate) fn pump(&mut self, now: Timestamp, actions: &mut Vec<Action>) -> bool {
        let hold_ends = self.hold.is_some_and(|hold| hold.until <= now);
        if hold_ends {
            self.hold = None;
            self.window.restart();
        }
        let probes = self.circuit.on_wake(now);
        if hold_ends || probes {
            // It may have rested with only this to wait for.
            self.rest_at = None;
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

    /// Returns when [`pump`](Self::pump) has something to do, if nothing else happens before.
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        let rest_at = self.rest_at.filter(|at| *at < Timestamp::NEVER);
        [
            self.next_load(),
            self.held_until(),
            self.circuit.open_until(),
            self.paced_until,
            self.late_check_at,
            self.record_again_at.filter(|_| !self.changing),
            self.reserve_again_at(),
            self.unread.again_at(),
            rest_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns `true` if the store was asked about the endpoint itself. Before that nothing may
    /// start: it may be held back.
    fn endpoint_is_read(&self) -> bool {
        !self.unread.has_more(ReadKind::Endpoint)
    }

    /// Returns `true` if attempts may start as far as operators, the receiver and the settings say.
    fn is_on(&self) -> bool {
        self.run.is_on() && !self.withheld
    }

    /// Starts no attempt until [`configure`](Self::configure): the settings cannot be read.
    pub(crate) fn withhold(&mut self) {
        self.withheld = true;
    }

    /// Prepares for a change of whether attempts may start: what ends from now on is recorded after
    /// [`end_change`](Self::end_change).
    pub(crate) fn begin_change(&mut self) {
        self.changing = true;
    }

    /// Takes in a change that is on record; `None` when it could not be written.
    pub(crate) fn end_change(
        &mut self,
        now: Timestamp,
        change: Option<RunChange>,
        actions: &mut Vec<Action>,
    ) {
        self.changing = false;
        if !self.refused.is_empty() {
            self.record_again_at = Some(now);
        }
        if let Some(change) = change {
            self.apply(now, change, actions);
        }
    }

    fn apply(&mut self, now: Timestamp, change: RunChange, actions: &mut Vec<Action>) {
        let disabled = self.run.disabled;
        self.run.apply(change);
        if change != RunChange::Resume {
            return;
        }
        if disabled.is_some() {
            self.tally.health = Health::default();
        }
        // It may disable the endpoint again when it is recorded, in the store at least.
        for record in &mut self.refused {
            record.disabled = None;
            record.health = None;
        }
        self.lift(now, actions);
    }

    /// Has it read only a little ahead from now on, or as much as it may again.
    pub(crate) fn set_tight(&mut self, tight: bool) {
        self.tight = tight;
    }

    /// Notes how the wall clock stands: to be called before the end of an attempt is taken whose answer may name a date.
    pub(crate) fn set_wall(&mut self, offset: WallOffset) {
        self.wall = offset;
    }

    /// Starts nothing more; what is in flight ends.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// Forgets the attempts in flight, and returns their permits. What has ended is still recorded.
    pub(crate) fn break_off(&mut self) -> Vec<Charge> {
        self.late = 0;
        self.under_way.break_off()
    }

    /// Takes other settings; they apply from the next attempt on.
    pub(crate) fn configure(&mut self, policy: Arc<EndpointPolicy>) {
        self.withheld = false;
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

    /// Says whether the store was asked what is open, so that the status is not that of an endpoint without deliveries.
    pub(crate) fn knows_what_is_open(&self) -> bool {
        self.endpoint_is_read()
    }

    /// Returns how many attempts are in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        u32::try_from(self.under_way.in_flight()).unwrap_or(u32::MAX)
    }

    /// Returns how the endpoint does; the shell adds what only it knows.
    pub(crate) fn status(&self) -> EndpointStatus {
        let next_due = self.waiting.keys().next().map(|(due_at, _)| *due_at);
        let busy = !self.under_way.is_empty() || self.queue.len() + self.due.len() > 0;
        let open_until = self.circuit.open_until();
        let held_until = self.hold.map(|hold| hold.until);
        let waits = match (held_until.max(open_until), next_due) {
            (Some(until), _) if held_until.is_some() => EndpointState::RateLimited { until },
            (Some(until), _) => EndpointState::CircuitOpen { until },
            _ if busy || self.unread.has_more(ReadKind::Queued) => EndpointState::Delivering,
            (None, Some(until)) => EndpointState::BackingOff { until },
            (None, None) => EndpointState::Idle,
        };
        let state = self.run.or_withheld(self.withheld).state().unwrap_or(waits);
        let next_attempt_at = match state {
            EndpointState::RateLimited { until }
            | EndpointState::BackingOff { until }
            | EndpointState::CircuitOpen { until } => Some(until),
            EndpointState::Delivering => self.paced_until,
            EndpointState::Idle | EndpointState::Paused | EndpointState::Disabled { .. } => None,
        };
        EndpointStatus {
            state,
            queued: self.tally.open.saturating_sub(u64::from(self.in_flight())),
            in_flight: self.in_flight(),
            window: self.window.size(),
            held: self.hold,
            next_attempt_at,
            ..self.tally.status(self.url.clone())
        }
    }

    /// Rebuilds the queue for another order. Those that were attempted already keep their lanes closed, wherever they are.
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

/// After how long in flight an attempt is late: then its endpoint counts to those that hang.
pub(crate) const LATE_AFTER: Duration = Duration::from_secs(1);

/// The most deliveries of one endpoint that are in memory with their alerts, those in flight not counted.
pub(crate) const MAX_BUFFERED: usize = 256;

/// How many bytes of bodies of one endpoint are in memory, those in flight not counted, before no more are added: so many with a small concurrency
/// window, eight times as many with one of 64 and more.
const BYTES_AHEAD: usize = 1_024 * 1_024;

/// For how long nothing may start at least before what was read is left to the store again.
const SHUT_FOR_LONG: Duration = Duration::from_secs(10);

/// The most waiting retries of one endpoint that are in memory, without their alerts.
const MAX_WAITING: usize = 1_024;

/// The most finished attempts of one endpoint that are not on record yet; then none starts.
const MAX_UNRECORDED: usize = 1_024;

/// After how long a store that could not help is asked again.
const STORE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// After how long without work connections are given up.
const REST_AFTER: Duration = Duration::from_secs(15);

/// The same where there is no connection to keep.
const REST_SOON_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
#[cfg(test)]
mod visibility;
