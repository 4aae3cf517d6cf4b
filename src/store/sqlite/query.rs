//! Reads for subscribers and for operators.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use uuid::Uuid;

use super::alerts::Alerts;
use super::error::store_error;
use super::rows::{self, int};
use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::{Delivery, DeliveryState};
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::value::id::{AlertId, ClientId, DeliveryId, EventId, RuleId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::{
    Attempt, DeadLetterQuery, DeliveryQuery, DeliveryStage, OpenDelivery, OpenQuery, OpenSummary,
    PageLimit, Progress, StoreError, StoredEndpoint, WaitingDelivery, page_limit,
};

const ENDPOINT: &str = "(SELECT id FROM webhook_endpoint WHERE url = ?1)";

/// A page of rows, and the rows of it that cannot be read.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) rows: Vec<T>,
    pub(super) damaged: Vec<Damaged>,
    /// Set if the page is full.
    pub(super) more: bool,
}

/// A delivery whose row cannot be read.
#[derive(Debug)]
pub(super) struct Damaged {
    pub(super) id: DeliveryId,
    pub(super) why: String,
}

impl<T> Page<T> {
    const fn new() -> Self {
        Self {
            rows: Vec::new(),
            damaged: Vec::new(),
            more: false,
        }
    }

    /// Adds what was read of a row, whose first column is the delivery's id.
    fn add(&mut self, row: &Row<'_>, read: rusqlite::Result<T>) -> rusqlite::Result<()> {
        match read {
            Ok(read) => self.rows.push(read),
            Err(error) if rows::is_of_row(&error) => match rows::id(row, 0) {
                Ok(id) => self.damaged.push(Damaged {
                    id,
                    why: error.to_string(),
                }),
                // Without its id, the delivery cannot be set aside.
                Err(_) => skipped("delivery", &error),
            },
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn skipped(what: &str, error: &rusqlite::Error) {
    log::error!("{what} in the delivery store cannot be read and is left out: {error}");
}

pub(super) fn queued(
    connection: &Connection,
    alerts: &Alerts,
    url: &WebhookUrl,
    after: DeliveryId,
    limit: PageLimit,
) -> Result<Page<OpenDelivery>, StoreError> {
    let sql = format!(
        "SELECT o.id, o.attempts_made, o.window_ends_at, o.due_at, {} \
         FROM webhook_open o LEFT JOIN webhook_alert a ON a.seq = o.alert \
         WHERE o.endpoint = {ENDPOINT} AND o.id > ?2 AND o.due_at IS NULL ORDER BY o.id LIMIT ?3",
        rows::ALERT
    );
    let parameters = params![url.as_str(), int(after.get()), bounded(limit.deliveries)];
    let read = || {
        let mut page = Page::new();
        let (mut looked_at, mut bytes) = (0, 0);
        let mut statement = connection.prepare_cached(&sql)?;
        let mut found = statement.query(parameters)?;
        while let Some(row) = found.next()? {
            let before = page.rows.len();
            page.add(row, open(row, alerts))?;
            looked_at += 1;
            bytes += page.rows.get(before).map_or(0, body_size);
            page.more = bytes >= limit.bytes;
            if page.more {
                break;
            }
        }
        page.more |= looked_at == limit.deliveries;
        Ok(page)
    };
    read().map_err(store_error)
}

fn body_size(delivery: &OpenDelivery) -> usize {
    delivery.alert.body.len()
}

/// Reads an open delivery.
fn open(row: &Row<'_>, alerts: &Alerts) -> rusqlite::Result<OpenDelivery> {
    Ok(OpenDelivery {
        id: rows::id(row, 0)?,
        progress: Progress {
            attempts_made: row.get(1)?,
            deadline: rows::maybe_time(row, 2)?,
        },
        due_at: rows::maybe_time(row, 3)?,
        alert: rows::alert(row, 4, alerts)?,
    })
}

pub(super) fn waiting(
    connection: &Connection,
    url: &WebhookUrl,
    limit: usize,
) -> Result<Page<WaitingDelivery>, StoreError> {
    let sql = format!(
        "SELECT o.id, o.due_at, a.company_id FROM webhook_open o LEFT JOIN webhook_alert a ON a.seq = o.alert \
         WHERE o.endpoint = {ENDPOINT} AND o.due_at IS NOT NULL ORDER BY o.due_at, o.id LIMIT ?2"
    );
    let one = |row: &Row<'_>| {
        let company: Option<String> = row.get(2)?;
        Ok(WaitingDelivery {
            id: rows::id(row, 0)?,
            due_at: rows::time(row, 1)?,
            company_id: company.map(Into::into),
        })
    };
    let read = || {
        let mut page = Page::new();
        let mut statement = connection.prepare_cached(&sql)?;
        let mut found = statement.query(params![url.as_str(), bounded(limit)])?;
        while let Some(row) = found.next()? {
            page.add(row, one(row))?;
        }
        Ok(page)
    };
    read().map_err(store_error)
}

/// Reads open deliveries in the order of `ids`, until their bodies total `bytes`. Returns the page
/// and the number of ids looked at.
pub(super) fn load(
    connection: &Connection,
    alerts: &Alerts,
    url: &WebhookUrl,
    ids: &[DeliveryId],
    bytes: usize,
) -> Result<(Page<OpenDelivery>, usize), StoreError> {
    let sql = format!(
        "SELECT o.id, o.attempts_made, o.window_ends_at, o.due_at, {} \
         FROM webhook_open o LEFT JOIN webhook_alert a ON a.seq = o.alert \
         WHERE o.endpoint = {ENDPOINT} AND o.id = ?2",
        rows::ALERT
    );
    let read = || {
        let mut page = Page::new();
        let (mut looked_at, mut read) = (0, 0);
        let mut statement = connection.prepare_cached(&sql)?;
        for id in ids {
            looked_at += 1;
            let mut found = statement.query(params![url.as_str(), int(id.get())])?;
            let Some(row) = found.next()? else { continue };
            let before = page.rows.len();
            page.add(row, open(row, alerts))?;
            read += page.rows.get(before).map_or(0, body_size);
            if read >= bytes {
                break;
            }
        }
        Ok((page, looked_at))
    };
    read().map_err(store_error)
}

pub(super) fn endpoint(
    connection: &Connection,
    url: &WebhookUrl,
) -> Result<StoredEndpoint, StoreError> {
    let sql = "SELECT held_until, (SELECT COUNT(*) FROM webhook_open o WHERE o.endpoint = e.id), health, agreed \
               FROM webhook_endpoint e WHERE url = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let known = statement.query_row([url.as_str()], |row| {
        Ok(StoredEndpoint {
            open: row.get(1)?,
            held_until: known_or_not(url, "hold", rows::maybe_time(row, 0)),
            health: known_or_not(url, "health", rows::maybe_json(row, 2)).unwrap_or_default(),
            agreed: rows::agreed(row, 3, url),
        })
    });
    Ok(known.optional().map_err(store_error)?.unwrap_or_default())
}

/// Returns a value of an endpoint, or `None` if it is unreadable: that must not stop the endpoint.
fn known_or_not<T>(url: &WebhookUrl, what: &str, read: rusqlite::Result<Option<T>>) -> Option<T> {
    read.unwrap_or_else(|error| {
        let endpoint = url.without_query();
        log::error!(endpoint; "{what} of endpoint {endpoint} cannot be read in the delivery store and is left out: {error}");
        None
    })
}

pub(super) fn open_summaries(
    connection: &Connection,
    after: Option<&WebhookUrl>,
    limit: usize,
) -> Result<Vec<OpenSummary>, StoreError> {
    let sql = "SELECT e.url, \
                 (SELECT COUNT(*) FROM webhook_open o WHERE o.endpoint = e.id), \
                 (SELECT accepted_at FROM webhook_open o WHERE o.endpoint = e.id ORDER BY id LIMIT 1), \
                 (SELECT due_at FROM webhook_open o WHERE o.endpoint = e.id AND due_at IS NOT NULL ORDER BY due_at LIMIT 1) \
               FROM webhook_endpoint e \
               WHERE e.url > ?1 AND EXISTS (SELECT 1 FROM webhook_open o WHERE o.endpoint = e.id) \
               ORDER BY e.url";
    let after = after.map_or("", WebhookUrl::as_str);
    let read = || {
        let mut open_summaries = Vec::new();
        let mut statement = connection.prepare_cached(sql)?;
        let mut found = statement.query(params![after])?;
        while open_summaries.len() < limit
            && let Some(row) = found.next()?
        {
            // A short page counts as the last one, so skipped rows must not make it shorter.
            match rows::url(row, 0) {
                Ok(url) => open_summaries.push(OpenSummary {
                    url,
                    open: row.get(1)?,
                    // A delivery with a damaged row is set aside when it is read.
                    oldest: rows::time(row, 2).unwrap_or_default(),
                    next_due: rows::maybe_time(row, 3).unwrap_or_default(),
                }),
                Err(error) => skipped("URL of an endpoint with open deliveries", &error),
            }
        }
        Ok(open_summaries)
    };
    read().map_err(store_error)
}

pub(super) fn attempts(
    connection: &Connection,
    id: DeliveryId,
) -> Result<Vec<Attempt>, StoreError> {
    let sql = "SELECT number, at, duration_ms, status, failure, redirects, sent_twice, excerpt \
               FROM webhook_attempt WHERE delivery = ?1 \
               UNION ALL SELECT attempts_made, ended_at, duration_ms, status, failure, redirects, sent_twice, excerpt \
               FROM webhook_ended WHERE id = ?1 AND duration_ms IS NOT NULL ORDER BY 1";
    let read = |row: &Row<'_>| {
        let attempt = || {
            let summary = rows::summary(row, 0)?;
            Ok(Attempt::new(summary, row.get_ref(7)?.as_blob()?))
        };
        match attempt() {
            Ok(attempt) => Ok(Some(attempt)),
            Err(error) if rows::is_of_row(&error) => {
                skipped("attempt", &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    };
    let found = all(connection, sql, [int(id.get())], read)?;
    Ok(found.into_iter().flatten().collect())
}

/// The conditions of a query, joined by AND, with the values they compare to.
#[derive(Default)]
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds a condition if there is a value; `?` stands for the value.
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

/// Returns deliveries, newest first: the newest open and the newest ended ones, merged.
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
    // A delivery that ended between the two reads is in both. The sort is stable, so its ended form
    // comes first and is kept.
    found.dedup_by_key(|delivery| delivery.id);
    found.truncate(page_limit(query.limit));
    Ok(found)
}

/// The columns of an ended delivery's last attempt, as [`rows::summary`] reads them. If the
/// delivery was given up without a further attempt, its last attempt is in `webhook_attempt`.
const LAST_ATTEMPT: &str = "CASE WHEN d.duration_ms IS NULL THEN t.number ELSE d.attempts_made END, \
     CASE WHEN d.duration_ms IS NULL THEN t.at ELSE d.ended_at END, COALESCE(d.duration_ms, t.duration_ms), \
     COALESCE(d.status, t.status), COALESCE(d.failure, t.failure), \
     COALESCE(d.redirects, t.redirects), COALESCE(d.sent_twice, t.sent_twice)";

/// Ended deliveries, joined with what [`LAST_ATTEMPT`] needs.
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
         FROM {from} LEFT JOIN webhook_alert a ON a.seq = d.alert LEFT JOIN webhook_endpoint e ON e.id = d.endpoint \
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

/// Adds the condition that a delivery belongs to an event. Its original deliveries have consecutive
/// ids; redelivered ones are found by their alerts. Several clients may have used the id.
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
    // The first client's row is forgotten first. Without it the ranges are incomplete.
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

/// The most clients of an event id whose deliveries are looked up by range.
const MAX_RANGES: usize = 64;

/// Reads a delivery to be shown. Its unreadable parts are replaced, so that the other deliveries
/// stay visible.
fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let due_at = rows::maybe_time(row, 9).unwrap_or_default();
    let ended_at = rows::maybe_time(row, 10).unwrap_or_default();
    let reason = rows::maybe_json(row, 11).unwrap_or(Some(DeadLetterReason::Unreadable));
    let state = match (ended_at, reason, due_at) {
        (Some(at), Some(reason), _) => DeliveryState::DeadLettered { at, reason },
        (Some(at), None, _) => DeliveryState::Delivered { at },
        (None, _, Some(due_at)) => DeliveryState::Waiting { due_at },
        (None, _, None) => DeliveryState::Queued,
    };
    Ok(Delivery {
        id: rows::id(row, 0)?,
        alert_id: rows::alert_id(row, 1).unwrap_or(NO_ALERT),
        event_id: rows::shown_text(row, 2).into(),
        rule_id: rows::shown_text(row, 3).into(),
        rule_type: rows::shown_text(row, 4),
        client_id: rows::shown_text(row, 5).into(),
        url: rows::shown_url(row, 6)?,
        accepted_at: rows::time(row, 7).unwrap_or_default(),
        state,
        attempts_made: row.get(8).unwrap_or_default(),
        last_attempt: last_attempt(row, 12),
    })
}

/// The id shown for an alert whose own id is unreadable.
pub(super) const NO_ALERT: AlertId = AlertId::from_uuid(Uuid::nil());

/// Reads the summary of the last attempt, if there was one.
fn last_attempt(row: &Row<'_>, first: usize) -> Option<AttemptSummary> {
    let number: Option<u32> = row.get(first).ok()?;
    number.and_then(|_| rows::summary(row, first).ok())
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

/// Returns the conditions of a query on dead letters.
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

/// Returns the number of dead letters that a query finds, ignoring its limit.
pub(super) fn count_dead_letters(
    connection: &Connection,
    query: &DeadLetterQuery,
) -> Result<u64, StoreError> {
    let conditions = of_dead_letters(query);
    // Join the alert only if a condition needs it.
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

/// Returns the ids of the oldest dead letters that a query finds, ascending: the order in which
/// they are redelivered. Dead letters of removed endpoints are left out, because they are not
/// redelivered.
pub(super) fn oldest_dead_letters(
    connection: &Connection,
    query: &DeadLetterQuery,
) -> Result<Vec<DeliveryId>, StoreError> {
    dead_letter_ids(connection, query, OF_NO_REMOVED, "ASC")
}

/// Returns the ids of the newest dead letters that a query finds: the ones it lists.
pub(super) fn newest_dead_letters(
    connection: &Connection,
    query: &DeadLetterQuery,
) -> Result<Vec<DeliveryId>, StoreError> {
    dead_letter_ids(connection, query, "", "DESC")
}

fn dead_letter_ids(
    connection: &Connection,
    query: &DeadLetterQuery,
    further: &str,
    order: &str,
) -> Result<Vec<DeliveryId>, StoreError> {
    let conditions = of_dead_letters(query);
    let sql = format!(
        "SELECT d.id FROM webhook_ended d LEFT JOIN webhook_alert a ON a.seq = d.alert \
         WHERE d.listed = 1{}{further} ORDER BY d.id {order} LIMIT {}",
        conditions.sql,
        page_limit(query.limit)
    );
    let values = params_from_iter(conditions.values);
    all(connection, &sql, values, |row| rows::id(row, 0))
}

const OF_NO_REMOVED: &str = " AND d.endpoint NOT IN \
     (SELECT e.id FROM webhook_removed r JOIN webhook_endpoint e ON e.url = r.url)";

/// Returns the number of the endpoint at which a delivery is open; `None` if it is not open. It
/// costs one look-up per endpoint, not per delivery.
pub(super) fn open_at(connection: &Connection, id: DeliveryId) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT e.id FROM webhook_endpoint e CROSS JOIN webhook_open d ON d.endpoint = e.id WHERE d.id = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let found = statement.query_row([int(id.get())], |row| row.get(0));
    found.optional().map_err(store_error)
}

/// Returns dead letters, newest first.
pub(super) fn dead_letters(
    connection: &Connection,
    query: &DeadLetterQuery,
) -> Result<Vec<DeadLetter>, StoreError> {
    let conditions = of_dead_letters(query);
    let sql = format!(
        "SELECT d.id, a.id, a.event_id, a.rule_id, a.rule_type, a.client_id, e.url, d.reason, d.ended_at, d.attempts_made, {LAST_ATTEMPT} \
         FROM {ENDED} LEFT JOIN webhook_alert a ON a.seq = d.alert LEFT JOIN webhook_endpoint e ON e.id = d.endpoint \
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
                alert_id: rows::alert_id(row, 1).unwrap_or(NO_ALERT),
                event_id: rows::shown_text(row, 2).into(),
                rule_id: rows::shown_text(row, 3).into(),
                rule_type: rows::shown_text(row, 4),
                client_id: rows::shown_text(row, 5).into(),
                url: rows::shown_url(row, 6)?,
                reason: rows::from_json(row, 7).unwrap_or(DeadLetterReason::Unreadable),
                at: rows::time(row, 8).unwrap_or_default(),
                attempts_made: row.get(9).unwrap_or_default(),
                last_attempt: last_attempt(row, 10),
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
