//! Removing an endpoint: its attempts are aborted, its open deliveries become dead letters, and its
//! settings are forgotten.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::prelude::Request;
use actix::{ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, ResponseActFuture};

use super::giving_up::GivingUp;
use super::{Subscriber, SupervisorActor};
use crate::actor::acting::Act;
use crate::actor::message::{Abort, BreakOff, EndpointError, RemoveEndpoint};
use crate::actor::reply::Deferred;
use crate::actor::subscriber::SubscriberActor;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::machine::tally::RetiredState;
use crate::domain::value::url::WebhookUrl;
use crate::store::{Change, OpenQuery, Setting, StoreError};

impl SupervisorActor {
    /// Blocks new subscribers of an endpoint until [`end_removal`](Self::end_removal), and returns
    /// a future that ends the running one.
    ///
    /// The future aborts its attempts and resolves to the state that it leaves behind. Answers
    /// already received are recorded and reported first, so that no successful delivery is given
    /// up.
    pub(super) fn begin_removal(
        &mut self,
        url: &WebhookUrl,
    ) -> impl Future<Output = Option<RetiredState>> + use<> {
        self.note_not_at_rest(url);
        let (running, forgotten) = (self.running(url), self.forget_address(url));
        if let Some(entry) = self.endpoints.get_mut(url) {
            entry.subscriber = Subscriber::Removing {
                past: Box::new(entry.subscriber.past().unwrap_or_default()),
                ending: running.clone(),
                woken: false,
                waiting: Vec::new(),
            };
        }
        async move {
            forgotten.await;
            let subscriber = running?;
            // A subscriber that has just ended needs no message.
            let broken_off = subscriber.send(BreakOff);
            let _ = tokio::time::timeout(RECORDED_WITHIN, broken_off).await;
            Some(subscriber.send(Abort).await.ok()?.past)
        }
    }

    /// Notes the state left behind by the subscriber of an endpoint that is being removed.
    pub(super) fn note_past(&mut self, url: &WebhookUrl, left: Option<RetiredState>) {
        let entry = self.endpoints.get_mut(url);
        if let Some(Subscriber::Removing { past, .. }) = entry.map(|entry| &mut entry.subscriber)
            && let Some(left) = left
        {
            **past = left;
        }
    }

    /// Returns the subscriber of an endpoint that is being removed. It may still be recording the
    /// outcomes of its attempts.
    pub(super) fn ending(&self, url: &WebhookUrl) -> Option<Addr<SubscriberActor>> {
        let subscriber = &self.endpoints.get(url)?.subscriber;
        let Subscriber::Removing { ending, .. } = subscriber else {
            return None;
        };
        ending.clone()
    }

    /// Returns a request that is answered once the removal of an endpoint has ended, or `None` if
    /// the endpoint is not being removed.
    pub(super) fn removal_ended(
        &self,
        url: &WebhookUrl,
        ctx: &Context<Self>,
    ) -> Option<Request<Self, RemovalEnded>> {
        let subscriber = &self.endpoints.get(url)?.subscriber;
        let removing = matches!(subscriber, Subscriber::Removing { .. });
        removing.then(|| ctx.address().send(RemovalEnded(url.clone())))
    }

    /// Forgets an endpoint that was removed, or continues with one that could not be.
    ///
    /// An endpoint is also kept if deliveries have arrived for it, or a rule has named it,
    /// meanwhile.
    pub(super) fn end_removal(&mut self, url: &WebhookUrl, removed: bool, ctx: &mut Context<Self>) {
        let Some(entry) = self.endpoints.get_mut(url) else {
            return;
        };
        if !matches!(entry.subscriber, Subscriber::Removing { .. }) {
            return;
        }
        let Subscriber::Removing {
            past,
            woken,
            waiting,
            ..
        } = std::mem::take(&mut entry.subscriber)
        else {
            return;
        };
        entry.subscriber = Subscriber::Restarting(past);
        if removed {
            let setting = Setting::Endpoint { url: url.clone() };
            self.shared.set_aside.forget(&setting);
            self.uncount(url);
            self.endpoints.remove(url);
        }
        if removed && woken {
            self.endpoints.know(url.clone());
        }
        if woken || !removed {
            if self.holds(url) {
                // A new subscriber reads its deliveries from the store.
                self.start_subscriber(url, ctx);
            } else {
                self.rest(url);
            }
        }
        self.recount(url);
        self.report_given_up();
        for answerer in waiting {
            answerer.send(());
        }
    }
}

/// Answered once an endpoint is no longer being removed: supervisor → itself.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub(super) struct RemovalEnded(WebhookUrl);

impl Handler<RemovalEnded> for SupervisorActor {
    type Result = Deferred<()>;

    fn handle(&mut self, RemovalEnded(url): RemovalEnded, _: &mut Context<Self>) -> Self::Result {
        let entry = self.endpoints.get_mut(&url);
        let Some(Subscriber::Removing { waiting, .. }) = entry.map(|entry| &mut entry.subscriber)
        else {
            return Deferred::ready(());
        };
        let (answerer, deferred) = Deferred::new();
        waiting.push(answerer);
        deferred
    }
}

impl Act<RemoveEndpoint> for SupervisorActor {
    type Response = ResponseActFuture<Self, Result<u64, EndpointError>>;

    fn act(
        &mut self,
        RemoveEndpoint { url }: RemoveEndpoint,
        ctx: &mut Context<Self>,
    ) -> Self::Response {
        let url = match self.entry(&url) {
            Ok((url, _)) => url,
            Err(error) => return Box::pin(wrap_future(ready(Err(error)))),
        };
        let ended = self.begin_removal(&url);
        let (shared, now) = (Arc::clone(&self.shared), self.shared.clock.now());
        let giving_up = GivingUp {
            shared: Arc::clone(&self.shared),
            supervisor: ctx.address(),
            which: OpenQuery::default(),
            reason: DeadLetterReason::EndpointRemoved,
        };
        let removal = {
            let url = url.clone();
            async move {
                let told = giving_up.at_removed(&url).await?;
                let rest = shared.call(|store| store.remove_endpoint(&url, now));
                let rest = rest.await?;
                shared.board.of_others().meter().give_up(rest, now);
                let open = told + rest;
                // Last, so that no open delivery is sent without the endpoint's settings.
                let forget = Change::RemoveEndpoint(url);
                shared.call(|store| store.apply(forget)).await?;
                Ok(open)
            }
        };
        let late = |_| StoreError::unavailable("the removal did not finish in time");
        let removal = async move {
            let removed = tokio::time::timeout(REMOVED_WITHIN, removal).await;
            removed.map_err(late).flatten()
        };
        let ended = tokio::time::timeout(REMOVED_WITHIN, ended);
        let removed = wrap_future::<_, Self>(ended).then({
            let url = url.clone();
            move |past, supervisor, _| {
                supervisor.note_past(&url, past.ok().flatten());
                wrap_future(removal)
            }
        });
        let ended = removed.map(move |removed, supervisor, ctx| {
            supervisor.end_removal(&url, removed.is_ok(), ctx);
            removed.map_err(EndpointError::Store)
        });
        Box::pin(ended)
    }
}

/// The time that a subscriber has to record the outcomes of its attempts when its endpoint is
/// removed.
///
/// Deliveries whose outcomes are not recorded by then are attempted again or given up, as if there
/// had been no answer.
const RECORDED_WITHIN: Duration = Duration::from_secs(30);

/// The time after which a removal is given up, and the endpoint continues. Millions of open
/// deliveries take minutes.
const REMOVED_WITHIN: Duration = Duration::from_mins(10);
