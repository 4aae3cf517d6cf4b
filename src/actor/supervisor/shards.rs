//! The endpoints that this engine delivers to: those of the shards that it holds.
//!
//! An engine takes up all shards when it starts, so all endpoints are its own. Laying down a shard
//! ends the subscribers of its endpoints; what is published for them stays in the store until the
//! shard is taken up again, here or by another engine.

#[cfg(feature = "test-util")]
use actix::{ActorFutureExt as _, ResponseActFuture, fut::wrap_future};
use actix::{AsyncContext as _, Context, Handler, Message, ResponseFuture};
use futures_util::future::join_all;

use super::{Subscriber, SupervisorActor};
use crate::actor::message::Wake;
use crate::domain::endpoint::shard::{Shard, Shards};
use crate::domain::machine::unread::Missed;
use crate::domain::value::url::WebhookUrl;
use crate::store::StoreError;

/// Makes this engine deliver to the endpoints of these shards: engine → supervisor.
///
/// Answered once every endpoint of theirs that has open deliveries is woken.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(crate) struct TakeUp(pub(crate) Shards);

impl Handler<TakeUp> for SupervisorActor {
    type Result = ResponseFuture<Result<(), StoreError>>;

    fn handle(&mut self, TakeUp(shards): TakeUp, ctx: &mut Context<Self>) -> Self::Result {
        self.held.set(&shards, true);
        let (shared, this) = (self.shared.clone(), ctx.address());
        Box::pin(async move {
            let mut after = None;
            loop {
                let last = after.take();
                let page = shared
                    .call(|store| store.open_summaries(last, PAGE))
                    .await?;
                after = page.last().map(|open| open.url.clone());
                let full = page.len() == PAGE;
                let urls = page.into_iter().map(|open| open.url);
                let woken = urls
                    .filter(|url| shards.contains(Shard::of(url)))
                    .map(|url| {
                        // One that runs counted these deliveries when it started.
                        let missed = Missed::None;
                        this.send(Wake { url, missed })
                    });
                // A supervisor that has stopped wakes nobody.
                drop(join_all(woken).await);
                if !full {
                    break;
                }
            }
            // Endpoints without deliveries that were in trouble when they were last heard of.
            let mut after = None;
            loop {
                let last = after.take();
                let page = shared.call(|store| store.resting_endpoints(last, PAGE));
                let page = page.await?;
                after = page.last().map(|(url, _)| url.clone());
                let (full, now) = (page.len() == PAGE, shared.clock.now());
                let troubled = page.into_iter().filter(|(url, stored)| {
                    shards.contains(Shard::of(url)) && stored.is_in_trouble(now)
                });
                let urls = troubled.map(|(url, _)| url).collect();
                let _ = this.send(LookAgain(urls)).await;
                if !full {
                    return Ok(());
                }
            }
        })
    }
}

/// Starts subscribers that read how their endpoints stand, if these are known: supervisor → itself.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct LookAgain(Vec<WebhookUrl>);

impl Handler<LookAgain> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, LookAgain(urls): LookAgain, ctx: &mut Context<Self>) {
        for url in urls {
            let entry = self.endpoints.get(&url);
            if entry.is_some_and(|entry| matches!(entry.subscriber, Subscriber::NotStarted(_))) {
                self.start_subscriber(&url, ctx);
            }
        }
    }
}

/// Makes this engine deliver no more to the endpoints of these shards: engine → supervisor.
///
/// Attempts in flight are aborted; answers already received are recorded and reported. Answered
/// once no subscriber of theirs runs.
#[cfg(feature = "test-util")]
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct LayDown(pub(crate) Shards);

#[cfg(feature = "test-util")]
impl Handler<LayDown> for SupervisorActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, LayDown(shards): LayDown, ctx: &mut Context<Self>) -> Self::Result {
        self.held.set(&shards, false);
        let urls = self
            .endpoints
            .keys()
            .filter(|url| shards.contains(Shard::of(url)));
        let urls: Vec<WebhookUrl> = urls.cloned().collect();
        let (mut ending, mut others) = (Vec::new(), Vec::new());
        for url in urls {
            if let Some(ended) = self.removal_ended(&url, ctx) {
                // It is being removed, or laid down already.
                others.push(ended);
            } else if self.running(&url).is_some() {
                let ended = self.begin_removal(&url);
                ending.push(async move { (url, ended.await) });
            } else {
                self.rest(&url);
            }
        }
        let ended = wrap_future::<_, Self>(join_all(ending));
        let ended = ended.map(|ended, supervisor, ctx| {
            for (url, past) in ended {
                supervisor.note_past(&url, past);
                supervisor.end_removal(&url, false, ctx);
            }
        });
        let others = join_all(others);
        Box::pin(ended.then(|(), _, _| wrap_future(others).map(|_, _, _| ())))
    }
}

impl SupervisorActor {
    /// Returns `true` if this engine delivers to the endpoint.
    pub(super) fn holds(&self, url: &WebhookUrl) -> bool {
        self.held.contains(Shard::of(url))
    }

    /// Lets an endpoint rest whose subscriber would be started again.
    pub(super) fn rest(&mut self, url: &WebhookUrl) {
        let entry = self.endpoints.get_mut(url);
        if let Some(Subscriber::Restarting(past)) = entry.map(|entry| &mut entry.subscriber) {
            let past = std::mem::take(past);
            self.retired(url, past);
        }
    }
}

/// The number of endpoints read and woken at once.
const PAGE: usize = 1_000;
