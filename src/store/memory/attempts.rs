//! The attempts of all deliveries of an endpoint.

use std::convert::Infallible;

use super::state::State;
use crate::domain::deliveries::attempt::{Attempt, EndpointAttempt};
use crate::domain::value::id::DeliveryId;
use crate::domain::value::url::WebhookUrl;
use crate::store::attempts::find;
use crate::store::{AttemptPage, AttemptQuery};

impl State {
    /// Returns a page of the attempts of an endpoint, the latest first.
    pub(super) fn attempts_of(&self, url: &WebhookUrl, query: &AttemptQuery) -> AttemptPage {
        let through = query.through();
        let attempted = self.entries().filter(|(id, entry)| {
            **id <= through && entry.last_attempt().is_some() && entry.url == *url
        });
        let mut attempted: Vec<_> = attempted.collect();
        attempted.sort_unstable_by(|a, b| b.0.cmp(a.0));
        let deliveries = attempted.into_iter();
        let deliveries = deliveries.map(|(id, entry)| Ok::<_, Infallible>((*id, entry.attempts())));
        let Ok(found) = find(query, deliveries);
        let items = found.attempts.into_iter();
        let searched_to = found.searched_to.and_then(|id| self.find(id));
        AttemptPage {
            items: items.filter_map(|found| self.shown(found)).collect(),
            next: found.next,
            searched_to: searched_to.map(|entry| entry.accepted_at),
        }
    }

    fn shown(&self, (id, attempt): (DeliveryId, Attempt)) -> Option<EndpointAttempt> {
        let alert = &self.find(id)?.alert;
        let (event, client) = (alert.event_id.clone(), alert.client_id.clone());
        let shown = EndpointAttempt::new(id, event, alert.rule_type.as_str(), client, attempt);
        Some(shown)
    }
}
