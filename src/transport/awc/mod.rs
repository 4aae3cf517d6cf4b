//! The default transport: HTTP/1.1 by awc, over this crate's own connections.
//!
//! awc has pitfalls and strict checks of its own (docs/adr/0012). The [`Stream`] under the client
//! handles all of them, so that awc always sees a plain and unambiguous answer.

mod answer;
mod connecting;
mod request;
mod stream;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use self::answer::{broken, read};
use self::connecting::{Connecting, client_of};
use self::request::{OutgoingSlot, Prepared};
use super::connect::{Authority, Connect};
use super::line::Broken;
use super::request::RequestHeaders;
use super::settings::{TransportBuilder, TransportContext, authority};
use super::tls::InvalidCertificate;
use super::token::{TokenAnswer, TokenRequest};
use super::{Answer, Channel, Failure, Request, Sent, Transport};
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::value::url::WebhookUrl;

/// Sends with awc, and with TLS by rustls for https URLs, to public addresses unless more are
/// allowed.
///
/// Each endpoint has its own client while it is active.
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
    shared: Arc<TransportContext>,
}

impl AwcTransport {
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
        let channel = AwcChannel {
            url: endpoint.url.clone(),
            connecting: Rc::new(Connecting {
                connectors,
                outgoing: OutgoingSlot::default(),
                shared: Arc::clone(&self.shared),
                idle_count: Rc::default(),
            }),
            headers: RequestHeaders::of(endpoint, client_id_header),
            own: RefCell::new(None),
            elsewhere: RefCell::default(),
        };
        Box::new(OpenChannel(Rc::new(channel)))
    }
}

impl TransportBuilder<AwcTransport> {
    /// Returns the transport.
    ///
    /// # Errors
    /// [`InvalidCertificate`] if a root certificate is invalid, or if the crypto provider does not
    /// support TLS.
    pub fn build(self) -> Result<AwcTransport, InvalidCertificate> {
        let shared = self.shared()?;
        Ok(AwcTransport { shared })
    }
}

impl fmt::Debug for AwcTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AwcTransport").field(&self.shared).finish()
    }
}

impl Transport for AwcTransport {
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

struct OpenChannel<C>(Rc<AwcChannel<C>>);

/// The client of one endpoint, and the clients of the origins that its redirects lead to.
struct AwcChannel<C> {
    url: WebhookUrl,
    headers: RequestHeaders,
    connecting: Rc<Connecting<C>>,
    /// The target for the endpoint's own URL, built on first use.
    own: RefCell<Option<Rc<Target>>>,
    /// In order of use, the most recently used last.
    elsewhere: RefCell<Vec<Origin>>,
}

/// A client whose connections all lead to one origin, so that none can be used for another.
#[derive(Clone)]
struct Origin {
    authority: Rc<Authority>,
    client: awc::Client,
}

/// The destination of requests, with everything that is the same for all of them.
struct Target {
    origin: Origin,
    prepared: Prepared,
}

impl<C: Connect> Channel for OpenChannel<C> {
    fn send(&self, request: Request) -> LocalBoxFuture<'static, Sent> {
        Rc::clone(&self.0).exchange(request).boxed_local()
    }

    fn is_worth_keeping(&self) -> bool {
        self.0.connecting.idle_count.get() > 0
    }
}

impl<C: Connect> AwcChannel<C> {
    async fn exchange(self: Rc<Self>, request: Request) -> Sent {
        let target = match self.target(&request) {
            Ok(target) => target,
            Err(failure) => return Sent::from(Err(failure)),
        };
        match self.exchange_by(&target, &request).await {
            Err(Broken { lost: true, .. }) => {
                // A new client has no kept connections, so the request cannot be lost with another
                // one.
                let origin = self.origin(Rc::clone(&target.origin.authority));
                let again = async {
                    let target = self.target_at(origin, &request)?;
                    self.exchange_by(&target, &request).await
                };
                let result = again.boxed_local().await;
                Sent {
                    result: result.map_err(|broken| broken.failure),
                    twice: true,
                }
            }
            ended => Sent::from(ended.map_err(|broken| broken.failure)),
        }
    }

    async fn exchange_by(&self, target: &Target, request: &Request) -> Result<Answer, Broken> {
        let outgoing = target.prepared.outgoing(&self.headers, request)?;
        let body = request.alert.body.clone();
        let slot = &self.connecting.outgoing;
        let sending = target.prepared.send(outgoing, body, slot);
        let response = sending.await.map_err(broken)?;
        read(response, self.connecting.shared.reading()).await
    }

    fn target(&self, request: &Request) -> Result<Rc<Target>, Failure> {
        if request.url != self.url {
            return self.target_elsewhere(request).map(Rc::new);
        }
        if let Some(target) = &*self.own.borrow() {
            return Ok(Rc::clone(target));
        }
        let origin = self.origin(Rc::new(authority(request)?));
        let target = Rc::new(self.target_at(origin, request)?);
        *self.own.borrow_mut() = Some(Rc::clone(&target));
        Ok(target)
    }

    /// Returns the target of a redirect. Redirects are rare, so only their connections are kept.
    fn target_elsewhere(&self, request: &Request) -> Result<Target, Failure> {
        let authority = authority(request)?;
        let own = self.own.borrow().as_ref().map(|own| own.origin.clone());
        if let Some(own) = own.filter(|own| *own.authority == authority) {
            return self.target_at(own, request);
        }
        let mut elsewhere = self.elsewhere.borrow_mut();
        let known = elsewhere
            .iter()
            .position(|origin| *origin.authority == authority);
        let origin = match known {
            Some(known) => elsewhere.remove(known),
            None => self.origin(Rc::new(authority)),
        };
        if elsewhere.len() == MAX_ORIGINS {
            elsewhere.remove(0);
        }
        elsewhere.push(origin.clone());
        self.target_at(origin, request)
    }

    fn origin(&self, authority: Rc<Authority>) -> Origin {
        let client = client_of(Rc::clone(&self.connecting), Rc::clone(&authority));
        Origin { authority, client }
    }

    fn target_at(&self, origin: Origin, request: &Request) -> Result<Target, Failure> {
        let prepared = Prepared::new(&origin.client, &self.headers, request)?;
        Ok(Target { origin, prepared })
    }
}

/// The maximum number of origins, besides the endpoint's own, whose connections are kept.
const MAX_ORIGINS: usize = 4;
