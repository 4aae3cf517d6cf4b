//! Receivers over TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use actix_webhooks::{
    BuildError, EndpointPolicy, Engine, EngineBuilder, Failure, InvalidEndpoint, Outcome,
    PutEndpoint, PutRule, RemoveEndpoint, RetryPolicy, Rule, RuleError,
};
use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::support::{
    Bed, Connection, Receiver, SHORT, builder, endpoint, event, permanent, run, transient,
    transport,
};
use super::upload::LARGE;

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    /// Starts a receiver with a certificate for these names and addresses.
    pub(crate) async fn receiver(&self, ip: IpAddr, names: &[&str]) -> Receiver {
        self.receiver_with(ip, for_names(names)).await
    }

    pub(crate) async fn receiver_with(&self, ip: IpAddr, params: CertificateParams) -> Receiver {
        self.serve(ip, params, WebPkiClientVerifier::no_client_auth(), answer)
            .await
    }

    /// Starts a receiver that passes every connection to `serve`.
    pub(crate) async fn receiver_that(
        &self,
        serve: impl AsyncFn(Connection) + 'static,
    ) -> Receiver {
        let anyone = WebPkiClientVerifier::no_client_auth();
        self.serve(LOOPBACK, for_names(&["localhost"]), anyone, serve)
            .await
    }

    /// Starts a receiver that requires a client certificate from this authority.
    async fn receiver_that_asks(&self) -> Receiver {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone().into()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        self.serve(
            LOOPBACK,
            for_names(&["localhost"]),
            verifier.build().unwrap(),
            answer,
        )
        .await
    }

    /// Returns a certificate and its key, both in PEM.
    fn identity(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = for_names(&["sender.test"]).signed_by(&key, &self.issuer);
        (certificate.unwrap().pem(), key.serialize_pem())
    }

    async fn serve(
        &self,
        ip: IpAddr,
        params: CertificateParams,
        clients: Arc<dyn ClientCertVerifier>,
        serve: impl AsyncFn(Connection) + 'static,
    ) -> Receiver {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], key);
        let tls = TlsAcceptor::from(Arc::new(config.unwrap()));
        Receiver::listen(ip, Some(tls), serve).await
    }

    fn root_pem(&self) -> String {
        let base64 = base64::engine::general_purpose::STANDARD.encode(&self.root);
        format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
    }

    /// Returns the settings of an engine that trusts this authority.
    pub(crate) fn trusted(&self) -> EngineBuilder {
        let transport = transport().root_certificate(self.root.clone());
        Engine::builder().transport(transport.build().unwrap())
    }
}

pub(crate) fn for_names(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

pub(crate) async fn answer(mut connection: Connection) {
    connection.answer_all(200).await;
}

pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Makes one delivery and returns the outcome.
pub(crate) async fn outcome(builder: EngineBuilder, url: &str) -> Outcome {
    let mut bed = Bed::with(builder, endpoint(url)).await;
    let outcome = bed.deliver("e").await.outcome;
    bed.end().await;
    outcome
}

pub(crate) fn by_name(receiver: &Receiver) -> String {
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
        // Not every test machine has IPv6.
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
        for builder in [builder(), Authority::new().trusted()] {
            let outcome = outcome(builder, &by_name(&receiver)).await;
            assert_eq!(outcome, permanent(Failure::CertificateUntrusted));
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
            assert_eq!(outcome, permanent(Failure::CertificateWrongName), "{url}");
        }
        assert_eq!(receiver.requests().len(), 0, "nothing was sent");
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
            let outcome = outcome(builder(), &by_name(&receiver)).await;
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

#[test]
fn a_receiver_that_asks_who_calls_is_shown_the_endpoints_certificate() {
    run(async {
        let authority = Authority::new();
        let receiver = authority.receiver_that_asks().await;
        let url = by_name(&receiver);
        let (certificate, key) = authority.identity();
        let known = endpoint(&url).client_certificate(&certificate, &*key);
        let mut bed = Bed::with(authority.trusted(), known).await;
        assert_eq!(bed.deliver("e").await.outcome, Outcome::Delivered);
        bed.end().await;

        // Without a certificate, or with one of an unknown authority, the handshake is aborted. TLS
        // 1.3 reports that only after the request.
        let stranger = Authority::new().identity();
        for endpoint in [
            endpoint(&url),
            endpoint(&url).client_certificate(stranger.0, &*stranger.1),
        ] {
            let mut bed = Bed::with(authority.trusted(), endpoint).await;
            let outcome = bed.deliver("e").await.outcome;
            let refused = [Failure::Tls, Failure::ConnectionClosed].map(transient);
            assert!(refused.contains(&outcome), "{outcome:?}");
            bed.end().await;
        }
        assert_eq!(receiver.requests().len(), 1);
    });
}

/// Same as without TLS, but TLS holds back a part of the body in addition to the socket buffers.
#[test]
fn an_answer_before_the_body_was_read_is_an_answer_over_tls_too() {
    run(async {
        let authority = Authority::new();
        let receiver = authority
            .receiver_that(async |mut connection: Connection| {
                if connection.number > 1 {
                    return connection.answer_all(200).await;
                }
                connection.head().await;
                let answer =
                    "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                connection.send(answer).await;
                std::future::pending::<()>().await;
            })
            .await;
        let trusted = authority.trusted().max_body_bytes(2 * LARGE);
        let mut bed = Bed::with(trusted, endpoint(&by_name(&receiver))).await;
        let large = event("large").data(json!("x".repeat(LARGE)));
        bed.engine.publish(large).await.unwrap();
        let report = bed.report().await;
        assert_eq!(report.outcome, permanent(Failure::Status(413)));
        assert_eq!(bed.deliver("next").await.outcome, Outcome::Delivered);
        assert_eq!(receiver.connections(), 2);
        bed.end().await;
    });
}

/// The certificate identifies the application to its endpoint, but the receiver chooses the target
/// of a redirect.
#[test]
fn an_endpoints_certificate_is_not_shown_to_where_it_redirects() {
    run(async {
        let authority = Authority::new();
        let elsewhere = authority.receiver_that_asks().await;
        let location = by_name(&elsewhere);
        let redirecting = Receiver::start(async move |mut connection: Connection| {
            connection.request().await;
            let head = "HTTP/1.1 307 Elsewhere\r\nContent-Length: 0\r\nLocation: ";
            connection.send(format!("{head}{location}\r\n\r\n")).await;
        })
        .await;
        let (certificate, key) = authority.identity();
        let known = endpoint(&redirecting.url("/")).client_certificate(certificate, &*key);
        let mut bed = Bed::with(authority.trusted(), known).await;
        let report = bed.deliver("e").await;
        let refused = [Failure::Tls, Failure::ConnectionClosed].map(transient);
        assert!(refused.contains(&report.outcome), "{report:?}");
        assert_eq!((report.status, report.redirects), (Some(307), 1));
        assert_eq!(
            (elsewhere.connections(), elsewhere.requests().len()),
            (1, 0)
        );
        bed.end().await;
    });
}

#[test]
fn an_endpoints_own_root_is_trusted_for_it_alone() {
    run(async {
        let authority = Authority::new();
        let receiver = authority.receiver(LOOPBACK, &["localhost"]).await;
        let root = endpoint(&by_name(&receiver)).root_certificate(authority.root_pem());
        let mut bed = Bed::with(builder(), root).await;
        assert_eq!(bed.deliver("e").await.outcome, Outcome::Delivered);
        bed.end().await;
        let neighbour = format!("{}s", by_name(&receiver));
        let outcome = outcome(builder(), &neighbour).await;
        assert_eq!(outcome, permanent(Failure::CertificateUntrusted));
    });
}

/// The roots of the operating system are loaded once per process, so each case has a process of its
/// own.
#[test]
fn the_roots_of_the_operating_system_are_trusted_instead_where_that_is_asked_for() {
    const CASE: &str = "PLATFORM_ROOTS_CASE";
    let (_, module) = module_path!().split_once("::").unwrap();
    let this = format!(
        "{module}::the_roots_of_the_operating_system_are_trusted_instead_where_that_is_asked_for"
    );
    let Ok(case) = std::env::var(CASE) else {
        for case in ["its own", "another"] {
            let root = tempfile::NamedTempFile::new().unwrap();
            let run = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &this])
                .env(CASE, case)
                .env("SSL_CERT_FILE", root.path())
                .env_remove("SSL_CERT_DIR")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&run.stdout);
            assert!(
                run.status.success() && said.contains("1 passed"),
                "{case}: {said}"
            );
        }
        return;
    };
    run(async {
        let authority = Authority::new();
        let receiver = authority.receiver(LOOPBACK, &["localhost"]).await;
        let (root, expected) = if case == "its own" {
            (authority.root_pem(), Outcome::Delivered)
        } else {
            (
                Authority::new().root_pem(),
                permanent(Failure::CertificateUntrusted),
            )
        };
        let file = std::env::var_os("SSL_CERT_FILE").unwrap();
        std::fs::write(file, root).unwrap();
        let transport = transport().platform_roots().build().unwrap();
        let builder = Engine::builder().transport(transport);
        assert_eq!(outcome(builder, &by_name(&receiver)).await, expected);
    });
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_refused_when_they_are_put() {
    run(async {
        let (certificate, key) = Authority::new().identity();
        let (_, other_key) = Authority::new().identity();
        let url = "https://receiver.test/";
        for bad in [
            endpoint(url).root_certificate("not PEM"),
            endpoint(url).root_certificate(&*key),
            endpoint(url).client_certificate("", &*key),
            endpoint(url).client_certificate(&*certificate, "not a key"),
            endpoint(url).client_certificate(&*certificate, &*other_key),
        ] {
            let error = builder().endpoint(bad).start().await.unwrap_err();
            let refused = matches!(
                &error,
                BuildError::Endpoint {
                    error: InvalidEndpoint::Tls(_),
                    ..
                }
            );
            assert!(refused, "{error}");
            assert!(
                !error.to_string().contains(key.lines().nth(1).unwrap()),
                "no key is shown"
            );
        }
    });
}

#[test]
fn an_endpoint_that_wants_https_is_never_called_without() {
    run(async {
        let receiver =
            Receiver::start(async |mut connection: Connection| connection.answer_all(200).await)
                .await;
        let mut policy = EndpointPolicy::standard_webhooks();
        assert!(policy.https_only);
        policy.retry = RetryPolicy::none();
        let plain = endpoint(&receiver.url("/")).policy(policy.clone());
        let error = builder().endpoint(plain).start().await.unwrap_err();
        let refused = matches!(
            error,
            BuildError::Endpoint {
                error: InvalidEndpoint::NotHttps,
                ..
            }
        );
        assert!(refused, "{error}");

        // A later rule is refused too, unless its URL has settings that allow it. Without such
        // settings, its deliveries are refused.
        let url = receiver.url("/");
        let mut bed = Bed::start(builder().arbiters(0).default_policy(policy)).await;
        let (router, supervisor) = (bed.engine.router(), bed.engine.supervisor());
        let rule = Rule::new("rule", "*").webhook(&url).unwrap();
        let refused = router.send(PutRule::new(rule.clone())).await.unwrap();
        let refused = matches!(
            refused,
            Err(RuleError::Endpoint {
                error: InvalidEndpoint::NotHttps,
                ..
            })
        );
        assert!(refused);
        let put = supervisor.send(PutEndpoint::new(endpoint(&url)));
        put.await.unwrap().unwrap();
        router.send(PutRule::new(rule)).await.unwrap().unwrap();
        assert_eq!(bed.deliver("allowed").await.outcome, Outcome::Delivered);
        let remove = supervisor.send(RemoveEndpoint::new(&url));
        remove.await.unwrap().unwrap();
        let report = bed.deliver("not allowed").await;
        assert_eq!(report.outcome, permanent(Failure::NotHttps));
        assert_eq!(receiver.requests().len(), 1);
        bed.end().await;
    });
}
