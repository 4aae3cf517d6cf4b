//! Look-ups by the operating system.

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use super::{LookUp, LookUpFound};

/// Asks `getaddrinfo`, which takes a thread until it returns, given up or not.
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

/// The system does not say for how long its answers hold.
const TTL: Duration = Duration::from_secs(5);

/// How many threads wait for the system at most. It gives up after 10 s by default, and a zone
/// begins no more than 16 look-ups a second that are not answered: so one that is sick leaves room.
pub(super) const MAX_THREADS: usize = 256;
