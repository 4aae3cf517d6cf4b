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
    /// Whether the next read begins where an event was refused.
    rewind: bool,
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
        self.rewind = true;
    }

    /// Has an event read again at the next look, before which nothing more is read. Says whether it is the first since the last look.
    pub(crate) fn come_back_to(&mut self, seq: u64) -> bool {
        let first = self.back_to.is_none();
        self.back_to = Some(self.back_to.map_or(seq, |earlier| earlier.min(seq)));
        first
    }

    /// Says whether a read would begin now.
    pub(crate) fn is_wanted(&self) -> bool {
        self.reading.is_none() && self.wanted && (self.back_to.is_none() || self.rewind)
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
        if self.is_wanted() {
            self.wanted = false;
            self.rewind = false;
            if let Some(seq) = self.back_to.take() {
                // Whatever follows it and was taken out meanwhile is remembered by its event id.
                self.after = self.after.min(seq.saturating_sub(1));
            }
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::store::MemoryStore;

    fn reading(after: u64) -> (Outbox, tokio::sync::oneshot::Sender<Vec<OutboxEntry>>) {
        let (sender, entries) = tokio::sync::oneshot::channel();
        let call = StoreCall::begin(|| Box::pin(async move { Ok(entries.await.unwrap()) }));
        let outbox = Outbox {
            after,
            reading: Some((call, 256)),
            ..Outbox::default()
        };
        (outbox, sender)
    }

    #[test]
    fn an_event_that_was_refused_while_others_were_being_read_is_read_again() {
        let (mut outbox, sender) = reading(10);
        outbox.come_back_to(5);
        outbox.look();
        let entry = OutboxEntry {
            seq: 20,
            event: Err(String::new()),
        };
        sender.send(vec![entry]).unwrap();
        let (store, mut cx) = (MemoryStore::new(), Context::from_waker(Waker::noop()));
        assert_eq!(
            outbox.read(&store, 256, &mut cx).map(|read| read.len()),
            Some(1)
        );
        assert!(outbox.is_wanted());
        assert_eq!(outbox.read(&store, 256, &mut cx), Some(Vec::new()));
        assert_eq!(outbox.after, 4, "from the event that was refused");
    }

    #[test]
    fn after_a_refusal_nothing_is_read_before_the_next_look() {
        let mut outbox = Outbox {
            wanted: true,
            ..Outbox::default()
        };
        assert!(outbox.come_back_to(7));
        assert!(!outbox.come_back_to(9), "told once");
        assert!(!outbox.is_wanted());
        outbox.look();
        assert!(outbox.is_wanted());
    }
}
