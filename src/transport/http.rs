//! The transport for real receivers: HTTP/1.1 by actix-http's codec, which is awc's, TLS by rustls, one connection per exchange.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use super::connect::{Authority, Connector, Connectors, Guard};
use super::connection::{Broken, Connection, Exchanged, Reading};
use super::request_head::{EndpointHeaders, FixedHead};
use super::resolve::{DnsResolver, Resolver};
use super::tls::{InvalidCertificate, Trust};
use super::token::{TokenAnswer, TokenRequest, request_token};
use super::{Answer, Channel, EXCERPT_BYTES, Failure, Request, Sent, Transport};
use crate::domain::address::AddressRange;
use crate::domain::endpoint::{Endpoint, InvalidEndpoint};
use crate::domain::signing::Signer;
use crate::domain::time::Timestamp;
use crate::domain::url::WebhookUrl;

/// Sends over HTTP/1.1, with TLS by rustls where the URL says https, to public addresses unless more is allowed.
///
/// ```
/// use actix_webhooks::transport::HttpTransport;
///
/// let transport = HttpTransport::builder().max_idle_connections(64).build()?;
/// # drop(transport);
/// # Ok::<(), actix_webhooks::transport::InvalidCertificate>(())
/// ```
#[derive(Clone)]
pub struct HttpTransport {
    shared: Arc<Shared>,
}

struct Shared {
    trust: Trust,
    guard: Guard,
    resolver: Arc<dyn Resolver>,
    body_limit: usize,
    idle: AtomicUsize,
    max_idle: usize,
    idle_timeout: Duration,
}

impl Shared {
    /// Returns what makes connections that no endpoint's own settings are for.
    fn connector(&self, timeout: Duration) -> Connector {
        Connector {
            tls: Some(self.trust.shared()),
            timeout,
            guard: self.guard.clone(),
            resolver: Arc::clone(&self.resolver),
        }
    }
}

/// Settings of an [`HttpTransport`].
#[derive(Clone, Debug)]
pub struct HttpTransportBuilder {
    extra_roots: Vec<Vec<u8>>,
    platform_roots: bool,
    guard: Guard,
    resolver: Arc<dyn Resolver>,
    body_limit: usize,
    max_idle: usize,
    idle_timeout: Duration,
}

impl HttpTransport {
    /// Returns a builder with the default settings.
    pub fn builder() -> HttpTransportBuilder {
        HttpTransportBuilder {
            extra_roots: Vec::new(),
            platform_roots: false,
            guard: Guard::Public(Vec::new()),
            resolver: Arc::new(DnsResolver),
            body_limit: 64 * 1_024,
            max_idle: 256,
            idle_timeout: Duration::from_secs(15),
        }
    }
}

impl HttpTransportBuilder {
    /// Trusts a further root certificate, in DER, besides the bundled Mozilla roots. Defaults to none.
    #[must_use]
    pub fn root_certificate(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.extra_roots.push(der.into());
        self
    }

    /// Trusts the root certificates of the operating system instead of the bundled Mozilla roots. They are read once, by [`build`](Self::build).
    #[cfg(feature = "platform-roots")]
    #[must_use]
    pub fn platform_roots(mut self) -> Self {
        self.platform_roots = true;
        self
    }

    /// Allows calls to go to further addresses, such as `10.0.0.0/8` or [`AddressRange::loopback`]. Defaults to public addresses only, so that
    /// whoever may choose a URL cannot reach what is internal. [`Endpoint::allow_addresses`] does so for one endpoint.
    #[must_use]
    pub fn allow_addresses(mut self, ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        if let Guard::Public(allowed) = &mut self.guard {
            allowed.extend(ranges);
        }
        self
    }

    /// Allows calls to go anywhere: internal services, cloud metadata, this machine. Only where nobody but you chooses the URLs, redirects included.
    #[must_use]
    pub fn dangerous_allow_all_addresses(mut self) -> Self {
        self.guard = Guard::Off;
        self
    }

    /// Sets how the addresses of host names are found. Defaults to DNS as the system is
    /// configured; [`Resolver`] says how.
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolver = Arc::new(resolver);
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

    /// Sets for how long after the beginning of its last exchange an idle connection is used again; one that is older is closed when the next request
    /// looks for one. Defaults to 15 s. An endpoint that has had nothing to do for 15 s closes all of its connections in any case.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Returns the transport.
    ///
    /// # Errors
    /// [`InvalidCertificate`] when a root certificate is not one.
    pub fn build(self) -> Result<HttpTransport, InvalidCertificate> {
        let shared = Shared {
            trust: Trust::new(self.platform_roots, &self.extra_roots)?,
            guard: self.guard,
            resolver: self.resolver,
            body_limit: self.body_limit,
            idle: AtomicUsize::new(0),
            max_idle: self.max_idle,
            idle_timeout: self.idle_timeout,
        };
        Ok(HttpTransport {
            shared: Arc::new(shared),
        })
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport")
            .field("guard", &self.shared.guard)
            .field("body_limit", &self.shared.body_limit)
            .field("max_idle", &self.shared.max_idle)
            .field("idle", &self.shared.idle.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl Transport for HttpTransport {
    fn open(&self, endpoint: &Endpoint, client_id_header: &str) -> Box<dyn Channel> {
        let channel = HttpChannel {
            shared: Arc::clone(&self.shared),
            url: endpoint.url.clone(),
            setup: Box::new(Setup {
                connectors: Connectors {
                    own: Connector {
                        tls: self.shared.trust.for_endpoint(endpoint).ok(),
                        guard: self.shared.guard.with(&endpoint.allowed_addresses),
                        ..self.shared.connector(endpoint.policy.connect_timeout)
                    },
                    foreign: self.shared.connector(endpoint.policy.connect_timeout),
                },
                headers: EndpointHeaders::of(endpoint, client_id_header),
            }),
            signer: Signer::of(endpoint),
            own: RefCell::new(None),
            idle: RefCell::new(VecDeque::new()),
        };
        Box::new(OpenChannel(Rc::new(channel)))
    }

    fn check(&self, endpoint: &Endpoint) -> Result<(), InvalidEndpoint> {
        let guard = self.shared.guard.with(&endpoint.allowed_addresses);
        if !guard.allows_host(&endpoint.url.to_url()) {
            return Err(InvalidEndpoint::ForbiddenAddress);
        }
        self.shared.trust.for_endpoint(endpoint).map(drop)
    }

    fn request_token(
        &self,
        request: TokenRequest,
    ) -> LocalBoxFuture<'static, Result<TokenAnswer, Failure>> {
        let connector = self.shared.connector(request.connect_timeout);
        request_token(connector, request).boxed_local()
    }
}

struct OpenChannel(Rc<HttpChannel>);

/// The connections to one endpoint, and to where its redirects lead.
struct HttpChannel {
    shared: Arc<Shared>,
    url: WebhookUrl,
    setup: Box<Setup>,
    signer: Signer,
    /// What is the same for every request to the endpoint's own URL.
    own: RefCell<Option<Rc<Target>>>,
    /// The one used last at the back.
    idle: RefCell<VecDeque<IdleConnection>>,
}

/// What new connections and targets are made from. Apart, so that what every exchange needs lies close together.
struct Setup {
    connectors: Connectors,
    headers: EndpointHeaders,
}

/// Where requests go, and what is the same for all of them.
struct Target {
    authority: Rc<Authority>,
    head: FixedHead,
}

struct IdleConnection {
    connection: Connection,
    /// When its last exchange began.
    used_at: Timestamp,
    // Dropped with the connection, so that the count is right however it ends.
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

impl HttpChannel {
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` keeps room for its arguments twice"
    )]
    fn exchange(self: Rc<Self>, request: Request) -> impl Future<Output = Sent> {
        async move {
            let target = match self.target(&request) {
                Ok(target) => target,
                Err(failure) => return Sent::from(Err(failure)),
            };
            let kept =
                poll_fn(|cx| Poll::Ready(self.take_idle(&target.authority, request.sent_at, cx)));
            let Some(kept) = kept.await else {
                // Rare, and much larger: not a part of this future.
                let anew = self.exchange_anew(&target, &request).boxed_local();
                return Sent::from(anew.await);
            };
            match self.exchange_on(kept, &target, &request).await {
                Err(Broken {
                    failure: Failure::ConnectionClosed,
                    unanswered: true,
                }) => {
                    // The receiver closed a kept connection as the request went out: any HTTP client would send it again at once.
                    let again = self.exchange_anew(&target, &request).boxed_local();
                    Sent {
                        result: again.await,
                        twice: true,
                    }
                }
                ended => Sent::from(ended.map_err(|broken| broken.failure)),
            }
        }
    }

    /// Makes an exchange on a new connection.
    async fn exchange_anew(&self, target: &Target, request: &Request) -> Result<Answer, Failure> {
        let wire = self.setup.connectors.connect(&target.authority).await?;
        let connection = Connection::new(Rc::clone(&target.authority), wire);
        let ended = self.exchange_on(connection, target, request).await;
        ended.map_err(|broken| broken.failure)
    }

    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` keeps room for its arguments twice"
    )]
    fn exchange_on(
        &self,
        mut connection: Connection,
        target: &Target,
        request: &Request,
    ) -> impl Future<Output = Result<Answer, Broken>> {
        async move {
            let head = |head: &mut Vec<u8>| target.head.write(head, request, &self.signer);
            let reading = Reading {
                limit: self.shared.body_limit,
                kept: EXCERPT_BYTES,
                until_close: false,
            };
            let exchange = connection.exchange(head, &request.alert.body, reading);
            let Exchanged { answer, clean } = exchange.await?;
            if clean {
                self.keep(connection, request.sent_at);
            }
            Ok(answer)
        }
    }

    /// Returns a kept connection that its receiver has not closed. What has been idle for too long is closed.
    fn take_idle(
        &self,
        authority: &Rc<Authority>,
        now: Timestamp,
        cx: &mut Context<'_>,
    ) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        // The front has been idle longest: what a burst left behind goes first.
        while idle
            .front()
            .is_some_and(|oldest| now.since(oldest.used_at) > self.shared.idle_timeout)
        {
            idle.pop_front();
        }
        loop {
            let fits = |kept: &IdleConnection| kept.connection.authority == *authority;
            let last = idle.iter().rposition(fits)?;
            let mut kept = idle.remove(last)?;
            if kept.connection.is_quiet(cx) {
                return Some(kept.connection);
            }
        }
    }

    fn keep(&self, connection: Connection, used_at: Timestamp) {
        if let Some(slot) = IdleSlot::take(&self.shared) {
            self.idle.borrow_mut().push_back(IdleConnection {
                connection,
                used_at,
                _slot: slot,
            });
        }
    }

    fn target(&self, request: &Request) -> Result<Rc<Target>, Failure> {
        if request.url != self.url {
            // A redirect: rare, and nothing about it is remembered.
            return self.target_of(request).map(Rc::new);
        }
        if let Some(target) = &*self.own.borrow() {
            return Ok(Rc::clone(target));
        }
        let target = Rc::new(self.target_of(request)?);
        *self.own.borrow_mut() = Some(Rc::clone(&target));
        Ok(target)
    }

    fn target_of(&self, request: &Request) -> Result<Target, Failure> {
        let url = request.url.to_url();
        Ok(Target {
            authority: Rc::new(Authority {
                foreign: request.left_origin,
                ..Authority::of(&url)?
            }),
            head: FixedHead::new(&url, &self.setup.headers, request.left_origin)?,
        })
    }
}
