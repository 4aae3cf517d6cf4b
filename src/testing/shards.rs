//! Handing endpoints over, as several engines on one store will do.

use crate::actor::supervisor::{LayDown, TakeUp};
use crate::domain::endpoint::shard::{Shard, Shards};
use crate::domain::value::url::WebhookUrl;
use crate::engine::Engine;
use crate::store::StoreError;

/// Makes an engine stop delivering to the shards of these endpoints, and returns once no attempt of
/// theirs is in flight.
///
/// A shard is one of 256 parts of all endpoints, found by the URL. Attempts in flight are aborted.
/// What is published for the endpoints stays in the store.
///
/// # Panics
/// If the engine has stopped.
pub async fn lay_down(engine: &Engine, urls: &[WebhookUrl]) {
    let laid_down = engine.supervisor().send(LayDown(shards(urls))).await;
    laid_down.expect("the engine runs");
}

/// Makes an engine deliver to the shards of these endpoints again, beginning with what is open.
///
/// # Errors
/// [`StoreError`] if the store cannot say which endpoints have open deliveries.
///
/// # Panics
/// If the engine has stopped.
pub async fn take_up(engine: &Engine, urls: &[WebhookUrl]) -> Result<(), StoreError> {
    let taken_up = engine.supervisor().send(TakeUp(shards(urls))).await;
    taken_up.expect("the engine runs")
}

fn shards(urls: &[WebhookUrl]) -> Shards {
    urls.iter().map(Shard::of).collect()
}
