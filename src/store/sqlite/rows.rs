//! Conversion between rows and values.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Row;
use rusqlite::types::Type;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use uuid::Uuid;

use super::alerts::Alerts;
use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::events::payload::PayloadFormat;
use crate::domain::value::id::{AlertId, DeliveryId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::{Agreed, Alert, BoxError};

/// SQLite's integers are signed; ours never need the highest bit.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn size(alert: &Alert) -> u64 {
    u64::try_from(alert.body.len()).unwrap_or(u64::MAX)
}

pub(super) fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<DeliveryId> {
    row.get(column).map(|id| DeliveryId::new(uint(id)))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_unix_millis)
}

pub(super) fn maybe_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let millis: Option<i64> = row.get(column)?;
    Ok(millis.map(Timestamp::from_unix_millis))
}

pub(super) fn url(row: &Row<'_>, column: usize) -> rusqlite::Result<WebhookUrl> {
    let text = row.get_ref(column)?.as_str()?;
    WebhookUrl::parse(text).map_err(|error| unreadable(column, error))
}

/// Returns a value as JSON, for types without a column type of their own.
pub(super) fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|error| unreadable(column, where_unreadable("value", &error)))
}

/// Describes where a JSON text is invalid, without quoting it: it may be a secret or a customer's
/// data.
pub(super) fn where_unreadable(what: &str, error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        Category::Data => "does not have the expected form",
        Category::Io | Category::Syntax | Category::Eof => "is not valid JSON",
    };
    let (line, column) = (error.line(), error.column());
    format!("{what} {kind} at line {line} column {column}")
}

pub(super) fn maybe_json<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)?.as_str_or_null()? {
        None => Ok(None),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| unreadable(column, where_unreadable("value", &error))),
    }
}

/// Reads what was agreed on with a receiver. An unreadable value counts as nothing agreed, because
/// otherwise nothing would ever be sent.
pub(super) fn agreed(row: &Row<'_>, column: usize, url: &WebhookUrl) -> Agreed {
    maybe_json(row, column)
        .unwrap_or_else(|error| {
            let url = url.without_query();
            log::error!(
                endpoint = url, error:? = error;
                "stored rate limit, hold and circuit of endpoint {url} cannot be read; \
                 they start from scratch: {error}"
            );
            None
        })
        .unwrap_or_default()
}

/// Returns `true` if an error concerns one unreadable row only.
pub(super) fn is_of_row(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..)
    )
}

/// Returns a text, or a placeholder if it is unreadable.
pub(super) fn shown_text(row: &Row<'_>, column: usize) -> String {
    row.get(column).unwrap_or_else(|_| UNREADABLE.to_owned())
}

/// Returns a URL, or a placeholder if it is unreadable.
pub(super) fn shown_url(row: &Row<'_>, column: usize) -> rusqlite::Result<WebhookUrl> {
    url(row, column).or_else(|_| {
        let text = format!("http://{UNREADABLE}.invalid/");
        WebhookUrl::parse(&text).map_err(|error| unreadable(column, error))
    })
}

/// The placeholder for an unreadable text.
const UNREADABLE: &str = "unreadable";

fn unreadable(column: usize, error: impl Into<BoxError>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
}

pub(super) fn format_name(format: PayloadFormat) -> &'static str {
    match format {
        PayloadFormat::Alert => "alert",
        PayloadFormat::StandardWebhooks => "standard_webhooks",
        PayloadFormat::CloudEvents => "cloud_events",
        PayloadFormat::Raw => "raw",
    }
}

fn format(row: &Row<'_>, column: usize) -> rusqlite::Result<PayloadFormat> {
    let name = row.get_ref(column)?.as_str()?;
    let formats = [
        PayloadFormat::Alert,
        PayloadFormat::StandardWebhooks,
        PayloadFormat::CloudEvents,
        PayloadFormat::Raw,
    ];
    let known = formats
        .into_iter()
        .find(|format| format_name(*format) == name);
    known.ok_or_else(|| unreadable(column, format!("unknown payload format {name:?}")))
}

pub(super) fn alert_id(row: &Row<'_>, column: usize) -> rusqlite::Result<AlertId> {
    let bytes: [u8; 16] = row.get(column)?;
    Ok(AlertId::from_uuid(Uuid::from_bytes(bytes)))
}

/// The columns of an alert from a table named `a`, as [`alert`] reads them. The body comes last, so
/// that it can be skipped.
pub(super) const ALERT: &str = "a.seq, a.refs, a.id, a.event_id, a.rule_id, a.rule_type, a.client_id, a.company_id, a.format, a.body";

/// Reads an alert from the columns [`ALERT`], which begin at `first`. An alert with several
/// deliveries is shared in memory.
pub(super) fn alert(row: &Row<'_>, first: usize, alerts: &Alerts) -> rusqlite::Result<Arc<Alert>> {
    let (seq, refs): (i64, i64) = (row.get(first)?, row.get(first + 1)?);
    if refs > 1 {
        alerts.share(seq, || read_alert(row, first + 2))
    } else {
        read_alert(row, first + 2).map(Arc::new)
    }
}

fn read_alert(row: &Row<'_>, first: usize) -> rusqlite::Result<Alert> {
    let text = |offset: usize| row.get::<_, String>(first + offset);
    let company: Option<String> = row.get(first + 5)?;
    Ok(Alert {
        id: alert_id(row, first)?,
        event_id: text(1)?.into(),
        rule_id: text(2)?.into(),
        rule_type: text(3)?,
        client_id: text(4)?.into(),
        company_id: company.map(Into::into),
        format: format(row, first + 6)?,
        body: Bytes::copy_from_slice(
            row.get_ref(first + 7)?
                .as_blob()
                .map_err(rusqlite::Error::from)?,
        ),
    })
}

/// The columns of an attempt's summary from a table named `t`, as [`summary`] reads them.
pub(super) const SUMMARY: &str =
    "t.number, t.at, t.duration_ms, t.status, t.failure, t.redirects, t.sent_twice";

/// Reads the summary of an attempt from the columns [`SUMMARY`], which begin at `first`.
pub(super) fn summary(row: &Row<'_>, first: usize) -> rusqlite::Result<AttemptSummary> {
    Ok(AttemptSummary {
        number: row.get(first)?,
        at: time(row, first + 1)?,
        duration: Duration::from_millis(uint(row.get(first + 2)?)),
        status: row.get(first + 3)?,
        failure: maybe_json(row, first + 4)?,
        redirects: row.get(first + 5)?,
        sent_twice: row.get(first + 6)?,
    })
}
