//! Questions about all endpoints together, which are answered without asking any.

use std::fmt;
use std::str::FromStr;

use actix::Message;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::endpoint::standing::StateKind;
use crate::domain::value::url::WebhookUrl;
use crate::domain::watch::overview::{ListedEndpoint, Overview};
use crate::domain::watch::rank::Rank;
use crate::domain::watch::series::{EndpointStatistics, Series, SeriesWindow};
use crate::store::{InvalidCursor, StoreError};

/// Requests the state of the engine on one page: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The answer comes from memory: neither the store nor all endpoints are asked.
///
/// ```
/// use actix_webhooks::{Engine, GetOverview};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let overview = engine.supervisor().send(GetOverview).await?;
/// println!("{} of {} fail", overview.endpoints.failing, overview.endpoints.total);
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Overview")]
#[expect(
    clippy::exhaustive_structs,
    reason = "there is nothing to say beside it"
)]
pub struct GetOverview;

/// Requests counts of attempts over time, of all endpoints together: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The answer comes from memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Message)]
#[rtype(result = "Series")]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[non_exhaustive]
pub struct GetSeries {
    /// The time to cover. Defaults to the last hour.
    pub window: SeriesWindow,
}

impl GetSeries {
    /// Returns the message.
    pub fn new(window: SeriesWindow) -> Self {
        Self { window }
    }
}

/// Requests counts of the attempts of one endpoint over time, with its failures by kind and the
/// durations: application → [`SupervisorActor`](crate::SupervisorActor).
///
/// The answer comes from the store: from up to 5,000 attempts, in the order of
/// [`ListEndpointAttempts`](crate::ListEndpointAttempts). It says how far they reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Message)]
#[rtype(result = "Result<EndpointStatistics, StoreError>")]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct GetEndpointStatistics {
    /// The endpoint. It need not be known any more.
    pub url: WebhookUrl,
    /// The time to cover.
    pub window: SeriesWindow,
}

impl GetEndpointStatistics {
    /// Returns the message.
    pub fn new(url: WebhookUrl, window: SeriesWindow) -> Self {
        Self { url, window }
    }
}

/// Requests a page of endpoints, filtered and ordered: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The filters are applied in memory; only endpoints of the answer are asked for their status. A
/// status is a little newer than the choice, so it may no longer match.
///
/// ```
/// use actix_webhooks::{EndpointSort, Engine, ListEndpoints, StateKind};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let query = ListEndpoints {
///     states: vec![StateKind::Paused, StateKind::Disabled],
///     sort: EndpointSort::Attention,
///     ..ListEndpoints::default()
/// };
/// for listed in engine.supervisor().send(query).await?.endpoints {
///     println!("{}: {}", listed.status.url, listed.status.state);
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
pub struct ListEndpoints {
    /// Only endpoints in one of these states. Empty means any state.
    pub states: Vec<StateKind>,
    /// `true` for endpoints whose last attempt failed. Defaults to `false`: all.
    pub failing: bool,
    /// Only endpoints whose URL contains this text, regardless of the case of ASCII letters.
    pub url_contains: Option<String>,
    /// The order. Defaults to that of the URLs.
    pub sort: EndpointSort,
    /// Continues after an earlier page.
    pub after: Option<EndpointCursor>,
    /// The maximum number of endpoints of a page. 0 means 100; values above 1,000 count as 1,000.
    pub limit: usize,
}

impl Message for ListEndpoints {
    type Result = EndpointPage;
}

impl ListEndpoints {
    /// Returns `true` if every endpoint that matches is one that needs attention.
    pub(crate) fn is_of_unwell(&self) -> bool {
        let stopped = !self.states.is_empty() && self.states.iter().all(|kind| kind.is_stopped());
        self.failing || stopped || self.sort == EndpointSort::Attention
    }
}

/// The order of endpoints in a list. In JSON a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndpointSort {
    /// By URL.
    #[default]
    Url,
    /// Those that need most attention first. Endpoints that are well are left out.
    ///
    /// First comes the number of deliveries given up in the last hour, then the number of open
    /// ones, unless it has become smaller, then the age of the trouble. Both numbers count in
    /// powers of two. An endpoint that moves up while pages are read is missed by later pages.
    Attention,
}

/// The position after which the next page of a list begins. In JSON, and shown, an opaque string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointCursor {
    pub(crate) rank: Rank,
    pub(crate) url: WebhookUrl,
}

impl fmt::Display for EndpointCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.rank, self.url)
    }
}

impl FromStr for EndpointCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (rank, url) = text.split_once('-').ok_or(InvalidCursor)?;
        Ok(Self {
            rank: rank.parse().map_err(|_| InvalidCursor)?,
            url: WebhookUrl::parse(url).map_err(|_| InvalidCursor)?,
        })
    }
}

impl Serialize for EndpointCursor {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EndpointCursor {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A page of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointPage {
    /// The endpoints that match, in order.
    pub endpoints: Vec<ListedEndpoint>,
    /// Number of endpoints examined for this page, at most 20,000.
    pub examined: usize,
    /// The value of `after` for the next page; `None` at the end.
    ///
    /// A page that examined as many endpoints as it may can be empty and still have a next one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<EndpointCursor>,
}
