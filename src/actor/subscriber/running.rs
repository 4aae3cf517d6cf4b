//! Attempts in flight and store calls in progress.

use std::task::{Context as TaskContext, Poll};

use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;

use super::Completed;

/// Attempts in flight and store calls in progress, except calls that record attempts.
#[derive(Default)]
pub(super) struct Running(FuturesUnordered<LocalBoxFuture<'static, Completed>>);

impl Running {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, future: LocalBoxFuture<'static, Completed>) {
        self.0.push(future);
    }

    /// Returns an attempt or a call that has ended, if there is one.
    ///
    /// The task of `cx` is woken when another can make progress.
    pub(super) fn next_ended(&mut self, cx: &mut TaskContext<'_>) -> Option<Completed> {
        if self.is_empty() {
            return None;
        }
        match self.0.poll_next_unpin(cx) {
            Poll::Ready(ended) => ended,
            Poll::Pending => None,
        }
    }
}
