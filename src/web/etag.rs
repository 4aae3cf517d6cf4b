//! Entity tags: a change of a rule, client or endpoint is noticed by whoever changes it next.
//!
//! A tag covers the secrets too, so it is keyed: nobody can test guesses of a weak password against
//! it. The key is made when the process starts. After a restart a caller reads the thing again.

use std::sync::LazyLock;

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, IF_MATCH};
use ring::hmac::{HMAC_SHA256, Key, sign};
use ring::rand::SystemRandom;
use serde::Serialize;
use zeroize::Zeroizing;

use super::hex;
use super::problems::{Code, Problem};
use crate::domain::value::secret::exposed;

/// Returns the tag of a thing with its secrets.
pub(super) fn of(thing: &impl Serialize) -> Result<String, Problem> {
    let text = exposed(|| serde_json::to_vec(thing)).map(Zeroizing::new);
    let (Ok(text), Some(key)) = (text, &*KEY) else {
        return Err(Problem::new(
            Code::Internal,
            "entity tag could not be computed",
        ));
    };
    let tag = sign(key, &text);
    Ok(format!("\"{}\"", hex::first(16, tag.as_ref())))
}

/// Checks that the thing is still the one that the caller has read, if the caller names it.
pub(super) fn check(request: &HttpRequest, current: Option<&str>) -> Result<(), Problem> {
    if fits(request.headers(), current) {
        return Ok(());
    }
    Err(Problem::new(
        Code::ChangedMeanwhile,
        "the thing has changed since it was read, or does not exist; read it again",
    ))
}

fn fits(headers: &HeaderMap, current: Option<&str>) -> bool {
    let mut given = headers.get_all(IF_MATCH).peekable();
    if given.peek().is_none() {
        return true;
    }
    let Some(current) = current else {
        return false;
    };
    let texts = given.filter_map(|header| header.to_str().ok());
    let mut tags = texts.flat_map(|text| text.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag == current)
}

static KEY: LazyLock<Option<Key>> =
    LazyLock::new(|| Key::generate(HMAC_SHA256, &SystemRandom::new()).ok());

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::domain::authorisation::auth::Auth;

    #[test]
    fn a_tag_changes_with_a_secret_and_with_nothing_else() {
        let tag = |token: &str| of(&Auth::bearer(token)).unwrap();
        assert_eq!(tag("a"), tag("a"));
        assert_ne!(tag("a"), tag("b"));
        assert_eq!(tag("a").len(), 34);
    }

    #[test]
    fn a_change_needs_the_tag_of_the_thing_if_one_is_given() {
        let fits = |given: Option<&str>, current: Option<&str>| {
            let mut request = TestRequest::default();
            if let Some(given) = given {
                request = request.insert_header(("if-match", given));
            }
            check(&request.to_http_request(), current).is_ok()
        };
        assert!(fits(None, None) && fits(None, Some("\"a\"")));
        assert!(fits(Some("\"b\", \"a\""), Some("\"a\"")) && fits(Some("*"), Some("\"a\"")));
        assert!(!fits(Some("\"b\""), Some("\"a\"")) && !fits(Some("*"), None));
        assert!(
            !fits(Some("W/\"a\""), Some("\"a\"")),
            "a weak tag is none (RFC 9110 §13.1.1)"
        );
    }
}
