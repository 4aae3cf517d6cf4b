//! The transport for real receivers: awc over rustls, one lane per exchange.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use awc::http::Uri;
use awc::http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use rustls::ClientConfig;
use tokio::time::Instant;
use url::Position;

use super::connect::{InvalidCertificate, Target, tls_config};
use super::lane::{Exchanged, Lane, Prepared};
use super::{Answer, Channel, Failure, Request, Sent, Transport};
use crate::domain::endpoint::Endpoint;
use crate::domain::url::WebhookUrl;

/// Sends over HTTP/1.1, with TLS by rustls where the URL says https.
///
/// ```
/// use actix_webhooks::transport::AwcTransport;
///
/// let transport = AwcTransport::builder().max_idle_connections(64).build()?;
/// # drop(transport);
/// # Ok::<(), actix_webhooks::transport::InvalidCertificate>(())
/// ```
#[derive(Clone)]
pub struct AwcTransport {
    shared: Arc<Shared>,
}

struct Shared {
    tls: Arc<ClientConfig>,
    body_limit: usize,
    idle: AtomicUsize,
    max_idle: usize,
    idle_timeout: Duration,
}

/// Settings of an [`AwcTransport`].
#[derive(Clone, Debug)]
pub struct AwcTransportBuilder {
    extra_roots: Vec<Vec<u8>>,
    body_limit: usize,
    max_idle: usize,
    idle_timeout: Duration,
}

impl AwcTransport {
    /// Returns a builder with the default settings.
    pub fn builder() -> AwcTransportBuilder {
        AwcTransportBuilder {
            extra_roots: Vec::new(),
            body_limit: 64 * 1_024,
            max_idle: 256,
            idle_timeout: Duration::from_secs(15),
        }
    }
}

impl AwcTransportBuilder {
    /// Trusts a further root certificate, in DER, besides the bundled Mozilla roots. Defaults to none.
    #[must_use]
    pub fn root_certificate(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.extra_roots.push(der.into());
        self
    }

    /// Sets how many bytes of an answer's body are read; beyond them the connection is dropped and the status still counts. Defaults to 64 KiB.
    #[must_use]
    pub fn response_body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Sets how many idle connections are kept in the whole process. Together with the engine's limit of attempts in flight this bounds
    /// the file descriptors used. Defaults to 256.
    #[must_use]
    pub fn max_idle_connections(mut self, max: usize) -> Self {
        self.max_idle = max;
        self
    }

    /// Sets for how long an idle connection is kept. Defaults to 15 s.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Returns the transport.
    ///
    /// # Errors
    /// [`InvalidCertificate`] when a root certificate is not one.
    pub fn build(self) -> Result<AwcTransport, InvalidCertificate> {
        let shared = Shared {
            tls: tls_config(&self.extra_roots)?,
            body_limit: self.body_limit,
            idle: AtomicUsize::new(0),
            max_idle: self.max_idle,
            idle_timeout: self.idle_timeout,
        };
        Ok(AwcTransport {
            shared: Arc::new(shared),
        })
    }
}

impl fmt::Debug for AwcTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwcTransport")
            .field("body_limit", &self.shared.body_limit)
            .field("max_idle", &self.shared.max_idle)
            .field("idle", &self.shared.idle.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl Transport for AwcTransport {
    fn open(&self, endpoint: &Endpoint, client_id_header: &str) -> Box<dyn Channel> {
        let channel = AwcChannel {
            shared: Arc::clone(&self.shared),
            url: endpoint.url.clone(),
            connect_timeout: endpoint.policy.connect_timeout,
            client_id_header: HeaderName::from_bytes(client_id_header.as_bytes()).ok(),
            endpoint_headers: EndpointHeaders::of(endpoint),
            prepared: RefCell::new(None),
            idle: RefCell::new(VecDeque::new()),
        };
        Box::new(OpenChannel(Rc::new(channel)))
    }
}

struct OpenChannel(Rc<AwcChannel>);

/// The lanes to one endpoint.
struct AwcChannel {
    shared: Arc<Shared>,
    url: WebhookUrl,
    connect_timeout: Duration,
    client_id_header: Option<HeaderName>,
    endpoint_headers: EndpointHeaders,
    /// The constant part of requests to the endpoint's own URL.
    prepared: RefCell<Option<Rc<Prepared>>>,
    idle: RefCell<VecDeque<IdleLane>>,
}

struct IdleLane {
    lane: Lane,
    since: Instant,
    // Dropped with the lane, so that the count is right however it ends.
    _slot: IdleSlot,
}

/// One of the idle connections that the process may keep.
struct IdleSlot(Arc<Shared>);

impl IdleSlot {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let before = shared.idle.fetch_add(1, Ordering::Relaxed);
        let slot = Self(Arc::clone(shared));
        (before < shared.max_idle).then_some(slot)
    }
}

impl Drop for IdleSlot {
    fn drop(&mut self) {
        self.0.idle.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Channel for OpenChannel {
    fn send(&self, request: Request) -> LocalBoxFuture<'static, Sent> {
        Rc::clone(&self.0).exchange(request).boxed_local()
    }

    fn is_worth_keeping(&self) -> bool {
        !self.0.idle.borrow().is_empty()
    }
}

impl AwcChannel {
    async fn exchange(self: Rc<Self>, request: Request) -> Sent {
        let result = self.try_exchange(&request, self.take_lane()).await;
        match result {
            Err(Refused {
                failure: Failure::ConnectionClosed,
                kept_unanswered: true,
            }) => {
                // The receiver closed a kept connection as the request went out: any HTTP client would send it again at once.
                let again = self
                    .try_exchange(&request, self.new_lane())
                    .boxed_local()
                    .await;
                Sent {
                    result: again.map_err(|refused| refused.failure),
                    twice: true,
                }
            }
            other => Sent::from(other.map_err(|refused| refused.failure)),
        }
    }

    async fn try_exchange(&self, request: &Request, mut lane: Lane) -> Result<Answer, Refused> {
        let prepared = self.prepare(request)?;
        let headers = self.headers(request, &prepared)?;
        let connections = lane.connections();
        let ended = lane
            .exchange(
                &prepared,
                headers,
                request.alert.body.clone(),
                self.shared.body_limit,
            )
            .await;
        let Exchanged { answer, clean } = ended.map_err(|failure| {
            let kept = connections > 0 && lane.connections() == connections;
            Refused {
                failure,
                kept_unanswered: kept && !lane.is_answered(),
            }
        })?;
        if clean {
            self.keep_lane(lane);
        }
        Ok(answer)
    }

    fn take_lane(&self) -> Lane {
        self.idle
            .borrow_mut()
            .pop_back()
            .map_or_else(|| self.new_lane(), |idle| idle.lane)
    }

    fn new_lane(&self) -> Lane {
        Lane::new(Arc::clone(&self.shared.tls), self.connect_timeout)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how long a connection is idle is no rule's business"
    )]
    fn keep_lane(&self, lane: Lane) {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        // The front has been idle longest: what a burst left behind goes first.
        while idle
            .front()
            .is_some_and(|lane| now.duration_since(lane.since) > self.shared.idle_timeout)
        {
            idle.pop_front();
        }
        if let Some(slot) = IdleSlot::take(&self.shared) {
            idle.push_back(IdleLane {
                lane,
                since: now,
                _slot: slot,
            });
        }
    }

    fn prepare(&self, request: &Request) -> Result<Rc<Prepared>, Failure> {
        if request.url != self.url {
            // A redirect: rare, and nothing about it is remembered.
            return self.prepare_for(request).map(Rc::new);
        }
        if let Some(prepared) = &*self.prepared.borrow() {
            return Ok(Rc::clone(prepared));
        }
        let prepared = Rc::new(self.prepare_for(request)?);
        *self.prepared.borrow_mut() = Some(Rc::clone(&prepared));
        Ok(prepared)
    }

    fn prepare_for(&self, request: &Request) -> Result<Prepared, Failure> {
        let url = request.url.to_url();
        let tls = url.scheme() == "https";
        let host = url.host().ok_or(Failure::Unsendable)?.to_owned();
        let port = url.port_or_known_default().ok_or(Failure::Unsendable)?;
        let path = &url[Position::BeforePath..Position::AfterQuery];
        // The client makes no TLS, so that it is always told http; a user name, which is never sent, keeps connections with TLS apart.
        let mark = if tls { "tls@" } else { "" };
        let uri: Uri = format!("http://{mark}{host}:{port}{path}")
            .parse()
            .map_err(|_| Failure::Unsendable)?;
        let mut headers = HeaderMap::with_capacity(self.endpoint_headers.0.len() + 4);
        headers.insert(
            HOST,
            text_value(&url[Position::BeforeHost..Position::AfterPort])?,
        );
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value, dropped_across_origins) in &self.endpoint_headers.0 {
            if !(request.left_origin && *dropped_across_origins) {
                headers.insert(name.clone(), value.clone());
            }
        }
        let (client_id, format) = (request.alert.client_id.clone(), request.alert.format);
        headers.insert(self.client_id_header()?, text_value(client_id.as_str())?);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(format.content_type()),
        );
        Ok(Prepared {
            uri,
            target: Target { host, port, tls },
            headers,
            client_id,
            format,
        })
    }

    /// Returns the headers that differ from call to call; they win over the prepared ones.
    fn headers(&self, request: &Request, prepared: &Prepared) -> Result<HeaderMap, Failure> {
        let alert = &request.alert;
        let mut headers = HeaderMap::with_capacity(3);
        headers.insert(
            WEBHOOK_ID,
            text_value(alert.id.as_uuid().hyphenated().encode_lower(&mut [0; 36]))?,
        );
        headers.insert(
            WEBHOOK_TIMESTAMP,
            HeaderValue::from(request.sent_at.unix_seconds()),
        );
        headers.insert(WEBHOOK_ATTEMPT, HeaderValue::from(request.attempt));
        if alert.client_id != prepared.client_id {
            headers.insert(
                self.client_id_header()?,
                text_value(alert.client_id.as_str())?,
            );
        }
        if alert.format != prepared.format {
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static(alert.format.content_type()),
            );
        }
        if let Some(authorization) = &request.authorization {
            let mut value = text_value(authorization.expose())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    fn client_id_header(&self) -> Result<HeaderName, Failure> {
        self.client_id_header.clone().ok_or(Failure::Unsendable)
    }
}

/// An exchange without an answer.
struct Refused {
    failure: Failure,
    /// Whether it used a kept connection on which the receiver sent nothing.
    kept_unanswered: bool,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            kept_unanswered: false,
        }
    }
}

/// The endpoint's own headers, and whether another origin must not see them.
struct EndpointHeaders(Vec<(HeaderName, HeaderValue, bool)>);

impl EndpointHeaders {
    fn of(endpoint: &Endpoint) -> Self {
        let parse = |header: &crate::domain::endpoint::EndpointHeader| {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            let value = HeaderValue::from_str(header.value.expose()).ok()?;
            Some((name, value, header.dropped_across_origins))
        };
        // Every header was checked when the endpoint was put, so that none is left out here.
        Self(endpoint.headers.iter().filter_map(parse).collect())
    }
}

fn text_value(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| Failure::Unsendable)
}

const AGENT: &str = concat!("actix-webhooks/", env!("CARGO_PKG_VERSION"));
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_ATTEMPT: HeaderName = HeaderName::from_static("webhook-attempt");
