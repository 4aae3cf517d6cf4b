//! The state machine of one endpoint: what may start, what waits, and what is to be done next.
//!
//! It is given events (deliveries, finished attempts, answers of the store, the passing of time) and pushes [`Action`]s; it does no I/O and
//! reads no clock. The shell around it performs the actions, takes places for attempts, and wakes it at
//! [`next_wake`](EndpointMachine::next_wake).
//!
//! A delivery is in exactly one place here: in the queue (its alert in memory), in flight, being recorded, or waiting for a retry (its
//! alert in the store). What does not fit in the window is in the store alone, and `Backlog` remembers that there is more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::alert::Alert;
use super::attempt::{AttemptRecord, AttemptSummary, Exchange, Failure, Outcome};
use super::backlog::Backlog;
use super::dead_letter::DeadLetterReason;
use super::delivery::{OpenDelivery, WaitingDelivery};
use super::endpoint::{EndpointPolicy, Ordering};
use super::id::{CompanyId, DeliveryId};
use super::places::PlaceClass;
use super::queue::Queue;
use super::response::{ResponseClass, holds_endpoint};
use super::retry::{Progress, Retry};
use super::retry_after::parse_retry_after;
use super::status::{EndpointState, EndpointStatus};
use super::tally::{Past, Tally};
use super::time::Timestamp;
use super::url::WebhookUrl;
use super::window::ConcurrencyWindow;

/// What the shell has to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Write this attempt to the store, then call `on_recorded` or `on_record_refused`.
    Record(AttemptRecord),
    /// Read these deliveries back, then call `on_loaded` or `on_load_failed`.
    Load(Vec<DeliveryId>),
    /// Read what the store knows of the endpoint, then call `on_endpoint_read` or `on_endpoint_read_failed`.
    ReadEndpoint,
    /// Read deliveries that were never attempted, then call `on_queued_read` or `on_read_failed`.
    ReadQueued {
        /// Those after this one.
        after: DeliveryId,
        /// At most so many.
        limit: usize,
    },
    /// Read the earliest waiting deliveries, then call `on_waiting_read` or `on_read_failed`.
    ReadWaiting {
        /// At most so many.
        limit: usize,
    },
    /// So many attempts in flight that were prompt have become late: count their places to the sick.
    CountAsSick(u32),
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

/// Whether attempts may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Running,
    Paused,
    /// The engine shuts down: what is in flight ends, nothing starts.
    Draining,
}

#[derive(Debug)]
struct InFlight {
    delivery: OpenDelivery,
    started_at: Timestamp,
    /// As what its place counts.
    class: PlaceClass,
    late: bool,
}

/// The state of one endpoint.
#[derive(Debug)]
pub(crate) struct EndpointMachine {
    url: WebhookUrl,
    policy: Arc<EndpointPolicy>,
    run: Run,
    window: ConcurrencyWindow,
    queue: Queue,
    /// Retries that are due, with the companies by which order is kept: being read back, or in the queue already.
    due: BTreeMap<DeliveryId, Option<CompanyId>>,
    in_flight: BTreeMap<DeliveryId, InFlight>,
    late: u32,
    /// Attempts that have ended and are not on record yet.
    recording: BTreeMap<DeliveryId, Arc<Alert>>,
    /// Those of them that the store refused for now, to be handed out again at `record_again_at`.
    refused: Vec<AttemptRecord>,
    waiting: BTreeMap<(Timestamp, DeliveryId), Option<CompanyId>>,
    hold_until: Option<Timestamp>,
    backlog: Backlog,
    tally: Tally,
    late_check_at: Option<Timestamp>,
    record_again_at: Option<Timestamp>,
    rest_at: Option<Timestamp>,
}

impl EndpointMachine {
    /// Returns the state of an endpoint of which nothing was read from the store yet.
    /// The past is what the endpoint's last subscriber left behind.
    pub(crate) fn new(url: WebhookUrl, policy: Arc<EndpointPolicy>, past: Past) -> Self {
        Self {
            url,
            window: past.window.with_max(policy.max_in_flight),
            policy,
            run: Run::Running,
            queue: Queue::default(),
            due: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            late: 0,
            recording: BTreeMap::new(),
            refused: Vec::new(),
            waiting: BTreeMap::new(),
            hold_until: None,
            backlog: Backlog::unread(),
            tally: past.tally,
            late_check_at: None,
            record_again_at: None,
            rest_at: None,
        }
    }

    /// Takes deliveries that were just accepted, in their order. What does not fit stays in the store.
    pub(crate) fn on_deliveries(&mut self, deliveries: impl IntoIterator<Item = OpenDelivery>) {
        for delivery in deliveries {
            self.tally.open += 1;
            if self.backlog.has_seen(delivery.id) {
                self.tally.open -= 1;
            } else if self.backlog.more_queued() || self.room() == 0 {
                self.backlog.note_queued();
            } else {
                self.backlog.see(delivery.id);
                self.queue.push(self.policy.ordering, delivery);
            }
        }
        self.rest_at = None;
    }

    /// Takes what the store knows of the endpoint: how many deliveries are open, and until when it is held back.
    pub(crate) fn on_endpoint_read(&mut self, open: u64, held_until: Option<Timestamp>) {
        self.backlog.endpoint_read();
        self.hold_until = self.hold_until.max(held_until);
        // A count that comes late counts deliveries that have ended since; once all is in memory it is known better.
        if self.backlog.more_queued() || self.backlog.more_waiting() {
            self.tally.open = self.tally.open.max(open);
        }
    }

    /// Notes that `Action::ReadEndpoint` failed: it is tried again a little later.
    pub(crate) fn on_endpoint_read_failed(&mut self, now: Timestamp) {
        self.backlog.endpoint_read_failed(now + STORE_AGAIN_AFTER);
    }

    /// Notes that the store holds `count` deliveries more than this machine was told of.
    pub(crate) fn on_backlog(&mut self, count: u64) {
        self.tally.open += count;
        self.backlog.note_queued();
        self.rest_at = None;
    }

    /// Takes what `Action::ReadQueued` found.
    pub(crate) fn on_queued_read(&mut self, deliveries: Vec<OpenDelivery>, limit: usize) {
        self.backlog.queued_read(deliveries.len() == limit);
        for delivery in deliveries {
            if !self.backlog.has_seen(delivery.id) {
                self.backlog.see(delivery.id);
                self.queue.push(self.policy.ordering, delivery);
            }
        }
        self.correct_count();
    }

    /// Takes what `Action::ReadWaiting` found.
    pub(crate) fn on_waiting_read(&mut self, deliveries: Vec<WaitingDelivery>, limit: usize) {
        self.backlog.waiting_read(deliveries.len() == limit);
        // What was read may be older than what is known: a delivery may wait for a later retry by now.
        let waiting: BTreeSet<DeliveryId> = self.waiting.keys().map(|(_, id)| *id).collect();
        for WaitingDelivery {
            id,
            due_at,
            company_id,
        } in deliveries
        {
            let known = self.due.contains_key(&id)
                || self.in_flight.contains_key(&id)
                || self.recording.contains_key(&id)
                || waiting.contains(&id);
            if !known {
                self.queue
                    .close_lane(self.policy.ordering, company_id.as_ref());
                self.waiting.insert((due_at, id), company_id);
                self.spill();
            }
        }
        self.correct_count();
    }

    /// Notes that `Action::ReadQueued` failed: it is tried again a little later.
    pub(crate) fn on_queued_read_failed(&mut self, now: Timestamp) {
        self.backlog.queued_read_failed(now + STORE_AGAIN_AFTER);
    }

    /// Notes that `Action::ReadWaiting` failed: it is tried again a little later.
    pub(crate) fn on_waiting_read_failed(&mut self, now: Timestamp) {
        self.backlog.waiting_read_failed(now + STORE_AGAIN_AFTER);
    }

    /// Takes deliveries that were started again by hand. Their ids may have been passed already, by deliveries that were handed over first.
    pub(crate) fn on_redelivered(&mut self, ids: Vec<DeliveryId>, actions: &mut Vec<Action>) {
        self.tally.open += u64::try_from(ids.len()).unwrap_or(u64::MAX);
        let (passed, ahead): (Vec<_>, Vec<_>) =
            ids.into_iter().partition(|id| self.backlog.has_seen(*id));
        if !ahead.is_empty() {
            self.backlog.note_queued();
        }
        if !passed.is_empty() {
            self.due.extend(passed.iter().map(|id| (*id, None)));
            actions.push(Action::Load(passed));
        }
        self.rest_at = None;
    }

    /// Takes what `Action::Load` found. A delivery that is asked for and not found is no longer open.
    pub(crate) fn on_loaded(&mut self, asked: &[DeliveryId], deliveries: Vec<OpenDelivery>) {
        let found: BTreeSet<DeliveryId> = deliveries.iter().map(|delivery| delivery.id).collect();
        for id in asked {
            if !found.contains(id) && self.due.remove(id).is_some() {
                self.tally.open = self.tally.open.saturating_sub(1);
            }
        }
        for delivery in deliveries {
            if delivery.due_at.is_some() {
                self.queue.push_due(delivery);
            } else {
                self.queue.push(self.policy.ordering, delivery);
            }
        }
    }

    /// Notes that reading due retries back failed: they wait a little longer.
    pub(crate) fn on_load_failed(&mut self, now: Timestamp, asked: &[DeliveryId]) {
        for id in asked {
            if let Some(company) = self.due.remove(id) {
                self.waiting.insert((now + STORE_AGAIN_AFTER, *id), company);
            }
        }
    }

    /// Says whether an attempt may start, if the process has a place for it.
    pub(crate) fn can_start(&self) -> bool {
        self.run == Run::Running
            && self.backlog.endpoint_is_read()
            && self.hold_until.is_none()
            && !self.queue.is_blocked()
            && self.in_flight() < self.window.size()
            && self.recording.len() < MAX_UNRECORDED
    }

    /// Returns how the endpoint counts against the process-wide limit.
    pub(crate) fn place_class(&self) -> PlaceClass {
        if self.late > 0 || self.tally.consecutive_transient > 0 {
            PlaceClass::Sick
        } else {
            PlaceClass::Prompt
        }
    }

    /// Starts the next attempt; `None` when none [`can_start`](Self::can_start).
    pub(crate) fn start(&mut self, now: Timestamp) -> Option<AttemptOrder> {
        if !self.can_start() {
            return None;
        }
        let mut delivery = self.queue.pop()?;
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
        self.rest_at = None;
        let attempt = InFlight {
            delivery,
            started_at: now,
            class: self.place_class(),
            late: false,
        };
        let before = self.in_flight.insert(order.delivery_id, attempt);
        debug_assert!(
            before.is_none(),
            "a delivery has one attempt in flight at most"
        );
        Some(order)
    }

    /// Takes the end of an attempt, decides what it means, and has it recorded. Returns the kind of place that is free again.
    pub(crate) fn on_finished(
        &mut self,
        now: Timestamp,
        id: DeliveryId,
        exchange: &Exchange,
        rng: &mut Rng,
        actions: &mut Vec<Action>,
    ) -> Option<PlaceClass> {
        let InFlight {
            delivery,
            started_at,
            class,
            late,
        } = self.in_flight.remove(&id)?;
        self.late -= u32::from(late);
        let mut progress = delivery.progress;
        let held_before = self.hold_until;
        let (outcome, next_attempt_at) = self.judge(now, exchange, &mut progress, rng);
        let answer = exchange.result.as_ref().ok();
        let summary = AttemptSummary {
            number: progress.attempts_made,
            at: now,
            duration: now.since(started_at),
            status: exchange.status,
            failure: match outcome {
                Outcome::Delivered => None,
                Outcome::Failed { failure } => Some(failure),
                Outcome::DeadLettered { reason } => reason.failure(),
            },
        };
        let record = AttemptRecord {
            delivery_id: id,
            url: self.url.clone(),
            summary,
            outcome,
            progress,
            next_attempt_at,
            redirects: exchange.redirects,
            sent_twice: exchange.sent_twice,
            hold_until: self.hold_until.filter(|until| Some(*until) != held_before),
            excerpt: answer
                .map(|answer| answer.excerpt.clone())
                .unwrap_or_default(),
        };
        actions.push(Action::Record(record));
        self.recording.insert(id, delivery.alert);
        Some(class)
    }

    /// Decides what the end of an attempt means for its delivery and for the endpoint.
    fn judge(
        &mut self,
        now: Timestamp,
        exchange: &Exchange,
        progress: &mut Progress,
        rng: &mut Rng,
    ) -> (Outcome, Option<Timestamp>) {
        let (failure, transient) = match &exchange.result {
            Ok(answer) => match self.policy.responses.classify(answer.status) {
                ResponseClass::Delivered => {
                    progress.attempts_made = progress.attempts_made.saturating_add(1);
                    self.window.on_success();
                    self.tally.succeeded();
                    return (Outcome::Delivered, None);
                }
                ResponseClass::Transient => (Failure::Status(answer.status), true),
                ResponseClass::Permanent | ResponseClass::Redirected => {
                    (Failure::Status(answer.status), false)
                }
            },
            Err(failure) => (*failure, failure.is_transient().unwrap_or(false)),
        };
        self.tally.failed(transient);
        if !transient {
            progress.attempts_made = progress.attempts_made.saturating_add(1);
            if failure.status().is_some() {
                // It answered promptly and clearly: nothing about the endpoint is sick.
                self.window.on_success();
            }
            return (
                Outcome::DeadLettered {
                    reason: DeadLetterReason::Permanent(failure),
                },
                None,
            );
        }
        self.window.on_transient_failure();
        let asked = exchange
            .result
            .as_ref()
            .ok()
            .and_then(|answer| answer.retry_after.as_deref());
        let retry_after = asked
            .and_then(|value| parse_retry_after(value, now, self.policy.retry.retry_after_cap()));
        if let (Failure::Status(status), Some(wait)) = (failure, retry_after)
            && holds_endpoint(status)
            && wait > Duration::ZERO
        {
            self.hold_until = self.hold_until.max(Some(now + wait));
        }
        match self
            .policy
            .retry
            .after_failure(progress, now, retry_after, rng)
        {
            Retry::At(due_at) => (Outcome::Failed { failure }, Some(due_at)),
            Retry::AttemptsExhausted => (
                Outcome::DeadLettered {
                    reason: DeadLetterReason::AttemptsExhausted(failure),
                },
                None,
            ),
            Retry::WindowOver => (
                Outcome::DeadLettered {
                    reason: DeadLetterReason::WindowOver(failure),
                },
                None,
            ),
        }
    }

    /// Notes that an attempt is on record: only now may anything depend on it. Returns what was sent.
    pub(crate) fn on_recorded(&mut self, record: &AttemptRecord) -> Option<Arc<Alert>> {
        let id = record.delivery_id;
        let alert = self.recording.remove(&id)?;
        self.tally.count(record);
        match record.next_attempt_at {
            Some(due_at) => self.wait((due_at, id), alert.company_id.clone()),
            None => self
                .queue
                .open_lane(self.policy.ordering, alert.company_id.as_ref()),
        }
        Some(alert)
    }

    /// Notes that the store could not record an attempt for now: it is handed out again a little later.
    pub(crate) fn on_record_refused(&mut self, now: Timestamp, record: &AttemptRecord) {
        self.refused.push(record.clone());
        self.record_again_at.get_or_insert(now + STORE_AGAIN_AFTER);
    }

    /// Lets time pass: moves due retries on, reads more of the backlog where there is room, judges what has become late. Called after
    /// every other event too; calling it once too often does nothing.
    /// Says whether a hold has ended, which is all that it changes about the status without an action.
    pub(crate) fn pump(&mut self, now: Timestamp, actions: &mut Vec<Action>) -> bool {
        let hold_ends = self.hold_until.is_some_and(|until| until <= now);
        if hold_ends {
            self.hold_until = None;
            self.window.on_transient_failure();
        }
        self.record_again(now, actions);
        self.judge_lateness(now, actions);
        self.load_due(now, actions);
        self.read_backlog(now, actions);
        self.rest(now, actions);
        hold_ends
    }

    /// Returns when [`pump`](Self::pump) has something to do, if nothing else happens before.
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        let next_due = self
            .waiting
            .keys()
            .next()
            .map(|(due_at, _)| *due_at)
            .filter(|_| self.can_load());
        let next_due =
            next_due.map(|due_at| self.hold_until.map_or(due_at, |until| due_at.max(until)));
        let rest_at = self.rest_at.filter(|at| *at < Timestamp::NEVER);
        [
            next_due,
            self.hold_until,
            self.late_check_at,
            self.record_again_at,
            self.backlog.again_at(),
            rest_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Stops starting attempts until [`resume`](Self::resume).
    pub(crate) fn pause(&mut self) {
        if self.run == Run::Running {
            self.run = Run::Paused;
        }
    }

    /// Lets attempts start again.
    pub(crate) fn resume(&mut self) {
        if self.run == Run::Paused {
            self.run = Run::Running;
        }
    }

    /// Starts nothing more; what is in flight ends.
    pub(crate) fn drain(&mut self) {
        self.run = Run::Draining;
    }

    /// Says whether nothing is in flight and everything is on record.
    pub(crate) fn is_drained(&self) -> bool {
        self.in_flight.is_empty() && self.recording.is_empty()
    }

    /// Says whether nothing is in flight and nothing is about to start.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_drained() && self.queue.is_blocked() && self.due.is_empty()
    }

    /// Gives back memory and rests soon; for an endpoint that is quiet and has no connection worth keeping.
    pub(crate) fn rest_soon(&mut self, now: Timestamp) {
        self.rest_at = Some(now + REST_SOON_AFTER);
        self.shrink();
    }

    /// Says whether nothing is left of the endpoint but its tally, so that its subscriber can end and another can go on later.
    pub(crate) fn may_retire(&self) -> bool {
        self.run != Run::Draining
            && self.is_quiet()
            && self.waiting.is_empty()
            && self.hold_until.is_none()
            && self.backlog.is_read()
            && self.tally.open == 0
    }

    /// Returns what the endpoint's next subscriber goes on from.
    pub(crate) fn past(&self) -> Past {
        Past {
            tally: self.tally,
            window: self.window,
            reports_lost: 0,
        }
    }

    /// Takes other settings; they apply from the next attempt on.
    pub(crate) fn configure(&mut self, policy: Arc<EndpointPolicy>) {
        self.window.set_max(policy.max_in_flight);
        let ordering = policy.ordering;
        let changed = ordering != self.policy.ordering;
        self.policy = policy;
        if changed {
            self.reorder(ordering);
        }
    }

    /// Returns how many attempts are in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX)
    }

    /// Returns how the endpoint does; the shell adds what only it knows.
    pub(crate) fn status(&self) -> EndpointStatus {
        let next_due = self.waiting.keys().next().map(|(due_at, _)| *due_at);
        let busy = !self.in_flight.is_empty()
            || !self.recording.is_empty()
            || self.queue.len() + self.due.len() > 0;
        let state = match (self.run, self.hold_until, next_due) {
            (Run::Paused, ..) => EndpointState::Paused,
            (_, Some(until), _) => EndpointState::RateLimited { until },
            _ if busy || self.backlog.more_queued() => EndpointState::Delivering,
            (_, None, Some(until)) => EndpointState::BackingOff { until },
            (_, None, None) => EndpointState::Idle,
        };
        let next_attempt_at = match state {
            EndpointState::RateLimited { until }
            | EndpointState::BackingOff { until }
            | EndpointState::CircuitOpen { until } => Some(until),
            EndpointState::Idle
            | EndpointState::Delivering
            | EndpointState::Paused
            | EndpointState::Disabled { .. } => None,
        };
        EndpointStatus {
            state,
            queued: self.tally.open.saturating_sub(u64::from(self.in_flight())),
            in_flight: self.in_flight(),
            window: self.window.size(),
            next_attempt_at,
            ..self.tally.status(self.url.clone())
        }
    }

    fn wait(&mut self, key: (Timestamp, DeliveryId), company: Option<CompanyId>) {
        let last = self.waiting.keys().next_back();
        if self.backlog.more_waiting() && last.is_none_or(|last| key > *last) {
            // Whatever is in the store alone is due after everything that waits here.
            self.backlog.note_waiting();
        } else {
            self.waiting.insert(key, company);
            self.spill();
        }
    }

    /// Leaves what waits longest to the store alone when too much waits.
    fn spill(&mut self) {
        // An ordered endpoint has at most one waiting delivery per lane and needs them all to know which lanes are closed.
        if self.waiting.len() > MAX_WAITING && self.policy.ordering == Ordering::Unordered {
            self.waiting.pop_last();
            self.backlog.note_waiting();
        }
    }

    /// How many more deliveries may be in memory with their alerts.
    fn room(&self) -> usize {
        WINDOW.saturating_sub(self.queue.len() + self.due.len())
    }

    /// For how many deliveries the backlog is read ahead: for some rounds of the concurrency window, so that a thousand endpoints which have just
    /// started, or which fail, do not fill the memory with what they cannot send yet.
    fn read_ahead(&self) -> usize {
        let window = usize::try_from(self.window.size()).unwrap_or(WINDOW);
        window.saturating_mul(8).clamp(WINDOW / 8, WINDOW)
    }

    fn can_load(&self) -> bool {
        self.run == Run::Running && self.due.len() < WINDOW
    }

    fn load_due(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let mut ids = Vec::new();
        while self.can_load() && self.hold_until.is_none() {
            let Some(entry) = self.waiting.first_entry() else {
                break;
            };
            let (due_at, id) = *entry.key();
            if due_at > now {
                break;
            }
            self.due.insert(id, entry.remove());
            ids.push(id);
        }
        if !ids.is_empty() {
            actions.push(Action::Load(ids));
        }
    }

    fn read_backlog(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        self.backlog.pass(now);
        if self.backlog.may_read_endpoint(now) {
            self.backlog.begin_endpoint_read();
            actions.push(Action::ReadEndpoint);
        }
        let ordered = self.policy.ordering != Ordering::Unordered;
        if self.waiting.len() < MAX_WAITING / 2 && self.backlog.may_read_waiting(now) {
            let known =
                self.due.len() + self.in_flight.len() + self.recording.len() + self.waiting.len();
            let limit = if ordered {
                usize::MAX
            } else {
                known + MAX_WAITING
            };
            self.backlog.begin_waiting_read();
            actions.push(Action::ReadWaiting { limit });
        }
        // The lanes of waiting retries must be closed before those behind them are let in.
        let lanes_known = !ordered || !self.backlog.more_waiting();
        let (ahead, loaded) = (self.read_ahead(), self.queue.len() + self.due.len());
        if lanes_known && loaded < ahead / 2 && self.backlog.may_read_queued(now) {
            let after = self.backlog.begin_queued_read();
            let limit = ahead - loaded;
            actions.push(Action::ReadQueued { after, limit });
        }
    }

    fn record_again(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.record_again_at.is_some_and(|at| at <= now) {
            self.record_again_at = None;
            actions.extend(self.refused.drain(..).map(Action::Record));
        }
    }

    fn judge_lateness(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.late_check_at.is_none_or(|at| at > now) {
            return;
        }
        let (mut newly_late, mut moved) = (0, 0);
        let mut oldest = None;
        for attempt in self.in_flight.values_mut().filter(|attempt| !attempt.late) {
            if attempt.started_at + LATE_AFTER <= now {
                attempt.late = true;
                newly_late += 1;
                if attempt.class == PlaceClass::Prompt {
                    attempt.class = PlaceClass::Sick;
                    moved += 1;
                }
            } else {
                oldest = Some(oldest.map_or(attempt.started_at, |at: Timestamp| {
                    at.min(attempt.started_at)
                }));
            }
        }
        self.late_check_at = oldest.map(|started_at| started_at + LATE_AFTER);
        self.late += newly_late;
        if moved > 0 {
            actions.push(Action::CountAsSick(moved));
        }
    }

    fn rest(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        match self.rest_at {
            Some(_) if !self.is_quiet() => self.rest_at = None,
            Some(at) if at <= now => {
                self.rest_at = Some(Timestamp::NEVER);
                self.shrink();
                actions.push(Action::Rest);
            }
            None if self.is_quiet() => self.rest_at = Some(now + REST_AFTER),
            Some(_) | None => {}
        }
    }

    /// Gives back memory: an empty map keeps room for its next entries, and there may be many endpoints at rest.
    fn shrink(&mut self) {
        self.queue.shrink();
        self.in_flight = BTreeMap::new();
        self.recording = BTreeMap::new();
        self.refused = Vec::new();
        self.due = BTreeMap::new();
        if self.waiting.is_empty() {
            self.waiting = BTreeMap::new();
        }
    }

    /// Rebuilds the queue for another order. Those in flight or waiting keep their lanes closed.
    fn reorder(&mut self, ordering: Ordering) {
        let queued = self.queue.take_all();
        let busy = self
            .in_flight
            .values()
            .map(|attempt| attempt.delivery.alert.company_id.as_ref());
        let recording = self
            .recording
            .values()
            .map(|alert| alert.company_id.as_ref());
        let waiting = self.waiting.values().map(Option::as_ref);
        let closed: Vec<Option<CompanyId>> = busy
            .chain(recording)
            .chain(waiting)
            .map(Option::<&CompanyId>::cloned)
            .collect();
        for company in &closed {
            self.queue.close_lane(ordering, company.as_ref());
        }
        for delivery in queued {
            if self.due.contains_key(&delivery.id) {
                self.queue
                    .close_lane(ordering, delivery.alert.company_id.as_ref());
                self.queue.push_due(delivery);
            } else {
                self.queue.push(ordering, delivery);
            }
        }
    }

    /// Once everything open is in memory, the count can be checked against it.
    fn correct_count(&mut self) {
        if !self.backlog.more_queued() && !self.backlog.more_waiting() {
            // Deliveries in `due` that are read back already are in the queue too.
            let read_back = self.queue.count_among(&self.due);
            let known = self.queue.len() + self.due.len() - read_back
                + self.in_flight.len()
                + self.recording.len()
                + self.waiting.len();
            self.tally.open = u64::try_from(known).unwrap_or(u64::MAX);
        }
    }
}

/// After how long in flight an attempt counts to the sick.
pub(crate) const LATE_AFTER: Duration = Duration::from_secs(1);

/// The most deliveries of one endpoint that are in memory with their alerts, those in flight not counted.
pub(crate) const WINDOW: usize = 256;

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
