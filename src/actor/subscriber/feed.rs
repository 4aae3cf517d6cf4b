//! Updates for watchers, and the subscriber's timer.

use std::fmt;
use std::pin::Pin;
use std::task::Context as TaskContext;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::SubscriberActor;
use crate::domain::deliveries::alert::Alert;
use crate::domain::deliveries::attempt::AttemptRecord;
use crate::domain::deliveries::outcome::Outcome;
use crate::domain::endpoint::status::{DeliveryReport, EndpointStatus};
use crate::domain::value::backoff::Backoff;
use crate::domain::value::time::Timestamp;
use crate::domain::value::wall::OnWall as _;

/// The subscriber's only timer, armed for its next wake-up.
#[derive(Default)]
pub(super) struct Timer {
    pub(super) sleep: Option<Pin<Box<Sleep>>>,
    pub(super) armed_for: Option<Instant>,
}

/// The state of status updates for watchers.
#[derive(Default)]
pub(super) struct StatusFeed {
    pub(super) told_at: Option<Timestamp>,
    pub(super) changed: bool,
    pub(super) lost: u64,
    /// The number of updates in a row for which a watcher had no room.
    pub(super) refused: u32,
}

impl SubscriberActor {
    pub(super) fn status(&self) -> EndpointStatus {
        let status = EndpointStatus {
            store_error: self
                .store_error
                .clone()
                .or_else(|| self.shared.store.condition()),
            reports_lost: self.feed.lost,
            restarts: self.restarts,
            ..self.machine.status()
        };
        status.on_wall(self.shared.clock.offset())
    }

    /// Sends the status to its watchers, if it has changed and the last update is long enough ago.
    pub(super) fn tell_status(&mut self, now: Timestamp) {
        if self.feed.refused > 0 && !self.shared.watchers.statuses.is_watched(&self.url) {
            self.feed.refused = 0;
            if self.machine.is_at_rest() {
                // The subscriber stayed only for a watcher that is gone.
                self.rest();
            }
        }
        // Until the store has reported the open deliveries, only a store error can be shown.
        let knows = self.machine.endpoint_is_read() || self.store_error.is_some();
        if !self.feed.changed
            || !knows
            || !self.shared.watchers.statuses.is_watched(&self.url)
            || self.feed.due_at(now) > Some(now)
        {
            return;
        }
        let statuses = &self.shared.watchers.statuses;
        let lost = statuses.tell(&self.url, || self.status());
        // A watcher without room gets a later status instead.
        self.feed = StatusFeed {
            told_at: Some(now),
            changed: lost > 0,
            lost: self.feed.lost + lost,
            refused: if lost > 0 { self.feed.refused + 1 } else { 0 },
        };
        if lost == 0 && self.machine.is_at_rest() {
            // The subscriber may have stayed only for this update.
            self.rest();
        }
    }

    /// Arms the timer for the next wake-up or status update. Returns `true` if it has fired.
    pub(super) fn poll_timer(&mut self, now: Timestamp, cx: &mut TaskContext<'_>) -> bool {
        let knows = self.machine.endpoint_is_read() || self.store_error.is_some();
        let watched =
            self.feed.changed && knows && self.shared.watchers.statuses.is_watched(&self.url);
        let status_at = self.feed.due_at(now).filter(|_| watched);
        let wake_at = [self.machine.next_wake(), status_at]
            .into_iter()
            .flatten()
            .min();
        let next = wake_at.map(|at| self.shared.clock.moment(at));
        self.timer.poll(next, cx)
    }

    pub(super) fn report(&mut self, alert: &Alert, record: &AttemptRecord) {
        let (url, id) = (self.url.without_query(), record.delivery_id.get());
        let summary = &record.summary;
        log::debug!(
            endpoint = url, delivery_id = id, attempt = summary.number, outcome:? = record.outcome;
            "attempt {} of delivery {id} to {url} finished: {summary}{}", summary.number,
            Then(record)
        );
        let reports = &self.shared.watchers.reports;
        if reports.is_watched(&record.url) {
            let offset = self.shared.clock.offset();
            self.feed.lost += reports.tell(&record.url, || {
                DeliveryReport::of_attempt(alert, record).on_wall(offset)
            });
        }
    }
}

/// Displays the next step of the delivery.
struct Then<'a>(&'a AttemptRecord);

impl fmt::Display for Then<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.outcome, self.0.next_attempt_at) {
            (Outcome::DeadLettered { .. }, _) => f.write_str("; the delivery is now a dead letter"),
            (Outcome::Failed { .. }, Some(at)) => write!(f, "; next attempt at {at}"),
            (Outcome::Failed { .. } | Outcome::Delivered, _) => Ok(()),
        }
    }
}

impl Timer {
    /// Arms the timer for `next`, unless it fires earlier anyway. Returns `true` if it has fired.
    ///
    /// A timer that fires too early does no harm, so it is not moved when work is postponed.
    pub(super) fn poll(&mut self, next: Option<Instant>, cx: &mut TaskContext<'_>) -> bool {
        if let Some(next) = next
            && self.armed_for.is_none_or(|armed_for| next < armed_for)
        {
            let sleep = match &mut self.sleep {
                Some(sleep) => {
                    sleep.as_mut().reset(next);
                    sleep
                }
                None => self.sleep.insert(Box::pin(tokio::time::sleep_until(next))),
            };
            self.armed_for = Some(next);
            // Registers the task's waker. Once is enough, because it is always the same task.
            // `unconstrained`, because without it a poll with the task's budget spent would not
            // register the waker at all.
            let _ = std::pin::pin!(tokio::task::unconstrained(sleep.as_mut())).poll(cx);
        }
        let armed = self.sleep.as_ref().filter(|_| self.armed_for.is_some());
        let fired = armed.is_some_and(|sleep| sleep.is_elapsed());
        if fired {
            self.armed_for = None;
        }
        fired
    }

    pub(super) fn drop_unarmed(&mut self) {
        if self.armed_for.is_none() {
            self.sleep = None;
        }
    }
}

impl StatusFeed {
    /// Returns when the next update may be sent, `now` at the earliest; `None` before the first.
    fn due_at(&self, now: Timestamp) -> Option<Timestamp> {
        let due_at = self.told_at? + STATUS_WAITS.after(self.refused + 1);
        Some(due_at.max(now))
    }
}

/// The minimum wait between two status updates of an endpoint.
///
/// It doubles each time a watcher has no room.
const STATUS_WAITS: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(13));

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::actor::clock::{Clock, Wall};
    use crate::store::StoredClock;

    /// Once a task has spent its budget, every future that it polls is pending. A timer armed at
    /// that moment and not polled again would be lost, and with it every retry of its endpoint.
    #[actix_rt::test]
    async fn a_timer_that_is_armed_with_the_tasks_budget_spent_fires_all_the_same() {
        tokio::time::pause();
        let clock = Clock::starting(
            Wall::simulated(Timestamp::default()),
            StoredClock::default(),
        );
        let (mut timer, mut fired) = (Timer::default(), 0);
        for round in 1..=2 {
            let due = clock.moment(clock.now() + Duration::from_secs(round));
            let mut armed = false;
            let fires = poll_fn(|cx| {
                if !armed {
                    armed = true;
                    while pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
                    assert!(!timer.poll(Some(due), cx));
                    return Poll::Pending;
                }
                if timer.poll(Some(due), cx) {
                    fired += 1;
                    return Poll::Ready(());
                }
                Poll::Pending
            });
            let fires = tokio::time::timeout(Duration::from_mins(1), fires);
            fires.await.expect("it fires");
            assert!(Clock::instant() >= due);
        }
        assert_eq!(fired, 2);
    }
}
