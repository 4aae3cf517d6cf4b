//! Ids: texts that the application chooses, and the two ids that the engine makes.

use std::borrow::Borrow;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};
use uuid::Uuid;

use crate::domain::value::text::{InvalidText, check_text};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Clones share the text. The engine checks it on entry: 1 to
        /// [`MAX_TEXT_BYTES`](crate::limits::MAX_TEXT_BYTES) bytes, no control characters.
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

        impl FromStr for $name {
            type Err = InvalidText;

            fn from_str(text: &str) -> Result<Self, InvalidText> {
                check_text(stringify!($name), text)?;
                Ok(Self::from(text))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
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

text_id! {
    /// The id of an event within its client; publishing the same id twice delivers once.
    EventId
}
text_id! {
    /// The id of a rule.
    RuleId
}
text_id! {
    /// The id of a client, the application's customer whose event it is.
    ClientId
}
text_id! {
    /// The id of the client's company that the event is about.
    CompanyId
}
text_id! {
    /// The id of the company's data connection that the event is about.
    DataConnectionId
}

impl EventId {
    /// Returns `true` if it is the id of a test event ([`SendTest`](crate::SendTest)).
    ///
    /// Such an id begins with `webhook.test:`. No other event can have one.
    pub fn is_test(&self) -> bool {
        self.0.starts_with(TEST_PREFIX)
    }

    /// Returns the id of a test event.
    pub(crate) fn of_test(id: Uuid) -> Self {
        Self::from(format!("{TEST_PREFIX}{id}"))
    }

    /// Returns `true` if `other` shares this id's text, rather than being an equal copy.
    pub(crate) fn is_the_very(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl ClientId {
    /// Returns `true` if `other` shares this id's text, rather than being an equal copy.
    pub(crate) fn is_the_very(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The id of an alert: one event under one rule.
///
/// It is the same on every attempt, endpoint, redelivery and re-publishing. It is a `UUIDv5` of
/// both ids. If a rule for every client meets an event id that another client has used before, the
/// client's id is included as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AlertId(Uuid);

impl AlertId {
    /// Returns the id of the alert that `rule` raises for `event`: a `UUIDv5` of both (RFC 9562
    /// §5.5).
    pub fn new(event: &EventId, rule: &RuleId) -> Self {
        // Neither id can hold a line break, so the pair is unambiguous.
        let digest: [u8; 20] = Sha1::new()
            .chain_update(ALERT_NAMESPACE)
            .chain_update(event.as_str())
            .chain_update(b"\n")
            .chain_update(rule.as_str())
            .finalize()
            .into();
        Self::from_digest(digest)
    }

    /// Returns the id of the alert that `rule` raises for `event` of `client`.
    ///
    /// For an event id that another client has used before: receivers that check `webhook-id` must
    /// not mistake it for the other client's.
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

/// The id of a delivery: a number from the store, ascending in the order in which deliveries were
/// accepted.
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

impl FromStr for DeliveryId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The beginning of the ids of test events, and of no others.
const TEST_PREFIX: &str = "webhook.test:";

/// The namespace of alert ids. Changing it would change the ids of alerts that receivers already
/// know.
const ALERT_NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_5a0e_8a7c_4b52_9d3e_2c41_77aa_90b3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_parsed_checked_and_found_by_their_text() {
        let id: EventId = "invoice-42".parse().unwrap();
        assert_eq!(id.to_string(), "invoice-42");
        let refused = "a\nb".parse::<ClientId>().unwrap_err();
        assert_eq!(refused.to_string(), "ClientId holds a control character");
        assert!("".parse::<RuleId>().is_err());
        let names = std::collections::BTreeMap::from([(id, 1)]);
        assert_eq!(names.get("invoice-42"), Some(&1));
        let number: DeliveryId = "17".parse().unwrap();
        assert_eq!((number.get(), number.to_string().as_str()), (17, "17"));
        assert!("-1".parse::<DeliveryId>().is_err());
    }

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
        // Receivers know alerts by this id, so it must match other implementations of RFC 9562
        // §5.5.
        assert_eq!(
            id("e1", "r1").to_string(),
            "6e2a6662-c4ec-57be-927e-54b8d4d3b201"
        );
    }
}
