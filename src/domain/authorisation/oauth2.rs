//! Client credentials of `OAuth` 2.0 (RFC 6749 §4.4): the request for an access token, and its URL.

use std::hash::{Hash, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::domain::value::secret::{MAX_SECRET_BYTES, Secret};
use crate::domain::value::text::{InvalidText, TextProblem};
use crate::domain::value::url::{InvalidUrl, WebhookUrl};

/// The most additional form parameters of [`ClientCredentials`].
pub const MAX_FORM_PARAMETERS: usize = 16;

/// The credentials that request an access token: an `OAuth` 2.0 client and its token endpoint (RFC
/// 6749 §4.4).
///
/// Deliveries with equal credentials share one token, whichever rule, client or endpoint they come
/// from. It is fetched when an attempt needs it, within that attempt's timeout. It is kept in
/// memory only, and replaced shortly before it expires or when a receiver answers 401. Use `https`
/// for the token URL wherever secrets must stay secret: RFC 6749 §3.2 requires it.
///
/// ```
/// use actix_webhooks::{Auth, Client, ClientCredentials};
///
/// let credentials = ClientCredentials::new("https://issuer.example/token", "client-id", "client-secret")?
///     .scope("hooks:write hooks:read")
///     .audience("https://receiver.example/");
/// let client = Client::new("client-1").auth(Auth::oauth2(credentials));
/// # drop(client);
/// # Ok::<(), actix_webhooks::InvalidUrl>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ClientCredentials {
    /// The URL of the token endpoint.
    pub token_url: WebhookUrl,
    /// The id of the `OAuth` client.
    pub client_id: String,
    /// The secret of the `OAuth` client.
    pub client_secret: Secret,
    /// The scope of the token, separated by spaces; `None` leaves it to the token endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The audience of the token, if the token endpoint requires one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Placement of the client's id and secret.
    #[serde(default)]
    pub placement: CredentialsPlacement,
    /// Additional form parameters; their values are treated as secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<FormParameter>,
}

/// Placement of the client's id and secret in a token request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CredentialsPlacement {
    /// In an `Authorization: Basic` header, which every token endpoint understands (RFC 6749
    /// §2.3.1).
    #[default]
    Header,
    /// In the form, as `client_id` and `client_secret`.
    Body,
}

/// An additional form parameter of a token request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FormParameter {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

impl ClientCredentials {
    /// Returns credentials sent as HTTP Basic, without scope or audience.
    ///
    /// # Errors
    /// Returns [`InvalidUrl`] if no request can be sent to the token URL.
    pub fn new(
        token_url: &str,
        client_id: impl Into<String>,
        client_secret: impl Into<Secret>,
    ) -> Result<Self, InvalidUrl> {
        Ok(Self {
            token_url: WebhookUrl::parse(token_url)?,
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            scope: None,
            audience: None,
            placement: CredentialsPlacement::Header,
            parameters: Vec::new(),
        })
    }

    /// Sets the scope of the token, separated by spaces. Defaults to the token endpoint's choice.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Sets the audience of the token. Defaults to none.
    ///
    /// `audience` is not part of RFC 6749, but many token endpoints require it.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Sends the client's id and secret in the form instead of as HTTP Basic, for token endpoints
    /// that support nothing else.
    #[must_use]
    pub fn in_body(mut self) -> Self {
        self.placement = CredentialsPlacement::Body;
        self
    }

    /// Sets an additional form parameter, such as `resource`. Its value is treated as a secret.
    ///
    /// At most [`MAX_FORM_PARAMETERS`](crate::limits::MAX_FORM_PARAMETERS), and none that has its
    /// own method.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        let (name, value) = (name.into(), value.into());
        // RFC 6749 §3.2 forbids repeated parameters.
        self.parameters.retain(|known| known.name != name);
        self.parameters.push(FormParameter { name, value });
        self
    }

    /// Returns the `Authorization` header of a token request: id and secret form-encoded, then as
    /// HTTP Basic (RFC 6749 §2.3.1).
    pub(crate) fn authorization(&self) -> Option<Secret> {
        match self.placement {
            CredentialsPlacement::Body => None,
            CredentialsPlacement::Header => {
                let encoded = |text: &str| {
                    // Full capacity from the start, because a growing text leaves copies behind.
                    let mut encoded = Zeroizing::new(String::with_capacity(3 * text.len()));
                    encoded.extend(form_urlencoded::byte_serialize(text.as_bytes()));
                    encoded
                };
                let (id, secret) = (
                    encoded(&self.client_id),
                    encoded(self.client_secret.expose()),
                );
                let pair = Secret::concat(&[&id, ":", &secret]);
                let pair = Zeroizing::new(STANDARD.encode(pair.expose()));
                Some(Secret::concat(&["Basic ", &pair]))
            }
        }
    }

    /// Returns the form of a token request. It may hold secrets.
    pub(crate) fn form(&self) -> Zeroizing<String> {
        let mut form = form_urlencoded::Serializer::new(String::with_capacity(self.room()));
        form.append_pair("grant_type", "client_credentials");
        if self.placement == CredentialsPlacement::Body {
            form.append_pair("client_id", &self.client_id);
            form.append_pair("client_secret", self.client_secret.expose());
        }
        if let Some(scope) = &self.scope {
            form.append_pair("scope", scope);
        }
        if let Some(audience) = &self.audience {
            form.append_pair("audience", audience);
        }
        for parameter in &self.parameters {
            form.append_pair(&parameter.name, parameter.value.expose());
        }
        Zeroizing::new(form.finish())
    }

    /// Returns an upper bound of the form's length. A growing text would leave copies behind.
    fn room(&self) -> usize {
        const NAMES: usize = 100;
        let parameters = self.parameters.iter();
        let parameters = parameters.map(|one| one.name.len() + one.value.expose().len() + 2);
        let texts = [&self.scope, &self.audience].into_iter().flatten();
        let texts = texts.map(String::len).sum::<usize>() + self.client_id.len();
        let secrets = self.client_secret.expose().len() + parameters.sum::<usize>();
        // Form encoding takes up to three bytes per byte.
        NAMES + 3 * (texts + secrets)
    }

    pub(crate) fn check(&self) -> Result<(), InvalidText> {
        check_value("OAuth2 client id", &self.client_id)?;
        check_value("OAuth2 client secret", self.client_secret.expose())?;
        for (field, value) in [
            ("OAuth2 scope", &self.scope),
            ("OAuth2 audience", &self.audience),
        ] {
            if let Some(value) = value {
                check_value(field, value)?;
            }
        }
        let field = "OAuth2 form parameter";
        if self.parameters.len() > MAX_FORM_PARAMETERS {
            return Err(InvalidText {
                field,
                problem: TextProblem::TooMany(MAX_FORM_PARAMETERS),
            });
        }
        for (index, FormParameter { name, value }) in self.parameters.iter().enumerate() {
            check_value(field, name)?;
            check_value(field, value.expose())?;
            let earlier = self.parameters.iter().take(index);
            let mut taken = OWNED_PARAMETERS
                .into_iter()
                .chain(earlier.map(|other| &*other.name));
            if taken.any(|owned| owned == name) {
                return Err(InvalidText {
                    field,
                    problem: TextProblem::Taken,
                });
            }
        }
        Ok(())
    }
}

/// Equal credentials have equal URLs and ids; a secret has no place in a hash.
impl Hash for ClientCredentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.token_url.hash(state);
        self.client_id.hash(state);
    }
}

fn check_value(field: &'static str, text: &str) -> Result<(), InvalidText> {
    let problem = if text.is_empty() {
        TextProblem::Empty
    } else if text.len() > MAX_SECRET_BYTES {
        TextProblem::LongerThan(MAX_SECRET_BYTES)
    } else if text.chars().any(char::is_control) {
        TextProblem::ControlCharacter
    } else {
        return Ok(());
    };
    Err(InvalidText { field, problem })
}

/// Parameters that are set by other means.
const OWNED_PARAMETERS: [&str; 5] = [
    "audience",
    "client_id",
    "client_secret",
    "grant_type",
    "scope",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> ClientCredentials {
        ClientCredentials::new("https://issuer.test/token", "id", "hush").unwrap()
    }

    #[test]
    fn id_and_secret_are_form_encoded_before_they_are_a_basic_header() {
        let odd = ClientCredentials::new("https://issuer.test/", "a:b c", "ü+&=%").unwrap();
        let header = odd.authorization().unwrap();
        let encoded = header.expose().strip_prefix("Basic ").unwrap();
        let pair = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
        assert_eq!(pair, "a%3Ab+c:%C3%BC%2B%26%3D%25");
        assert_eq!(*odd.form(), "grant_type=client_credentials");
    }

    #[test]
    fn the_form_holds_what_was_asked_for() {
        let form = credentials()
            .scope("a b")
            .audience("https://r.test/?x=1&y")
            .parameter("resource", "first")
            .parameter("resource", "r&s")
            .in_body();
        assert_eq!(form.authorization(), None);
        assert_eq!(
            *form.form(),
            "grant_type=client_credentials&client_id=id&client_secret=hush&scope=a+b\
             &audience=https%3A%2F%2Fr.test%2F%3Fx%3D1%26y&resource=r%26s"
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let problem = |credentials: ClientCredentials| credentials.check().unwrap_err().problem;
        let with = |id: &str, secret: &str| {
            ClientCredentials::new("https://issuer.test/", id, secret).unwrap()
        };
        assert_eq!(problem(with("", "s")), TextProblem::Empty);
        assert_eq!(problem(with("id", "")), TextProblem::Empty);
        assert_eq!(problem(with("i\nd", "s")), TextProblem::ControlCharacter);
        assert_eq!(problem(with("id", "s\0")), TextProblem::ControlCharacter);
        let long = "x".repeat(MAX_SECRET_BYTES + 1);
        let too_long = TextProblem::LongerThan(MAX_SECRET_BYTES);
        assert_eq!(problem(with("id", &long)), too_long);
        assert_eq!(problem(credentials().scope(&*long)), too_long);
        assert_eq!(problem(credentials().audience("")), TextProblem::Empty);
        for owned in OWNED_PARAMETERS {
            assert_eq!(
                problem(credentials().parameter(owned, "x")),
                TextProblem::Taken
            );
        }
        let many = (0..=MAX_FORM_PARAMETERS).fold(credentials(), |all, number| {
            all.parameter(number.to_string(), "x")
        });
        assert_eq!(problem(many), TextProblem::TooMany(MAX_FORM_PARAMETERS));
        let mut twice = credentials().parameter("a", "1").parameter("b", "2");
        twice.parameters[0].name = "b".into();
        assert_eq!(problem(twice), TextProblem::Taken);
        assert_eq!(
            credentials().scope("a b").parameter("r", "1").check(),
            Ok(())
        );
        let refused = |url: &str| ClientCredentials::new(url, "id", "s").is_err();
        assert!(refused("ftp://issuer.test/") && refused("https://u:p@issuer.test/"));
    }

    #[test]
    fn secrets_are_in_neither_debug_output_nor_json() {
        let credentials = credentials().parameter("extra", "hush").scope("seen");
        for shown in [
            format!("{credentials:?}"),
            serde_json::to_string(&credentials).unwrap(),
        ] {
            assert!(!shown.contains("hush") && shown.contains("seen"), "{shown}");
        }
    }

    /// A text that grows leaves copies of a secret behind.
    #[test]
    fn there_is_room_for_a_form_whatever_it_holds() {
        let odd = "&".repeat(400);
        let full = || {
            let credentials = ClientCredentials::new("https://issuer.test/", &odd, odd.as_str());
            credentials.unwrap().in_body()
        };
        let many = (0..MAX_FORM_PARAMETERS)
            .fold(full().scope(&odd).audience(&odd), |all, number| {
                all.parameter(format!("{odd}{number}"), "x")
            });
        for credentials in [credentials(), full(), full().scope(&odd), many] {
            let length = credentials.form().len();
            assert!(
                length <= credentials.room(),
                "{length} of {}",
                credentials.room()
            );
            assert!(
                credentials.room() <= length + 1_000,
                "{length} of {}",
                credentials.room()
            );
        }
    }

    #[test]
    fn parameters_and_texts_may_be_as_many_and_as_long_as_the_limits() {
        let of = |count: usize| {
            let all = 0..count;
            all.fold(credentials(), |all, number| {
                all.parameter(number.to_string(), "x")
            })
        };
        assert_eq!(of(MAX_FORM_PARAMETERS).check(), Ok(()));
        assert!(of(MAX_FORM_PARAMETERS + 1).check().is_err());
        let scope = |length| credentials().scope("x".repeat(length)).check();
        assert_eq!(scope(MAX_SECRET_BYTES), Ok(()));
        assert!(scope(MAX_SECRET_BYTES + 1).is_err());
    }
}
