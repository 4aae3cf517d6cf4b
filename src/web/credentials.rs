//! The credentials of a request, and their comparison in constant time.

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Digest, SHA256, digest};
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

/// How credentials are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// RFC 6750.
    Bearer,
    /// RFC 7617.
    Basic,
}

impl Scheme {
    /// Returns the challenge of a 401.
    pub(super) fn challenge(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Bearer => r#"Bearer realm="webhooks""#,
            Self::Basic => r#"Basic realm="webhooks", charset="UTF-8""#,
        })
    }

    /// Returns true if a token alone names its holder.
    pub(super) fn has_no_name(self) -> Choice {
        Choice::from(u8::from(self == Self::Bearer))
    }
}

/// The hash of a name or a token. Hashes have one length, so comparing them does not tell the
/// length of a token.
pub(super) struct TokenHash(Digest);

impl TokenHash {
    pub(super) fn of(text: &[u8]) -> Self {
        Self(digest(&SHA256, text))
    }

    /// Compares two hashes in constant time.
    pub(super) fn is(&self, other: &Self) -> Choice {
        self.0.as_ref().ct_eq(other.0.as_ref())
    }
}

/// The hashes of the credentials of a request; of empty texts if it has none.
pub(super) struct Presented {
    pub(super) given: bool,
    pub(super) name: TokenHash,
    pub(super) token: TokenHash,
}

impl Presented {
    pub(super) fn of(request: &HttpRequest, scheme: Scheme) -> Self {
        let mut all = request.headers().get_all(AUTHORIZATION);
        let only = all.next().filter(|_| all.next().is_none());
        let pair = only.and_then(|header| read(header, scheme));
        let given = pair.is_some();
        let pair = pair.unwrap_or_default();
        let (name, token) = match scheme {
            Scheme::Bearer => (&b""[..], &pair[..]),
            Scheme::Basic => split(&pair),
        };
        Self {
            given,
            name: TokenHash::of(name),
            token: TokenHash::of(token),
        }
    }
}

/// Returns the token, or the decoded user and password.
fn read(header: &HeaderValue, scheme: Scheme) -> Option<Zeroizing<Vec<u8>>> {
    let text = header.to_str().ok()?;
    let (name, rest) = text.split_once(' ')?;
    let (expected, rest) = match scheme {
        Scheme::Bearer => ("bearer", rest.trim()),
        Scheme::Basic => ("basic", rest.trim()),
    };
    if !name.eq_ignore_ascii_case(expected) || rest.is_empty() {
        return None;
    }
    match scheme {
        Scheme::Bearer => Some(Zeroizing::new(rest.as_bytes().to_vec())),
        Scheme::Basic => STANDARD.decode(rest).ok().map(Zeroizing::new),
    }
}

/// Splits a user from its password, at the first colon.
fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    let colon = pair.iter().position(|byte| *byte == b':');
    let at = colon.unwrap_or(pair.len());
    let (user, rest) = pair.split_at(at);
    (user, rest.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[track_caller]
    fn presents(header: &str, scheme: Scheme, expected: Option<(&str, &str)>) {
        let request = TestRequest::default().insert_header(("authorization", header));
        let presented = Presented::of(&request.to_http_request(), scheme);
        let (name, token) = expected.unwrap_or_default();
        assert_eq!(presented.given, expected.is_some(), "{header}");
        assert!(
            bool::from(presented.name.is(&TokenHash::of(name.as_bytes()))),
            "{header}"
        );
        assert!(
            bool::from(presented.token.is(&TokenHash::of(token.as_bytes()))),
            "{header}"
        );
    }

    #[test]
    fn credentials_are_read_as_their_scheme_writes_them() {
        presents("Bearer abc", Scheme::Bearer, Some(("", "abc")));
        presents("bearer  abc ", Scheme::Bearer, Some(("", "abc")));
        presents(
            "Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ==",
            Scheme::Basic,
            Some(("Aladdin", "open:sesame")),
        );
        presents("Basic QWxhZGRpbg==", Scheme::Basic, Some(("Aladdin", "")));
        for (wrong, scheme) in [
            ("Bearer ", Scheme::Bearer),
            ("abc", Scheme::Bearer),
            ("Basic QQ==", Scheme::Bearer),
            ("Bearer QQ==", Scheme::Basic),
            ("Basic !", Scheme::Basic),
        ] {
            presents(wrong, scheme, None);
        }
    }

    #[test]
    fn two_headers_are_no_credentials() {
        let request = TestRequest::default()
            .append_header(("authorization", "Bearer a"))
            .append_header(("authorization", "Bearer a"));
        assert!(!Presented::of(&request.to_http_request(), Scheme::Bearer).given);
    }
}
