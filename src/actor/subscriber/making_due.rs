//! Retries that an operator wants attempted now: first the store makes them due, one at a time.

use std::collections::VecDeque;
use std::task::{Context as TaskContext, Poll};

use actix::{Context, Handler};
use futures_util::FutureExt as _;

use super::SubscriberActor;
use crate::actor::message::MakeDue;
use crate::actor::reply::{Answerer, Deferred};
use crate::actor::store_call::StoreCall;
use crate::domain::endpoint::due::AttemptNowAnswer;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::store::{StoreError, WaitingDelivery};

/// The requests, oldest first.
#[derive(Default)]
pub(super) struct MakingDue {
    asked: VecDeque<(DeliveryId, Answerer<Answer>)>,
    /// The write for the first one, once it has begun.
    call: Option<StoreCall<Option<WaitingDelivery>>>,
}

/// `None` for a delivery that does not wait for a retry.
type Answer = Result<Option<AttemptNowAnswer>, StoreError>;

impl SubscriberActor {
    /// Makes the first delivery due that an operator asked for. Returns `true` once it is answered.
    pub(super) fn write_due(&mut self, now: Timestamp, cx: &mut TaskContext<'_>) -> bool {
        let Some(making) = &mut self.making_due else {
            return false;
        };
        let Some(id) = making.asked.front().map(|(id, _)| *id) else {
            self.making_due = None;
            return false;
        };
        if making.call.is_none() {
            if !self.machine.endpoint_is_read() {
                // It may be on hold. The end of the read wakes this actor.
                return false;
            }
            if let Some(answer) = self.machine.make_due(now, id) {
                return self.answer_due(Ok(Some(answer)));
            }
        }
        let (shared, url) = (&self.shared, &self.url);
        let call = making
            .call
            .get_or_insert_with(|| shared.call(|store| store.make_due(url, id, now)));
        let Poll::Ready(result) = call.poll_unpin(cx) else {
            return false;
        };
        making.call = None;
        let (found, failed) = match result {
            Ok(found) => (found, None),
            Err(error) => (None, Some(error)),
        };
        let answer = self.machine.on_made_due(found);
        self.answer_due(failed.map_or(Ok(answer), Err))
    }

    fn answer_due(&mut self, answer: Answer) -> bool {
        let making = self.making_due.as_mut();
        if let Some((_, answerer)) = making.and_then(|making| making.asked.pop_front()) {
            answerer.send(answer);
        }
        true
    }
}

impl Handler<MakeDue> for SubscriberActor {
    type Result = Deferred<Answer>;

    fn handle(&mut self, MakeDue(id): MakeDue, _: &mut Context<Self>) -> Deferred<Answer> {
        let (answerer, deferred) = Deferred::new();
        let making = self.making_due.get_or_insert_default();
        making.asked.push_back((id, answerer));
        deferred
    }
}
