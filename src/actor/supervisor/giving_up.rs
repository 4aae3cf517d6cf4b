//! Giving up deliveries without an attempt.
//!
//! They are forgotten by their subscriber, ended in the store page by page, and reported.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{
    ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, ResponseActFuture,
    ResponseFuture,
};

use super::{Subscriber, SupervisorActor};
use crate::actor::acting::Act;
use crate::actor::message::{CountEnded, EndDeliveries, EndOpen, Forget, ReportsLost, StartOver};
use crate::actor::shared::EngineContext;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::endpoint::status::DeliveryReport;
use crate::domain::machine::unread::Missed;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::OnWall as _;
use crate::store::{EndedDelivery, OpenQuery, StoreError};

/// The deliveries to give up, and the reason.
pub(super) struct GivingUp {
    pub(super) shared: Arc<EngineContext>,
    pub(super) supervisor: Addr<SupervisorActor>,
    pub(super) which: OpenQuery,
    pub(super) reason: DeadLetterReason,
}

impl GivingUp {
    /// Ends the open deliveries of all endpoints, and returns their number. Deliveries being
    /// attempted are ended after their attempts.
    async fn everywhere(&self) -> Result<u64, StoreError> {
        let (mut count, mut after, mut busy) = (0, None, Vec::new());
        loop {
            let page = self.shared.call(|store| store.open_summaries(after, PAGE));
            let page = page.await?;
            let full = page.len() == PAGE;
            after = page.last().map(|backlog| backlog.url.clone());
            for backlog in page {
                count += self.at(backlog.url, &mut busy).await?;
            }
            if !full {
                break;
            }
        }
        while !busy.is_empty() {
            #[expect(
                clippy::disallowed_methods,
                reason = "until the attempts in flight have ended"
            )]
            tokio::time::sleep(AGAIN_AFTER).await;
            for (url, ids) in std::mem::take(&mut busy) {
                self.end(&url, ids, &mut busy).await?;
            }
        }
        Ok(count)
    }

    /// Ends the open deliveries of an endpoint and adds those being attempted to `busy`.
    ///
    /// Returns the number of both together.
    async fn at(
        &self,
        url: WebhookUrl,
        busy: &mut Vec<(WebhookUrl, Vec<DeliveryId>)>,
    ) -> Result<u64, StoreError> {
        let (mut count, mut after) = (0, DeliveryId::new(0));
        loop {
            let which = self.which.clone();
            let ids = self
                .shared
                .call(|store| store.open_of(&url, which, after, STEP));
            let ids = ids.await?;
            let full = ids.len() == STEP;
            after = ids.last().copied().unwrap_or(after);
            count += u64::try_from(ids.len()).unwrap_or(u64::MAX);
            self.end(&url, ids, busy).await?;
            if !full {
                return Ok(count);
            }
        }
    }

    /// Ends deliveries of an endpoint, except those being attempted, which are added to `busy`.
    ///
    /// The subscriber forgets them first, so that none is attempted after it was ended.
    async fn end(
        &self,
        url: &WebhookUrl,
        mut ids: Vec<DeliveryId>,
        busy: &mut Vec<(WebhookUrl, Vec<DeliveryId>)>,
    ) -> Result<(), StoreError> {
        let forget = Forget {
            url: url.clone(),
            ids: ids.as_slice().into(),
        };
        let stopped = |_| StoreError::unavailable("the engine is shutting down");
        let under_way = self.supervisor.send(forget).await.map_err(stopped)?;
        if !under_way.is_empty() {
            ids.retain(|id| !under_way.contains(id));
            busy.push((url.clone(), under_way));
        }
        let ended = self.end_in_store(url, ids).await;
        if ended.is_err() {
            // The forgotten deliveries are still open.
            let _ = self.supervisor.send(StartOver(url.clone())).await;
        }
        ended.map(drop)
    }

    /// Ends deliveries that no subscriber knows any more, reports them, and returns their number.
    async fn end_in_store(
        &self,
        url: &WebhookUrl,
        ids: Vec<DeliveryId>,
    ) -> Result<usize, StoreError> {
        let (now, reason) = (self.shared.clock.now(), self.reason);
        if ids.is_empty() {
            return Ok(0);
        }
        let ended = self.shared.call(|store| store.end(url, ids, reason, now));
        let ended = ended.await?;
        let (url_of, count) = (url.clone(), u64::try_from(ended.len()).unwrap_or(u64::MAX));
        let _ = self
            .supervisor
            .send(CountEnded { url: url_of, count })
            .await;
        let count = report(&self.shared, url, &ended, reason, now);
        if count > 0 {
            let url = url.clone();
            let _ = self.supervisor.send(ReportsLost { url, count }).await;
        }
        Ok(ended.len())
    }

    /// Ends and reports the open deliveries of an endpoint without a subscriber, as far as the
    /// store supports it.
    ///
    /// Returns their number.
    pub(super) async fn at_removed(&self, url: &WebhookUrl) -> Result<u64, StoreError> {
        let mut count = 0;
        if !self.shared.watchers.reports.is_watched(url) {
            // Without watchers, the store can end them all at once.
            return Ok(count);
        }
        loop {
            let (which, first) = (self.which.clone(), DeliveryId::new(0));
            let ids = self
                .shared
                .call(|store| store.open_of(url, which, first, STEP));
            let ids = match ids.await {
                Err(StoreError::Unsupported(_)) => return Ok(count),
                ids => ids?,
            };
            if ids.is_empty() {
                return Ok(count);
            }
            let ended = self.end_in_store(url, ids).await?;
            count += u64::try_from(ended).unwrap_or(u64::MAX);
        }
    }
}

/// Reports deliveries of an endpoint that were given up, and returns the number of reports lost.
fn report(
    shared: &EngineContext,
    url: &WebhookUrl,
    ended: &[EndedDelivery],
    reason: DeadLetterReason,
    now: Timestamp,
) -> u64 {
    let reports = &shared.watchers.reports;
    if !reports.is_watched(url) {
        return 0;
    }
    let at = now.on_wall(shared.clock.offset());
    let tell = |ended| reports.tell(url, || DeliveryReport::given_up(url, ended, reason, at));
    ended.iter().map(tell).sum()
}

impl SupervisorActor {
    /// Reports the deliveries that the store has given up itself.
    pub(super) fn report_given_up(&mut self) {
        let now = self.shared.clock.now();
        for given_up in self.shared.store.take_given_up() {
            let (ended, reason) = (std::slice::from_ref(&given_up.delivery), given_up.reason);
            let lost = report(&self.shared, &given_up.url, ended, reason, now);
            if !reason.is_requested() {
                // The others are counted where they are requested.
                self.shared.board.give_up(&given_up.url, 1, reason, now);
            }
            if lost > 0 {
                self.count_lost(&given_up.url, lost);
            }
        }
    }

    fn count_lost(&mut self, url: &WebhookUrl, count: u64) {
        log::warn!(
            endpoint = url.without_query(), count;
            "{count} reports of dead letters for endpoint {} were lost, because a watcher's mailbox was full", url.without_query()
        );
        if let Some(entry) = self.endpoints.get_mut(url) {
            entry.reports_lost += count;
        }
    }
}

impl Act<EndDeliveries> for SupervisorActor {
    type Response = ResponseFuture<Result<u64, StoreError>>;

    fn act(&mut self, asked: EndDeliveries, ctx: &mut Context<Self>) -> Self::Response {
        let giving_up = GivingUp {
            shared: Arc::clone(&self.shared),
            supervisor: ctx.address(),
            reason: if asked.rule_id.is_some() {
                DeadLetterReason::RuleEnded
            } else {
                DeadLetterReason::ClientEnded
            },
            which: OpenQuery {
                rule_id: asked.rule_id,
                client_id: asked.client_id,
            },
        };
        Box::pin(async move { giving_up.everywhere().await })
    }
}

impl Handler<EndOpen> for SupervisorActor {
    type Result = ResponseFuture<Result<u64, StoreError>>;

    fn handle(&mut self, EndOpen(which): EndOpen, ctx: &mut Context<Self>) -> Self::Result {
        self.act(which, ctx)
    }
}

impl Handler<Forget> for SupervisorActor {
    type Result = ResponseFuture<Vec<DeliveryId>>;

    fn handle(&mut self, forget: Forget, _: &mut Context<Self>) -> Self::Result {
        let subscriber = self.running(&forget.url);
        Box::pin(async move {
            let Some(subscriber) = subscriber else {
                return Vec::new();
            };
            // A subscriber that has just ended knows no deliveries any more.
            subscriber.send(forget).await.unwrap_or_default()
        })
    }
}

impl Handler<CountEnded> for SupervisorActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, ended: CountEnded, _: &mut Context<Self>) -> Self::Result {
        let entry = self.endpoints.get_mut(&ended.url);
        if let Some(Subscriber::Retired { past, .. } | Subscriber::Restarting(past)) =
            entry.map(|entry| &mut entry.subscriber)
        {
            past.tally.dead_lettered += ended.count;
        }
        let now = self.shared.clock.now();
        self.shared
            .board
            .of_others()
            .meter()
            .give_up(ended.count, now);
        let subscriber = self.running(&ended.url);
        Box::pin(async move {
            if let Some(subscriber) = subscriber {
                // One that has just ended counts no longer.
                let _ = subscriber.send(ended).await;
            }
        })
    }
}

impl Handler<StartOver> for SupervisorActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, StartOver(url): StartOver, ctx: &mut Context<Self>) -> Self::Result {
        if self.running(&url).is_none() {
            // It has retired since it forgot them.
            drop(self.wake(&url, Missed::None, ctx));
            return Box::pin(wrap_future(std::future::ready(())));
        }
        let ended = self.begin_removal(&url);
        let again = wrap_future::<_, Self>(ended).map(move |past, supervisor, ctx| {
            supervisor.note_past(&url, past);
            supervisor.end_removal(&url, false, ctx);
        });
        Box::pin(again)
    }
}

impl Handler<ReportsLost> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, ReportsLost { url, count }: ReportsLost, _: &mut Context<Self>) {
        self.count_lost(&url, count);
    }
}

/// The number of endpoints read per call.
const PAGE: usize = 1_000;

/// The number of deliveries ended per call. Appends wait meanwhile.
const STEP: usize = 500;

/// The wait before attempts in flight are checked again.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
