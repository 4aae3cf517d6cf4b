//! The request bodies: the alert envelope, Standard Webhooks, `CloudEvents`, and the data alone.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::events::event::Event;
use crate::domain::events::projection::Selected;
use crate::domain::value::id::{AlertId, CompanyId, DataConnectionId, RuleId};
use crate::domain::value::time::Timestamp;

/// The format of the body of a rule's alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PayloadFormat {
    /// The alert service's envelope, with `PascalCase` keys: `ClientId`, `RuleType`, `AlertId`,
    /// `Message`, `Data` and so on.
    ///
    /// Keys without a value are omitted.
    #[default]
    Alert,
    /// Standard Webhooks 1.0: `{"type", "timestamp", "data"}`.
    StandardWebhooks,
    /// `CloudEvents` 1.0 in structured JSON mode, sent as `application/cloudevents+json`.
    CloudEvents,
    /// The event's data alone, or the part of it that the rule's projection selects; `null` if
    /// there is none.
    Raw,
}

impl PayloadFormat {
    /// Returns the `Content-Type` of bodies in this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Alert | Self::StandardWebhooks | Self::Raw => "application/json",
            Self::CloudEvents => "application/cloudevents+json",
        }
    }

    /// Appends to `body` the body of the alert that `event` raises under a rule, which sends
    /// `data` of it.
    ///
    /// # Errors
    /// Those of the JSON encoder, which refuses only values that no `serde_json::Value` can hold.
    pub(crate) fn encode(
        self,
        event: &Event,
        data: Option<&Selected<'_>>,
        alert_id: AlertId,
        rule_id: &RuleId,
        client_name: Option<&str>,
        body: &mut Vec<u8>,
    ) -> Result<(), serde_json::Error> {
        match self {
            Self::Alert => write_alert(event, data, alert_id, rule_id, client_name, body),
            Self::StandardWebhooks => {
                let envelope = StandardWebhook {
                    r#type: &event.rule_type,
                    timestamp: event.occurred_at,
                    data,
                };
                serde_json::to_writer(body, &envelope)
            }
            Self::CloudEvents => {
                let source = format!("/clients/{}", percent_encode(event.client_id.as_str()));
                let envelope = CloudEvent {
                    specversion: "1.0",
                    id: alert_id,
                    source: &source,
                    r#type: &event.rule_type,
                    time: event.occurred_at,
                    subject: event.company_id.as_ref().map(CompanyId::as_str),
                    datacontenttype: "application/json",
                    data,
                };
                serde_json::to_writer(body, &envelope)
            }
            Self::Raw => serde_json::to_writer(body, &data),
        }
    }
}

/// Writes the alert service's envelope. Hand-written because nearly every body is one, and a
/// message is most of it. Most texts need no escapes: that is checked sixteen bytes at a time, and
/// the text is then copied.
fn write_alert(
    event: &Event,
    data: Option<&Selected<'_>>,
    alert_id: AlertId,
    rule_id: &RuleId,
    client_name: Option<&str>,
    body: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    let mut id = Uuid::encode_buffer();
    let id: &str = alert_id.as_uuid().hyphenated().encode_lower(&mut id);
    let company_id = event.company_id.as_ref().map(CompanyId::as_str);
    let connection = event.data_connection_id.as_ref();
    let texts = [
        (r#"{"ClientId":"#, Some(event.client_id.as_str())),
        (r#","ClientName":"#, client_name),
        (r#","CompanyId":"#, company_id),
        (
            r#","DataConnectionId":"#,
            connection.map(DataConnectionId::as_str),
        ),
        (r#","RuleId":"#, Some(rule_id.as_str())),
        (r#","RuleType":"#, Some(&event.rule_type)),
        (r#","AlertId":"#, Some(id)),
        (r#","Message":"#, event.message.as_deref()),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            body.extend_from_slice(key.as_bytes());
            write_text(text, body)?;
        }
    }
    if let Some(data) = data {
        body.extend_from_slice(br#","Data":"#);
        serde_json::to_writer(&mut *body, data)?;
    }
    body.push(b'}');
    Ok(())
}

/// Writes a text as a JSON string.
fn write_text(text: &str, body: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let as_it_is = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    // No early exit, so that the loop is vectorised.
    if text.bytes().fold(true, |all, byte| all & as_it_is(byte)) {
        body.push(b'"');
        body.extend_from_slice(text.as_bytes());
        body.push(b'"');
        return Ok(());
    }
    serde_json::to_writer(body, text)
}

/// The body that Standard Webhooks 1.0 recommends; `data` is present even if it is null.
#[derive(Serialize)]
struct StandardWebhook<'a> {
    r#type: &'a str,
    timestamp: Timestamp,
    data: Option<&'a Selected<'a>>,
}

/// `CloudEvents` 1.0, JSON event format §2: `source` and `id` together identify the event.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: AlertId,
    source: &'a str,
    r#type: &'a str,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Selected<'a>>,
}

/// Makes a client id safe inside the URI reference that `CloudEvents` requires as a source.
fn percent_encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::events::projection::Projection;

    fn event() -> Event {
        Event::identified(
            "e1",
            Timestamp::from_unix_millis(1_614_265_330_000),
            "order.paid",
            "client 1",
        )
        .company("company-1")
        .data_connection("connection-1")
        .message("Paid.")
        .data(json!({ "dataType": "orders", "Amount": 3 }))
    }

    fn encoded(format: PayloadFormat, event: &Event, name: Option<&str>) -> Value {
        let rule = RuleId::from("r1");
        let alert = AlertId::new(&event.id, &rule);
        let data = event.data.as_ref().map(Selected::Whole);
        let mut body = Vec::new();
        format
            .encode(event, data.as_ref(), alert, &rule, name, &mut body)
            .unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn the_alert_envelope_has_every_key_in_its_casing() {
        let alert = AlertId::new(&"e1".into(), &"r1".into());
        assert_eq!(
            encoded(PayloadFormat::Alert, &event(), Some("Bank")),
            json!({
                "ClientId": "client 1", "ClientName": "Bank", "CompanyId": "company-1", "DataConnectionId": "connection-1",
                "RuleId": "r1", "RuleType": "order.paid", "AlertId": alert, "Message": "Paid.",
                "Data": { "dataType": "orders", "Amount": 3 },
            })
        );
    }

    #[test]
    fn what_an_event_does_not_have_is_left_out_of_the_alert() {
        let bare = Event::identified("e1", Timestamp::default(), "t", "c");
        let Value::Object(fields) = encoded(PayloadFormat::Alert, &bare, None) else {
            panic!("not an object")
        };
        assert_eq!(
            fields.keys().collect::<Vec<_>>(),
            ["AlertId", "ClientId", "RuleId", "RuleType"]
        );
    }

    #[test]
    fn whatever_a_text_holds_is_read_back_as_it_was() {
        let mut texts: Vec<String> = (0..=0x2ff_u32)
            .filter_map(char::from_u32)
            .map(|character| format!("{}{character}", "x".repeat(37)))
            .collect();
        texts.extend(["\u{2028}", "\u{1f600}\\u0000", "\"}{", ""].map(str::to_owned));
        for text in texts {
            let body = encoded(PayloadFormat::Alert, &event().message(&text), Some(&text));
            assert_eq!(
                (&body["Message"], &body["ClientName"]),
                (&json!(text), &json!(text))
            );
            let mut written = Vec::new();
            write_text(&text, &mut written).unwrap();
            assert_eq!(
                String::from_utf8(written).unwrap(),
                serde_json::to_string(&text).unwrap()
            );
        }
    }

    #[test]
    fn the_alert_keys_keep_the_services_order() {
        let rule = RuleId::from("r1");
        let (alert, mut body) = (AlertId::new(&"e1".into(), &rule), Vec::new());
        let (format, event) = (PayloadFormat::Alert, event());
        let data = event.data.as_ref().map(Selected::Whole);
        format
            .encode(&event, data.as_ref(), alert, &rule, Some("B"), &mut body)
            .unwrap();
        let text = String::from_utf8(body).unwrap();
        let keys = [
            "ClientId",
            "ClientName",
            "CompanyId",
            "DataConnectionId",
            "RuleId",
            "RuleType",
            "AlertId",
            "Message",
            "Data",
        ];
        let positions = keys.map(|key| text.find(&format!("\"{key}\":")).unwrap());
        assert!(positions.is_sorted(), "{text}");
    }

    #[test]
    fn the_other_formats_follow_their_specifications() {
        assert_eq!(
            encoded(PayloadFormat::StandardWebhooks, &event(), None),
            json!({ "type": "order.paid", "timestamp": "2021-02-25T15:02:10.000Z", "data": { "dataType": "orders", "Amount": 3 } })
        );
        let cloud = encoded(PayloadFormat::CloudEvents, &event(), None);
        assert_eq!(cloud["specversion"], "1.0");
        assert_eq!(cloud["source"], "/clients/client%201");
        assert_eq!(cloud["subject"], "company-1");
        assert_eq!(cloud["data"]["Amount"], 3);
        assert_eq!(
            encoded(PayloadFormat::Raw, &event(), None),
            json!({ "dataType": "orders", "Amount": 3 })
        );
        let bare = Event::identified("e1", Timestamp::default(), "t", "c");
        assert_eq!(encoded(PayloadFormat::Raw, &bare, None), Value::Null);
    }

    #[test]
    fn every_format_carries_only_the_selected_data() {
        use PayloadFormat::{Alert, CloudEvents, Raw, StandardWebhooks};

        let (event, rule) = (event(), RuleId::from("r1"));
        let alert = AlertId::new(&event.id, &rule);
        let data = event.data.as_ref().unwrap();
        let sent = |format: PayloadFormat, pointer: &str| {
            let selected = Projection::new([pointer]).of(data);
            let mut body = Vec::new();
            let encoded = format.encode(&event, selected.as_ref(), alert, &rule, None, &mut body);
            encoded.unwrap();
            serde_json::from_slice::<Value>(&body).unwrap()
        };
        for (pointer, expected) in [("/Amount", json!({ "Amount": 3 })), ("/x", json!({}))] {
            assert_eq!(sent(Alert, pointer)["Data"], expected);
            assert_eq!(sent(StandardWebhooks, pointer)["data"], expected);
            assert_eq!(sent(CloudEvents, pointer)["data"], expected);
            assert_eq!(sent(Raw, pointer), expected);
        }
    }

    #[test]
    fn a_text_is_written_as_json_whatever_it_holds() {
        for text in [
            "", "plain", "ä", " ", "\n", "\u{1f}", "\"", "\\", "a\"b", "a\\b", "a\nb",
        ] {
            let mut body = Vec::new();
            write_text(text, &mut body).unwrap();
            assert_eq!(body, serde_json::to_vec(text).unwrap(), "{text:?}");
        }
    }

    #[test]
    fn a_format_has_its_content_type() {
        use PayloadFormat::{Alert, CloudEvents, Raw, StandardWebhooks};

        for format in [Alert, StandardWebhooks, Raw] {
            assert_eq!(format.content_type(), "application/json");
        }
        assert_eq!(CloudEvents.content_type(), "application/cloudevents+json");
    }
}
