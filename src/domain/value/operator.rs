//! Who acted on the engine, and what they wrote about it.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::value::text::{InvalidText, check_text_within};

/// The longest name of an [`Operator`], in bytes.
pub const MAX_OPERATOR_BYTES: usize = 128;

/// The longest [`Note`], in bytes.
pub const MAX_NOTE_BYTES: usize = 512;

macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $field:literal, $longest:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the checked text.
            ///
            /// # Errors
            /// [`InvalidText`] if it is empty, too long, or holds a control character such as a
            /// line break.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidText> {
                let text = text.as_ref();
                check_text_within($field, text, $longest)?;
                Ok(Self(text.into()))
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidText;

            fn try_from(text: &str) -> Result<Self, InvalidText> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidText;

            fn try_from(text: String) -> Result<Self, InvalidText> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = InvalidText;

            fn from_str(text: &str) -> Result<Self, InvalidText> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

bounded_text! {
    /// The name of the person or program that acts on the engine, as the application knows it.
    ///
    /// A text of 1 to [`MAX_OPERATOR_BYTES`](crate::limits::MAX_OPERATOR_BYTES) bytes without
    /// control characters. It is stored and logged as it is, so it must not be a secret. Clones
    /// share the text.
    Operator, "operator", MAX_OPERATOR_BYTES
}

bounded_text! {
    /// An operator's words about an action, for those who look later.
    ///
    /// A text of 1 to [`MAX_NOTE_BYTES`](crate::limits::MAX_NOTE_BYTES) bytes without control
    /// characters. It is stored as it is, also in a sealed file, so it must not be a secret. Clones
    /// share the text.
    Note, "note", MAX_NOTE_BYTES
}

impl From<Infallible> for InvalidText {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::value::text::TextProblem;

    #[test]
    fn names_and_notes_are_bounded_in_the_constructor_and_in_json() {
        let longest = "n".repeat(MAX_OPERATOR_BYTES);
        assert_eq!(Operator::new(&longest).unwrap(), longest.as_str());
        let refused = Operator::new(format!("{longest}n")).unwrap_err();
        assert_eq!(refused.problem, TextProblem::LongerThan(128));
        assert_eq!(refused.to_string(), "operator is longer than 128 bytes");
        assert_eq!(
            Operator::new("").unwrap_err().to_string(),
            "operator is empty"
        );
        let note = "x".repeat(MAX_NOTE_BYTES);
        assert!(Note::new(&note).is_ok() && Note::new(note + "x").is_err());
        let broken = Note::new("two\nlines").unwrap_err();
        assert_eq!(broken.to_string(), "note holds a control character");
        let read = serde_json::from_str::<Note>(r#""flooding us""#).unwrap();
        assert_eq!(read, "flooding us");
        assert!(serde_json::from_str::<Operator>(r#""a\u0007b""#).is_err());
        assert_eq!(serde_json::to_string(&read).unwrap(), r#""flooding us""#);
    }
}
