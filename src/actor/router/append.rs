//! Storing events and handing on their deliveries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::FutureExt as _;

use super::reaching::HandOver;
use super::{AppendEnded, Incoming, MAX_BATCH, RouterActor, Waiting};
use crate::actor::message::{Deliver, Receipt, ReportsLost};
use crate::actor::store_call::StoreCall;
use crate::domain::deliveries::delivery::{EndedDelivery, OpenDelivery};
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::endpoint::status::DeliveryReport;
use crate::domain::machine::unread::Missed;
use crate::domain::policy::retry::Progress;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::OnWall as _;
use crate::error::PublishError;
use crate::store::{Appended, NewAlert, NewEvent};

impl RouterActor {
    /// Stores the oldest events of the inbox, at most `MAX_BATCH`.
    pub(super) fn append_arrived(&mut self, cx: &mut TaskContext<'_>) {
        let count = self.inbox.len().min(MAX_BATCH);
        let (events, waiting) = self.inbox.drain(..count).unzip();
        self.append_all(events, waiting, cx);
    }

    pub(super) fn append(&mut self, batch: Vec<Incoming>, cx: &mut TaskContext<'_>) {
        let (events, waiting) = batch.into_iter().unzip();
        self.append_all(events, waiting, cx);
    }

    fn append_all(
        &mut self,
        events: Vec<NewEvent>,
        waiting: Vec<Waiting>,
        cx: &mut TaskContext<'_>,
    ) {
        let events: Arc<[NewEvent]> = events.into();
        let mut call = StoreCall::begin(|| self.shared.store.append(Arc::clone(&events)));
        // A store in memory answers at once, so no future needs to be kept.
        if self.appending.is_empty()
            && let Poll::Ready(result) = call.poll_unpin(cx)
        {
            self.on_appended(AppendEnded {
                events,
                waiting,
                result,
            });
        } else {
            let ended = call.map(|result| AppendEnded {
                events,
                waiting,
                result,
            });
            self.appending.push_back(ended.boxed_local());
        }
    }

    pub(super) fn on_appended(
        &mut self,
        AppendEnded {
            events,
            waiting,
            result,
        }: AppendEnded,
    ) {
        let appended = match result {
            Ok(appended) => appended,
            Err(error) => {
                // A failed call may still have stored the events. If so, publishing them again
                // returns only the first receipt, and this is the only chance to notify the
                // subscribers.
                self.tell_of_unsure(&events);
                for (event, waiting) in events.iter().zip(waiting) {
                    let error = PublishError::Store(error.clone());
                    self.answer_about(event, waiting.publisher, Err(error));
                }
                self.pass_barriers();
                return;
            }
        };
        let mut hand_over = HandOver::default();
        let mut again = VecDeque::new();
        for ((event, waiting), appended) in events.iter().zip(waiting).zip(appended) {
            let first = first_of(&appended);
            let answer = match appended {
                Appended::Stored(ids) => {
                    sort(&event.alerts, &ids, &[], &mut hand_over);
                    Ok(receipt(event, ids.len()))
                }
                Appended::StoredInPart { ids, dead } => {
                    sort(&event.alerts, &ids, &dead, &mut hand_over);
                    let given_up = self.given_up(event, &ids, &dead);
                    Ok(Receipt {
                        given_up,
                        ..receipt(event, ids.len())
                    })
                }
                Appended::Remembered { deliveries } => {
                    Ok(Receipt::of_a_repetition(event.id.clone(), deliveries))
                }
                Appended::Full(overflow) => Err(PublishError::Overloaded(overflow.into())),
                Appended::UsedByAnother if let Some(whole) = waiting.again => {
                    match self.prepare_again(&whole, event) {
                        Ok(prepared) => {
                            let waiting = Waiting {
                                publisher: waiting.publisher,
                                again: None,
                            };
                            again.push_back((prepared, waiting));
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
                Appended::IdTaken | Appended::UsedByAnother => Err(PublishError::IdTaken {
                    event_id: event.id.clone(),
                    client_id: event.client_id.clone(),
                }),
            };
            self.answer_about(event, waiting.publisher.noting(first), answer);
        }
        // They go ahead of events that have arrived since, in their own order.
        again.append(&mut self.inbox);
        self.inbox = again;
        self.pass_barriers();
        self.hand_over(hand_over);
    }

    /// Makes subscribers look in the store for deliveries of which it is unknown whether they were
    /// stored.
    pub(super) fn tell_of_unsure(&mut self, events: &[NewEvent]) {
        let alerts = events.iter().flat_map(|event| &event.alerts);
        let urls: BTreeSet<WebhookUrl> = alerts.flat_map(|new| new.urls.iter().cloned()).collect();
        for url in urls {
            self.deliver(&url, Deliver::none(Missed::unknown()));
        }
    }

    /// Reports deliveries that were given up at once, and returns their endpoints.
    fn given_up(
        &mut self,
        event: &NewEvent,
        ids: &[DeliveryId],
        dead: &[(DeliveryId, DeadLetterReason)],
    ) -> Vec<WebhookUrl> {
        let targets = event
            .alerts
            .iter()
            .flat_map(|new| new.urls.iter().map(|url| (&new.alert, url)));
        let reason_of = |id: &DeliveryId| dead.iter().find(|(dead, _)| dead == id);
        let given_up = targets
            .zip(ids)
            .filter_map(|(target, id)| Some((target, reason_of(id)?)));
        let (mut urls, mut lost) = (Vec::new(), BTreeMap::<_, u64>::new());
        for ((alert, url), (id, reason)) in given_up {
            if !urls.contains(url) {
                urls.push(url.clone());
            }
            self.shared.board.give_up(url, 1, *reason, event.at);
            let reports = &self.shared.watchers.reports;
            if reports.is_watched(url) {
                let ended = EndedDelivery {
                    id: *id,
                    alert_id: alert.id,
                    event_id: alert.event_id.clone(),
                    rule_id: alert.rule_id.clone(),
                    attempts_made: 0,
                };
                let at = event.at.on_wall(self.shared.clock.offset());
                let full = reports.tell(url, || DeliveryReport::given_up(url, &ended, *reason, at));
                *lost.entry(url).or_default() += full;
            }
        }
        for (url, count) in lost.into_iter().filter(|(_, count)| *count > 0) {
            let url = url.clone();
            self.tell_supervisor(ReportsLost { url, count });
        }
        urls
    }
}

/// Returns the receipt of an event that was stored.
fn receipt(event: &NewEvent, deliveries: usize) -> Receipt {
    let rules = event.alerts.iter().map(|new| new.alert.rule_id.clone());
    Receipt {
        rules: rules.collect(),
        ..Receipt::new(event.id.clone(), deliveries)
    }
}

/// Returns the first delivery of an event, if it was stored.
fn first_of(appended: &Appended) -> Option<DeliveryId> {
    match appended {
        Appended::Stored(ids) | Appended::StoredInPart { ids, .. } => ids.first().copied(),
        Appended::Remembered { .. }
        | Appended::Full(_)
        | Appended::IdTaken
        | Appended::UsedByAnother => None,
    }
}

/// Groups the deliveries of an event by endpoint.
fn sort<'a>(
    alerts: &'a [NewAlert],
    ids: &[DeliveryId],
    dead: &[(DeliveryId, DeadLetterReason)],
    hand_over: &mut HandOver<'a>,
) {
    let targets = alerts
        .iter()
        .flat_map(|new| new.urls.iter().map(|url| (&new.alert, url)));
    for ((alert, url), id) in targets.zip(ids) {
        if dead.iter().any(|(dead, _)| dead == id) {
            continue;
        }
        let delivery = OpenDelivery {
            id: *id,
            alert: Arc::clone(alert),
            progress: Progress::default(),
            due_at: None,
        };
        hand_over.add(url, delivery);
    }
}
