//! Clients.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::AuthView;
use super::page::{Limit, always};
use crate::domain::routing::client::Client;
use crate::domain::value::id::ClientId;
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
        }
    }
}

impl ClientView {
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
