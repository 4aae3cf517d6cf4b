//! The JSON shape of states, outcomes, failures and reasons: an object in which one field names the
//! variant and the variant's own fields stand beside it. `{"kind":"timeout"}`,
//! `{"kind":"status","status":503}`, `{"state":"waiting","dueAt":"…"}`.
//!
//! Serde's own shape is also read: a text for some variants, and an object keyed by the variant for
//! others. Earlier versions wrote it, into files and wherever applications put it.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
use serde_json::{Map, Value};

/// A variant and its content.
pub(crate) type Variant = (&'static str, Has);

/// The content of a variant. Variants without content are not listed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Has {
    /// One value, in the field of this name.
    One(&'static str),
    /// Fields of its own.
    Fields(&'static [&'static str]),
}

/// Writes a value, given in serde's own shape.
pub(crate) fn write<S: Serializer>(
    tag: &str,
    variants: &[Variant],
    own: serde_json::Result<Value>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let own = own.map_err(serde::ser::Error::custom)?;
    let (name, content) = if let Value::Object(object) = own {
        object.into_iter().next().unwrap_or_default()
    } else {
        (own.as_str().unwrap_or_default().to_owned(), Value::Null)
    };
    let mut object = Map::new();
    object.insert(tag.to_owned(), Value::from(name.as_str()));
    match (has(variants, &name), content) {
        (Some(Has::One(field)), content) => {
            object.insert(field.to_owned(), content);
        }
        (_, Value::Object(fields)) => object.extend(fields),
        _ => {}
    }
    object.serialize(to)
}

/// Reads a value in either shape. It may be flattened into another object.
pub(crate) fn read<'de, T, D: Deserializer<'de>>(
    tag: &'static str,
    variants: &[Variant],
    own: impl FnOnce(Value) -> serde_json::Result<T>,
    from: D,
) -> Result<T, D::Error> {
    let mut value = Value::deserialize(from)?;
    if let Value::Object(fields) = &mut value {
        let mut fields = std::mem::take(fields);
        value = match fields.remove(tag) {
            Some(Value::String(name)) => named(variants, name, fields),
            // The old shape, in a field of that name.
            Some(old) => old,
            None if fields.len() == 1 => Value::Object(fields),
            None => return Err(D::Error::missing_field(tag)),
        };
    }
    own(value).map_err(D::Error::custom)
}

fn has(variants: &[Variant], name: &str) -> Option<Has> {
    let found = variants.iter().find(|(known, _)| *known == name);
    found.map(|(_, has)| *has)
}

/// Returns a variant in serde's own shape. Serde reports the error if there is no such variant.
fn named(variants: &[Variant], name: String, mut fields: Map<String, Value>) -> Value {
    let content = match has(variants, &name) {
        None => return Value::String(name),
        Some(Has::One(field)) => fields.remove(field).unwrap_or_default(),
        Some(Has::Fields(names)) => {
            fields.retain(|field, _| names.contains(&field.as_str()));
            Value::Object(fields)
        }
    };
    Value::Object(Map::from_iter([(name, content)]))
}

/// Gives the shared shape to an enum that derives serde's traits with `#[serde(remote = "Self")]`.
macro_rules! tagged {
    ($name:ty, $tag:literal, $variants:expr) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let own = Self::serialize(self, serde_json::value::Serializer);
                crate::domain::value::tagged::write($tag, &$variants, own, to)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let own = |value| Self::deserialize(value);
                crate::domain::value::tagged::read($tag, &$variants, own, from)
            }
        }
    };
}

pub(crate) use tagged;
