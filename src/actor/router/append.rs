//! Having events stored, and handing on what was stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::FutureExt as _;

use super::publisher::Publisher;
use super::{AppendEnded, MAX_BATCH, RouterActor};
use crate::actor::inbox::{Gone, Inbox};
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
        let mut hand_over = HandOver::default();
        self.batches += 1;
        for ((event, publisher), appended) in events.iter().zip(publishers).zip(appended) {
            let deliveries = match appended {
                Appended::Stored(ids) => {
                    self.sort(&event.alerts, &ids, &[], &mut hand_over);
                    ids.len()
                }
                Appended::StoredInPart { ids, dead } => {
                    self.sort(&event.alerts, &ids, &dead, &mut hand_over);
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
        self.hand_over(hand_over);
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

    /// Sorts deliveries by subscriber, so that each is told once however many there are.
    fn sort<'a>(
        &mut self,
        alerts: &'a [NewAlert],
        ids: &[DeliveryId],
        dead: &[DeliveryId],
        hand_over: &mut HandOver<'a>,
    ) {
        let targets = alerts
            .iter()
            .flat_map(|new| new.urls.iter().map(|url| (&new.alert, url)));
        for ((alert, url), id) in targets.zip(ids).filter(|(_, id)| !dead.contains(id)) {
            let waking = !self.waking.is_empty() && self.waking.contains_key(url);
            let Some(known) = self.subscribers.get_mut(url).filter(|_| !waking) else {
                *hand_over.unknown.entry(url.clone()).or_default() += 1;
                continue;
            };
            let delivery = OpenDelivery {
                id: *id,
                alert: Arc::clone(alert),
                progress: Progress::default(),
                due_at: None,
            };
            let (batch, place) = known.touched;
            if batch == self.batches
                && let Some(part) = hand_over.parts.get_mut(place)
            {
                part.deliveries.push(delivery);
            } else {
                known.touched = (self.batches, hand_over.parts.len());
                hand_over.parts.push(Part {
                    url,
                    inbox: Arc::clone(&known.handle.inbox),
                    deliveries: vec![delivery],
                });
            }
        }
    }

    fn hand_over(&mut self, HandOver { parts, mut unknown }: HandOver<'_>) {
        for mut part in parts {
            let count = u64::try_from(part.deliveries.len()).unwrap_or(u64::MAX);
            if let Err(Gone) = part.inbox.deliver(&mut part.deliveries) {
                self.subscribers.remove(part.url);
                *unknown.entry(part.url.clone()).or_default() += count;
            }
        }
        self.wake(unknown);
    }
}

/// What an append leads to.
#[derive(Default)]
struct HandOver<'a> {
    parts: Vec<Part<'a>>,
    /// How many deliveries there are for endpoints without a subscriber.
    unknown: BTreeMap<WebhookUrl, u64>,
}

/// Deliveries for one subscriber.
struct Part<'a> {
    url: &'a WebhookUrl,
    inbox: Arc<Inbox>,
    deliveries: Vec<OpenDelivery>,
}
