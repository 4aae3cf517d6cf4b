//! A webhook URL with its settings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::authorisation::auth::Auth;
use crate::domain::endpoint::address::AddressRange;
use crate::domain::endpoint::header::{
    CREDENTIAL_HEADERS, OWNED_HEADERS, check_header_name, check_media_type,
};
use crate::domain::endpoint::invalid::{InvalidEndpoint, MAX_HEADERS, MAX_IN_FLIGHT};
use crate::domain::endpoint::policy::{EndpointPolicy, Ordering};
use crate::domain::policy::breaker::CircuitBreaker;
use crate::domain::policy::health::DisablePolicy;
use crate::domain::policy::rate::RateLimit;
use crate::domain::policy::response::ResponsePolicy;
use crate::domain::policy::retry::RetryPolicy;
use crate::domain::signing::signer::{EndpointSecret, SignatureHeaders};
use crate::domain::value::id::ClientId;
use crate::domain::value::secret::{Secret, check_secret};
use crate::domain::value::text::check_header_text;
use crate::domain::value::url::{InvalidUrl, WebhookUrl};

/// A header that is sent with every call to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointHeader {
    /// The name.
    pub name: String,
    /// The value; always treated as a secret.
    pub value: Secret,
    /// Whether a redirect to another origin drops it.
    pub dropped_across_origins: bool,
}

/// Settings of one webhook URL. URLs without settings get the engine's default policy.
///
/// One URL has one endpoint, whichever rules and clients lead to it. Every call to it carries the
/// endpoint's headers, is signed with its secrets and shows its certificate. All calls share its
/// order, rate and window. If a client chooses both URL and secret, the events of another client
/// that names the same URL are signed and delivered the same way. [`client`](Self::client)
/// restricts an endpoint to one client's events.
///
/// ```
/// use std::time::Duration;
/// use actix_webhooks::{Endpoint, Ordering};
///
/// # fn main() -> Result<(), actix_webhooks::InvalidUrl> {
/// let endpoint = Endpoint::new("https://example.com/hooks")?
///     .timeout(Duration::from_secs(10))
///     .ordering(Ordering::Fifo);
/// assert_eq!(endpoint.url.as_str(), "https://example.com/hooks");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Endpoint {
    /// The URL that calls go to.
    pub url: WebhookUrl,
    /// The client whose events it gets; `None` for every client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// Authorisation of calls if neither the rule nor the client sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Additional headers of every call.
    #[serde(default)]
    pub headers: Vec<EndpointHeader>,
    /// The `Content-Type` of every call; `None` for that of the payload's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The secrets that sign every call, in the order in which they were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<EndpointSecret>,
    /// The names of the id, time and signature headers; `None` for the standard ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_headers: Option<Box<SignatureHeaders>>,
    /// Its policy.
    #[serde(default)]
    pub policy: EndpointPolicy,
    /// Addresses that its calls may go to, besides public ones and those allowed for every
    /// endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_addresses: Vec<AddressRange>,
    /// Root certificates, in PEM, trusted for its calls besides those trusted for every endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub root_certificates: Vec<String>,
    /// The client certificate for receivers that require one (mutual TLS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_identity: Option<ClientIdentity>,
}

/// A client certificate with its key, for receivers that require one (mutual TLS).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ClientIdentity {
    /// The certificate and the intermediates up to its root, in PEM.
    pub certificates: String,
    /// The private key, in PEM.
    pub key: Secret,
}

impl Endpoint {
    /// Returns an endpoint with the default policy.
    ///
    /// # Errors
    /// Returns [`InvalidUrl`] if no webhook can be sent to the URL.
    pub fn new(url: &str) -> Result<Self, InvalidUrl> {
        Ok(Self::at(WebhookUrl::parse(url)?))
    }

    /// Returns an endpoint with the default policy for a parsed URL.
    pub fn at(url: WebhookUrl) -> Self {
        Self {
            url,
            client_id: None,
            auth: None,
            headers: Vec::new(),
            content_type: None,
            secrets: Vec::new(),
            signature_headers: None,
            policy: EndpointPolicy::default(),
            allowed_addresses: Vec::new(),
            root_certificates: Vec::new(),
            client_identity: None,
        }
    }

    /// Restricts the endpoint to the events of one client. Defaults to every client's.
    ///
    /// A rule for other clients, or for every client, that names its URL is refused when it is put
    /// or given to the builder. Deliveries that such a rule made earlier become dead letters
    /// ([`Failure::OtherClient`](crate::Failure::OtherClient)) and are never sent.
    ///
    /// ```
    /// use actix_webhooks::{Endpoint, Engine, InvalidEndpoint, PutRule, Rule, RuleError};
    ///
    /// # #[actix_rt::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let url = "https://example.com/hooks";
    /// let endpoint = Endpoint::new(url)?.client("client-1").secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
    /// let engine = Engine::builder().endpoint(endpoint).start().await?;
    /// let rule = Rule::new("of another", "invoice.*").client("client-2").webhook(url)?;
    /// let refused = engine.router().send(PutRule::new(rule)).await?;
    /// assert!(matches!(refused, Err(RuleError::Endpoint { error: InvalidEndpoint::OtherClient, .. })));
    /// # engine.shutdown(std::time::Duration::ZERO).await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn client(mut self, id: impl Into<ClientId>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// Returns `true` if events of a rule for `client` (`None`: for every client) may go to it.
    pub(crate) fn is_for(&self, client: Option<&ClientId>) -> bool {
        self.client_id.is_none() || self.client_id.as_ref() == client
    }

    /// Sets the endpoint's policy. Defaults to [`EndpointPolicy::alert_service`].
    ///
    /// It replaces settings made before by [`timeout`](Self::timeout) and similar methods.
    #[must_use]
    pub fn policy(mut self, policy: EndpointPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the timeout of a whole attempt. Defaults to 15 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = timeout;
        self
    }

    /// Sets the timeout for connecting. Defaults to 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.policy.connect_timeout = timeout;
        self
    }

    /// Sets the most attempts in flight at once. Defaults to 32.
    ///
    /// An endpoint never holds more than half of the engine's permits
    /// ([`EngineBuilder::max_in_flight`](crate::EngineBuilder::max_in_flight)), and fewer while
    /// other endpoints need them.
    #[must_use]
    pub fn max_in_flight(mut self, max: u32) -> Self {
        self.policy.max_in_flight = max;
        self
    }

    /// Sets the order of deliveries. Defaults to [`Ordering::Unordered`].
    #[must_use]
    pub fn ordering(mut self, ordering: Ordering) -> Self {
        self.policy.ordering = ordering;
        self
    }

    /// Sets when failed deliveries are retried. Defaults to [`RetryPolicy::three_in_two_minutes`].
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.policy.retry = retry;
        self
    }

    /// Sets the class of each status. Defaults to [`ResponsePolicy::alert_service`].
    #[must_use]
    pub fn responses(mut self, responses: ResponsePolicy) -> Self {
        self.policy.responses = responses;
        self
    }

    /// Sets when attempts pause after failures in a row. Defaults to never.
    #[must_use]
    pub fn circuit_breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.policy.circuit_breaker = Some(breaker);
        self
    }

    /// Sets the most attempts per period. Defaults to no limit but the window.
    #[must_use]
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.policy.rate_limit = Some(limit);
        self
    }

    /// Sets when the endpoint disables itself. Defaults to [`DisablePolicy::never`].
    #[must_use]
    pub fn disable(mut self, policy: DisablePolicy) -> Self {
        self.policy.disable = policy;
        self
    }

    /// Sets the authorisation of calls if neither the rule nor the client sets it. Defaults to no
    /// header.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Allows calls to this endpoint to go to additional addresses, such as `10.1.2.0/24`. Defaults
    /// to public addresses only.
    #[must_use]
    pub fn allow_addresses(mut self, ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        self.allowed_addresses.extend(ranges);
        self
    }

    /// Trusts an additional root certificate for this endpoint, in PEM. Defaults to those trusted
    /// for every endpoint.
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<String>) -> Self {
        self.root_certificates.push(pem.into());
        self
    }

    /// Shows a client certificate to the receiver. Defaults to none.
    ///
    /// `certificates_pem` holds the certificate and the intermediates up to its root, `key_pem` the
    /// private key; both in PEM.
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificates_pem: impl Into<String>,
        key_pem: impl Into<Secret>,
    ) -> Self {
        self.client_identity = Some(ClientIdentity {
            certificates: certificates_pem.into(),
            key: key_pem.into(),
        });
        self
    }

    /// Sets the `Content-Type` of every call. Defaults to that of the payload's format.
    ///
    /// For receivers that require another one, such as `application/json; charset=utf-8`.
    #[must_use]
    pub fn content_type(mut self, media_type: impl Into<String>) -> Self {
        self.content_type = Some(media_type.into());
        self
    }

    /// Adds a header to every call, spelled as given.
    ///
    /// It replaces a header added before under the same name in any case (RFC 9110 §5.3), and the
    /// default `User-Agent` and `Accept: */*`. A redirect to another origin keeps it, unless its
    /// name usually carries a credential, such as `Cookie` or `X-Api-Key`.
    #[must_use]
    pub fn header(self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        let name = name.into();
        let dropped = CREDENTIAL_HEADERS
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
        self.add_header(name, value.into(), dropped)
    }

    /// Adds a header that carries a secret, as [`header`](Self::header) does.
    ///
    /// A redirect to another origin drops it; one from http to https of the same host keeps it.
    #[must_use]
    pub fn secret_header(self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.add_header(name.into(), value.into(), true)
    }

    fn add_header(mut self, name: String, value: Secret, dropped_across_origins: bool) -> Self {
        self.headers
            .retain(|known| !known.name.eq_ignore_ascii_case(&name));
        self.headers.push(EndpointHeader {
            name,
            value,
            dropped_across_origins,
        });
        self
    }

    /// Returns `true` if its settings change its requests or restrict whose events they carry.
    /// Without those settings, requests would not be what the application asked for.
    pub(crate) fn shapes_requests(&self) -> bool {
        self.client_id.is_some()
            || self.auth.is_some()
            || !self.headers.is_empty()
            || self.content_type.is_some()
            || !self.secrets.is_empty()
            || self.signature_headers.is_some()
            || self.client_identity.is_some()
    }

    /// Returns `true` if calls carry credentials that a redirect to another origin drops: a secret
    /// header or a client certificate. `Authorization` is not considered, because it may come from
    /// a rule or a client.
    pub(crate) fn shows_credentials(&self) -> bool {
        let mut headers = self.headers.iter();
        self.client_identity.is_some() || headers.any(|header| header.dropped_across_origins)
    }

    /// Checks all settings; `client_id_header` is the engine's own name for that header.
    pub(crate) fn check(&self, client_id_header: &str) -> Result<(), InvalidEndpoint> {
        if let Some(client) = &self.client_id {
            check_header_text("client id", client.as_str())?;
        }
        self.auth.as_ref().map_or(Ok(()), Auth::check)?;
        if self.headers.len() > MAX_HEADERS {
            return Err(InvalidEndpoint::TooManyHeaders);
        }
        if let Some(content_type) = &self.content_type {
            check_media_type(content_type)?;
        }
        for (index, header) in self.headers.iter().enumerate() {
            check_header_name(&header.name)?;
            let mut before = self.headers.iter().take(index);
            if before.any(|known| known.name.eq_ignore_ascii_case(&header.name)) {
                return Err(InvalidEndpoint::RepeatedHeader(header.name.clone()));
            }
            let owned = OWNED_HEADERS.iter().chain([&client_id_header]);
            if owned
                .into_iter()
                .any(|name| header.name.eq_ignore_ascii_case(name))
            {
                return Err(InvalidEndpoint::OwnedHeader(header.name.clone()));
            }
            check_secret("header value", &header.value)?;
        }
        if self.policy.https_only && !self.url.is_https() {
            return Err(InvalidEndpoint::NotHttps);
        }
        self.check_signing(client_id_header)?;
        let allowed = Duration::from_millis(1)..=Duration::from_hours(1);
        if !allowed.contains(&self.policy.timeout)
            || !allowed.contains(&self.policy.connect_timeout)
        {
            return Err(InvalidEndpoint::Timeout);
        }
        if !(1..=MAX_IN_FLIGHT).contains(&self.policy.max_in_flight) {
            return Err(InvalidEndpoint::MaxInFlight);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint::new("https://example.com/").unwrap()
    }

    #[track_caller]
    fn refused(endpoint: &Endpoint) {
        assert!(endpoint.check("X-Codat-ClientId").is_err(), "{endpoint:?}");
    }

    #[test]
    fn settings_that_could_not_work_are_refused() {
        assert_eq!(
            endpoint()
                .header("X-Team", "billing")
                .check("X-Codat-ClientId"),
            Ok(())
        );
        refused(&endpoint().timeout(Duration::ZERO));
        refused(&endpoint().connect_timeout(Duration::MAX));
        refused(&endpoint().max_in_flight(0));
        refused(&endpoint().max_in_flight(1_025));
        refused(&(0..33).fold(endpoint(), |endpoint, n| {
            endpoint.header(format!("X-{n}"), "v")
        }));
    }

    #[test]
    fn headers_cannot_be_smuggled_or_taken_over() {
        refused(&endpoint().header("X-Team", "a\r\nX-Evil: 1"));
        refused(&endpoint().header("X-Team\r\nX-Evil", "1"));
        refused(&endpoint().header("", "1"));
        refused(&endpoint().header("X Team", "1"));
        refused(&endpoint().header("HOST", "internal"));
        refused(&endpoint().header("Webhook-Id", "1"));
        refused(&endpoint().header("x-codat-clientid", "1"));
        refused(&endpoint().auth(Auth::bearer("\n")));
    }

    /// Regression: two `User-Agent` lines went out, the engine's and the application's.
    #[test]
    fn a_name_stands_for_one_header() {
        let endpoint = endpoint()
            .header("X-Team", "a")
            .header("User-Agent", "acme-hooks/2.1")
            .secret_header("x-team", "b");
        let names: Vec<&str> = endpoint
            .headers
            .iter()
            .map(|header| &*header.name)
            .collect();
        assert_eq!(names, ["User-Agent", "x-team"]);
        assert_eq!(endpoint.check("X-Codat-ClientId"), Ok(()));
        // Settings from JSON bypass the builder.
        let mut twice = endpoint.clone();
        let mut again = endpoint.headers[1].clone();
        again.name = "X-TEAM".to_owned();
        twice.headers.push(again);
        let refused = twice.check("X-Codat-ClientId");
        assert_eq!(
            refused,
            Err(InvalidEndpoint::RepeatedHeader("X-TEAM".to_owned()))
        );
    }

    #[test]
    fn a_content_type_is_a_media_type() {
        for good in [
            "application/json; charset=utf-8",
            "application/vnd.acme+json",
            "text/plain",
            "application/json ;v=\"1\"",
        ] {
            let endpoint = endpoint().content_type(good);
            assert_eq!(endpoint.check("X-Codat-ClientId"), Ok(()), "{good}");
        }
        let long = format!("a/{}", "b".repeat(256));
        for bad in [
            "",
            "json",
            "/",
            "a/",
            "/b",
            "a b/c",
            "a/b\r\nX-Evil: 1",
            "a/ü",
            &long,
        ] {
            refused(&endpoint().content_type(bad));
        }
        refused(&endpoint().header("Content-Type", "text/plain"));
    }

    #[test]
    fn credentials_are_dropped_across_origins_and_never_shown() {
        let endpoint = endpoint()
            .header("X-Api-Key", "hush")
            .header("X-Team", "t")
            .secret_header("X-Mine", "hush");
        let dropped: Vec<bool> = endpoint
            .headers
            .iter()
            .map(|header| header.dropped_across_origins)
            .collect();
        assert_eq!(dropped, [true, false, true]);
        assert!(!format!("{endpoint:?}").contains("hush"));
        assert!(!serde_json::to_string(&endpoint).unwrap().contains("hush"));
    }

    #[test]
    fn as_many_headers_as_allowed_are_taken() {
        let with = |count: usize| {
            let names = (0..count).map(|number| format!("X-{number}"));
            names.fold(endpoint(), |endpoint, name| endpoint.header(name, "v"))
        };
        assert_eq!(with(MAX_HEADERS).check("X-Codat-ClientId"), Ok(()));
        let refused = with(MAX_HEADERS + 1).check("X-Codat-ClientId");
        assert_eq!(refused, Err(InvalidEndpoint::TooManyHeaders));
    }

    #[test]
    fn secret_headers_and_certificates_show_who_calls() {
        assert!(!endpoint().header("X-Team", "v").shows_credentials());
        assert!(endpoint().secret_header("X-Team", "v").shows_credentials());
        assert!(
            endpoint()
                .client_certificate("pem", "key")
                .shows_credentials()
        );
    }

    #[test]
    fn every_setting_that_requests_carry_shapes_them() {
        assert!(!endpoint().max_in_flight(3).shapes_requests());
        for shaped in [
            endpoint().client("c"),
            endpoint().auth(Auth::None),
            endpoint().header("X-Team", "billing"),
            endpoint().content_type("text/plain"),
            endpoint().signature_headers(SignatureHeaders::standard()),
        ] {
            assert!(shaped.shapes_requests(), "{shaped:?}");
        }
    }

    #[test]
    fn https_only_is_for_https() {
        let mut policy = EndpointPolicy::alert_service();
        policy.https_only = true;
        assert_eq!(endpoint().policy(policy.clone()).check("X-Client"), Ok(()));
        let plain = Endpoint::new("http://example.com/").unwrap().policy(policy);
        assert_eq!(plain.check("X-Client"), Err(InvalidEndpoint::NotHttps));
    }
}
