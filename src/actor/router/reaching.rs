//! How deliveries reach the subscribers.
//!
//! The router sends deliveries to the addresses that it knows. If it knows none, or the mailbox is
//! full, the deliveries stay in the store: the router asks the supervisor to wake the endpoint, and
//! the supervisor answers with the address. Until then, only the number and the lowest id of later
//! deliveries are kept, so that none overtakes the earlier ones. Before a subscriber retires or is
//! removed, the supervisor makes the router forget its address.

use std::collections::HashMap as Index;

use actix::prelude::SendError;
use actix::{Addr, Context, Handler};
use futures_util::FutureExt as _;

use super::{Answered, RouterActor};
use crate::actor::message::{Deliver, ForgetAddress, Wake};
use crate::actor::subscriber::SubscriberActor;
use crate::domain::deliveries::delivery::OpenDelivery;
use crate::domain::machine::unread::Missed;
use crate::domain::value::url::WebhookUrl;

/// The router's knowledge of an endpoint's subscriber. An endpoint without an entry is unknown.
pub(super) enum Route {
    Open(Addr<SubscriberActor>),
    /// The supervisor was asked for the address.
    Asked {
        /// Deliveries that were stored since.
        missed: Missed,
        /// Whether the answer may be the address of a subscriber that is about to end.
        outdated: bool,
    },
}

/// The deliveries of an append, grouped by endpoint, so that each subscriber gets one message.
#[derive(Default)]
pub(super) struct HandOver<'a> {
    parts: Vec<(&'a WebhookUrl, Vec<OpenDelivery>)>,
    places: Index<&'a WebhookUrl, usize, foldhash::fast::FixedState>,
}

impl<'a> HandOver<'a> {
    pub(super) fn add(&mut self, url: &'a WebhookUrl, delivery: OpenDelivery) {
        let place = *self.places.entry(url).or_insert(self.parts.len());
        match self.parts.get_mut(place) {
            Some((_, deliveries)) => deliveries.push(delivery),
            None => self.parts.push((url, vec![delivery])),
        }
    }
}

impl RouterActor {
    pub(super) fn hand_over(&mut self, hand_over: HandOver<'_>) {
        for (url, mut deliveries) in hand_over.parts {
            // The rest is read from the store when there is room.
            let rest = deliveries.split_off(deliveries.len().min(MAX_DELIVERIES));
            let missed = Missed::these(rest.iter().map(|delivery| delivery.id));
            self.deliver(url, Deliver { deliveries, missed });
        }
    }

    /// Sends deliveries to the subscriber of an endpoint. If that fails, wakes the subscriber to
    /// read them from the store.
    pub(super) fn deliver(&mut self, url: &WebhookUrl, deliver: Deliver) {
        match self.routes.get_mut(url) {
            Some(Route::Open(address)) => match address.try_send(deliver) {
                Ok(()) => {}
                // The mailbox is full, or the subscriber has ended.
                Err(SendError::Full(unsent) | SendError::Closed(unsent)) => {
                    self.wake(url.clone(), unsent.in_store());
                }
            },
            Some(Route::Asked { missed, .. }) => *missed = missed.and(deliver.in_store()),
            None => self.wake(url.clone(), deliver.in_store()),
        }
    }

    /// Asks the supervisor to tell the subscriber of an endpoint which deliveries are in the store,
    /// and for its address.
    fn wake(&mut self, url: WebhookUrl, missed: Missed) {
        let asked = Route::Asked {
            missed: Missed::None,
            outdated: false,
        };
        self.routes.insert(url.clone(), asked);
        let wake = Wake {
            url: url.clone(),
            missed,
        };
        // The supervisor ends after the router. Without it nothing is delivered, so an error means
        // no address.
        let answer = self.supervisor.send(wake);
        let answer = answer.map(|address| Answered::Woken(url, address.ok().flatten()));
        self.calls.push(answer.boxed_local());
    }

    pub(super) fn on_woken(&mut self, url: WebhookUrl, address: Option<Addr<SubscriberActor>>) {
        let Some(Route::Asked { missed, outdated }) = self.routes.remove(&url) else {
            return;
        };
        match address.filter(|_| !outdated) {
            Some(address) => {
                self.routes.insert(url.clone(), Route::Open(address));
                if missed != Missed::None {
                    self.deliver(&url, Deliver::none(missed));
                }
            }
            None if missed != Missed::None => self.wake(url, missed),
            None => {}
        }
    }
}

impl Deliver {
    /// Returns a message that tells a subscriber only of deliveries in the store.
    pub(crate) fn none(missed: Missed) -> Self {
        Self {
            deliveries: Vec::new(),
            missed,
        }
    }

    /// Returns all the deliveries as deliveries that are in the store.
    fn in_store(&self) -> Missed {
        let ids = self.deliveries.iter().map(|delivery| delivery.id);
        Missed::these(ids).and(self.missed)
    }
}

impl Handler<ForgetAddress> for RouterActor {
    type Result = ();

    fn handle(&mut self, ForgetAddress(url): ForgetAddress, _: &mut Context<Self>) {
        match self.routes.get_mut(&url) {
            Some(Route::Open(_)) => drop(self.routes.remove(&url)),
            Some(Route::Asked { outdated, .. }) => *outdated = true,
            None => {}
        }
    }
}

/// The maximum number of deliveries sent with their alerts in one message.
const MAX_DELIVERIES: usize = 64;
