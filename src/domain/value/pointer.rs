//! JSON Pointers (RFC 6901): places of values inside JSON.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest JSON Pointer accepted, in bytes.
pub const MAX_POINTER_BYTES: usize = 256;

/// The place of a value inside JSON, written as RFC 6901 defines it: `/lines/0/price`.
///
/// The empty pointer is the whole value. In a name, `~` is written `~0` and `/` is written `~1`.
/// The engine checks a pointer when the rule that holds it is put.
///
/// ```
/// use actix_webhooks::JsonPointer;
/// use serde_json::json;
///
/// let order = json!({ "lines": [{ "price": 7 }] });
/// assert_eq!(JsonPointer::from("/lines/0/price").find(&order), Some(&json!(7)));
/// assert_eq!(JsonPointer::from("/lines/1/price").find(&order), None);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonPointer(Box<str>);

/// Why a text is not accepted as a JSON Pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPointer {
    /// It does not begin with a slash.
    #[error("pointer {0:?} does not begin with `/`; write `/name`, or an empty text for the whole")]
    NoSlash(String),
    /// A `~` is followed by neither `0` nor `1`.
    #[error("pointer {0:?} has a `~` of no meaning; write `~0` for `~` and `~1` for `/`")]
    Escape(String),
    /// It is longer than [`MAX_POINTER_BYTES`](crate::limits::MAX_POINTER_BYTES).
    #[error("pointer is longer than {MAX_POINTER_BYTES} bytes; use a value less deep in the data")]
    TooLong,
}

/// One step of a path: a member of an object or an element of an array.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    Field(&'a str, &'a Value),
    Item(usize, &'a Value),
}

impl<'a> Step<'a> {
    /// Returns the value that the step leads to.
    fn value(self) -> &'a Value {
        match self {
            Self::Field(_, value) | Self::Item(_, value) => value,
        }
    }
}

impl JsonPointer {
    /// Returns the pointer as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the value at this place, or `None` if there is none.
    pub fn find<'a>(&self, whole: &'a Value) -> Option<&'a Value> {
        self.tokens()?
            .try_fold(whole, |value, token| step(value, &token).map(Step::value))
    }

    /// Returns the steps from `whole` to the value at this place, or `None` if there is none.
    pub(crate) fn path<'a>(&self, whole: &'a Value) -> Option<Vec<Step<'a>>> {
        let mut value = whole;
        let steps = self.tokens()?.map(|token| {
            let step = step(value, &token)?;
            value = step.value();
            Some(step)
        });
        steps.collect()
    }

    pub(crate) fn check(&self) -> Result<(), InvalidPointer> {
        let text = self.as_str();
        if text.len() > MAX_POINTER_BYTES {
            return Err(InvalidPointer::TooLong);
        }
        if !text.is_empty() && !text.starts_with('/') {
            return Err(InvalidPointer::NoSlash(text.to_owned()));
        }
        let mut escapes = text.split('~').skip(1);
        if escapes.any(|after| !after.starts_with(['0', '1'])) {
            return Err(InvalidPointer::Escape(text.to_owned()));
        }
        Ok(())
    }

    /// Returns the names on the way, unescaped, or `None` if this is no pointer.
    fn tokens(&self) -> Option<impl Iterator<Item = Cow<'_, str>>> {
        // Before the first slash there is nothing.
        let is_one = self.0.is_empty() || self.0.starts_with('/');
        is_one.then(|| self.0.split('/').skip(1).map(unescaped))
    }
}

/// Unlike `serde_json::Value::pointer`, allocates nothing for a name without escapes: filters look
/// up names for every event.
fn unescaped(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(token)
    }
}

fn step<'a>(value: &'a Value, token: &str) -> Option<Step<'a>> {
    match value {
        Value::Object(fields) => {
            let (name, value) = fields.get_key_value(token)?;
            Some(Step::Field(name, value))
        }
        Value::Array(items) => {
            let at = position(token)?;
            Some(Step::Item(at, items.get(at)?))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Returns the position that a token names: digits without leading zeros (RFC 6901 §4).
fn position(token: &str) -> Option<usize> {
    let has_leading_zero = token.starts_with('0') && token.len() > 1;
    let is_one = token.bytes().all(|byte| byte.is_ascii_digit()) && !has_leading_zero;
    is_one.then(|| token.parse().ok()).flatten()
}

impl From<&str> for JsonPointer {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for JsonPointer {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The document and the pointers of RFC 6901 §5.
    #[test]
    fn the_examples_of_the_specification_are_found() {
        let whole = json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5,
            "k\"l": 6, " ": 7, "m~n": 8,
        });
        let find = |text: &str| JsonPointer::from(text).find(&whole).cloned();
        assert_eq!(find(""), Some(whole.clone()));
        assert_eq!(find("/foo"), Some(json!(["bar", "baz"])));
        assert_eq!(find("/foo/0"), Some(json!("bar")));
        for (number, text) in [
            "/", "/a~1b", "/c%d", "/e^f", "/g|h", "/i\\j", "/k\"l", "/ ", "/m~0n",
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(find(text), Some(json!(number)), "{text}");
        }
        for nothing in [
            "/foo/2", "/foo/-", "/foo/00", "/foo/+1", "/foo/", "foo", "/foo/0/x",
        ] {
            assert_eq!(find(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn texts_that_are_no_pointers_are_refused() {
        let check = |text: &str| JsonPointer::from(text).check();
        for fine in ["", "/", "/a/0", "/~0~1", "//"] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        assert!(matches!(check("a"), Err(InvalidPointer::NoSlash(_))));
        assert!(matches!(check("a/b"), Err(InvalidPointer::NoSlash(_))));
        for wrong in ["/~", "/~2", "/~~0", "/a~/b"] {
            let refused = matches!(check(wrong), Err(InvalidPointer::Escape(_)));
            assert!(refused, "{wrong}");
        }
        let long = |bytes: usize| check(&format!("/{}", "x".repeat(bytes - 1)));
        assert_eq!(long(MAX_POINTER_BYTES), Ok(()));
        assert_eq!(long(MAX_POINTER_BYTES + 1), Err(InvalidPointer::TooLong));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = any::<u8>().prop_map(Value::from);
        leaf.prop_recursive(3, 24, 4, |inner| {
            let name = prop::sample::select(vec!["a", "0", "~", "/", "~1", ""]);
            let fields = prop::collection::vec((name, inner.clone()), 1..4);
            let object = |fields: Vec<(&str, Value)>| {
                let fields = fields.into_iter();
                Value::Object(fields.map(|(name, value)| (name.into(), value)).collect())
            };
            prop_oneof![
                prop::collection::vec(inner, 1..3).prop_map(Value::Array),
                fields.prop_map(object)
            ]
        })
    }

    fn pointer() -> impl Strategy<Value = String> {
        let names = ["a", "0", "1", "~0", "~1", "~01", "", "-", "+1", "00", "~"];
        let name = prop::sample::select(names.to_vec());
        let whole = prop::collection::vec(name, 0..4);
        (whole, 0..9).prop_map(|(names, slash)| {
            let text: String = names.iter().flat_map(|name| ["/", name]).collect();
            text.get(usize::from(slash == 0)..)
                .unwrap_or_default()
                .to_owned()
        })
    }

    proptest! {
        #[test]
        fn it_finds_the_same_values_as_serde_json(whole in value(), text in pointer()) {
            let pointer = JsonPointer::from(text.as_str());
            prop_assert_eq!(pointer.find(&whole), whole.pointer(&text));
            let end = pointer.path(&whole).map(|path| path.last().map(|step| step.value()));
            prop_assert_eq!(end.map(|end| end.unwrap_or(&whole)), whole.pointer(&text));
        }
    }
}
