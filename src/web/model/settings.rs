//! An endpoint as it is shown and changed.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::auth::AuthView;
use super::policy::Policy;
use super::reshape;
use super::secret::{CertificateView, HeaderView, SecretView};
use super::status::StatusView;
use crate::domain::endpoint::address::AddressRange;
use crate::domain::endpoint::id::EndpointId;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::signing::signer::SignatureHeaders;
use crate::domain::value::id::ClientId;
use crate::domain::value::url::WebhookUrl;
use crate::web::problems::{Code, Problem};

/// An endpoint: its settings, and its status.
///
/// What is read-only here must be unchanged in a `PATCH`; secrets have routes of their own.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Endpoint)]
pub(in crate::web) struct EndpointView {
    /// The id, derived from the URL.
    #[schema(value_type = String, read_only, example = "ep_0123456789abcdef0123456789abcdef")]
    pub(in crate::web) id: EndpointId,
    /// The URL that calls go to.
    #[schema(value_type = String, format = "uri", read_only)]
    url: WebhookUrl,
    /// The client whose events it gets; absent for every client's.
    #[schema(value_type = Option<String>, max_length = 256)]
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<ClientId>,
    /// The `Content-Type` of every call; absent for that of the payload's format.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// The names of the signature headers; absent for the standard ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_headers: Option<HeaderNames>,
    policy: Policy,
    /// Addresses that its calls may go to, besides public ones, such as `10.0.0.0/8`.
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    allowed_addresses: Vec<AddressRange>,
    /// Root certificates trusted for its calls, in PEM.
    #[serde(default)]
    root_certificates: Vec<String>,
    /// The authorisation of calls; absent if there is none. Change it at `auth` below this path.
    #[schema(read_only)]
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<AuthView>,
    /// The headers of every call. Change them at `headers` below this path.
    #[schema(read_only)]
    #[serde(default)]
    headers: Vec<HeaderView>,
    /// The secrets that sign. Change them at `secrets` below this path.
    #[schema(read_only)]
    #[serde(default)]
    secrets: Vec<SecretView>,
    /// The certificate shown to the receiver. Change it at `client-certificate` below this path.
    #[schema(read_only)]
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate: Option<CertificateView>,
    /// The status. A `PATCH` ignores it.
    #[schema(read_only)]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    status: Option<StatusView>,
}

/// An endpoint to create. What is left out has the engine's default.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it documents a merge patch on the default settings"
)]
#[schema(as = NewEndpoint, rename_all = "camelCase")]
pub(in crate::web) struct NewEndpoint {
    /// The URL that calls go to.
    #[schema(format = "uri", max_length = 8_192)]
    url: String,
    client_id: Option<String>,
    content_type: Option<String>,
    signature_headers: Option<HeaderNames>,
    /// The parts of the policy that differ from the engine's default.
    #[schema(value_type = Option<Object>)]
    policy: Option<Value>,
    allowed_addresses: Option<Vec<String>>,
    root_certificates: Option<Vec<String>>,
}

/// A merge patch (RFC 7386) on an endpoint.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it documents a merge patch")]
#[schema(as = EndpointPatch, rename_all = "camelCase")]
pub(in crate::web) struct EndpointPatch {
    client_id: Option<String>,
    content_type: Option<String>,
    signature_headers: Option<HeaderNames>,
    /// The parts of the policy to change.
    #[schema(value_type = Option<Object>)]
    policy: Option<Value>,
    allowed_addresses: Option<Vec<String>>,
    root_certificates: Option<Vec<String>>,
}

/// The names of the three headers of a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = SignatureHeaders)]
pub(in crate::web) struct HeaderNames {
    /// The header with the alert's id.
    id: String,
    /// The header with the time of the attempt.
    timestamp: String,
    /// The header with the signatures.
    signature: String,
}

impl EndpointView {
    pub(in crate::web) fn new(endpoint: &Endpoint) -> Result<Self, Problem> {
        let names = |names: &SignatureHeaders| HeaderNames {
            id: names.id.to_string(),
            timestamp: names.timestamp.to_string(),
            signature: names.signature.to_string(),
        };
        Ok(Self {
            id: EndpointId::of(&endpoint.url),
            url: endpoint.url.clone(),
            client_id: endpoint.client_id.clone(),
            content_type: endpoint.content_type.clone(),
            signature_headers: endpoint.signature_headers.as_deref().map(names),
            policy: reshape(&endpoint.policy)?,
            allowed_addresses: endpoint.allowed_addresses.clone(),
            root_certificates: endpoint.root_certificates.clone(),
            auth: endpoint.auth.as_ref().map(AuthView::from),
            headers: endpoint.headers.iter().map(HeaderView::from).collect(),
            secrets: endpoint.secrets.iter().map(SecretView::from).collect(),
            client_certificate: endpoint.client_identity.as_ref().map(CertificateView::from),
            status: None,
        })
    }

    pub(in crate::web) fn with_status(self, status: StatusView) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    /// Returns the endpoint with these settings. Its secrets stay.
    pub(in crate::web) fn applied_to(self, endpoint: Endpoint) -> Result<Endpoint, Problem> {
        let before = Self::new(&endpoint)?;
        for (same, pointer, route) in [
            (self.id == before.id, "/id", ""),
            (self.url == before.url, "/url", ""),
            (
                self.auth == before.auth,
                "/auth",
                "; use PUT /endpoints/{id}/auth",
            ),
            (
                self.headers == before.headers,
                "/headers",
                "; use PUT /endpoints/{id}/headers",
            ),
            (
                self.secrets == before.secrets,
                "/secrets",
                "; use POST /endpoints/{id}/secrets/rotate",
            ),
            (
                self.client_certificate == before.client_certificate,
                "/clientCertificate",
                "; use PUT /endpoints/{id}/client-certificate",
            ),
        ] {
            if !same {
                let why = format!("this part cannot be changed here{route}");
                return Err(Problem::part(Code::InvalidEndpoint, pointer, why));
            }
        }
        let names = self.signature_headers.map(|names| {
            let names = SignatureHeaders::named(names.id, names.timestamp, names.signature);
            Box::new(names)
        });
        let policy = reshape(&self.policy)
            .map_err(|error| Problem::part(Code::InvalidEndpoint, "/policy", error))?;
        Ok(Endpoint {
            client_id: self.client_id,
            content_type: self.content_type,
            signature_headers: names,
            policy,
            allowed_addresses: self.allowed_addresses,
            root_certificates: self.root_certificates,
            ..endpoint
        })
    }

    /// Returns the settings as the target of a merge patch.
    pub(in crate::web) fn as_target(&self) -> Result<Value, Problem> {
        reshape(self)
    }
}
