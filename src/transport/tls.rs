//! TLS settings, shared and per endpoint: trusted roots and client certificates. Also the
//! classification of failed handshakes.

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, PeerMisbehaved, RootCertStore};

use crate::domain::deliveries::outcome::Failure;
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::settings::{ClientIdentity, Endpoint};

/// A root certificate or a TLS provider that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be used: {cause}")]
pub struct InvalidCertificate {
    what: &'static str,
    cause: String,
}

impl InvalidCertificate {
    fn root(cause: &impl ToString) -> Self {
        Self {
            what: "root certificate",
            cause: cause.to_string(),
        }
    }
}

/// The shared TLS settings, and what is needed to derive the settings of one endpoint.
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    shared: Arc<ClientConfig>,
}

impl Trust {
    /// Trusts the bundled Mozilla roots, or those of the operating system if `platform` is set, and
    /// `extra_roots` in DER.
    pub(super) fn new(
        provider: Arc<CryptoProvider>,
        platform: bool,
        extra_roots: &[Vec<u8>],
    ) -> Result<Self, InvalidCertificate> {
        let mut roots = if platform {
            platform_roots()?
        } else {
            RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            }
        };
        for root in extra_roots {
            let root = CertificateDer::from(root.clone());
            roots
                .add(root)
                .map_err(|error| InvalidCertificate::root(&error))?;
        }
        let roots = Arc::new(roots);
        let shared = config(Arc::clone(&provider), Arc::clone(&roots), None);
        let shared = shared.map_err(|cause| InvalidCertificate {
            what: "TLS provider",
            cause,
        })?;
        Ok(Self {
            provider,
            roots,
            shared,
        })
    }

    /// Returns the settings shared by all endpoints without certificates of their own.
    pub(super) fn shared(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.shared)
    }

    /// Returns the settings of an endpoint: the shared ones unless it has certificates of its own.
    pub(super) fn for_endpoint(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Arc<ClientConfig>, InvalidEndpoint> {
        if endpoint.root_certificates.is_empty() && endpoint.client_identity.is_none() {
            return Ok(self.shared());
        }
        let mut roots = Arc::clone(&self.roots);
        if !endpoint.root_certificates.is_empty() {
            let mut more = RootCertStore::clone(&roots);
            for pem in &endpoint.root_certificates {
                for root in certificates(pem)? {
                    more.add(root).map_err(tls_error)?;
                }
            }
            roots = Arc::new(more);
        }
        let identity = endpoint.client_identity.as_ref();
        config(Arc::clone(&self.provider), roots, identity).map_err(InvalidEndpoint::Tls)
    }
}

/// Returns settings that offer HTTP/1.1 only.
fn config(
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    identity: Option<&ClientIdentity>,
) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates(&identity.certificates).map_err(|error| error.to_string())?;
            let key = PrivateKeyDer::from_pem_slice(identity.key.expose().as_bytes());
            // The original cause could show part of the key.
            let key = key.map_err(|_| "the key is not a private key in PEM".to_owned())?;
            let with_identity = builder.with_client_auth_cert(chain, key);
            with_identity.map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Returns the provider used unless the application chooses one.
///
/// It is named explicitly, because a library must not depend on the default that the application
/// has installed.
pub(super) fn default_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Returns the failure of a handshake, separating causes that no retry can fix from broken
/// connections.
pub(super) fn failure_of(error: &io::Error) -> Failure {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
    match cause {
        Some(rustls::Error::InvalidCertificate(cause)) => certificate_failure(cause),
        Some(rustls::Error::NoCertificatesPresented) => Failure::Certificate,
        // The receiver signed with a scheme that was not offered because it cannot be checked, such
        // as one with a P-521 key.
        Some(rustls::Error::PeerMisbehaved(
            PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme,
        )) => Failure::CertificateUnsupported,
        Some(
            rustls::Error::PeerIncompatible(_)
            | rustls::Error::NoApplicationProtocol
            | rustls::Error::AlertReceived(
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity
                | AlertDescription::NoApplicationProtocol,
            ),
        ) => Failure::TlsIncompatible,
        _ => Failure::Tls,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls may know more causes one day; those are not told apart until we do"
)]
fn certificate_failure(cause: &CertificateError) -> Failure {
    match cause {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Failure::CertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Failure::CertificateNotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Failure::CertificateWrongName
        }
        // The issuer's name matches but the signature does not, as with a root of the same name and
        // another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Failure::CertificateUntrusted
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            Failure::CertificateUnsupported
        }
        _ => Failure::Certificate,
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, InvalidEndpoint> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(InvalidEndpoint::Tls(
            "there is no certificate in the PEM".to_owned(),
        )),
        Err(error) => Err(tls_error(error)),
    }
}

fn tls_error(error: impl std::fmt::Display) -> InvalidEndpoint {
    InvalidEndpoint::Tls(error.to_string())
}

#[cfg(feature = "platform-roots")]
fn platform_roots() -> Result<RootCertStore, InvalidCertificate> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let cause = found.errors.first().map(ToString::to_string);
        let cause = cause.unwrap_or_else(|| "the operating system has none".to_owned());
        return Err(InvalidCertificate::root(&cause));
    }
    Ok(roots)
}

#[cfg(not(feature = "platform-roots"))]
#[expect(clippy::unnecessary_wraps, reason = "the other one can fail")]
fn platform_roots() -> Result<RootCertStore, InvalidCertificate> {
    Ok(RootCertStore::empty())
}
