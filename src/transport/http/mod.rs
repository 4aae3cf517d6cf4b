//! HTTP/1.1 on this crate's own connections, without an HTTP client in between.

mod connection;
mod head;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

pub(super) use self::connection::Connection;
use self::connection::Exchanged;
use self::head::FixedHead;
use super::connect::{Authority, Connect};
use super::line::Broken;
use super::request::RequestHeaders;
use super::settings::{IdleSlot, TransportBuilder, TransportContext, authority};
use super::tls::InvalidCertificate;
use super::token::{TokenAnswer, TokenRequest};
use super::{Answer, Channel, Failure, Request, Sent, Transport};
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::value::url::WebhookUrl;

/// Sends over HTTP/1.1 on its own connections, with TLS by rustls for https URLs, to public
/// addresses unless more are allowed.
///
/// It behaves like the default transport over awc and takes less time.
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
    shared: Arc<TransportContext>,
}

impl HttpTransport {
    /// Returns a builder with the default settings.
    pub fn builder() -> TransportBuilder<Self> {
        TransportBuilder::new()
    }

    /// Opens a channel over the connections that `connectors` make.
    pub(crate) fn open_over(
        &self,
        connectors: impl Connect,
        endpoint: &Endpoint,
        client_id_header: &str,
    ) -> Box<dyn Channel> {
        let channel = HttpChannel {
            shared: Arc::clone(&self.shared),
            url: endpoint.url.clone(),
            connectors: Box::new(connectors),
            headers: RequestHeaders::of(endpoint, client_id_header),
            own: RefCell::new(None),
            idle: RefCell::new(VecDeque::new()),
            idle_count: Rc::default(),
        };
        Box::new(OpenChannel(Rc::new(channel)))
    }
}

impl TransportBuilder<HttpTransport> {
    /// Returns the transport.
    ///
    /// # Errors
    /// [`InvalidCertificate`] if a root certificate is invalid, or if the crypto provider does not
    /// support TLS.
    pub fn build(self) -> Result<HttpTransport, InvalidCertificate> {
        let shared = self.shared()?;
        Ok(HttpTransport { shared })
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpTransport").field(&self.shared).finish()
    }
}

impl Transport for HttpTransport {
    fn open(&self, endpoint: &Endpoint, client_id_header: &str) -> Box<dyn Channel> {
        let connectors = self.shared.connectors(endpoint);
        self.open_over(connectors, endpoint, client_id_header)
    }

    fn check(&self, endpoint: &Endpoint) -> Result<(), InvalidEndpoint> {
        self.shared.check(endpoint)
    }

    fn request_token(
        &self,
        request: TokenRequest,
    ) -> LocalBoxFuture<'static, Result<TokenAnswer, Failure>> {
        self.shared.request_token(request)
    }
}

struct OpenChannel<C: Connect>(Rc<HttpChannel<C>>);

/// The connections to one endpoint and to the targets of its redirects.
struct HttpChannel<C: Connect> {
    shared: Arc<TransportContext>,
    url: WebhookUrl,
    // Boxed, so that the fields needed by every exchange lie close together.
    connectors: Box<C>,
    headers: RequestHeaders,
    /// The target for the endpoint's own URL, built on first use.
    own: RefCell<Option<Rc<Target>>>,
    /// In order of use, the most recently used last.
    idle: RefCell<VecDeque<IdleConnection<C::Wire>>>,
    idle_count: Rc<Cell<usize>>,
}

/// The destination of requests, with everything that is the same for all of them.
struct Target {
    authority: Rc<Authority>,
    head: FixedHead,
}

struct IdleConnection<W> {
    connection: Connection<W>,
    /// The end of its last exchange.
    used_at: Instant,
    _slot: IdleSlot,
}

impl<C: Connect> Channel for OpenChannel<C> {
    fn send(&self, request: Request) -> LocalBoxFuture<'static, Sent> {
        Rc::clone(&self.0).exchange(request).boxed_local()
    }

    fn is_worth_keeping(&self) -> bool {
        self.0.idle_count.get() > 0
    }
}

impl<C: Connect> HttpChannel<C> {
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
            let kept = poll_fn(|cx| Poll::Ready(self.take_idle(&target.authority, cx)));
            let ended = match kept.await {
                Some(kept) => self.exchange_on(kept, &target, &request).await,
                // Boxed, because it is rare and would make this future much larger.
                None => self.exchange_anew(&target, &request).boxed_local().await,
            };
            match ended {
                Err(Broken { lost: true, .. }) => {
                    let again = self.exchange_anew(&target, &request).boxed_local();
                    Sent {
                        result: again.await.map_err(|broken| broken.failure),
                        twice: true,
                    }
                }
                ended => Sent::from(ended.map_err(|broken| broken.failure)),
            }
        }
    }

    /// Makes an exchange on a new connection.
    async fn exchange_anew(&self, target: &Target, request: &Request) -> Result<Answer, Broken> {
        let wire = self.connectors.connect(&target.authority).await?;
        let connection = Connection::new(Rc::clone(&target.authority), wire);
        self.exchange_on(connection, target, request).await
    }

    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` keeps room for its arguments twice"
    )]
    fn exchange_on(
        &self,
        mut connection: Connection<C::Wire>,
        target: &Target,
        request: &Request,
    ) -> impl Future<Output = Result<Answer, Broken>> {
        async move {
            let head = |head: &mut Vec<u8>| target.head.write(head, request, &self.headers);
            let (body, reading) = (&request.alert.body, self.shared.reading());
            let exchange = connection.exchange(head, body, reading, &request.seen);
            let Exchanged { answer, clean } = exchange.await?;
            if clean {
                self.keep(connection);
            }
            Ok(answer)
        }
    }

    /// Returns a kept connection that its receiver has not closed, and closes those idle for too
    /// long.
    fn take_idle(
        &self,
        authority: &Rc<Authority>,
        cx: &mut Context<'_>,
    ) -> Option<Connection<C::Wire>> {
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            return None;
        }
        let now = now();
        // The front has been idle longest, so connections left by a burst are closed first.
        while idle
            .front()
            .is_some_and(|oldest| now - oldest.used_at > self.shared.idle_timeout)
        {
            idle.pop_front();
        }
        loop {
            let fits = |kept: &IdleConnection<_>| kept.connection.authority == *authority;
            let last = idle.iter().rposition(fits)?;
            let mut kept = idle.remove(last)?;
            if kept.connection.is_quiet(cx) {
                return Some(kept.connection);
            }
        }
    }

    fn keep(&self, connection: Connection<C::Wire>) {
        if let Some(slot) = IdleSlot::take(&self.shared, &self.idle_count) {
            self.idle.borrow_mut().push_back(IdleConnection {
                connection,
                used_at: now(),
                _slot: slot,
            });
        }
    }

    fn target(&self, request: &Request) -> Result<Rc<Target>, Failure> {
        if request.url != self.url {
            // Redirects are rare, so their targets are not kept.
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
        let left_origin = request.left_origin;
        Ok(Target {
            authority: Rc::new(authority(request)?),
            head: FixedHead::new(&request.url.to_url(), &self.headers, left_origin)?,
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "for how long a connection has been idle is a matter of this transport alone"
)]
fn now() -> Instant {
    Instant::now()
}
