//! Attempts that operators ask for.

use std::sync::Arc;

use actix::{AsyncContext as _, Context, ResponseFuture};

use super::SupervisorActor;
use crate::actor::acting::Act;
use crate::actor::message::{
    AskSubscriber, AttemptNow, AttemptTest, EndpointError, MakeDue, PublishTest, SendTest,
    TestError,
};
use crate::actor::shared::EngineContext;
use crate::domain::deliveries::delivery::Delivery;
use crate::domain::endpoint::due::AttemptNowAnswer;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::wall::OnWall as _;
use crate::error::PublishError;
use crate::store::StoreError;

impl Act<AttemptNow> for SupervisorActor {
    type Response = ResponseFuture<Result<AttemptNowAnswer, StoreError>>;

    fn act(&mut self, AttemptNow { id }: AttemptNow, ctx: &mut Context<Self>) -> Self::Response {
        let (shared, this) = (Arc::clone(&self.shared), ctx.address());
        Box::pin(async move {
            let found = match find(&shared, id).await? {
                None => return Ok(AttemptNowAnswer::Unknown),
                Some(found) if !found.state.is_open() => return Ok(AttemptNowAnswer::NotOpen),
                Some(found) => found,
            };
            let answer = match this.send(AskSubscriber::new(found.url, MakeDue(id))).await {
                Ok(Ok(answer)) => answer?,
                Ok(Err(EndpointError::Store(error))) => return Err(error),
                // Its endpoint was removed since.
                Ok(Err(_)) => None,
                Err(_) => return Err(StoreError::unavailable("the engine is shutting down")),
            };
            if let Some(answer) = answer {
                return Ok(answer.on_wall(shared.clock.offset()));
            }
            // It does not wait: it was never attempted, or has been attempted since it was found.
            let still = find(&shared, id).await?;
            let is_open = still.is_some_and(|delivery| delivery.state.is_open());
            Ok(if is_open {
                AttemptNowAnswer::UnderWay
            } else {
                AttemptNowAnswer::NotOpen
            })
        })
    }
}

impl Act<SendTest> for SupervisorActor {
    type Response = ResponseFuture<Result<DeliveryId, TestError>>;

    fn act(&mut self, test: SendTest, ctx: &mut Context<Self>) -> Self::Response {
        let known = self.entry(&test.url).map(|(url, entry)| {
            let client = entry.endpoint.as_ref();
            let client = client.and_then(|endpoint| endpoint.client_id.clone());
            (url, client)
        });
        let (router, this) = (self.router.clone(), ctx.address());
        Box::pin(async move {
            let (url, client) = known?;
            let router = router.ok_or(PublishError::ShuttingDown)?;
            let publish = PublishTest {
                url: url.clone(),
                test,
                client,
            };
            let published = router.send(publish).await;
            let id = published.unwrap_or(Err(PublishError::ShuttingDown))?;
            // If no subscriber can be asked, the test is in the store and goes on from there.
            let _ = this.send(AskSubscriber::new(url, AttemptTest(id))).await;
            Ok(id)
        })
    }
}

/// Returns a delivery by its id.
async fn find(shared: &EngineContext, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
    let found = shared.call(|store| store.delivery(id)).await?;
    Ok(found.map(|found| found.delivery))
}
