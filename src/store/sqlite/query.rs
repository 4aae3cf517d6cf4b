//! Reading: what subscribers need, and what operators ask.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::error::store_error;
use super::rows::{self, int};
use crate::domain::attempt::AttemptSummary;
use crate::domain::dead_letter::{DeadLetter, DeadLetterReason};
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::id::{ClientId, DeliveryId, EventId, RuleId};
use crate::domain::time::Timestamp;
use crate::domain::url::WebhookUrl;
use crate::store::{
    Attempt, DeadLetterQuery, DeliveryQuery, DeliveryStage, EndpointBacklog, OpenDelivery,
    OpenQuery, Progress, StoreError, StoredEndpoint, WaitingDelivery, page_limit,
};

const ENDPOINT: &str = "(SELECT id FROM webhook_endpoint WHERE url = ?1)";

pub(super) fn queued(
    connection: &Connection,
    url: &WebhookUrl,
    after: DeliveryId,
    limit: usize,
) -> Result<Vec<OpenDelivery>, StoreError> {
    let sql = format!(
        "SELECT o.id, o.attempts_made, o.window_ends_at, o.due_at, {} \
         FROM webhook_open o JOIN webhook_alert a ON a.seq = o.alert \
         WHERE o.endpoint = {ENDPOINT} AND o.id > ?2 AND o.due_at IS NULL ORDER BY o.id LIMIT ?3",
        rows::ALERT
    );
    let parameters = params![url.as_str(), int(after.get()), bounded(limit)];
    all(connection, &sql, parameters, open)
}

/// Reads an open delivery.
fn open(row: &Row<'_>) -> rusqlite::Result<OpenDelivery> {
    Ok(OpenDelivery {
        id: rows::id(row, 0)?,
        alert: rows::alert(row, 4)?,
        progress: Progress {
            attempts_made: row.get(1)?,
            window_ends_at: rows::maybe_time(row, 2)?,
        },
        due_at: rows::maybe_time(row, 3)?,
    })
}

pub(super) fn waiting(
    connection: &Connection,
    url: &WebhookUrl,
    limit: usize,
) -> Result<Vec<WaitingDelivery>, StoreError> {
    let sql = format!(
        "SELECT o.id, o.due_at, a.company_id FROM webhook_open o JOIN webhook_alert a ON a.seq = o.alert \
         WHERE o.endpoint = {ENDPOINT} AND o.due_at IS NOT NULL ORDER BY o.due_at, o.id LIMIT ?2"
    );
    all(
        connection,
        &sql,
        params![url.as_str(), bounded(limit)],
        |row| {
            let company: Option<String> = row.get(2)?;
            Ok(WaitingDelivery {
                id: rows::id(row, 0)?,
                due_at: rows::time(row, 1)?,
                company_id: company.map(Into::into),
            })
        },
    )
}

pub(super) fn load(
    connection: &Connection,
    url: &WebhookUrl,
    ids: &[DeliveryId],
) -> Result<Vec<OpenDelivery>, StoreError> {
    let sql = format!(
        "SELECT o.id, o.attempts_made, o.window_ends_at, o.due_at, {} \
         FROM webhook_open o JOIN webhook_alert a ON a.seq = o.alert \
         WHERE o.endpoint = {ENDPOINT} AND o.id = ?2",
        rows::ALERT
    );
    let mut found = Vec::with_capacity(ids.len());
    let mut statement = connection.prepare_cached(&sql).map_err(store_error)?;
    for id in ids {
        let loaded = statement.query_row(params![url.as_str(), int(id.get())], open);
        found.extend(loaded.optional().map_err(store_error)?);
    }
    Ok(found)
}

pub(super) fn endpoint(
    connection: &Connection,
    url: &WebhookUrl,
) -> Result<StoredEndpoint, StoreError> {
    let sql = "SELECT held_until, (SELECT COUNT(*) FROM webhook_open o WHERE o.endpoint = e.id), health \
               FROM webhook_endpoint e WHERE url = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let known = statement.query_row([url.as_str()], |row| {
        Ok(StoredEndpoint {
            open: row.get(1)?,
            held_until: rows::maybe_time(row, 0)?,
            health: rows::maybe_json(row, 2)?.unwrap_or_default(),
        })
    });
    Ok(known.optional().map_err(store_error)?.unwrap_or_default())
}

pub(super) fn backlogs(
    connection: &Connection,
    after: Option<&WebhookUrl>,
    limit: usize,
) -> Result<Vec<EndpointBacklog>, StoreError> {
    let sql = "SELECT e.url, \
                 (SELECT COUNT(*) FROM webhook_open o WHERE o.endpoint = e.id), \
                 (SELECT accepted_at FROM webhook_open o WHERE o.endpoint = e.id ORDER BY id LIMIT 1), \
                 (SELECT due_at FROM webhook_open o WHERE o.endpoint = e.id AND due_at IS NOT NULL ORDER BY due_at LIMIT 1) \
               FROM webhook_endpoint e \
               WHERE e.url > ?1 AND EXISTS (SELECT 1 FROM webhook_open o WHERE o.endpoint = e.id) \
               ORDER BY e.url LIMIT ?2";
    let after = after.map_or("", WebhookUrl::as_str);
    all(connection, sql, params![after, bounded(limit)], |row| {
        Ok(EndpointBacklog {
            url: rows::url(row, 0)?,
            open: row.get(1)?,
            oldest: rows::time(row, 2)?,
            next_due: rows::maybe_time(row, 3)?,
        })
    })
}

pub(super) fn attempts(
    connection: &Connection,
    id: DeliveryId,
) -> Result<Vec<Attempt>, StoreError> {
    let sql = "SELECT number, at, duration_ms, status, failure, redirects, sent_twice, excerpt \
               FROM webhook_attempt WHERE delivery = ?1 \
               UNION ALL SELECT attempts_made, ended_at, duration_ms, status, failure, redirects, sent_twice, excerpt \
               FROM webhook_ended WHERE id = ?1 AND duration_ms IS NOT NULL ORDER BY 1";
    all(connection, sql, [int(id.get())], |row| {
        Ok(Attempt {
            summary: rows::summary(row, 0)?,
            redirects: row.get(5)?,
            sent_twice: row.get(6)?,
            excerpt: String::from_utf8_lossy(row.get_ref(7)?.as_blob()?).into_owned(),
        })
    })
}

/// The conditions of a query, all of which hold, with what they are compared with.
#[derive(Default)]
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds a condition if there is something to compare with; `?` stands for it.
    fn and(&mut self, condition: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.sql.push_str(" AND ");
            self.sql.push_str(condition);
            self.values.push(value.into());
        }
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Deliveries, newest first: the newest of those that are open and the newest of those that have ended, merged.
pub(super) fn deliveries(
    connection: &Connection,
    query: &DeliveryQuery,
) -> Result<Vec<Delivery>, StoreError> {
    let asked = |open: bool| match query.stage {
        None => true,
        Some(stage) => (stage == DeliveryStage::Open) == open,
    };
    let (mut found, mut open) = (Vec::new(), Vec::new());
    if asked(true) {
        open = listed(connection, query, Table::Open)?;
    }
    if asked(false) {
        found = listed(connection, query, Table::Ended)?;
    }
    found.append(&mut open);
    found.sort_by_key(|delivery| std::cmp::Reverse(delivery.id));
    // One that has ended between the two questions is in both answers; as ended it comes first.
    found.dedup_by_key(|delivery| delivery.id);
    found.truncate(page_limit(query.limit));
    Ok(found)
}

/// The columns of the last attempt of a delivery that has ended, as [`rows::summary`] reads them. One that was ended without an attempt, after others,
/// has its last one in the other table.
const LAST_ATTEMPT: &str = "CASE WHEN d.duration_ms IS NULL THEN t.number ELSE d.attempts_made END, \
     CASE WHEN d.duration_ms IS NULL THEN t.at ELSE d.ended_at END, COALESCE(d.duration_ms, t.duration_ms), \
     COALESCE(d.status, t.status), COALESCE(d.failure, t.failure)";

/// Deliveries that have ended, with what [`LAST_ATTEMPT`] needs.
const ENDED: &str = "webhook_ended d LEFT JOIN webhook_attempt t \
     ON d.duration_ms IS NULL AND t.delivery = d.id AND t.number = d.attempts_made";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Open,
    Ended,
}

fn listed(
    connection: &Connection,
    query: &DeliveryQuery,
    table: Table,
) -> Result<Vec<Delivery>, StoreError> {
    let mut conditions = Conditions::default();
    conditions.and("d.id < ?", query.before.map(|id| int(id.get())));
    conditions.and(
        "d.accepted_at >= ?",
        query.since.map(Timestamp::unix_millis),
    );
    conditions.and("d.accepted_at < ?", query.until.map(Timestamp::unix_millis));
    let url = query.url.as_ref().map(|url| text(url.as_str()));
    conditions.and(
        "d.endpoint = (SELECT id FROM webhook_endpoint WHERE url = ?)",
        url,
    );
    let client = query.client_id.as_ref().map(|client| text(client.as_str()));
    conditions.and("a.client_id = ?", client);
    conditions.and("a.rule_type = ?", query.rule_type.as_deref().map(text));
    if let Some(event) = &query.event_id {
        of_event(connection, event, &mut conditions)?;
    }
    let (from, columns) = match table {
        Table::Open => (
            "webhook_open d LEFT JOIN webhook_attempt t ON t.delivery = d.id AND t.number = d.attempts_made",
            format!("d.due_at, NULL, NULL, {}", rows::SUMMARY),
        ),
        Table::Ended => (ENDED, format!("NULL, d.ended_at, d.reason, {LAST_ATTEMPT}")),
    };
    match query.stage {
        Some(DeliveryStage::Delivered) => conditions.sql.push_str(" AND d.reason IS NULL"),
        Some(DeliveryStage::DeadLettered) => conditions.sql.push_str(" AND d.reason IS NOT NULL"),
        Some(DeliveryStage::Open) | None => {}
    }
    let sql = format!(
        "SELECT d.id, a.id, a.event_id, a.rule_id, a.rule_type, a.client_id, e.url, d.accepted_at, d.attempts_made, \
                {columns} \
         FROM {from} JOIN webhook_alert a ON a.seq = d.alert JOIN webhook_endpoint e ON e.id = d.endpoint \
         WHERE 1{} ORDER BY d.id DESC LIMIT {}",
        conditions.sql,
        page_limit(query.limit)
    );
    all(
        connection,
        &sql,
        params_from_iter(conditions.values),
        delivery,
    )
}

/// Adds the condition that a delivery belongs to an event. Those that it was accepted with have ids next to each other; those started again by
/// hand are found by their alerts. Several clients may have used the id.
fn of_event(
    connection: &Connection,
    event: &EventId,
    conditions: &mut Conditions,
) -> Result<(), StoreError> {
    let sql = "SELECT first_delivery, first_delivery + deliveries - 1, first_alert, first_alert + alerts - 1, shared \
               FROM webhook_event WHERE id = ?1 OR (id > ?1 || char(10) AND id < ?1 || char(11)) ORDER BY seq";
    let found = all(connection, sql, [event.as_str()], |row| {
        let ranges = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        Ok((ranges, row.get::<_, Option<bool>>(4)?.unwrap_or(false)))
    })?;
    // The first client's is forgotten first.
    if found.iter().all(|(_, shared)| *shared) || found.len() > MAX_RANGES {
        conditions.and("a.event_id = ?", Some(text(event.as_str())));
        return Ok(());
    }
    let one = "d.id BETWEEN ? AND ? OR d.id IN \
               (SELECT id FROM webhook_redelivered WHERE alert BETWEEN ? AND ?)";
    let any = vec![one; found.len()].join(" OR ");
    conditions.sql.extend([" AND (", &any, ")"]);
    let ranges = found.into_iter().flat_map(|(ranges, _)| ranges);
    conditions.values.extend(ranges.map(Value::Integer));
    Ok(())
}

/// Of how many clients the deliveries of an event are looked for one by one.
const MAX_RANGES: usize = 64;

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let due_at = rows::maybe_time(row, 9)?;
    let ended_at = rows::maybe_time(row, 10)?;
    let reason: Option<DeadLetterReason> = rows::maybe_json(row, 11)?;
    let state = match (ended_at, reason, due_at) {
        (Some(at), Some(reason), _) => DeliveryState::DeadLettered { at, reason },
        (Some(at), None, _) => DeliveryState::Delivered { at },
        (None, _, Some(due_at)) => DeliveryState::Waiting { due_at },
        (None, _, None) => DeliveryState::Queued,
    };
    Ok(Delivery {
        id: rows::id(row, 0)?,
        alert_id: rows::alert_id(row, 1)?,
        event_id: row.get::<_, String>(2)?.into(),
        rule_id: row.get::<_, String>(3)?.into(),
        rule_type: row.get(4)?,
        client_id: row.get::<_, String>(5)?.into(),
        url: rows::url(row, 6)?,
        accepted_at: rows::time(row, 7)?,
        state,
        attempts_made: row.get(8)?,
        last_attempt: last_attempt(row, 12)?,
    })
}

/// Reads the summary of the last attempt, if there was one.
fn last_attempt(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<AttemptSummary>> {
    let number: Option<u32> = row.get(first)?;
    number.map(|_| rows::summary(row, first)).transpose()
}

/// Returns the ids of open deliveries of an endpoint after `after`, ascending.
pub(super) fn open_of(
    connection: &Connection,
    url: &WebhookUrl,
    which: &OpenQuery,
    after: DeliveryId,
    limit: usize,
) -> Result<Vec<DeliveryId>, StoreError> {
    let sql = format!(
        "SELECT o.id FROM webhook_open o JOIN webhook_alert a ON a.seq = o.alert \
         WHERE o.endpoint = {ENDPOINT} AND o.id > ?2 \
         AND (?3 IS NULL OR a.rule_id = ?3) AND (?4 IS NULL OR a.client_id = ?4) ORDER BY o.id LIMIT ?5"
    );
    let parameters = params![
        url.as_str(),
        int(after.get()),
        which.rule_id.as_ref().map(RuleId::as_str),
        which.client_id.as_ref().map(ClientId::as_str),
        bounded(limit),
    ];
    all(connection, &sql, parameters, |row| rows::id(row, 0))
}

/// The conditions on dead letters that a query asks for.
fn of_dead_letters(query: &DeadLetterQuery) -> Conditions {
    let mut conditions = Conditions::default();
    conditions.and("d.id < ?", query.before.map(|id| int(id.get())));
    conditions.and("d.ended_at >= ?", query.since.map(Timestamp::unix_millis));
    let url = query.url.as_ref().map(|url| text(url.as_str()));
    conditions.and(
        "d.endpoint = (SELECT id FROM webhook_endpoint WHERE url = ?)",
        url,
    );
    let client = query.client_id.as_ref().map(|client| text(client.as_str()));
    conditions.and("a.client_id = ?", client);
    let event = query.event_id.as_ref().map(|event| text(event.as_str()));
    conditions.and("a.event_id = ?", event);
    conditions
}

/// Returns how many dead letters a query finds, whatever its limit.
pub(super) fn count_dead_letters(
    connection: &Connection,
    query: &DeadLetterQuery,
) -> Result<u64, StoreError> {
    let conditions = of_dead_letters(query);
    // Where nothing is asked about the alert, it need not be looked at.
    let alert = if query.client_id.is_some() || query.event_id.is_some() {
        "JOIN webhook_alert a ON a.seq = d.alert"
    } else {
        ""
    };
    let sql = format!(
        "SELECT COUNT(*) FROM webhook_ended d {alert} WHERE d.listed = 1{}",
        conditions.sql
    );
    let mut statement = connection.prepare_cached(&sql).map_err(store_error)?;
    let count = statement.query_row(params_from_iter(conditions.values), |row| row.get(0));
    count.map_err(store_error)
}

/// Returns the ids of the dead letters that a query finds, oldest first.
pub(super) fn oldest_dead_letters(
    connection: &Connection,
    query: &DeadLetterQuery,
) -> Result<Vec<DeliveryId>, StoreError> {
    let conditions = of_dead_letters(query);
    let sql = format!(
        "SELECT d.id FROM webhook_ended d JOIN webhook_alert a ON a.seq = d.alert \
         WHERE d.listed = 1{} ORDER BY d.id LIMIT {}",
        conditions.sql,
        page_limit(query.limit)
    );
    let parameters = params_from_iter(conditions.values);
    all(connection, &sql, parameters, |row| rows::id(row, 0))
}

/// Dead letters, newest first.
pub(super) fn dead_letters(
    connection: &Connection,
    query: &DeadLetterQuery,
) -> Result<Vec<DeadLetter>, StoreError> {
    let conditions = of_dead_letters(query);
    let sql = format!(
        "SELECT d.id, a.id, a.event_id, a.rule_id, a.rule_type, a.client_id, e.url, d.reason, d.ended_at, d.attempts_made, {LAST_ATTEMPT} \
         FROM {ENDED} JOIN webhook_alert a ON a.seq = d.alert JOIN webhook_endpoint e ON e.id = d.endpoint \
         WHERE d.listed = 1{} ORDER BY d.id DESC LIMIT {}",
        conditions.sql,
        page_limit(query.limit)
    );
    all(
        connection,
        &sql,
        params_from_iter(conditions.values),
        |row| {
            Ok(DeadLetter {
                delivery_id: rows::id(row, 0)?,
                alert_id: rows::alert_id(row, 1)?,
                event_id: row.get::<_, String>(2)?.into(),
                rule_id: row.get::<_, String>(3)?.into(),
                rule_type: row.get(4)?,
                client_id: row.get::<_, String>(5)?.into(),
                url: rows::url(row, 6)?,
                reason: rows::from_json(row, 7)?,
                at: rows::time(row, 8)?,
                attempts_made: row.get(9)?,
                last_attempt: last_attempt(row, 10)?,
            })
        },
    )
}

/// Returns all rows of a query.
pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let rows = statement.query_map(parameters, read).map_err(store_error)?;
    rows.collect::<rusqlite::Result<_>>().map_err(store_error)
}

fn bounded(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
