//! Making connections for awc. This crate's connector works under awc's pool, so that the address
//! guard sees every connection.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_service::fn_service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use awc::{Client, Connector};
use futures_util::FutureExt as _;

use super::request::OutgoingSlot;
use super::stream::Stream;
use crate::transport::connect::{Authority, Connect};
use crate::transport::line::{Broken, Line};
use crate::transport::settings::{IdleSlot, TransportContext};

/// State shared by the connections of an endpoint.
pub(super) struct Connecting<C> {
    pub(super) connectors: C,
    /// The request being sent, for the stream.
    pub(super) outgoing: OutgoingSlot,
    pub(super) shared: Arc<TransportContext>,
    /// The number of idle connections.
    pub(super) idle_count: Rc<Cell<usize>>,
}

impl<C> Connecting<C> {
    /// Returns a place for one more idle connection, if there is one.
    pub(super) fn slot(&self) -> Option<IdleSlot> {
        IdleSlot::take(&self.shared, &self.idle_count)
    }
}

/// Returns a client whose connections all lead to one authority, regardless of the request's URI.
pub(super) fn client_of<C: Connect>(
    connecting: Rc<Connecting<C>>,
    authority: Rc<Authority>,
) -> Client {
    let idle_timeout = connecting.shared.idle_timeout;
    let connect = fn_service(move |info: ConnectInfo<Uri>| {
        let (connecting, authority) = (Rc::clone(&connecting), Rc::clone(&authority));
        async move {
            let wire = connecting.connectors.connect(&authority).await;
            let wire =
                wire.map_err(|failure| ConnectError::Io(io::Error::other(Broken::from(failure))))?;
            let stream = Stream::new(Line::new(wire), connecting);
            Ok(Connection::new(info.request().clone(), stream))
        }
        .boxed_local()
    });
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

/// Longer than any wait, and short enough not to overflow when added to a time.
const NEVER: Duration = Duration::from_hours(24 * 365);
