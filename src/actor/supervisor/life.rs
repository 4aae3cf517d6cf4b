//! The life of subscribers: started when there is something to deliver, retired when there is nothing, started again after a panic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::prelude::Request;
use actix::{Actor as _, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler};

use super::{EndpointEntry, Subscriber, SupervisorActor};
use crate::actor::inbox::{Gone, Inbox, SubscriberHandle};
use crate::actor::message::{Leave, Reach, Redelivered, Retire, SubscriberStopped};
use crate::actor::subscriber::{Start, SubscriberActor};
use crate::domain::machine::tally::RetiredState;
use crate::domain::value::backoff::Backoff;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::url::WebhookUrl;

impl SupervisorActor {
    /// Tells the subscriber of an endpoint that the store holds more for it, and starts it if it does not run.
    pub(super) fn wake(&mut self, url: &WebhookUrl, count: u64, ctx: &mut Context<Self>) {
        let entry = self.endpoints.entry(url.clone()).or_default();
        let handle = match &mut entry.subscriber {
            Subscriber::NotStarted | Subscriber::Retired { .. } => {
                return self.start_subscriber(url, ctx);
            }
            Subscriber::Restarting(_) => return,
            Subscriber::Removing { woken, .. } => {
                *woken = true;
                return;
            }
            Subscriber::Leaving { handle, woken, .. } => {
                *woken = true;
                handle
            }
            Subscriber::Running { handle, .. } => {
                let handle = handle.clone();
                nudge(&handle, url, count);
                // The router does not know it: it was started a moment ago, or before there was a router.
                return self.tell_router(url, handle);
            }
        };
        nudge(handle, url, count);
    }

    pub(super) fn start_subscriber(&mut self, url: &WebhookUrl, ctx: &mut Context<Self>) {
        self.note_not_at_rest(url);
        let Some(entry) = self.endpoints.get(url).filter(|_| !self.draining) else {
            return;
        };
        let past = entry.subscriber.past().cloned().unwrap_or_default();
        self.started += 1;
        let (endpoint, policy) = self.settings(entry);
        let inbox = Arc::new(Inbox::new(Arc::clone(&self.shared.permits)));
        let start = Start {
            url: url.clone(),
            shared: Arc::clone(&self.shared),
            endpoint,
            policy,
            past,
            inbox: Arc::clone(&inbox),
            supervisor: ctx.address(),
            incarnation: self.started,
            run_changes: entry.run_changes(),
            resumed: entry.resumed,
            restarts: entry.restarts,
        };
        let capacity = self.shared.mailbox;
        let permit = usize::try_from(self.started)
            .unwrap_or(0)
            .checked_rem(self.arbiters.len());
        let addr: Addr<SubscriberActor> = match permit.and_then(|permit| self.arbiters.get(permit))
        {
            Some(arbiter) => SubscriberActor::start_in_arbiter(arbiter, move |ctx| {
                ctx.set_mailbox_capacity(capacity);
                SubscriberActor::new(start)
            }),
            None => SubscriberActor::create(move |ctx| {
                ctx.set_mailbox_capacity(capacity);
                SubscriberActor::new(start)
            }),
        };
        let handle = SubscriberHandle { addr, inbox };
        self.tell_router(url, handle.clone());
        let since = self.shared.clock.now();
        if let Some(entry) = self.endpoints.get_mut(url) {
            entry.subscriber = Subscriber::Running {
                handle,
                incarnation: self.started,
                since,
            };
        }
    }

    fn tell_router(&self, url: &WebhookUrl, handle: SubscriberHandle) {
        if let Some(router) = &self.router {
            let reach = Reach {
                url: url.clone(),
                handle: Some(handle),
            };
            #[expect(
                clippy::disallowed_methods,
                reason = "once per start of a subscriber, and where the router has not heard of it yet"
            )]
            router.do_send(reach);
        }
    }

    /// Takes note of how the retirement of a subscriber ended: with what it leaves behind, or with something having arrived for it.
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
        let Subscriber::Leaving {
            handle,
            incarnation,
            since,
            woken,
        } = &entry.subscriber
        else {
            return;
        };
        if *incarnation != asked {
            return;
        }
        let woken = *woken;
        if let Some(past) = past {
            self.retired(url, Box::new(past));
            if woken {
                self.start_subscriber(url, ctx);
            }
            return;
        }
        let handle = handle.clone();
        entry.subscriber = Subscriber::Running {
            handle: handle.clone(),
            incarnation: asked,
            since: *since,
        };
        self.tell_router(url, handle);
    }

    fn retired(&mut self, url: &WebhookUrl, past: Box<RetiredState>) {
        let order = self.at_rest.add(url.clone());
        if let Some(entry) = self.endpoints.get_mut(url) {
            entry.subscriber = Subscriber::Retired { past, order };
            entry.restarts_in_a_row = 0;
        }
        self.forget_excess();
    }

    /// Tells subscribers of deliveries that were started again by hand, and starts those that do not run.
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
                subscriber: Subscriber::Leaving { woken, .. },
                ..
            }) = self.endpoints.get_mut(url)
            {
                // If it ends before it hears of this, the next one reads it from the store.
                *woken = true;
            }
            match subscriber {
                Some(subscriber) => told.push(subscriber.send(Redelivered(ids))),
                None => self.wake(url, 0, ctx),
            }
        }
        told
    }

    pub(super) fn running(&self, url: &WebhookUrl) -> Option<Addr<SubscriberActor>> {
        match &self.endpoints.get(url)?.subscriber {
            Subscriber::Running { handle, .. } | Subscriber::Leaving { handle, .. } => {
                Some(handle.addr.clone())
            }
            Subscriber::NotStarted
            | Subscriber::Retired { .. }
            | Subscriber::Restarting(_)
            | Subscriber::Removing { .. } => None,
        }
    }
}

fn nudge(handle: &SubscriberHandle, url: &WebhookUrl, count: u64) {
    if let Err(Gone) = handle.inbox.nudge(count) {
        // Its guard has told so, or will; a new one reads everything from the store.
        let url = url.without_query();
        log::debug!(endpoint = url; "subscriber of endpoint {url} has just ended");
    }
}

/// After how long a subscriber that has panicked is started again.
const RESTARTS: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

/// Start a panicked subscriber again: supervisor → itself.
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
        let mut past = stopped.past;
        if stopped.resumed != entry.resumed {
            // It has not heard of it any more.
            past.lift();
        }
        entry.subscriber = Subscriber::Restarting(past);
        let wait = RESTARTS.after(entry.restarts_in_a_row);
        let (url, restarts) = (stopped.url.without_query(), entry.restarts);
        log::error!(
            endpoint = url, restarts;
            "subscriber of endpoint {url} panicked, for the {restarts}. time; \
             it is started again after {wait:?}"
        );
        ctx.notify_later(Restart(stopped.url), wait);
    }
}

impl Handler<Retire> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Retire { url, incarnation }: Retire, ctx: &mut Context<Self>) {
        let (Some(entry), Some(router)) = (self.endpoints.get_mut(&url), &self.router) else {
            return;
        };
        let Subscriber::Running {
            handle,
            incarnation: running,
            since,
        } = &entry.subscriber
        else {
            return;
        };
        if *running != incarnation || self.draining {
            return;
        }
        let (handle, since) = (handle.clone(), *since);
        let addr = handle.addr.clone();
        entry.subscriber = Subscriber::Leaving {
            handle,
            incarnation,
            since,
            woken: false,
        };
        // Once the router has forgotten it, whatever the router handed over is in its inbox before `Leave` comes.
        let forget = router.send(Reach {
            url: url.clone(),
            handle: None,
        });
        let leave = async move {
            forget.await.ok()?;
            addr.send(Leave).await.ok().flatten()
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
/// After how long without a panic a subscriber counts as steady again.
const STEADY_AFTER: Duration = Duration::from_mins(1);
