//! Recording of attempts in the store.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker, ready};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};

use super::SubscriberActor;
use crate::actor::store_call::StoreCall;
use crate::domain::deliveries::attempt::AttemptRecord;
use crate::domain::value::time::Timestamp;
use crate::store::StoreError;

/// Store calls in progress that record attempts.
#[derive(Default)]
pub(super) struct Recording {
    calls: FuturesUnordered<RecordCall>,
}

struct RecordCall {
    records: Arc<[AttemptRecord]>,
    call: StoreCall<()>,
}

/// The records and the result of a call that has ended.
type Recorded = (Arc<[AttemptRecord]>, Result<(), StoreError>);

impl Future for RecordCall {
    type Output = Recorded;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Recorded> {
        let result = ready!(self.call.poll_unpin(cx));
        Poll::Ready((Arc::clone(&self.records), result))
    }
}

impl Recording {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    fn push(&mut self, call: RecordCall) {
        self.calls.push(call);
    }

    fn next_ended(&mut self, cx: &mut TaskContext<'_>) -> Option<Recorded> {
        if self.calls.is_empty() {
            return None;
        }
        // `unconstrained`, because with the task's budget spent every call would seem to be in
        // progress, and nothing would wake a later caller for the ended ones.
        let next = pin!(tokio::task::unconstrained(self.calls.next())).poll(cx);
        let Poll::Ready(Some(ended)) = next else {
            return None;
        };
        Some(ended)
    }
}

impl SubscriberActor {
    /// Stores the collected records.
    pub(super) fn write_records(&mut self, now: Timestamp) {
        if self.records.is_empty() {
            return;
        }
        let records: Arc<[AttemptRecord]> = self.records.drain(..).collect();
        let mut call = StoreCall::begin(|| self.shared.store.record(Arc::clone(&records)));
        // An in-memory store answers at once.
        match call.poll_unpin(&mut TaskContext::from_waker(Waker::noop())) {
            Poll::Ready(result) => self.on_recorded(now, &records, &result),
            Poll::Pending => {
                let active = self.active.get_or_insert_default();
                active.recording.push(RecordCall { records, call });
            }
        }
    }

    /// Takes in the results of ended recordings. Returns `true` if there were any.
    pub(super) fn take_recorded(&mut self, now: Timestamp, cx: &mut TaskContext<'_>) -> bool {
        let mut any = false;
        while let Some(active) = &mut self.active
            && let Some((records, result)) = active.recording.next_ended(cx)
        {
            self.on_recorded(now, &records, &result);
            any = true;
        }
        any
    }
}
