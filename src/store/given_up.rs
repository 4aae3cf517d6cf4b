//! Deliveries that a store has given up by itself, until the engine takes and reports them.

use parking_lot::Mutex;

use crate::domain::deliveries::delivery::EndedDelivery;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::value::url::WebhookUrl;

/// A delivery that the store has given up by itself: it is unreadable, or its endpoint was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GivenUp {
    /// The endpoint of the delivery.
    pub url: WebhookUrl,
    /// The delivery.
    pub delivery: EndedDelivery,
    /// The reason.
    pub reason: DeadLetterReason,
}

impl GivenUp {
    /// Returns a delivery to this URL that was given up for this reason.
    pub fn new(url: WebhookUrl, delivery: EndedDelivery, reason: DeadLetterReason) -> Self {
        Self {
            url,
            delivery,
            reason,
        }
    }
}

/// Deliveries given up since the engine last asked, at most [`MAX_GIVEN_UP`].
#[derive(Debug, Default)]
pub(crate) struct GivenUps(Mutex<Vec<GivenUp>>);

impl GivenUps {
    /// Adds deliveries. Those beyond the limit are not reported, but are dead letters all the same.
    pub(crate) fn add(&self, more: impl IntoIterator<Item = GivenUp>) {
        let mut list = self.0.lock();
        let room = MAX_GIVEN_UP.saturating_sub(list.len());
        list.extend(more.into_iter().take(room));
    }

    pub(crate) fn take(&self) -> Vec<GivenUp> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// The most deliveries kept for an engine that does not ask.
pub(crate) const MAX_GIVEN_UP: usize = 10_000;
