//! Conditions of a rule on an event's data.
//!
//! A filter is a tree: `all` and `any` over conditions, each about one value. It is evaluated only
//! for rules that the event matches by type, client and company.

mod json;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use crate::domain::value::number;
use crate::domain::value::pointer::{InvalidPointer, JsonPointer};

/// The most levels of `all` and `any` inside each other in a filter.
pub const MAX_FILTER_DEPTH: usize = 8;

/// The most conditions of a filter.
pub const MAX_FILTER_CONDITIONS: usize = 64;

/// The most values in the list of a condition.
pub const MAX_LISTED_VALUES: usize = 256;

/// The longest text that a condition compares with, in bytes.
pub const MAX_COMPARED_BYTES: usize = 1_024;

/// Conditions of a rule on an event's data, combined by `all` and `any`.
///
/// In JSON `{"all": […]}`, `{"any": […]}` or a [`Condition`].
///
/// ```
/// use actix_webhooks::{Condition, Filter, Rule};
///
/// # fn main() -> Result<(), actix_webhooks::InvalidUrl> {
/// let large = Filter::all([
///     Filter::from(Condition::equals("/dataType", "invoices")),
///     Filter::any([Condition::gte("/amount", 1_000), Condition::exists("/urgent")]),
/// ]);
/// let rule = Rule::new("large-invoices", "Dataset data changed")
///     .filter(large)
///     .webhook("https://example.com/hooks")?;
/// # assert!(rule.filter.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Filter {
    /// Every one of these holds.
    All(Vec<Filter>),
    /// At least one of these holds.
    Any(Vec<Filter>),
    /// The condition holds.
    Condition(Condition),
}

/// A condition on one value of an event's data. If there is no such value, only a condition that
/// asks for that holds.
///
/// In JSON an object of `pointer` and one of `equals`, `oneOf`, `exists`, `gt`, `gte`, `lt` and
/// `lte`: `{"pointer":"/amount","gte":1000}`. `Display` writes it for people: `/amount >= 1000`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Condition {
    /// The place of the value in the data.
    pub pointer: JsonPointer,
    /// The expectation.
    pub expected: Expected,
}

/// The expectation that a condition has of a value.
///
/// Texts are equal if their characters are; a text never equals a number. Numbers are compared by
/// value: `1` equals `1.0`, and integers of up to 64 bits are compared exactly. Larger ones are
/// compared as double-precision numbers, which is how they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// It equals this text, number, `true`, `false` or `null`.
    Equals(Value),
    /// It equals one of these.
    OneOf(Vec<Value>),
    /// It exists, `null` included; with `false`, it does not exist.
    Exists(bool),
    /// It is a number greater than this one.
    Gt(Value),
    /// It is a number greater than or equal to this one.
    Gte(Value),
    /// It is a number less than this one.
    Lt(Value),
    /// It is a number less than or equal to this one.
    Lte(Value),
}

/// Why a filter is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidFilter {
    /// An `all` or `any` holds nothing.
    #[error("filter has an empty `all` or `any`; add a condition to it, or remove it")]
    Empty,
    /// It nests deeper than [`MAX_FILTER_DEPTH`](crate::limits::MAX_FILTER_DEPTH).
    #[error("filter nests `all` and `any` more than {MAX_FILTER_DEPTH} levels deep; flatten it")]
    TooDeep,
    /// It has more than [`MAX_FILTER_CONDITIONS`](crate::limits::MAX_FILTER_CONDITIONS) conditions.
    #[error(
        "filter has more than {MAX_FILTER_CONDITIONS} conditions; use `oneOf` for values, or several rules"
    )]
    TooManyConditions,
    /// The pointer of a condition is invalid.
    #[error("filter: {0}")]
    Pointer(#[from] InvalidPointer),
    /// The list of a condition is empty, so it could never hold.
    #[error("filter: the list of values for {0:?} is empty; add a value, or remove the condition")]
    EmptyList(JsonPointer),
    /// The list of a condition has more than
    /// [`MAX_LISTED_VALUES`](crate::limits::MAX_LISTED_VALUES) values.
    #[error(
        "filter: the list of values for {0:?} has more than {MAX_LISTED_VALUES}; split it into conditions under `any`"
    )]
    LongList(JsonPointer),
    /// A condition compares with an object or an array.
    #[error(
        "filter: {0:?} is compared with an object or an array; compare its parts, by a pointer to each"
    )]
    NotComparable(JsonPointer),
    /// A condition compares with a text of more than
    /// [`MAX_COMPARED_BYTES`](crate::limits::MAX_COMPARED_BYTES) bytes.
    #[error(
        "filter: {0:?} is compared with a text longer than {MAX_COMPARED_BYTES} bytes; compare a shorter value"
    )]
    LongText(JsonPointer),
    /// The order of a condition is not about a number, or the number is out of range.
    #[error(
        "filter: {0:?} is ordered by something other than a number of 64 bits; write a number without quotes"
    )]
    NotANumber(JsonPointer),
}

/// The first condition of a filter that does not hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Unmet<'a, 'd> {
    pub(crate) condition: &'a Condition,
    pub(crate) found: Option<&'d Value>,
    /// Number of other branches of the `any` around it.
    pub(crate) alternatives: usize,
}

impl Filter {
    /// Returns a filter that holds if every one of these holds.
    pub fn all(filters: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::All(filters.into_iter().map(Into::into).collect())
    }

    /// Returns a filter that holds if at least one of these holds.
    pub fn any(filters: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::Any(filters.into_iter().map(Into::into).collect())
    }

    /// Returns `true` if the filter holds for an event's data; `None` is an event without data.
    pub(crate) fn holds(&self, data: Option<&Value>) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|filter| filter.holds(data)),
            Self::Any(filters) => filters.iter().any(|filter| filter.holds(data)),
            Self::Condition(condition) => condition.holds(condition.find(data)),
        }
    }

    /// Returns the first condition that keeps the filter from holding, or `None` if it holds.
    ///
    /// Nothing holds in a failed `any`; its first condition stands for the others.
    pub(crate) fn unmet<'d>(&self, data: Option<&'d Value>) -> Option<Unmet<'_, 'd>> {
        match self {
            Self::All(filters) => filters.iter().find_map(|filter| filter.unmet(data)),
            Self::Any(filters) => {
                if self.holds(data) {
                    return None;
                }
                let first = filters.iter().find_map(|filter| filter.unmet(data))?;
                let others = filters.len().saturating_sub(1);
                Some(Unmet {
                    alternatives: first.alternatives.saturating_add(others),
                    ..first
                })
            }
            Self::Condition(condition) => {
                let found = condition.find(data);
                let unmet = Unmet {
                    condition,
                    found,
                    alternatives: 0,
                };
                (!condition.holds(found)).then_some(unmet)
            }
        }
    }

    pub(crate) fn check(&self) -> Result<(), InvalidFilter> {
        let mut left = MAX_FILTER_CONDITIONS;
        self.check_within(MAX_FILTER_DEPTH, &mut left)
    }

    /// Checks a filter that may nest `levels` more and have `left` more conditions.
    fn check_within(&self, levels: usize, left: &mut usize) -> Result<(), InvalidFilter> {
        match self {
            Self::All(filters) | Self::Any(filters) => {
                if filters.is_empty() {
                    return Err(InvalidFilter::Empty);
                }
                let levels = levels.checked_sub(1).ok_or(InvalidFilter::TooDeep)?;
                let mut filters = filters.iter();
                filters.try_for_each(|filter| filter.check_within(levels, left))
            }
            Self::Condition(condition) => {
                let rest = left.checked_sub(1);
                *left = rest.ok_or(InvalidFilter::TooManyConditions)?;
                condition.check()
            }
        }
    }
}

impl From<Condition> for Filter {
    fn from(condition: Condition) -> Self {
        Self::Condition(condition)
    }
}

impl Condition {
    /// Returns a condition on the value at a place of the data.
    pub fn new(pointer: impl Into<JsonPointer>, expected: Expected) -> Self {
        Self {
            pointer: pointer.into(),
            expected,
        }
    }

    /// Returns the condition that the value equals this text, number, `true`, `false` or `null`.
    pub fn equals(pointer: impl Into<JsonPointer>, value: impl Into<Value>) -> Self {
        Self::new(pointer, Expected::Equals(value.into()))
    }

    /// Returns the condition that the value equals one of these.
    pub fn one_of(
        pointer: impl Into<JsonPointer>,
        values: impl IntoIterator<Item = impl Into<Value>>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self::new(pointer, Expected::OneOf(values))
    }

    /// Returns the condition that there is such a value; it may be `null`.
    pub fn exists(pointer: impl Into<JsonPointer>) -> Self {
        Self::new(pointer, Expected::Exists(true))
    }

    /// Returns the condition that there is no such value.
    pub fn missing(pointer: impl Into<JsonPointer>) -> Self {
        Self::new(pointer, Expected::Exists(false))
    }

    /// Returns the condition that the value is a number greater than this one.
    pub fn gt(pointer: impl Into<JsonPointer>, number: impl Into<Value>) -> Self {
        Self::new(pointer, Expected::Gt(number.into()))
    }

    /// Returns the condition that the value is a number greater than or equal to this one.
    pub fn gte(pointer: impl Into<JsonPointer>, number: impl Into<Value>) -> Self {
        Self::new(pointer, Expected::Gte(number.into()))
    }

    /// Returns the condition that the value is a number less than this one.
    pub fn lt(pointer: impl Into<JsonPointer>, number: impl Into<Value>) -> Self {
        Self::new(pointer, Expected::Lt(number.into()))
    }

    /// Returns the condition that the value is a number less than or equal to this one.
    pub fn lte(pointer: impl Into<JsonPointer>, number: impl Into<Value>) -> Self {
        Self::new(pointer, Expected::Lte(number.into()))
    }

    fn find<'d>(&self, data: Option<&'d Value>) -> Option<&'d Value> {
        self.pointer.find(data?)
    }

    fn holds(&self, found: Option<&Value>) -> bool {
        let is = |limit: &Value, fits: fn(Ordering) -> bool| {
            let order = found.and_then(|found| order(found, limit));
            order.is_some_and(fits)
        };
        match &self.expected {
            Expected::Equals(value) => found.is_some_and(|found| equal(found, value)),
            Expected::OneOf(values) => {
                found.is_some_and(|found| values.iter().any(|value| equal(found, value)))
            }
            Expected::Exists(exists) => found.is_some() == *exists,
            Expected::Gt(limit) => is(limit, Ordering::is_gt),
            Expected::Gte(limit) => is(limit, Ordering::is_ge),
            Expected::Lt(limit) => is(limit, Ordering::is_lt),
            Expected::Lte(limit) => is(limit, Ordering::is_le),
        }
    }

    fn check(&self) -> Result<(), InvalidFilter> {
        self.pointer.check()?;
        let pointer = || self.pointer.clone();
        match &self.expected {
            Expected::Equals(value) => self.check_value(value),
            Expected::OneOf(values) if values.is_empty() => {
                Err(InvalidFilter::EmptyList(pointer()))
            }
            Expected::OneOf(values) if values.len() > MAX_LISTED_VALUES => {
                Err(InvalidFilter::LongList(pointer()))
            }
            Expected::OneOf(values) => values.iter().try_for_each(|value| self.check_value(value)),
            Expected::Exists(_) => Ok(()),
            Expected::Gt(limit)
            | Expected::Gte(limit)
            | Expected::Lt(limit)
            | Expected::Lte(limit) => {
                let is_number = order(limit, limit).is_some();
                let refused = || InvalidFilter::NotANumber(pointer());
                is_number.then_some(()).ok_or_else(refused)
            }
        }
    }

    fn check_value(&self, value: &Value) -> Result<(), InvalidFilter> {
        let pointer = || self.pointer.clone();
        match value {
            Value::String(text) if text.len() > MAX_COMPARED_BYTES => {
                Err(InvalidFilter::LongText(pointer()))
            }
            Value::Object(_) | Value::Array(_) => Err(InvalidFilter::NotComparable(pointer())),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }
}

/// Returns `true` if two values are equal; the second one has no parts.
fn equal(found: &Value, expected: &Value) -> bool {
    order(found, expected).map_or_else(|| found == expected, Ordering::is_eq)
}

/// Returns the order of two numbers, or `None` if one of them is none.
fn order(one: &Value, other: &Value) -> Option<Ordering> {
    let (Value::Number(one), Value::Number(other)) = (one, other) else {
        return None;
    };
    number::compare(one, other)
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str("the data")?,
            pointer => f.write_str(pointer)?,
        }
        match &self.expected {
            Expected::Equals(value) => write!(f, " = {value}"),
            Expected::OneOf(values) => {
                f.write_str(" one of")?;
                for (at, value) in values.iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    write!(f, "{comma} {value}")?;
                }
                Ok(())
            }
            Expected::Exists(true) => f.write_str(" exists"),
            Expected::Exists(false) => f.write_str(" is missing"),
            Expected::Gt(limit) => write!(f, " > {limit}"),
            Expected::Gte(limit) => write!(f, " >= {limit}"),
            Expected::Lt(limit) => write!(f, " < {limit}"),
            Expected::Lte(limit) => write!(f, " <= {limit}"),
        }
    }
}
