//! The status of a client: its rules are known here, its endpoints to the supervisor, and its
//! deliveries to the store.

use std::sync::Arc;

use actix::{Context, Handler, ResponseFuture};
use futures_util::try_join;

use super::RouterActor;
use crate::actor::message::{ClientStatus, CountEndpoints, GetClientStatus};
use crate::actor::shared::EngineContext;
use crate::domain::deliveries::delivery::DeliveryState;
use crate::domain::value::id::ClientId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::wall::OnWall as _;
use crate::store::{Count, DeadLetterQuery, DeliveryQuery, DeliveryStage, StoreError};

impl Handler<GetClientStatus> for RouterActor {
    type Result = ResponseFuture<Result<ClientStatus, StoreError>>;

    fn handle(
        &mut self,
        GetClientStatus { id }: GetClientStatus,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let rules = self.rules.of_client(&id, COUNTED);
        let count = u64::try_from(rules.count).unwrap_or(u64::MAX);
        let endpoints = self.supervisor.send(CountEndpoints(rules.urls));
        let deliveries = Deliveries::of(Arc::clone(&self.shared), id.clone());
        Box::pin(async move {
            // Without a supervisor nothing is called, and no endpoint is in any state.
            let endpoints = endpoints.await.unwrap_or_default();
            let Deliveries {
                open,
                dead_letters,
                last_delivered_at,
            } = deliveries.await?;
            Ok(ClientStatus {
                id,
                rules: Count::new(count, rules.more),
                endpoints,
                open,
                dead_letters,
                last_delivered_at,
            })
        })
    }
}

/// What the store knows of a client.
struct Deliveries {
    open: Count,
    dead_letters: Count,
    last_delivered_at: Option<Timestamp>,
}

impl Deliveries {
    async fn of(shared: Arc<EngineContext>, client: ClientId) -> Result<Self, StoreError> {
        let at_most = u64::try_from(COUNTED).unwrap_or(u64::MAX);
        let of_stage = |stage| DeliveryQuery {
            client_id: Some(client.clone()),
            stage: Some(stage),
            limit: LATEST,
            ..DeliveryQuery::default()
        };
        let letters = DeadLetterQuery {
            client_id: Some(client.clone()),
            ..DeadLetterQuery::default()
        };
        let (open, delivered) = (
            of_stage(DeliveryStage::Open),
            of_stage(DeliveryStage::Delivered),
        );
        let (open, dead_letters, delivered) = try_join!(
            shared.call(|store| store.count(open, at_most)),
            shared.call(|store| store.count_dead_letters_to(letters, at_most)),
            shared.call(|store| store.deliveries(delivered)),
        )?;
        let accepted = delivered
            .iter()
            .filter_map(|delivery| match delivery.state {
                DeliveryState::Delivered { at } => Some(at),
                DeliveryState::Queued
                | DeliveryState::Waiting { .. }
                | DeliveryState::DeadLettered { .. } => None,
            });
        Ok(Self {
            open,
            dead_letters,
            last_delivered_at: accepted.max().on_wall(shared.clock.offset()),
        })
    }
}

/// The number at which counting stops.
const COUNTED: usize = 10_000;

/// The number of deliveries of which the last one to end counts.
const LATEST: usize = 100;
