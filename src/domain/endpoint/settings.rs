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
    /// The value; treated as a secret everywhere.
    pub value: Secret,
    /// Whether a redirect to another origin drops it.
    pub dropped_across_origins: bool,
}

/// Settings of one webhook URL. URLs without any get the engine's default policy.
///
/// There is one endpoint for one URL, whoever has a rule for it: whatever rule and client lead to it, calls to it
/// carry the endpoint's headers, are signed with its secrets, show its certificate, and share its order, rate
/// and window. Where a client chooses both URL and secret, another client who names the same URL has its events signed
/// and delivered so too. [`client`](Self::client) keeps an endpoint to one client's events.
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
    /// Where calls go.
    pub url: WebhookUrl,
    /// Whose events it gets; `None` for every client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// How calls are authorised when neither rule nor client says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Further headers of every call.
    #[serde(default)]
    pub headers: Vec<EndpointHeader>,
    /// The `Content-Type` of every call; `None` for that of the payload's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// What every call is signed with, in the order in which it was added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<EndpointSecret>,
    /// The names of the headers with id, time and signature; `None` for the standard ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_headers: Option<Box<SignatureHeaders>>,
    /// How it is treated.
    #[serde(default)]
    pub policy: EndpointPolicy,
    /// Addresses that calls to it may go to, besides public ones and those that are allowed for every endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_addresses: Vec<AddressRange>,
    /// Root certificates that its certificate may lead to, besides those trusted for every endpoint, in PEM.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub root_certificates: Vec<String>,
    /// What the engine shows to receivers that want to know who calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_identity: Option<ClientIdentity>,
}

/// A client certificate with its key, for receivers that want to know who calls (mutual TLS).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ClientIdentity {
    /// The certificate and those between it and its root, in PEM.
    pub certificates: String,
    /// The private key, in PEM.
    pub key: Secret,
}

impl Endpoint {
    /// Returns an endpoint with the default policy.
    ///
    /// # Errors
    /// [`InvalidUrl`] when no webhook can be sent to the URL.
    pub fn new(url: &str) -> Result<Self, InvalidUrl> {
        Ok(Self::at(WebhookUrl::parse(url)?))
    }

    /// Returns an endpoint with the default policy for a URL that was already parsed.
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

    /// Keeps the endpoint to the events of one client. A rule for other clients, or for every client, that names
    /// its URL is refused when it is put or given to the builder; what such a rule led to before is a dead
    /// letter ([`Failure::OtherClient`](crate::Failure::OtherClient)), never sent. Defaults to every client's.
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
    /// let refused = engine.router().send(PutRule(rule)).await?;
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

    /// Returns `true` if events of this client (`None`: of every client) may go to it.
    pub(crate) fn is_for(&self, client: Option<&ClientId>) -> bool {
        self.client_id.is_none() || self.client_id.as_ref() == client
    }

    /// Sets how the endpoint is treated, replacing what [`timeout`](Self::timeout) and its like set before. Defaults to
    /// [`EndpointPolicy::alert_service`].
    #[must_use]
    pub fn policy(mut self, policy: EndpointPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how long a whole attempt may take. Defaults to 15 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = timeout;
        self
    }

    /// Sets how long connecting may take. Defaults to 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.policy.connect_timeout = timeout;
        self
    }

    /// Sets the most attempts in flight at once. Defaults to 32. An endpoint never holds more than half of the engine's permits
    /// ([`EngineBuilder::max_in_flight`](crate::EngineBuilder::max_in_flight)), and less where others need them too.
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

    /// Sets when failed deliveries are tried again. Defaults to [`RetryPolicy::three_in_two_minutes`].
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.policy.retry = retry;
        self
    }

    /// Sets what a status means. Defaults to [`ResponsePolicy::alert_service`].
    #[must_use]
    pub fn responses(mut self, responses: ResponsePolicy) -> Self {
        self.policy.responses = responses;
        self
    }

    /// Sets when nothing is sent for a while because attempts fail. Defaults to never.
    #[must_use]
    pub fn circuit_breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.policy.circuit_breaker = Some(breaker);
        self
    }

    /// Sets how many attempts are made in a time. Defaults to as many as the window lets through.
    #[must_use]
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.policy.rate_limit = Some(limit);
        self
    }

    /// Sets when it disables itself. Defaults to [`DisablePolicy::never`].
    #[must_use]
    pub fn disable(mut self, policy: DisablePolicy) -> Self {
        self.policy.disable = policy;
        self
    }

    /// Sets how calls are authorised when neither the rule nor the client says. Defaults to no header.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Allows calls to this endpoint to go to further addresses, such as `10.1.2.0/24`. Defaults to public addresses only.
    #[must_use]
    pub fn allow_addresses(mut self, ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        self.allowed_addresses.extend(ranges);
        self
    }

    /// Trusts a further root certificate for this endpoint, in PEM. Defaults to those trusted for every endpoint.
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<String>) -> Self {
        self.root_certificates.push(pem.into());
        self
    }

    /// Shows a client certificate to the receiver: the certificate with those between it and its root, and the private key, both in PEM. Defaults to
    /// none.
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

    /// Sets the `Content-Type` of every call, for receivers that want another than that of the
    /// payload's format, such as `application/json; charset=utf-8`. Defaults to the format's.
    #[must_use]
    pub fn content_type(mut self, media_type: impl Into<String>) -> Self {
        self.content_type = Some(media_type.into());
        self
    }

    /// Adds a header to every call, spelled as given; one that was added before under the same
    /// name, in whatever case, is replaced (RFC 9110 §5.3), and so are `User-Agent` and `Accept:
    /// */*`, which are sent otherwise. A redirect to another origin keeps it, unless its name is
    /// one that usually carries a credential, such as `Cookie` or `X-Api-Key`.
    #[must_use]
    pub fn header(self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        let name = name.into();
        let dropped = CREDENTIAL_HEADERS
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
        self.add_header(name, value.into(), dropped)
    }

    /// Adds a header that carries a secret, as [`header`](Self::header) does: a redirect to another
    /// origin drops it, other than one from http to https of the same host.
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

    /// Returns `true` if there is something in its settings that its requests carry, or whose they are: without
    /// them, they would not be what the application has asked for.
    pub(crate) fn shapes_requests(&self) -> bool {
        self.client_id.is_some()
            || self.auth.is_some()
            || !self.headers.is_empty()
            || self.content_type.is_some()
            || !self.secrets.is_empty()
            || self.signature_headers.is_some()
            || self.client_identity.is_some()
    }

    /// Returns `true` if calls show who makes them in a way that a redirect to another origin
    /// drops: by a secret header or a certificate. `Authorization` is not its alone.
    pub(crate) fn shows_credentials(&self) -> bool {
        let mut headers = self.headers.iter();
        self.client_identity.is_some() || headers.any(|header| header.dropped_across_origins)
    }

    /// Checks everything; `client_id_header` is the engine's own name for that header.
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

    /// Two lines with one name went out: `User-Agent` of the engine's and of the application's.
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
        // Settings out of JSON pass by the builder.
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
}
