use actix_webhooks::verify::{Verifier, VerifyError};
use actix_webhooks::{SigningSecret, Timestamp};

/// Checks a signature: the lines are the id, the timestamp, the signatures, and the body.
///
/// # Panics
/// If a property does not hold: an accepted input has the right signature and a recent timestamp,
/// and every input that was signed lately is accepted.
pub fn signature(data: &[u8]) {
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (id, timestamp, signatures, body) = (line(), line(), line(), line());
    let now = Timestamp::from_unix_millis(NOW * 1_000);
    let secret = SigningSecret::parse(SECRET).expect("it is a secret");
    let verifier = Verifier::new(SECRET).expect("it is a secret");
    let verify = |id: &[u8], timestamp: &[u8], signatures: &[u8]| {
        let headers = [
            ("webhook-id", id),
            ("webhook-timestamp", timestamp),
            ("webhook-signature", signatures),
        ];
        verifier.verify(&headers, body, now)
    };
    if let Ok(verified) = verify(id, timestamp, signatures) {
        assert_eq!(verified.id.as_bytes(), id);
        let seconds = verified.timestamp.unix_seconds();
        assert!(seconds.abs_diff(NOW) <= 300, "lately");
        let text = std::str::from_utf8(timestamp).expect("it was read");
        assert_eq!(text.parse(), Ok(seconds));
        // A timestamp with leading zeros is signed as written, which no signer of numbers would
        // produce.
        if text == seconds.to_string() {
            let entry = secret.sign(&verified.id, seconds, body);
            let mut given = signatures.split(|byte| *byte == b' ');
            assert!(given.any(|given| given == entry.as_bytes()));
        }
    }
    let Ok(text) = std::str::from_utf8(id) else {
        return;
    };
    let given = std::str::from_utf8(timestamp).ok();
    let given = given.and_then(|given| given.parse().ok());
    for seconds in [Some(NOW), given].into_iter().flatten() {
        let signed = secret.sign(text, seconds, body);
        let recent = seconds.abs_diff(NOW) <= 300;
        match verify(id, seconds.to_string().as_bytes(), signed.as_bytes()) {
            Ok(_) => assert!(recent, "what is signed for another time is refused"),
            Err(VerifyError::MalformedHeader(_)) => {}
            Err(error) => assert!(!recent, "what is signed is accepted: {error:?}"),
        }
    }
}

/// The time of the published test vector.
const NOW: i64 = 1_614_265_330;

/// The secret of the published test vector.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
