//! Finding the addresses of a host.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

/// Finds the addresses of host names. The one of the operating system is used unless another is given to
/// [`TransportBuilder::resolver`](super::TransportBuilder::resolver).
///
/// It is asked for every new connection; what it finds is judged by the address guard before anything is called.
pub trait Resolver: Send + Sync + 'static {
    /// Returns the addresses of a host name, the preferred one first.
    fn resolve(&self, host: &str) -> Resolving;
}

/// What a [`Resolver`] returns.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Asks the operating system.
pub(super) struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, host: &str) -> Resolving {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

impl fmt::Debug for dyn Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}
