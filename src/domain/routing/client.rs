//! The application's customers.

use serde::{Deserialize, Serialize};

use crate::domain::authorisation::auth::Auth;
use crate::domain::value::id::ClientId;
use crate::domain::value::text::{InvalidText, check_header_text, check_text};

/// One of the application's customers, whose events are sent, with the authorisation of its calls.
///
/// An event may name a client that was never registered; its alerts then carry no `ClientName`.
///
/// ```
/// use actix_webhooks::{Auth, Client};
///
/// let client = Client::new("bae71d36-ff47-420a-b4a6-f8c9ddf41140")
///     .name("Bank of Dave")
///     .auth(Auth::bearer("token"));
/// assert_eq!(client.name.as_deref(), Some("Bank of Dave"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Client {
    /// The client's id, sent as the client id header on every call.
    pub id: ClientId,
    /// The name that alerts carry; `None` omits `ClientName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Authorisation of calls for this client; `None` leaves it to the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

impl Client {
    /// Returns a client without a name or authorisation.
    pub fn new(id: impl Into<ClientId>) -> Self {
        Self {
            id: id.into(),
            name: None,
            auth: None,
        }
    }

    /// Sets the name that alerts carry. Defaults to none.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the authorisation of calls for this client, unless a rule sets its own. Defaults to the
    /// endpoint's.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = Some(auth);
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidText> {
        check_header_text("client id", self.id.as_str())?;
        if let Some(name) = &self.name {
            check_text("client name", name)?;
        }
        self.auth.as_ref().map_or(Ok(()), Auth::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_client_is_checked() {
        let dave = || Client::new("client").name("Dave").auth(Auth::bearer("t"));
        assert_eq!(dave().check(), Ok(()));
        for wrong in [
            Client::new(""),
            dave().name("\n"),
            dave().auth(Auth::bearer("\n")),
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
