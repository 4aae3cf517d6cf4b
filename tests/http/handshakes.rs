//! Different causes of failed TLS handshakes are distinguished, and the application's own provider
//! can support more or less.

use std::sync::Arc;

use actix_webhooks::transport::rustls::crypto::{CryptoProvider, ring};
use actix_webhooks::{Endpoint, Engine, EngineBuilder, Failure, Outcome};
use rcgen::date_time_ymd;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS12;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use super::secured::{Authority, LOOPBACK, answer, by_name, for_names, outcome};
use super::support::{
    Bed, Connection, Receiver, builder, endpoint, permanent, run, transient, transport,
};

/// Delivers to a receiver whose certificate is valid between these years, and returns the outcome.
async fn with_validity(from: i32, to: i32) -> Outcome {
    let authority = Authority::new();
    let mut params = for_names(&["localhost"]);
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    let receiver = authority.receiver_with(LOOPBACK, params).await;
    let outcome = outcome(authority.trusted(), &by_name(&receiver)).await;
    let delivered = outcome == Outcome::Delivered;
    assert_eq!(receiver.requests().len(), usize::from(delivered));
    outcome
}

#[test]
fn a_certificate_out_of_its_time_is_told_by_which_side() {
    run(async {
        assert_eq!(with_validity(2020, 2120).await, Outcome::Delivered);
        let expired = permanent(Failure::CertificateExpired);
        assert_eq!(with_validity(2020, 2021).await, expired);
        let early = permanent(Failure::CertificateNotYetValid);
        assert_eq!(with_validity(2119, 2120).await, early);
    });
}

/// A P-256 leaf certificate whose root signs in a way that `ring` cannot check.
struct Fixture {
    root: &'static str,
    leaf: &'static str,
}

const P521: Fixture = Fixture {
    root: include_str!("../fixtures/tls/p521-root.pem"),
    leaf: include_str!("../fixtures/tls/p521-leaf.pem"),
};
const P256_SHA512: Fixture = Fixture {
    root: include_str!("../fixtures/tls/p256-sha512-root.pem"),
    leaf: include_str!("../fixtures/tls/p256-sha512-leaf.pem"),
};
const LEAF_KEY: &str = include_str!("../fixtures/tls/leaf.key");

impl Fixture {
    async fn receiver(&self, versions: &[&'static SupportedProtocolVersion]) -> Receiver {
        let chain = CertificateDer::from_pem_slice(self.leaf.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(LEAF_KEY.as_bytes());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain.unwrap()], key.unwrap());
        let tls = TlsAcceptor::from(Arc::new(config.unwrap()));
        Receiver::listen(LOOPBACK, Some(tls), answer).await
    }

    /// Returns an endpoint that trusts the root.
    fn endpoint(&self, receiver: &Receiver) -> Endpoint {
        endpoint(&by_name(receiver)).root_certificate(self.root)
    }
}

/// rustls#2536, #1367: such a certificate was reported as untrusted, as if its issuer were unknown.
#[test]
fn what_the_provider_cannot_check_is_told_from_what_is_not_trusted() {
    run(async {
        for fixture in [P521, P256_SHA512] {
            let receiver = fixture.receiver(rustls::ALL_VERSIONS).await;
            let mut bed = Bed::to(fixture.endpoint(&receiver)).await;
            let outcome = bed.deliver("e").await.outcome;
            assert_eq!(outcome, permanent(Failure::CertificateUnsupported));
            bed.end().await;
            // Without the root, the certificate is untrusted, whatever its signature algorithm.
            let mut bed = Bed::to(endpoint(&by_name(&receiver))).await;
            let outcome = bed.deliver("e").await.outcome;
            assert_eq!(outcome, permanent(Failure::CertificateUntrusted));
            bed.end().await;
            assert_eq!(receiver.requests().len(), 0, "nothing was sent");
        }
    });
}

/// Answers a `ClientHello` with this fatal alert in a TLS record.
async fn refuses_with(alert: u8) -> Outcome {
    let receiver = Receiver::start(async move |mut connection: Connection| {
        connection
            .send([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, alert])
            .await;
        connection.closed().await;
    })
    .await;
    let url = by_name(&receiver).replace("http:", "https:");
    outcome(builder(), &url).await
}

/// Servers send these alerts when they have, for example, only CBC suites, only TLS 1.0, only
/// HTTP/2, or a P-521 key.
#[test]
fn a_receiver_with_nothing_in_common_is_told_from_a_broken_handshake() {
    const HANDSHAKE_FAILURE: u8 = 40;
    const PROTOCOL_VERSION: u8 = 70;
    const INSUFFICIENT_SECURITY: u8 = 71;
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    run(async {
        for alert in [
            HANDSHAKE_FAILURE,
            PROTOCOL_VERSION,
            INSUFFICIENT_SECURITY,
            NO_APPLICATION_PROTOCOL,
        ] {
            let incompatible = transient(Failure::TlsIncompatible);
            assert_eq!(refuses_with(alert).await, incompatible, "{alert}");
        }
        // These are unexpected_message, internal_error and unrecognized_name.
        for alert in [10, 80, 112] {
            assert_eq!(
                refuses_with(alert).await,
                transient(Failure::Tls),
                "{alert}"
            );
        }
    });
}

/// Returns an engine that trusts an authority and uses its own provider.
fn provided(authority: &Authority, provider: CryptoProvider) -> EngineBuilder {
    let transport = transport()
        .root_certificate(authority.root.clone())
        .crypto_provider(Arc::new(provider));
    Engine::builder().transport(transport.build().unwrap())
}

fn tls13_only() -> CryptoProvider {
    let mut provider = ring::default_provider();
    let suites = &mut provider.cipher_suites;
    suites.retain(|suite| suite.tls13().is_some());
    provider
}

#[test]
fn the_applications_own_provider_is_used() {
    run(async {
        let authority = Authority::new();
        let modern = authority.receiver(LOOPBACK, &["localhost"]).await;
        let own = provided(&authority, tls13_only());
        assert_eq!(outcome(own, &by_name(&modern)).await, Outcome::Delivered);

        // A receiver without TLS 1.3, also for an endpoint with settings of its own.
        let old = P256_SHA512.receiver(&[&TLS12]).await;
        let default = outcome(builder(), &by_name(&old)).await;
        assert_eq!(default, permanent(Failure::CertificateUntrusted));
        let incompatible = transient(Failure::TlsIncompatible);
        let own = provided(&authority, tls13_only());
        assert_eq!(outcome(own, &by_name(&old)).await, incompatible);
        let own = provided(&authority, tls13_only());
        let mut bed = Bed::with(own, P256_SHA512.endpoint(&old)).await;
        assert_eq!(bed.deliver("e").await.outcome, incompatible);
        bed.end().await;
    });
}

#[test]
fn a_provider_that_can_do_no_tls_is_refused_at_once() {
    let mut provider = ring::default_provider();
    provider.cipher_suites.clear();
    let built = transport().crypto_provider(Arc::new(provider)).build();
    let error = built.unwrap_err().to_string();
    assert!(
        error.starts_with("TLS provider cannot be used: "),
        "{error}"
    );
}
