//! The bounds of an endpoint's settings, and why some cannot be used.

use crate::domain::signing::signature::InvalidSecret;
use crate::domain::value::text::InvalidText;
use crate::domain::value::url::InvalidUrl;

/// An endpoint that cannot be used as it is. Nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEndpoint {
    /// Its URL cannot be called.
    #[error("URL {0}")]
    Url(#[from] InvalidUrl),
    /// A text cannot be used.
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// A header's name is not one that HTTP allows.
    #[error("{0:?} is not a valid header name")]
    HeaderName(String),
    /// A header is one that the engine sets itself.
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
    /// A name of a signature header is that of another header, too.
    #[error("signature header {0:?} has the name of another header")]
    SignatureHeader(String),
    /// It is kept to the events of one client, and a rule for others names it.
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
    /// Its URL is plain `http`, and its policy wants `https`.
    #[error("its URL is not https, which its policy asks for; see EndpointPolicy::https_only")]
    NotHttps,
    /// A certificate or key cannot be used.
    #[error("its certificates or key cannot be used: {0}")]
    Tls(String),
    /// The maximum of attempts in flight is outside 1 to 1,024.
    #[error("max_in_flight must be from 1 to {MAX_IN_FLIGHT}")]
    MaxInFlight,
}

/// The most further headers of an endpoint.
pub const MAX_HEADERS: usize = 32;

/// The most attempts that one endpoint can be allowed to have in flight.
pub const MAX_IN_FLIGHT: u32 = 1_024;
