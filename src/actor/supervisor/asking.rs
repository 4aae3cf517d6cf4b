//! Questions of operators that the store answers.

use actix::{Context, Handler, ResponseFuture};
use futures_util::FutureExt as _;

use super::SupervisorActor;
use crate::actor::message::{
    CountDeadLetters, CountDeliveries, GetDelivery, GetEvent, ListAttempts, ListDeadLetters,
    ListDeliveries, ListEndpointAttempts, ListRefused,
};
use crate::domain::deliveries::attempt::Attempt;
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::{Delivery, DeliveryDetails};
use crate::domain::value::wall::OnWall;
use crate::store::{
    AttemptPage, Count, Page, RefusedEntry, Store, StoreError, StoreFuture, StoredEvent, page_limit,
};

impl SupervisorActor {
    /// Asks the store, and shows the answer's times as wall time.
    fn ask<T: OnWall + 'static>(
        &self,
        question: impl FnOnce(&dyn Store) -> StoreFuture<T>,
    ) -> ResponseFuture<Result<T, StoreError>> {
        let offset = self.shared.clock.offset();
        let found = self.shared.call(question);
        Box::pin(found.map(move |found| Ok(found?.on_wall(offset))))
    }
}

impl Handler<ListDeliveries> for SupervisorActor {
    type Result = ResponseFuture<Result<Page<Delivery>, StoreError>>;

    fn handle(
        &mut self,
        ListDeliveries(query): ListDeliveries,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let query = query.in_engine_time(self.shared.clock.offset());
        self.ask(|store| store.deliveries(query))
    }
}

impl Handler<ListDeadLetters> for SupervisorActor {
    type Result = ResponseFuture<Result<Page<DeadLetter>, StoreError>>;

    fn handle(
        &mut self,
        ListDeadLetters(query): ListDeadLetters,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let query = query.in_engine_time(self.shared.clock.offset());
        self.ask(|store| store.dead_letters(query))
    }
}

impl Handler<ListAttempts> for SupervisorActor {
    type Result = ResponseFuture<Result<Vec<Attempt>, StoreError>>;

    fn handle(&mut self, ListAttempts { id }: ListAttempts, _: &mut Context<Self>) -> Self::Result {
        self.ask(|store| store.attempts(id))
    }
}

impl Handler<ListEndpointAttempts> for SupervisorActor {
    type Result = ResponseFuture<Result<AttemptPage, StoreError>>;

    fn handle(
        &mut self,
        ListEndpointAttempts { url, query }: ListEndpointAttempts,
        _: &mut Context<Self>,
    ) -> Self::Result {
        self.ask(|store| store.attempts_of(&url, query))
    }
}

impl Handler<GetDelivery> for SupervisorActor {
    type Result = ResponseFuture<Result<Option<DeliveryDetails>, StoreError>>;

    fn handle(&mut self, GetDelivery { id }: GetDelivery, _: &mut Context<Self>) -> Self::Result {
        self.ask(|store| store.delivery(id))
    }
}

impl Handler<GetEvent> for SupervisorActor {
    type Result = ResponseFuture<Result<Vec<StoredEvent>, StoreError>>;

    fn handle(&mut self, GetEvent { id }: GetEvent, _: &mut Context<Self>) -> Self::Result {
        self.ask(|store| store.events(id))
    }
}

impl Handler<CountDeliveries> for SupervisorActor {
    type Result = ResponseFuture<Result<Count, StoreError>>;

    fn handle(
        &mut self,
        CountDeliveries { query, at_most }: CountDeliveries,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let query = query.in_engine_time(self.shared.clock.offset());
        Box::pin(self.shared.call(|store| store.count(query, at_most)))
    }
}

impl Handler<CountDeadLetters> for SupervisorActor {
    type Result = ResponseFuture<Result<Count, StoreError>>;

    fn handle(
        &mut self,
        CountDeadLetters(query): CountDeadLetters,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let query = query.in_engine_time(self.shared.clock.offset());
        let counted = self.shared.call(|store| store.count_dead_letters(query));
        Box::pin(counted.map(|counted| Ok(Count::new(counted?, false))))
    }
}

impl Handler<ListRefused> for SupervisorActor {
    type Result = ResponseFuture<Result<Vec<RefusedEntry>, StoreError>>;

    fn handle(
        &mut self,
        ListRefused { after, limit }: ListRefused,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let limit = page_limit(limit);
        Box::pin(self.shared.call(|store| store.refused(after, limit)))
    }
}
