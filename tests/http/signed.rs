//! Signatures as receivers get them.

use std::time::{Duration, SystemTime};

use actix_webhooks::verify::{Verified, Verifier, VerifyError};
use actix_webhooks::{
    Endpoint, Engine, GetStatus, Outcome, RetryPolicy, SignatureHeaders, SigningSecret, Timestamp,
};

use super::support::{Bed, Connection, Receiver, Request, endpoint, run};

const HMAC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD: &str = "whsec_plJ3nmyCDGBKInavdOK15jsl9bBzJYg8";
const ED25519: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";

/// Starts a receiver that answers its first `times` requests with 503, and then with 200.
async fn failing(times: usize) -> Receiver {
    let failures = std::cell::Cell::new(times);
    Receiver::start(async move |mut connection: Connection| {
        while connection.request().await.is_some() {
            let left = failures.get();
            failures.set(left.saturating_sub(1));
            connection.answer(if left > 0 { 503 } else { 200 }).await;
        }
    })
    .await
}

#[expect(clippy::disallowed_methods, reason = "a receiver's clock")]
fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

fn verify(verifier: &Verifier, request: &Request) -> Result<Verified, VerifyError> {
    verifier.verify(&request.headers, &request.body, now())
}

fn verifier(secret: &str) -> Verifier {
    Verifier::new(secret).unwrap()
}

#[test]
fn every_attempt_has_the_same_id_a_fresh_time_and_a_right_signature() {
    run(async {
        let receiver = failing(2).await;
        let wait = Duration::from_millis(1_100);
        let policy = RetryPolicy::custom([wait, wait]).without_jitter();
        let endpoint = endpoint(&receiver.url("/")).retry(policy);
        let endpoint = endpoint.secret(HMAC).unwrap().secret(ED25519).unwrap();
        let mut bed = Bed::to(endpoint).await;
        bed.publish("e").await;
        let outcome = loop {
            let report = bed.report().await;
            if report.next_attempt_at.is_none() {
                break report.outcome;
            }
        };
        assert_eq!(outcome, Outcome::Delivered);

        let public = SigningSecret::parse(ED25519).unwrap().public_key().unwrap();
        let requests = receiver.requests();
        assert_eq!(requests.len(), 3);
        let mut last: Option<Verified> = None;
        for request in &requests {
            let verified = verify(&verifier(HMAC), request).unwrap();
            assert_eq!(verify(&verifier(&public), request), Ok(verified.clone()));
            let none = Err(VerifyError::NoMatchingSignature);
            assert_eq!(verify(&verifier(OLD), request), none);
            assert_eq!(request.header("webhook-id"), Some(verified.id.as_str()));
            if let Some(last) = last {
                assert_eq!(verified.id, last.id);
                assert!(verified.timestamp > last.timestamp);
            }
            last = Some(verified);
        }
        bed.end().await;
    });
}

#[test]
fn a_secret_that_has_ended_signs_no_more_and_the_newest_comes_first() {
    run(async {
        let receiver = failing(0).await;
        let day = Duration::from_hours(24);
        let endpoint = endpoint(&receiver.url("/"))
            .secret_until(ED25519, now())
            .and_then(|endpoint| endpoint.secret_until(OLD, now() + day))
            .and_then(|endpoint| endpoint.secret(HMAC));
        let mut bed = Bed::to(endpoint.unwrap()).await;
        bed.deliver("e").await;
        let [request] = &receiver.requests()[..] else {
            panic!("one request");
        };
        let signatures = request.header("webhook-signature").unwrap();
        let entries: Vec<_> = signatures.split(' ').collect();
        assert_eq!(entries.len(), 2);
        for (secret, entry) in [HMAC, OLD].into_iter().zip(entries) {
            let mut only = request.clone();
            for (name, value) in &mut only.headers {
                if name == "webhook-signature" {
                    entry.clone_into(value);
                }
            }
            assert!(verify(&verifier(secret), &only).is_ok(), "{entry}");
        }
        bed.end().await;
    });
}

#[test]
fn without_a_secret_nothing_is_signed() {
    run(async {
        let receiver = failing(0).await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        bed.deliver("e").await;
        assert_eq!(receiver.requests()[0].header("webhook-signature"), None);
        bed.end().await;
    });
}

#[test]
fn headers_can_have_the_names_that_a_receiver_knows() {
    run(async {
        let receiver = failing(0).await;
        let names = SignatureHeaders::prefixed("svix");
        let endpoint = endpoint(&receiver.url("/"))
            .secret(HMAC)
            .unwrap()
            .signature_headers(names.clone());
        let mut bed = Bed::to(endpoint).await;
        bed.deliver("e").await;
        let [request] = &receiver.requests()[..] else {
            panic!("one request");
        };
        assert!(verify(&verifier(HMAC).headers(names), request).is_ok());
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            assert_eq!(request.header(name), None);
        }
        assert_eq!(request.header("webhook-attempt"), Some("1"));
        bed.end().await;
    });
}

#[test]
fn a_receiver_that_has_moved_to_another_host_can_still_verify() {
    run(async {
        let moved = failing(0).await;
        let location = moved.url("/moved");
        let receiver = Receiver::start(async move |mut connection: Connection| {
            while connection.request().await.is_some() {
                let head = format!("Location: {location}\r\nContent-Length: 0");
                let answer = format!("HTTP/1.1 308 Moved\r\n{head}\r\n\r\n");
                connection.send(answer).await;
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/")).secret(HMAC).unwrap()).await;
        let report = bed.deliver("e").await;
        assert_eq!((report.outcome, report.redirects), (Outcome::Delivered, 1));
        assert!(verify(&verifier(HMAC), &moved.requests()[0]).is_ok());
        bed.end().await;
    });
}

#[test]
fn no_status_report_or_debug_output_has_a_secret() {
    run(async {
        let receiver = failing(1).await;
        let endpoint = endpoint(&receiver.url("/")).secret(HMAC).unwrap();
        let endpoint = endpoint.secret(ED25519).unwrap();
        let builder = Engine::builder().endpoint(endpoint.clone());
        let mut shown = vec![
            format!("{builder:?}"),
            format!("{endpoint:?}"),
            serde_json::to_string(&endpoint).unwrap(),
        ];
        let mut bed = Bed::to(endpoint).await;
        let report = bed.deliver("e").await;
        shown.push(format!("{report:?}"));
        shown.push(serde_json::to_string(&report).unwrap());
        let url = receiver.url("/");
        let status = bed.engine.supervisor().send(GetStatus::new(&url)).await;
        let status = status.unwrap().unwrap();
        shown.push(format!("{status:?} {:?}", bed.engine));
        shown.push(serde_json::to_string(&status).unwrap());
        for text in shown {
            for secret in [HMAC, ED25519] {
                let (_, secret) = secret.split_once('_').unwrap();
                assert!(!text.contains(secret), "{text}");
            }
        }
        bed.end().await;
    });
}

#[test]
fn an_endpoint_can_be_read_from_json_with_its_secrets() {
    let json = format!(
        r#"{{"url":"https://a.test/","secrets":[{{"secret":"{HMAC}"}},{{"secret":"{OLD}","until":"2030-01-01T00:00:00Z"}}]}}"#
    );
    let read: Endpoint = serde_json::from_str(&json).unwrap();
    let until: Timestamp = serde_json::from_str("\"2030-01-01T00:00:00Z\"").unwrap();
    let built = Endpoint::new("https://a.test/")
        .unwrap()
        .secret(HMAC)
        .unwrap()
        .secret_until(OLD, until)
        .unwrap();
    assert_eq!(read, built);
    let wrong = json.replace(HMAC, "whsec_hush");
    let error = serde_json::from_str::<Endpoint>(&wrong).unwrap_err();
    assert!(!error.to_string().contains("hush"), "{error}");
}
