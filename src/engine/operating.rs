//! Operator requests as methods. Each sends the message of the same name and unwraps its answer.

use actix::{Addr, Handler, Message};

use super::{EndpointHandle, Engine};
use crate::actor::message::{
    AttemptNow, By, DiscardDeadLetters, EndClient, EndDeliveries, EndRule, EndpointError,
    EndpointPage, EngineStatus, ExplainRouting, FindEndpoint, GetEngine, GetOverview, GetSeries,
    ListActions, ListAttempts, ListClients, ListDeadLetters, ListDeliveries, ListEndpoints,
    ListRules, ListStatus, ListUnreadable, PublishBatch, PutClient, PutEndpoint, PutRule, Receipt,
    Redeliver, Redeliveries, RemoveClient, RemoveRule, RuleError, SendTest, StatusPage, TestError,
};
use crate::actor::router::RouterActor;
use crate::actor::supervisor::SupervisorActor;
use crate::domain::deliveries::attempt::Attempt;
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::Delivery;
use crate::domain::endpoint::action::OperatorAction;
use crate::domain::endpoint::due::AttemptNowAnswer;
use crate::domain::endpoint::id::EndpointId;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::events::event::Event;
use crate::domain::routing::client::Client;
use crate::domain::routing::explain::Explanation;
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::{ClientId, DeliveryId, RuleId};
use crate::domain::value::operator::Operator;
use crate::domain::value::text::InvalidText;
use crate::domain::value::url::WebhookUrl;
use crate::domain::watch::overview::Overview;
use crate::domain::watch::series::{Series, SeriesWindow};
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
    /// The operator's name or the note is not valid.
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// The test event was not accepted.
    #[error(transparent)]
    Event(PublishError),
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
            Self::Event(error) => error.is_transient(),
            Self::Endpoint(_) | Self::Rule(_) | Self::Text(_) | Self::Stopped => false,
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

impl From<TestError> for OperateError {
    fn from(error: TestError) -> Self {
        match error {
            TestError::Endpoint(error) => Self::Endpoint(error),
            TestError::Event(PublishError::ShuttingDown) => Self::Stopped,
            TestError::Event(error) => Self::Event(error),
        }
    }
}

/// # Operators
impl Engine {
    /// Returns a handle to the same engine that names the operator in everything it changes.
    ///
    /// `operator` is an [`Operator`], or a text: a name of 1 to
    /// [`MAX_OPERATOR_BYTES`](crate::limits::MAX_OPERATOR_BYTES) bytes without control characters.
    /// With any other text all changes fail with [`OperateError::Text`], so that none goes without
    /// its name. Publishing names nobody. See [`By`].
    ///
    /// ```
    /// use actix_webhooks::{Engine, Rule};
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = Engine::builder().start().await?;
    /// let alice = engine.by("alice");
    /// alice.put_rule(Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?).await?;
    /// alice.endpoint("https://example.com/hooks").pause().await?;
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn by<O>(&self, operator: O) -> Self
    where
        O: TryInto<Operator>,
        InvalidText: From<O::Error>,
    {
        let operator = operator.try_into().map(Some).map_err(InvalidText::from);
        Self {
            operator,
            ..self.clone()
        }
    }

    /// Returns the last actions of operators, newest first. See [`ListActions`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn actions(&self, query: ListActions) -> Result<Vec<OperatorAction>, OperateError> {
        self.ask_supervisor(query).await
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
            note: Ok(None),
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
        Ok(self.act_on_supervisor(PutEndpoint::new(endpoint)).await??)
    }

    /// Sends one test event to an endpoint now, and returns the id of its delivery. See
    /// [`SendTest`].
    ///
    /// # Errors
    /// [`OperateError::Endpoint`], [`OperateError::Event`], [`OperateError::Text`],
    /// [`OperateError::Stopped`].
    pub async fn send_test(&self, test: SendTest) -> Result<DeliveryId, OperateError> {
        Ok(self.act_on_supervisor(test).await??)
    }

    /// Returns a page of endpoint statuses, ordered by URL. See [`ListStatus`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn endpoints(&self, query: ListStatus) -> Result<StatusPage, OperateError> {
        self.ask_supervisor(query).await
    }

    /// Returns a page of endpoints, filtered and ordered without asking each of them. See
    /// [`ListEndpoints`].
    ///
    /// ```
    /// use actix_webhooks::{EndpointSort, Engine, ListEndpoints};
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = Engine::builder().start().await?;
    /// let mut query = ListEndpoints { sort: EndpointSort::Attention, ..ListEndpoints::default() };
    /// loop {
    ///     let page = engine.endpoints_by(query.clone()).await?;
    ///     for listed in page.endpoints {
    ///         println!("{}: {:?}", listed.status.url, listed.attention);
    ///     }
    ///     query.after = page.next;
    ///     if query.after.is_none() {
    ///         break;
    ///     }
    /// }
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn endpoints_by(&self, query: ListEndpoints) -> Result<EndpointPage, OperateError> {
        self.ask_supervisor(query).await
    }

    /// Returns the state of the engine on one page, from memory. See [`GetOverview`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn overview(&self) -> Result<Overview, OperateError> {
        self.ask_supervisor(GetOverview).await
    }

    /// Returns counts of attempts over time, from memory. See [`GetSeries`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn series(&self, window: SeriesWindow) -> Result<Series, OperateError> {
        self.ask_supervisor(GetSeries::new(window)).await
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
        Ok(self.act_on_supervisor(Redeliver::new(which)).await??)
    }

    /// Attempts a delivery now that waits for a retry. See [`AttemptNow`].
    ///
    /// ```
    /// use actix_webhooks::store::{DeliveryQuery, DeliveryStage};
    /// use actix_webhooks::Engine;
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = Engine::builder().start().await?;
    /// let open = DeliveryQuery { stage: Some(DeliveryStage::Open), ..DeliveryQuery::default() };
    /// for delivery in engine.deliveries(open).await? {
    ///     println!("{}: {:?}", delivery.id, engine.attempt_now(delivery.id).await?);
    /// }
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn attempt_now(&self, id: DeliveryId) -> Result<AttemptNowAnswer, OperateError> {
        Ok(self.act_on_supervisor(AttemptNow::new(id)).await??)
    }

    /// Discards dead letters and returns their number. See [`DiscardDeadLetters`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn discard_dead_letters(&self, query: DeadLetterQuery) -> Result<u64, OperateError> {
        Ok(self
            .act_on_supervisor(DiscardDeadLetters::new(query))
            .await??)
    }

    /// Ends the open deliveries of a rule or a client, and returns their number. See
    /// [`EndDeliveries`].
    ///
    /// # Errors
    /// [`OperateError::Store`], [`OperateError::Stopped`].
    pub async fn end_deliveries(&self, which: EndDeliveries) -> Result<u64, OperateError> {
        Ok(self.act_on_supervisor(which).await??)
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
        Ok(self.act_on_router(PutRule::new(rule)).await??)
    }

    /// Removes a rule; its deliveries continue. Returns `true` if the rule existed. See
    /// [`RemoveRule`].
    ///
    /// # Errors
    /// [`OperateError::Rule`], [`OperateError::Stopped`].
    pub async fn remove_rule(&self, id: impl Into<RuleId>) -> Result<bool, OperateError> {
        Ok(self.act_on_router(RemoveRule::new(id)).await??)
    }

    /// Removes a rule, ends its open deliveries, and returns their number. See [`EndRule`].
    ///
    /// # Errors
    /// [`OperateError::Rule`], [`OperateError::Stopped`].
    pub async fn end_rule(&self, id: impl Into<RuleId>) -> Result<u64, OperateError> {
        Ok(self.act_on_router(EndRule::new(id)).await??)
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
        Ok(self.act_on_router(PutClient::new(client)).await??)
    }

    /// Removes a client; its deliveries continue. Returns `true` if the client existed. See
    /// [`RemoveClient`].
    ///
    /// # Errors
    /// [`OperateError::Rule`], [`OperateError::Stopped`].
    pub async fn remove_client(&self, id: impl Into<ClientId>) -> Result<bool, OperateError> {
        Ok(self.act_on_router(RemoveClient::new(id)).await??)
    }

    /// Removes a client, ends its open deliveries, and returns their number. See [`EndClient`].
    ///
    /// # Errors
    /// [`OperateError::Rule`], [`OperateError::Stopped`].
    pub async fn end_client(&self, id: impl Into<ClientId>) -> Result<u64, OperateError> {
        Ok(self.act_on_router(EndClient::new(id)).await??)
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

    /// Sends a message that changes something, with the operator of this handle.
    pub(super) async fn act_on_supervisor<M>(&self, message: M) -> Result<M::Result, OperateError>
    where
        M: Message<Result: Send> + Send + 'static,
        SupervisorActor: Handler<M> + Handler<By<M>>,
    {
        match self.operator.clone()? {
            None => ask(&self.supervisor, message).await,
            Some(operator) => ask(&self.supervisor, By::new(operator, message)).await,
        }
    }

    /// Sends a message that changes something, with the operator of this handle.
    async fn act_on_router<M>(&self, message: M) -> Result<M::Result, OperateError>
    where
        M: Message<Result: Send> + Send + 'static,
        RouterActor: Handler<M> + Handler<By<M>>,
    {
        match self.operator.clone()? {
            None => ask(&self.router, message).await,
            Some(operator) => ask(&self.router, By::new(operator, message)).await,
        }
    }

    pub(super) async fn ask_router<M>(&self, message: M) -> Result<M::Result, OperateError>
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
