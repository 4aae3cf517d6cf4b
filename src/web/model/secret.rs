//! The parts of an endpoint that hold secrets, besides its authorisation.
//!
//! They go in, and never come back.

use std::fmt;

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::auth::given_or_kept;
use crate::domain::endpoint::invalid::MAX_HEADERS;
use crate::domain::endpoint::settings::{ClientIdentity, EndpointHeader};
use crate::domain::signing::signature::SigningSecret;
use crate::domain::signing::signer::EndpointSecret;
use crate::domain::value::secret::Secret;
use crate::domain::value::time::Timestamp;
use crate::web::hex;
use crate::web::problems::Problem;

/// A header of every call, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Header)]
pub(in crate::web) struct HeaderView {
    name: String,
    /// Whether a redirect to another origin drops it.
    dropped_across_origins: bool,
}

/// A header to put. A value that is left out stays as it is.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = HeaderToPut)]
pub(in crate::web) struct HeaderGiven {
    name: String,
    #[schema(value_type = Option<String>, format = Password, write_only)]
    value: Option<Secret>,
    /// Whether a redirect to another origin drops it. `true` by default.
    #[serde(default = "yes")]
    dropped_across_origins: bool,
}

fn yes() -> bool {
    true
}

impl From<&EndpointHeader> for HeaderView {
    fn from(header: &EndpointHeader) -> Self {
        Self {
            name: header.name.clone(),
            dropped_across_origins: header.dropped_across_origins,
        }
    }
}

impl HeaderGiven {
    /// Returns the headers, with the values that were left out taken from the current ones.
    pub(in crate::web) fn complete(
        given: Vec<Self>,
        current: &[EndpointHeader],
    ) -> Result<Vec<EndpointHeader>, Problem> {
        let complete = given.into_iter().enumerate().map(|(index, header)| {
            let mut all = current.iter();
            let known = all.find(|known| known.name.eq_ignore_ascii_case(&header.name));
            let kept = known.map(|known| &known.value);
            Ok(EndpointHeader {
                value: given_or_kept(header.value, kept, &format!("/{index}/value"))?,
                name: header.name,
                dropped_across_origins: header.dropped_across_origins,
            })
        });
        complete.collect()
    }
}

/// A merge patch (RFC 7386) on the headers of an endpoint, by name: a value sets a header, `null`
/// removes it. The case of a name does not matter.
#[derive(Debug, ToSchema)]
#[schema(
    as = HeadersPatch,
    value_type = BTreeMap<String, Option<String>>,
    example = json!({ "X-Api-Key": "the new value", "X-Old": null })
)]
pub(in crate::web) struct HeadersPatch(Vec<(String, Option<Secret>)>);

impl<'de> Deserialize<'de> for HeadersPatch {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(EachHeader).map(Self)
    }
}

/// Reads the entries of a patch, each name once.
struct EachHeader;

impl<'de> Visitor<'de> for EachHeader {
    type Value = Vec<(String, Option<Secret>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of header values by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut headers: Self::Value = Vec::new();
        while let Some((name, value)) = from.next_entry::<String, _>()? {
            let mut earlier = headers.iter();
            if earlier.any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
                return Err(A::Error::custom("a header is named twice; name it once"));
            }
            if headers.len() == MAX_PATCHED {
                let why = format!("more than {MAX_PATCHED} headers; patch them in two requests");
                return Err(A::Error::custom(why));
            }
            headers.push((name, value));
        }
        Ok(headers)
    }
}

impl HeadersPatch {
    /// Returns what the patch makes of headers.
    ///
    /// A header that is new is dropped by redirects to another origin; of the others only the value
    /// changes.
    pub(in crate::web) fn applied_to(
        self,
        mut headers: Vec<EndpointHeader>,
    ) -> Vec<EndpointHeader> {
        for (name, value) in self.0 {
            let Some(value) = value else {
                headers.retain(|known| !known.name.eq_ignore_ascii_case(&name));
                continue;
            };
            let mut all = headers.iter_mut();
            match all.find(|known| known.name.eq_ignore_ascii_case(&name)) {
                Some(known) => known.value = value,
                None => headers.push(EndpointHeader {
                    name,
                    value,
                    dropped_across_origins: yes(),
                }),
            }
        }
        headers
    }
}

/// The most headers in one patch: as many as an endpoint may have are replaced by as many others.
const MAX_PATCHED: usize = 2 * MAX_HEADERS;

/// A signing secret, without the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = SigningSecret)]
pub(in crate::web) struct SecretView {
    /// The beginning of the secret's SHA-256.
    fingerprint: String,
    kind: SecretKind,
    /// The key that receivers verify with, for `ed25519`.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// When it stops signing; absent if it signs until it is deleted.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

super::words! {
    /// How a secret signs.
    SecretKind {
        /// HMAC-SHA256, `v1` in the signature header.
        Hmac,
        /// Ed25519, `v1a` in the signature header.
        Ed25519,
    }
}

impl From<&EndpointSecret> for SecretView {
    fn from(EndpointSecret { secret, until }: &EndpointSecret) -> Self {
        let public_key = secret.public_key();
        Self {
            fingerprint: fingerprint_of(secret),
            kind: match &public_key {
                Some(_) => SecretKind::Ed25519,
                None => SecretKind::Hmac,
            },
            public_key,
            until: *until,
        }
    }
}

/// Returns the fingerprint of a signing secret, which has at least 192 random bits.
pub(in crate::web) fn fingerprint_of(secret: &SigningSecret) -> String {
    hex::first(8, digest(&SHA256, secret.expose().as_bytes()).as_ref())
}

/// The next secret of an endpoint.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::web) struct Rotation {
    /// The secret: `whsec_…` or `whsk_…`. Generated if left out.
    #[schema(value_type = Option<String>, format = Password, write_only)]
    pub(in crate::web) secret: Option<Secret>,
    /// How long the present secrets go on signing, in milliseconds. A day by default, at most 30.
    #[schema(minimum = 0, maximum = 2_592_000_000_u64)]
    pub(in crate::web) grace_ms: Option<u64>,
}

/// A new secret. It is shown only this once.
#[derive(Serialize, ToSchema)]
pub(in crate::web) struct NewSecret {
    pub(in crate::web) fingerprint: String,
    /// The secret, for the receiver.
    #[schema(format = Password)]
    pub(in crate::web) secret: String,
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSecret")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// A client certificate, without its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientCertificate)]
pub(in crate::web) struct CertificateView {
    /// The certificate and the intermediates up to its root, in PEM.
    certificates: String,
    /// The SHA-256 of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

/// A client certificate to put. The key may be left out if the certificates are the same.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientCertificateToPut)]
pub(in crate::web) struct CertificateGiven {
    /// The certificate and the intermediates up to its root, in PEM.
    certificates: String,
    /// The private key, in PEM.
    #[schema(value_type = Option<String>, format = Password, write_only)]
    key: Option<Secret>,
    /// Ignored: it is shown by `GET`.
    #[serde(rename = "fingerprint")]
    _fingerprint: Option<String>,
}

impl From<&ClientIdentity> for CertificateView {
    fn from(identity: &ClientIdentity) -> Self {
        let mut all = CertificateDer::pem_slice_iter(identity.certificates.as_bytes());
        let first = all.next().and_then(Result::ok);
        Self {
            certificates: identity.certificates.clone(),
            fingerprint: first
                .map(|certificate| hex::first(32, digest(&SHA256, &certificate).as_ref())),
        }
    }
}

impl CertificateGiven {
    /// Returns the certificate, with the current key if it was left out.
    pub(in crate::web) fn complete(
        self,
        current: Option<&ClientIdentity>,
    ) -> Result<ClientIdentity, Problem> {
        let same = current.filter(|known| known.certificates == self.certificates);
        let kept = same.map(|known| &known.key);
        Ok(ClientIdentity {
            key: given_or_kept(self.key, kept, "/key")?,
            certificates: self.certificates,
        })
    }
}
