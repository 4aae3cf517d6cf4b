//! Where the router stands in the store's outbox.

use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Interval, MissedTickBehavior};

use super::store_call::StoreCall;
use crate::store::{OutboxEntry, Store};

/// How far the outbox was read, and whether it is to be read again.
#[derive(Default)]
pub(crate) struct Outbox {
    /// The place up to which events were taken out.
    after: u64,
    wanted: bool,
    sweep: Option<Interval>,
    reading: Option<(StoreCall<Vec<OutboxEntry>>, usize)>,
    /// An event that was refused for now, and is read again at the next look.
    back_to: Option<u64>,
}

impl Outbox {
    /// Has the outbox read now, and again every so often.
    pub(crate) fn sweep_every(&mut self, period: Duration) {
        let mut sweep = tokio::time::interval(period);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.sweep = Some(sweep);
    }

    /// Has the outbox read at the next turn.
    pub(crate) fn look(&mut self) {
        self.wanted = true;
        if let Some(seq) = self.back_to.take() {
            // Whatever follows it and was taken out meanwhile is remembered by its event id.
            self.after = self.after.min(seq.saturating_sub(1));
        }
    }

    /// Has an event read again at the next look.
    pub(crate) fn come_back_to(&mut self, seq: u64) {
        self.back_to = Some(self.back_to.map_or(seq, |earlier| earlier.min(seq)));
    }

    /// Reads on, and returns what was found; `None` while there is nothing to be read.
    pub(crate) fn read(
        &mut self,
        store: &dyn Store,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Option<Vec<OutboxEntry>> {
        while self
            .sweep
            .as_mut()
            .is_some_and(|sweep| sweep.poll_tick(cx).is_ready())
        {
            self.look();
        }
        if self.reading.is_none() && self.wanted {
            self.wanted = false;
            let after = self.after;
            self.reading = Some((StoreCall::begin(|| store.outbox(after, limit)), limit));
        }
        let (call, limit) = self.reading.as_mut()?;
        let Poll::Ready(result) = call.poll_unpin(cx) else {
            return None;
        };
        let limit = *limit;
        self.reading = None;
        match result {
            Ok(entries) => {
                self.wanted |= entries.len() == limit;
                self.after = entries.last().map_or(self.after, |last| last.seq);
                Some(entries)
            }
            Err(error) => {
                log::error!(error:? = error; "outbox could not be read; it is looked into again");
                None
            }
        }
    }
}
