//! Clients.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::AuthView;
use super::delivery::CountView;
use super::overview::CountsView;
use super::page::{Limit, always};
use super::reshape;
use crate::actor::message::ClientStatus;
use crate::domain::routing::client::Client;
use crate::domain::value::id::ClientId;
use crate::domain::value::time::Timestamp;
use crate::web::problems::{Code, Problem};

/// One of the application's customers.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Client)]
pub(in crate::web) struct ClientView {
    /// The id; in a `PUT`, that of the path.
    #[schema(value_type = Option<String>, max_length = 256)]
    id: Option<ClientId>,
    /// The name that alerts carry.
    #[schema(max_length = 256)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The authorisation of calls; absent if there is none. Change it by `PUT /clients/{id}/auth`.
    #[schema(read_only)]
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<AuthView>,
    /// The status, where one client is shown. A `PUT` ignores it.
    #[schema(read_only)]
    #[serde(
        skip_serializing_if = "Option::is_none",
        default,
        deserialize_with = "ignored"
    )]
    status: Option<ClientStatusView>,
}

/// The status of a client.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ClientStatus)]
pub(in crate::web) struct ClientStatusView {
    /// Number of rules that name the client.
    rules: CountView,
    /// The endpoints of these rules by state.
    endpoints: CountsView,
    /// Number of open deliveries.
    open: CountView,
    /// Number of dead letters.
    dead_letters: CountView,
    /// When one of its receivers last accepted a delivery; absent if none is found among the newest
    /// 10,000.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    last_delivered_at: Option<Timestamp>,
}

/// A page of clients.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct ClientFilter {
    /// Only clients whose id contains this text, regardless of the case of ASCII letters.
    pub(in crate::web) q: Option<String>,
    /// The most things on the page: 1 to 200, 50 by default.
    #[serde(skip_serializing_if = "always", default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    pub(in crate::web) limit: Limit,
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "always")]
    pub(in crate::web) cursor: Option<String>,
}

impl From<&Client> for ClientView {
    fn from(client: &Client) -> Self {
        Self {
            id: Some(client.id.clone()),
            name: client.name.clone(),
            auth: client.auth.as_ref().map(AuthView::from),
            status: None,
        }
    }
}

/// Reads anything, and keeps nothing of it.
fn ignored<'de, D: Deserializer<'de>, T>(from: D) -> Result<Option<T>, D::Error> {
    IgnoredAny::deserialize(from).map(|_| None)
}

impl ClientStatusView {
    pub(in crate::web) fn new(status: &ClientStatus) -> Result<Self, Problem> {
        Ok(Self {
            rules: status.rules.into(),
            endpoints: reshape(&status.endpoints)?,
            open: status.open.into(),
            dead_letters: status.dead_letters.into(),
            last_delivered_at: status.last_delivered_at,
        })
    }
}

impl ClientView {
    pub(in crate::web) fn with_status(self, status: ClientStatusView) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    /// Returns the client to put under `id`. The authorisation of the current one stays.
    pub(in crate::web) fn with_id(
        self,
        id: ClientId,
        current: Option<&Client>,
    ) -> Result<Client, Problem> {
        if self.id.is_some_and(|given| given != id) {
            let why = "id differs from that of the path";
            return Err(Problem::part(Code::InvalidClient, "/id", why));
        }
        let auth = current.and_then(|client| client.auth.as_ref());
        if self.auth.is_some() && self.auth != auth.map(AuthView::from) {
            let why = "authorisation cannot be changed here; use PUT /clients/{id}/auth";
            return Err(Problem::part(Code::InvalidClient, "/auth", why));
        }
        Ok(Client {
            id,
            name: self.name,
            auth: auth.cloned(),
        })
    }
}
