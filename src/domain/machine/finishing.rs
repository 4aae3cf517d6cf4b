//! Judging the end of an attempt, and recording it.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::under_way::InFlight;
use super::{Action, EndpointMachine, LATE_AFTER, STORE_AGAIN_AFTER};
use crate::domain::deliveries::alert::Alert;
use crate::domain::deliveries::answer::Directive;
use crate::domain::deliveries::attempt::{AttemptRecord, AttemptSummary, Exchange};
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::deliveries::outcome::{Failure, Outcome};
use crate::domain::endpoint::status::Stopped;
use crate::domain::machine::permits::{Charge, PermitClass};
use crate::domain::machine::run::Disabling;
use crate::domain::policy::agreed::Hold;
use crate::domain::policy::health::{DisabledReason, Health};
use crate::domain::policy::pace::Refused;
use crate::domain::policy::response::{ResponseClass, holds_endpoint};
use crate::domain::policy::retry::{Progress, Retry};
use crate::domain::policy::retry_after::parse_retry_after;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;

impl EndpointMachine {
    /// Judges the end of an attempt and requests its recording. Returns the permit that is free
    /// again.
    pub(crate) fn on_finished(
        &mut self,
        now: Timestamp,
        id: DeliveryId,
        exchange: &Exchange,
        rng: &mut Rng,
        actions: &mut Vec<Action>,
    ) -> Option<Charge> {
        let ended = self.under_way.end(id)?;
        self.late -= u32::from(ended.late);
        let is_late = ended.late || now.since(ended.started_at) >= LATE_AFTER;
        self.class = match (is_late, &exchange.result) {
            // It freed its permit quickly, whatever the result for the delivery.
            (false, _) => PermitClass::Prompt,
            (true, Ok(_)) => PermitClass::Unproven,
            (true, Err(_)) => PermitClass::Hanging,
        };
        let before = self.agreement();
        let mut progress = ended.progress;
        let (outcome, next_attempt_at) = self.judge(now, exchange, &ended, &mut progress, rng);
        let answer = exchange.result.as_ref().ok();
        let (mut health, mut disabled) = (None, None);
        if !ended.is_test {
            self.note_circuit(now, id, outcome, actions);
            (health, disabled) = self.note_health(now, outcome, exchange, actions);
        }
        let hold_until = self.hold.map(|hold| hold.until);
        let hold_until = hold_until.filter(|_| self.hold != before.hold);
        let summary = AttemptSummary {
            number: progress.attempts_made,
            at: now,
            duration: now.since(ended.started_at),
            status: exchange.status,
            failure: match outcome {
                Outcome::Delivered => None,
                Outcome::Failed { failure } => Some(failure),
                Outcome::DeadLettered { reason } => reason.failure(),
            },
            redirects: exchange.redirects,
            sent_twice: exchange.sent_twice,
        };
        let excerpt = answer.map(|answer| answer.excerpt.clone());
        let excerpt = excerpt.unwrap_or_default();
        let record = AttemptRecord {
            delivery_id: id,
            url: self.url.clone(),
            summary,
            outcome,
            progress,
            next_attempt_at,
            hold_until,
            agreed: self.agreed_since(before),
            health,
            disabled,
            trace: summary.kept(&exchange.trace, &excerpt),
            excerpt,
        };
        if self.control.changing {
            self.refused.push(record);
        } else {
            actions.push(Action::Record(record));
        }
        Some(ended.permit)
    }

    /// Decides the consequences of an attempt for its delivery and for the endpoint.
    pub(super) fn judge(
        &mut self,
        now: Timestamp,
        exchange: &Exchange,
        ended: &InFlight,
        progress: &mut Progress,
        rng: &mut Rng,
    ) -> (Outcome, Option<Timestamp>) {
        if ended.is_test {
            progress.attempts_made = progress.attempts_made.saturating_add(1);
            return (self.judge_test(exchange), None);
        }
        let (failure, transient) = match &exchange.result {
            Ok(answer) => match self.policy.responses.classify(answer.status) {
                ResponseClass::Delivered => {
                    progress.attempts_made = progress.attempts_made.saturating_add(1);
                    self.window.on_success();
                    self.pace.on_taken(ended.started_at, now);
                    self.tally.succeeded();
                    return (Outcome::Delivered, None);
                }
                ResponseClass::Transient => (exchange.refused_with(answer.status), true),
                ResponseClass::Permanent | ResponseClass::Redirected => {
                    (exchange.refused_with(answer.status), false)
                }
            },
            Err(failure) => (*failure, failure.is_transient().unwrap_or(false)),
        };
        self.tally.failed(transient);
        if !transient {
            progress.attempts_made = progress.attempts_made.saturating_add(1);
            if failure.status().is_some() {
                // A definite answer: the endpoint is healthy.
                self.window.on_success();
                self.pace.on_taken(ended.started_at, now);
            }
            return (
                Outcome::DeadLettered {
                    reason: DeadLetterReason::Permanent(failure),
                },
                None,
            );
        }
        let asked = self.asked_wait(now, exchange);
        if let Failure::Status(status) = failure
            && holds_endpoint(status)
        {
            self.note_overload(now, ended, status, asked);
        } else if self.policy.circuit_breaker.is_some() {
            self.window.on_overload(self.window.size());
        } else {
            self.window.restart();
        }
        if self.directs(exchange, Directive::AbortMessage) {
            progress.attempts_made = progress.attempts_made.saturating_add(1);
            let reason = DeadLetterReason::AbortedByReceiver(failure);
            return (Outcome::DeadLettered { reason }, None);
        }
        self.reschedule(now, failure, asked, progress, rng)
    }

    /// Returns the wait that the receiver asked for, before it is capped.
    fn asked_wait(&self, now: Timestamp, exchange: &Exchange) -> Option<Duration> {
        let answer = exchange.result.as_ref().ok()?;
        let asked = answer.retry_after.as_deref()?;
        let wall = self.wall.to_wall(now);
        parse_retry_after(asked, answer.date.as_deref(), wall, Duration::MAX)
    }

    /// Holds the endpoint for as long as its receiver asked, and adapts window and pace.
    fn note_overload(
        &mut self,
        now: Timestamp,
        ended: &InFlight,
        status: u16,
        asked: Option<Duration>,
    ) {
        let wait = asked.filter(|asked| !asked.is_zero());
        let until = wait.map(|wait| now + wait.min(self.policy.retry.longest_retry_after()));
        if let Some(until) = until
            && self.hold.is_none_or(|hold| hold.until < until)
        {
            self.hold = Some(Hold {
                until,
                status: Some(status),
                at: Some(now),
                asked,
            });
        }
        if self.pace.was_under_way(ended.started_at) {
            self.window.on_overload_beside(ended.at_once);
            return;
        }
        if self.pace.took_nothing() {
            // The receiver is out of order rather than busy: the number in flight did not cause it.
            self.window.forget();
            self.window.restart();
        } else {
            self.window.on_overload(ended.at_once);
        }
        let refused = Refused {
            started_at: ended.started_at,
            status,
            until,
        };
        self.pace.on_overload(refused, now);
        if self.pace.interval().is_some() {
            self.pacer.begin(now);
        }
    }

    fn directs(&self, exchange: &Exchange, directive: Directive) -> bool {
        let answer = exchange.result.as_ref().ok();
        self.policy.honours_directives
            && answer.is_some_and(|answer| answer.directive == Some(directive))
    }

    /// Decides when a delivery is retried after a transient failure.
    fn reschedule(
        &self,
        now: Timestamp,
        failure: Failure,
        asked: Option<Duration>,
        progress: &mut Progress,
        rng: &mut Rng,
    ) -> (Outcome, Option<Timestamp>) {
        match self.policy.retry.after_failure(progress, now, asked, rng) {
            Retry::At(due_at) => (Outcome::Failed { failure }, Some(due_at)),
            Retry::AttemptsExhausted => (
                Outcome::DeadLettered {
                    reason: DeadLetterReason::AttemptsExhausted(failure),
                },
                None,
            ),
            Retry::DeadlinePassed => (
                Outcome::DeadLettered {
                    reason: DeadLetterReason::DeadlinePassed(failure),
                },
                None,
            ),
        }
    }

    /// Reports the end of an attempt to the circuit breaker.
    fn note_circuit(
        &mut self,
        now: Timestamp,
        id: DeliveryId,
        outcome: Outcome,
        actions: &mut Vec<Action>,
    ) {
        let Some(breaker) = &self.policy.circuit_breaker else {
            self.circuit.on_answer();
            return;
        };
        let in_a_row = self.tally.consecutive_transient;
        if outcome == Outcome::Delivered || in_a_row == 0 {
            self.circuit.on_answer();
        } else if let Some(until) = self.circuit.on_failure(breaker, id, in_a_row, now) {
            actions.push(Action::TellCircuitOpen { until });
        }
    }

    /// Updates the endpoint's health after an attempt, and returns what has to be stored.
    fn note_health(
        &mut self,
        now: Timestamp,
        outcome: Outcome,
        exchange: &Exchange,
        actions: &mut Vec<Action>,
    ) -> (Option<Health>, Option<DisabledReason>) {
        let policy = &self.policy.disable;
        let asked = self.directs(exchange, Directive::Disable);
        let health = &mut self.tally.health;
        let (changed, failing) = if outcome == Outcome::Delivered {
            (health.on_success(), false)
        } else {
            (true, health.on_failure(&policy.when_failing, now))
        };
        let gone = policy.on_gone && matches!(&exchange.result, Ok(answer) if answer.status == 410);
        let reason = match (asked, gone, failing) {
            (true, ..) => Some(DisabledReason::ReceiverAsked),
            (_, true, _) => Some(DisabledReason::Gone),
            (_, _, true) => Some(DisabledReason::Failing),
            (false, false, false) => None,
        };
        let reason = reason.filter(|_| self.control.run.disabled.is_none());
        if let Some(reason) = reason {
            self.control.run.disabled = Some(Disabling {
                reason,
                stopped: Arc::new(Stopped::at(now)),
            });
            actions.push(Action::TellDisabled(reason));
        }
        // A success is stored whatever the current policy: an older policy may have had rules.
        let healthy = self.tally.health == Health::default();
        let kept = changed && (healthy || !policy.when_failing.is_empty());
        (kept.then_some(self.tally.health), reason)
    }

    /// Handles that an attempt is recorded; nothing may depend on it earlier. Returns the alert
    /// sent.
    pub(crate) fn on_recorded(&mut self, record: &AttemptRecord) -> Option<Arc<Alert>> {
        let id = record.delivery_id;
        let alert = self.under_way.take_recorded(id)?;
        self.unread.note_recorded(id);
        self.note_attempted(id);
        self.tally.count(record);
        match record.next_attempt_at {
            Some(due_at) => self.wait((due_at, id), alert.company_id.clone()),
            None => self
                .queue
                .open_lane(self.policy.ordering, alert.company_id.as_ref(), id),
        }
        Some(alert)
    }

    /// Keeps an attempt that the store could not record for now, and issues it again a little
    /// later.
    pub(crate) fn on_record_refused(&mut self, now: Timestamp, record: &AttemptRecord) {
        let mut record = record.clone();
        // The endpoint may have been resumed since, or other attempts may have changed the
        // agreement.
        record.disabled = record
            .disabled
            .filter(|_| self.control.run.disabled.is_some());
        record.hold_until = record.hold_until.filter(|_| self.hold.is_some());
        record.agreed = record.agreed.map(|_| Box::new(self.agreed()));
        self.refused.push(record);
        self.record_again_at.get_or_insert(now + STORE_AGAIN_AFTER);
    }

    pub(super) fn record_again(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if !self.control.changing && self.record_again_at.is_some_and(|at| at <= now) {
            self.record_again_at = None;
            actions.extend(self.refused.drain(..).map(Action::Record));
        }
    }

    pub(super) fn judge_lateness(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.late_check_at.is_none_or(|at| at > now) {
            return;
        }
        let (mut newly_late, mut moved) = (0, Vec::new());
        let mut oldest = None;
        for attempt in self
            .under_way
            .in_flight_mut()
            .filter(|attempt| !attempt.late)
        {
            if attempt.started_at + LATE_AFTER <= now {
                attempt.late = true;
                newly_late += 1;
                if attempt.permit.class == PermitClass::Prompt {
                    attempt.permit.class = PermitClass::Late;
                    moved.push(attempt.permit.site);
                }
            } else {
                oldest = Some(oldest.map_or(attempt.started_at, |at: Timestamp| {
                    at.min(attempt.started_at)
                }));
            }
        }
        self.late_check_at = oldest.map(|started_at| started_at + LATE_AFTER);
        self.late += newly_late;
        if !moved.is_empty() {
            actions.push(Action::CountAsLate(moved));
        }
    }
}
