//! Deliveries that a store has given up by itself, until the engine asks for them and reports them.

use parking_lot::Mutex;

use crate::domain::deliveries::delivery::EndedDelivery;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::value::url::WebhookUrl;

/// A delivery that the store has given up by itself: one that it could not read, or one to an endpoint that is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// To which endpoint it was.
    pub url: WebhookUrl,
    /// Which delivery it was.
    pub delivery: EndedDelivery,
    /// Why.
    pub reason: DeadLetterReason,
}

/// What was given up since the engine asked last, at most [`MAX_GIVEN_UP`] of it.
#[derive(Debug, Default)]
pub(crate) struct GivenUps(Mutex<Vec<GivenUp>>);

impl GivenUps {
    /// Adds what was given up. What there is no room for is reported to nobody; it is a dead letter all the same.
    pub(crate) fn add(&self, more: impl IntoIterator<Item = GivenUp>) {
        let mut list = self.0.lock();
        let room = MAX_GIVEN_UP.saturating_sub(list.len());
        list.extend(more.into_iter().take(room));
    }

    pub(crate) fn take(&self) -> Vec<GivenUp> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// How much is kept for an engine that does not ask.
pub(crate) const MAX_GIVEN_UP: usize = 10_000;
