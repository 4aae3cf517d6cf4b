//! Making connections for awc. This crate's connector works under awc's pool, so that the address
//! guard sees every connection.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use awc::{Client, Connector};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use super::request::OutgoingSlot;
use super::stream::Stream;
use crate::transport::connect::{Authority, Connectors};
use crate::transport::line::{Broken, Line};
use crate::transport::settings::{IdleSlot, TransportContext};

/// State shared by the connections of an endpoint.
pub(super) struct Connecting {
    pub(super) connectors: Connectors,
    /// The request being sent, for the stream.
    pub(super) outgoing: OutgoingSlot,
    pub(super) shared: Arc<TransportContext>,
    /// The number of idle connections.
    pub(super) idle_count: Rc<Cell<usize>>,
}

impl Connecting {
    /// Returns a place for one more idle connection, if there is one.
    pub(super) fn slot(&self) -> Option<IdleSlot> {
        IdleSlot::take(&self.shared, &self.idle_count)
    }
}

/// Returns a client whose connections all lead to one authority, regardless of the request's URI.
pub(super) fn client_of(connecting: Rc<Connecting>, authority: Rc<Authority>) -> Client {
    let idle_timeout = connecting.shared.idle_timeout;
    let connect = Connect {
        connecting,
        authority,
    };
    client_over(connect, idle_timeout)
}

/// Returns a client over connections made by `connect`, which awc keeps for `idle_timeout`.
pub(super) fn client_over<S>(connect: S, idle_timeout: Duration) -> Client
where
    S: Service<ConnectInfo<Uri>, Response = Connection<Uri, Stream>, Error = ConnectError>,
    S: Clone + 'static,
{
    let connector = Connector::new()
        .connector(connect)
        // Attempts in flight and connect time are bounded elsewhere.
        .limit(0)
        .timeout(NEVER)
        .conn_lifetime(NEVER)
        .conn_keep_alive(idle_timeout);
    Client::builder()
        .connector(connector)
        .disable_redirects()
        .disable_timeout()
        .no_default_headers()
        .finish()
}

#[derive(Clone)]
struct Connect {
    connecting: Rc<Connecting>,
    authority: Rc<Authority>,
}

impl Service<ConnectInfo<Uri>> for Connect {
    type Response = Connection<Uri, Stream>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let Self {
            connecting,
            authority,
        } = self.clone();
        async move {
            let wire = connecting.connectors.connect(&authority).await;
            let wire =
                wire.map_err(|failure| ConnectError::Io(io::Error::other(Broken::from(failure))))?;
            let stream = Stream::new(Line::new(wire), connecting);
            Ok(Connection::new(info.request().clone(), stream))
        }
        .boxed_local()
    }
}

/// Longer than any wait, and short enough not to overflow when added to a time.
const NEVER: Duration = Duration::from_hours(24 * 365);
