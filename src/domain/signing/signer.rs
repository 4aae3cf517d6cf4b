//! The signing of one endpoint's calls: secrets, their ends, and header names.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::signing::signature::{Content, MAX_ENTRY_BYTES, SigningSecret};
use crate::domain::value::time::Timestamp;

/// A secret that signs the calls to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointSecret {
    /// The secret.
    pub secret: SigningSecret,
    /// When it stops signing. Defaults to `None`: it signs until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The names of the three headers of a signature. Defaults to [`SignatureHeaders::standard`].
///
/// ```
/// use actix_webhooks::{Endpoint, SignatureHeaders};
///
/// let endpoint = Endpoint::new("https://example.com/hooks")?
///     .secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?
///     .signature_headers(SignatureHeaders::prefixed("svix"));
/// # drop(endpoint);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SignatureHeaders {
    /// The header with the alert's id.
    pub id: Cow<'static, str>,
    /// The header with the time of the attempt.
    pub timestamp: Cow<'static, str>,
    /// The header with the signatures.
    pub signature: Cow<'static, str>,
}

impl SignatureHeaders {
    /// The names of Standard Webhooks.
    pub(crate) const STANDARD: Self = Self {
        id: Cow::Borrowed("webhook-id"),
        timestamp: Cow::Borrowed("webhook-timestamp"),
        signature: Cow::Borrowed("webhook-signature"),
    };

    /// Returns `webhook-id`, `webhook-timestamp` and `webhook-signature`.
    pub const fn standard() -> Self {
        Self::STANDARD
    }

    /// Returns the names with another first word, such as `svix-id`, `svix-timestamp` and
    /// `svix-signature` for `svix`.
    pub fn prefixed(prefix: &str) -> Self {
        Self::named(
            format!("{prefix}-id"),
            format!("{prefix}-timestamp"),
            format!("{prefix}-signature"),
        )
    }

    /// Returns names of the application's choice.
    pub fn named(
        id: impl Into<String>,
        timestamp: impl Into<String>,
        signature: impl Into<String>,
    ) -> Self {
        Self {
            id: Cow::Owned(id.into()),
            timestamp: Cow::Owned(timestamp.into()),
            signature: Cow::Owned(signature.into()),
        }
    }

    pub(crate) fn all(&self) -> [&str; 3] {
        [&self.id, &self.timestamp, &self.signature]
    }
}

impl Default for SignatureHeaders {
    fn default() -> Self {
        Self::STANDARD
    }
}

/// The secrets of an endpoint in signing order, and the names of its headers.
#[derive(Debug)]
pub(crate) struct Signer {
    /// Newest first.
    secrets: Vec<EndpointSecret>,
    pub(crate) names: SignatureHeaders,
}

impl Signer {
    /// Returns the signer of an endpoint with these secrets, in the order in which they were added.
    pub(crate) fn new(secrets: &[EndpointSecret], names: SignatureHeaders) -> Self {
        // The secret that lasts longer counts as newer; of two that last equally long, the one
        // added later does.
        let mut secrets: Vec<_> = secrets.iter().rev().cloned().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.until.unwrap_or(Timestamp::NEVER)));
        Self { secrets, names }
    }

    /// Writes the value of the signature header for an attempt made at `now`; nothing if no secret
    /// signs then.
    pub(crate) fn sign(&self, now: Timestamp, content: &Content<'_>, header: &mut String) {
        let signs = |secret: &&EndpointSecret| secret.until.is_none_or(|until| now < until);
        for EndpointSecret { secret, .. } in self.secrets.iter().filter(signs) {
            header.reserve(1 + MAX_ENTRY_BYTES);
            if !header.is_empty() {
                header.push(' ');
            }
            secret.write_entry(content, header);
        }
    }
}
