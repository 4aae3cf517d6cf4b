//! Having events stored, and handing on what was stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::FutureExt as _;

use super::publisher::Publisher;
use super::{AppendEnded, MAX_BATCH, RouterActor};
use crate::actor::inbox::Gone;
use crate::actor::message::Receipt;
use crate::actor::store_call::StoreCall;
use crate::domain::delivery::OpenDelivery;
use crate::domain::id::DeliveryId;
use crate::domain::retry::Progress;
use crate::domain::url::WebhookUrl;
use crate::error::PublishError;
use crate::store::{Appended, NewAlert, NewEvent};

impl RouterActor {
    pub(super) fn append(&mut self, cx: &mut TaskContext<'_>) {
        let count = self.inbox.len().min(MAX_BATCH);
        let incoming = self.inbox.drain(..count);
        let (events, publishers): (Vec<NewEvent>, Vec<Publisher>) = incoming.unzip();
        let events: Arc<[NewEvent]> = events.into();
        let mut call = StoreCall::begin(|| self.shared.store.append(Arc::clone(&events)));
        // A store in memory has the answer at once.
        if self.appending.is_empty()
            && let Poll::Ready(result) = call.poll_unpin(cx)
        {
            self.on_appended(AppendEnded {
                events,
                publishers,
                result,
            });
        } else {
            let ended = call.map(|result| AppendEnded {
                events,
                publishers,
                result,
            });
            self.appending.push_back(ended.boxed_local());
        }
    }

    pub(super) fn on_appended(
        &mut self,
        AppendEnded {
            events,
            publishers,
            result,
        }: AppendEnded,
    ) {
        let appended = match result {
            Ok(appended) => appended,
            Err(error) => {
                // A store may have done the work before it failed. Then the same event, published again, is remembered and nobody is told of
                // its deliveries but here.
                self.tell_of_unsure(&events);
                for publisher in publishers {
                    self.answer(publisher, Err(PublishError::Store(error.copy())));
                }
                return;
            }
        };
        let mut touched = Vec::new();
        let mut unknown = BTreeMap::new();
        for ((event, publisher), appended) in events.iter().zip(publishers).zip(appended) {
            let deliveries = match appended {
                Appended::Stored(ids) => {
                    self.sort(&event.alerts, &ids, &[], &mut touched, &mut unknown);
                    ids.len()
                }
                Appended::StoredInPart { ids, dead } => {
                    self.sort(&event.alerts, &ids, &dead, &mut touched, &mut unknown);
                    ids.len()
                }
                Appended::Remembered { deliveries } => deliveries,
                Appended::Full(overflow) => {
                    self.answer(
                        publisher,
                        Err(PublishError::Overloaded(overflow.to_string())),
                    );
                    continue;
                }
            };
            self.answer(publisher, Ok(Receipt::new(event.id.clone(), deliveries)));
        }
        self.hand_over(touched, &mut unknown);
        self.wake(unknown);
    }

    /// Has subscribers look for deliveries that may or may not be in the store.
    pub(super) fn tell_of_unsure(&mut self, events: &[NewEvent]) {
        let mut counts = BTreeMap::<WebhookUrl, u64>::new();
        let urls = events
            .iter()
            .flat_map(|event| &event.alerts)
            .flat_map(|new| new.urls.iter());
        for url in urls {
            *counts.entry(url.clone()).or_default() += 1;
        }
        counts.retain(|url, count| match self.subscribers.get(url) {
            Some(known) => known.handle.inbox.nudge(*count).is_err(),
            None => true,
        });
        self.wake(counts);
    }

    /// Sorts deliveries by subscriber, so that each gets one message however many there are.
    pub(super) fn sort(
        &mut self,
        alerts: &[NewAlert],
        ids: &[DeliveryId],
        dead: &[DeliveryId],
        touched: &mut Vec<WebhookUrl>,
        unknown: &mut BTreeMap<WebhookUrl, u64>,
    ) {
        let targets = alerts
            .iter()
            .flat_map(|new| new.urls.iter().map(|url| (&new.alert, url)));
        for ((alert, url), id) in targets.zip(ids).filter(|(_, id)| !dead.contains(id)) {
            let waking = !self.waking.is_empty() && self.waking.contains_key(url);
            match self.subscribers.get_mut(url) {
                Some(known) if !waking => {
                    if known.outgoing.is_empty() {
                        touched.push(url.clone());
                    }
                    let (alert, progress) = (Arc::clone(alert), Progress::default());
                    known.outgoing.push(OpenDelivery {
                        id: *id,
                        alert,
                        progress,
                        due_at: None,
                    });
                }
                Some(_) | None => *unknown.entry(url.clone()).or_default() += 1,
            }
        }
    }

    pub(super) fn hand_over(
        &mut self,
        touched: Vec<WebhookUrl>,
        unknown: &mut BTreeMap<WebhookUrl, u64>,
    ) {
        for url in touched {
            let Some(known) = self.subscribers.get_mut(&url) else {
                continue;
            };
            let count = u64::try_from(known.outgoing.len()).unwrap_or(u64::MAX);
            if let Err(Gone) = known.handle.inbox.deliver(&mut known.outgoing) {
                self.subscribers.remove(&url);
                *unknown.entry(url).or_default() += count;
            }
        }
    }
}
