//! Sending an attempt to a receiver.
//!
//! A [`Transport`] opens a [`Channel`] for each active endpoint. Each call of a channel makes one
//! HTTP exchange; any number of calls may run at once. Redirects, the attempt's timeout and the
//! classification of answers are handled outside the transport, in the same way for every
//! transport. `AwcTransport` and [`HttpTransport`] call real receivers.

mod answer;
mod authorised;
#[cfg(feature = "awc")]
mod awc;
mod connect;
mod dial;
mod exchange;
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

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};
use parking_lot::Mutex;

/// The TLS library, re-exported for the argument of [`TransportBuilder::crypto_provider`].
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
#[cfg(feature = "fuzzing")]
pub(crate) use self::connect::{Authority, Connect};
pub(crate) use self::exchange::exchange;
#[cfg(feature = "fuzzing")]
pub(crate) use self::wire::ByteStream;
use crate::domain::deliveries::trace::AnswerTrace;
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::value::secret::Secret;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;

/// Opens channels to receivers.
pub trait Transport: Send + Sync + 'static {
    /// Opens a channel for one endpoint, on the thread that will use it.
    ///
    /// A subscriber opens it for its first attempt and drops it once the endpoint has been idle for
    /// a while. Opening must be cheap and must not connect yet. `client_id_header` is the name of
    /// the header that carries the client id.
    fn open(&self, endpoint: &Endpoint, client_id_header: &str) -> Box<dyn Channel>;

    /// Checks the settings that only the transport understands, before an endpoint is put.
    ///
    /// Accepts everything by default.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] names the setting to correct.
    fn check(&self, endpoint: &Endpoint) -> Result<(), InvalidEndpoint> {
        let _ = endpoint;
        Ok(())
    }

    /// Makes one request to a token endpoint, for [`Auth::OAuth2`](crate::Auth::OAuth2).
    ///
    /// Sends the form, then reads the answer's status and at most
    /// [`MAX_TOKEN_ANSWER_BYTES`](crate::limits::MAX_TOKEN_ANSWER_BYTES) of its body. It follows no
    /// redirect. By default it fails with [`Failure::Unsendable`].
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

/// A way to one endpoint and to the targets of its redirects.
pub trait Channel: 'static {
    /// Makes one HTTP exchange.
    ///
    /// Sends the request, then reads the answer's head and its body up to the transport's limit.
    ///
    /// # Cancel safety
    /// Dropping the future ends the exchange at once and frees its connection.
    fn send(&self, request: Request) -> LocalBoxFuture<'static, Sent>;

    /// Returns `true` if the channel keeps anything for the next exchange, such as an idle
    /// connection.
    ///
    /// A channel that keeps nothing is dropped as soon as its endpoint has nothing to do. Defaults
    /// to `true`.
    fn is_worth_keeping(&self) -> bool {
        true
    }
}

/// The result of one HTTP exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// The answer, or the reason why there is none.
    pub result: Result<Answer, Failure>,
    /// `true` if the request was sent a second time on a new connection, because a kept connection
    /// turned out to be closed before any answer.
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

/// One HTTP request to send.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The URL of this request: the endpoint's URL, or the target of a redirect.
    pub url: WebhookUrl,
    /// The alert to send: the body, and the ids that go into headers.
    pub alert: Arc<Alert>,
    /// The number of the attempt within its delivery, counted from 1; sent as `webhook-attempt`.
    pub attempt: u32,
    /// The start of the attempt; sent as `webhook-timestamp` in seconds.
    pub sent_at: Timestamp,
    /// The `Authorization` header. `None` if the endpoint has none, and after a redirect to another
    /// origin.
    pub authorization: Option<Secret>,
    /// `true` if a redirect led to another origin; the endpoint's secret headers must then not be
    /// sent. A redirect from http to https on the same host, each on its default port, stays within
    /// the origin.
    pub left_origin: bool,
    /// `true` if the request carries credentials that identify the sender, as long as no redirect
    /// leads to another origin.
    pub(crate) shows_credentials: bool,
    /// Receives the status of the answer, and where it came from, as soon as they are known.
    pub seen: StatusSeen,
}

/// The status of an answer, noted by a transport before the whole answer is read.
///
/// The status is then on record even if the body is cut short or does not end within the timeout.
#[derive(Clone, Debug, Default)]
pub struct StatusSeen(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    status: Option<u16>,
    trace: AnswerTrace,
}

impl StatusSeen {
    /// Notes the status of an answer of which no more is known, replacing any earlier one.
    pub fn set(&self, status: u16) {
        self.set_traced(status, AnswerTrace::new());
    }

    /// Notes the status of an answer, where it came from and what it is, replacing any earlier one.
    pub fn set_traced(&self, status: u16, trace: AnswerTrace) {
        *self.0.lock() = Seen {
            status: Some(status),
            trace,
        };
    }

    pub(crate) fn clear(&self) {
        *self.0.lock() = Seen::default();
    }

    /// Returns the last noted status.
    pub fn get(&self) -> Option<u16> {
        self.0.lock().status
    }

    /// Returns where the answer with the last noted status came from, and what it is.
    pub fn trace(&self) -> AnswerTrace {
        self.0.lock().trace.clone()
    }
}
