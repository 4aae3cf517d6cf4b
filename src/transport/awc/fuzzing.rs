//! A channel over connections without sockets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;

use super::connecting::{Connecting, client_over};
use super::stream::Stream;
use super::{AwcChannel, AwcTransport, Origin};
use crate::domain::endpoint::settings::Endpoint;
use crate::transport::Request;
use crate::transport::line::{Broken, Line};
use crate::transport::settings::authority;
use crate::transport::wire::Wire;
use crate::transport::{Answer, Channel, Failure};

/// A channel that uses the given connections and makes no others.
pub(in crate::transport) struct ScriptedChannel(Rc<AwcChannel>);

impl ScriptedChannel {
    pub(in crate::transport) fn new(
        endpoint: &Endpoint,
        limit: usize,
        wires: Vec<Wire>,
        request: &Request,
    ) -> Self {
        let transport = AwcTransport::builder().response_body_limit(limit).build();
        let transport = transport.expect("there are no certificates");
        let channel = transport.open_channel(endpoint, "X-Codat-ClientId");
        let connect = Scripted {
            wires: Rc::new(RefCell::new(wires.into())),
            connecting: Rc::clone(&channel.connecting),
        };
        let origin = Origin {
            authority: Rc::new(authority(request).expect("it has a host")),
            client: client_over(connect, Duration::from_secs(15)),
        };
        let target = channel.target_at(origin, request).expect("it can be sent");
        *channel.own.borrow_mut() = Some(Rc::new(target));
        Self(Rc::new(channel))
    }

    /// Makes an exchange without a second try.
    pub(in crate::transport) async fn exchange(&self, request: &Request) -> Result<Answer, Broken> {
        let target = self.0.target(request)?;
        self.0.exchange_by(&target, request).await
    }

    pub(in crate::transport) fn keeps_a_connection(&self) -> bool {
        super::OpenChannel(Rc::clone(&self.0)).is_worth_keeping()
    }
}

#[derive(Clone)]
struct Scripted {
    wires: Rc<RefCell<VecDeque<Wire>>>,
    connecting: Rc<Connecting>,
}

impl Service<ConnectInfo<Uri>> for Scripted {
    type Response = Connection<Uri, Stream>;
    type Error = ConnectError;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let wire = self
            .wires
            .borrow_mut()
            .pop_front()
            .ok_or_else(|| ConnectError::Io(io::Error::other(Broken::from(Failure::Connect))));
        ready(wire.map(|wire| {
            let stream = Stream::new(Line::new(wire), Rc::clone(&self.connecting));
            Connection::new(info.request().clone(), stream)
        }))
    }
}
