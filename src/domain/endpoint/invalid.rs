//! The bounds of an endpoint's settings, and the reasons for refusing them.

use crate::domain::signing::signature::InvalidSecret;
use crate::domain::value::text::InvalidText;
use crate::domain::value::url::InvalidUrl;

/// Why an endpoint's settings are refused. Nothing was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEndpoint {
    /// Its URL cannot be called.
    #[error("{0}")]
    Url(#[from] InvalidUrl),
    /// A text is invalid.
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// A header name is not one that HTTP allows.
    #[error("{0:?} is not a valid header name")]
    HeaderName(String),
    /// The engine sets this header itself.
    #[error(
        "header {0:?} is set by the engine; for Authorization use Endpoint::auth, for Content-Type use Endpoint::content_type"
    )]
    OwnedHeader(String),
    /// Two headers have the same name.
    #[error("header {0:?} is given twice; give each name once")]
    RepeatedHeader(String),
    /// The content type is not a media type.
    #[error("{0:?} is not a media type; write it like application/json; charset=utf-8")]
    ContentType(String),
    /// There are more than 32 headers.
    #[error("there are more than {MAX_HEADERS} headers; remove some")]
    TooManyHeaders,
    /// There are too many signing secrets.
    #[error(transparent)]
    Secret(#[from] InvalidSecret),
    /// A signature header has the name of another header.
    #[error(
        "signature header {0:?} has the name of another header; choose another name in Endpoint::signature_headers"
    )]
    SignatureHeader(String),
    /// The endpoint is restricted to the events of one client, and a rule for others names it.
    #[error(
        "endpoint is restricted to one client (Endpoint::client), but a rule for others names it; restrict that rule with Rule::client"
    )]
    OtherClient,
    /// A timeout is outside 1 ms to 1 h.
    #[error("timeout and connect_timeout must be from 1 ms to 1 h")]
    Timeout,
    /// Its host is an address that calls may not go to.
    #[error(
        "host is not a public address; allow it with Endpoint::allow_addresses or EngineBuilder::allow_addresses"
    )]
    ForbiddenAddress,
    /// Its URL is plain `http`, and its policy requires `https`.
    #[error("URL must be https, because EndpointPolicy::https_only is set")]
    NotHttps,
    /// A certificate or key cannot be used.
    #[error("certificates or key cannot be used: {0}")]
    Tls(String),
    /// The maximum of attempts in flight is outside 1 to 1,024.
    #[error("max_in_flight must be from 1 to {MAX_IN_FLIGHT}")]
    MaxInFlight,
}

/// The most additional headers of an endpoint.
pub const MAX_HEADERS: usize = 32;

/// The highest `max_in_flight` of an endpoint.
pub const MAX_IN_FLIGHT: u32 = 1_024;
