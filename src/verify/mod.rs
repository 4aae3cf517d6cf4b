//! For receivers: checks that a webhook was sent by who holds its secret, and lately (feature `verify`).
//!
//! [`Verifier`] checks signatures of Standard Webhooks 1.0, whoever sent them; [`VerifiedWebhook`] does it in an actix-web handler.
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

/// Checks signatures with one or more secrets or public keys. Cloning shares the keys.
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

/// What a signature has proven.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The alert's id, the same on every attempt: what was seen under it before is to be answered with success and not to be done again.
    pub id: String,
    /// When the attempt was made, in whole seconds.
    pub timestamp: Timestamp,
}

/// Why a call is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A header is not there.
    #[error("header {0:?} is missing")]
    MissingHeader(String),
    /// The id cannot be one: it is empty, too long, or holds a full stop or something other than visible ASCII; or the signatures are not ASCII.
    #[error("header {0:?} is malformed")]
    MalformedHeader(String),
    /// The timestamp is not in whole unix seconds.
    #[error("header {0:?} is not a time in unix seconds")]
    BadTimestamp(String),
    /// It was sent longer ago than the tolerance; perhaps somebody sends again what they have recorded.
    #[error("sent too long ago")]
    TooOld,
    /// It was sent in the future by more than the tolerance; one of the clocks is wrong.
    #[error("sent in the future")]
    TooNew,
    /// No signature matches any of the keys.
    #[error("no signature matches")]
    NoMatchingSignature,
}

impl Verifier {
    /// Returns a verifier with one secret (`whsec_…`, for HMAC-SHA256) or public key (`whpk_…`, for ed25519).
    ///
    /// It is taken as its sender issued it. White space around it and within does not matter, nor
    /// does `v1,` or `v1a,` in front; the base64 may be of either alphabet, with padding or
    /// without. A secret may have 1 to 1,024 bytes, and from 16 on it needs no prefix; a public key
    /// has a prefix and 32 bytes. (What [`SigningSecret`](crate::SigningSecret) signs with has 24
    /// to 64 bytes, as the specification says.)
    ///
    /// A sender that signs with the text of its secret, and not with what is encoded in it: give
    /// the text's bytes in base64, after `whsec_`.
    ///
    /// # Errors
    /// [`InvalidSecret`] says what the text must be.
    pub fn new(secret: &str) -> Result<Self, InvalidSecret> {
        Ok(Self {
            keys: vec![VerificationKey::parse(secret)?],
            tolerance: Duration::from_mins(5),
            names: SignatureHeaders::STANDARD,
            body_limit: 1024 * 1024,
        })
    }

    /// Accepts a further secret or public key, as while the sender changes to a new one. At most 8.
    ///
    /// # Errors
    /// [`InvalidSecret`] says what the text must be.
    pub fn secret(mut self, secret: &str) -> Result<Self, InvalidSecret> {
        let key = VerificationKey::parse(secret)?;
        if self.keys.len() >= MAX_SIGNING_SECRETS {
            return Err(InvalidSecret::TooMany);
        }
        self.keys.push(key);
        Ok(self)
    }

    /// Sets how far the time of sending may be from `now`, in both directions. Defaults to 5 min.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Sets the names of the headers. Defaults to [`SignatureHeaders::standard`].
    #[must_use]
    pub fn headers(mut self, names: SignatureHeaders) -> Self {
        self.names = names;
        self
    }

    /// Sets how many bytes of a body [`VerifiedWebhook`] reads; a larger one is refused. Defaults to 1 MiB.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Checks that one of the signatures is that of `body`, byte for byte as it was received, by one of the keys, and that it was sent lately.
    /// Keys are compared in constant time; entries of unknown versions are skipped.
    ///
    /// Of the header with the signatures the first 16 entries are looked at. An ed25519 entry costs a pass over
    /// the body for each key that it may be of, so that at most 16 such checks are made, shared evenly by
    /// the keys: with one public key all 16 entries are tried, with eight the first two. A header without an
    /// entry that any of the keys could have made is refused before the body is looked at.
    ///
    /// An id with a full stop is refused: full stops separate what is signed, so that a part of the body could pass for a part of the id.
    ///
    /// # Errors
    /// [`VerifyError`] says why the call is not to be believed. Tell the sender no more than that.
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

    /// Reads what the headers say; refuses what no body could make good.
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

    /// Returns `true` if there is an entry of the form that one of the keys makes.
    fn could_match(&self, signatures: &str) -> bool {
        self.keys.iter().any(|key| match key {
            VerificationKey::Hmac(_) => hmac_entries(signatures).next().is_some(),
            VerificationKey::Ed25519(_) => ed25519_entries(signatures).next().is_some(),
        })
    }

    fn matches(&self, content: &Content<'_>, signatures: &str) -> bool {
        // Either is made once, and not before it is needed: the body may be large.
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

/// Returns the entries that HMAC-SHA256 may have made.
fn hmac_entries(signatures: &str) -> impl Iterator<Item = Vec<u8>> {
    entries(signatures, "v1,").filter(|given| given.len() == 32)
}

/// Returns the entries that ed25519 may have made: 64 bytes, of which the last 32 are a number below
/// 2^253 (RFC 8032 §5.1.7).
fn ed25519_entries(signatures: &str) -> impl Iterator<Item = Vec<u8>> {
    entries(signatures, "v1a,").filter(|given| {
        let top = given.last().copied();
        given.len() == 64 && top.is_some_and(|top| top & 0b1110_0000 == 0)
    })
}

fn entries(signatures: &str, version: &'static str) -> impl Iterator<Item = Vec<u8>> {
    // However many entries somebody sends, this is the most work they can make.
    let entries = signatures.split(' ').take(MAX_ENTRIES);
    let of_version = entries.filter_map(move |entry| entry.strip_prefix(version));
    of_version.filter_map(|encoded| STANDARD.decode(encoded).ok())
}

/// What the headers of a call say, unproven.
struct Claim<'h> {
    id: &'h str,
    timestamp: &'h str,
    sent_at: Timestamp,
    signatures: &'h str,
}

/// Reads digits and nothing else: no sign, no fraction, no white space.
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

/// The longest id accepted.
const MAX_ID_BYTES: usize = 256;

/// Enough for 30,000 years.
const MAX_TIMESTAMP_DIGITS: usize = 12;

/// How many entries of a signature header are looked at: twice as many as this crate sends.
const MAX_ENTRIES: usize = 2 * MAX_SIGNING_SECRETS;

/// How many times a body is checked against an ed25519 signature at most. Each takes about 2 ms for 1 MiB.
const MAX_ED25519_CHECKS: usize = 16;
