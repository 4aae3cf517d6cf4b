//! DNS lookups with the system's configuration.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use hickory_resolver::TokioResolver;
#[cfg(test)]
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::Instant;

use super::system::SystemLookUp;
use super::{LookUp, LookUpFound};
use crate::transport::own_addresses::own_addresses;

/// Looks names up in `/etc/hosts`, then at the name servers of `/etc/resolv.conf`, without a thread
/// per lookup.
pub(in crate::transport) struct DnsLookUp {
    asking: RefCell<Asking>,
}

/// The current resolver, and the files it was configured from.
struct Asking {
    /// `None` if the configuration could not be read; the system is then asked.
    resolver: Option<TokioResolver>,
    /// `None` if the configuration is fixed instead of read from the system.
    files: Option<Files>,
}

/// The configuration files and their stamps when they were last read.
struct Files {
    paths: [PathBuf; 2],
    stamps: [Stamp; 2],
    looked_at: Instant,
}

/// Modification time and length, which change when a file is written or replaced. `None` if there
/// is no file.
type Stamp = Option<(SystemTime, u64)>;

impl DnsLookUp {
    /// Returns lookups with the system's configuration, which is read again when it changes.
    pub(in crate::transport) fn of_system() -> Self {
        let asking = Asking {
            // The stamps are taken before the files are read, so that no change in between is
            // missed.
            files: Some(Files::at(
                ["/etc/resolv.conf", "/etc/hosts"].map(PathBuf::from),
            )),
            resolver: of_system().inspect_err(warn_unreadable).ok(),
        };
        Self {
            asking: RefCell::new(asking),
        }
    }

    /// Returns lookups for a system without a readable configuration.
    #[cfg(test)]
    pub(super) fn unconfigured() -> Self {
        let asking = Asking {
            resolver: None,
            files: None,
        };
        Self {
            asking: RefCell::new(asking),
        }
    }

    /// Returns lookups at the given name servers.
    #[cfg(test)]
    pub(super) fn by(config: ResolverConfig) -> Self {
        let mut options = ResolverOpts::default();
        options.use_hosts_file = ResolveHosts::Never;
        let asking = Asking {
            resolver: Some(resolver(config, options).unwrap()),
            files: None,
        };
        Self {
            asking: RefCell::new(asking),
        }
    }

    /// Returns the resolver, after checking the system's configuration for changes.
    fn resolver(&self) -> Option<TokioResolver> {
        let mut asking = self.asking.borrow_mut();
        if asking.files.as_mut().is_some_and(Files::have_changed) {
            match of_system() {
                Ok(resolver) => asking.resolver = Some(resolver),
                // The file is probably being written. The previous configuration stays in use.
                Err(error) => warn_unreadable(&error),
            }
        }
        asking.resolver.clone()
    }
}

impl LookUp for DnsLookUp {
    fn look_up(&self, name: &str) -> LocalBoxFuture<'static, io::Result<LookUpFound>> {
        let Some(resolver) = self.resolver() else {
            return SystemLookUp.look_up(name);
        };
        let name = name.to_owned();
        async move {
            match resolver.lookup_ip(name).await {
                Ok(answer) => found(&answer),
                Err(error) => Err(failed(error)),
            }
        }
        .boxed_local()
    }
}

impl Files {
    fn at(paths: [PathBuf; 2]) -> Self {
        Self {
            stamps: stamps(&paths),
            paths,
            looked_at: now(),
        }
    }

    fn have_changed(&mut self) -> bool {
        let now = now();
        if now.saturating_duration_since(self.looked_at) < LOOK_AGAIN {
            return false;
        }
        self.looked_at = now;
        let stamps = stamps(&self.paths);
        let changed = stamps != self.stamps;
        self.stamps = stamps;
        changed
    }
}

fn stamps(paths: &[PathBuf; 2]) -> [Stamp; 2] {
    paths.each_ref().map(|path| {
        let file = fs::metadata(path).ok()?;
        Some((file.modified().ok()?, file.len()))
    })
}

fn of_system() -> Result<TokioResolver, NetError> {
    let (config, options) = read_system_conf()?;
    resolver(config, options)
}

fn resolver(config: ResolverConfig, mut options: ResolverOpts) -> Result<TokioResolver, NetError> {
    options.timeout = options.timeout.min(QUERY_TIMEOUT);
    options.attempts = options.attempts.min(MAX_REPEATS);
    options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    // Answers are cached once, by this crate's own cache.
    options.cache_size = 0;
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
}

fn found(answer: &LookupIp) -> io::Result<LookUpFound> {
    let mut addresses: Vec<IpAddr> = answer.iter().collect();
    if addresses.is_empty() {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    // IPv6 comes first if this machine has a global IPv6 address. Otherwise the first connection
    // attempt would be wasted.
    if !own_addresses().iter().any(is_global_v6) {
        addresses.sort_by_key(IpAddr::is_ipv6);
    }
    let records = answer.as_lookup().answers();
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
    Ok(LookUpFound {
        addresses,
        ttl: Duration::from_secs(ttl.into()),
    })
}

fn is_global_v6(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.segments().first().is_some_and(|first| first >> 13 == 1))
}

fn failed(error: NetError) -> io::Error {
    let kind = if error.is_no_records_found() {
        io::ErrorKind::NotFound
    } else if matches!(error, NetError::Timeout) {
        io::ErrorKind::TimedOut
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, error)
}

fn warn_unreadable(error: &NetError) {
    log::warn!(error:% = error; "DNS configuration could not be read: {error}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "says only when files are looked at again; no rule depends on it"
)]
fn now() -> Instant {
    Instant::now()
}

/// The minimum time between two checks of the configuration files.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The timeout of one name server. The query is sent three times within it. The system's default of
/// 5 s would leave no time for a second attempt or for connecting.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// The number of further rounds of queries after no name server has answered.
const MAX_REPEATS: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "the simulated clock")]
    async fn pass(time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(test);
    }

    #[test]
    fn a_change_of_a_file_is_noticed_when_it_is_looked_at_again() {
        run(async {
            let folder = tempfile::tempdir().unwrap();
            let paths = ["resolv.conf", "hosts"].map(|name| folder.path().join(name));
            let mut files = Files::at(paths.clone());
            for (path, content) in [(&paths[0], "a"), (&paths[1], "a"), (&paths[0], "ab")] {
                pass(LOOK_AGAIN).await;
                assert!(!files.have_changed(), "nothing was written");
                fs::write(path, content).unwrap();
                assert!(!files.have_changed(), "it was looked at just now");
                pass(LOOK_AGAIN).await;
                assert!(files.have_changed());
            }
            fs::remove_file(&paths[1]).unwrap();
            pass(LOOK_AGAIN).await;
            assert!(files.have_changed());
        });
    }

    #[test]
    fn only_what_leads_to_the_internet_counts_as_ipv6() {
        for (address, global) in [
            ("2620:fe::9", true),
            ("3fff::1", true),
            ("fd00::1", false),
            ("fe80::1", false),
            ("::1", false),
            ("9.9.9.9", false),
        ] {
            assert_eq!(is_global_v6(&address.parse().unwrap()), global, "{address}");
        }
    }
}
