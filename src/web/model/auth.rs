//! Authorisations. Their secrets go in, and never come back.
//!
//! What comes back can be put again unchanged: a part that is sent without its secret keeps the one
//! that is there. That holds only if everything else is the same, so that nobody can send a secret
//! that they do not know to a place of their own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::authorisation::auth::Auth;
use crate::domain::authorisation::oauth2::{
    ClientCredentials, CredentialsPlacement, FormParameter,
};
use crate::domain::value::secret::Secret;
use crate::domain::value::url::WebhookUrl;
use crate::web::problems::{Code, Problem};

/// The kind of an authorisation, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = Auth)]
pub(in crate::web) enum AuthView {
    /// No `Authorization` header.
    None,
    /// HTTP Basic (RFC 7617).
    Basic {
        /// The user name.
        user: String,
    },
    /// A bearer token (RFC 6750).
    Bearer,
    /// A whole header value.
    Raw,
    /// Tokens fetched with client credentials (RFC 6749 §4.4).
    #[serde(rename = "oauth2")]
    OAuth2 {
        #[schema(value_type = String, format = "uri")]
        #[serde(rename = "tokenUrl")]
        token_url: WebhookUrl,
        #[serde(rename = "clientId")]
        client_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        audience: Option<String>,
        placement: Placement,
        /// Further form parameters, without their values.
        parameters: Vec<ParameterName>,
    },
}

super::words! {
    /// Where the client's id and secret are in a token request.
    #[schema(as = CredentialsPlacement)]
    Placement {
        /// In an `Authorization: Basic` header.
        Header,
        /// In the form.
        Body,
    }
}

/// The name of a form parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct ParameterName {
    name: String,
}

/// An authorisation to put. A secret that is left out stays as it is, if the rest is the same.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = AuthToPut)]
pub(in crate::web) enum AuthGiven {
    /// No `Authorization` header.
    None,
    /// HTTP Basic (RFC 7617).
    Basic {
        /// The user name, without a colon.
        user: String,
        #[schema(value_type = Option<String>, format = Password, write_only)]
        password: Option<Secret>,
    },
    /// A bearer token (RFC 6750).
    Bearer {
        #[schema(value_type = Option<String>, format = Password, write_only)]
        token: Option<Secret>,
    },
    /// A whole header value, printable ASCII.
    Raw {
        #[schema(value_type = Option<String>, format = Password, write_only)]
        value: Option<Secret>,
    },
    /// Tokens fetched with client credentials (RFC 6749 §4.4).
    #[serde(rename = "oauth2")]
    OAuth2 {
        #[schema(value_type = String, format = "uri")]
        #[serde(rename = "tokenUrl")]
        token_url: WebhookUrl,
        #[serde(rename = "clientId")]
        client_id: String,
        #[schema(value_type = Option<String>, format = Password, write_only)]
        #[serde(rename = "clientSecret")]
        client_secret: Option<Secret>,
        scope: Option<String>,
        audience: Option<String>,
        placement: Option<Placement>,
        #[serde(default)]
        #[schema(max_items = 16)]
        parameters: Vec<ParameterGiven>,
    },
}

/// A form parameter to put.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ParameterToPut)]
pub(in crate::web) struct ParameterGiven {
    name: String,
    #[schema(value_type = Option<String>, format = Password, write_only)]
    value: Option<Secret>,
}

impl From<&Auth> for AuthView {
    fn from(auth: &Auth) -> Self {
        match auth {
            Auth::None => Self::None,
            Auth::Basic { user, .. } => Self::Basic { user: user.clone() },
            Auth::Bearer(_) => Self::Bearer,
            Auth::Raw(_) => Self::Raw,
            Auth::OAuth2(credentials) => Self::from(&**credentials),
        }
    }
}

impl From<&ClientCredentials> for AuthView {
    fn from(credentials: &ClientCredentials) -> Self {
        let names = credentials
            .parameters
            .iter()
            .map(|parameter| ParameterName {
                name: parameter.name.clone(),
            });
        Self::OAuth2 {
            token_url: credentials.token_url.clone(),
            client_id: credentials.client_id.clone(),
            scope: credentials.scope.clone(),
            audience: credentials.audience.clone(),
            placement: match credentials.placement {
                CredentialsPlacement::Header => Placement::Header,
                CredentialsPlacement::Body => Placement::Body,
            },
            parameters: names.collect(),
        }
    }
}

impl AuthGiven {
    /// Returns the authorisation, with the secrets that were left out taken from the current one.
    pub(in crate::web) fn complete(self, current: Option<&Auth>) -> Result<Auth, Problem> {
        match self {
            Self::None => Ok(Auth::None),
            Self::Basic { user, password } => {
                let kept = match current {
                    Some(Auth::Basic {
                        user: known,
                        password,
                    }) if *known == user => Some(password),
                    _ => None,
                };
                Ok(Auth::basic(
                    user,
                    given_or_kept(password, kept, "/password")?,
                ))
            }
            Self::Bearer { token } => {
                let kept = match current {
                    Some(Auth::Bearer(token)) => Some(token),
                    _ => None,
                };
                Ok(Auth::Bearer(given_or_kept(token, kept, "/token")?))
            }
            Self::Raw { value } => {
                let kept = match current {
                    Some(Auth::Raw(value)) => Some(value),
                    _ => None,
                };
                Ok(Auth::Raw(given_or_kept(value, kept, "/value")?))
            }
            Self::OAuth2 {
                token_url,
                client_id,
                client_secret,
                scope,
                audience,
                placement,
                parameters,
            } => {
                // Secrets stay with the token endpoint and the client that they were given for.
                let kept = match current {
                    Some(Auth::OAuth2(known))
                        if known.token_url == token_url && known.client_id == client_id =>
                    {
                        Some(&**known)
                    }
                    _ => None,
                };
                let kept_secret = kept.map(|known| &known.client_secret);
                Ok(Auth::OAuth2(Arc::new(ClientCredentials {
                    client_secret: given_or_kept(client_secret, kept_secret, "/clientSecret")?,
                    parameters: ParameterGiven::complete(parameters, kept)?,
                    token_url,
                    client_id,
                    scope,
                    audience,
                    placement: match placement {
                        Some(Placement::Body) => CredentialsPlacement::Body,
                        Some(Placement::Header) | None => CredentialsPlacement::Header,
                    },
                })))
            }
        }
    }
}

impl ParameterGiven {
    /// Returns the parameters, with the values that were left out taken from the current ones.
    fn complete(
        given: Vec<Self>,
        current: Option<&ClientCredentials>,
    ) -> Result<Vec<FormParameter>, Problem> {
        let complete = given
            .into_iter()
            .enumerate()
            .map(|(index, Self { name, value })| {
                let mut known = current.into_iter().flat_map(|known| &known.parameters);
                let kept = known.find(|parameter| parameter.name == name);
                let kept = kept.map(|parameter| &parameter.value);
                let value = given_or_kept(value, kept, &format!("/parameters/{index}/value"))?;
                Ok(FormParameter { name, value })
            });
        complete.collect()
    }
}

/// Returns the secret that was sent, or the one that is there.
pub(super) fn given_or_kept(
    given: Option<Secret>,
    kept: Option<&Secret>,
    pointer: &str,
) -> Result<Secret, Problem> {
    given.or_else(|| kept.cloned()).ok_or_else(|| {
        let why = "secret is missing, and there is none that could be kept; send it";
        Problem::part(Code::InvalidBody, pointer, why)
    })
}
