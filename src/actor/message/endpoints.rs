//! Endpoints: their settings, whether attempts may start, and how they do.

use std::fmt;

use actix::Message;
use serde::{Deserialize, Serialize};

use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::endpoint::status::EndpointStatus;
use crate::domain::value::url::{self, WebhookUrl};
use crate::store::{StoreError, UnreadableSetting};

/// Adds settings for a URL or replaces those it has: application → [`SupervisorActor`](crate::SupervisorActor). They apply from the
/// next attempt on, a rate limit from the last attempt on. A hold by `Retry-After` stays: [`ResumeEndpoint`] lifts it.
///
/// ```
/// use std::time::Duration;
/// use actix_webhooks::{Endpoint, Engine, PutEndpoint};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let endpoint = Endpoint::new("https://example.com/hooks")?.timeout(Duration::from_secs(5));
/// engine.supervisor().send(PutEndpoint(endpoint)).await??;
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        pub struct $name {
            /// The endpoint's URL, in any spelling. `Debug` leaves user info and query out.
            pub url: String,
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut shown = f.debug_struct(stringify!($name));
                shown.field("url", &url::shown(&self.url)).finish()
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

about_an_endpoint! {
    /// Forgets an endpoint: application → [`SupervisorActor`](crate::SupervisorActor).
    ///
    /// Its open deliveries become dead letters with the reason that it was removed; the answer says how many. An attempt in flight is broken off.
    ///
    /// A rule that still names the URL leads to new deliveries, under the default policy. But if its settings
    /// said anything about what requests carry (authorisation, headers, content type, signing secrets, a client
    /// certificate), it is not called without them: what is published for it becomes a dead letter at
    /// once, with the same reason, and is not redelivered, until [`PutEndpoint`] for it, or
    /// [`PutRule`](crate::PutRule) with a rule that names it, asks for it again. A rule that an engine is
    /// started with counts as put if it differs from the stored one.
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

about_an_endpoint! {
    /// Stops attempts to an endpoint until [`ResumeEndpoint`]; what is in flight ends, events are kept: application →
    /// [`SupervisorActor`](crate::SupervisorActor).
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
    PauseEndpoint -> Result<(), EndpointError>
}

about_an_endpoint! {
    /// Lets attempts to an endpoint go on that is paused, disabled, held back by its receiver, or behind an open circuit:
    /// application → [`SupervisorActor`](crate::SupervisorActor).
    ///
    /// A hold (429 or 503 with `Retry-After`, see [`EndpointStatus::held`]) is lifted for good, and the deliveries that were
    /// told to wait for its end (those due in its last second) go on at once; others keep their own schedule. Of an open circuit the next probe comes at once.
    /// The rate limit stays, and so does the pace that the receiver was found to take.
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
    ResumeEndpoint -> Result<(), EndpointError>
}

about_an_endpoint! {
    /// Stops attempts to an endpoint until [`ResumeEndpoint`], as disabled rather than paused: for a customer who has left, say. What is in flight ends,
    /// events are kept: application → [`SupervisorActor`](crate::SupervisorActor).
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
    DisableEndpoint -> Result<(), EndpointError>
}

about_an_endpoint! {
    /// Asks how an endpoint does: application → [`SupervisorActor`](crate::SupervisorActor). `None` when it is not known.
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

/// Why something could not be done with an endpoint. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// No rule, setting or delivery has named this URL since it was last removed. It is shown without user info
    /// and query, and not at all if it is not a URL.
    #[error("endpoint {0:?} is not known")]
    Unknown(String),
    /// Its settings are kept and cannot be read. Put them again: that resumes it too.
    #[error("settings of endpoint {0:?} cannot be read; put them again, which resumes it")]
    Unreadable(String),
    /// The settings cannot be used as they are.
    #[error(transparent)]
    Invalid(#[from] InvalidEndpoint),
    /// The store could not keep the change; asking again may help.
    #[error("change could not be kept")]
    Store(#[source] StoreError),
}

/// Asks which rules, clients and settings of endpoints were kept and could not be read, or not be used,
/// when the engine started, and were not put again since: application → [`SupervisorActor`](crate::SupervisorActor).
///
/// They are set aside and keep nothing else from working. An endpoint whose settings cannot be read is disabled;
/// a rule that cannot be read matches nothing; what is open under it, and whatever is to be sent for a client that
/// cannot be read, is a dead letter ([`Failure::Unreadable`](crate::Failure::Unreadable)). Putting the
/// setting again mends it.
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
pub struct ListUnreadable;

impl Message for ListUnreadable {
    type Result = Vec<UnreadableSetting>;
}

/// Asks how endpoints do, ordered by URL: application → [`SupervisorActor`](crate::SupervisorActor).
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
pub struct ListStatus {
    /// Which endpoints to show. Defaults to all.
    pub filter: StatusFilter,
    /// Only those after this one, to turn the page.
    pub after: Option<WebhookUrl>,
    /// How many endpoints are looked at. 0 means 100; more than 1,000 is 1,000. A page holds those of them that the filter lets through.
    pub limit: usize,
}

impl Message for ListStatus {
    type Result = StatusPage;
}

/// Which endpoints a list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StatusFilter {
    /// All.
    #[default]
    All,
    /// Those whose last attempt failed.
    Failing,
    /// Those that have something open.
    Busy,
    /// Those that are paused.
    Paused,
    /// Those that are disabled.
    Disabled,
}

/// A page of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StatusPage {
    /// Those that the filter lets through.
    pub statuses: Vec<EndpointStatus>,
    /// What to pass as `after` for the next page; `None` at the end.
    pub next: Option<WebhookUrl>,
}
