//! Lookups by the operating system.

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use super::{LookUp, LookUpFound};

/// Calls `getaddrinfo`, which occupies a thread until it returns, even if the lookup was cancelled.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport) struct SystemLookUp;

impl LookUp for SystemLookUp {
    fn look_up(&self, name: &str) -> LocalBoxFuture<'static, io::Result<LookUpFound>> {
        let name = name.to_owned();
        async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(LookUpFound {
                addresses: found.map(|address| address.ip()).collect(),
                ttl: TTL,
            })
        }
        .boxed_local()
    }
}

/// How long answers are kept, because the system does not report a TTL.
const TTL: Duration = Duration::from_secs(5);

/// The maximum number of threads that wait for the system. It gives up after 10 s by default, and a
/// zone starts at most 16 unanswered lookups per second, so a zone that does not answer leaves
/// threads for others.
pub(super) const MAX_THREADS: usize = 256;
