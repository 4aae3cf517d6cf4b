use std::time::Duration;

use actix_http::Request;
use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::KeyPair as _;

use super::*;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::signing::signature::vectors::{
    BODY, ED25519, ED25519_ENTRY, HMAC, HMAC_ENTRY, ID, TIMESTAMP,
};
use crate::domain::signing::signature::{HMAC_PREFIX, PUBLIC_PREFIX, SigningSecret, length};

const OTHER: &str = "whsec_plJ3nmyCDGBKInavdOK15jsl9bBzJYg8";

fn public() -> String {
    SigningSecret::parse(ED25519).unwrap().public_key().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(seconds * 1_000)
}

fn headers(signature: &str) -> [(&str, &str); 3] {
    let timestamp = "1614265330";
    [
        ("webhook-id", ID),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", signature),
    ]
}

#[track_caller]
fn check(secret: &str, signature: &str, expected: &Result<(), VerifyError>) {
    let verifier = Verifier::new(secret).unwrap();
    let verified = verifier.verify(&headers(signature), BODY, at(TIMESTAMP));
    assert_eq!(&verified.map(drop), expected, "{signature}");
}

const NONE: Result<(), VerifyError> = Err(VerifyError::NoMatchingSignature);

#[test]
fn the_published_vectors_are_accepted() {
    check(HMAC, HMAC_ENTRY, &Ok(()));
    check(&public(), ED25519_ENTRY, &Ok(()));
    let verifier = Verifier::new(HMAC).unwrap();
    let verified = verifier.verify(&headers(HMAC_ENTRY), BODY, at(TIMESTAMP));
    let expected = Verified {
        id: ID.to_owned(),
        timestamp: at(TIMESTAMP),
    };
    assert_eq!(verified, Ok(expected));
}

#[test]
fn any_entry_may_match_any_key_and_unknown_versions_are_skipped() {
    let both = format!("v1,AAAA v9,x v1a,AAAA {HMAC_ENTRY} {ED25519_ENTRY}");
    check(HMAC, &both, &Ok(()));
    check(&public(), &both, &Ok(()));
    check(OTHER, &both, &NONE);
    let two = Verifier::new(OTHER).unwrap().secret(HMAC).unwrap();
    assert!(two.verify(&headers(&both), BODY, at(TIMESTAMP)).is_ok());
}

#[test]
fn a_signature_counts_under_its_own_version_only() {
    for (entry, other) in [("v1,", "v1a,"), ("v1,", "v2,"), ("v1,", "v1"), ("v1,", "")] {
        check(HMAC, &HMAC_ENTRY.replace(entry, other), &NONE);
    }
    check(&public(), &ED25519_ENTRY.replace("v1a,", "v1,"), &NONE);
}

#[test]
fn what_is_cut_off_or_changed_is_refused() {
    for secret in [HMAC, ED25519] {
        let secret = SigningSecret::parse(secret).unwrap();
        let verifier = Verifier::new(&secret.public_key().unwrap_or_else(|| HMAC.to_owned()));
        let verifier = verifier.unwrap();
        let entry = secret.sign(ID, TIMESTAMP, BODY);
        let verify = |entry: &str, body: &[u8]| {
            verifier
                .verify(&headers(entry), body, at(TIMESTAMP))
                .map(drop)
        };
        assert_eq!(verify(&entry, BODY), Ok(()));
        assert_eq!(verify(&entry, &BODY[1..]), NONE);
        assert_eq!(verify(&entry, b""), NONE);
        for end in 0..entry.len() {
            assert_eq!(verify(&entry[..end], BODY), NONE);
        }
        let (version, encoded) = entry.split_once(',').unwrap();
        let mut signature = STANDARD.decode(encoded).unwrap();
        for index in 0..signature.len() {
            signature[index] ^= 1;
            let changed = format!("{version},{}", STANDARD.encode(&signature));
            assert_eq!(verify(&changed, BODY), NONE);
            signature[index] ^= 1;
        }
        signature.push(0);
        let longer = format!("{version},{}", STANDARD.encode(&signature));
        assert_eq!(verify(&longer, BODY), NONE);
    }
}

#[test]
fn the_tolerance_holds_in_both_directions() {
    let check = |verifier: &Verifier, now: Timestamp, expected| {
        let verified = verifier.verify(&headers(HMAC_ENTRY), BODY, now);
        assert_eq!(verified.map(drop), expected, "{now}");
    };
    let five = Verifier::new(HMAC).unwrap();
    check(&five, at(TIMESTAMP + 300), Ok(()));
    check(&five, at(TIMESTAMP + 301), Err(VerifyError::TooOld));
    check(&five, at(TIMESTAMP - 300), Ok(()));
    check(&five, at(TIMESTAMP - 301), Err(VerifyError::TooNew));
    let one = five.tolerance(Duration::from_secs(1));
    check(&one, at(TIMESTAMP + 1), Ok(()));
    check(&one, at(TIMESTAMP + 2), Err(VerifyError::TooOld));
    check(&one, at(TIMESTAMP - 2), Err(VerifyError::TooNew));
}

#[test]
fn nothing_in_a_header_can_make_it_panic() {
    let verifier = Verifier::new(HMAC).unwrap().secret(&public()).unwrap();
    let long = vec![b'v'; 100_000];
    let wild: [&[u8]; 14] = [
        b"",
        b" ",
        b".",
        b"a.b",
        b"-1",
        b"+1614265330",
        b"1e9",
        b"99999999999999999999999999",
        b"999999999999",
        b"\xff\xfe",
        "ü".as_bytes(),
        b"v1,",
        b"v1,,,, v1a,= v1",
        &long,
    ];
    for id in wild {
        for timestamp in wild {
            for signature in wild {
                let headers = [
                    ("webhook-id", id),
                    ("webhook-timestamp", timestamp),
                    ("webhook-signature", signature),
                ];
                assert!(verifier.verify(&headers, BODY, at(TIMESTAMP)).is_err());
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_header_is_told() {
    let check = |changed: usize, value: Option<&str>, expected: VerifyError| {
        let mut headers = headers(HMAC_ENTRY).to_vec();
        match value {
            None => drop(headers.remove(changed)),
            Some(value) => headers[changed].1 = value,
        }
        let verified = Verifier::new(HMAC)
            .unwrap()
            .verify(&headers, BODY, at(TIMESTAMP));
        assert_eq!(verified, Err(expected));
    };
    let missing = |name: &str| VerifyError::MissingHeader(name.to_owned());
    check(0, None, missing("webhook-id"));
    check(1, None, missing("webhook-timestamp"));
    check(2, None, missing("webhook-signature"));
    for id in ["", "a b", "a.1614265330", &"x".repeat(257)] {
        check(
            0,
            Some(id),
            VerifyError::MalformedHeader("webhook-id".to_owned()),
        );
    }
    for timestamp in [
        "",
        "x",
        "-1",
        "1614265330.5",
        " 1614265330",
        "1234567890123",
    ] {
        check(
            1,
            Some(timestamp),
            VerifyError::BadTimestamp("webhook-timestamp".to_owned()),
        );
    }
    check(2, Some(""), VerifyError::NoMatchingSignature);
}

#[test]
fn work_is_bounded_however_many_entries_come() {
    let many = format!("{} {HMAC_ENTRY}", vec!["v1,AAAA"; 16].join(" "));
    check(HMAC, &many, &NONE);
    let fewer = format!("{} {HMAC_ENTRY}", vec!["v1,AAAA"; 15].join(" "));
    check(HMAC, &fewer, &Ok(()));
}

/// A request of 1 MiB without a valid signature used to take 284 ms with eight public keys: eight
/// keys times sixteen entries, each a pass over the body.
#[test]
fn ed25519_checks_are_shared_by_the_keys() {
    // A number below 2^253, so that only a pass over the body distinguishes it from a signature.
    let wrong = format!("v1a,{}", STANDARD.encode([1; 64]));
    let at_place = |place: usize| {
        let mut entries = vec![&*wrong; 16];
        entries[place] = ED25519_ENTRY;
        entries.join(" ")
    };
    let with_keys = |count: usize| {
        (1..count).fold(Verifier::new(&public()).unwrap(), |verifier, number| {
            let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
            let mut other = pair.public_key().as_ref().to_vec();
            other[0] ^= u8::try_from(number).unwrap();
            let other = format!("{PUBLIC_PREFIX}{}", STANDARD.encode(other));
            verifier.secret(&other).unwrap()
        })
    };
    for (keys, entries) in [(1, 16), (2, 8), (4, 4), (8, 2)] {
        let verifier = with_keys(keys);
        for place in 0..16 {
            let signatures = at_place(place);
            let verified = verifier.verify(&headers(&signatures), BODY, at(TIMESTAMP));
            assert_eq!(
                verified.is_ok(),
                place < entries,
                "{keys} keys, entry {place}"
            );
        }
    }
}

/// An entry that no key can have made is refused without reading the body.
#[test]
fn entries_of_no_known_form_are_refused_before_the_body_is_looked_at() {
    let public = Verifier::new(&public()).unwrap();
    let hmac = Verifier::new(HMAC).unwrap();
    let ed25519 = |byte| format!("v1a,{}", STANDARD.encode([byte; 64]));
    for (verifier, signatures, expected) in [
        (&public, HMAC_ENTRY.to_owned(), false),
        (&public, ed25519(0xFF), false),
        (&public, ed25519(0x20), false),
        (&public, ed25519(0x1F), true),
        (&public, format!("v1a,{}", STANDARD.encode([1; 63])), false),
        (&hmac, ED25519_ENTRY.to_owned(), false),
        (&hmac, "v1,AAAA v1, v1".to_owned(), false),
        (&hmac, format!("v2,x {HMAC_ENTRY}"), true),
    ] {
        let headers = headers(&signatures);
        let claimed = verifier.claim(&&headers, at(TIMESTAMP)).map(drop);
        assert_eq!(
            claimed,
            if expected { Ok(()) } else { NONE },
            "{signatures}"
        );
    }
}

#[test]
fn headers_can_have_other_names_as_the_sender_can_give_them() {
    let endpoint = Endpoint::new("https://a.test/")
        .unwrap()
        .secret(HMAC)
        .unwrap();
    let signature = endpoint.signature(ID, at(TIMESTAMP), BODY).unwrap();
    let headers = [
        ("Svix-Id", ID),
        ("SVIX-TIMESTAMP", "1614265330"),
        ("svix-signature", &signature),
    ];
    let verifier = Verifier::new(HMAC)
        .unwrap()
        .headers(SignatureHeaders::prefixed("svix"));
    assert!(verifier.verify(&headers, BODY, at(TIMESTAMP)).is_ok());
    let standard = Verifier::new(HMAC).unwrap();
    assert!(standard.verify(&headers, BODY, at(TIMESTAMP)).is_err());
}

#[test]
fn keys_are_checked_and_never_shown() {
    let refused = |text: &str| Verifier::new(text).unwrap_err();
    assert_eq!(refused("hush"), InvalidSecret::Prefix);
    assert_eq!(refused(ED25519), InvalidSecret::PrivateKey);
    assert_eq!(refused("whpk_AAAA"), length(PUBLIC_PREFIX, "32"));
    assert_eq!(refused("whsec_"), length(HMAC_PREFIX, "1 to 1024"));
    let mut verifier = Verifier::new(HMAC).unwrap();
    for _ in 1..8 {
        verifier = verifier.secret(OTHER).unwrap();
    }
    assert!(!format!("{verifier:?}").contains(&HMAC[6..]));
    assert_eq!(verifier.secret(OTHER).unwrap_err(), InvalidSecret::TooMany);
}

async fn receive(webhook: VerifiedWebhook) -> HttpResponse {
    let value: serde_json::Value = webhook.json().unwrap();
    let sent_at = webhook.timestamp.unix_seconds();
    HttpResponse::Ok().body(format!("{} {} {value}", webhook.id, sent_at - now()))
}

#[expect(clippy::disallowed_methods, reason = "the extractor reads the clock")]
fn now() -> i64 {
    Timestamp::from(std::time::SystemTime::now()).unix_seconds()
}

/// A request signed `age` seconds ago, with one header replaced or left out.
fn signed(age: i64, replaced: Option<(&str, Option<&str>)>) -> TestRequest {
    let timestamp = now() - age;
    let secret = SigningSecret::parse(HMAC).unwrap();
    let fields = [
        ("webhook-id", ID.to_owned()),
        ("webhook-timestamp", timestamp.to_string()),
        ("webhook-signature", secret.sign(ID, timestamp, BODY)),
    ];
    let mut request = TestRequest::post().uri("/").set_payload(BODY);
    for (name, value) in fields {
        let value = match replaced {
            Some((replaced, value)) if replaced == name => value.map(str::to_owned),
            _ => Some(value),
        };
        if let Some(value) = value {
            request = request.insert_header((name, value));
        }
    }
    request
}

async fn answer(verifier: Option<Verifier>, request: Request) -> (StatusCode, String) {
    let mut app = App::new().route("/", web::post().to(receive));
    if let Some(verifier) = verifier {
        app = app.app_data(web::Data::new(verifier));
    }
    let app = init_service(app).await;
    let response = call_service(&app, request).await;
    let status = response.status();
    let body = read_body(response).await;
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[actix_rt::test]
async fn a_handler_gets_what_was_signed() {
    let verifier = || Verifier::new(HMAC).unwrap();
    let (status, text) = answer(Some(verifier()), signed(100, None).to_request()).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(
        text.starts_with(ID) && text.ends_with(r#" {"test":2432232314}"#),
        "{text}"
    );
    let app = App::new().app_data(verifier());
    let app = init_service(app.route("/", web::post().to(receive))).await;
    let response = call_service(&app, signed(0, None).to_request()).await;
    assert_eq!(response.status(), StatusCode::OK, "without a web::Data");
}

#[actix_rt::test]
async fn a_handler_is_not_called_with_what_is_not_verified() {
    let check = async |request: Request, expected: u16, reason: &str| {
        let limited = Verifier::new(HMAC).unwrap().body_limit(BODY.len());
        let (status, text) = answer(Some(limited), request).await;
        assert_eq!((status.as_u16(), text.as_str()), (expected, reason));
    };
    let replaced = |name, value| signed(0, Some((name, value))).to_request();
    let sending = |body| signed(0, None).set_payload(body);
    let wrong = replaced("webhook-signature", Some(HMAC_ENTRY));
    let reason = "no signature matches; check the secret or public key";
    check(wrong, 401, reason).await;
    let other = sending(&b"{}"[..]).to_request();
    check(other, 401, reason).await;
    let (old, new) = (signed(400, None), signed(-400, None));
    check(old.to_request(), 401, "webhook was sent too long ago").await;
    let reason = "webhook was sent in the future; check the clocks of sender and receiver";
    check(new.to_request(), 401, reason).await;
    let missing = replaced("webhook-id", None);
    check(missing, 400, "header \"webhook-id\" is missing").await;
    let malformed = replaced("webhook-timestamp", Some("soon"));
    let reason = "header \"webhook-timestamp\" is not a time in unix seconds";
    check(malformed, 400, reason).await;

    let reason = "body is larger than 20 bytes";
    let announced = sending(b"").insert_header(("content-length", "21"));
    check(announced.to_request(), 413, reason).await;
    let mut unannounced = sending(&[b' '; 21]).to_request();
    unannounced.headers_mut().remove("content-length");
    check(unannounced, 413, reason).await;
}

#[actix_rt::test]
async fn without_a_verifier_nothing_is_accepted() {
    let (status, text) = answer(None, signed(0, None).to_request()).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text, "webhooks cannot be verified here");
}
