//! Filters and conditions as JSON. What is not understood is refused: a filter that was read in
//! part would let through other events than were meant.

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Condition, Expected, Filter};
use crate::domain::value::pointer::JsonPointer;

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (name, filters) = match self {
            Self::All(filters) => ("all", filters),
            Self::Any(filters) => ("any", filters),
            Self::Condition(condition) => return condition.serialize(to),
        };
        let mut object = to.serialize_map(Some(1))?;
        object.serialize_entry(name, filters)?;
        object.end()
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_map(Some(2))?;
        object.serialize_entry("pointer", &self.pointer)?;
        match &self.expected {
            Expected::Equals(value) => object.serialize_entry("equals", value)?,
            Expected::OneOf(values) => object.serialize_entry("oneOf", values)?,
            Expected::Exists(exists) => object.serialize_entry("exists", exists)?,
            Expected::Gt(limit) => object.serialize_entry("gt", limit)?,
            Expected::Gte(limit) => object.serialize_entry("gte", limit)?,
            Expected::Lt(limit) => object.serialize_entry("lt", limit)?,
            Expected::Lte(limit) => object.serialize_entry("lte", limit)?,
        }
        object.end()
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(from)?;
        written.into_filter().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Filter::deserialize(from)? {
            Filter::Condition(condition) => Ok(condition),
            Filter::All(_) | Filter::Any(_) => Err(serde::de::Error::custom(FORMS)),
        }
    }
}

/// All fields that a filter or a condition may have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default, deserialize_with = "given")]
    all: Option<Vec<Filter>>,
    #[serde(default, deserialize_with = "given")]
    any: Option<Vec<Filter>>,
    #[serde(default, deserialize_with = "given")]
    pointer: Option<JsonPointer>,
    #[serde(default, deserialize_with = "given")]
    equals: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    one_of: Option<Vec<Value>>,
    #[serde(default, deserialize_with = "given")]
    exists: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    gt: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    gte: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    lt: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    lte: Option<Value>,
}

impl Written {
    fn into_filter(self) -> Result<Filter, &'static str> {
        let expected = [
            self.equals.map(Expected::Equals),
            self.one_of.map(Expected::OneOf),
            self.exists.map(Expected::Exists),
            self.gt.map(Expected::Gt),
            self.gte.map(Expected::Gte),
            self.lt.map(Expected::Lt),
            self.lte.map(Expected::Lte),
        ];
        let mut expected = expected.into_iter().flatten();
        let (first, second) = (expected.next(), expected.next());
        match (self.all, self.any, self.pointer, first) {
            (_, _, Some(_), Some(_)) if second.is_some() => Err(TWO),
            (Some(filters), None, None, None) => Ok(Filter::All(filters)),
            (None, Some(filters), None, None) => Ok(Filter::Any(filters)),
            (None, None, Some(pointer), Some(expected)) => {
                Ok(Condition::new(pointer, expected).into())
            }
            _ => Err(FORMS),
        }
    }
}

/// Reads a field that is present. A `null` would otherwise be read as no field.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

const FORMS: &str = "a filter is {\"all\": […]}, {\"any\": […]}, or a condition: `pointer` with one of `equals`, `oneOf`, `exists`, `gt`, `gte`, `lt`, `lte`";
const TWO: &str =
    "a condition asks for one thing; put two conditions with this pointer into an `all`";
