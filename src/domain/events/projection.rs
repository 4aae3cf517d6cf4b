//! The part of an event's data that a rule sends.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::domain::value::pointer::{InvalidPointer, JsonPointer, Step};

/// The most pointers of a projection.
pub const MAX_PROJECTION_POINTERS: usize = 64;

/// The values of an event's data that a rule sends, each at its place. Everything else is left out.
///
/// - A pointer that finds nothing is ignored. If none finds anything, an empty object or array is
///   sent in place of an object or array, and nothing in place of any other data.
/// - An element of an array keeps its position: other elements before it are sent as `null`, those
///   after the last one not at all. So every pointer finds in the body the value that it finds in
///   the data.
///
/// Clones share the pointers. In JSON it is a list of pointers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Projection(Arc<[JsonPointer]>);

/// Why a projection is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProjection {
    /// It has no pointers, so no data would ever be sent.
    #[error("projection has no pointers; add one, or remove the projection to send all data")]
    Empty,
    /// It has more than
    /// [`MAX_PROJECTION_POINTERS`](crate::limits::MAX_PROJECTION_POINTERS) pointers.
    #[error(
        "projection has more than {MAX_PROJECTION_POINTERS} pointers; name the objects that hold the values"
    )]
    TooMany,
    /// One of its pointers is invalid.
    #[error("projection: {0}")]
    Pointer(#[from] InvalidPointer),
}

impl Projection {
    /// Returns the projection to the values at these places.
    pub fn new(pointers: impl IntoIterator<Item = impl Into<JsonPointer>>) -> Self {
        Self(pointers.into_iter().map(Into::into).collect())
    }

    /// Returns the pointers, in the order in which they were given.
    pub fn pointers(&self) -> &[JsonPointer] {
        &self.0
    }

    pub(crate) fn check(&self) -> Result<(), InvalidProjection> {
        if self.0.is_empty() {
            return Err(InvalidProjection::Empty);
        }
        if self.0.len() > MAX_PROJECTION_POINTERS {
            return Err(InvalidProjection::TooMany);
        }
        Ok(self.0.iter().try_for_each(JsonPointer::check)?)
    }

    /// Returns the selected part of some data, or `None` if nothing is left of it.
    pub(crate) fn of<'a>(&self, data: &'a Value) -> Option<Selected<'a>> {
        let mut selected = Selected::none_of(data);
        let mut found = false;
        for path in self.0.iter().filter_map(|pointer| pointer.path(data)) {
            found = true;
            selected.add(&path, data);
        }
        let has_parts = data.is_object() || data.is_array();
        (found || has_parts).then_some(selected)
    }
}

/// The part of an event's data that is sent. It is written like the data itself.
#[derive(Clone, Debug)]
pub(crate) enum Selected<'a> {
    Whole(&'a Value),
    /// Some fields of an object.
    Fields(BTreeMap<&'a str, Selected<'a>>),
    /// Some elements of an array, by their positions.
    Items(BTreeMap<usize, Selected<'a>>),
}

impl<'a> Selected<'a> {
    /// Returns a value without its parts. A value without parts is whole.
    fn none_of(value: &'a Value) -> Self {
        match value {
            Value::Object(_) => Self::Fields(BTreeMap::new()),
            Value::Array(_) => Self::Items(BTreeMap::new()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Self::Whole(value)
            }
        }
    }

    /// Adds the value at the end of a path from `value`, which this is a part of.
    fn add(&mut self, path: &[Step<'a>], value: &'a Value) {
        let Some((step, rest)) = path.split_first() else {
            *self = Self::Whole(value);
            return;
        };
        let (part, value) = match (self, *step) {
            (Self::Fields(fields), Step::Field(name, value)) => {
                let part = fields.entry(name);
                (part.or_insert_with(|| Self::none_of(value)), value)
            }
            (Self::Items(items), Step::Item(at, value)) => {
                let part = items.entry(at);
                (part.or_insert_with(|| Self::none_of(value)), value)
            }
            // The value is a part of what is selected already.
            (Self::Whole(_), _)
            | (Self::Fields(_), Step::Item(..))
            | (Self::Items(_), Step::Field(..)) => return,
        };
        part.add(rest, value);
    }
}

impl Serialize for Selected<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(value) => value.serialize(to),
            Self::Fields(fields) => to.collect_map(fields),
            Self::Items(items) => {
                let length = items.keys().next_back().map_or(0, |last| last + 1);
                let mut list = to.serialize_seq(Some(length))?;
                for at in 0..length {
                    // `None` is written as `null`.
                    list.serialize_element(&items.get(&at))?;
                }
                list.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn projected(data: &Value, pointers: &[&str]) -> Option<Value> {
        let projection = Projection::new(pointers.iter().copied());
        let selected = projection.of(data)?;
        Some(serde_json::to_value(selected).unwrap())
    }

    #[track_caller]
    fn check(pointers: &[&str], expected: Value) {
        let data = json!({
            "id": 7, "customer": { "name": "Dave", "card": "4111", "tags": [] },
            "lines": [{ "sku": "a", "price": 1 }, { "sku": "b", "price": 2 }, 3], "a/b": null,
        });
        assert_eq!(projected(&data, pointers), Some(expected), "{pointers:?}");
    }

    #[test]
    fn objects_are_rebuilt_around_the_selected_values() {
        check(
            &["/id", "/customer/name"],
            json!({ "id": 7, "customer": { "name": "Dave" } }),
        );
        check(&["/a~1b"], json!({ "a/b": null }));
        check(&["/customer/tags"], json!({ "customer": { "tags": [] } }));
    }

    #[test]
    fn a_whole_includes_its_parts_in_any_order() {
        let customer = json!({ "customer": { "name": "Dave", "card": "4111", "tags": [] } });
        check(&["/customer", "/customer/name"], customer.clone());
        check(&["/customer/name", "/customer"], customer);
    }

    #[test]
    fn an_element_of_an_array_keeps_its_position() {
        check(
            &["/lines/1/sku"],
            json!({ "lines": [null, { "sku": "b" }] }),
        );
        check(&["/lines/0", "/lines/2"], {
            json!({ "lines": [{ "sku": "a", "price": 1 }, null, 3] })
        });
    }

    #[test]
    fn what_is_missing_leaves_nothing_behind() {
        let nothing = ["/x", "/customer/x/y", "/lines/3", "/lines/-", "/id/x"];
        check(&nothing, json!({}));
        assert_eq!(projected(&json!([1]), &["/x"]), Some(json!([])));
        assert_eq!(projected(&json!(1), &["/x"]), None);
        assert_eq!(projected(&json!(1), &[""]), Some(json!(1)));
        assert_eq!(projected(&json!(null), &[""]), Some(json!(null)));
    }

    #[test]
    fn projections_out_of_bounds_are_refused() {
        let check = |pointers: &[&str]| Projection::new(pointers.iter().copied()).check();
        assert_eq!(check(&["", "/a"]), Ok(()));
        assert_eq!(check(&[]), Err(InvalidProjection::Empty));
        assert_eq!(check(&["/a"; MAX_PROJECTION_POINTERS]), Ok(()));
        assert_eq!(
            check(&["/a"; MAX_PROJECTION_POINTERS + 1]),
            Err(InvalidProjection::TooMany)
        );
        assert!(matches!(
            check(&["/a", "b"]),
            Err(InvalidProjection::Pointer(_))
        ));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(json!(null)), any::<u8>().prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let fields = prop::collection::vec(("[ab]", inner.clone()), 0..3);
            let fields = fields.prop_map(|fields| Value::Object(fields.into_iter().collect()));
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::Array),
                fields
            ]
        })
    }

    /// Returns `true` if a value is a part of another, apart from `null` in place of elements.
    fn is_part(part: &Value, of: &Value) -> bool {
        match (part, of) {
            (Value::Object(part), Value::Object(of)) => part.iter().all(|(name, value)| {
                let whole = of.get(name);
                whole.is_some_and(|whole| is_part(value, whole))
            }),
            (Value::Array(part), Value::Array(of)) => {
                let mut pairs = part.iter().zip(of);
                part.len() <= of.len()
                    && pairs.all(|(part, of)| part.is_null() || is_part(part, of))
            }
            (part, of) => part == of,
        }
    }

    proptest! {
        #[test]
        fn every_pointer_finds_the_same_value_in_the_data_and_in_the_projection(
            data in value(),
            pointers in prop::collection::vec("(/([ab]|[0-3]|-)){0,4}", 1..5),
        ) {
            let texts: Vec<&str> = pointers.iter().map(String::as_str).collect();
            if let Some(sent) = projected(&data, &texts) {
                prop_assert!(is_part(&sent, &data), "{sent} of {data}");
                for pointer in &pointers {
                    let found = data.pointer(pointer);
                    prop_assert_eq!(sent.pointer(pointer), found, "{} of {}", pointer, data);
                }
            } else {
                prop_assert!(texts.iter().all(|text| data.pointer(text).is_none()));
            }
        }
    }
}
