//! Whom to trust, and what to show: TLS settings for all endpoints, and for one; and why a
//! handshake failed.

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, PeerMisbehaved, RootCertStore};

use crate::domain::deliveries::outcome::Failure;
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::settings::{ClientIdentity, Endpoint};

/// A root certificate that cannot be used, or a TLS provider.
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

/// What every connection shares, and what is needed to make settings for one endpoint.
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    shared: Arc<ClientConfig>,
}

impl Trust {
    /// Trusts the bundled Mozilla roots, those of the operating system if asked to instead, and further ones in DER.
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

    /// Returns the settings that endpoints without certificates of their own share.
    pub(super) fn shared(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.shared)
    }

    /// Returns the settings for an endpoint: the shared ones, unless it has certificates of its own.
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

/// Returns settings with HTTP/1.1 only.
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
            // The cause could show a part of the key.
            let key = key.map_err(|_| "the key is not a private key in PEM".to_owned())?;
            let with_identity = builder.with_client_auth_cert(chain, key);
            with_identity.map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Returns the provider that is used unless the application chooses. Named, because a library must
/// not depend on what the application has installed as the default.
pub(super) fn default_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Says why a handshake failed: what nobody mends by trying again is told from what broke off.
pub(super) fn failure_of(error: &io::Error) -> Failure {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
    match cause {
        Some(rustls::Error::InvalidCertificate(cause)) => certificate_failure(cause),
        Some(rustls::Error::NoCertificatesPresented) => Failure::Certificate,
        // Not asked whether it can be checked, a receiver has signed with a key such as P-521.
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
        // Signed by another than it names: a root of the same name with another key comes to this.
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
