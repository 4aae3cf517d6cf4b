//! The events that the application publishes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::domain::value::id::{ClientId, CompanyId, DataConnectionId, EventId};
use crate::domain::value::text::{InvalidText, TextProblem, check_header_text, check_text};
use crate::domain::value::time::Timestamp;

/// The deepest nesting of event data accepted, a common limit of JSON readers.
pub const MAX_DATA_DEPTH: usize = 128;

/// The longest event message accepted, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// An event of one of the application's clients, sent wherever a rule matches it.
///
/// Make one with `Event::new(rule_type, client_id)`, which gives it a `UUIDv7` and the current
/// time. Setting an id of the application's own makes publishing idempotent.
///
/// ```
/// use actix_webhooks::Event;
/// use serde_json::json;
///
/// let event = Event::new("Dataset data changed", "bae71d36-ff47-420a-b4a6-f8c9ddf41140")
///     .company("8a210b68-6988-11ed-a1eb-0242ac120002")
///     .message("Data has changed for dataset type invoices")
///     .data(json!({ "dataType": "invoices" }));
/// assert_eq!(event.rule_type, "Dataset data changed");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Event {
    /// The event's id, the idempotency key of publishing.
    pub id: EventId,
    /// The event's type, free text that rules match, such as `Dataset data changed`.
    pub rule_type: String,
    /// The client whose event it is.
    pub client_id: ClientId,
    /// The client's company that it is about; `None` for events about the client as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company_id: Option<CompanyId>,
    /// The data connection that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_connection_id: Option<DataConnectionId>,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The application's own data; its keys are never renamed. A JSON `null` is data like any
    /// other.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub data: Option<Value>,
    /// When it happened, by the application's clock.
    pub occurred_at: Timestamp,
    #[serde(skip)]
    pub(crate) made: Made,
}

/// The id and the client that an event was made with, if the engine made its id.
#[derive(Clone, Default)]
pub(crate) struct Made(Option<(EventId, ClientId)>);

impl PartialEq for Made {
    /// Returns `true`: the origin of an id is not part of an event's content.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "with its id" } else { "-" })
    }
}

/// Why an event cannot be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEvent {
    /// One of its texts is invalid.
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// Its message is longer than [`MAX_MESSAGE_BYTES`](crate::limits::MAX_MESSAGE_BYTES).
    #[error("message is longer than {MAX_MESSAGE_BYTES} bytes")]
    MessageTooLong,
    /// Its data is nested deeper than [`MAX_DATA_DEPTH`](crate::limits::MAX_DATA_DEPTH), which
    /// receivers could not read.
    #[error("data is nested deeper than {MAX_DATA_DEPTH} levels")]
    DataTooDeep,
    /// It cannot be written as JSON, or would not be read back unchanged. The reason does not
    /// contain the data.
    #[error("event cannot be written as JSON and read back: {0}; use plain JSON as its data")]
    NotJson(String),
}

impl InvalidEvent {
    /// Returns the error for an event that an encoder refuses.
    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        Self::NotJson(error.to_string())
    }
}

impl Event {
    /// Returns an event with the given id and time. Reads no clock, so it suits replays and tests.
    pub fn identified(
        id: impl Into<EventId>,
        occurred_at: Timestamp,
        rule_type: impl Into<String>,
        client_id: impl Into<ClientId>,
    ) -> Self {
        Self {
            id: id.into(),
            rule_type: rule_type.into(),
            client_id: client_id.into(),
            company_id: None,
            data_connection_id: None,
            message: None,
            data: None,
            occurred_at,
            made: Made::default(),
        }
    }

    /// Records that the id was made for this event and belongs to no other.
    pub(crate) fn with_an_id_of_its_own(mut self) -> Self {
        self.made = Made(Some((self.id.clone(), self.client_id.clone())));
        self
    }

    /// Returns `true` if the id was made for this event and its client, rather than given.
    pub(crate) fn has_an_id_of_its_own(&self) -> bool {
        let same = |(id, client): &(EventId, ClientId)| {
            id.is_the_very(&self.id) && client.is_the_very(&self.client_id)
        };
        self.made.0.as_ref().is_some_and(same)
    }

    /// Sets the id. Ids are per client.
    ///
    /// While an id is remembered, publishing a second event of the same client with it delivers
    /// nothing and returns the first receipt, marked as a [`duplicate`](crate::Receipt::duplicate).
    /// If that event has other content (another type, company, data connection, message or data),
    /// it is refused with [`PublishError::IdTaken`](crate::PublishError::IdTaken).
    #[must_use]
    pub fn id(mut self, id: impl Into<EventId>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets the company that the event is about. Defaults to none: the event is about the client as
    /// a whole.
    #[must_use]
    pub fn company(mut self, company_id: impl Into<CompanyId>) -> Self {
        self.company_id = Some(company_id.into());
        self
    }

    /// Sets the data connection that the event is about. Defaults to none.
    #[must_use]
    pub fn data_connection(mut self, data_connection_id: impl Into<DataConnectionId>) -> Self {
        self.data_connection_id = Some(data_connection_id.into());
        self
    }

    /// Sets the sentence for people. Defaults to none.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Sets the application's own data. Defaults to none.
    #[must_use]
    pub fn data(mut self, data: impl Into<Value>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// Sets when it happened. Defaults to when the event was made.
    #[must_use]
    pub fn occurred_at(mut self, at: Timestamp) -> Self {
        self.occurred_at = at;
        self
    }

    /// Checks the texts and the depth of the data.
    pub(crate) fn check(&self) -> Result<(), InvalidEvent> {
        if self.id.is_test() {
            return Err(InvalidEvent::Text(InvalidText {
                field: "event id",
                problem: TextProblem::Reserved,
            }));
        }
        self.check_content()
    }

    /// Like [`check`](Self::check), for an event whose id the engine has made.
    pub(crate) fn check_content(&self) -> Result<(), InvalidEvent> {
        check_header_text("event id", self.id.as_str())?;
        check_text("rule type", &self.rule_type)?;
        check_header_text("client id", self.client_id.as_str())?;
        if let Some(company) = &self.company_id {
            check_text("company id", company.as_str())?;
        }
        if let Some(connection) = &self.data_connection_id {
            check_text("data connection id", connection.as_str())?;
        }
        if self
            .message
            .as_ref()
            .is_some_and(|message| message.len() > MAX_MESSAGE_BYTES)
        {
            return Err(InvalidEvent::MessageTooLong);
        }
        match &self.data {
            Some(data) if is_deeper_than(data, MAX_DATA_DEPTH) => Err(InvalidEvent::DataTooDeep),
            _ => Ok(()),
        }
    }

    /// Drops an event whose data may be nested without limit.
    pub(crate) fn discard(self) {
        self.data.into_iter().for_each(discard);
    }
}

/// Drops data that may be nested without limit. The default drop recurses once per level and could
/// overflow the stack.
pub(crate) fn discard(data: Value) {
    let mut left = vec![data];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => left.extend(fields.into_iter().map(|(_, field)| field)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// Reads data that is present. A `null` would otherwise be read as no data.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Returns `true` if `value` nests deeper than `limit`, without recursing past it.
fn is_deeper_than(value: &Value, limit: usize) -> bool {
    match value {
        Value::Array(items) => {
            limit == 0 || items.iter().any(|item| is_deeper_than(item, limit - 1))
        }
        Value::Object(fields) => {
            limit == 0
                || fields
                    .values()
                    .any(|field| is_deeper_than(field, limit - 1))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::identified("e1", Timestamp::default(), "t", "c")
    }

    #[test]
    fn texts_that_cannot_be_sent_are_refused() {
        assert_eq!(event().check(), Ok(()));
        for bad in [
            event().id(""),
            event().company("a\nb"),
            event().data_connection(""),
            Event::identified("e", Timestamp::default(), "", "c"),
            Event::identified("e", Timestamp::default(), "t", "c\r\nX-Evil: 1"),
        ] {
            assert!(matches!(bad.check(), Err(InvalidEvent::Text(_))), "{bad:?}");
        }
        let long = event().message("x".repeat(MAX_MESSAGE_BYTES + 1));
        assert_eq!(long.check(), Err(InvalidEvent::MessageTooLong));
    }

    /// Found by a fuzzer: data of `null` was lost in the outbox, so the alert had no `Data`.
    #[test]
    fn data_of_null_is_not_taken_for_no_data() {
        for event in [event(), event().data(Value::Null)] {
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        }
    }

    #[test]
    fn data_may_be_deep_but_not_bottomless() {
        let nested =
            |depth: usize| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert_eq!(event().data(nested(MAX_DATA_DEPTH)).check(), Ok(()));
        assert_eq!(
            event().data(nested(MAX_DATA_DEPTH + 1)).check(),
            Err(InvalidEvent::DataTooDeep)
        );
        assert_eq!(
            event().data(nested(2_000)).check(),
            Err(InvalidEvent::DataTooDeep)
        );
    }

    #[test]
    fn data_without_a_bottom_can_be_dropped() {
        let nested = (0..200_000).fold(Value::Null, |inner, level| match level % 2 {
            0 => Value::Array(vec![inner]),
            _ => Value::Object([("a".to_owned(), inner)].into_iter().collect()),
        });
        let event = event().data(nested);
        assert_eq!(event.check(), Err(InvalidEvent::DataTooDeep));
        event.discard();
    }

    #[test]
    fn the_longest_texts_are_taken_and_one_byte_more_is_not() {
        let long = |bytes: usize| event().message("x".repeat(bytes)).check();
        assert_eq!(long(MAX_MESSAGE_BYTES), Ok(()));
        assert_eq!(
            long(MAX_MESSAGE_BYTES + 1),
            Err(InvalidEvent::MessageTooLong)
        );
        let named = |bytes: usize| event().id("x".repeat(bytes)).check();
        assert_eq!(named(256), Ok(()));
        assert!(named(257).is_err());
    }

    #[test]
    fn an_id_of_its_own_is_known_until_id_or_client_changes() {
        let made = event().with_an_id_of_its_own();
        assert!(made.has_an_id_of_its_own() && made.clone().has_an_id_of_its_own());
        assert!(!event().has_an_id_of_its_own());
        assert!(
            !made.clone().id("e1").has_an_id_of_its_own(),
            "an equal id was given"
        );
        let mut moved = made;
        moved.client_id = "c".into();
        assert!(!moved.has_an_id_of_its_own(), "the client may be another");
    }
}
