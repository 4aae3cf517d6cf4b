//! For receivers: checks that a webhook was sent recently and by a holder of its secret (feature
//! `verify`).
//!
//! [`Verifier`] checks signatures of Standard Webhooks 1.0 from any sender. [`VerifiedWebhook`]
//! does so in an actix-web handler.
//!
//! ```
//! use actix_web::{App, HttpResponse, web};
//! use actix_webhooks::verify::{VerifiedWebhook, Verifier};
//!
//! async fn receive(webhook: VerifiedWebhook) -> HttpResponse {
//!     // The same id again is the same alert again: do nothing twice.
//!     println!("{} of {} bytes", webhook.id, webhook.body.len());
//!     HttpResponse::NoContent().finish()
//! }
//!
//! let verifier = Verifier::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
//! let app = App::new().app_data(web::Data::new(verifier)).route("/hooks", web::post().to(receive));
//! # drop(app);
//! # Ok::<(), actix_webhooks::InvalidSecret>(())
//! ```

mod extract;
mod headers;
mod key;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::fmt;
use std::str;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

pub use self::extract::{VerifiedWebhook, WebhookRejection};
pub use self::headers::Headers;
use self::key::VerificationKey;
use crate::domain::signing::signature::{Content, InvalidSecret, MAX_SIGNING_SECRETS};
use crate::domain::signing::signer::SignatureHeaders;
use crate::domain::value::time::Timestamp;

/// Checks signatures with one or more secrets or public keys.
///
/// Cloning shares the keys.
///
/// ```
/// use actix_webhooks::Timestamp;
/// use actix_webhooks::verify::Verifier;
///
/// let verifier = Verifier::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
/// let headers = [
///     ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
///     ("webhook-timestamp", "1614265330"),
///     ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
/// ];
/// let now = Timestamp::from_unix_millis(1_614_265_333_000); // a receiver takes Timestamp::from(SystemTime::now())
/// let verified = verifier.verify(&headers, br#"{"test": 2432232314}"#, now)?;
/// assert_eq!(verified.id, "msg_p5jXN8AQM9LWM0D4loKWxJek");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Verifier {
    keys: Vec<VerificationKey>,
    tolerance: Duration,
    names: SignatureHeaders,
    body_limit: usize,
}

/// The facts that a signature has proven.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The alert's id, the same on every attempt. If the id was seen before, answer with success
    /// and do nothing.
    pub id: String,
    /// The time of the attempt, in whole seconds.
    pub timestamp: Timestamp,
}

/// The reason why a call cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A header is missing.
    #[error("header {0:?} is missing")]
    MissingHeader(String),
    /// A header is malformed. Either the id is empty, too long, or contains a full stop or anything
    /// but visible ASCII; or the signatures are not ASCII.
    #[error("header {0:?} is malformed")]
    MalformedHeader(String),
    /// The timestamp is not a whole number of unix seconds.
    #[error("header {0:?} is not a time in unix seconds")]
    BadTimestamp(String),
    /// The call was sent longer ago than the tolerance. It may be a replay.
    #[error("webhook was sent too long ago")]
    TooOld,
    /// The call was sent further in the future than the tolerance. One of the clocks is wrong.
    #[error("webhook was sent in the future; check the clocks of sender and receiver")]
    TooNew,
    /// No signature matches any of the keys.
    #[error("no signature matches; check the secret or public key")]
    NoMatchingSignature,
}

impl Verifier {
    /// Returns a verifier with one secret (`whsec_…`, for HMAC-SHA256) or public key (`whpk_…`, for
    /// ed25519).
    ///
    /// Pass it as the sender issued it. White space and a leading `v1,` or `v1a,` are ignored; the
    /// base64 may use either alphabet, with or without padding. A secret has 1 to 1,024 bytes, and
    /// needs no prefix from 16 bytes on. A public key has a prefix and 32 bytes. (A
    /// [`SigningSecret`](crate::SigningSecret) has 24 to 64 bytes, as the specification requires.)
    ///
    /// Some senders sign with the text of the secret instead of the bytes encoded in it. For those,
    /// pass `whsec_` followed by the text's bytes in base64.
    ///
    /// # Errors
    /// [`InvalidSecret`] states what the text must be.
    pub fn new(secret: &str) -> Result<Self, InvalidSecret> {
        Ok(Self {
            keys: vec![VerificationKey::parse(secret)?],
            tolerance: Duration::from_mins(5),
            names: SignatureHeaders::STANDARD,
            body_limit: 1024 * 1024,
        })
    }

    /// Accepts one more secret or public key, for example while the sender rotates its secret. At
    /// most 8.
    ///
    /// # Errors
    /// [`InvalidSecret`] states what the text must be.
    pub fn secret(mut self, secret: &str) -> Result<Self, InvalidSecret> {
        let key = VerificationKey::parse(secret)?;
        if self.keys.len() >= MAX_SIGNING_SECRETS {
            return Err(InvalidSecret::TooMany);
        }
        self.keys.push(key);
        Ok(self)
    }

    /// Sets the maximum difference between the time of sending and `now`, in both directions.
    ///
    /// Defaults to 5 min.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Sets the names of the headers.
    ///
    /// Defaults to [`SignatureHeaders::standard`].
    #[must_use]
    pub fn headers(mut self, names: SignatureHeaders) -> Self {
        self.names = names;
        self
    }

    /// Sets the maximum size in bytes of a body that [`VerifiedWebhook`] reads.
    ///
    /// A larger body is refused. Defaults to 1 MiB.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Checks that one of the keys signed `body`, and that the call was sent recently.
    ///
    /// Pass `body` byte for byte as it was received. HMAC signatures are compared in constant time.
    /// Entries of unknown versions are skipped.
    ///
    /// Only the first 16 entries of the signature header are checked. An ed25519 entry costs a pass
    /// over the body for each key that may have made it. At most 16 such checks are made, shared
    /// evenly by the public keys: one key tries all 16 entries, eight keys try the first two each.
    /// A header without an entry that one of the keys could have made is refused before the body is
    /// read.
    ///
    /// An id with a full stop is refused. Full stops separate the signed parts, so a part of the
    /// body could otherwise pass for a part of the id.
    ///
    /// # Errors
    /// [`VerifyError`] gives the reason why the call cannot be trusted. Do not reveal any further
    /// detail to the sender.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "it is a reference or a function"
    )]
    pub fn verify<'h>(
        &self,
        headers: impl Headers<'h>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Verified, VerifyError> {
        let claim = self.claim(&headers, now)?;
        let content = Content {
            id: claim.id,
            timestamp: claim.timestamp,
            body,
        };
        if !self.matches(&content, claim.signatures) {
            return Err(VerifyError::NoMatchingSignature);
        }
        Ok(Verified {
            id: claim.id.to_owned(),
            timestamp: claim.sent_at,
        })
    }

    /// Parses the headers, and refuses calls that no body could make valid.
    fn claim<'h>(
        &self,
        headers: &impl Headers<'h>,
        now: Timestamp,
    ) -> Result<Claim<'h>, VerifyError> {
        let value = |name: &str| {
            let value = headers.value(name);
            let value = value.ok_or_else(|| VerifyError::MissingHeader(name.to_owned()))?;
            let text = str::from_utf8(value).ok().filter(|text| text.is_ascii());
            text.ok_or_else(|| VerifyError::MalformedHeader(name.to_owned()))
        };
        let id = value(&self.names.id)?;
        let timestamp = value(&self.names.timestamp)?;
        let signatures = value(&self.names.signature)?;
        let usable = |byte: u8| byte.is_ascii_graphic() && byte != b'.';
        if !(1..=MAX_ID_BYTES).contains(&id.len()) || !id.bytes().all(usable) {
            return Err(VerifyError::MalformedHeader(self.names.id.to_string()));
        }
        if !self.could_match(signatures) {
            return Err(VerifyError::NoMatchingSignature);
        }
        let sent_at = unix_seconds(timestamp)
            .ok_or_else(|| VerifyError::BadTimestamp(self.names.timestamp.to_string()))?;
        if now.since(sent_at) > self.tolerance {
            return Err(VerifyError::TooOld);
        }
        if sent_at.since(now) > self.tolerance {
            return Err(VerifyError::TooNew);
        }
        Ok(Claim {
            id,
            timestamp,
            sent_at,
            signatures,
        })
    }

    /// Returns `true` if any entry has the form of a signature by one of the keys.
    fn could_match(&self, signatures: &str) -> bool {
        self.keys.iter().any(|key| match key {
            VerificationKey::Hmac(_) => hmac_entries(signatures).next().is_some(),
            VerificationKey::Ed25519(_) => ed25519_entries(signatures).next().is_some(),
        })
    }

    fn matches(&self, content: &Content<'_>, signatures: &str) -> bool {
        // Computed once and only when needed, because the body may be large.
        let whole = OnceCell::new();
        let public = |key: &&VerificationKey| matches!(key, VerificationKey::Ed25519(_));
        let public = self.keys.iter().filter(public).count().max(1);
        let each = (MAX_ED25519_CHECKS / public).max(1);
        self.keys.iter().any(|key| match key {
            VerificationKey::Hmac(key) => {
                let mut given = hmac_entries(signatures).peekable();
                if given.peek().is_none() {
                    return false;
                }
                let expected = content.hmac(key);
                given.any(|given| bool::from(expected.as_ref().ct_eq(&given)))
            }
            VerificationKey::Ed25519(key) => ed25519_entries(signatures).take(each).any(|given| {
                let signed = whole.get_or_init(|| content.whole());
                key.verify(signed, &given).is_ok()
            }),
        })
    }
}

/// Returns the entries that may be HMAC-SHA256 signatures.
fn hmac_entries(signatures: &str) -> impl Iterator<Item = Vec<u8>> {
    entries(signatures, "v1,").filter(|given| given.len() == 32)
}

/// Returns the entries that may be ed25519 signatures: 64 bytes, of which the last 32 are a number
/// below 2^253 (RFC 8032 §5.1.7).
fn ed25519_entries(signatures: &str) -> impl Iterator<Item = Vec<u8>> {
    entries(signatures, "v1a,").filter(|given| {
        let top = given.last().copied();
        given.len() == 64 && top.is_some_and(|top| top & 0b1110_0000 == 0)
    })
}

fn entries(signatures: &str, version: &'static str) -> impl Iterator<Item = Vec<u8>> {
    // Bounds the work, however many entries a sender puts in.
    let entries = signatures.split(' ').take(MAX_ENTRIES);
    let of_version = entries.filter_map(move |entry| entry.strip_prefix(version));
    of_version.filter_map(|encoded| STANDARD.decode(encoded).ok())
}

/// The content of a call's headers, not yet verified.
struct Claim<'h> {
    id: &'h str,
    timestamp: &'h str,
    sent_at: Timestamp,
    signatures: &'h str,
}

/// Parses digits only: no sign, no fraction, no white space.
fn unix_seconds(text: &str) -> Option<Timestamp> {
    if !(1..=MAX_TIMESTAMP_DIGITS).contains(&text.len())
        || !text.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let seconds: i64 = text.parse().ok()?;
    Some(Timestamp::from_unix_millis(seconds.saturating_mul(1_000)))
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("keys", &self.keys.len())
            .field("tolerance", &self.tolerance)
            .field("names", &self.names)
            .field("body_limit", &self.body_limit)
            .finish()
    }
}

/// The maximum length of an id, in bytes.
const MAX_ID_BYTES: usize = 256;

/// Enough digits for 30,000 years.
const MAX_TIMESTAMP_DIGITS: usize = 12;

/// The number of entries checked in a signature header: twice as many as this crate sends.
const MAX_ENTRIES: usize = 2 * MAX_SIGNING_SECRETS;

/// The maximum number of ed25519 checks per call. Each takes about 2 ms for 1 MiB.
const MAX_ED25519_CHECKS: usize = 16;
