//! Operator requests as methods. Each sends the message of the same name and unwraps its answer.

use actix::{Addr, Handler, Message};

use super::Engine;
use crate::actor::message::{
    DisableEndpoint, DiscardDeadLetters, EndClient, EndDeliveries, EndRule, EndpointError,
    EngineStatus, ExplainRouting, FindEndpoint, GetEndpoint, GetEngine, GetStatus, ListAttempts,
    ListClients, ListDeadLetters, ListDeliveries, ListRules, ListStatus, ListUnreadable,
    PauseEndpoint, PublishBatch, PutClient, PutEndpoint, PutRule, Receipt, Redeliver, Redeliveries,
    RemoveClient, RemoveEndpoint, RemoveRule, ResumeEndpoint, RuleError, StatusPage,
};
use crate::actor::router::RouterActor;
use crate::actor::supervisor::SupervisorActor;
use crate::domain::deliveries::attempt::Attempt;
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::Delivery;
use crate::domain::endpoint::id::EndpointId;
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::endpoint::status::EndpointStatus;
use crate::domain::events::event::Event;
use crate::domain::routing::client::Client;
use crate::domain::routing::explain::Explanation;
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::{ClientId, DeliveryId, RuleId};
use crate::domain::value::url::WebhookUrl;
use crate::error::PublishError;
use crate::store::{
    DeadLetterQuery, DeliveryQuery, Page, Redelivery, StoreError, UnreadableSetting,
};

/// The reason why an operator's request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperateError {
    /// The endpoint is unknown, or its settings are invalid or could not be saved.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The rule or client is invalid or could not be saved.
    #[error(transparent)]
    Rule(RuleError),
    /// The store could not answer.
    #[error("request to the delivery store failed")]
    Store(#[from] StoreError),
    /// The engine has stopped or is shutting down.
    #[error("engine has stopped")]
    Stopped,
}

impl OperateError {
    /// Returns `true` if trying again later can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Endpoint(EndpointError::Store(error))
            | Self::Rule(RuleError::Store(error))
            | Self::Store(error) => error.is_transient(),
            Self::Endpoint(_) | Self::Rule(_) | Self::Stopped => false,
        }
    }
}

impl From<RuleError> for OperateError {
    fn from(error: RuleError) -> Self {
        if matches!(error, RuleError::ShuttingDown) {
            Self::Stopped
        } else {
            Self::Rule(error)
        }
    }
}

/// A handle to one endpoint of an engine; see [`Engine::endpoint`].
#[derive(Clone, Debug)]
pub struct EndpointHandle {
    engine: Engine,
    url: String,
}

impl EndpointHandle {
    /// Returns the endpoint's status, or `None` if it is unknown. See [`GetStatus`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn status(&self) -> Result<Option<EndpointStatus>, OperateError> {
        self.engine.ask_supervisor(GetStatus::new(&self.url)).await
    }

    /// Returns the endpoint's settings, secrets included. See [`GetEndpoint`].
    ///
    /// # Errors
    /// [`OperateError::Endpoint`], [`OperateError::Stopped`].
    pub async fn settings(&self) -> Result<Endpoint, OperateError> {
        let get = GetEndpoint::new(&self.url);
        Ok(self.engine.ask_supervisor(get).await??)
    }

    /// Puts the endpoint's settings, replacing earlier ones. See [`PutEndpoint`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use actix_webhooks::Engine;
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = Engine::builder().start().await?;
    /// let endpoint = engine.endpoint("https://example.com/hooks");
    /// endpoint.put(|settings| Ok(settings.timeout(Duration::from_secs(5)))).await?;
    /// endpoint.pause().await?;
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OperateError::Endpoint`], also for an error of `settings`; [`OperateError::Stopped`].
    pub async fn put(
        &self,
        settings: impl FnOnce(Endpoint) -> Result<Endpoint, InvalidEndpoint>,
    ) -> Result<(), OperateError> {
        let endpoint = Endpoint::new(&self.url).map_err(InvalidEndpoint::from);
        let endpoint = endpoint.and_then(settings);
        let endpoint = endpoint.map_err(|error| OperateError::Endpoint(error.into()))?;
        self.engine.put_endpoint(endpoint).await
    }

    /// Removes the endpoint's settings, gives up its open deliveries, and returns their number. See
    /// [`RemoveEndpoint`].
    ///
    /// # Errors
    /// [`OperateError::Endpoint`], [`OperateError::Stopped`].
    pub async fn remove(&self) -> Result<u64, OperateError> {
        let remove = RemoveEndpoint::new(&self.url);
        Ok(self.engine.ask_supervisor(remove).await??)
    }

    /// Pauses the endpoint until it is resumed. See [`PauseEndpoint`].
    ///
    /// # Errors
    /// [`OperateError::Endpoint`], [`OperateError::Stopped`].
    pub async fn pause(&self) -> Result<(), OperateError> {
        let pause = PauseEndpoint::new(&self.url);
        Ok(self.engine.ask_supervisor(pause).await??)
    }

    /// Disables the endpoint until it is resumed. See [`DisableEndpoint`].
    ///
    /// # Errors
    /// [`OperateError::Endpoint`], [`OperateError::Stopped`].
    pub async fn disable(&self) -> Result<(), OperateError> {
        let disable = DisableEndpoint::new(&self.url);
        Ok(self.engine.ask_supervisor(disable).await??)
    }

    /// Resumes the endpoint, and lifts its hold. See [`ResumeEndpoint`].
    ///
    /// # Errors
    /// [`OperateError::Endpoint`], [`OperateError::Stopped`].
    pub async fn resume(&self) -> Result<(), OperateError> {
        let resume = ResumeEndpoint::new(&self.url);
        Ok(self.engine.ask_supervisor(resume).await??)
    }
}

impl Engine {
    /// Returns the status of the engine itself. See [`GetEngine`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn status(&self) -> Result<EngineStatus, OperateError> {
        self.ask_supervisor(GetEngine).await
    }
}

/// # Endpoints
impl Engine {
    /// Returns a handle to the endpoint with this URL, in any spelling.
    ///
    /// The handle's methods check whether the endpoint is known.
    ///
    /// ```
    /// use actix_webhooks::Engine;
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = Engine::builder().start().await?;
    /// if let Some(status) = engine.endpoint("https://example.com/hooks").status().await? {
    ///     println!("{status:?}");
    /// }
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn endpoint(&self, url: impl AsRef<str>) -> EndpointHandle {
        EndpointHandle {
            engine: self.clone(),
            url: url.as_ref().to_owned(),
        }
    }

    /// Returns the URL of the endpoint with this id; `None` if it is unknown. See [`FindEndpoint`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn find_endpoint(&self, id: EndpointId) -> Result<Option<WebhookUrl>, OperateError> {
        self.ask_supervisor(FindEndpoint::new(id)).await
    }

    /// Puts an endpoint's settings, replacing earlier ones. See [`PutEndpoint`].
    ///
    /// # Errors
    /// [`OperateError::Endpoint`], [`OperateError::Stopped`].
    pub async fn put_endpoint(&self, endpoint: Endpoint) -> Result<(), OperateError> {
        Ok(self.ask_supervisor(PutEndpoint::new(endpoint)).await??)
    }

    /// Returns a page of endpoint statuses, ordered by URL. See [`ListStatus`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn endpoints(&self, query: ListStatus) -> Result<StatusPage, OperateError> {
        self.ask_supervisor(query).await
    }

    /// Returns the stored settings that cannot be read or used. See [`ListUnreadable`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn unreadable_settings(&self) -> Result<Vec<UnreadableSetting>, OperateError> {
        self.ask_supervisor(ListUnreadable).await
    }
}

/// # Deliveries
impl Engine {
    /// Publishes events, each accepted or refused on its own, with one write for those that arrive
    /// together. See [`PublishBatch`].
    ///
    /// # Errors
    /// One result per event, in the order of the events; [`PublishError::ShuttingDown`] for all.
    pub async fn publish_all(
        &self,
        events: impl IntoIterator<Item = Event>,
    ) -> Result<Vec<Result<Receipt, PublishError>>, PublishError> {
        let batch = PublishBatch::new(events.into_iter().collect::<Vec<_>>());
        let answers = self.router.send(batch).await;
        answers.map_err(|_| PublishError::ShuttingDown)
    }

    /// Returns deliveries, newest first. See [`ListDeliveries`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn deliveries(&self, query: DeliveryQuery) -> Result<Page<Delivery>, OperateError> {
        Ok(self.ask_supervisor(ListDeliveries::new(query)).await??)
    }

    /// Returns the attempts of a delivery, oldest first. See [`ListAttempts`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, OperateError> {
        Ok(self.ask_supervisor(ListAttempts::new(id)).await??)
    }

    /// Returns dead letters, newest first. See [`ListDeadLetters`].
    ///
    /// ```
    /// use actix_webhooks::Engine;
    /// use actix_webhooks::store::DeadLetterQuery;
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = Engine::builder().start().await?;
    /// for letter in engine.dead_letters(DeadLetterQuery::default()).await? {
    ///     println!("{} to {}: {}", letter.event_id, letter.url, letter.reason);
    /// }
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn dead_letters(
        &self,
        query: DeadLetterQuery,
    ) -> Result<Page<DeadLetter>, OperateError> {
        Ok(self.ask_supervisor(ListDeadLetters::new(query)).await??)
    }

    /// Redelivers one delivery by its [`DeliveryId`], or dead letters by a [`DeadLetterQuery`]. See
    /// [`Redeliver`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn redeliver(
        &self,
        which: impl Into<Redelivery>,
    ) -> Result<Redeliveries, OperateError> {
        Ok(self.ask_supervisor(Redeliver::new(which)).await??)
    }

    /// Discards dead letters and returns their number. See [`DiscardDeadLetters`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn discard_dead_letters(&self, query: DeadLetterQuery) -> Result<u64, OperateError> {
        Ok(self
            .ask_supervisor(DiscardDeadLetters::new(query))
            .await??)
    }

    /// Ends the open deliveries of a rule or a client, and returns their number. See
    /// [`EndDeliveries`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn end_deliveries(&self, which: EndDeliveries) -> Result<u64, OperateError> {
        Ok(self.ask_supervisor(which).await??)
    }
}

/// # Rules and clients
impl Engine {
    /// Returns all rules, ordered by id. See [`ListRules`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn rules(&self) -> Result<Vec<Rule>, OperateError> {
        self.ask_router(ListRules).await
    }

    /// Returns the rules that an event would match now, and why the nearest others would not. See
    /// [`ExplainRouting`].
    ///
    /// ```
    /// use actix_webhooks::{Engine, ExplainRouting, Rule};
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let rule = Rule::new("invoices", "invoice.*").client("client-1");
    /// # let rule = rule.webhook("https://example.com/hooks")?;
    /// # let engine = Engine::builder().rule(rule).start().await?;
    /// let explanation = engine.explain(ExplainRouting::new("invoice.paid", "client-2")).await?;
    /// for miss in explanation.misses {
    ///     println!("{}: {}", miss.rule, miss.why); // invoices: for client "client-1"
    /// }
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn explain(
        &self,
        event: impl Into<ExplainRouting>,
    ) -> Result<Explanation, OperateError> {
        self.ask_router(event.into()).await
    }

    /// Adds a rule, or replaces the rule with its id. See [`PutRule`].
    ///
    /// # Errors
    /// [`OperateError::Rule`], [`OperateError::Stopped`].
    pub async fn put_rule(&self, rule: Rule) -> Result<(), OperateError> {
        Ok(self.ask_router(PutRule::new(rule)).await??)
    }

    /// Removes a rule; its deliveries continue. Returns `true` if the rule existed. See
    /// [`RemoveRule`].
    ///
    /// # Errors
    /// [`OperateError::Rule`], [`OperateError::Stopped`].
    pub async fn remove_rule(&self, id: impl Into<RuleId>) -> Result<bool, OperateError> {
        Ok(self.ask_router(RemoveRule::new(id)).await??)
    }

    /// Removes a rule, ends its open deliveries, and returns their number. See [`EndRule`].
    ///
    /// # Errors
    /// [`OperateError::Rule`], [`OperateError::Stopped`].
    pub async fn end_rule(&self, id: impl Into<RuleId>) -> Result<u64, OperateError> {
        Ok(self.ask_router(EndRule::new(id)).await??)
    }

    /// Returns all clients, ordered by id. See [`ListClients`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn clients(&self) -> Result<Vec<Client>, OperateError> {
        self.ask_router(ListClients).await
    }

    /// Adds a client, or replaces the client with its id. See [`PutClient`].
    ///
    /// # Errors
    /// [`OperateError::Rule`], [`OperateError::Stopped`].
    pub async fn put_client(&self, client: Client) -> Result<(), OperateError> {
        Ok(self.ask_router(PutClient::new(client)).await??)
    }

    /// Removes a client; its deliveries continue. Returns `true` if the client existed. See
    /// [`RemoveClient`].
    ///
    /// # Errors
    /// [`OperateError::Rule`], [`OperateError::Stopped`].
    pub async fn remove_client(&self, id: impl Into<ClientId>) -> Result<bool, OperateError> {
        Ok(self.ask_router(RemoveClient::new(id)).await??)
    }

    /// Removes a client, ends its open deliveries, and returns their number. See [`EndClient`].
    ///
    /// # Errors
    /// [`OperateError::Rule`], [`OperateError::Stopped`].
    pub async fn end_client(&self, id: impl Into<ClientId>) -> Result<u64, OperateError> {
        Ok(self.ask_router(EndClient::new(id)).await??)
    }
}

impl Engine {
    pub(super) async fn ask_supervisor<M>(&self, message: M) -> Result<M::Result, OperateError>
    where
        M: Message<Result: Send> + Send + 'static,
        SupervisorActor: Handler<M>,
    {
        ask(&self.supervisor, message).await
    }

    async fn ask_router<M>(&self, message: M) -> Result<M::Result, OperateError>
    where
        M: Message<Result: Send> + Send + 'static,
        RouterActor: Handler<M>,
    {
        ask(&self.router, message).await
    }
}

async fn ask<A, M>(actor: &Addr<A>, message: M) -> Result<M::Result, OperateError>
where
    A: Handler<M, Context = actix::Context<A>>,
    M: Message<Result: Send> + Send + 'static,
{
    let answer = actor.send(message).await;
    answer.map_err(|_| OperateError::Stopped)
}
