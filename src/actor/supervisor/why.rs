//! Collects the facts behind a question why.

use std::sync::Arc;

use actix::{Addr, AsyncContext as _, Context, Handler, ResponseFuture};
use futures_util::future::join_all;

use super::SupervisorActor;
use crate::actor::message::{AskWhy, ExplainRouting, GetStatus, Locate, LocateDelivery};
use crate::actor::router::RouterActor;
use crate::actor::shared::EngineContext;
use crate::domain::deliveries::delivery::Delivery;
use crate::domain::routing::explain::Explanation;
use crate::domain::value::id::EventId;
use crate::domain::value::wall::OnWall as _;
use crate::domain::why::{DeliveryFacts, EventFacts, Facts, InOutbox, Why, why};
use crate::store::{DeliveryQuery, StoreError, StoredEvent};

impl Handler<AskWhy> for SupervisorActor {
    type Result = ResponseFuture<Result<Why, StoreError>>;

    fn handle(&mut self, question: AskWhy, ctx: &mut Context<Self>) -> Self::Result {
        let inquiry = Inquiry {
            shared: Arc::clone(&self.shared),
            supervisor: ctx.address(),
            router: self.router.clone(),
        };
        Box::pin(inquiry.answer(question))
    }
}

impl Handler<LocateDelivery> for SupervisorActor {
    type Result = ResponseFuture<Option<crate::domain::endpoint::place::Place>>;

    fn handle(
        &mut self,
        LocateDelivery { url, id }: LocateDelivery,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let subscriber = self.running(&url);
        Box::pin(async move { subscriber?.send(Locate(id)).await.ok() })
    }
}

/// One question under way.
struct Inquiry {
    shared: Arc<EngineContext>,
    supervisor: Addr<SupervisorActor>,
    router: Option<Addr<RouterActor>>,
}

impl Inquiry {
    async fn answer(self, question: AskWhy) -> Result<Why, StoreError> {
        let offset = self.shared.clock.offset();
        let (mut event, mut routing) = (None, None);
        let query = match question {
            AskWhy::Event(id) => {
                let found = self.shared.call(|store| store.events(id.clone())).await?;
                routing = self.routing(found.last()).await;
                event = Some(self.event(&id, found.last()).await?);
                DeliveryQuery {
                    event_id: Some(id),
                    ..DeliveryQuery::default()
                }
            }
            AskWhy::Alert(id) => DeliveryQuery {
                alert_id: Some(id),
                ..DeliveryQuery::default()
            },
            AskWhy::Deliveries(query) => query.in_engine_time(offset),
            AskWhy::Delivery(id) => {
                let found = self.shared.call(|store| store.delivery(id)).await?;
                let found = found.map(|found| found.delivery);
                let facts = self.facts(None, found.into_iter().collect()).await?;
                return Ok(why(&facts));
            }
        };
        let query = DeliveryQuery {
            limit: DELIVERIES,
            ..query
        };
        let page = self.shared.call(|store| store.deliveries(query)).await?;
        let facts = self.facts(event, page.items).await?;
        Ok(why(&Facts { routing, ..facts }))
    }

    async fn facts(
        &self,
        event: Option<EventFacts>,
        deliveries: Vec<Delivery>,
    ) -> Result<Facts, StoreError> {
        let deliveries = deliveries.into_iter().map(|found| self.of_delivery(found));
        let deliveries: Result<_, _> = join_all(deliveries).await.into_iter().collect();
        Ok(Facts {
            now: self.shared.clock.now().on_wall(self.shared.clock.offset()),
            event,
            deliveries: deliveries?,
            store_error: self.shared.store.condition(),
            lag: self.shared.board.lag(self.shared.clock.now()),
            ..Facts::default()
        })
    }

    /// Asks the router what an event that no rule matched would match now.
    async fn routing(&self, event: Option<&StoredEvent>) -> Option<Explanation> {
        let event = event?;
        let unmatched = event.unmatched.as_ref()?;
        let mut asked = ExplainRouting::new(unmatched.rule_type.as_str(), event.client_id.clone()?);
        asked.company_id.clone_from(&unmatched.company_id);
        self.router.as_ref()?.send(asked).await.ok()
    }

    async fn event(
        &self,
        id: &EventId,
        newest: Option<&StoredEvent>,
    ) -> Result<EventFacts, StoreError> {
        let offset = self.shared.clock.offset();
        let accepted = newest.map(|event| (event.accepted_at.on_wall(offset), event.deliveries));
        let outbox = match accepted {
            Some(_) => None,
            None => self.in_outbox(id).await?,
        };
        let kept = self.shared.store.retention().map(|keep| keep.event_ids);
        Ok(EventFacts {
            id: id.clone(),
            accepted,
            outbox,
            kept,
        })
    }

    /// Looks for an event in the outbox, among the first thousand of each kind.
    async fn in_outbox(&self, id: &EventId) -> Result<Option<InOutbox>, StoreError> {
        let waiting = self.shared.call(|store| store.outbox(0, OUTBOX)).await?;
        let is_it = |entry: &crate::store::OutboxEntry| {
            entry.event.as_ref().is_ok_and(|event| event.id == *id)
        };
        if let Some(before) = waiting.iter().position(is_it) {
            let before = u64::try_from(before).unwrap_or(u64::MAX);
            return Ok(Some(InOutbox::Waiting { before }));
        }
        let refused = self.shared.call(|store| store.refused(0, OUTBOX)).await?;
        let entry = refused
            .into_iter()
            .find(|entry| entry.event_id.as_ref() == Some(id));
        Ok(entry.map(|entry| InOutbox::Refused {
            reason: entry.reason,
        }))
    }

    async fn of_delivery(&self, delivery: Delivery) -> Result<DeliveryFacts, StoreError> {
        let (offset, id) = (self.shared.clock.offset(), delivery.id);
        let attempts = self.shared.call(|store| store.attempts(id)).await?;
        let url = delivery.url.clone();
        let (mut status, mut place) = (None, None);
        if delivery.state.is_open() {
            let asked = GetStatus::new(url.as_str());
            status = self.supervisor.send(asked).await.ok().flatten();
            let located = self.supervisor.send(LocateDelivery { url, id }).await;
            place = located.ok().flatten();
        }
        Ok(DeliveryFacts {
            delivery: delivery.on_wall(offset),
            attempts: attempts.on_wall(offset),
            status,
            place: place.on_wall(offset),
        })
    }
}

/// The most deliveries that one answer explains.
const DELIVERIES: usize = 20;

/// The most events of the outbox that are looked at.
const OUTBOX: usize = 1_000;
