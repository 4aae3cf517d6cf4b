//! The addresses of this machine.
//!
//! Many services listen on all interfaces, so a service meant for the local network also answers at
//! a public address. A user who chooses a webhook URL must not reach it through this library.
//! Addresses that a NAT in front of the machine forwards to it are on none of its interfaces and
//! are not known here.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
/// Returns the addresses of this machine's interfaces, at most [`MAX_AGE`] old.
pub(super) fn own_addresses() -> Arc<[IpAddr]> {
    #[expect(
        clippy::disallowed_methods,
        reason = "says only when the system is asked again; no rule depends on it"
    )]
    let now = Instant::now();
    let mut listing = LISTING.lock();
    listing.at(now, list_interfaces)
}

/// One per process, because there is one machine.
static LISTING: Mutex<Listing> = Mutex::new(Listing::new());

/// The last answer of the system.
struct Listing {
    addresses: Option<Arc<[IpAddr]>>,
    asked_at: Option<Instant>,
    failing: bool,
}

impl Listing {
    const fn new() -> Self {
        Self {
            addresses: None,
            asked_at: None,
            failing: false,
        }
    }

    /// Returns the addresses, asking the system if the last answer is too old.
    ///
    /// If the system fails, its last answer stays valid. Without any answer the list is empty, and
    /// only the special-purpose ranges are refused.
    fn at(
        &mut self,
        now: Instant,
        list: impl FnOnce() -> io::Result<Vec<IpAddr>>,
    ) -> Arc<[IpAddr]> {
        let fresh = |asked_at| now.saturating_duration_since(asked_at) < MAX_AGE;
        if !self.asked_at.is_some_and(fresh) {
            self.asked_at = Some(now);
            self.take_up(list());
        }
        self.addresses.clone().unwrap_or_default()
    }

    fn take_up(&mut self, listed: io::Result<Vec<IpAddr>>) {
        match listed {
            Ok(addresses) => {
                self.failing = false;
                self.addresses = Some(addresses.into());
            }
            Err(error) if !self.failing => {
                self.failing = true;
                log::warn!(error:% = error; "this machine's own addresses could not be listed: {error}");
            }
            Err(_) => {}
        }
    }
}

fn list_interfaces() -> io::Result<Vec<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs()?;
    Ok(interfaces.iter().map(if_addrs::Interface::ip).collect())
}

/// How long an answer is valid. Interfaces come and go with containers and tunnels, but it takes a
/// while until a service listens at a new address, and until the address is known.
const MAX_AGE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_system_says_where_this_machine_is() {
        let own = own_addresses();
        assert!(own.contains(&ip("127.0.0.1")), "{own:?}");
    }

    #[test]
    fn the_system_is_asked_again_when_its_answer_is_old() {
        let (mut listing, start) = (Listing::new(), start());
        let old = listing.at(start, || Ok(vec![ip("8.8.8.8")]));
        let almost = start + MAX_AGE.saturating_sub(Duration::from_millis(1));
        let same = listing.at(almost, || panic!("it is not asked yet"));
        assert_eq!(old, same);
        let new = listing.at(start + MAX_AGE, || Ok(vec![ip("1.1.1.1")]));
        assert_eq!(*new, [ip("1.1.1.1")]);
    }

    #[test]
    fn while_the_system_does_not_say_what_it_said_last_counts() {
        let (mut listing, start) = (Listing::new(), start());
        let fails = || Err(io::Error::from(io::ErrorKind::OutOfMemory));
        assert!(listing.at(start, fails).is_empty());
        assert!(listing.failing);
        assert_eq!(
            listing
                .at(start + MAX_AGE, || Ok(vec![ip("8.8.8.8")]))
                .len(),
            1
        );
        assert!(!listing.failing, "the next failure is told again");
        assert_eq!(listing.at(start + 2 * MAX_AGE, fails).len(), 1);
    }
}
