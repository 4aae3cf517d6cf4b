//! Publishers and their receipts.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::oneshot;

use super::RouterActor;
use crate::actor::message::Receipt;
use crate::actor::reply::Answerer;
use crate::domain::value::id::DeliveryId;
use crate::error::PublishError;
use crate::store::{NewEvent, StoreError};

/// The publisher of an event, and how it gets its receipt.
pub(super) enum Publisher {
    One(Answerer<Result<Receipt, PublishError>>),
    /// A publisher that does not wait for a place in the mailbox.
    Sent(oneshot::Sender<Result<Receipt, PublishError>>),
    /// One position in the answer to a batch.
    Part(Rc<BatchAnswer>, usize),
    /// An operator who sends a test and learns the id of its delivery, once it has one.
    Test(
        Answerer<Result<DeliveryId, PublishError>>,
        Option<DeliveryId>,
    ),
    /// No publisher: the event comes from this position in the outbox, and stays there if it is
    /// refused.
    Outbox(u64),
}

/// The answer to a batch, collected one position at a time.
pub(super) struct BatchAnswer(RefCell<Collecting>);

struct Collecting {
    answers: Vec<Option<Result<Receipt, PublishError>>>,
    missing: usize,
    answerer: Option<Answerer<Vec<Result<Receipt, PublishError>>>>,
}

impl BatchAnswer {
    /// Returns an empty answer to a batch of `events` events. It is sent once every event has its
    /// answer.
    pub(super) fn new(
        events: usize,
        answerer: Answerer<Vec<Result<Receipt, PublishError>>>,
    ) -> Rc<Self> {
        Rc::new(Self(RefCell::new(Collecting {
            answers: std::iter::repeat_with(|| None).take(events).collect(),
            missing: events,
            answerer: Some(answerer),
        })))
    }

    pub(super) fn put(&self, place: usize, answer: Result<Receipt, PublishError>) {
        let mut collecting = self.0.borrow_mut();
        if let Some(slot) = collecting.answers.get_mut(place) {
            *slot = Some(answer);
        }
        collecting.missing -= 1;
        if collecting.missing == 0
            && let Some(answerer) = collecting.answerer.take()
        {
            answerer.send(
                std::mem::take(&mut collecting.answers)
                    .into_iter()
                    .flatten()
                    .collect(),
            );
        }
    }
}

impl Publisher {
    /// Notes the first delivery of the event.
    pub(super) fn noting(self, first: Option<DeliveryId>) -> Self {
        match self {
            Self::Test(answerer, _) => Self::Test(answerer, first),
            Self::One(_) | Self::Sent(_) | Self::Part(..) | Self::Outbox(_) => self,
        }
    }

    /// Answers the publisher.
    pub(super) fn answer(self, answer: Result<Receipt, PublishError>) {
        match self {
            Self::One(answerer) => answerer.send(answer),
            // A publisher that no longer waits is no error.
            Self::Sent(sender) => drop(sender.send(answer)),
            Self::Part(batch, place) => batch.put(place, answer),
            Self::Test(answerer, first) => {
                let none = || StoreError::unavailable("the store has made no delivery of the test");
                let first = first.ok_or_else(|| PublishError::Store(none()));
                answerer.send(answer.and(first));
            }
            Self::Outbox(_) => {}
        }
    }
}

impl RouterActor {
    /// Passes on the result of storing an event to its publisher.
    pub(super) fn answer_about(
        &mut self,
        event: &NewEvent,
        publisher: Publisher,
        answer: Result<Receipt, PublishError>,
    ) {
        self.answered += 1;
        if let Publisher::Outbox(seq) = publisher {
            self.on_outbox_answer(seq, event, answer);
        } else {
            publisher.answer(answer);
        }
    }
}
