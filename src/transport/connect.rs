//! Making a connection: resolve, connect, no delay, TLS. The HTTP client calls this for every new connection, so that whatever is
//! checked here is checked for every hop of every attempt.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use actix_rt::net::TcpStream;
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use url::Host;

use super::wire::{Wire, WireNotes};
use crate::domain::attempt::Failure;

/// A root certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("root certificate cannot be used: {0}")]
pub struct InvalidCertificate(String);

/// Where the next connection of a lane goes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) host: Host<String>,
    pub(super) port: u16,
    pub(super) tls: bool,
}

/// Connects one lane. The target stands beside it, because the HTTP client only knows plain `http` URIs: TLS is made here.
#[derive(Clone)]
pub(super) struct LaneConnector {
    pub(super) target: Rc<RefCell<Option<Target>>>,
    pub(super) notes: Rc<WireNotes>,
    pub(super) tls: Arc<ClientConfig>,
}

impl fmt::Debug for LaneConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneConnector")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl LaneConnector {
    async fn connect(self) -> Result<Wire, (Failure, io::Error)> {
        let target = self.target.borrow().clone().ok_or_else(no_target)?;
        let tcp = connect_tcp(&target).await?;
        let no_delay = tcp.set_nodelay(true);
        no_delay.map_err(|error| (Failure::Connect, error))?;
        if !target.tls {
            return Ok(Wire::plain(tcp, self.notes));
        }
        let name = server_name(target.host).map_err(|error| (Failure::Tls, error))?;
        let stream = TlsConnector::from(self.tls).connect(name, tcp).await;
        let stream = stream.map_err(|error| (classify_tls(&error), error))?;
        Ok(Wire::tls(stream, self.notes))
    }
}

impl Service<ConnectInfo<Uri>> for LaneConnector {
    type Response = Connection<Uri, Wire>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, ConnectError>>;

    actix_service::always_ready!();

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let notes = Rc::clone(&connector.notes);
            match connector.connect().await {
                Ok(wire) => {
                    notes
                        .connections
                        .set(notes.connections.get().saturating_add(1));
                    notes.closed_by_receiver.set(false);
                    notes.answered.set(false);
                    Ok(Connection::new(info.request().clone(), wire))
                }
                Err((failure, error)) => {
                    notes.connect_failure.set(Some(failure));
                    // Never `InvalidInput`: the HTTP client panics on it.
                    Err(ConnectError::Io(error))
                }
            }
        })
    }
}

async fn connect_tcp(target: &Target) -> Result<TcpStream, (Failure, io::Error)> {
    let port = target.port;
    let connected = match &target.host {
        Host::Ipv4(address) => TcpStream::connect((*address, port)).await,
        Host::Ipv6(address) => TcpStream::connect((*address, port)).await,
        Host::Domain(name) => {
            let found = tokio::net::lookup_host((name.as_str(), port)).await;
            let addresses: Vec<_> = found.map_err(|error| (Failure::Dns, error))?.collect();
            if addresses.is_empty() {
                return Err((Failure::Dns, io::Error::from(io::ErrorKind::NotFound)));
            }
            TcpStream::connect(addresses.as_slice()).await
        }
    };
    connected.map_err(|error| (Failure::Connect, error))
}

fn server_name(host: Host<String>) -> io::Result<ServerName<'static>> {
    match host {
        Host::Ipv4(address) => Ok(ServerName::from(std::net::IpAddr::from(address))),
        Host::Ipv6(address) => Ok(ServerName::from(std::net::IpAddr::from(address))),
        Host::Domain(name) => ServerName::try_from(name).map_err(io::Error::other),
    }
}

fn no_target() -> (Failure, io::Error) {
    (
        Failure::Unsendable,
        io::Error::other("a lane connects for a request only"),
    )
}

/// Tells a certificate that will not become valid by trying again from a handshake that broke off.
fn classify_tls(error: &io::Error) -> Failure {
    let cause = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Failure::Certificate
        }
        _ => Failure::Tls,
    }
}

/// Returns the TLS settings that all connections share: the bundled Mozilla roots and `extra_roots`, HTTP/1.1 only.
pub(super) fn tls_config(extra_roots: &[Vec<u8>]) -> Result<Arc<ClientConfig>, InvalidCertificate> {
    let invalid = |error: rustls::Error| InvalidCertificate(error.to_string());
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    for root in extra_roots {
        roots
            .add(CertificateDer::from(root.clone()))
            .map_err(invalid)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = versions
        .map_err(invalid)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
