//! What is under way: attempts, each with the moment at which it is broken off, and store calls.
//!
//! An attempt has no timer of its own: nearly all of them end long before their deadline, and to arm and disarm one for each costs as much as the
//! attempt's whole bookkeeping. The subscriber's one timer is armed for the earliest deadline that was in sight when it was looked at last.

use std::pin::{Pin, pin};
use std::task::{Context as TaskContext, Poll, Waker};

use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Done;

/// Attempts and store calls that are under way.
#[derive(Default)]
pub(super) struct Running {
    tasks: FuturesUnordered<Task>,
    /// No deadline is earlier.
    look_at: Option<Instant>,
}

struct Task {
    future: LocalBoxFuture<'static, Done>,
    /// When the future breaks off by itself if it is polled.
    deadline: Option<Instant>,
    /// How it is had polled then; `None` before it was polled for the first time.
    waker: Option<Waker>,
}

impl Future for Task {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Done> {
        if self.deadline.is_some() && self.waker.is_none() {
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

    /// Adds an attempt, which breaks off when it is polled at its deadline or later.
    pub(super) fn push_attempt(
        &mut self,
        future: LocalBoxFuture<'static, Done>,
        deadline: Instant,
    ) {
        if self.look_at.is_none_or(|at| deadline < at) {
            self.look_at = Some(deadline);
        }
        self.push(future, Some(deadline));
    }

    /// Adds a store call.
    pub(super) fn push_call(&mut self, future: LocalBoxFuture<'static, Done>) {
        self.push(future, None);
    }

    fn push(&mut self, future: LocalBoxFuture<'static, Done>, deadline: Option<Instant>) {
        self.tasks.push(Task {
            future,
            deadline,
            waker: None,
        });
    }

    /// Returns what has ended, and has the task of `cx` woken when more can go on.
    pub(super) fn next_ended(&mut self, cx: &mut TaskContext<'_>) -> Option<Done> {
        if self.is_empty() {
            return None;
        }
        match self.tasks.poll_next_unpin(cx) {
            Poll::Ready(ended) => ended,
            Poll::Pending => None,
        }
    }

    /// Returns when [`break_off_late`](Self::break_off_late) may have something to do.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Has the attempts polled whose deadline has come.
    pub(super) fn break_off_late(&mut self, now: Instant) {
        let mut next = None;
        for task in &mut self.tasks {
            match (task.deadline, &task.waker) {
                (Some(deadline), Some(waker)) if deadline <= now => waker.wake_by_ref(),
                // One that was not polled yet will be.
                (Some(deadline), _) => next = Some(next.map_or(deadline, |at| deadline.min(at))),
                (None, _) => {}
            }
        }
        self.look_at = next;
    }
}
