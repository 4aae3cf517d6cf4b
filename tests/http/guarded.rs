//! The address guard: addresses are judged between resolving and connecting, for every connection
//! of every hop.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_webhooks::transport::{Resolver, Resolving};
use actix_webhooks::{
    AddressRange, BuildError, Endpoint, EndpointError, Engine, Failure, InvalidEndpoint,
    InvalidSetting, ListRules, Outcome, PutEndpoint, PutRule, Rule, RuleError,
};

use super::super::Tested;
use super::support::{
    Bed, Connection, Receiver, SHORT, builder, endpoint, event, permanent, run, transient,
    transport,
};

/// A resolver that gives the prepared answers one after another, and then repeats the last one.
#[derive(Clone)]
struct Names {
    answers: Arc<Mutex<VecDeque<Vec<IpAddr>>>>,
}

impl Names {
    fn new(answers: &[&[&str]]) -> Self {
        let parse = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().unwrap()).collect();
        Self {
            answers: Arc::new(Mutex::new(answers.iter().map(parse).collect())),
        }
    }
}

impl Resolver for Names {
    fn resolve(&self, host: &str) -> Resolving {
        assert_eq!(host, "receiver.test");
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().cloned()
        };
        let answer = answer.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        Box::pin(std::future::ready(answer))
    }
}

async fn answering() -> Receiver {
    Receiver::start(async |mut connection: Connection| connection.answer_all(200).await).await
}

fn by_name(receiver: &Receiver) -> String {
    format!("http://receiver.test:{}/", receiver.address.port())
}

/// A loopback address that only the endpoint of a test may call.
const OTHER_LOOPBACK: &str = "127.0.0.2";

#[test]
fn a_literal_of_every_form_that_leads_here_is_refused_when_it_is_given() {
    run(async {
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "0177.0.0.1",
            "127.1",
            "127.0.0.1.",
            "0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::7f00:1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::a00:1]",
            "[64:ff9b:1::808:808]",
            "[2002:7f00:1::]",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "10.0.0.1",
            "[fe80::1]",
            "[4000::1]",
            "[100:0:0:1::1]",
            "[2001:1::1]",
            "168.63.129.16",
            "0xa83f8110",
            "0xa8.0x3f.0x81.0x10",
            "2822734096",
            "025017700420",
            "[::ffff:168.63.129.16]",
            "[::ffff:a83f:8110]",
            "[64:ff9b::a83f:8110]",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
        ] {
            let url = format!("http://{host}:9/");
            let endpoint = Endpoint::new(&url).unwrap_or_else(|error| panic!("{url}: {error}"));
            let given = Engine::builder().endpoint(endpoint.clone()).start().await;
            let error = given.expect_err(host);
            let refused = matches!(
                error,
                BuildError::Endpoint {
                    error: InvalidEndpoint::ForbiddenAddress,
                    ..
                }
            );
            assert!(refused, "{host}: {error}");

            let by_rule = Engine::builder().rule(Rule::new("r", "*").webhook(&url).unwrap());
            assert!(
                matches!(by_rule.start().await, Err(BuildError::Endpoint { .. })),
                "{host}"
            );

            let engine = Engine::builder().arbiters(0).start().await.unwrap();
            let rule = Rule::new("r", "*").webhook(&url).unwrap();
            let put = engine.router().send(PutRule::new(rule)).await.unwrap();
            let refused = matches!(
                put,
                Err(RuleError::Endpoint {
                    error: InvalidEndpoint::ForbiddenAddress,
                    ..
                })
            );
            assert!(refused, "{host}: {put:?}");
            let rules = engine.router().send(ListRules).await.unwrap();
            assert!(rules.is_empty(), "nothing was changed");
            let put = engine
                .supervisor()
                .send(PutEndpoint::new(endpoint))
                .await
                .unwrap();
            let refused = matches!(
                put,
                Err(EndpointError::Invalid(InvalidEndpoint::ForbiddenAddress))
            );
            assert!(refused, "{host}: {put:?}");
            engine.shutdown(Duration::ZERO).await;
        }
    });
}

#[test]
fn a_name_that_leads_elsewhere_at_the_next_look_up_is_blocked_then() {
    run(async {
        let receiver = answering().await;
        // The first lookup finds an allowed address, the second one that is not allowed.
        let names = Names::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
        let transport = Tested::builder()
            .resolver(names)
            .allow_addresses(["127.0.0.1/32".parse().unwrap()])
            .max_idle_connections(0);
        let builder = Engine::builder().transport(transport.build().unwrap());
        let mut bed = Bed::with(builder, endpoint(&by_name(&receiver))).await;
        assert_eq!(bed.deliver("first").await.outcome, Outcome::Delivered);
        let report = bed.deliver("second").await;
        assert_eq!(report.outcome, permanent(Failure::Blocked));
        assert_eq!(receiver.requests().len(), 1);
        bed.end().await;
    });
}

/// A zone whose name servers do not answer is distinguished from a receiver that does not answer.
#[test]
fn a_look_up_that_takes_too_long_has_failed_as_one() {
    struct Silent;
    impl Resolver for Silent {
        fn resolve(&self, _: &str) -> Resolving {
            Box::pin(std::future::pending())
        }
    }
    run(async {
        let transport = Tested::builder().resolver(Silent);
        let builder = Engine::builder().transport(transport.build().unwrap());
        let silent = endpoint("http://receiver.test/").connect_timeout(SHORT);
        let mut bed = Bed::with(builder, silent).await;
        let report = bed.deliver("e").await;
        assert_eq!(report.outcome, transient(Failure::Dns));
        bed.end().await;
    });
}

/// A name must not resolve to an address that a URL may not contain.
#[test]
fn a_name_that_leads_only_to_what_is_not_public_is_blocked() {
    run(async {
        for address in [
            "168.63.129.16",
            "::ffff:168.63.129.16",
            "64:ff9b::168.63.129.16",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::8.8.8.8",
            "4000::1",
            "100:0:0:1::1",
        ] {
            let transport = Tested::builder().resolver(Names::new(&[&[address]]));
            let builder = Engine::builder().transport(transport.build().unwrap());
            let mut bed = Bed::with(builder, endpoint("http://receiver.test/")).await;
            let report = bed.deliver("e").await;
            assert_eq!(report.outcome, permanent(Failure::Blocked), "{address}");
            bed.end().await;
        }
    });
}

/// The endpoint is accepted, whether or not anything answers there.
#[test]
fn a_literal_that_leads_to_the_public_by_nat64_may_be_given() {
    run(async {
        for url in ["http://[64:ff9b::808:808]/", "http://[::ffff:8.8.8.8]/"] {
            let endpoint = Endpoint::new(url).unwrap();
            let engine = Engine::builder().endpoint(endpoint).start().await;
            engine.expect(url).shutdown(Duration::ZERO).await;
        }
        let named = "168.63.129.16".parse().unwrap();
        let endpoint = Endpoint::new("http://0xa83f8110/").unwrap();
        let allowed = Engine::builder().endpoint(endpoint.allow_addresses([named]));
        let engine = allowed.start().await.expect("it is named");
        engine.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn of_a_name_with_several_addresses_only_those_that_may_be_called_are() {
    run(async {
        let receiver = answering().await;
        let names = Names::new(&[&["10.255.255.1", OTHER_LOOPBACK, "::1", "127.0.0.1"]]);
        let transport = Tested::builder()
            .resolver(names)
            .allow_addresses(["127.0.0.1/32".parse().unwrap()]);
        let builder = Engine::builder().transport(transport.build().unwrap());
        let mut bed = Bed::with(builder, endpoint(&by_name(&receiver))).await;
        assert_eq!(bed.deliver("e").await.outcome, Outcome::Delivered);
        bed.end().await;
    });
}

/// The next address is tried 250 ms after the previous one (happy eyeballs). Only Linux answers on
/// all of 127.0.0.0/8 and allows a queue of one.
#[cfg(target_os = "linux")]
#[test]
fn an_address_that_does_not_answer_leaves_time_for_the_next() {
    run(async {
        use tokio::net::{TcpSocket, TcpStream};
        let receiver = answering().await;
        let full = TcpSocket::new_v4().unwrap();
        let address =
            std::net::SocketAddr::new(OTHER_LOOPBACK.parse().unwrap(), receiver.address.port());
        full.bind(address).unwrap();
        let _full = full.listen(0).unwrap();
        // This connection fills the queue, so that further ones are not answered.
        let _queued = TcpStream::connect(address).await.unwrap();
        let names = Names::new(&[&[OTHER_LOOPBACK, "127.0.0.1"]]);
        let transport = transport().resolver(names);
        let builder = Engine::builder().transport(transport.build().unwrap());
        let mut bed = Bed::with(builder, endpoint(&by_name(&receiver))).await;
        let report = bed.deliver("e").await;
        assert_eq!(report.outcome, Outcome::Delivered);
        let delay = Duration::from_millis(250);
        assert!(report.duration >= delay, "the first was waited for");
        bed.end().await;
    });
}

#[test]
fn a_redirect_to_what_may_not_be_called_is_blocked() {
    run(async {
        let internal = answering().await;
        for location in [
            internal.url("/secret").replace("127.0.0.1", OTHER_LOOPBACK),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "http://[::ffff:7f00:2]/".to_owned(),
            "http://0x7f000002/".to_owned(),
            "http://168.63.129.16/machine".to_owned(),
            "http://0xa83f8110/machine".to_owned(),
            "http://2822734096/machine".to_owned(),
            "http://[::ffff:a83f:8110]/machine".to_owned(),
            "http://[64:ff9b::168.63.129.16]/machine".to_owned(),
            "http://[4000::1]/".to_owned(),
        ] {
            let redirecting = Receiver::start(async move |mut connection: Connection| {
                connection.request().await;
                let head = "HTTP/1.1 307 Elsewhere\r\nContent-Length: 0\r\nLocation: ";
                connection.send(format!("{head}{location}\r\n\r\n")).await;
            })
            .await;
            let transport = Tested::builder().allow_addresses(["127.0.0.1".parse().unwrap()]);
            let builder = Engine::builder().transport(transport.build().unwrap());
            let mut bed = Bed::with(builder, endpoint(&redirecting.url("/"))).await;
            let report = bed.deliver("e").await;
            assert_eq!(report.outcome, permanent(Failure::Blocked));
            assert_eq!((report.status, report.redirects), (Some(307), 1));
            bed.end().await;
        }
        assert_eq!(internal.requests().len(), 0);
    });
}

#[test]
fn what_one_endpoint_may_call_its_neighbour_may_not() {
    run(async {
        let receiver = answering().await;
        let (allowed, neighbour) = (receiver.url("/allowed"), by_name(&receiver));
        let transport = Tested::builder().resolver(Names::new(&[&["127.0.0.1"]]));
        let builder = Engine::builder()
            .arbiters(0)
            .transport(transport.build().unwrap())
            .rule(Rule::new("allowed", "*").webhook(&allowed).unwrap())
            .rule(Rule::new("neighbour", "*").webhook(&neighbour).unwrap())
            .endpoint(endpoint(&allowed).allow_addresses(["127.0.0.0/24".parse().unwrap()]))
            .endpoint(endpoint(&neighbour));
        let mut bed = Bed::start(builder).await;
        bed.engine.publish(event("e")).await.unwrap();
        let mut outcomes = [bed.report().await, bed.report().await]
            .map(|report| (report.url.to_string(), report.outcome));
        outcomes.sort_by_key(|(url, _)| *url != allowed);
        assert_eq!(outcomes[0], (allowed, Outcome::Delivered));
        assert_eq!(outcomes[1], (neighbour, permanent(Failure::Blocked)));
        bed.end().await;
    });
}

#[test]
fn all_of_it_can_only_be_turned_off_by_a_word_that_warns() {
    run(async {
        let receiver = answering().await;
        let transport = Tested::builder().dangerous_allow_all_addresses();
        let builder = Engine::builder().transport(transport.build().unwrap());
        let mut bed = Bed::with(builder, endpoint(&receiver.url("/"))).await;
        assert_eq!(bed.deliver("e").await.outcome, Outcome::Delivered);
        bed.end().await;
        let both = builder_with_both().start().await;
        assert!(
            matches!(
                both,
                Err(BuildError::Setting(InvalidSetting::AllowedAddresses))
            ),
            "it would have no effect"
        );
    });
}

fn builder_with_both() -> actix_webhooks::EngineBuilder {
    builder()
        .allow_addresses(AddressRange::loopback())
        .transport(transport().build().unwrap())
}

/// The addresses that one endpoint may call are not allowed for its redirects to elsewhere, because
/// the receiver chooses those targets.
#[test]
fn what_is_allowed_to_an_endpoint_is_not_allowed_to_where_it_redirects() {
    run(async {
        let internal = answering().await;
        let location = internal.url("/secret");
        let receiver = Receiver::start(async move |mut connection: Connection| {
            connection.request().await;
            let head = "HTTP/1.1 307 Elsewhere\r\nContent-Length: 0\r\nLocation: ";
            connection.send(format!("{head}{location}\r\n\r\n")).await;
        })
        .await;
        let transport = Tested::builder().build().unwrap();
        let allowed = endpoint(&receiver.url("/")).allow_addresses(AddressRange::loopback());
        let mut bed = Bed::with(Engine::builder().transport(transport), allowed).await;
        let report = bed.deliver("e").await;
        assert_eq!(
            (report.outcome, report.redirects),
            (permanent(Failure::Blocked), 1)
        );
        assert_eq!(internal.connections(), 0);
        bed.end().await;
    });
}
