//! Verification keys, in any notation that a sender uses.
//!
//! The sender chooses the secret, and many deviate from Standard Webhooks: fewer or more bytes, no
//! prefix, the signature version in front, the other base64 alphabet, no padding. A receiver that
//! refused those secrets could not verify anything. Secrets for signing still follow the
//! specification ([`SigningSecret`](crate::SigningSecret)).

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::hmac;
use ring::signature::{ED25519, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::domain::signing::signature::{
    ED25519_PREFIX, HMAC_PREFIX, InvalidSecret, PUBLIC_PREFIX, length,
};

/// A secret or public key, ready for use.
#[derive(Clone)]
pub(super) enum VerificationKey {
    Hmac(Arc<hmac::Key>),
    Ed25519(UnparsedPublicKey<[u8; 32]>),
}

impl VerificationKey {
    /// Parses a secret or a public key.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let text = text.trim_ascii();
        if text.len() > MAX_TEXT_BYTES {
            return Err(length(HMAC_PREFIX, HMAC_BYTES));
        }
        // Some senders put the signature version in front of the secret.
        let versioned = |version: &str, prefix: &str| {
            let text = text.strip_prefix(version).unwrap_or(text);
            text.strip_prefix(prefix)
        };
        if let Some(encoded) = versioned("v1,", HMAC_PREFIX) {
            let bytes = decode(encoded)?;
            return hmac_key(&bytes).ok_or_else(|| length(HMAC_PREFIX, HMAC_BYTES));
        }
        if let Some(encoded) = versioned("v1a,", PUBLIC_PREFIX) {
            let bytes = <[u8; 32]>::try_from(decode(encoded)?.as_slice());
            let bytes = bytes.map_err(|_| length(PUBLIC_PREFIX, "32"))?;
            return Ok(Self::Ed25519(UnparsedPublicKey::new(&ED25519, bytes)));
        }
        if versioned("v1a,", ED25519_PREFIX).is_some() {
            return Err(InvalidSecret::PrivateKey);
        }
        Self::parse_bare(text.strip_prefix("v1,").unwrap_or(text))
    }

    /// Parses a secret without a prefix.
    ///
    /// Only its length distinguishes it from a word such as `changeme`, or from a setting that was
    /// never filled in.
    fn parse_bare(encoded: &str) -> Result<Self, InvalidSecret> {
        // The underscore is also a letter of the URL-safe alphabet, so a prefix of another kind or
        // in another case must not become part of the secret.
        let prefixes = [HMAC_PREFIX, ED25519_PREFIX, PUBLIC_PREFIX];
        let begins_like = |prefix: &&str| {
            let begin = encoded.get(..prefix.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
        };
        if prefixes.iter().any(begins_like) {
            return Err(InvalidSecret::Prefix);
        }
        let bytes = decode(encoded).map_err(|_| InvalidSecret::Prefix)?;
        if bytes.len() < MIN_BARE_BYTES {
            return Err(InvalidSecret::Prefix);
        }
        hmac_key(&bytes).ok_or_else(|| length(HMAC_PREFIX, HMAC_BYTES))
    }
}

/// Returns the key, or `None` if there are too few or too many bytes. Anyone could sign with an
/// empty key.
fn hmac_key(bytes: &[u8]) -> Option<VerificationKey> {
    let usable = (1..=MAX_HMAC_BYTES).contains(&bytes.len());
    usable.then(|| VerificationKey::Hmac(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, bytes))))
}

/// Decodes base64 in either alphabet, with or without padding, on one or several lines.
fn decode(encoded: &str) -> Result<Zeroizing<Vec<u8>>, InvalidSecret> {
    // Reserve everything at once in both buffers: a reallocation would leave an unwiped copy
    // behind.
    let mut standard = Zeroizing::new(Vec::with_capacity(encoded.len()));
    let bytes = encoded.bytes().filter(|byte| !byte.is_ascii_whitespace());
    standard.extend(bytes.map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }));
    let mut bytes = Zeroizing::new(Vec::with_capacity(standard.len()));
    match SLOPPY.decode_vec(&*standard, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(InvalidSecret::Base64),
    }
}

/// Ignores leftover bits at the end, as most decoders do: some secrets are random letters that were
/// never encoded.
const SLOPPY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The longest HMAC key. A key beyond 64 bytes is hashed first (RFC 2104 §2), so more bytes make it
/// no stronger.
const MAX_HMAC_BYTES: usize = 1_024;

/// The allowed key lengths, for error messages.
const HMAC_BYTES: &str = "1 to 1024";

/// The minimum length in bytes of a secret without a prefix: the shortest that a sender is known to
/// issue.
const MIN_BARE_BYTES: usize = 16;

/// The longest text parsed: enough for the longest key, its prefix and line ends.
const MAX_TEXT_BYTES: usize = 2 * MAX_HMAC_BYTES;

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

    use super::*;
    use crate::domain::signing::signature::SigningSecret;
    use crate::domain::signing::signature::vectors::{BODY, ED25519, ED25519_ENTRY, ID, TIMESTAMP};
    use crate::domain::value::time::Timestamp;
    use crate::verify::{Verifier, VerifyError};

    // Computed independently of this crate, with Python's hmac.
    const BYTES_16: (&str, &str) = (
        "EDVaf6TJ7hM4XYKnzPEWOw==",
        "v1,KdySGfG2HOJlRt67lUOhyogA8Eq+QE1oYvqcnhstLR4=",
    );
    const BYTES_72: (&str, &str) = (
        "SG2St9wBJktwlbrfBClOc5i94gcsUXabwOUKL1R5nsPoDTJXfKHG6xA1Wn+kye4TOF2Cp8zxFjtgharP9Bk+Y4it0vccQWaL",
        "v1,P/ZZxVTOfgB9SyEuZbYWYLrR8pn7Awsb3T7RIXmn6i4=",
    );
    const BYTES_1: (&str, &str) = ("AQ==", "v1,4gSWYImObezboYN8eiWmJrHLHwevX4yElXAPnG5R4ns=");
    /// Contains `/`, `+` and padding.
    const BYTES_64: (&str, &str) = (
        "QGWKr9T5HkNojbLX/CFGa5C12v8kSW6TuN0CJ0xxlrvgBSpPdJm+4wgtUnecweYLMFV6n8TpDjNYfaLH7BE2Ww==",
        "v1,TM8Rpa95CDa5R9jVJ77KMrYw7BGUSn8qVMlw14fYcuw=",
    );

    fn verify(secret: &str, entry: &str) -> Result<(), VerifyError> {
        let headers = [
            ("webhook-id", ID),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", entry),
        ];
        let verifier = Verifier::new(secret).unwrap();
        let now = Timestamp::from_unix_millis(TIMESTAMP * 1_000);
        verifier.verify(&headers, BODY, now).map(drop)
    }

    #[track_caller]
    fn verifies(secret: &str, entry: &str) {
        assert_eq!(verify(secret, entry), Ok(()), "{secret:?}");
    }

    #[track_caller]
    fn refused(secret: &str, expected: &InvalidSecret) {
        let error = Verifier::new(secret).unwrap_err();
        assert_eq!(&error, expected, "{secret:?}");
    }

    fn url_safe(encoded: &str) -> String {
        encoded.replace('+', "-").replace('/', "_")
    }

    /// The lengths and notations that senders really issue (svix-cli#35, polar#13522,
    /// standard-webhooks#235), which a verifier as strict as a signer would refuse.
    #[test]
    fn a_secret_is_taken_as_its_sender_issued_it() {
        for (encoded, entry) in [BYTES_16, BYTES_72, BYTES_64] {
            let bare = encoded.trim_end_matches('=');
            let (half, rest) = encoded.split_at(encoded.len() / 2);
            for encoded in [
                encoded.to_owned(),
                bare.to_owned(),
                url_safe(encoded),
                url_safe(bare),
                format!("{half}\n{rest}"),
            ] {
                for prefix in ["", "whsec_", "v1,whsec_", "v1,"] {
                    for (before, after) in [("", ""), ("", "\n"), ("", "\r\n"), (" \t", " ")] {
                        verifies(&format!("{before}{prefix}{encoded}{after}"), entry);
                    }
                }
            }
        }
        verifies(&format!("whsec_{}", BYTES_1.0), BYTES_1.1);
    }

    #[test]
    fn another_secret_of_an_odd_length_does_not_verify() {
        let none = Err(VerifyError::NoMatchingSignature);
        assert_eq!(verify(BYTES_16.0, BYTES_72.1), none);
        assert_eq!(verify(BYTES_72.0, BYTES_16.1), none);
        assert_eq!(verify(&BYTES_72.0[..88], BYTES_72.1), none);
    }

    #[test]
    fn an_empty_or_endless_secret_is_refused() {
        for empty in ["whsec_", "v1,whsec_", " whsec_ \n", "whsec_\n"] {
            refused(empty, &length(HMAC_PREFIX, HMAC_BYTES));
        }
        for empty in ["", " ", "\n", "v1,", "=", "===="] {
            refused(empty, &InvalidSecret::Prefix);
        }
        refused("whsec_==", &InvalidSecret::Base64);
        let of = |count: usize| STANDARD.encode(vec![7; count]);
        assert!(Verifier::new(&of(1_024)).is_ok());
        for prefix in ["", "whsec_"] {
            for count in [1_025, 1_000_000] {
                let long = format!("{prefix}{}", of(count));
                refused(&long, &length(HMAC_PREFIX, HMAC_BYTES));
            }
        }
    }

    #[test]
    fn without_a_prefix_a_word_is_no_secret() {
        for word in [
            "hush",
            "null",
            "undefined",
            "changeme",
            "correct horse battery staple!",
        ] {
            refused(word, &InvalidSecret::Prefix);
        }
        refused(&STANDARD.encode([7; 15]), &InvalidSecret::Prefix);
        // Read as URL-safe base64 this would be a valid but wrong secret.
        for wrong in ["WHSEC_", "whsk_", "v1,whpk_", "Whpk_"] {
            let text = format!("{wrong}{}", URL_SAFE.encode([7; 33]));
            let error = Verifier::new(&text).unwrap_err();
            let expected = [InvalidSecret::Prefix, InvalidSecret::PrivateKey];
            assert!(expected.contains(&error), "{text}: {error}");
        }
        refused("whsec_not base64!", &InvalidSecret::Base64);
        refused("whsec_AAAA=AAA", &InvalidSecret::Base64);
        refused("whsec_AAAAA", &InvalidSecret::Base64);
        refused("whsec_ü", &InvalidSecret::Base64);
    }

    /// Random letters used as base64: other decoders ignore the leftover bits.
    #[test]
    fn bits_left_over_are_ignored() {
        let entry = SigningSecret::parse("whsec_GD1ih6zR9htAZYqv1PkeQ2iNstf8IUZrAA==").unwrap();
        let entry = entry.sign(ID, TIMESTAMP, BODY);
        verifies("whsec_GD1ih6zR9htAZYqv1PkeQ2iNstf8IUZrAB", &entry);
    }

    #[test]
    fn a_public_key_is_taken_however_it_is_written() {
        let public = SigningSecret::parse(ED25519).unwrap().public_key().unwrap();
        let encoded = public.strip_prefix("whpk_").unwrap();
        let bytes = STANDARD.decode(encoded).unwrap();
        for encoded in [
            encoded,
            &URL_SAFE.encode(&bytes),
            &URL_SAFE_NO_PAD.encode(&bytes),
        ] {
            for prefix in ["whpk_", "v1a,whpk_"] {
                verifies(&format!(" {prefix}{encoded}\r\n"), ED25519_ENTRY);
            }
        }
        for count in [0, 31, 33, 64] {
            let other = format!("whpk_{}", STANDARD.encode(vec![7; count]));
            refused(&other, &length(PUBLIC_PREFIX, "32"));
        }
        refused(&format!("v1a,{ED25519}\n"), &InvalidSecret::PrivateKey);
    }

    #[test]
    fn what_signs_stays_as_the_specification_has_it() {
        for (encoded, _) in [BYTES_16, BYTES_72, BYTES_1] {
            assert!(SigningSecret::parse(&format!("whsec_{encoded}")).is_err());
        }
        for (encoded, _) in [BYTES_16, BYTES_72, BYTES_64] {
            assert!(SigningSecret::parse(encoded).is_err());
            assert!(SigningSecret::parse(&format!("v1,whsec_{encoded}")).is_err());
            assert!(SigningSecret::parse(&format!("whsec_{encoded}\n")).is_err());
        }
        assert!(SigningSecret::parse(&format!("whsec_{}", BYTES_64.0)).is_ok());
    }
}
