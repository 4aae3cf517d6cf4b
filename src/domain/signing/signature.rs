//! Signatures of Standard Webhooks 1.0.
//!
//! A signature proves that a holder of the endpoint's secret made this body, under this id, at this
//! time.
//!
//! The key is prepared once, when the text is parsed. Signing then takes one pass over the body, or
//! two for ed25519, which needs it in one piece.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::domain::value::secret;

/// The most secrets that sign the calls to one endpoint, or that one verifier knows.
pub const MAX_SIGNING_SECRETS: usize = 8;

/// A secret that signs: `whsec_…` for HMAC-SHA256, `whsk_…` for ed25519.
///
/// `Debug` prints `[redacted]`, and serialising it writes `null`. The text is overwritten in memory
/// when the last clone is dropped. The prepared key beside it is freed, but not overwritten.
///
/// ```
/// use actix_webhooks::SigningSecret;
///
/// // After the prefix come 24 to 64 random bytes in base64.
/// let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
/// let entry = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
/// assert_eq!(entry, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
/// assert_eq!(format!("{secret:?}"), "[redacted]");
/// # Ok::<(), actix_webhooks::InvalidSecret>(())
/// ```
#[derive(Clone)]
pub struct SigningSecret(Arc<Parsed>);

struct Parsed {
    text: Zeroizing<String>,
    key: SigningKey,
}

enum SigningKey {
    /// Boxed, because it is many times the size of a key pair.
    Hmac(Box<hmac::Key>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// Why a text is not a signing secret or a public key. It does not contain the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// It has none of the prefixes.
    #[error(
        "secret must begin with whsec_ (HMAC-SHA256), whsk_ (ed25519, to sign) or whpk_ (ed25519, to verify)"
    )]
    Prefix,
    /// The part after the prefix is not base64.
    #[error(
        "secret must be base64 after its prefix (to sign: padded, without spaces or line breaks)"
    )]
    Base64,
    /// It is too short or too long.
    #[error("secret beginning with {prefix} must be {bytes} bytes in base64")]
    Length {
        /// Its prefix.
        prefix: &'static str,
        /// The number of bytes required.
        bytes: &'static str,
    },
    /// The second half of a `whsk_` secret is not the public key of its first half.
    #[error("seed and public key in the whsk_ secret do not match; generate a new key pair")]
    KeyPair,
    /// A `whpk_` key was given to sign.
    #[error("a public key (whpk_) cannot sign; use its private key (whsk_)")]
    PublicKey,
    /// A `whsk_` secret was given to verify.
    #[error("a private key (whsk_) is for the sender alone; verify with its public key (whpk_)")]
    PrivateKey,
    /// There are more than 8.
    #[error("there are more than {MAX_SIGNING_SECRETS} secrets; remove old ones")]
    TooMany,
}

impl SigningSecret {
    /// Parses `whsec_` with 24 to 64 bytes in base64, or `whsk_` with 64: the seed, then the public
    /// key.
    ///
    /// # Errors
    /// Returns [`InvalidSecret`] with the reason if the text is not a usable secret.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let key = if let Some(encoded) = text.strip_prefix(HMAC_PREFIX) {
            SigningKey::Hmac(Box::new(hmac_key(encoded)?))
        } else if let Some(encoded) = text.strip_prefix(ED25519_PREFIX) {
            let length = length(ED25519_PREFIX, "64");
            let pair = decode(encoded, length.clone())?;
            let (seed, public) = pair.split_at_checked(32).ok_or_else(|| length.clone())?;
            if public.len() != 32 {
                return Err(length);
            }
            let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public);
            SigningKey::Ed25519(Box::new(pair.map_err(|_| InvalidSecret::KeyPair)?))
        } else if text.starts_with(PUBLIC_PREFIX) {
            return Err(InvalidSecret::PublicKey);
        } else {
            return Err(InvalidSecret::Prefix);
        };
        let text = Zeroizing::new(text.to_owned());
        Ok(Self(Arc::new(Parsed { text, key })))
    }

    /// Returns the secret itself. Do not log it.
    pub fn expose(&self) -> &str {
        &self.0.text
    }

    /// Returns the public key (`whpk_…`) that receivers verify with; `None` for HMAC, where they
    /// need the secret itself.
    pub fn public_key(&self) -> Option<String> {
        match &self.0.key {
            SigningKey::Hmac(_) => None,
            SigningKey::Ed25519(pair) => {
                let public = STANDARD.encode(pair.public_key());
                Some(format!("{PUBLIC_PREFIX}{public}"))
            }
        }
    }

    /// Signs a body and returns one entry of a signature header.
    ///
    /// The entry is `v1,<base64>`, or `v1a,<base64>` for ed25519. `timestamp` is in unix seconds,
    /// as in the timestamp header.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut entry = String::with_capacity(MAX_ENTRY_BYTES);
        let mut number = itoa::Buffer::new();
        let timestamp = number.format(timestamp);
        let content = Content {
            id,
            timestamp,
            body,
        };
        self.write_entry(&content, &mut entry);
        entry
    }

    /// Appends an entry to a signature header.
    pub(crate) fn write_entry(&self, content: &Content<'_>, header: &mut String) {
        match &self.0.key {
            SigningKey::Hmac(key) => {
                header.push_str("v1,");
                STANDARD.encode_string(content.hmac(key), header);
            }
            SigningKey::Ed25519(pair) => {
                header.push_str("v1a,");
                STANDARD.encode_string(pair.sign(&content.whole()), header);
            }
        }
    }
}

/// The signed content: `{id}.{timestamp}.{body}`.
#[derive(Clone, Copy)]
pub(crate) struct Content<'a> {
    pub(crate) id: &'a str,
    /// As in the header.
    pub(crate) timestamp: &'a str,
    /// Exactly the bytes that are sent.
    pub(crate) body: &'a [u8],
}

impl Content<'_> {
    /// Returns the HMAC, without copying the body.
    pub(crate) fn hmac(&self, key: &hmac::Key) -> hmac::Tag {
        let mut context = hmac::Context::with_key(key);
        for part in self.parts() {
            context.update(part);
        }
        context.sign()
    }

    /// Returns the content in one piece, as ed25519 needs it.
    pub(crate) fn whole(&self) -> Vec<u8> {
        self.parts().concat()
    }

    fn parts(&self) -> [&[u8]; 5] {
        let (id, timestamp) = (self.id.as_bytes(), self.timestamp.as_bytes());
        [id, b".", timestamp, b".", self.body]
    }
}

/// Parses the part after [`HMAC_PREFIX`].
fn hmac_key(encoded: &str) -> Result<hmac::Key, InvalidSecret> {
    let length = length(HMAC_PREFIX, "24 to 64");
    let bytes = decode(encoded, length.clone())?;
    if (24..=64).contains(&bytes.len()) {
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    } else {
        Err(length)
    }
}

/// Decodes the part after the prefix. Returns `too_long` if it is longer than any secret.
fn decode(encoded: &str, too_long: InvalidSecret) -> Result<Zeroizing<Vec<u8>>, InvalidSecret> {
    if encoded.len() > MAX_ENCODED_BYTES {
        return Err(too_long);
    }
    // Full capacity from the start, because a growing buffer leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_ENCODED_BYTES));
    match STANDARD.decode_vec(encoded, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(InvalidSecret::Base64),
    }
}

pub(crate) fn length(prefix: &'static str, bytes: &'static str) -> InvalidSecret {
    InvalidSecret::Length { prefix, bytes }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for SigningSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for SigningSecret {}

impl Serialize for SigningSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        secret::serialize(self.expose(), serializer)
    }
}

impl<'de> Deserialize<'de> for SigningSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

pub(crate) const HMAC_PREFIX: &str = "whsec_";
pub(crate) const ED25519_PREFIX: &str = "whsk_";
pub(crate) const PUBLIC_PREFIX: &str = "whpk_";

/// 64 bytes in base64.
const MAX_ENCODED_BYTES: usize = 88;

/// `v1a,` and a signature of 64 bytes in base64.
pub(crate) const MAX_ENTRY_BYTES: usize = 4 + 88;

#[cfg(test)]
pub(crate) mod vectors {
    //! The published test vectors.

    pub(crate) const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    pub(crate) const TIMESTAMP: i64 = 1_614_265_330;
    pub(crate) const BODY: &[u8] = br#"{"test": 2432232314}"#;
    pub(crate) const HMAC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    pub(crate) const HMAC_ENTRY: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    pub(crate) const ED25519: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    pub(crate) const ED25519_ENTRY: &str = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
}

#[cfg(test)]
mod tests {
    use super::vectors::{BODY, ED25519, ED25519_ENTRY, HMAC, HMAC_ENTRY, ID, TIMESTAMP};
    use super::*;

    fn of_bytes(prefix: &str, count: usize) -> String {
        format!("{prefix}{}", STANDARD.encode(vec![7; count]))
    }

    #[track_caller]
    fn refused(text: &str, expected: &InvalidSecret) {
        let error = SigningSecret::parse(text).unwrap_err();
        assert_eq!(&error, expected);
        let secret = text.split_once('_').map_or(text, |(_, secret)| secret);
        let shown = format!("{error} {error:?}");
        assert!(secret.is_empty() || !shown.contains(secret), "{shown}");
    }

    #[test]
    fn the_published_vectors_are_reproduced() {
        for (secret, entry) in [(HMAC, HMAC_ENTRY), (ED25519, ED25519_ENTRY)] {
            let secret = SigningSecret::parse(secret).unwrap();
            assert_eq!(secret.sign(ID, TIMESTAMP, BODY), entry);
        }
    }

    #[test]
    fn each_part_of_the_content_counts() {
        for secret in [HMAC, ED25519] {
            let secret = SigningSecret::parse(secret).unwrap();
            let entry = secret.sign(ID, TIMESTAMP, BODY);
            assert_ne!(secret.sign("other", TIMESTAMP, BODY), entry);
            assert_ne!(secret.sign(ID, TIMESTAMP + 1, BODY), entry);
            assert_ne!(secret.sign(ID, TIMESTAMP, b"{\"test\":2432232314}"), entry);
        }
    }

    #[test]
    fn a_public_key_is_told_for_ed25519_only() {
        let public = |text| SigningSecret::parse(text).unwrap().public_key();
        assert_eq!(public(HMAC), None);
        assert_eq!(
            public(ED25519).unwrap(),
            "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
        );
    }

    #[test]
    fn secrets_have_from_24_to_64_bytes() {
        for count in [24, 25, 32, 64] {
            assert!(SigningSecret::parse(&of_bytes("whsec_", count)).is_ok());
        }
        for count in [0, 1, 23, 65, 66, 67, 1_000_000] {
            refused(&of_bytes("whsec_", count), &length(HMAC_PREFIX, "24 to 64"));
        }
        for count in [0, 31, 32, 63, 65, 1_000] {
            refused(&of_bytes("whsk_", count), &length(ED25519_PREFIX, "64"));
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_with_what_to_do() {
        for text in [
            "",
            "hush",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "WHSEC_MfKQ9r8G",
        ] {
            refused(text, &InvalidSecret::Prefix);
        }
        for text in [
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAA",
            "whsk_ü",
        ] {
            refused(text, &InvalidSecret::Base64);
        }
        refused(&of_bytes("whpk_", 32), &InvalidSecret::PublicKey);
        refused(&of_bytes("whsk_", 64), &InvalidSecret::KeyPair);
        refused(
            &ED25519.replace("whsk_6Xb", "whsk_6Xc"),
            &InvalidSecret::KeyPair,
        );
    }

    #[test]
    fn a_secret_is_in_neither_debug_output_nor_json_and_can_be_read_from_it() {
        for text in [HMAC, ED25519] {
            let secret: SigningSecret = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(secret, SigningSecret::parse(text).unwrap());
            assert_eq!(secret.expose(), text);
            assert_eq!(format!("{secret:?}"), "[redacted]");
            assert_eq!(serde_json::to_string(&secret).unwrap(), "null");
        }
        let error = serde_json::from_str::<SigningSecret>("\"whsec_hush\"").unwrap_err();
        assert!(!error.to_string().contains("hush"), "{error}");
    }

    #[test]
    fn secrets_are_equal_if_their_texts_are() {
        let [one, other] = [HMAC, ED25519].map(|text| SigningSecret::parse(text).unwrap());
        assert!(one == SigningSecret::parse(HMAC).unwrap() && one != other);
    }
}
