//! The bounds of an endpoint's settings, and the reasons for refusing them.

use crate::domain::signing::signature::InvalidSecret;
use crate::domain::value::text::InvalidText;
use crate::domain::value::url::InvalidUrl;

/// Why an endpoint's settings are refused. Nothing was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEndpoint {
    /// Its URL cannot be called.
    #[error("URL {0}")]
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
    #[error("header {0:?} is there twice; one line is sent for one name")]
    RepeatedHeader(String),
    /// The content type is not a media type.
    #[error("{0:?} is not a media type; write it like application/json; charset=utf-8")]
    ContentType(String),
    /// There are more than 32 headers.
    #[error("has more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    /// There are too many signing secrets.
    #[error(transparent)]
    Secret(#[from] InvalidSecret),
    /// A signature header has the name of another header.
    #[error("signature header {0:?} has the name of another header")]
    SignatureHeader(String),
    /// The endpoint is restricted to the events of one client, and a rule for others names it.
    #[error(
        "it is kept to the events of one client (Endpoint::client), and the rule is not for that client alone"
    )]
    OtherClient,
    /// A timeout is outside 1 ms to 1 h.
    #[error("timeouts must be from 1 ms to 1 h")]
    Timeout,
    /// Its host is an address that calls may not go to.
    #[error(
        "its address is not public; allow it with Endpoint::allow_addresses or EngineBuilder::allow_addresses"
    )]
    ForbiddenAddress,
    /// Its URL is plain `http`, and its policy requires `https`.
    #[error("its URL is not https, which its policy asks for; see EndpointPolicy::https_only")]
    NotHttps,
    /// A certificate or key cannot be used.
    #[error("its certificates or key cannot be used: {0}")]
    Tls(String),
    /// The maximum of attempts in flight is outside 1 to 1,024.
    #[error("max_in_flight must be from 1 to {MAX_IN_FLIGHT}")]
    MaxInFlight,
}

/// The most additional headers of an endpoint.
pub const MAX_HEADERS: usize = 32;

/// The highest `max_in_flight` of an endpoint.
pub const MAX_IN_FLIGHT: u32 = 1_024;
