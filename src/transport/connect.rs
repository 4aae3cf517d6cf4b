//! Making a connection: resolve, connect, no delay, TLS. Every new connection of every hop of every attempt comes through here, so that whatever
//! is checked here is checked for all of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::wire::Wire;
use crate::domain::attempt::Failure;

/// A root certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("root certificate cannot be used: {0}")]
pub struct InvalidCertificate(String);

/// Whom a connection reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    host: Host<String>,
    port: u16,
    tls: bool,
}

impl Authority {
    /// Returns the authority that serves a URL.
    pub(super) fn of(url: &Url) -> Result<Self, Failure> {
        Ok(Self {
            host: url.host().ok_or(Failure::Unsendable)?.to_owned(),
            port: url.port_or_known_default().ok_or(Failure::Unsendable)?,
            tls: url.scheme() == "https",
        })
    }
}

/// Makes connections for one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub(super) tls: Arc<ClientConfig>,
    pub(super) timeout: Duration,
}

impl Connector {
    /// Connects, with TLS where the authority speaks it, within the connect timeout.
    pub(super) async fn connect(&self, authority: &Authority) -> Result<Wire, Failure> {
        let connected = tokio::time::timeout(self.timeout, self.try_connect(authority)).await;
        let connected = connected
            .unwrap_or_else(|_| Err((Failure::Connect, io::Error::from(io::ErrorKind::TimedOut))));
        connected.map_err(|(failure, error)| {
            log::debug!(failure:? = failure, error:% = error; "connection could not be made");
            failure
        })
    }

    async fn try_connect(&self, authority: &Authority) -> Result<Wire, (Failure, io::Error)> {
        let tcp = connect_tcp(authority).await?;
        let no_delay = tcp.set_nodelay(true);
        no_delay.map_err(|error| (Failure::Connect, error))?;
        if !authority.tls {
            return Ok(Wire::Plain(tcp));
        }
        let name = server_name(authority.host.clone()).map_err(|error| (Failure::Tls, error))?;
        let tls = TlsConnector::from(Arc::clone(&self.tls));
        let stream = tls.connect(name, tcp).await;
        let stream = stream.map_err(|error| (classify_tls(&error), error))?;
        Ok(Wire::Tls(Box::new(stream)))
    }
}

async fn connect_tcp(authority: &Authority) -> Result<TcpStream, (Failure, io::Error)> {
    let port = authority.port;
    let connected = match &authority.host {
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
