//! Resolving host names to addresses.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

use super::look_up::{DnsLookUp, LookUpThread, SystemLookUp};

/// Resolves host names to addresses, for
/// [`TransportBuilder::resolver`](super::TransportBuilder::resolver).
///
/// It is called for every new connection. The address guard checks the result before anything is
/// connected.
///
/// The default is DNS as the system configures it (on Unix `/etc/resolv.conf` and `/etc/hosts`,
/// read again when they change), without a thread per lookup:
///
/// - Lookups of one name are single-flight: all callers share one query.
/// - An answer is cached for its TTL, at least 1 s and at most 5 min. A name that was not found is
///   cached for 3 s.
/// - A lookup ends after 5 s. At most 20 lookups of one zone (the last two or three labels of a
///   name) run at once, so that lookups without an answer leave room for others.
/// - One thread per process does all of it. That thread never delays a shutdown.
///
/// If the configuration cannot be read, the operating system is asked, as [`SystemResolver`] does.
pub trait Resolver: Send + Sync + 'static {
    /// Returns the addresses of a host name, most preferred first.
    fn resolve(&self, host: &str) -> Resolving;
}

/// The future returned by a [`Resolver`].
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Asks the operating system (`getaddrinfo`).
///
/// Use it for names that only the system's own modules know, such as those of mDNS or LDAP in
/// `/etc/nsswitch.conf`.
///
/// Each lookup takes a thread until the system gives up, at most 256 threads. Results are cached
/// for 5 s. Otherwise it behaves as the default resolver does.
///
/// ```
/// use actix_webhooks::transport::{HttpTransport, SystemResolver};
///
/// let transport = HttpTransport::builder().resolver(SystemResolver).build()?;
/// # drop(transport);
/// # Ok::<(), actix_webhooks::transport::InvalidCertificate>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it has no content")]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, host: &str) -> Resolving {
        static THREAD: LookUpThread<fn() -> SystemLookUp> = LookUpThread::new(|| SystemLookUp);
        THREAD.resolve(host)
    }
}

/// Asks the name servers in the system's configuration.
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
