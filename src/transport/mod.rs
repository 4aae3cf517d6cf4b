//! How an attempt reaches a receiver.
//!
//! [`Transport`] opens a [`Channel`] for each active endpoint; a channel makes one HTTP exchange at
//! a time per call and any number of calls at once. Redirects, the one timeout around everything
//! and the classification of answers are not its business: they hold for every transport alike.
//! `AwcTransport` and [`HttpTransport`] are those for real receivers.

mod answer;
mod authorised;
#[cfg(feature = "awc")]
mod awc;
mod connect;
mod dial;
mod exchange;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod http;
mod line;
mod look_up;
mod own_addresses;
mod request;
mod resolve;
mod settings;
mod tls;
mod token;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};

/// The TLS library, to name what [`TransportBuilder::crypto_provider`] takes.
pub use rustls;

#[cfg(feature = "awc")]
pub use self::awc::AwcTransport;
pub use self::http::HttpTransport;
pub use self::resolve::{Resolver, Resolving, SystemResolver};
pub use self::settings::TransportBuilder;
pub use self::tls::InvalidCertificate;
pub use self::token::{TokenAnswer, TokenRequest};
pub use crate::domain::deliveries::alert::Alert;
pub use crate::domain::deliveries::answer::{Answer, Directive, EXCERPT_BYTES};
pub use crate::domain::deliveries::outcome::Failure;

pub(crate) use self::authorised::exchange_with_token;
pub(crate) use self::exchange::exchange;
#[cfg(test)]
pub(crate) use self::exchange::within;
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::value::secret::Secret;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;

/// Opens channels to receivers.
pub trait Transport: Send + Sync + 'static {
    /// Opens a channel for one endpoint, on the thread on which it will be used.
    ///
    /// A subscriber opens it for its first attempt and drops it when the endpoint has been idle for a while; opening must be cheap and
    /// must not connect yet. `client_id_header` is the name of the header that carries the client id.
    fn open(&self, endpoint: &Endpoint, client_id_header: &str) -> Box<dyn Channel>;

    /// Checks settings that only the transport understands, before an endpoint is put. Defaults to accepting all.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] says what to correct.
    fn check(&self, endpoint: &Endpoint) -> Result<(), InvalidEndpoint> {
        let _ = endpoint;
        Ok(())
    }

    /// Makes one request to a token endpoint, for [`Auth::OAuth2`](crate::Auth::OAuth2): sends the form, reads the answer's status and its body as far as
    /// [`MAX_TOKEN_ANSWER_BYTES`](crate::limits::MAX_TOKEN_ANSWER_BYTES), and follows no redirect. Defaults to failing as [`Failure::Unsendable`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the request at once and frees its connection.
    fn request_token(
        &self,
        request: TokenRequest,
    ) -> LocalBoxFuture<'static, Result<TokenAnswer, Failure>> {
        drop(request);
        ready(Err(Failure::Unsendable)).boxed_local()
    }
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn open(&self, endpoint: &Endpoint, client_id_header: &str) -> Box<dyn Channel> {
        (**self).open(endpoint, client_id_header)
    }

    fn check(&self, endpoint: &Endpoint) -> Result<(), InvalidEndpoint> {
        (**self).check(endpoint)
    }

    fn request_token(
        &self,
        request: TokenRequest,
    ) -> LocalBoxFuture<'static, Result<TokenAnswer, Failure>> {
        (**self).request_token(request)
    }
}

impl<T: Transport + ?Sized> Transport for Arc<T> {
    fn open(&self, endpoint: &Endpoint, client_id_header: &str) -> Box<dyn Channel> {
        (**self).open(endpoint, client_id_header)
    }

    fn check(&self, endpoint: &Endpoint) -> Result<(), InvalidEndpoint> {
        (**self).check(endpoint)
    }

    fn request_token(
        &self,
        request: TokenRequest,
    ) -> LocalBoxFuture<'static, Result<TokenAnswer, Failure>> {
        (**self).request_token(request)
    }
}

/// A way to one endpoint and to where its redirects lead.
pub trait Channel: 'static {
    /// Makes one HTTP exchange: sends the request, reads the answer's head and its body as far as the transport's limit.
    ///
    /// # Cancel safety
    /// Dropping the future ends the exchange at once and frees its connection.
    fn send(&self, request: Request) -> LocalBoxFuture<'static, Sent>;

    /// Returns `true` if anything is kept for the next exchange, such as an idle connection. A
    /// channel that keeps nothing is dropped as soon as its endpoint has nothing to do. Defaults to
    /// `true`.
    fn is_worth_keeping(&self) -> bool {
        true
    }
}

/// How one HTTP exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The answer, or why there is none.
    pub result: Result<Answer, Failure>,
    /// Whether a kept connection turned out closed before any answer, so that the request was sent a second time on a new one.
    pub twice: bool,
}

impl From<Result<Answer, Failure>> for Sent {
    fn from(result: Result<Answer, Failure>) -> Self {
        Self {
            result,
            twice: false,
        }
    }
}

/// One HTTP request to be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// Where this request goes: the endpoint's URL, or where a redirect led.
    pub url: WebhookUrl,
    /// What is sent: the body, and the ids that go into headers.
    pub alert: Arc<Alert>,
    /// Which attempt of the delivery it belongs to, from 1; sent as `webhook-attempt`.
    pub attempt: u32,
    /// When the attempt began; sent as `webhook-timestamp` in seconds.
    pub sent_at: Timestamp,
    /// The `Authorization` header; `None` when there is none, and after a redirect to another origin.
    pub authorization: Option<Secret>,
    /// Whether a redirect led to another origin, so that secret headers of the endpoint must not be
    /// sent. From http to https of the same host, each on its own port, is none.
    pub left_origin: bool,
    /// Whether anything shows the receiver who calls, as long as no redirect leads to another
    /// origin.
    pub(crate) shows_credentials: bool,
    /// Is told the status of the answer as soon as it is known.
    pub seen: StatusSeen,
}

/// Where a transport notes the status of an answer before all of it was read: it is then on record
/// even if the body is cut short, or does not end within the timeout.
#[derive(Clone, Debug, Default)]
pub struct StatusSeen(Arc<AtomicU16>);

impl StatusSeen {
    /// Notes a status. The last one counts.
    pub fn set(&self, status: u16) {
        self.0.store(status, Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Returns the status noted last.
    pub fn get(&self) -> Option<u16> {
        // No status is 0.
        Some(self.0.load(Ordering::Relaxed)).filter(|status| *status > 0)
    }
}
