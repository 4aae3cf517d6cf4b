//! The secrets of an endpoint, and the names of its signature headers.

use crate::domain::endpoint::header::{OWNED_HEADERS, check_header_name};
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::signing::signature::{
    Content, InvalidSecret, MAX_SIGNING_SECRETS, SigningSecret,
};
use crate::domain::signing::signer::{EndpointSecret, SignatureHeaders, Signer};
use crate::domain::value::time::Timestamp;

impl Endpoint {
    /// Signs every call with a secret (`whsec_…` for HMAC-SHA256, `whsk_…` for ed25519). Defaults
    /// to no signature.
    ///
    /// Several secrets, at most 8, sign side by side; the signature of the last one added comes
    /// first.
    ///
    /// The signature is bound to id, time and body, and reveals nothing about the secret. A
    /// redirect to another origin keeps it, so that a receiver that has moved can still check it.
    ///
    /// # Errors
    /// Returns [`InvalidSecret`] if the text is not a usable secret, or if there are too many.
    pub fn secret(self, secret: &str) -> Result<Self, InvalidSecret> {
        self.add_secret(secret, None)
    }

    /// Adds a secret that signs only the attempts made before `until`: the old one, while the
    /// receiver changes to the new one.
    ///
    /// Once the last secret of an endpoint has ended, calls go out without a signature.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use actix_webhooks::{Endpoint, Timestamp};
    ///
    /// let (old, new) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_plJ3nmyCDGBKInavdOK15jsl9bBzJYg8");
    /// let tomorrow = Timestamp::from(SystemTime::now()) + Duration::from_hours(24);
    /// let endpoint = Endpoint::new("https://example.com/hooks")?.secret(new)?.secret_until(old, tomorrow)?;
    /// # drop(endpoint);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`InvalidSecret`] if the text is not a usable secret, or if there are too many.
    pub fn secret_until(self, secret: &str, until: Timestamp) -> Result<Self, InvalidSecret> {
        self.add_secret(secret, Some(until))
    }

    fn add_secret(mut self, text: &str, until: Option<Timestamp>) -> Result<Self, InvalidSecret> {
        let secret = SigningSecret::parse(text)?;
        if self.secrets.len() >= MAX_SIGNING_SECRETS {
            return Err(InvalidSecret::TooMany);
        }
        self.secrets.push(EndpointSecret { secret, until });
        Ok(self)
    }

    /// Sets the names of the id, time and signature headers, for receivers that expect other names.
    ///
    /// They replace the standard ones. Defaults to [`SignatureHeaders::standard`].
    #[must_use]
    pub fn signature_headers(mut self, names: SignatureHeaders) -> Self {
        self.signature_headers = Some(Box::new(names));
        self
    }

    /// Returns the value of the signature header for an attempt made at `now`; `None` if no secret
    /// signs then.
    ///
    /// For transports and tests: the engine signs by itself.
    pub fn signature(&self, id: &str, now: Timestamp, body: &[u8]) -> Option<String> {
        let mut header = String::new();
        let mut number = itoa::Buffer::new();
        let timestamp = number.format(now.unix_seconds());
        let content = Content {
            id,
            timestamp,
            body,
        };
        self.signer().sign(now, &content, &mut header);
        (!header.is_empty()).then_some(header)
    }

    /// Returns the signer of its calls.
    pub(crate) fn signer(&self) -> Signer {
        let names = self.signature_headers.as_deref().cloned();
        Signer::new(&self.secrets, names.unwrap_or_default())
    }

    /// Checks the signature settings; `client_id_header` is the engine's own name for that header.
    pub(super) fn check_signing(&self, client_id_header: &str) -> Result<(), InvalidEndpoint> {
        if self.secrets.len() > MAX_SIGNING_SECRETS {
            return Err(InvalidSecret::TooMany.into());
        }
        let Some(names) = &self.signature_headers else {
            return Ok(());
        };
        for (index, name) in names.all().into_iter().enumerate() {
            check_header_name(name)?;
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            let standard = SignatureHeaders::STANDARD;
            let owned = OWNED_HEADERS
                .iter()
                .any(|owned| is(owned) && !standard.all().contains(owned));
            let further = self.headers.iter().any(|header| is(&header.name));
            let again = names.all().into_iter().skip(index + 1).any(is);
            if owned || further || again || is(client_id_header) || is("user-agent") || is("accept")
            {
                return Err(InvalidEndpoint::SignatureHeader(name.to_owned()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use ring::signature::UnparsedPublicKey;

    use super::*;
    use crate::domain::signing::signature::vectors::{
        BODY, ED25519, ED25519_ENTRY, HMAC, HMAC_ENTRY, ID,
    };

    const OTHER: &str = "whsec_plJ3nmyCDGBKInavdOK15jsl9bBzJYg8";

    fn endpoint() -> Endpoint {
        Endpoint::new("https://example.com/").unwrap()
    }

    /// The time of the test vectors, plus `millis`.
    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_614_265_330_000 + millis)
    }

    #[track_caller]
    fn refused(endpoint: &Endpoint, expected: &InvalidEndpoint) {
        assert_eq!(endpoint.check("X-Codat-ClientId").as_ref(), Err(expected));
    }

    #[test]
    fn both_algorithms_sign_side_by_side_with_the_seconds_of_the_attempt() {
        let signature = |endpoint: &Endpoint, now| endpoint.signature(ID, now, BODY);
        assert_eq!(signature(&endpoint(), at(0)), None);
        let one = endpoint().secret(HMAC).unwrap();
        assert_eq!(signature(&one, at(0)).unwrap(), HMAC_ENTRY);
        assert_eq!(signature(&one, at(999)).unwrap(), HMAC_ENTRY);
        assert_ne!(signature(&one, at(1_000)).unwrap(), HMAC_ENTRY);
        let two = one.secret(ED25519).unwrap();
        assert_eq!(
            signature(&two, at(0)).unwrap(),
            format!("{ED25519_ENTRY} {HMAC_ENTRY}"),
            "the one added last first"
        );
    }

    #[test]
    fn a_secret_signs_until_its_end_and_the_newest_comes_first() {
        let third = SigningSecret::parse(OTHER)
            .unwrap()
            .sign(ID, 1_614_265_330, BODY);
        let mut secrets = [(HMAC, None), (ED25519, Some(at(20))), (OTHER, Some(at(10)))];
        for _ in 0..secrets.len() {
            secrets.rotate_left(1);
            let mut endpoint = endpoint();
            for (secret, until) in secrets {
                endpoint = match until {
                    None => endpoint.secret(secret),
                    Some(until) => endpoint.secret_until(secret, until),
                }
                .unwrap();
            }
            let signature = |millis| endpoint.signature(ID, at(millis), BODY).unwrap();
            let all = format!("{HMAC_ENTRY} {ED25519_ENTRY} {third}");
            assert_eq!(signature(9), all);
            assert_eq!(signature(10), format!("{HMAC_ENTRY} {ED25519_ENTRY}"));
            assert_eq!(signature(19), format!("{HMAC_ENTRY} {ED25519_ENTRY}"));
            assert_eq!(signature(20), HMAC_ENTRY);
        }
        let ended = endpoint().secret_until(HMAC, at(0)).unwrap();
        assert_eq!(ended.signature(ID, at(0), BODY), None);
    }

    /// Checked against another implementation: the whole body is signed, however large.
    #[test]
    fn every_byte_of_a_body_is_signed() {
        let key = STANDARD.decode(HMAC.trim_start_matches("whsec_")).unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
        let pair = SigningSecret::parse(ED25519).unwrap().public_key().unwrap();
        let pair = STANDARD.decode(pair.trim_start_matches("whpk_")).unwrap();
        let public = UnparsedPublicKey::new(&ring::signature::ED25519, pair);
        let (mac, pair) = (endpoint().secret(HMAC), endpoint().secret(ED25519));
        let (mac, pair) = (mac.unwrap(), pair.unwrap());
        for size in [0, 1, 16_383, 16_384, 16_385, 65_537, 1_048_576] {
            let body: Vec<u8> = (0..size)
                .map(|at: u32| at.to_le_bytes()[0] ^ 0x5A)
                .collect();
            let content = [b"msg.1614265330.", &body[..]].concat();
            let signature = |endpoint: &Endpoint, version: &str| {
                let entry = endpoint.signature("msg", at(0), &body).unwrap();
                STANDARD
                    .decode(entry.strip_prefix(version).unwrap())
                    .unwrap()
            };
            let verified = ring::hmac::verify(&key, &content, &signature(&mac, "v1,"));
            assert!(verified.is_ok(), "{size}");
            let verified = public.verify(&content, &signature(&pair, "v1a,"));
            assert!(verified.is_ok(), "{size}");
        }
    }

    #[test]
    fn there_are_at_most_eight_secrets() {
        let seven = (0..7).fold(endpoint(), |endpoint, _| endpoint.secret(HMAC).unwrap());
        let eight = seven.secret_until(OTHER, at(0)).unwrap();
        assert_eq!(eight.check("X-Codat-ClientId"), Ok(()));
        let error = eight.clone().secret(HMAC).unwrap_err();
        assert_eq!(error, InvalidSecret::TooMany);
        let mut nine = eight;
        nine.secrets.extend_from_within(..1);
        refused(&nine, &InvalidEndpoint::Secret(InvalidSecret::TooMany));
    }

    #[test]
    fn signature_headers_are_checked_like_other_headers() {
        let named = |names| endpoint().header("X-Team", "t").signature_headers(names);
        for names in [
            SignatureHeaders::standard(),
            SignatureHeaders::prefixed("svix"),
            SignatureHeaders::prefixed("Webhook"),
            SignatureHeaders::named("webhook-id", "X-Time", "X-Signature"),
        ] {
            assert_eq!(named(names).check("X-Codat-ClientId"), Ok(()));
        }
        for taken in [
            "Authorization",
            "Content-Length",
            "User-Agent",
            "webhook-attempt",
            "x-codat-clientid",
            "x-team",
            "X-SIGNATURE",
        ] {
            let error = InvalidEndpoint::SignatureHeader(taken.to_owned());
            let names = SignatureHeaders::named(taken, "X-Time", "X-Signature");
            refused(&named(names), &error);
        }
        let twice = SignatureHeaders::named("X-Id", "X-Same", "x-same");
        refused(
            &named(twice),
            &InvalidEndpoint::SignatureHeader("X-Same".to_owned()),
        );
        for wrong in ["a b", "X\r\nX-Evil: 1", "ü"] {
            let names = SignatureHeaders::prefixed(wrong);
            let error = InvalidEndpoint::HeaderName(format!("{wrong}-id"));
            refused(&named(names), &error);
        }
        assert!(
            named(SignatureHeaders::named("", "a", "b"))
                .check("c")
                .is_err()
        );
    }

    #[test]
    fn secrets_are_in_neither_debug_output_nor_json() {
        let endpoint = endpoint()
            .secret(HMAC)
            .unwrap()
            .secret_until(ED25519, at(0))
            .unwrap();
        let json = serde_json::to_value(&endpoint).unwrap();
        assert_eq!(
            json["secrets"],
            serde_json::json!([{ "secret": null }, { "secret": null, "until": "2021-02-25T15:02:10.000Z" }])
        );
        for shown in [
            format!("{endpoint:?}"),
            format!("{:?}", endpoint.signer()),
            json.to_string(),
        ] {
            for secret in [HMAC, ED25519] {
                let (_, secret) = secret.split_once('_').unwrap();
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }
}
