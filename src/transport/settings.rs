//! Settings and state common to both transports.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use rustls::crypto::CryptoProvider;

use super::answer::Reading;
use super::connect::{Authority, Connector, Connectors, Guard};
use super::resolve::{DnsResolver, Resolver};
use super::tls::{InvalidCertificate, Trust, default_provider};
use super::token::{TokenAnswer, TokenRequest, request_token};
use super::{EXCERPT_BYTES, Failure, Request};
use crate::domain::endpoint::address::AddressRange;
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::settings::Endpoint;

/// Settings of a transport for real receivers: `AwcTransport` or
/// [`HttpTransport`](super::HttpTransport).
pub struct TransportBuilder<T> {
    provider: Arc<CryptoProvider>,
    extra_roots: Vec<Vec<u8>>,
    platform_roots: bool,
    guard: Guard,
    resolver: Arc<dyn Resolver>,
    body_limit: usize,
    max_idle: usize,
    idle_timeout: Duration,
    transport: PhantomData<fn() -> T>,
}

impl<T> TransportBuilder<T> {
    pub(super) fn new() -> Self {
        Self {
            provider: default_provider(),
            extra_roots: Vec::new(),
            platform_roots: false,
            guard: Guard::Public(Vec::new()),
            resolver: Arc::new(DnsResolver),
            body_limit: 64 * 1_024,
            max_idle: 256,
            idle_timeout: Duration::from_secs(15),
            transport: PhantomData,
        }
    }

    /// Sets the cryptography provider of TLS: versions, cipher suites, key types and signatures.
    ///
    /// Defaults to rustls's `ring`, which cannot check certificates with P-521 keys or ECDSA with
    /// SHA-512; rustls's `aws_lc_rs` can. To use it, depend on `rustls` in the version re-exported
    /// at [`transport::rustls`](crate::transport::rustls) with the feature `aws_lc_rs`, and pass
    /// `Arc::new(rustls::crypto::aws_lc_rs::default_provider())`.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use actix_webhooks::transport::{HttpTransport, rustls};
    ///
    /// // TLS 1.3 only.
    /// let mut provider = rustls::crypto::ring::default_provider();
    /// provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    /// let transport = HttpTransport::builder().crypto_provider(Arc::new(provider)).build()?;
    /// # drop(transport);
    /// # Ok::<(), actix_webhooks::transport::InvalidCertificate>(())
    /// ```
    #[must_use]
    pub fn crypto_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = provider;
        self
    }

    /// Trusts one more root certificate, in DER, in addition to the bundled Mozilla roots.
    ///
    /// Defaults to none.
    #[must_use]
    pub fn root_certificate(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.extra_roots.push(der.into());
        self
    }

    /// Trusts the root certificates of the operating system instead of the bundled Mozilla roots.
    ///
    /// They are read once, by [`build`](Self::build).
    #[cfg(feature = "platform-roots")]
    #[must_use]
    pub fn platform_roots(mut self) -> Self {
        self.platform_roots = true;
        self
    }

    /// Allows calls to further addresses, such as `10.0.0.0/8` or [`AddressRange::loopback`].
    ///
    /// By default only public addresses are allowed, so that a user who chooses a URL cannot reach
    /// internal services. [`Endpoint::allow_addresses`] does the same for one endpoint.
    #[must_use]
    pub fn allow_addresses(mut self, ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        if let Guard::Public(allowed) = &mut self.guard {
            allowed.extend(ranges);
        }
        self
    }

    /// Allows calls to any address: internal services, cloud metadata, this machine.
    ///
    /// Use it only where nobody but you chooses the URLs, including the targets of redirects.
    #[must_use]
    pub fn dangerous_allow_all_addresses(mut self) -> Self {
        self.guard = Guard::Off;
        self
    }

    /// Sets the resolver of host names.
    ///
    /// Defaults to DNS as the system configures it; see [`Resolver`].
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }

    /// Sets the number of body bytes read of an answer.
    ///
    /// The connection is dropped after the limit, and the status still counts. Defaults to 64 KiB.
    #[must_use]
    pub fn response_body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Sets the maximum number of idle connections in the whole process.
    ///
    /// Together with the engine's limit of attempts in flight, this bounds the number of file
    /// descriptors. Defaults to 256.
    #[must_use]
    pub fn max_idle_connections(mut self, max: usize) -> Self {
        self.max_idle = max;
        self
    }

    /// Sets how long an idle connection may be reused after its last exchange.
    ///
    /// An older connection is closed when the next request looks for one. Defaults to 15 s. An
    /// endpoint that has had nothing to do for 15 s closes all of its connections in any case.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    pub(super) fn shared(self) -> Result<Arc<TransportContext>, InvalidCertificate> {
        Ok(Arc::new(TransportContext {
            trust: Trust::new(self.provider, self.platform_roots, &self.extra_roots)?,
            guard: self.guard,
            resolver: self.resolver,
            body_limit: self.body_limit,
            idle: AtomicUsize::new(0),
            max_idle: self.max_idle,
            idle_timeout: self.idle_timeout,
        }))
    }
}

impl<T> Clone for TransportBuilder<T> {
    fn clone(&self) -> Self {
        Self {
            provider: Arc::clone(&self.provider),
            extra_roots: self.extra_roots.clone(),
            guard: self.guard.clone(),
            resolver: Arc::clone(&self.resolver),
            ..*self
        }
    }
}

impl<T> fmt::Debug for TransportBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportBuilder")
            .field("guard", &self.guard)
            .field("body_limit", &self.body_limit)
            .field("max_idle", &self.max_idle)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}

/// State common to all channels of a transport.
pub(super) struct TransportContext {
    trust: Trust,
    guard: Guard,
    resolver: Arc<dyn Resolver>,
    body_limit: usize,
    idle: AtomicUsize,
    max_idle: usize,
    pub(super) idle_timeout: Duration,
}

impl TransportContext {
    /// Returns a connector without the settings of any endpoint.
    pub(super) fn connector(&self, timeout: Duration) -> Connector {
        Connector {
            tls: Some(self.trust.shared()),
            timeout,
            guard: self.guard.clone(),
            resolver: Arc::clone(&self.resolver),
        }
    }

    /// Returns the connectors of an endpoint.
    pub(super) fn connectors(&self, endpoint: &Endpoint) -> Connectors {
        Connectors {
            own: Connector {
                tls: self.trust.for_endpoint(endpoint).ok(),
                guard: self.guard.with(&endpoint.allowed_addresses),
                ..self.connector(endpoint.policy.connect_timeout)
            },
            foreign: self.connector(endpoint.policy.connect_timeout),
        }
    }

    /// Makes a request to a token endpoint.
    pub(super) fn request_token(
        &self,
        request: TokenRequest,
    ) -> LocalBoxFuture<'static, Result<TokenAnswer, Failure>> {
        let connector = self.connector(request.connect_timeout);
        request_token(connector, request).boxed_local()
    }

    /// Checks the settings of an endpoint that only the transport understands.
    pub(super) fn check(&self, endpoint: &Endpoint) -> Result<(), InvalidEndpoint> {
        let guard = self.guard.with(&endpoint.allowed_addresses);
        if !guard.allows_host(&endpoint.url.to_url()) {
            return Err(InvalidEndpoint::ForbiddenAddress);
        }
        self.trust.for_endpoint(endpoint).map(drop)
    }

    /// Returns the read limits for the answer to a delivery.
    pub(super) fn reading(&self) -> Reading {
        Reading {
            limit: self.body_limit,
            kept: EXCERPT_BYTES,
            until_close: false,
        }
    }
}

impl fmt::Debug for TransportContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportContext")
            .field("guard", &self.guard)
            .field("body_limit", &self.body_limit)
            .field("max_idle", &self.max_idle)
            .field("idle", &self.idle.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// Returns the authority that a request reaches.
pub(super) fn authority(request: &Request) -> Result<Authority, Failure> {
    Ok(Authority {
        foreign: request.left_origin,
        ..Authority::of(&request.url.to_url())?
    })
}

/// A place among the idle connections that the process may keep.
///
/// It is dropped with its connection, so that the counts stay right however the connection ends.
#[derive(Debug)]
pub(super) struct IdleSlot {
    shared: Arc<TransportContext>,
    /// The number of idle connections of its channel.
    of_channel: Rc<Cell<usize>>,
}

impl IdleSlot {
    /// Returns `None` if the process already keeps the maximum number of idle connections.
    pub(super) fn take(
        shared: &Arc<TransportContext>,
        of_channel: &Rc<Cell<usize>>,
    ) -> Option<Self> {
        let before = shared.idle.fetch_add(1, Ordering::Relaxed);
        of_channel.set(of_channel.get() + 1);
        let slot = Self {
            shared: Arc::clone(shared),
            of_channel: Rc::clone(of_channel),
        };
        (before < shared.max_idle).then_some(slot)
    }
}

impl Drop for IdleSlot {
    fn drop(&mut self) {
        self.shared.idle.fetch_sub(1, Ordering::Relaxed);
        self.of_channel.set(self.of_channel.get() - 1);
    }
}
