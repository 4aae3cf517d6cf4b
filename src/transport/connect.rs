//! Making a connection: resolve, check the addresses, connect, set `TCP_NODELAY`, TLS.
//!
//! Every new connection comes through here: each redirect of each attempt. The addresses that are
//! checked are the addresses that are connected to, so a name that resolves differently at the next
//! lookup (DNS rebinding) cannot bypass the guard.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::dial::dial;
use super::own_addresses::own_addresses;
use super::resolve::Resolver;
use super::tls::failure_of;
use super::wire::{ByteStream, Wire};
use crate::domain::deliveries::outcome::Failure;
use crate::domain::endpoint::address::{AddressRange, is_allowed};

/// The host, port and scheme that a connection reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(super) host: Host<String>,
    pub(super) port: u16,
    pub(super) tls: bool,
    /// `true` if a redirect from another origin led here. The endpoint's allowed addresses, extra
    /// root certificates and client identity then do not apply.
    pub(super) foreign: bool,
}

impl Authority {
    /// Returns the authority that serves a URL.
    pub(super) fn of(url: &Url) -> Result<Self, Failure> {
        Ok(Self {
            foreign: false,
            host: url.host().ok_or(Failure::Unsendable)?.to_owned(),
            port: url.port_or_known_default().ok_or(Failure::Unsendable)?,
            tls: url.scheme() == "https",
        })
    }
}

/// The addresses that may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Public addresses that are not this machine's own, plus the ranges listed here.
    Public(Vec<AddressRange>),
    /// All addresses.
    Off,
}

impl Guard {
    /// Returns the guard of an endpoint with `more` allowed ranges.
    pub(super) fn with(&self, more: &[AddressRange]) -> Self {
        match self {
            Self::Public(allowed) => Self::Public([allowed, more].concat()),
            Self::Off => Self::Off,
        }
    }

    /// Returns `true` if an address may be called by a machine whose own addresses are `own`.
    fn allows(&self, address: IpAddr, own: &[IpAddr]) -> bool {
        match self {
            Self::Public(allowed) => is_allowed(address, allowed, own),
            Self::Off => true,
        }
    }

    /// Returns `true` if a URL can be called at all.
    ///
    /// A host that is a literal address is checked before anything is resolved.
    pub(super) fn allows_host(&self, url: &Url) -> bool {
        self.allows_host_from(url, &own_addresses())
    }

    fn allows_host_from(&self, url: &Url, own: &[IpAddr]) -> bool {
        match url.host() {
            Some(Host::Ipv4(address)) => self.allows(address.into(), own),
            Some(Host::Ipv6(address)) => self.allows(address.into(), own),
            Some(Host::Domain(_)) | None => true,
        }
    }
}

/// Makes connections for one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    /// `None` when the endpoint's certificates cannot be used.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) timeout: Duration,
    pub(super) guard: Guard,
    pub(super) resolver: Arc<dyn Resolver>,
}

/// Makes the connections of a channel.
pub(crate) trait Connect: 'static {
    type Wire: ByteStream;

    /// Connects to an authority.
    fn connect(&self, authority: &Authority) -> impl Future<Output = Result<Self::Wire, Failure>>;
}

/// The connectors of an endpoint: one for its own origin, one for the targets of its redirects.
pub(super) struct Connectors {
    pub(super) own: Connector,
    pub(super) foreign: Connector,
}

impl Connect for Connectors {
    type Wire = Wire;

    async fn connect(&self, authority: &Authority) -> Result<Wire, Failure> {
        let connector = if authority.foreign {
            &self.foreign
        } else {
            &self.own
        };
        connector.connect(authority).await
    }
}

impl Connector {
    /// Connects within the connect timeout, with TLS if the authority uses it.
    pub(super) async fn connect(&self, authority: &Authority) -> Result<Wire, Failure> {
        let doing = Cell::new(Failure::Connect);
        let connected =
            tokio::time::timeout(self.timeout, self.try_connect(authority, &doing)).await;
        let connected = connected
            .unwrap_or_else(|_| Err((doing.get(), io::Error::from(io::ErrorKind::TimedOut))));
        connected.map_err(|(failure, error)| {
            let (host, port) = (&authority.host, authority.port);
            log::debug!(
                failure:? = failure, error:% = error;
                "connection to {host}:{port} failed: {failure}: {error}"
            );
            failure
        })
    }

    /// `doing` holds the failure to report on a timeout.
    async fn try_connect(
        &self,
        authority: &Authority,
        doing: &Cell<Failure>,
    ) -> Result<Wire, (Failure, io::Error)> {
        let tcp = self.connect_tcp(authority, doing).await?;
        let no_delay = tcp.set_nodelay(true);
        no_delay.map_err(|error| (Failure::Connect, error))?;
        if !authority.tls {
            return Ok(Wire::Plain(tcp));
        }
        let name = server_name(authority.host.clone()).map_err(|error| (Failure::Tls, error))?;
        let Some(config) = &self.tls else {
            let cause = "the endpoint's certificates cannot be used";
            return Err((Failure::Unsendable, io::Error::other(cause)));
        };
        let tls = TlsConnector::from(Arc::clone(config));
        let stream = tls.connect(name, tcp).await;
        let stream = stream.map_err(|error| (failure_of(&error), error))?;
        Ok(Wire::Tls(Box::new(stream)))
    }

    async fn connect_tcp(
        &self,
        authority: &Authority,
        doing: &Cell<Failure>,
    ) -> Result<TcpStream, (Failure, io::Error)> {
        let mut addresses = match &authority.host {
            Host::Ipv4(address) => vec![IpAddr::from(*address)],
            Host::Ipv6(address) => vec![IpAddr::from(*address)],
            Host::Domain(name) => {
                doing.set(Failure::Dns);
                let found = self.resolver.resolve(name).await;
                doing.set(Failure::Connect);
                found.map_err(|error| (Failure::Dns, error))?
            }
        };
        if addresses.is_empty() {
            return Err((Failure::Dns, io::Error::from(io::ErrorKind::NotFound)));
        }
        let own = own_addresses();
        addresses.retain(|address| self.guard.allows(*address, &own));
        if addresses.is_empty() {
            let cause = io::Error::from(io::ErrorKind::PermissionDenied);
            return Err((Failure::Blocked, cause));
        }
        let addresses = addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, authority.port));
        let connected = dial(addresses, async |address| TcpStream::connect(address).await).await;
        connected.map_err(|error| (Failure::Connect, error))
    }
}

fn server_name(host: Host<String>) -> io::Result<ServerName<'static>> {
    match host {
        Host::Ipv4(address) => Ok(ServerName::from(IpAddr::from(address))),
        Host::Ipv6(address) => Ok(ServerName::from(IpAddr::from(address))),
        Host::Domain(name) => ServerName::try_from(name).map_err(io::Error::other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that listens on all interfaces also answers at the public addresses.
    #[test]
    fn a_literal_of_this_very_machine_is_refused_unless_named() {
        let own = ["9.9.9.9", "2620:fe::9"].map(|ip| ip.parse().unwrap());
        let public = Guard::Public(Vec::new());
        let named = public.with(&["9.9.9.9".parse().unwrap(), "2620:fe::/48".parse().unwrap()]);
        for host in [
            "9.9.9.9",
            "0x09090909",
            "151587081",
            "[::ffff:9.9.9.9]",
            "[64:ff9b::9.9.9.9]",
            "[2620:fe::9]",
        ] {
            let url = Url::parse(&format!("https://{host}/")).unwrap();
            assert!(public.allows_host_from(&url, &[]), "{host}");
            assert!(!public.allows_host_from(&url, &own), "{host}");
            assert!(named.allows_host_from(&url, &own), "{host}");
            assert!(Guard::Off.allows_host_from(&url, &own), "{host}");
        }
    }
}
