//! Receivers over TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use actix_webhooks::transport::AwcTransport;
use actix_webhooks::{Engine, EngineBuilder, Failure, Outcome};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::support::{Bed, Connection, Receiver, SHORT, endpoint, permanent, run, transient};

/// An authority that issues certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    /// Starts a receiver that has a certificate for these names and addresses.
    async fn receiver(&self, ip: IpAddr, names: &[&str]) -> Receiver {
        self.receiver_with(ip, for_names(names)).await
    }

    async fn receiver_with(&self, ip: IpAddr, params: CertificateParams) -> Receiver {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        let tls = TlsAcceptor::from(Arc::new(config.unwrap()));
        Receiver::listen(ip, Some(tls), async |mut connection: Connection| {
            connection.answer_all(200).await;
        })
        .await
    }

    /// Returns the settings of an engine that trusts this authority.
    fn trusted(&self) -> EngineBuilder {
        let transport = AwcTransport::builder().root_certificate(self.root.clone());
        Engine::builder().transport(transport.build().unwrap())
    }
}

fn for_names(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Makes one delivery and returns how it ended.
async fn outcome(builder: EngineBuilder, url: &str) -> Outcome {
    let mut bed = Bed::with(builder, endpoint(url)).await;
    let outcome = bed.deliver("e").await.outcome;
    bed.end().await;
    outcome
}

fn by_name(receiver: &Receiver) -> String {
    format!("https://localhost:{}/hook", receiver.address.port())
}

#[test]
fn a_trusted_receiver_gets_its_deliveries_over_one_connection() {
    run(async {
        let authority = Authority::new();
        let receiver = authority.receiver(LOOPBACK, &["localhost"]).await;
        let endpoint = endpoint(&by_name(&receiver));
        let mut bed = Bed::with(authority.trusted(), endpoint).await;
        for n in 0..5 {
            assert_eq!(
                bed.deliver(&n.to_string()).await.outcome,
                Outcome::Delivered
            );
        }
        bed.end().await;
        assert_eq!(receiver.requests().len(), 5);
        assert_eq!(receiver.connections(), 1);
        let requests = receiver.requests();
        let host = format!("localhost:{}", receiver.address.port());
        assert_eq!(requests[0].line, "POST /hook HTTP/1.1");
        assert_eq!(requests[0].header("host"), Some(&*host));
    });
}

#[test]
fn addresses_can_have_certificates_too() {
    run(async {
        let authority = Authority::new();
        let mut addresses = vec![LOOPBACK];
        // Not every machine that runs this has IPv6.
        let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
        if TcpListener::bind((v6, 0)).await.is_ok() {
            addresses.push(v6);
        }
        for ip in addresses {
            let receiver = authority.receiver(ip, &[&ip.to_string()]).await;
            let url = receiver.url("/");
            let outcome = outcome(authority.trusted(), &url).await;
            assert_eq!(outcome, Outcome::Delivered, "{url}");
            let host = receiver.address.to_string();
            assert_eq!(receiver.requests()[0].header("host"), Some(&*host));
        }
    });
}

#[test]
fn a_certificate_from_an_unknown_authority_is_refused_for_good() {
    run(async {
        let receiver = Authority::new().receiver(LOOPBACK, &["localhost"]).await;
        for builder in [Engine::builder(), Authority::new().trusted()] {
            let outcome = outcome(builder, &by_name(&receiver)).await;
            assert_eq!(outcome, permanent(Failure::Certificate));
        }
        assert_eq!(receiver.requests().len(), 0, "nothing was sent");
    });
}

#[test]
fn a_certificate_for_another_name_is_refused_for_good() {
    run(async {
        let authority = Authority::new();
        let receiver = authority.receiver(LOOPBACK, &["other.test"]).await;
        for url in [by_name(&receiver), receiver.url("/")] {
            let outcome = outcome(authority.trusted(), &url).await;
            assert_eq!(outcome, permanent(Failure::Certificate), "{url}");
        }
        assert_eq!(receiver.requests().len(), 0, "nothing was sent");
    });
}

#[test]
fn a_certificate_that_has_expired_is_refused_for_good() {
    run(async {
        let authority = Authority::new();
        let mut params = for_names(&["localhost"]);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        let receiver = authority.receiver_with(LOOPBACK, params).await;
        let outcome = outcome(authority.trusted(), &by_name(&receiver)).await;
        assert_eq!(outcome, permanent(Failure::Certificate));
    });
}

#[test]
fn a_handshake_that_breaks_off_may_work_later() {
    run(async {
        for answer in ["", "HTTP/1.1 400 Bad Request\r\n\r\n"] {
            let receiver = Receiver::start(async move |mut connection: Connection| {
                connection.send(answer).await;
                if !answer.is_empty() {
                    connection.closed().await;
                }
            })
            .await;
            let outcome = outcome(Engine::builder(), &by_name(&receiver)).await;
            assert_eq!(outcome, transient(Failure::Tls), "{answer:?}");
        }
    });
}

#[test]
fn a_handshake_that_hangs_ends_with_the_connect_timeout() {
    run(async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            connection.closed().await;
        })
        .await;
        let endpoint = endpoint(&by_name(&receiver)).connect_timeout(SHORT);
        let mut bed = Bed::to(endpoint).await;
        let report = bed.deliver("e").await;
        assert_eq!(report.outcome, transient(Failure::Connect));
        assert!(report.duration < Duration::from_secs(15), "not the timeout");
        bed.end().await;
    });
}
