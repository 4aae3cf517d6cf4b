//! A handle to one endpoint: its operators' requests as methods.

use super::Engine;
use super::operating::OperateError;
use super::watching::Updates;
use crate::actor::message::{
    DisableEndpoint, GetEndpoint, GetEndpointStatistics, GetStatus, ListEndpointAttempts,
    PauseEndpoint, RemoveEndpoint, ResumeEndpoint, SendTest,
};
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::endpoint::status::{DeliveryReport, EndpointStatus};
use crate::domain::value::id::DeliveryId;
use crate::domain::value::operator::{Note, Operator};
use crate::domain::value::text::InvalidText;
use crate::domain::value::url::WebhookUrl;
use crate::domain::watch::series::{EndpointStatistics, SeriesWindow};
use crate::store::{AttemptPage, AttemptQuery};

/// A handle to one endpoint of an engine; see [`Engine::endpoint`].
#[derive(Clone, Debug)]
pub struct EndpointHandle {
    pub(super) engine: Engine,
    pub(super) url: String,
    pub(super) note: Result<Option<Note>, InvalidText>,
}

impl EndpointHandle {
    /// Returns the endpoint's status, or `None` if it is unknown. See [`GetStatus`].
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn status(&self) -> Result<Option<EndpointStatus>, OperateError> {
        self.engine.ask_supervisor(GetStatus::new(&self.url)).await
    }

    /// Watches the endpoint's status. See [`Engine::watch_statuses`].
    ///
    /// # Errors
    /// [`OperateError::Endpoint`] if the URL is invalid; [`OperateError::Stopped`].
    pub async fn watch_statuses(
        &self,
        capacity: usize,
    ) -> Result<Updates<EndpointStatus>, OperateError> {
        let url = self.checked()?;
        self.engine.stream_statuses(Some(url), capacity).await
    }

    /// Watches the ends of attempts to the endpoint, and its deliveries given up without one. For
    /// other endpoints nothing is built or sent. See [`Engine::watch_deliveries`].
    ///
    /// ```
    /// use actix_webhooks::Engine;
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = Engine::builder().start().await?;
    /// let endpoint = engine.endpoint("https://example.com/hooks");
    /// let mut reports = endpoint.watch_deliveries(100).await?;
    /// assert!(reports.try_next().is_none());
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OperateError::Endpoint`] if the URL is invalid; [`OperateError::Stopped`].
    pub async fn watch_deliveries(
        &self,
        capacity: usize,
    ) -> Result<Updates<DeliveryReport>, OperateError> {
        let url = self.checked()?;
        self.engine.stream_deliveries(Some(url), capacity).await
    }

    fn checked(&self) -> Result<WebhookUrl, OperateError> {
        let url = WebhookUrl::parse(&self.url).map_err(InvalidEndpoint::from);
        url.map_err(|error| OperateError::Endpoint(error.into()))
    }

    /// Returns the attempts of all deliveries of the endpoint, the latest first. See
    /// [`ListEndpointAttempts`].
    ///
    /// ```
    /// use actix_webhooks::Engine;
    /// use actix_webhooks::store::AttemptQuery;
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = Engine::builder().start().await?;
    /// let endpoint = engine.endpoint("https://example.com/hooks");
    /// for found in endpoint.attempts(AttemptQuery::default()).await?.items {
    ///     println!("{}: {}", found.event_id, found.attempt.summary);
    /// }
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OperateError::Endpoint`] if the URL is invalid; [`OperateError::Store`],
    /// [`OperateError::Stopped`].
    pub async fn attempts(&self, query: AttemptQuery) -> Result<AttemptPage, OperateError> {
        let list = ListEndpointAttempts::new(self.checked()?, query);
        self.engine.endpoint_attempts(list).await
    }

    /// Returns counts of the endpoint's attempts over time, from the store. See
    /// [`GetEndpointStatistics`].
    ///
    /// # Errors
    /// [`OperateError::Endpoint`] if the URL is invalid; [`OperateError::Store`],
    /// [`OperateError::Stopped`].
    pub async fn statistics(
        &self,
        window: SeriesWindow,
    ) -> Result<EndpointStatistics, OperateError> {
        let get = GetEndpointStatistics::new(self.checked()?, window);
        self.engine.endpoint_statistics(get).await
    }

    /// Returns the endpoint's settings, secrets included. See [`GetEndpoint`].
    ///
    /// # Errors
    /// [`OperateError::Endpoint`], [`OperateError::Stopped`].
    pub async fn settings(&self) -> Result<Endpoint, OperateError> {
        let get = GetEndpoint::new(&self.url);
        Ok(self.engine.ask_supervisor(get).await??)
    }

    /// Puts the endpoint's settings, replacing earlier ones. See
    /// [`PutEndpoint`](crate::PutEndpoint).
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
        Ok(self.engine.act_on_supervisor(remove).await??)
    }

    /// Sends one test event to the endpoint now, and returns the id of its delivery. See
    /// [`SendTest`].
    ///
    /// # Errors
    /// [`OperateError::Endpoint`], [`OperateError::Event`], [`OperateError::Text`],
    /// [`OperateError::Stopped`].
    pub async fn send_test(&self) -> Result<DeliveryId, OperateError> {
        self.engine.send_test(SendTest::new(&self.url)).await
    }

    /// Names the operator of what this handle does from now on. See [`Engine::by`].
    #[must_use]
    pub fn by<O>(self, operator: O) -> Self
    where
        O: TryInto<Operator>,
        InvalidText: From<O::Error>,
    {
        let engine = self.engine.by(operator);
        Self { engine, ..self }
    }

    /// Adds a note to the pauses, disablings and resumptions of this handle from now on.
    ///
    /// `note` is a [`Note`], or a text: of 1 to [`MAX_NOTE_BYTES`](crate::limits::MAX_NOTE_BYTES)
    /// bytes without control characters. With any other text they fail with
    /// [`OperateError::Text`].
    #[must_use]
    pub fn note<N>(self, note: N) -> Self
    where
        N: TryInto<Note>,
        InvalidText: From<N::Error>,
    {
        let note = note.try_into().map(Some).map_err(InvalidText::from);
        Self { note, ..self }
    }

    /// Pauses the endpoint until it is resumed. See [`PauseEndpoint`].
    ///
    /// ```
    /// use actix_webhooks::{Engine, Rule};
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
    /// # let engine = Engine::builder().rule(rule).start().await?;
    /// let endpoint = engine.endpoint("https://example.com/hooks");
    /// endpoint.clone().by("alice").note("flooding us").pause().await?;
    /// let stopped = endpoint.status().await?.and_then(|status| status.stopped);
    /// assert_eq!(stopped.unwrap().by.unwrap(), "alice");
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OperateError::Endpoint`], [`OperateError::Text`], [`OperateError::Stopped`].
    pub async fn pause(&self) -> Result<(), OperateError> {
        let note = self.note.clone()?;
        let pause = PauseEndpoint::new(&self.url);
        let pause = PauseEndpoint { note, ..pause };
        Ok(self.engine.act_on_supervisor(pause).await??)
    }

    /// Disables the endpoint until it is resumed. See [`DisableEndpoint`].
    ///
    /// # Errors
    /// [`OperateError::Endpoint`], [`OperateError::Text`], [`OperateError::Stopped`].
    pub async fn disable(&self) -> Result<(), OperateError> {
        let note = self.note.clone()?;
        let disable = DisableEndpoint::new(&self.url);
        let disable = DisableEndpoint { note, ..disable };
        Ok(self.engine.act_on_supervisor(disable).await??)
    }

    /// Resumes the endpoint, and lifts its hold. See [`ResumeEndpoint`].
    ///
    /// # Errors
    /// [`OperateError::Endpoint`], [`OperateError::Text`], [`OperateError::Stopped`].
    pub async fn resume(&self) -> Result<(), OperateError> {
        let note = self.note.clone()?;
        let resume = ResumeEndpoint::new(&self.url);
        let resume = ResumeEndpoint { note, ..resume };
        Ok(self.engine.act_on_supervisor(resume).await??)
    }
}
