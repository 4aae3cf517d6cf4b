//! The life of subscribers: started when there are deliveries, retired when there are none,
//! restarted after a panic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::prelude::Request;
use actix::{
    Actor as _, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, ResponseFuture,
};

use super::{EndpointEntry, Subscriber, SupervisorActor};
use crate::actor::message::{
    Deliver, ForgetAddress, Leave, Redelivered, Retire, SubscriberStopped, Wake,
};
use crate::actor::subscriber::{Start, SubscriberActor};
use crate::domain::machine::tally::RetiredState;
use crate::domain::machine::unread::Missed;
use crate::domain::value::backoff::Backoff;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::url::WebhookUrl;

impl SupervisorActor {
    /// Tells the subscriber of an endpoint of deliveries in the store, or starts one. The answer is
    /// its address, if there is one.
    pub(super) fn wake(
        &mut self,
        url: &WebhookUrl,
        missed: Missed,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = Option<Addr<SubscriberActor>>> + use<> {
        let entry = self.endpoints.know(url.clone());
        let (mut address, mut told) = (None, None);
        match &mut entry.subscriber {
            // A new subscriber reads its deliveries from the store.
            Subscriber::NotStarted(_) | Subscriber::Retired { .. } => {
                address = self.start_subscriber(url, ctx);
            }
            Subscriber::Running {
                address: running, ..
            } => {
                told = Some(running.send(Deliver::none(missed)));
                address = Some(running.clone());
            }
            Subscriber::Leaving { missed: before, .. } => {
                *before = Some(before.unwrap_or_default().and(missed));
            }
            Subscriber::Removing { woken, .. } => *woken = true,
            Subscriber::Restarting(_) => {}
        }
        self.recount(url);
        async move {
            if let Some(told) = told {
                // A subscriber that has just ended is started again, and reads everything.
                told.await.ok()?;
            }
            address
        }
    }

    /// Starts the subscriber of an endpoint and returns its address.
    ///
    /// Returns `None` while the engine shuts down, and for an endpoint of another engine.
    pub(super) fn start_subscriber(
        &mut self,
        url: &WebhookUrl,
        ctx: &mut Context<Self>,
    ) -> Option<Addr<SubscriberActor>> {
        if self.draining || !self.holds(url) {
            return None;
        }
        self.note_not_at_rest(url);
        let entry = self.endpoints.get(url)?;
        if matches!(entry.subscriber, Subscriber::Removing { .. }) {
            return None;
        }
        self.started += 1;
        let place = usize::try_from(self.started).unwrap_or(0);
        let arbiter = place.checked_rem(self.arbiters.len());
        let place = self.open_place(url, arbiter.unwrap_or(0));
        let entry = self.endpoints.get(url)?;
        let past = entry.subscriber.past().unwrap_or_default();
        let (endpoint, policy) = self.settings(entry);
        let start = Start {
            url: url.clone(),
            shared: Arc::clone(&self.shared),
            endpoint,
            policy,
            past,
            supervisor: ctx.address(),
            incarnation: self.started,
            withheld: entry.unreadable,
            restarts: entry.restarts,
            place,
        };
        let address = match arbiter.and_then(|place| self.arbiters.get(place)) {
            Some(arbiter) => SubscriberActor::start_in_arbiter(arbiter, move |ctx| {
                ctx.set_mailbox_capacity(MAILBOX);
                SubscriberActor::new(start)
            }),
            None => SubscriberActor::create(move |ctx| {
                ctx.set_mailbox_capacity(MAILBOX);
                SubscriberActor::new(start)
            }),
        };
        let since = self.shared.clock.now();
        if let Some(entry) = self.endpoints.get_mut(url) {
            entry.subscriber = Subscriber::Running {
                address: address.clone(),
                incarnation: self.started,
                since,
            };
        }
        Some(address)
    }

    /// Makes the router send nothing more to the subscriber of an endpoint, which is about to end.
    pub(super) fn forget_address(&self, url: &WebhookUrl) -> impl Future<Output = ()> + use<> {
        let router = self.router.clone();
        let url = url.clone();
        async move {
            if let Some(router) = router {
                // A router that has stopped sends nothing.
                let _ = router.send(ForgetAddress(url)).await;
            }
        }
    }

    /// Notes how the retirement of a subscriber ended: with its state in `past`, or with `None` if
    /// deliveries have arrived for it.
    fn on_leave_answered(
        &mut self,
        url: &WebhookUrl,
        asked: u64,
        past: Option<RetiredState>,
        ctx: &mut Context<Self>,
    ) {
        let Some(entry) = self.endpoints.get_mut(url) else {
            return;
        };
        if let Subscriber::Removing { past: left, .. } = &mut entry.subscriber
            && let Some(past) = past
        {
            // It goes on with this if it cannot be removed.
            **left = past;
            return;
        }
        let Subscriber::Leaving {
            address,
            incarnation,
            since,
            missed,
        } = &entry.subscriber
        else {
            return;
        };
        if *incarnation != asked {
            return;
        }
        let missed = *missed;
        if let Some(past) = past {
            if missed.is_some() {
                entry.subscriber = Subscriber::Restarting(Box::new(past));
                self.start_subscriber(url, ctx);
            } else {
                self.retired(url, Box::new(past));
            }
            return;
        }
        if let Some(missed) = missed {
            #[expect(clippy::disallowed_methods, reason = "once per refused retirement")]
            address.do_send(Deliver::none(missed));
        }
        entry.subscriber = Subscriber::Running {
            address: address.clone(),
            incarnation: asked,
            since: *since,
        };
    }

    pub(super) fn retired(&mut self, url: &WebhookUrl, past: Box<RetiredState>) {
        let order = self.at_rest.add(url.clone());
        if let Some(entry) = self.endpoints.get_mut(url) {
            entry.subscriber = Subscriber::Retired { past, order };
            entry.restarts_in_a_row = 0;
        }
        self.recount(url);
        self.forget_excess();
    }

    /// Tells subscribers of deliveries that an operator redelivered, and starts the subscribers
    /// that do not run.
    pub(super) fn tell_redelivered(
        &mut self,
        fresh: &[(DeliveryId, WebhookUrl)],
        ctx: &mut Context<Self>,
    ) -> Vec<Request<SubscriberActor, Redelivered>> {
        let mut by_url = BTreeMap::<&WebhookUrl, Vec<DeliveryId>>::new();
        for (id, url) in fresh {
            by_url.entry(url).or_default().push(*id);
        }
        let mut told = Vec::new();
        for (url, ids) in by_url {
            let subscriber = self.running(url);
            if let Some(EndpointEntry {
                subscriber: Subscriber::Leaving { missed, .. },
                ..
            }) = self.endpoints.get_mut(url)
            {
                // If it ends before it hears of this, the next one reads it from the store.
                missed.get_or_insert_default();
            }
            match subscriber {
                Some(subscriber) => told.push(subscriber.send(Redelivered(ids))),
                None => drop(self.wake(url, Missed::None, ctx)),
            }
        }
        told
    }

    pub(super) fn running(&self, url: &WebhookUrl) -> Option<Addr<SubscriberActor>> {
        match &self.endpoints.get(url)?.subscriber {
            Subscriber::Running { address, .. } | Subscriber::Leaving { address, .. } => {
                Some(address.clone())
            }
            Subscriber::NotStarted(_)
            | Subscriber::Retired { .. }
            | Subscriber::Restarting(_)
            | Subscriber::Removing { .. } => None,
        }
    }
}

impl Handler<Wake> for SupervisorActor {
    type Result = ResponseFuture<Option<Addr<SubscriberActor>>>;

    fn handle(&mut self, Wake { url, missed }: Wake, ctx: &mut Context<Self>) -> Self::Result {
        Box::pin(self.wake(&url, missed, ctx))
    }
}

/// The capacity of a subscriber's mailbox. Deliveries that do not fit stay in the store.
const MAILBOX: usize = 16;

/// The waits before a subscriber that has panicked is started again.
const RESTARTS: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

/// Starts a panicked subscriber again: supervisor → itself.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
struct Restart(WebhookUrl);

impl Handler<SubscriberStopped> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, stopped: SubscriberStopped, ctx: &mut Context<Self>) {
        let now = self.shared.clock.now();
        let Some(entry) = self.endpoints.get_mut(&stopped.url) else {
            return;
        };
        if let Subscriber::Removing { past, .. } = &mut entry.subscriber {
            *past = stopped.past;
            return;
        }
        let (Subscriber::Running {
            incarnation, since, ..
        }
        | Subscriber::Leaving {
            incarnation, since, ..
        }) = &entry.subscriber
        else {
            return;
        };
        if *incarnation != stopped.incarnation || self.draining {
            return;
        }
        let steady = now.since(*since) > STEADY_AFTER;
        entry.restarts += 1;
        entry.restarts_in_a_row = if steady {
            1
        } else {
            entry.restarts_in_a_row + 1
        };
        entry.subscriber = Subscriber::Restarting(stopped.past);
        let (in_a_row, restarts) = (entry.restarts_in_a_row, entry.restarts);
        self.recount(&stopped.url);
        let wait = RESTARTS.after(in_a_row);
        let url = stopped.url.without_query();
        log::error!(
            endpoint = url, restarts;
            "subscriber of endpoint {url} panicked; \
             restart number {restarts} follows in {wait:?}"
        );
        let forgotten = wrap_future::<_, Self>(self.forget_address(&stopped.url));
        ctx.spawn(forgotten.map(move |(), _, ctx| {
            ctx.notify_later(Restart(stopped.url), wait);
        }));
    }
}

impl Handler<Retire> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Retire { url, incarnation }: Retire, ctx: &mut Context<Self>) {
        let forgotten = self.forget_address(&url);
        let Some(entry) = self.endpoints.get_mut(&url) else {
            return;
        };
        let Subscriber::Running {
            address,
            incarnation: running,
            since,
        } = &entry.subscriber
        else {
            return;
        };
        if *running != incarnation || self.draining {
            return;
        }
        let (address, since) = (address.clone(), *since);
        entry.subscriber = Subscriber::Leaving {
            address: address.clone(),
            incarnation,
            since,
            missed: None,
        };
        // Everything that the router sent before is in the mailbox ahead of `Leave`.
        let leave = async move {
            forgotten.await;
            address.send(Leave).await.ok().flatten()
        };
        let answered = wrap_future::<_, Self>(leave).map(move |past, supervisor, ctx| {
            supervisor.on_leave_answered(&url, incarnation, past, ctx);
        });
        ctx.spawn(answered);
    }
}

impl Handler<Restart> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Restart(url): Restart, ctx: &mut Context<Self>) {
        if matches!(
            self.endpoints.get(&url),
            Some(EndpointEntry {
                subscriber: Subscriber::Restarting(_),
                ..
            })
        ) {
            self.start_subscriber(&url, ctx);
        }
    }
}
/// The time without a panic after which a subscriber counts as steady again.
const STEADY_AFTER: Duration = Duration::from_mins(1);
