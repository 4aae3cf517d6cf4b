//! The `Authorization` header of a call, and the secrets in it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::authorisation::oauth2::ClientCredentials;
use crate::domain::value::secret::{MAX_SECRET_BYTES, Secret, check_secret};
use crate::domain::value::text::{InvalidText, TextProblem};

/// The authorisation of a call: one `Authorization` header, or none.
///
/// A rule's wins over its client's, which wins over the endpoint's. `Auth::None` at a level means
/// "no header", which differs from leaving the level unset. Serialising it writes the kind and
/// omits the secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Auth {
    /// No `Authorization` header.
    #[default]
    None,
    /// `Basic base64(user:password)` (RFC 7617).
    Basic {
        /// The user name, without a colon. It is shown: for a receiver that takes its key as the
        /// user name, use [`Auth::Raw`].
        user: String,
        /// The password.
        password: Secret,
    },
    /// `Bearer token` (RFC 6750).
    Bearer(Secret),
    /// A whole header value of the application's choice, printable ASCII.
    Raw(Secret),
    /// `Bearer token`, with a token fetched from a token endpoint (RFC 6749 §4.4).
    #[serde(rename = "oauth2")]
    OAuth2(Arc<ClientCredentials>),
}

impl Auth {
    /// Returns HTTP Basic authorisation.
    pub fn basic(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::Basic {
            user: user.into(),
            password: password.into(),
        }
    }

    /// Returns authorisation by a bearer token or another custom value.
    pub fn bearer(token: impl Into<Secret>) -> Self {
        Self::Bearer(token.into())
    }

    /// Returns a header value that is sent unchanged.
    pub fn raw(value: impl Into<Secret>) -> Self {
        Self::Raw(value.into())
    }

    /// Returns authorisation by access tokens fetched with client credentials.
    pub fn oauth2(credentials: ClientCredentials) -> Self {
        Self::OAuth2(Arc::new(credentials))
    }

    /// Returns the header value to send; `None` if there is no header.
    ///
    /// Also `None` for [`Auth::OAuth2`], whose header is known only once a token is fetched.
    pub fn header_value(&self) -> Option<Secret> {
        match self {
            Self::None | Self::OAuth2(_) => None,
            Self::Basic { user, password } => {
                let pair = Secret::concat(&[user, ":", password.expose()]);
                let credentials = Zeroizing::new(STANDARD.encode(pair.expose()));
                Some(Secret::concat(&["Basic ", &credentials]))
            }
            Self::Bearer(token) => Some(Secret::concat(&["Bearer ", token.expose()])),
            Self::Raw(value) => Some(value.clone()),
        }
    }

    /// Checks that the header can be sent, and that nothing can be smuggled into it.
    pub(crate) fn check(&self) -> Result<(), InvalidText> {
        match self {
            Self::None => Ok(()),
            Self::Basic { user, password } => {
                let colon = user.contains(':');
                let control = user
                    .chars()
                    .chain(password.expose().chars())
                    .any(char::is_control);
                if user.len() > MAX_SECRET_BYTES || password.expose().len() > MAX_SECRET_BYTES {
                    Err(InvalidText {
                        field: "basic authorisation",
                        problem: TextProblem::TooLong,
                    })
                } else if colon || control {
                    Err(InvalidText {
                        field: "basic authorisation",
                        problem: TextProblem::NotHeaderSafe,
                    })
                } else {
                    Ok(())
                }
            }
            Self::Bearer(token) => check_secret("bearer token", token),
            Self::Raw(value) => check_secret("authorisation header", value),
            Self::OAuth2(credentials) => credentials.check(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_follow_their_schemes() {
        let value = |auth: Auth| auth.header_value().map(|secret| secret.expose().to_owned());
        assert_eq!(value(Auth::None), None);
        assert_eq!(
            value(Auth::basic("Aladdin", "open sesame")).unwrap(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert_eq!(value(Auth::bearer("t")).unwrap(), "Bearer t");
        assert_eq!(value(Auth::raw("ApiKey 1")).unwrap(), "ApiKey 1");
    }

    #[test]
    fn each_half_of_basic_has_its_bounds() {
        let problem = |user: &str, password: &str| {
            let checked = Auth::basic(user, password).check();
            checked.err().map(|error| error.problem)
        };
        let long = "x".repeat(MAX_SECRET_BYTES + 1);
        let longest = "x".repeat(MAX_SECRET_BYTES);
        assert_eq!(problem(&longest, &longest), None);
        assert_eq!(problem(&long, "p"), Some(TextProblem::TooLong));
        assert_eq!(problem("u", &long), Some(TextProblem::TooLong));
        assert!(problem("u:", "p").is_some() && problem("u", "p:").is_none());
        assert!(problem("u\n", "p").is_some() && problem("u", "p\n").is_some());
    }

    #[test]
    fn secrets_are_in_neither_debug_output_nor_json() {
        for auth in [
            Auth::basic("user", "hush"),
            Auth::bearer("hush"),
            Auth::raw("hush"),
        ] {
            assert!(!format!("{auth:?}").contains("hush"));
            assert!(!serde_json::to_string(&auth).unwrap().contains("hush"));
        }
        let read: Auth = serde_json::from_str(r#"{"bearer":"t"}"#).unwrap();
        assert_eq!(read, Auth::bearer("t"));
    }

    #[test]
    fn line_breaks_cannot_be_smuggled_into_the_header() {
        for auth in [
            Auth::bearer("a\r\nX-Evil: 1"),
            Auth::raw("a\nb"),
            Auth::raw(""),
            Auth::raw("ü"),
            Auth::basic("a:b", "c"),
            Auth::basic("a", "b\r\n"),
        ] {
            assert!(auth.check().is_err(), "{auth:?}");
        }
        assert!(
            Auth::basic("ü", "ü").check().is_ok(),
            "base64 makes any text safe"
        );
    }
}
