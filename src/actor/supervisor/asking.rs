//! Questions of operators that the store answers.

use std::sync::Arc;

use actix::{Context, Handler, ResponseFuture};
use futures_util::FutureExt as _;

use super::SupervisorActor;
use crate::actor::message::{
    CountDeadLetters, CountDeliveries, GetDelivery, GetEndpointStatistics, GetEvent, GetOutbox,
    ListAttempts, ListDeadLetters, ListDeliveries, ListEndpointAttempts, ListRefused,
};
use crate::actor::shared::EngineContext;
use crate::domain::deliveries::attempt::{Attempt, AttemptSummary};
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::{Delivery, DeliveryDetails};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::OnWall;
use crate::domain::watch::series::EndpointStatistics;
use crate::store::{
    AttemptPage, AttemptQuery, Count, OutboxSummary, Page, RefusedEntry, Store, StoreError,
    StoreFuture, StoredEvent, page_limit,
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

impl Handler<GetEndpointStatistics> for SupervisorActor {
    type Result = ResponseFuture<Result<EndpointStatistics, StoreError>>;

    fn handle(
        &mut self,
        GetEndpointStatistics { url, window }: GetEndpointStatistics,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let (now, offset) = (shared.clock.now(), shared.clock.offset());
            let latest = latest_attempts(&shared, &url, window.begin(now));
            let (attempts, searched_to) = latest.await?;
            let statistics = EndpointStatistics::of(&attempts, window, now, searched_to);
            Ok(statistics.on_wall(offset))
        })
    }
}

/// Returns the latest attempts of an endpoint, back to an instant or up to a bound, and the time of
/// the oldest one if there are more.
async fn latest_attempts(
    shared: &EngineContext,
    url: &WebhookUrl,
    back_to: Timestamp,
) -> Result<(Vec<AttemptSummary>, Option<Timestamp>), StoreError> {
    let mut query = AttemptQuery {
        limit: COUNTED_AT_ONCE,
        ..AttemptQuery::default()
    };
    let (mut attempts, mut reached) = (Vec::new(), None);
    for _ in 0..COUNTED_PAGES {
        let page = shared.call(|store| store.attempts_of(url, query)).await?;
        let found = page.items.iter().map(|found| found.attempt.summary);
        attempts.extend(found);
        if page.next.is_none() {
            return Ok((attempts, None));
        }
        query.before = page.next;
        let oldest = attempts.iter().map(|attempt| attempt.at).min();
        reached = oldest.or(page.searched_to);
        if reached.is_some_and(|reached| reached < back_to) {
            break;
        }
    }
    Ok((attempts, reached))
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

impl Handler<GetOutbox> for SupervisorActor {
    type Result = ResponseFuture<Result<OutboxSummary, StoreError>>;

    fn handle(&mut self, GetOutbox { at_most }: GetOutbox, _: &mut Context<Self>) -> Self::Result {
        // Its one time is the publisher's, by the wall clock.
        Box::pin(self.shared.call(|store| store.outbox_summary(at_most)))
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

/// The number of attempts that statistics ask the store for at once.
const COUNTED_AT_ONCE: usize = 1_000;

/// The most times that they ask: they count up to 5,000 attempts.
const COUNTED_PAGES: usize = 5;
