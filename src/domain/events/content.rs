//! The digest of an event's content. It distinguishes a repeated event from a second event under
//! the same id.

use ring::digest::{SHA256, digest};
use serde_json::Value;

use crate::domain::events::event::Event;
use crate::domain::value::id::{CompanyId, DataConnectionId};

/// A digest of an event's content: its type, company, data connection, message and data.
///
/// Id and client are left out, because the event is looked up by them. The time is left out,
/// because an event made again after a failure has another time. The digest is the same in every
/// process and version, regardless of the order of the keys in the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentDigest([u8; 16]);

impl ContentDigest {
    /// Returns the digest of an event: the first half of a SHA-256. `buffer` is reused for its
    /// capacity.
    pub(crate) fn of(event: &Event, buffer: &mut Vec<u8>) -> Self {
        buffer.clear();
        let company = event.company_id.as_ref().map(CompanyId::as_str);
        let connection = event.data_connection_id.as_ref();
        for text in [
            Some(event.rule_type.as_str()),
            company,
            connection.map(DataConnectionId::as_str),
            event.message.as_deref(),
        ] {
            match text {
                Some(text) => write(TEXT, text.as_bytes(), buffer),
                None => buffer.push(NOTHING),
            }
        }
        match &event.data {
            Some(data) => write_value(data, buffer),
            None => buffer.push(NOTHING),
        }
        let whole = digest(&SHA256, buffer);
        let mut half = [0; 16];
        half.iter_mut()
            .zip(whole.as_ref())
            .for_each(|(to, from)| *to = *from);
        Self(half)
    }

    /// Returns the digest as bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns the digest with these bytes, as a store reads it back.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// Writes `bytes` with kind and length, so that the encoding is unambiguous.
fn write(kind: u8, bytes: &[u8], buffer: &mut Vec<u8>) {
    buffer.push(kind);
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(bytes);
}

/// Writes a value. Events nested too deeply for recursion were refused before.
fn write_value(value: &Value, buffer: &mut Vec<u8>) {
    match value {
        Value::Null => buffer.push(NULL),
        Value::Bool(is_true) => buffer.push(if *is_true { TRUE } else { FALSE }),
        Value::Number(number) => write(NUMBER, number.to_string().as_bytes(), buffer),
        Value::String(text) => write(TEXT, text.as_bytes(), buffer),
        Value::Array(items) => {
            write_count(ARRAY, items.len(), buffer);
            for item in items {
                write_value(item, buffer);
            }
        }
        Value::Object(fields) => {
            write_count(OBJECT, fields.len(), buffer);
            let mut fields: Vec<_> = fields.iter().collect();
            // The application may have serde_json keep the keys in the order in which they came.
            fields.sort_by_key(|(name, _)| *name);
            for (name, field) in fields {
                write(TEXT, name.as_bytes(), buffer);
                write_value(field, buffer);
            }
        }
    }
}

fn write_count(kind: u8, count: usize, buffer: &mut Vec<u8>) {
    buffer.push(kind);
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    buffer.extend_from_slice(&count.to_le_bytes());
}

// These are in stored files, so none may ever change.
const NOTHING: u8 = 0;
const TEXT: u8 = 1;
const NULL: u8 = 2;
const FALSE: u8 = 3;
const TRUE: u8 = 4;
const NUMBER: u8 = 5;
const ARRAY: u8 = 6;
const OBJECT: u8 = 7;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::value::time::Timestamp;

    fn event() -> Event {
        Event::identified("e", Timestamp::default(), "type", "client")
    }

    fn digest_of(event: &Event) -> ContentDigest {
        ContentDigest::of(event, &mut vec![1, 2, 3])
    }

    #[test]
    fn whatever_an_event_says_is_in_its_digest() {
        let events = [
            event(),
            Event::identified("e", Timestamp::default(), "type2", "client"),
            event().company("c"),
            event().data_connection("c"),
            event().message("c"),
            event().message(""),
            event().data(json!("c")),
            event().data(json!(null)),
            event().data(json!(false)),
            event().data(json!([])),
            event().data(json!({})),
            event().data(json!(["a", "b"])),
            event().data(json!(["ab"])),
            event().data(json!([["a"], "b"])),
            event().data(json!([["a", "b"]])),
            event().data(json!({ "a": "b" })),
            event().data(json!(1)),
            event().data(json!(1.0)),
            event().data(json!("1")),
        ];
        for (place, one) in events.iter().enumerate() {
            for other in events.iter().skip(place + 1) {
                assert_ne!(digest_of(one), digest_of(other), "{one:?}, {other:?}");
            }
        }
    }

    #[test]
    fn what_a_repetition_may_differ_in_is_not() {
        let data = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let first = event().data(data(r#"{"a":1,"b":[true]}"#));
        let again = event()
            .id("other")
            .occurred_at(Timestamp::from_unix_millis(7))
            .data(data(r#"{ "b": [true], "a": 1 }"#));
        assert_eq!(digest_of(&first), digest_of(&again));
    }

    /// Digests are in files, so an engine of another version has to compute the same one.
    #[test]
    fn a_digest_stays_what_it_is() {
        let event = event()
            .company("co")
            .message("m")
            .data(json!({ "a": [1, 2.5, null] }));
        let digest = *digest_of(&event).as_bytes();
        let hex = format!("{:032x}", u128::from_be_bytes(digest));
        assert_eq!(hex, "cd0cff5551c9976d68f7907042257721");
    }
}
