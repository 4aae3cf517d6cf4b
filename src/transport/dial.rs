//! Connecting to the address of a host that answers first (Happy Eyeballs, RFC 8305).
//!
//! One dead address must not use up the time of the others, and many slow addresses must not get
//! too little time each. So the next address is tried while the earlier attempts go on. No attempt
//! is given up until one has connected or the caller's time is over.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

/// Returns the first connection made to one of the addresses, tried in order of preference.
///
/// The next address is tried [`ATTEMPT_DELAY`] after the previous one, or as soon as one fails.
///
/// # Errors
/// The last error, once every address has failed.
///
/// # Cancel safety
/// Dropping the future gives up every attempt. It has no timeout of its own; the caller sets one.
pub(super) async fn dial<T>(
    addresses: impl IntoIterator<Item = SocketAddr>,
    connect: impl AsyncFn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let addresses = some(alternate(addresses.into_iter().collect()));
    let mut waiting = addresses.into_iter().peekable();
    let mut under_way = FuturesUnordered::new();
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    loop {
        if let Some(address) = waiting.next() {
            under_way.push(connect(address));
        }
        let ended = if waiting.peek().is_some() {
            match tokio::time::timeout(ATTEMPT_DELAY, under_way.next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        } else {
            under_way.next().await
        };
        match ended {
            Some(Ok(connected)) => return Ok(connected),
            Some(Err(error)) => failed = error,
            None => return Err(failed),
        }
    }
}

/// Returns at most [`MAX_ADDRESSES`] addresses: the first half by preference, the other half drawn
/// at random from the rest, so that every address gets its turn over several attempts.
fn some(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if let Some((_, rest)) = addresses.split_at_mut_checked(MAX_ADDRESSES / 2)
        && rest.len() > MAX_ADDRESSES / 2
    {
        fastrand::shuffle(rest);
        addresses.truncate(MAX_ADDRESSES);
    }
    addresses
}

/// Interleaves the address families, starting with the family of the first address (RFC 8305 §4).
///
/// If one family is unreachable, the second attempt already uses the other.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of_first = |address: &SocketAddr| address.is_ipv6() == first_is_v6;
    let (preferred, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(of_first);
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    let mut ordered = Vec::new();
    loop {
        let before = ordered.len();
        ordered.extend(preferred.next());
        ordered.extend(others.next());
        if ordered.len() == before {
            return ordered;
        }
    }
}

/// The delay between the starts of two attempts (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The maximum number of addresses tried per host. It bounds the sockets that one attempt may open,
/// however many addresses the owner of the name publishes.
pub(super) const MAX_ADDRESSES: usize = 8;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::{Instant, timeout};

    use super::*;

    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

    fn addresses(hosts: &[&str]) -> Vec<SocketAddr> {
        let address = |host: &&str| SocketAddr::new(host.parse().unwrap(), 443);
        hosts.iter().map(address).collect()
    }

    fn numbered(count: u8) -> Vec<SocketAddr> {
        (1..=count)
            .map(|number| SocketAddr::from(([192, 0, 2, number], 443)))
            .collect()
    }

    /// The result of dialling and its time, and the addresses tried with their times, in ms.
    struct Dialled {
        result: Option<io::Result<SocketAddr>>,
        after_ms: u128,
        tried: Vec<(SocketAddr, u128)>,
    }

    /// Dials in simulated time. `answer` gives an address's delay in ms and its result; with `None`
    /// it never answers.
    #[expect(clippy::disallowed_methods, reason = "the simulated clock")]
    fn dialled(
        addresses: Vec<SocketAddr>,
        answer: impl Fn(SocketAddr) -> Option<(u64, io::Result<()>)>,
    ) -> Dialled {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(async {
            let (start, tried) = (Instant::now(), RefCell::new(Vec::new()));
            let connect = async |address| {
                tried
                    .borrow_mut()
                    .push((address, start.elapsed().as_millis()));
                let Some((ms, result)) = answer(address) else {
                    return std::future::pending().await;
                };
                tokio::time::sleep(Duration::from_millis(ms)).await;
                result.map(|()| address)
            };
            let result = timeout(CONNECT_TIMEOUT, dial(addresses, connect))
                .await
                .ok();
            let after_ms = start.elapsed().as_millis();
            Dialled {
                result,
                after_ms,
                tried: tried.into_inner(),
            }
        })
    }

    fn refused() -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::ConnectionRefused))
    }

    /// An equal share of 5 s / 16 would be too short for every address.
    #[test]
    fn of_sixteen_addresses_400_ms_away_the_first_connects_after_400_ms() {
        let all = numbered(16);
        let dialled = dialled(all.clone(), |_| Some((400, Ok(()))));
        assert_eq!(dialled.result.unwrap().unwrap(), all[0]);
        assert_eq!(dialled.after_ms, 400);
        assert_eq!(dialled.tried, [(all[0], 0), (all[1], 250)]);
    }

    #[test]
    fn a_dead_address_costs_the_next_one_250_ms() {
        let all = numbered(2);
        let dialled = dialled(all.clone(), |to| (to == all[1]).then_some((10, Ok(()))));
        assert_eq!(dialled.result.unwrap().unwrap(), all[1]);
        assert_eq!(dialled.after_ms, 260);
    }

    #[test]
    fn an_address_that_refuses_costs_the_next_one_nothing() {
        let all = numbered(2);
        let dialled = dialled(all.clone(), |to| {
            Some((1, if to == all[0] { refused() } else { Ok(()) }))
        });
        assert_eq!(dialled.result.unwrap().unwrap(), all[1]);
        assert_eq!(dialled.after_ms, 2);
    }

    #[test]
    fn when_all_refuse_it_ends_at_once_with_the_last_error() {
        let all = numbered(8);
        let last = all[7];
        let dialled = dialled(all, |to| {
            let unreachable = Err(io::Error::from(io::ErrorKind::HostUnreachable));
            Some((0, if to == last { unreachable } else { refused() }))
        });
        let error = dialled.result.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::HostUnreachable);
        assert!(dialled.after_ms < 20, "a timer's grain each at most");
        assert_eq!(dialled.tried.len(), 8);
    }

    #[test]
    fn none_is_given_up_while_there_is_time() {
        let all = numbered(8);
        let dialled = dialled(all.clone(), |to| (to == all[0]).then_some((4_000, Ok(()))));
        assert_eq!(dialled.result.unwrap().unwrap(), all[0]);
        assert_eq!(dialled.after_ms, 4_000);
        assert_eq!(dialled.tried.len(), 8, "the last began after 1.75 s");
    }

    #[test]
    fn when_none_answers_the_time_of_the_caller_ends_it() {
        let dialled = dialled(numbered(16), |_| None);
        assert!(dialled.result.is_none());
        assert_eq!(dialled.after_ms, CONNECT_TIMEOUT.as_millis());
    }

    /// A name with 4,000 addresses used to open a connection to each of them until the attempt's
    /// time was over.
    #[test]
    fn no_more_than_eight_are_tried_however_many_there_are() {
        let all: Vec<_> = (0..4_000_u16)
            .map(|number| {
                let [high, low] = number.to_be_bytes();
                SocketAddr::from(([192, 0, high, low], 443))
            })
            .collect();
        let mut others = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let dialled = dialled(all.clone(), |_| Some((0, refused())));
            assert!(dialled.result.unwrap().is_err());
            let tried: Vec<_> = dialled.tried.iter().map(|(address, _)| *address).collect();
            assert_eq!(tried.len(), 8);
            assert_eq!(tried[..4], all[..4], "those that are preferred");
            others.extend(tried[4..].iter().copied());
        }
        assert!(others.len() > 8, "others have their turn: {others:?}");
    }

    #[test]
    fn of_no_addresses_none_is_found() {
        let dialled = dialled(Vec::new(), |_| None);
        let error = dialled.result.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_families_take_turns_and_that_of_the_first_begins() {
        let cases: [(&[&str], &[&str]); 4] = [
            (
                &["2600::1", "2600::2", "1.0.0.1", "1.0.0.2"],
                &["2600::1", "1.0.0.1", "2600::2", "1.0.0.2"],
            ),
            (
                &["1.0.0.1", "1.0.0.2", "1.0.0.3", "2600::1"],
                &["1.0.0.1", "2600::1", "1.0.0.2", "1.0.0.3"],
            ),
            (&["1.0.0.2", "1.0.0.1"], &["1.0.0.2", "1.0.0.1"]),
            (&[], &[]),
        ];
        for (found, ordered) in cases {
            assert_eq!(alternate(addresses(found)), addresses(ordered));
        }
    }
}
