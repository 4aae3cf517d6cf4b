use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::*;

/// A name server on loopback. It knows every name below `healthy.test` and does not answer for
/// names below `sick.test`.
struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: socket.local_addr().unwrap(),
            asked: Arc::default(),
        };
        let asked = Arc::clone(&server.asked);
        actix_rt::spawn(async move {
            let mut query = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut query).await.unwrap();
                let (name, answer) = answer(&query[..length]);
                asked.lock().push(name.clone());
                if !name.ends_with("sick.test") {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        server
    }

    /// Returns lookups at this server, on a thread of their own.
    fn look_ups(&self) -> LookUpThread<impl Fn() -> DnsLookUp + Clone + Send + 'static + use<>> {
        let mut connection = ConnectionConfig::udp();
        connection.port = self.address.port();
        let server = NameServerConfig::new(self.address.ip(), true, vec![connection]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        LookUpThread::new(move || DnsLookUp::by(config.clone()))
    }

    /// Returns the number of queries for a name, with both address families counted.
    fn times(&self, name: &str) -> usize {
        let asked = self.asked.lock();
        asked.iter().filter(|asked| *asked == name).count()
    }
}

/// Returns the name in a query (RFC 1035 §4), and an answer with one IPv4 address. Queries for
/// IPv6, and for names that begin with `unknown`, get an empty answer.
fn answer(query: &[u8]) -> (String, Vec<u8>) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(std::str::from_utf8(&query[at + 1..end]).unwrap());
        at = end;
    }
    let name = labels.join(".");
    let is_a = query[at + 2] == 1;
    let unknown = name.starts_with("unknown");
    let count = u8::from(is_a && !unknown);
    let mut answer = query[..2].to_vec();
    let code = if unknown { 0x83 } else { 0x80 };
    answer.extend([0x81, code, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(&query[12..at + 5]);
    if count > 0 {
        // The name of the question (compressed), A, IN, 60 s, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 9, 9, 9, 9]);
    }
    (name, answer)
}

fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(async {
        let ended = timeout(Duration::from_secs(20), test).await;
        ended.expect("what the test waits for happens");
    });
}

fn nines() -> Vec<IpAddr> {
    vec![IpAddr::from([9, 9, 9, 9])]
}

#[test]
fn a_name_is_found_once_for_all_who_ask_and_for_as_long_as_it_holds() {
    run(async {
        let server = NameServer::start().await;
        let look_ups = server.look_ups();
        let all = join_all((0..50).map(|_| look_ups.resolve("a.healthy.test"))).await;
        assert!(all.iter().all(|found| *found.as_ref().unwrap() == nines()));
        let again = look_ups.resolve("a.healthy.test").await;
        assert_eq!(again.unwrap(), nines());
        assert_eq!(server.times("a.healthy.test"), 2, "one for each family");
    });
}

#[test]
fn a_name_that_is_not_there_is_not_found() {
    run(async {
        let server = NameServer::start().await;
        let look_ups = server.look_ups();
        for _ in 0..2 {
            let answer = look_ups.resolve("unknown.healthy.test").await;
            assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        assert_eq!(server.times("unknown.healthy.test"), 2, "it is remembered");
    });
}

/// Each of 800 endpoints in a zone that does not answer used to hold a thread of the blocking pool.
#[test]
fn eight_hundred_look_ups_in_a_sick_zone_hold_up_no_other() {
    run(async {
        let server = NameServer::start().await;
        let look_ups = server.look_ups();
        let names = (0..800).map(|number| format!("{number}.sick.test"));
        let mut sick: FuturesUnordered<_> = names.map(|name| look_ups.resolve(&name)).collect();
        let mut ended = 0;
        for number in 0..20 {
            let healthy = look_ups.resolve(&format!("{number}.healthy.test"));
            tokio::pin!(healthy);
            let found = std::future::poll_fn(|cx| {
                while let Poll::Ready(Some(answer)) = sick.poll_next_unpin(cx) {
                    assert!(answer.is_err());
                    ended += 1;
                }
                healthy.as_mut().poll(cx)
            });
            assert_eq!(found.await.unwrap(), nines());
        }
        // The sick lookups take turns for 50 s in all, so most are still queued, however slow the
        // machine is.
        assert!(ended < 400, "{ended} of the sick came before the healthy");
        let mut asked = server.asked.lock().clone();
        asked.retain(|name| name.ends_with("sick.test"));
        asked.sort();
        asked.dedup();
        assert!(asked.len() <= 16 + ended, "{} are under way", asked.len());
    });
}

/// The thread outlives the arbiter of the first caller.
#[test]
fn who_asks_next_does_not_need_who_asked_first() {
    run(async {
        let server = NameServer::start().await;
        let look_ups = Arc::new(server.look_ups());
        for number in 0..2 {
            let look_ups = Arc::clone(&look_ups);
            let arbiter = actix_rt::Arbiter::new();
            let (done, found) = oneshot::channel();
            arbiter.spawn(async move {
                let found = look_ups.resolve(&format!("{number}.healthy.test")).await;
                let _ = done.send(found);
            });
            assert_eq!(found.await.unwrap().unwrap(), nines());
            arbiter.stop();
            actix_rt::task::spawn_blocking(|| arbiter.join())
                .await
                .unwrap()
                .unwrap();
        }
    });
}

/// A runtime waits for its blocking threads when it ends, and a lookup by the system is one of
/// them.
#[test]
fn no_end_waits_for_look_ups_that_hang() {
    let (look_ups, waiting) = actix_rt::System::new().block_on(async {
        let server = NameServer::start().await;
        let look_ups = server.look_ups();
        let names = (0..100).map(|number| format!("{number}.sick.test"));
        let mut waiting: FuturesUnordered<_> = names.map(|name| look_ups.resolve(&name)).collect();
        let none_yet = timeout(Duration::from_millis(100), waiting.next()).await;
        assert!(none_yet.is_err());
        (look_ups, waiting)
    });
    // The system has ended while most lookups are running or queued.
    let mut waiting = waiting;
    let cx = &mut Context::from_waker(Waker::noop());
    while waiting.poll_next_unpin(cx).is_ready() {}
    assert!(!waiting.is_empty());
    drop(look_ups);
}

#[test]
fn a_look_up_that_panics_takes_no_other_along() {
    #[derive(Clone)]
    struct Panics;
    impl LookUp for Panics {
        fn look_up(&self, name: &str) -> LocalBoxFuture<'static, io::Result<LookUpFound>> {
            assert!(name != "panic.test", "a look-up that panics, on purpose");
            let found = LookUpFound {
                addresses: nines(),
                ttl: Duration::ZERO,
            };
            Box::pin(std::future::ready(Ok(found)))
        }
    }
    run(async {
        let look_ups = LookUpThread::new(|| Panics);
        assert!(look_ups.resolve("panic.test").await.is_err());
        assert_eq!(look_ups.resolve("a.test").await.unwrap(), nines());
    });
}

#[test]
fn the_system_knows_this_machine() {
    run(async {
        let system = LookUpThread::new(|| SystemLookUp);
        let dns = LookUpThread::new(DnsLookUp::of_system);
        let unconfigured = LookUpThread::new(DnsLookUp::unconfigured);
        for found in [
            system.resolve("localhost"),
            dns.resolve("localhost"),
            unconfigured.resolve("localhost"),
        ] {
            let found = found.await.unwrap();
            assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
        }
    });
}
