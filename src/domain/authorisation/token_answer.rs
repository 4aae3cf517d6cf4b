//! The answer of a token endpoint (RFC 6749 §5). Nothing in it is trusted, and nothing from it is
//! logged.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::domain::value::secret::Secret;

/// The longest answer of a token endpoint that is read, in bytes.
pub const MAX_TOKEN_ANSWER_BYTES: usize = 64 * 1_024;

/// The longest access token accepted, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1_024;

/// An access token as issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IssuedToken {
    /// The whole `Authorization` header.
    pub(crate) header: Secret,
    /// How long it can be used.
    pub(crate) life: Duration,
}

/// Why an answer holds no token. It is made only of our own words, so it can be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoToken {
    #[error("answered {0}")]
    Status(u16),
    #[error("answered {0}: {1}")]
    Refused(u16, &'static str),
    #[error("answer is longer than {MAX_TOKEN_ANSWER_BYTES} bytes")]
    TooLong,
    #[error("answer is not a JSON object with access_token")]
    Malformed,
    #[error("token_type is not bearer")]
    NotBearer,
    #[error(
        "access_token is empty, too long, or holds a character that an HTTP header cannot carry"
    )]
    NotSendable,
}

#[derive(Deserialize)]
struct Issued {
    access_token: Secret,
    #[serde(default)]
    token_type: Option<Value>,
    #[serde(default)]
    expires_in: Option<Value>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Returns the token of an answer with any 2xx.
///
/// RFC 6749 §5.1 requires 200, but issuers that treat a token as something created send 201. All
/// that counts is a usable token. White space around it is dropped, since a token cannot contain
/// any (RFC 6750 §2.1).
pub(crate) fn read_token(status: u16, body: &[u8]) -> Result<IssuedToken, NoToken> {
    let body = without_mark(body);
    if !(200..300).contains(&status) {
        return Err(refusal(status, body).unwrap_or(NoToken::Status(status)));
    }
    if body.len() > MAX_TOKEN_ANSWER_BYTES {
        return Err(NoToken::TooLong);
    }
    // Some issuers refuse with 200.
    let issued: Issued = serde_json::from_slice(body)
        .map_err(|_| refusal(status, body).unwrap_or(NoToken::Malformed))?;
    if !is_bearer(issued.token_type.as_ref()) {
        return Err(NoToken::NotBearer);
    }
    let token = issued.access_token.expose().trim_ascii();
    let sendable = token.bytes().all(|byte| byte.is_ascii_graphic());
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !sendable {
        return Err(NoToken::NotSendable);
    }
    Ok(IssuedToken {
        header: Secret::concat(&["Bearer ", token]),
        life: life(issued.expires_in.as_ref()),
    })
}

/// Returns the text without a byte order mark. RFC 8259 §8.1 forbids writing one and allows
/// ignoring it.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body)
}

/// Returns `true` if a token of this type can be sent as a bearer token.
///
/// An answer without a type is taken for bearer, the only type that is requested: if it was
/// another, the receiver answers 401. An answer with another type says that its token cannot be
/// used that way.
fn is_bearer(token_type: Option<&Value>) -> bool {
    match token_type {
        None | Some(Value::Null) => true,
        Some(Value::String(name)) => {
            let name = name.trim();
            name.is_empty() || name.eq_ignore_ascii_case("bearer")
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => false,
    }
}

/// Returns the error that an answer names. Only the codes of RFC 6749 §5.2 are repeated: anything
/// else could be a secret that was sent.
fn refusal(status: u16, body: &[u8]) -> Option<NoToken> {
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    let same = |code: &&&str| **code == refusal.error;
    let code = ERROR_CODES.iter().find(same)?;
    Some(NoToken::Refused(status, code))
}

/// Returns how long a token can be used. Some issuers write the seconds as text. A value that is
/// not a number counts as absent.
fn life(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds.filter(|seconds| !seconds.is_nan()) {
        None => UNTOLD_LIFE,
        Some(seconds) => {
            Duration::try_from_secs_f64(seconds.clamp(0.0, LONGEST_LIFE.as_secs_f64()))
                .unwrap_or(UNTOLD_LIFE)
        }
    }
}

/// How long a token is used if its answer does not say.
const UNTOLD_LIFE: Duration = Duration::from_mins(5);

/// The longest time that a token is used, regardless of its answer.
const LONGEST_LIFE: Duration = Duration::from_hours(24);

const ERROR_CODES: [&str; 6] = [
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_life_of_a_token_is_what_its_answer_says_within_reason() {
        let cases = [
            ("3600", 3_600.0),
            ("0.5", 0.5),
            ("\"1800\"", 1_800.0),
            ("\" 60 \"", 60.0),
            ("0", 0.0),
            ("-0", 0.0),
            ("-1", 0.0),
            ("-1e300", 0.0),
            ("1e300", 86_400.0),
            ("9223372036854775808", 86_400.0),
            ("99999999999999999999999999", 86_400.0),
            ("1e-300", 0.0),
            ("\"inf\"", 86_400.0),
            ("\"-inf\"", 0.0),
            ("\"NaN\"", 300.0),
            ("\"soon\"", 300.0),
            ("\"\"", 300.0),
            ("null", 300.0),
            ("true", 300.0),
            ("[]", 300.0),
            ("{\"seconds\":1}", 300.0),
        ];
        for (value, seconds) in cases {
            let body =
                format!(r#"{{"access_token":"t","token_type":"bearer","expires_in":{value}}}"#);
            let token = read_token(200, body.as_bytes()).unwrap();
            assert!((token.life.as_secs_f64() - seconds).abs() < 1e-9, "{value}");
        }
        let untold = read_token(200, br#"{"access_token":"t","token_type":"BEARER","x":{}}"#);
        let untold = untold.unwrap();
        assert_eq!(untold.life, Duration::from_mins(5));
        assert_eq!(untold.header.expose(), "Bearer t");
    }

    /// Each was seen from a token endpoint in use: a "created" status, an omitted type, white space
    /// left by a template.
    #[test]
    fn a_token_is_taken_however_sloppy_its_answer() {
        const BOM: char = '\u{feff}';
        let kinds = [
            "",
            r#","token_type":null"#,
            r#","token_type":"""#,
            r#","token_type":" ""#,
            r#","token_type":"BEARER""#,
            r#","token_type":"Bearer ""#,
            r#","token_type":" bearer\r\n""#,
            r#","token_type":"bearer","expires_in":null"#,
            r#","token_type":"bearer","scope":null"#,
            r#","token_type":"bearer","scope":["a","b"]"#,
            r#","token_type":"bearer","scope":{},"error":null,"refresh_token":7"#,
        ];
        for kind in kinds {
            let body = format!(r#"{{"access_token":"t"{kind}}}"#);
            let marked = format!("{BOM}{body}");
            let spaced = format!("\r\n\t {body} \n\n");
            let marked_and_spaced = format!("{BOM} \n{body}\n");
            for body in [body, marked, spaced, marked_and_spaced] {
                for status in [200, 201, 202, 299] {
                    let token = read_token(status, body.as_bytes());
                    let header = token.map(|token| token.header.expose().to_owned());
                    assert_eq!(header, Ok("Bearer t".to_owned()), "{status} {body:?}");
                }
            }
        }
        for token in ["t\\n", "\\r\\n t \\t"] {
            let body = format!(r#"{{"access_token":"{token}","token_type":"bearer"}}"#);
            let read = read_token(200, body.as_bytes()).unwrap();
            assert_eq!(read.header.expose(), "Bearer t", "{body}");
        }
    }

    #[test]
    fn what_holds_no_token_says_why() {
        let deep = format!(
            r#"{{"access_token":"t","token_type":"bearer","x":{}"#,
            "[".repeat(10_000)
        );
        let with = |token: &str, kind: &str| {
            format!(r#"{{"access_token":"{token}","token_type":"{kind}"}}"#)
        };
        let cases = [
            (200, String::new(), NoToken::Malformed),
            (200, "<html>".into(), NoToken::Malformed),
            (200, "null".into(), NoToken::Malformed),
            (200, "[]".into(), NoToken::Malformed),
            (200, r#"{"token_type":"bearer"}"#.into(), NoToken::Malformed),
            (204, String::new(), NoToken::Malformed),
            (
                200,
                r#"{"access_token":1,"token_type":"bearer"}"#.into(),
                NoToken::Malformed,
            ),
            (
                200,
                r#"{"access_token":"t","access_token":"u","token_type":"bearer"}"#.into(),
                NoToken::Malformed,
            ),
            (
                200,
                r#"{"access_token":"t","token_type":"bearer","expires_in":1e999}"#.into(),
                NoToken::Malformed,
            ),
            (200, with("t", "bearer") + "x", NoToken::Malformed),
            (200, deep, NoToken::Malformed),
            (200, with("t", "mac"), NoToken::NotBearer),
            (200, with("t", "Bearer x"), NoToken::NotBearer),
            (201, with("t", "DPoP"), NoToken::NotBearer),
            (
                200,
                r#"{"access_token":"t","token_type":["bearer"]}"#.into(),
                NoToken::NotBearer,
            ),
            (
                200,
                r#"{"access_token":"t","token_type":false}"#.into(),
                NoToken::NotBearer,
            ),
            (200, with("", "bearer"), NoToken::NotSendable),
            (200, with(r" \n", "bearer"), NoToken::NotSendable),
            (200, with(r"a\r\nX-Evil: 1", "bearer"), NoToken::NotSendable),
            (200, with("a b", "bearer"), NoToken::NotSendable),
            (200, with("ü", "bearer"), NoToken::NotSendable),
            (
                200,
                with(&"x".repeat(MAX_TOKEN_BYTES + 1), "bearer"),
                NoToken::NotSendable,
            ),
            (
                200,
                with("t", "bearer") + &" ".repeat(MAX_TOKEN_ANSWER_BYTES),
                NoToken::TooLong,
            ),
            (199, with("t", "bearer"), NoToken::Status(199)),
            (300, with("t", "bearer"), NoToken::Status(300)),
            (302, String::new(), NoToken::Status(302)),
            (503, "<html>".into(), NoToken::Status(503)),
            (
                401,
                r#"{"error":"invalid_client","error_description":"hush"}"#.into(),
                NoToken::Refused(401, "invalid_client"),
            ),
            (400, r#"{"error":"hush"}"#.into(), NoToken::Status(400)),
            (
                400,
                "\u{feff}{\"error\":\"invalid_scope\"}".into(),
                NoToken::Refused(400, "invalid_scope"),
            ),
            (
                200,
                r#"{"error":"invalid_grant"}"#.into(),
                NoToken::Refused(200, "invalid_grant"),
            ),
            (200, r#"{"error":"hush"}"#.into(), NoToken::Malformed),
        ];
        for (status, body, expected) in cases {
            let shown: String = body.chars().take(80).collect();
            assert_eq!(
                read_token(status, body.as_bytes()),
                Err(expected),
                "{shown}"
            );
        }
        assert!(read_token(200, &[0xff, 0xfe]).is_err());
        assert!(read_token(200, with(&"x".repeat(MAX_TOKEN_BYTES), "bearer").as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(
            status in 0_u16..1_000,
            body in proptest::collection::vec(any::<u8>(), 0..100),
            expires_in in "[-+0-9eE.\"]{0,12}",
        ) {
            let _ = read_token(status, &body);
            let body = format!(r#"{{"access_token":"t","token_type":"bearer","expires_in":{expires_in}}}"#);
            if let Ok(token) = read_token(200, body.as_bytes()) {
                prop_assert!(token.life <= LONGEST_LIFE);
            }
        }
    }

    #[test]
    fn an_answer_may_be_as_long_as_the_limit() {
        let of = |length: usize| {
            let mut body = br#"{"access_token":"t"}"#.to_vec();
            body.resize(length, b' ');
            read_token(200, &body).map(|token| token.header.expose().to_owned())
        };
        assert_eq!(of(MAX_TOKEN_ANSWER_BYTES), Ok("Bearer t".to_owned()));
        assert_eq!(of(MAX_TOKEN_ANSWER_BYTES + 1), Err(NoToken::TooLong));
    }
}
