//! Reading a request: its query, and its body as JSON. Errors name the part that is wrong.

use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::{FromRequest, HttpRequest};
use bytes::{Bytes, BytesMut};
use futures_util::future::{LocalBoxFuture, Ready, ready};
use futures_util::{FutureExt as _, StreamExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::Shared;
use super::problems::{Code, Problem};

/// The query of a request.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(query(request.query_string()).map(Self))
    }
}

fn query<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    let reader = serde_urlencoded::Deserializer::new(pairs);
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let name = error.path().to_string();
        let why = error.into_inner().to_string();
        // Of these two the path is that of the query as a whole.
        let named = |start| Some(why.strip_prefix(start)?.trim_end_matches('`'));
        match (named("duplicate field `"), named("missing field `")) {
            (Some(name), _) => Problem::parameter(name, "given twice"),
            (None, Some(name)) => Problem::parameter(name, "required"),
            (None, None) => Problem::parameter(&name, why),
        }
    })
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let raw = Raw::read(request, payload.take(), &[JSON]);
        async move { parse(&raw.await?.bytes).map(Self) }.boxed_local()
    }
}

/// A merge patch (RFC 7386), in a type of its own or as JSON.
pub(super) struct Patch<T = Map<String, Value>>(pub(super) T);

impl<T: DeserializeOwned + 'static> FromRequest for Patch<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let raw = Raw::read(request, payload.take(), &[MERGE_PATCH, JSON]);
        async move { parse(&raw.await?.bytes).map(Self) }.boxed_local()
    }
}

impl Patch {
    pub(super) fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    /// Leaves out a field.
    pub(super) fn without(mut self, field: &str) -> Self {
        self.0.remove(field);
        self
    }

    /// Returns what the patch makes of `value`.
    pub(super) fn apply<T: DeserializeOwned>(self, mut value: Value) -> Result<T, Problem> {
        merge(&mut value, Value::Object(self.0));
        shape(value)
    }
}

/// RFC 7386 §2.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(fields) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(object) = target else {
        return;
    };
    for (name, field) in fields {
        if field.is_null() {
            object.remove(&name);
        } else {
            merge(object.entry(name).or_insert(Value::Null), field);
        }
    }
}

/// A body before it is parsed.
pub(super) struct Raw {
    /// Which of the accepted types it has.
    pub(super) media: &'static str,
    pub(super) bytes: Bytes,
}

impl Raw {
    /// Reads a body of one of the accepted types, up to the limit.
    pub(super) fn read(
        request: &HttpRequest,
        payload: Payload,
        accepted: &'static [&'static str],
    ) -> impl Future<Output = Result<Self, Problem>> + use<> {
        let media = media(request, accepted);
        let limit = body_limit(request);
        let announced = announced(request);
        async move {
            let media = media?;
            let limit = limit?;
            let bytes = whole(payload, announced, limit).await?;
            Ok(Self { media, bytes })
        }
    }
}

/// Returns the accepted type that the body has.
pub(super) fn media(
    request: &HttpRequest,
    accepted: &'static [&'static str],
) -> Result<&'static str, Problem> {
    let given = request.headers().get(CONTENT_TYPE);
    let given = given
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim();
    let mut accepted_types = accepted.iter();
    let found = accepted_types.find(|known| known.eq_ignore_ascii_case(given));
    found.copied().ok_or_else(|| {
        let detail = format!("body must be sent as {}", accepted.join(" or "));
        Problem::new(Code::ContentType, detail)
    })
}

/// Returns the largest body that the application lets in, in bytes.
pub(super) fn body_limit(request: &HttpRequest) -> Result<usize, Problem> {
    let web = request.app_data::<Shared>();
    web.map(|web| web.body_limit)
        .ok_or_else(|| Problem::new(Code::Internal, "the scope has lost its state"))
}

fn announced(request: &HttpRequest) -> Option<usize> {
    let length = request.headers().get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

async fn whole(
    mut payload: Payload,
    announced: Option<usize>,
    limit: usize,
) -> Result<Bytes, Problem> {
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let mut body = BytesMut::new();
    while let Some(part) = payload.next().await {
        let part = part.map_err(|_| Problem::new(Code::InvalidBody, "body is incomplete"))?;
        if part.len() > limit - body.len() {
            return Err(too_large(limit));
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

pub(super) fn too_large(limit: usize) -> Problem {
    let detail = format!("body is larger than {limit} bytes");
    Problem::new(Code::BodyTooLarge, detail)
}

/// Parses a body. An error points at the part that is wrong.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| wrong(&error))?;
    reader
        .end()
        .map_err(|error| Problem::new(Code::InvalidBody, error.to_string()))?;
    Ok(value)
}

/// Reads a value into a type. An error points at the part that is wrong.
pub(super) fn shape<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| wrong(&error))
}

fn wrong(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let segments = error.path().iter();
    let pointer: String = segments
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", escaped(key))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    Problem::part(Code::InvalidBody, &pointer, error.inner())
}

/// RFC 6901 §3.
fn escaped(key: &str) -> Rc<str> {
    let short: String = key.chars().take(64).collect();
    short.replace('~', "~0").replace('/', "~1").into()
}

pub(super) const JSON: &str = "application/json";
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Given {
        limit: Option<u8>,
        inner: Option<Vec<u8>>,
    }

    #[derive(Debug, Deserialize)]
    struct Required {
        #[expect(dead_code, reason = "only its name matters")]
        topics: String,
    }

    fn named(problem: &Problem) -> Value {
        let mut document = serde_json::to_value(problem.document(None)).unwrap();
        document["errors"][0].take()
    }

    #[test]
    fn a_wrong_query_names_its_parameter() {
        for (text, name) in [
            ("limit=300", "limit"),
            ("limit=x", "limit"),
            ("limt=1", "limt"),
            ("limit=1&limit=2", "limit"),
        ] {
            let problem = query::<Given>(text).unwrap_err();
            assert_eq!(named(&problem)["parameter"], name, "{text}");
            assert_eq!(problem.code(), Code::InvalidParameter);
        }
        assert_eq!(query::<Given>("limit=3").unwrap().limit, Some(3));
        let missing = query::<Required>("").unwrap_err();
        assert_eq!(named(&missing)["parameter"], "topics");
    }

    #[test]
    fn a_wrong_body_is_pointed_at() {
        for (text, pointer) in [
            (r#"{"inner":[1,"a"]}"#, "/inner/1"),
            (r#"{"innr":[]}"#, "/innr"),
            (r#"{"a/b~c":[]}"#, "/a~1b~0c"),
            ("[]]", ""),
            ("", ""),
        ] {
            let problem = parse::<Given>(text.as_bytes()).unwrap_err();
            assert_eq!(named(&problem)["pointer"], pointer, "{text}");
        }
        assert!(parse::<Given>(b"{} x").is_err());
        assert!(
            parse::<Value>("[".repeat(100_000).as_bytes()).is_err(),
            "no overflow"
        );
    }

    /// The examples of RFC 7386, appendix A.
    #[test]
    fn a_patch_is_merged_as_the_rfc_says() {
        for (mut target, patch, expected) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (
                json!({"a":"b","b":"c"}),
                json!({"a":null}),
                json!({"b":"c"}),
            ),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
        ] {
            merge(&mut target, patch);
            assert_eq!(target, expected);
        }
    }
}
