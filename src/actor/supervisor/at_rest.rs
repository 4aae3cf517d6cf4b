//! Endpoints known only because they once had deliveries. Their number is bounded, because there
//! may be a new URL every day.

use std::collections::BTreeMap;

use super::{EndpointEntry, Subscriber, SupervisorActor};
use crate::domain::value::url::WebhookUrl;

/// The endpoints whose subscribers have retired, in the order of retirement.
#[derive(Debug)]
pub(super) struct AtRest {
    urls: BTreeMap<RestOrder, WebhookUrl>,
    last: u64,
    /// The maximum number of endpoints remembered.
    max: usize,
}

/// The position of a retirement among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RestOrder(u64);

impl AtRest {
    pub(super) fn new(max: usize) -> Self {
        Self {
            urls: BTreeMap::new(),
            last: 0,
            max,
        }
    }

    pub(super) fn add(&mut self, url: WebhookUrl) -> RestOrder {
        self.last += 1;
        self.urls.insert(RestOrder(self.last), url);
        RestOrder(self.last)
    }

    /// Removes and returns the endpoint that has rested longest, if there are too many.
    fn take_excess(&mut self) -> Option<WebhookUrl> {
        if self.urls.len() <= self.max {
            return None;
        }
        self.urls.pop_first().map(|(_, url)| url)
    }
}

impl SupervisorActor {
    /// Forgets the endpoints that have rested longest while there are too many.
    pub(super) fn forget_excess(&mut self) {
        while let Some(oldest) = self.at_rest.take_excess() {
            if self
                .endpoints
                .get(&oldest)
                .is_some_and(EndpointEntry::is_spare)
            {
                self.uncount(&oldest);
                self.endpoints.remove(&oldest);
            }
        }
    }

    /// Notes that an endpoint is started again or removed.
    pub(super) fn note_not_at_rest(&mut self, url: &WebhookUrl) {
        let subscriber = self.endpoints.get(url).map(|entry| &entry.subscriber);
        if let Some(Subscriber::Retired { order, .. }) = subscriber {
            self.at_rest.urls.remove(order);
        }
    }
}

impl EndpointEntry {
    /// Returns `true` if forgetting the entry loses nothing but counts. The agreements with the
    /// receiver and the endpoint's health are in the store.
    fn is_spare(&self) -> bool {
        let Subscriber::Retired { past, .. } = &self.subscriber else {
            return false;
        };
        let has_settings = self.endpoint.is_some() || self.unreadable;
        !has_settings && past.run.is_on() && past.tally.open == 0
    }
}
