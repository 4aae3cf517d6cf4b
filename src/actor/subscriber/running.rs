//! What is under way: attempts, each with the moment before which it is not late, and store calls.
//!
//! An attempt has no timer of its own: nearly all of them end long before their deadline, and to arm and disarm one for each costs as much as the
//! attempt's whole bookkeeping. The subscriber's one timer is armed for the earliest of these moments; then those that may be late are polled, and break off.

use std::pin::{Pin, pin};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Completed;

/// Attempts and store calls that are under way.
#[derive(Default)]
pub(super) struct Running {
    tasks: FuturesUnordered<Task>,
    /// No attempt is late before.
    look_at: Option<Instant>,
}

struct Task {
    future: LocalBoxFuture<'static, Completed>,
    /// Of an attempt, before when it is not late. It knows best itself: its time begins when it is polled for the first time.
    not_before: Option<Instant>,
    /// How it is had polled then; `None` before it was polled for the first time.
    waker: Option<Waker>,
}

impl Future for Task {
    type Output = Completed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Completed> {
        if self.not_before.is_some() && self.waker.is_none() {
            // Always the same one.
            self.waker = Some(cx.waker().clone());
        }
        pin!(&mut self.future).poll(cx)
    }
}

impl Running {
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Adds an attempt, which breaks off by itself if it is polled when it is late.
    pub(super) fn push_attempt(
        &mut self,
        future: LocalBoxFuture<'static, Completed>,
        not_before: Instant,
    ) {
        if self.look_at.is_none_or(|at| not_before < at) {
            self.look_at = Some(not_before);
        }
        self.push(future, Some(not_before));
    }

    /// Adds a store call.
    pub(super) fn push_call(&mut self, future: LocalBoxFuture<'static, Completed>) {
        self.push(future, None);
    }

    fn push(&mut self, future: LocalBoxFuture<'static, Completed>, not_before: Option<Instant>) {
        self.tasks.push(Task {
            future,
            not_before,
            waker: None,
        });
    }

    /// Returns what has ended, and has the task of `cx` woken when more can go on.
    pub(super) fn next_ended(&mut self, cx: &mut TaskContext<'_>) -> Option<Completed> {
        if self.is_empty() {
            return None;
        }
        let Poll::Ready(ended) = self.tasks.poll_next_unpin(cx) else {
            return None;
        };
        if self.tasks.is_empty() {
            self.look_at = None;
        }
        ended
    }

    /// Returns when [`break_off_late`](Self::break_off_late) may have something to do.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Has the attempts polled that may be late.
    pub(super) fn break_off_late(&mut self, now: Instant) {
        self.look_at = None;
        for task in &mut self.tasks {
            let Some(mut next) = task.not_before else {
                continue;
            };
            if next <= now {
                // One that was not polled yet will be, and one that began later than it was added is looked at again.
                if let Some(waker) = &task.waker {
                    waker.wake_by_ref();
                }
                next = now + AGAIN_AFTER;
            }
            self.look_at = Some(self.look_at.map_or(next, |at| at.min(next)));
        }
    }
}

/// After how long an attempt that is about to be late is looked at again.
const AGAIN_AFTER: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::actor::clock::Clock;
    use crate::transport::within;

    #[actix_rt::test]
    async fn an_attempt_has_its_whole_time_though_it_begins_late_and_is_broken_off_after_it() {
        tokio::time::pause();
        let timeout = Duration::from_millis(100);
        let mut running = Running::default();
        let attempt = async move {
            within(timeout, pin!(pending())).await;
            Completed::Agreed(Ok(()))
        };
        running.push_attempt(Box::pin(attempt), Clock::instant() + timeout);
        let mut cx = TaskContext::from_waker(Waker::noop());
        let mut ended_at = None;
        // It is polled for the first time after half of it.
        for millis in (50..=200).step_by(5) {
            tokio::time::advance(Duration::from_millis(if millis == 50 { 50 } else { 5 })).await;
            let now = Clock::instant();
            if running.look_at().is_some_and(|at| at <= now) {
                running.break_off_late(now);
            }
            if running.next_ended(&mut cx).is_some() {
                ended_at.get_or_insert(millis);
            }
        }
        assert_eq!(ended_at, Some(150));
        assert_eq!((running.is_empty(), running.look_at()), (true, None));
    }
}
