//! Names of things: texts that the application chooses, and the two that the engine makes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};
use uuid::Uuid;

/// The longest text accepted for an id, a rule type or a name, in bytes.
pub const MAX_TEXT_BYTES: usize = 256;

/// A text that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{field} {problem}")]
pub struct InvalidText {
    /// Which value it was, such as `rule type`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: TextProblem,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextProblem {
    /// There is nothing in it.
    #[error("is empty")]
    Empty,
    /// It is longer than [`MAX_TEXT_BYTES`](crate::limits::MAX_TEXT_BYTES).
    #[error("is longer than {MAX_TEXT_BYTES} bytes")]
    TooLong,
    /// It is longer than so many bytes.
    #[error("is longer than {0} bytes")]
    LongerThan(usize),
    /// There are more of them than so many.
    #[error("is one of more than {0}")]
    TooMany(usize),
    /// It was given by other means, or is there twice.
    #[error("is given twice, or set by other means")]
    Taken,
    /// It holds a control character, such as a line break.
    #[error("holds a control character")]
    ControlCharacter,
    /// It goes into an HTTP header and holds something other than printable ASCII.
    #[error("holds a character that an HTTP header cannot carry")]
    NotHeaderSafe,
}

/// Checks a text that the application chose: not empty, not too long, no control characters.
pub(crate) fn check_text(field: &'static str, text: &str) -> Result<(), InvalidText> {
    let problem = if text.is_empty() {
        TextProblem::Empty
    } else if text.len() > MAX_TEXT_BYTES {
        TextProblem::TooLong
    } else if !is_plain(text) && text.chars().any(char::is_control) {
        TextProblem::ControlCharacter
    } else {
        return Ok(());
    };
    Err(InvalidText { field, problem })
}

/// Checks a text that is also sent as a header value: printable ASCII only.
pub(crate) fn check_header_text(field: &'static str, text: &str) -> Result<(), InvalidText> {
    check_text(field, text)?;
    if is_plain(text) {
        Ok(())
    } else {
        Err(InvalidText {
            field,
            problem: TextProblem::NotHeaderSafe,
        })
    }
}

/// Says whether a text is nothing but printable ASCII, as nearly all are.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Cloning shares the text. Checked where it enters the engine: 1 to [`MAX_TEXT_BYTES`](crate::limits::MAX_TEXT_BYTES) bytes, no control characters.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self::from(&*id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
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

text_id! {
    /// Which event of its client this is; publishing the same id twice delivers once.
    EventId
}
text_id! {
    /// Which rule this is.
    RuleId
}
text_id! {
    /// Whose event it is: one of the application's customers.
    ClientId
}
text_id! {
    /// Which of the client's companies the event is about.
    CompanyId
}
text_id! {
    /// Which data connection of the company the event is about.
    DataConnectionId
}

impl EventId {
    /// Returns `true` if the other one shares this one's text, and is not only spelt alike.
    pub(crate) fn is_the_very(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl ClientId {
    /// Returns `true` if the other one shares this one's text, and is not only spelt alike.
    pub(crate) fn is_the_very(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Which alert this is: one event under one rule, the same on every attempt, endpoint, redelivery and
/// re-publishing. A `UUIDv5` of both ids; where a rule for every client meets an event id that another
/// client has used before, also of the client's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AlertId(Uuid);

impl AlertId {
    /// Returns the id of the alert that `rule` raises for `event`: a `UUIDv5` of both (RFC 9562 §5.5).
    pub fn new(event: &EventId, rule: &RuleId) -> Self {
        // Neither id can hold a line break, so the pair cannot be read in two ways.
        let digest: [u8; 20] = Sha1::new()
            .chain_update(ALERT_NAMESPACE)
            .chain_update(event.as_str())
            .chain_update(b"\n")
            .chain_update(rule.as_str())
            .finalize()
            .into();
        Self::from_digest(digest)
    }

    /// Returns the id of the alert that `rule` raises for `event` of a client, where another client has
    /// used that event id before: receivers that look at `webhook-id` must not take it for the other's.
    pub fn of_client(event: &EventId, rule: &RuleId, client: &ClientId) -> Self {
        let digest: [u8; 20] = Sha1::new()
            .chain_update(ALERT_NAMESPACE)
            .chain_update(event.as_str())
            .chain_update(b"\n")
            .chain_update(rule.as_str())
            .chain_update(b"\n")
            .chain_update(client.as_str())
            .finalize()
            .into();
        Self::from_digest(digest)
    }

    fn from_digest([bytes @ .., _, _, _, _]: [u8; 20]) -> Self {
        Self(uuid::Builder::from_sha1_bytes(bytes).into_uuid())
    }

    /// Returns the id as a UUID.
    pub fn as_uuid(&self) -> &Uuid {
        &self.0
    }

    /// Returns the alert id with this value, as a store reads it back.
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which delivery this is: a number that the store gives, ascending in the order in which deliveries were accepted.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct DeliveryId(u64);

impl DeliveryId {
    /// Returns the delivery id with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The namespace of alert ids; changing it would change the ids of alerts that receivers already know.
const ALERT_NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_5a0e_8a7c_4b52_9d3e_2c41_77aa_90b3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_id_depends_on_event_and_rule_and_nothing_else() {
        let id = |event: &str, rule: &str| AlertId::new(&event.into(), &rule.into());
        assert_eq!(id("e1", "r1"), id("e1", "r1"));
        assert_ne!(id("e1", "r1"), id("e1", "r2"));
        assert_ne!(id("e1", "r1"), id("e2", "r1"));
        assert_ne!(id("e", "1r"), id("e1", "r"));
        let of = |client: &str| AlertId::of_client(&"e1".into(), &"r1".into(), &client.into());
        assert_eq!(of("c1"), of("c1"));
        assert!(of("c1") != of("c2") && of("c1") != id("e1", "r1"));
        // As any other implementation of RFC 9562 §5.5 has it: receivers know alerts by it.
        assert_eq!(
            id("e1", "r1").to_string(),
            "6e2a6662-c4ec-57be-927e-54b8d4d3b201"
        );
    }

    #[test]
    fn texts_that_could_break_a_header_or_a_log_line_are_refused() {
        let problem = |text: &str| check_text("id", text).map_err(|error| error.problem);
        assert_eq!(problem("ok – ünïcode"), Ok(()));
        assert_eq!(problem(""), Err(TextProblem::Empty));
        assert_eq!(problem("a\r\nb"), Err(TextProblem::ControlCharacter));
        assert_eq!(problem(&"x".repeat(257)), Err(TextProblem::TooLong));
        assert!(check_header_text("id", "ünïcode").is_err());
        assert!(check_header_text("id", "plain id").is_ok());
    }
}
