//! Endpoints: their settings, their status, and stopping and resuming them.

use std::fmt;

use actix::Message;
use serde::{Deserialize, Serialize};

use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::endpoint::status::EndpointStatus;
use crate::domain::value::operator::{Note, Operator};
use crate::domain::value::url::{self, WebhookUrl};
use crate::store::{StoreError, UnreadableSetting};

/// Adds or replaces the settings of a URL: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The settings apply from the next attempt on; a rate limit also takes the last attempt into
/// account. A hold by `Retry-After` stays until [`ResumeEndpoint`] lifts it.
///
/// ```
/// use std::time::Duration;
/// use actix_webhooks::{Endpoint, Engine, PutEndpoint};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let endpoint = Endpoint::new("https://example.com/hooks")?.timeout(Duration::from_secs(5));
/// engine.supervisor().send(PutEndpoint::new(endpoint)).await??;
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PutEndpoint(pub Endpoint);

impl PutEndpoint {
    /// Returns the message.
    pub fn new(endpoint: Endpoint) -> Self {
        Self(endpoint)
    }
}

impl Message for PutEndpoint {
    type Result = Result<(), EndpointError>;
}

macro_rules! about_an_endpoint {
    ($(#[$doc:meta])* $name:ident -> $result:ty) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub struct $name {
            /// The endpoint's URL in any spelling. `Debug` omits user info and query.
            pub url: String,
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let shown = crate::domain::value::url::shown(&self.url);
                f.debug_struct(stringify!($name)).field("url", &shown).finish()
            }
        }

        impl $name {
            /// Returns the message.
            pub fn new(url: impl AsRef<str>) -> Self {
                Self { url: url.as_ref().to_owned() }
            }
        }

        impl Message for $name {
            type Result = $result;
        }
    };
}

pub(super) use about_an_endpoint;
macro_rules! stops_or_resumes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub struct $name {
            /// The endpoint's URL in any spelling. `Debug` omits user info and query.
            pub url: String,
            /// The operator who asks for it. Defaults to `None`: none is named.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub by: Option<Operator>,
            /// The operator's note. Defaults to `None`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub note: Option<Note>,
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut shown = f.debug_struct(stringify!($name));
                shown.field("url", &url::shown(&self.url));
                shown.field("by", &self.by).field("note", &self.note);
                shown.finish()
            }
        }

        impl $name {
            /// Returns the message, without operator and note.
            pub fn new(url: impl AsRef<str>) -> Self {
                let url = url.as_ref().to_owned();
                Self { url, by: None, note: None }
            }

            /// Names the operator who asks for it.
            #[must_use]
            pub fn by(self, operator: Operator) -> Self {
                Self { by: Some(operator), ..self }
            }

            /// Adds the operator's note.
            #[must_use]
            pub fn note(self, note: Note) -> Self {
                Self { note: Some(note), ..self }
            }
        }

        impl Message for $name {
            type Result = Result<(), EndpointError>;
        }
    };
}

about_an_endpoint! {
    /// Removes an endpoint: application → [`SupervisorActor`](crate::SupervisorActor).
    ///
    /// Its open deliveries become dead letters with the reason `EndpointRemoved`; the answer is
    /// their number. Attempts in flight are aborted.
    ///
    /// A rule that still names the URL creates new deliveries under the default policy. It is
    /// different if the removed settings affected the content of requests (authorisation, headers,
    /// content type, signing secrets, a client certificate): the endpoint is then not called
    /// without them. New deliveries to it become dead letters at once, with the same reason, and
    /// cannot be redelivered. This ends with a [`PutEndpoint`] for the URL, or with a
    /// [`PutRule`](crate::PutRule) whose rule names it. A rule given to the builder counts as put
    /// if it differs from the stored one.
    ///
    /// ```
    /// use actix_webhooks::{Engine, RemoveEndpoint, Rule};
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
    /// # let engine = Engine::builder().rule(rule).start().await?;
    /// let ended = engine.supervisor().send(RemoveEndpoint::new("https://example.com/hooks")).await??;
    /// assert_eq!(ended, 0, "nothing was open");
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    RemoveEndpoint -> Result<u64, EndpointError>
}

stops_or_resumes! {
    /// Pauses attempts to an endpoint until [`ResumeEndpoint`]: application →
    /// [`SupervisorActor`](crate::SupervisorActor).
    ///
    /// Attempts in flight finish, and events are kept. When it was paused, by whom and with which
    /// note is stored with the pause and shown in [`EndpointStatus::stopped`]. An endpoint that is
    /// paused already stays as it is: the first pause says since when nothing is sent, and who can
    /// say why.
    ///
    /// ```
    /// use actix_webhooks::{EndpointState, Engine, GetStatus, PauseEndpoint, Rule};
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
    /// # let engine = Engine::builder().rule(rule).start().await?;
    /// let url = "https://example.com/hooks";
    /// engine.supervisor().send(PauseEndpoint::new(url)).await??;
    /// let status = engine.supervisor().send(GetStatus::new(url)).await?;
    /// assert_eq!(status.map(|status| status.state), Some(EndpointState::Paused));
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    PauseEndpoint
}

stops_or_resumes! {
    /// Resumes an endpoint that is paused, disabled, held by its receiver, or behind an open
    /// circuit: application → [`SupervisorActor`](crate::SupervisorActor).
    ///
    /// A hold (429 or 503 with `Retry-After`, see [`EndpointStatus::held`]) is lifted for good.
    /// Deliveries scheduled for its end (those due in its last second) are attempted at once;
    /// others keep their own schedule. If the circuit is open, the next probe is sent at once. The
    /// rate limit and the receiver's pace stay. [`EndpointStatus::stopped`] is cleared. The
    /// message's operator and note are kept with the other actions
    /// ([`ListActions`](crate::ListActions)).
    ///
    /// ```
    /// use actix_webhooks::{EndpointState, Engine, GetStatus, PauseEndpoint, ResumeEndpoint, Rule};
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
    /// # let engine = Engine::builder().rule(rule).start().await?;
    /// let url = "https://example.com/hooks";
    /// engine.supervisor().send(PauseEndpoint::new(url)).await??;
    /// engine.supervisor().send(ResumeEndpoint::new(url)).await??;
    /// let status = engine.supervisor().send(GetStatus::new(url)).await?;
    /// assert_eq!(status.map(|status| status.state), Some(EndpointState::Idle));
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    ResumeEndpoint
}

stops_or_resumes! {
    /// Disables an endpoint until [`ResumeEndpoint`]: application →
    /// [`SupervisorActor`](crate::SupervisorActor).
    ///
    /// It works as [`PauseEndpoint`] does, but the state is `disabled`, for example for a customer
    /// who has left. Attempts in flight finish, and events are kept. When, by whom and with which
    /// note is stored and shown as for a pause. An endpoint that was disabled by this message stays
    /// as it is; of one that disabled itself, the reason becomes `application`.
    ///
    /// ```
    /// use actix_webhooks::{DisableEndpoint, EndpointState, Engine, GetStatus, Rule};
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
    /// # let engine = Engine::builder().rule(rule).start().await?;
    /// let url = "https://example.com/hooks";
    /// engine.supervisor().send(DisableEndpoint::new(url)).await??;
    /// let status = engine.supervisor().send(GetStatus::new(url)).await?;
    /// assert!(matches!(status.map(|status| status.state), Some(EndpointState::Disabled { .. })));
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    DisableEndpoint
}

about_an_endpoint! {
    /// Returns the status of an endpoint: application →
    /// [`SupervisorActor`](crate::SupervisorActor).
    ///
    /// The answer is `None` if the endpoint is unknown.
    ///
    /// ```
    /// use actix_webhooks::{Engine, GetStatus, Rule};
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
    /// # let engine = Engine::builder().rule(rule).start().await?;
    /// let status = engine.supervisor().send(GetStatus::new("https://example.com/hooks")).await?;
    /// if let Some(status) = status {
    ///     println!("{:?}, {} waiting, next attempt at {:?}", status.state, status.queued, status.next_attempt_at);
    /// }
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    GetStatus -> Option<EndpointStatus>
}

/// The reason why a request about an endpoint failed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// No rule, setting or delivery has named this URL since it was last removed. It is shown
    /// without user info and query, and not at all if it is not a URL.
    #[error("endpoint {0:?} is unknown; check the URL, or put the endpoint first")]
    Unknown(String),
    /// Its settings are stored but cannot be read. Put them again, which also resumes the endpoint.
    #[error(
        "stored settings of endpoint {0:?} cannot be read; put them again, which also resumes the endpoint"
    )]
    Unreadable(String),
    /// The settings are not valid.
    #[error(transparent)]
    Invalid(#[from] InvalidEndpoint),
    /// The store could not save the change; trying again may help.
    #[error("change could not be saved")]
    Store(#[source] StoreError),
}

/// Lists stored settings that could not be read or used: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// These are the rules, clients and endpoint settings that failed when the engine started and were
/// not put again since. They are set aside and do not affect anything else:
///
/// - An endpoint whose settings cannot be read is disabled.
/// - A rule that cannot be read matches nothing. Its open deliveries become dead letters
///   ([`Failure::Unreadable`](crate::Failure::Unreadable)).
/// - Deliveries for a client that cannot be read become dead letters in the same way.
///
/// Putting the setting again restores it.
///
/// ```
/// use actix_webhooks::{Engine, ListUnreadable};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// for unreadable in engine.supervisor().send(ListUnreadable).await? {
///     println!("{}: {}", unreadable.setting, unreadable.reason);
/// }
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "it has no content")]
pub struct ListUnreadable;

impl Message for ListUnreadable {
    type Result = Vec<UnreadableSetting>;
}

/// Lists the statuses of endpoints, ordered by URL: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// ```
/// use actix_webhooks::{Engine, ListStatus, StatusFilter};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// // Everything that fails, page by page.
/// let mut query = ListStatus { filter: StatusFilter::Failing, ..ListStatus::default() };
/// loop {
///     let page = engine.supervisor().send(query.clone()).await?;
///     for status in page.statuses {
///         println!("{}: {:?}", status.url, status.state);
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "written with `..default()`, which goes on working with a further field"
)]
pub struct ListStatus {
    /// The endpoints to show. Defaults to all.
    pub filter: StatusFilter,
    /// Starts after this URL, to get the next page.
    pub after: Option<WebhookUrl>,
    /// The number of endpoints examined per page. 0 means 100; values above 1,000 count as 1,000. A
    /// page holds the examined endpoints that pass the filter.
    pub limit: usize,
}

impl Message for ListStatus {
    type Result = StatusPage;
}

/// The endpoints that a list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StatusFilter {
    /// All endpoints.
    #[default]
    All,
    /// Endpoints whose last attempt failed.
    Failing,
    /// Endpoints with open deliveries.
    Busy,
    /// Paused endpoints.
    Paused,
    /// Disabled endpoints.
    Disabled,
}

impl fmt::Display for StatusFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Failing => "failing",
            Self::Busy => "busy",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        })
    }
}

/// A page of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StatusPage {
    /// The endpoints that pass the filter.
    pub statuses: Vec<EndpointStatus>,
    /// The value of `after` for the next page; `None` at the end.
    pub next: Option<WebhookUrl>,
}
