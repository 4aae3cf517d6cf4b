//! Shutting down: events are refused, attempts in flight end or are aborted, the store is flushed,
//! and the actors stop.

use std::time::Duration;

use actix::{ActorContext as _, AsyncContext as _, Context, Handler, ResponseFuture};
use futures_util::future::join_all;

use super::SupervisorActor;
use super::clock::keep_clock;
use crate::actor::message::{
    Abort, AbortAll, Close, Drain, DrainAll, Drained, ShutDown, Terminate,
};
use crate::domain::endpoint::status::ShutdownReport;
use crate::store::StoreError;

impl Handler<ShutDown> for SupervisorActor {
    type Result = ResponseFuture<ShutdownReport>;

    fn handle(&mut self, ShutDown(deadline): ShutDown, ctx: &mut Context<Self>) -> Self::Result {
        let (this, router) = (ctx.address(), self.router.clone());
        let shared = self.shared.clone();
        Box::pin(async move {
            let drain = async {
                if let Some(router) = &router {
                    // A router that has stopped accepts no events either.
                    let _ = router.send(Close).await;
                }
                let _ = this.send(DrainAll).await;
            };
            // Attempts still in flight at the deadline are aborted now, and counted.
            drop(tokio::time::timeout(deadline, drain).await);
            // A subscriber whose thread is blocked cannot be reached.
            let aborted = tokio::time::timeout(ABORT_WITHIN, this.send(AbortAll)).await;
            let drained = aborted.ok().and_then(Result::ok).unwrap_or_default();
            let store = async {
                shared.clock.look_at_wall();
                keep_clock(shared.clone()).await?;
                shared.call(|store| store.flush()).await?;
                shared.call(|store| store.open_total()).await
            };
            let late = || StoreError::unavailable("the store did not answer in time");
            let pending = tokio::time::timeout(STORE_WITHIN, store).await;
            let pending = pending
                .unwrap_or_else(|_| Err(late()))
                .unwrap_or_else(|error| {
                    log::error!(
                        error:? = error;
                        "delivery store failed to flush, or to count its open deliveries, at shutdown: {}",
                        error.with_causes()
                    );
                    drained.open
                });
            if let Some(router) = router {
                // A router that waits for the store ends with its arbiter.
                drop(tokio::time::timeout(ROUTER_WITHIN, router.send(Terminate)).await);
            }
            ShutdownReport {
                delivered: drained.delivered,
                pending,
                aborted: drained.aborted,
            }
        })
    }
}

impl Handler<DrainAll> for SupervisorActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: DrainAll, _: &mut Context<Self>) -> Self::Result {
        self.draining = true;
        let urls = self.endpoints.keys();
        let drains = urls.filter_map(|url| Some(self.running(url)?.send(Drain)));
        let drained = join_all(drains);
        Box::pin(async move { drop(drained.await) })
    }
}

impl Handler<AbortAll> for SupervisorActor {
    type Result = ResponseFuture<Drained>;

    fn handle(&mut self, _: AbortAll, _: &mut Context<Self>) -> Self::Result {
        self.draining = true;
        let urls = self.endpoints.keys();
        // Subscribers of endpoints being removed too: they may wait for the store.
        let subscriber = |url| self.running(url).or_else(|| self.ending(url));
        let aborts = urls.filter_map(|url| Some(subscriber(url)?.send(Abort)));
        let ended = join_all(aborts);
        Box::pin(async move {
            let ended = ended.await.into_iter().flatten();
            ended.fold(Drained::default(), |sum, one| Drained {
                delivered: sum.delivered + one.delivered,
                aborted: sum.aborted + one.aborted,
                open: sum.open + one.open,
                ..sum
            })
        })
    }
}

impl Handler<Terminate> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, _: Terminate, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// The time that the store has, after the deadline, to flush and to count.
const STORE_WITHIN: Duration = Duration::from_secs(10);

/// The time that subscribers have to abort their attempts.
const ABORT_WITHIN: Duration = Duration::from_secs(5);

/// The time that the router has to stop.
const ROUTER_WITHIN: Duration = Duration::from_secs(1);
