//! Reading records from columns that a fuzzer filled.

use std::fmt::Debug;

use actix_webhooks::fuzzing::{Rows, create_tables};
use actix_webhooks::rusqlite::types::Value as Column;
use actix_webhooks::rusqlite::{Connection, Transaction, params};
use actix_webhooks::store::{DeadLetterQuery, DeliveryQuery, PageLimit, SqliteStore, StoreError};
use actix_webhooks::{DeliveryId, Event, Timestamp, WebhookUrl};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads records from a fuzzer's bytes. The first byte selects the meaning of the others: the text
/// of a record, the source of an event, or values of columns.
///
/// # Panics
/// If a property does not hold: a written value is read back equal, and an unreadable value gives
/// an error that says so.
pub fn stored(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    thread_local! {
        static FILE: Connection = file();
    }
    FILE.with(|file| {
        // The drop rolls back, so that the next input finds the file unchanged.
        let file = file.unchecked_transaction().expect("a transaction begins");
        match kind {
            b'e' => event_text(&file, data),
            b'b' => event_again(&file, &event(data)),
            b'r' => setting(&file, "rule", data),
            b'c' => setting(&file, "client", data),
            b'u' => setting(&file, "setting", data),
            b'p' => set(&file, "UPDATE webhook_paused SET url = ?1", &text(data)),
            b'd' => set(
                &file,
                "UPDATE webhook_endpoint SET disabled = ?1",
                &text(data),
            ),
            b'm' => set(&file, "UPDATE webhook_removed SET url = ?1", &text(data)),
            b'f' => failure(&file, data),
            _ => columns(&file, data),
        }
        read_all(&file);
    });
}

/// Returns a file in memory with one row of each kind.
fn file() -> Connection {
    let mut file = Connection::open_in_memory().expect("a file in memory can be made");
    create_tables(&mut file).expect("it gets its tables");
    file.execute_batch(ROWS).expect("it gets its rows");
    read_all(&file);
    file
}

/// Reads everything through every query.
fn read_all(file: &Connection) {
    let url = WebhookUrl::parse("http://a.test/").expect("it is a URL");
    let limit = PageLimit::new(10, 10);
    let rows = Rows(file);
    readable(rows.queued(&url, limit));
    readable(rows.waiting(&url, 10));
    readable(rows.load(&url, &[DeliveryId::new(1), DeliveryId::new(2)], 10));
    readable(rows.endpoint(&url));
    readable(rows.open_summaries(10));
    for id in 1..4 {
        readable(rows.attempts(DeliveryId::new(id)));
    }
    readable(rows.deliveries(&DeliveryQuery::default()));
    let of_event = DeliveryQuery {
        event_id: Some("e".into()),
        ..DeliveryQuery::default()
    };
    readable(rows.deliveries(&of_event));
    readable(rows.dead_letters(&DeadLetterQuery::default()));
    let alone = "each row is read by itself";
    readable(rows.configuration());
    readable(rows.readable()).expect(alone);
    readable(rows.removed()).expect(alone);
    readable(rows.outbox(10));
}

/// Checks that a read succeeds or reports damage, and is never reported as transient.
#[track_caller]
fn readable<T>(read: Result<T, StoreError>) -> Option<T> {
    if let Err(error) = &read {
        assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    }
    read.ok()
}

/// Sets a column. A value that violates a constraint (unique, not null) is ignored.
fn set(file: &Connection, sql: &str, value: &Column) {
    let sql = sql.replace("UPDATE", "UPDATE OR IGNORE");
    let mut statement = file.prepare_cached(&sql).expect("the statement is right");
    let updated = statement.execute(params![value]);
    updated.expect("there is room in memory");
}

/// Returns the bytes as a text column, or as a blob if they are not UTF-8.
fn text(bytes: &[u8]) -> Column {
    // Only UTF-8 can be bound as text. A blob has the wrong type, which the reader refuses just the
    // same.
    match std::str::from_utf8(bytes) {
        Ok(text) => Column::Text(text.to_owned()),
        Err(_) => Column::Blob(bytes.to_owned()),
    }
}

fn event_text(file: &Transaction<'_>, bytes: &[u8]) {
    set(file, "UPDATE webhook_outbox SET event = ?1", &text(bytes));
    // An unreadable event does not hide the others.
    let entries = readable(Rows(file).outbox(10)).expect("each is read by itself");
    assert_eq!(entries.len(), 2);
    for entry in entries {
        if let Ok(event) = entry.event {
            event_again(file, &event);
        }
    }
}

/// Checks that an event leaves the outbox as it entered, if it may enter.
fn event_again(file: &Transaction<'_>, event: &Event) {
    let deleted = file.execute("DELETE FROM webhook_outbox", []);
    deleted.expect("rows can be deleted");
    if SqliteStore::publish_in(file, event).is_err() {
        return;
    }
    let entries = readable(Rows(file).outbox(10)).expect("what was written is read");
    let [entry] = &*entries else {
        unreachable!("{} entries", entries.len());
    };
    assert_eq!(entry.event.as_ref(), Ok(event));
}

fn setting(file: &Connection, table: &str, bytes: &[u8]) {
    let sql = format!("UPDATE webhook_{table} SET json = ?1");
    set(file, &sql, &text(bytes));
    let read = readable(Rows(file).readable());
    let (read, lost) = read.expect("each row is read by itself");
    let kept = read.rules.len() + read.clients.len() + read.endpoints.len();
    assert_eq!(kept + lost.len(), 3, "{lost:?}");
    let secrets = "what was read can be written";
    for rule in &read.rules {
        again(rule, &Rows::setting(rule).expect(secrets));
    }
    for client in &read.clients {
        again(client, &Rows::setting(client).expect(secrets));
    }
    for endpoint in &read.endpoints {
        again(endpoint, &Rows::setting(endpoint).expect(secrets));
    }
}

fn failure(file: &Connection, bytes: &[u8]) {
    let text = text(bytes);
    set(file, "UPDATE webhook_attempt SET failure = ?1", &text);
    set(file, "UPDATE webhook_ended SET failure = ?1", &text);
    set(file, "UPDATE webhook_ended SET reason = ?1", &text);
    let attempts = readable(Rows(file).attempts(DeliveryId::new(1)));
    for attempt in attempts.unwrap_or_default() {
        again_as_text(&attempt.summary.failure);
        again_as_text(&attempt);
    }
    let letters = readable(Rows(file).dead_letters(&DeadLetterQuery::default()));
    for letter in letters.unwrap_or_default() {
        again_as_text(&letter.reason);
        again_as_text(&letter);
    }
}

/// Checks that a stored value is read back equal.
#[track_caller]
fn again<T: DeserializeOwned + PartialEq + Debug>(value: &T, kept: &str) {
    let read = serde_json::from_str(kept);
    assert_eq!(read.as_ref().ok(), Some(value), "{read:?}");
}

#[track_caller]
fn again_as_text<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let kept = Rows::value(value).expect("what was read can be written");
    let read = serde_json::from_str(&kept);
    assert_eq!(read.as_ref().ok(), Some(value), "{kept}: {read:?}");
}

/// Sets some columns to values of any type.
fn columns(file: &Connection, mut data: &[u8]) {
    for _ in 0..16 {
        if data.is_empty() {
            break;
        }
        let sql = pick(&mut data, &COLUMNS);
        let value = match byte(&mut data) % 8 {
            0 => Column::Null,
            1 => Column::Integer(i64::from(byte(&mut data).cast_signed())),
            2 => Column::Integer(i64::from_le_bytes(take(&mut data))),
            3 => Column::Real(f64::from_le_bytes(take(&mut data))),
            4 => Column::Blob(some(&mut data).to_owned()),
            5 => Column::Text(pick(&mut data, &TEXTS).to_owned()),
            _ => text(some(&mut data)),
        };
        set(file, sql, &value);
    }
}

/// Builds an event as an application would, with data that parsed JSON text may never have.
fn event(mut data: &[u8]) -> Event {
    let data = &mut data;
    let millis = i64::from_le_bytes(take(data)) % LAST_MILLIS;
    let at = Timestamp::from_unix_millis(millis);
    let mut event = Event::identified("e", at, "t", "c");
    let given = byte(data);
    if given & 1 != 0 {
        event = event.company(lossy(some(data)));
    }
    if given & 2 != 0 {
        event = event.data_connection(lossy(some(data)));
    }
    if given & 4 != 0 {
        event = event.message(lossy(some(data)));
    }
    if given & 8 != 0 {
        event = event.data(value(data, 0));
    }
    event
}

fn value(data: &mut &[u8], depth: usize) -> Value {
    let kind = byte(data) % 8;
    match kind {
        1 => Value::from(byte(data) != 0),
        2 => Value::from(i64::from_le_bytes(take(data))),
        3 => Value::from(u64::from_le_bytes(take(data))),
        4 => Value::from(f64::from_le_bytes(take(data))),
        5 => Value::from(lossy(some(data))),
        6 | 7 if depth < DEEP && !data.is_empty() => {
            let length = byte(data) % 4;
            let items = (0..length).map(|_| {
                let name = lossy(if kind == 7 { some(data) } else { &[] });
                (name, value(data, depth + 1))
            });
            if kind == 7 {
                Value::Object(items.collect())
            } else {
                Value::Array(items.map(|(_, item)| item).collect())
            }
        }
        _ => Value::Null,
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Takes bytes, padded with zeros.
fn take<const LENGTH: usize>(data: &mut &[u8]) -> [u8; LENGTH] {
    std::array::from_fn(|_| byte(data))
}

fn byte(data: &mut &[u8]) -> u8 {
    data.split_off_first().copied().unwrap_or_default()
}

/// Takes as many bytes as the first byte says.
fn some<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::from(byte(data) % 64).min(data.len());
    data.split_off(..length).unwrap_or_default()
}

fn pick<T: Copy>(data: &mut &[u8], values: &[T]) -> T {
    let at = usize::from(byte(data)) % values.len();
    *values.get(at).expect("there is something to pick from")
}

/// The last millisecond that RFC 3339 can express, whatever the offset.
const LAST_MILLIS: i64 = 253_402_207_200_000;

/// A little deeper than events may be.
const DEEP: usize = 140;

const ROWS: &str = r#"
    INSERT INTO webhook_endpoint (id, url, held_until)
        VALUES (1, 'http://a.test/', 5);
    INSERT INTO webhook_event (seq, id, accepted_at, first_alert, alerts, first_delivery, deliveries)
        VALUES (1, 'e', 1, 1, 1, 1, 3);
    INSERT INTO webhook_alert (seq, id, event_id, rule_id, rule_type, client_id, company_id, format, accepted_at, refs, body)
        VALUES (1, x'00112233445566778899aabbccddeeff', 'e', 'r', 't', 'c', NULL, 'alert', 1, 3, x'7b7d');
    INSERT INTO webhook_open (endpoint, id, alert, accepted_at, bytes, attempts_made, window_ends_at, due_at)
        VALUES (1, 1, 1, 1, 2, 1, 9, 3);
    INSERT INTO webhook_open (endpoint, id, alert, accepted_at, bytes, attempts_made, window_ends_at, due_at)
        VALUES (1, 2, 1, 1, 2, 0, NULL, NULL);
    INSERT INTO webhook_ended (id, endpoint, alert, accepted_at, ended_at, attempts_made, reason, listed, duration_ms, status, failure, redirects, sent_twice, excerpt)
        VALUES (3, 1, 1, 1, 4, 1, '{"permanent":{"status":400}}', 1, 7, 400, '{"status":400}', 0, 0, x'6e6f');
    INSERT INTO webhook_attempt (delivery, number, at, duration_ms, status, failure, redirects, sent_twice, excerpt)
        VALUES (1, 1, 2, 7, 503, '{"status":503}', 0, 0, x'6e6f');
    INSERT INTO webhook_attempt (delivery, number, at, duration_ms, status, failure, redirects, sent_twice, excerpt)
        VALUES (3, 1, 2, 7, NULL, '"timeout"', 0, 0, x'');
    INSERT INTO webhook_rule (id, json)
        VALUES ('r', '{"id":"r","ruleType":"*","webhooks":[]}');
    INSERT INTO webhook_client (id, json)
        VALUES ('c', '{"id":"c"}');
    INSERT INTO webhook_setting (url, json)
        VALUES ('http://a.test/', '{"url":"http://a.test/"}');
    INSERT INTO webhook_paused (url)
        VALUES ('http://a.test/');
    INSERT INTO webhook_removed (url)
        VALUES ('http://gone.test/');
    INSERT INTO webhook_outbox (event) VALUES ('{"id":"1","ruleType":"t","clientId":"c","occurredAt":"2026-01-01T00:00:00Z"}');
    INSERT INTO webhook_outbox (event) VALUES ('{"id":"2","ruleType":"t","clientId":"c","occurredAt":"2026-01-01T00:00:00Z"}');
"#;

/// Columns that are read, but not used to find rows.
const COLUMNS: [&str; 43] = [
    "UPDATE webhook_endpoint SET url = ?1",
    "UPDATE webhook_endpoint SET held_until = ?1",
    "UPDATE webhook_event SET first_alert = ?1",
    "UPDATE webhook_event SET alerts = ?1",
    "UPDATE webhook_event SET first_delivery = ?1",
    "UPDATE webhook_event SET deliveries = ?1",
    "UPDATE webhook_alert SET id = ?1",
    "UPDATE webhook_alert SET event_id = ?1",
    "UPDATE webhook_alert SET rule_id = ?1",
    "UPDATE webhook_alert SET rule_type = ?1",
    "UPDATE webhook_alert SET client_id = ?1",
    "UPDATE webhook_alert SET company_id = ?1",
    "UPDATE webhook_alert SET format = ?1",
    "UPDATE webhook_alert SET body = ?1",
    "UPDATE webhook_open SET id = ?1 WHERE id = 1",
    "UPDATE webhook_open SET accepted_at = ?1",
    "UPDATE webhook_open SET attempts_made = ?1",
    "UPDATE webhook_open SET window_ends_at = ?1",
    "UPDATE webhook_open SET due_at = ?1 WHERE id = 1",
    "UPDATE webhook_open SET due_at = ?1 WHERE id = 2",
    "UPDATE webhook_ended SET accepted_at = ?1",
    "UPDATE webhook_ended SET ended_at = ?1",
    "UPDATE webhook_ended SET attempts_made = ?1",
    "UPDATE webhook_ended SET reason = ?1",
    "UPDATE webhook_ended SET duration_ms = ?1",
    "UPDATE webhook_ended SET status = ?1",
    "UPDATE webhook_ended SET failure = ?1",
    "UPDATE webhook_ended SET redirects = ?1",
    "UPDATE webhook_ended SET sent_twice = ?1",
    "UPDATE webhook_ended SET excerpt = ?1",
    "UPDATE webhook_ended SET trace = ?1",
    "UPDATE webhook_attempt SET number = ?1",
    "UPDATE webhook_attempt SET at = ?1",
    "UPDATE webhook_attempt SET duration_ms = ?1",
    "UPDATE webhook_attempt SET status = ?1",
    "UPDATE webhook_attempt SET failure = ?1",
    "UPDATE webhook_attempt SET redirects = ?1",
    "UPDATE webhook_attempt SET sent_twice = ?1",
    "UPDATE webhook_attempt SET excerpt = ?1",
    "UPDATE webhook_attempt SET trace = ?1",
    "UPDATE webhook_rule SET json = ?1",
    "UPDATE webhook_paused SET url = ?1",
    "UPDATE webhook_outbox SET event = ?1",
];

const TEXTS: [&str; 10] = [
    "alert",
    "standard_webhooks",
    "cloud_events",
    "raw",
    "\"timeout\"",
    "{\"redirect\":\"loop\"}",
    "{\"permanent\":\"tls\"}",
    "\"endpoint_removed\"",
    "http://b.test/",
    "2026-01-01T00:00:00Z",
];
