//! Finding the addresses of a host.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

use super::look_up::{DnsLookUp, LookUpThread, SystemLookUp};

/// Finds the addresses of host names, for
/// [`TransportBuilder::resolver`](super::TransportBuilder::resolver).
///
/// It is asked for every new connection; what it finds is judged by the address guard before anything is called.
///
/// Defaults to DNS as the system is configured (on Unix by `/etc/resolv.conf` and `/etc/hosts`,
/// read again when they change), without a thread for each look-up. A name is looked up once for
/// all who wait for it, and what was found is kept for as long as its owner says, 1 s at least and
/// 5 min at most; that it was not found is kept for 3 s. Look-ups that are not answered leave room
/// for others: at most 20 of one zone, the last two or three labels of a name, are under way, and
/// each ends after 5 s. All of it happens on one thread for the process, which holds up no end.
/// Where the configuration cannot be read, the operating system is asked as [`SystemResolver`]
/// does.
pub trait Resolver: Send + Sync + 'static {
    /// Returns the addresses of a host name, the preferred one first.
    fn resolve(&self, host: &str) -> Resolving;
}

/// What a [`Resolver`] returns.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Asks the operating system (`getaddrinfo`), for names that only its own modules know, such as
/// those of mDNS or LDAP in `/etc/nsswitch.conf`.
///
/// It takes a thread for every look-up, 256 at most, until the system gives up. What it finds is
/// kept for 5 s; in all else it does as the default does.
///
/// ```
/// use actix_webhooks::transport::{HttpTransport, SystemResolver};
///
/// let transport = HttpTransport::builder().resolver(SystemResolver).build()?;
/// # drop(transport);
/// # Ok::<(), actix_webhooks::transport::InvalidCertificate>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, host: &str) -> Resolving {
        static THREAD: LookUpThread<fn() -> SystemLookUp> = LookUpThread::new(|| SystemLookUp);
        THREAD.resolve(host)
    }
}

/// Asks the name servers that the system is configured with.
pub(super) struct DnsResolver;

impl Resolver for DnsResolver {
    fn resolve(&self, host: &str) -> Resolving {
        static THREAD: LookUpThread<fn() -> DnsLookUp> = LookUpThread::new(DnsLookUp::of_system);
        THREAD.resolve(host)
    }
}

impl fmt::Debug for dyn Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}
