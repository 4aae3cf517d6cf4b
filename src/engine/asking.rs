//! Questions as methods.

use super::{Engine, OperateError};
use crate::actor::message::{
    AskWhy, ClientPage, ClientStatus, CountDeadLetters, CountDeliveries, FindClients,
    FindEndpoints, FindRules, GetClient, GetClientStatus, GetDelivery, GetEndpointStatistics,
    GetEvent, GetOutbox, GetRule, ListEndpointAttempts, ListRedeliveries, ListRefused,
    PlanRedelivery, RedeliveryPlan, RulePage, StartRedelivery, StopRedelivery, UrlPage,
};
use crate::domain::deliveries::delivery::DeliveryDetails;
use crate::domain::routing::client::Client;
use crate::domain::routing::query::{ClientQuery, RuleQuery};
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::{ClientId, DeliveryId, EventId, RuleId};
use crate::domain::watch::series::EndpointStatistics;
use crate::domain::why::Why;
use crate::store::{
    AttemptPage, Count, DeadLetterQuery, DeliveryQuery, OutboxSummary, RedeliveryId, RedeliveryJob,
    RefusedEntry, StoredEvent,
};

/// # Questions
impl Engine {
    /// Returns the accepted events with an id, also those that no rule matched. See [`GetEvent`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn events(&self, id: impl Into<EventId>) -> Result<Vec<StoredEvent>, OperateError> {
        Ok(self.ask_supervisor(GetEvent::new(id)).await??)
    }

    /// Returns everything stored of a delivery, apart from its attempts; `None` if there is no such
    /// delivery. See [`GetDelivery`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<DeliveryDetails>, OperateError> {
        Ok(self.ask_supervisor(GetDelivery::new(id)).await??)
    }

    /// Returns the attempts of all deliveries of an endpoint, the latest first. See
    /// [`ListEndpointAttempts`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn endpoint_attempts(
        &self,
        list: ListEndpointAttempts,
    ) -> Result<AttemptPage, OperateError> {
        Ok(self.ask_supervisor(list).await??)
    }

    /// Returns counts of the attempts of one endpoint over time, from the store. See
    /// [`GetEndpointStatistics`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn endpoint_statistics(
        &self,
        get: GetEndpointStatistics,
    ) -> Result<EndpointStatistics, OperateError> {
        Ok(self.ask_supervisor(get).await??)
    }

    /// Returns the number of deliveries that a query finds, counted up to 10,000. See
    /// [`CountDeliveries`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn count_deliveries(&self, query: DeliveryQuery) -> Result<Count, OperateError> {
        Ok(self.ask_supervisor(CountDeliveries::new(query)).await??)
    }

    /// Returns the number of dead letters that a query finds. See [`CountDeadLetters`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn count_dead_letters(&self, query: DeadLetterQuery) -> Result<Count, OperateError> {
        Ok(self.ask_supervisor(CountDeadLetters::new(query)).await??)
    }

    /// Returns the number of events in the outbox, and the first that waits. See [`GetOutbox`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn outbox(&self) -> Result<OutboxSummary, OperateError> {
        Ok(self.ask_supervisor(GetOutbox::new()).await??)
    }

    /// Returns outbox events that were set aside, oldest first. See [`ListRefused`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn refused_events(
        &self,
        page: ListRefused,
    ) -> Result<Vec<RefusedEntry>, OperateError> {
        Ok(self.ask_supervisor(page).await??)
    }
}

/// # Questions about endpoints, rules and clients
impl Engine {
    /// Returns URLs of endpoints by a part of the URL or by the beginning of the id. See
    /// [`FindEndpoints`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn find_endpoints(&self, page: FindEndpoints) -> Result<UrlPage, OperateError> {
        self.ask_supervisor(page).await
    }

    /// Returns a page of the rules that a query finds, ordered by id. See [`FindRules`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn find_rules(&self, query: RuleQuery) -> Result<RulePage, OperateError> {
        self.ask_router(FindRules::new(query)).await
    }

    /// Returns the rule with an id; `None` if there is none. See [`GetRule`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn rule(&self, id: impl Into<RuleId>) -> Result<Option<Rule>, OperateError> {
        self.ask_router(GetRule::new(id)).await
    }

    /// Returns a page of the clients that a query finds, ordered by id. See [`FindClients`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn find_clients(&self, query: ClientQuery) -> Result<ClientPage, OperateError> {
        self.ask_router(FindClients::new(query)).await
    }

    /// Returns the client with an id; `None` if none was put. See [`GetClient`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn client(&self, id: impl Into<ClientId>) -> Result<Option<Client>, OperateError> {
        self.ask_router(GetClient::new(id)).await
    }

    /// Returns the number of a client's rules, open deliveries and dead letters, its endpoints by
    /// state, and when one of them last accepted a delivery. See [`GetClientStatus`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn client_status(
        &self,
        id: impl Into<ClientId>,
    ) -> Result<ClientStatus, OperateError> {
        Ok(self.ask_router(GetClientStatus::new(id)).await??)
    }
}

/// # Why
impl Engine {
    /// Returns why a receiver got nothing, or what it got, the best explanation first. See
    /// [`AskWhy`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn why(&self, question: AskWhy) -> Result<Why, OperateError> {
        Ok(self.ask_supervisor(question).await??)
    }
}

/// # Redeliveries by filter
impl Engine {
    /// Returns what a redelivery by filter would redeliver, without starting it. See
    /// [`PlanRedelivery`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn plan_redelivery(
        &self,
        which: PlanRedelivery,
    ) -> Result<RedeliveryPlan, OperateError> {
        Ok(self.ask_supervisor(which).await??)
    }

    /// Redelivers everything that a filter finds, step by step. See [`StartRedelivery`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn start_redelivery(
        &self,
        which: StartRedelivery,
    ) -> Result<RedeliveryJob, OperateError> {
        Ok(self.ask_supervisor(which).await??)
    }

    /// Returns the redeliveries by filter with their progress, oldest first. See
    /// [`ListRedeliveries`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn redeliveries(&self) -> Result<Vec<RedeliveryJob>, OperateError> {
        Ok(self.ask_supervisor(ListRedeliveries).await??)
    }

    /// Stops a redelivery by filter; `None` if it is unknown. See [`StopRedelivery`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn stop_redelivery(
        &self,
        id: RedeliveryId,
    ) -> Result<Option<RedeliveryJob>, OperateError> {
        Ok(self.ask_supervisor(StopRedelivery::new(id)).await??)
    }
}
