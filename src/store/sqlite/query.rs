//! Reads for subscribers and for operators.

use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use uuid::Uuid;

use super::alerts::Alerts;
use super::error::store_error;
use super::rows::{self, int};
use super::search::Conditions;
use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::deliveries::delivery::{Delivery, DeliveryState};
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::value::id::{AlertId, ClientId, DeliveryId, RuleId};
use crate::domain::value::url::WebhookUrl;
use crate::store::search::Search;
use crate::store::{
    Attempt, DeadLetterQuery, OpenDelivery, OpenQuery, OpenSummary, PageLimit, Progress,
    StoreError, StoredEndpoint, WaitingDelivery,
};

const ENDPOINT: &str = "(SELECT id FROM webhook_endpoint WHERE url = ?1)";

/// A page of rows, and the rows of it that cannot be read.
#[derive(Debug)]
pub(super) struct ReadRows<T> {
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

impl<T> ReadRows<T> {
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
) -> Result<ReadRows<OpenDelivery>, StoreError> {
    let sql = format!(
        "SELECT o.id, o.attempts_made, o.window_ends_at, o.due_at, {} \
         FROM webhook_open o LEFT JOIN webhook_alert a ON a.seq = o.alert \
         WHERE o.endpoint = {ENDPOINT} AND o.id > ?2 AND o.due_at IS NULL ORDER BY o.id LIMIT ?3",
        rows::ALERT
    );
    let parameters = params![url.as_str(), int(after.get()), bounded(limit.deliveries)];
    let read = || {
        let mut page = ReadRows::new();
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
) -> Result<ReadRows<WaitingDelivery>, StoreError> {
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
        let mut page = ReadRows::new();
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
) -> Result<(ReadRows<OpenDelivery>, usize), StoreError> {
    let sql = format!(
        "SELECT o.id, o.attempts_made, o.window_ends_at, o.due_at, {} \
         FROM webhook_open o LEFT JOIN webhook_alert a ON a.seq = o.alert \
         WHERE o.endpoint = {ENDPOINT} AND o.id = ?2",
        rows::ALERT
    );
    let read = || {
        let mut page = ReadRows::new();
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

pub(super) fn resting_endpoints(
    connection: &Connection,
    after: Option<&WebhookUrl>,
    limit: usize,
) -> Result<Vec<(WebhookUrl, StoredEndpoint)>, StoreError> {
    let sql = "SELECT e.url, e.held_until, e.health, e.agreed FROM webhook_endpoint e \
               WHERE e.url > ?1 \
                 AND (e.held_until IS NOT NULL OR e.health IS NOT NULL OR e.agreed IS NOT NULL) \
                 AND NOT EXISTS (SELECT 1 FROM webhook_open o WHERE o.endpoint = e.id) \
               ORDER BY e.url";
    let after = after.map_or("", WebhookUrl::as_str);
    let read = || {
        let mut resting = Vec::new();
        let mut statement = connection.prepare_cached(sql)?;
        let mut found = statement.query(params![after])?;
        while resting.len() < limit
            && let Some(row) = found.next()?
        {
            let url = match rows::url(row, 0) {
                Ok(url) => url,
                Err(error) => {
                    skipped("URL of an endpoint", &error);
                    continue;
                }
            };
            let stored = StoredEndpoint {
                open: 0,
                held_until: known_or_not(&url, "hold", rows::maybe_time(row, 1)),
                health: known_or_not(&url, "health", rows::maybe_json(row, 2)).unwrap_or_default(),
                agreed: rows::agreed(row, 3, &url),
            };
            resting.push((url, stored));
        }
        Ok(resting)
    };
    read().map_err(store_error)
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
    let sql = "SELECT number, at, duration_ms, status, failure, redirects, sent_twice, excerpt, trace \
               FROM webhook_attempt WHERE delivery = ?1 \
               UNION ALL SELECT attempts_made, ended_at, duration_ms, status, failure, redirects, sent_twice, excerpt, trace \
               FROM webhook_ended WHERE id = ?1 AND duration_ms IS NOT NULL ORDER BY 1";
    let read = |row: &Row<'_>| {
        let attempt = || {
            let summary = rows::summary(row, 0)?;
            let trace = rows::maybe_json(row, 8)?;
            let attempt = Attempt::new(summary, row.get_ref(7)?.as_blob()?);
            Ok(attempt.trace(trace.unwrap_or_default()))
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

/// The columns of an ended delivery's last attempt, as [`rows::summary`] reads them. If the
/// delivery was given up without a further attempt, its last attempt is in `webhook_attempt`.
const LAST_ATTEMPT: &str = "CASE WHEN d.duration_ms IS NULL THEN t.number ELSE d.attempts_made END, \
     CASE WHEN d.duration_ms IS NULL THEN t.at ELSE d.ended_at END, COALESCE(d.duration_ms, t.duration_ms), \
     COALESCE(d.status, t.status), COALESCE(d.failure, t.failure), \
     COALESCE(d.redirects, t.redirects), COALESCE(d.sent_twice, t.sent_twice)";

/// Ended deliveries, joined with what [`LAST_ATTEMPT`] needs.
pub(super) const ENDED_FROM: &str = "webhook_ended d LEFT JOIN webhook_attempt t \
     ON d.duration_ms IS NULL AND t.delivery = d.id AND t.number = d.attempts_made";

/// Open deliveries, joined with their last attempts.
pub(super) const OPEN_FROM: &str = "webhook_open d LEFT JOIN webhook_attempt t \
     ON t.delivery = d.id AND t.number = d.attempts_made";

/// The columns of a delivery `d`, its alert `a` and its endpoint `e`, as [`delivery`] reads them.
const DELIVERY: &str = "d.id, a.id, a.event_id, a.rule_id, a.rule_type, a.client_id, a.company_id, e.url, \
     d.accepted_at, d.attempts_made";

/// The columns of an ended delivery, as [`delivery`] reads them.
pub(super) fn ended_columns() -> String {
    format!("{DELIVERY}, d.ended_at, d.reason, {LAST_ATTEMPT}")
}

/// The columns of an open delivery, as [`delivery`] reads them.
pub(super) fn open_columns() -> String {
    format!("{DELIVERY}, d.due_at, NULL, {}", rows::SUMMARY)
}

/// Reads a delivery to be shown. Its unreadable parts are replaced, so that the other deliveries
/// stay visible.
pub(super) fn delivery(row: &Row<'_>, ended: bool) -> rusqlite::Result<Delivery> {
    let at = rows::maybe_time(row, 10).unwrap_or_default();
    let reason = rows::maybe_json(row, 11).unwrap_or(Some(DeadLetterReason::Unreadable));
    let state = match (ended, reason, at) {
        (true, Some(reason), at) => DeliveryState::DeadLettered {
            at: at.unwrap_or_default(),
            reason,
        },
        (true, None, at) => DeliveryState::Delivered {
            at: at.unwrap_or_default(),
        },
        (false, _, Some(due_at)) => DeliveryState::Waiting { due_at },
        (false, _, None) => DeliveryState::Queued,
    };
    let company: Option<String> = row.get(6).unwrap_or_default();
    Ok(Delivery {
        id: rows::id(row, 0)?,
        alert_id: rows::alert_id(row, 1).unwrap_or(NO_ALERT),
        event_id: rows::shown_text(row, 2).into(),
        rule_id: rows::shown_text(row, 3).into(),
        rule_type: rows::shown_text(row, 4),
        client_id: rows::shown_text(row, 5).into(),
        company_id: company.map(Into::into),
        url: rows::shown_url(row, 7)?,
        accepted_at: rows::time(row, 8).unwrap_or_default(),
        state,
        attempts_made: row.get(9).unwrap_or_default(),
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

/// Returns the number of dead letters that a query finds, ignoring its limit.
pub(super) fn count_dead_letters(
    connection: &Connection,
    query: &DeadLetterQuery,
) -> Result<u64, StoreError> {
    let search = Search::from(query);
    if search.asks_why() {
        let found = listed(connection, &search, "", "ORDER BY d.id", usize::MAX)?;
        return Ok(u64::try_from(found.len()).unwrap_or(u64::MAX));
    }
    let conditions = Conditions::of(connection, &search).map_err(store_error)?;
    let Some(conditions) = conditions else {
        return Ok(0);
    };
    // Join the alert only if a condition needs it.
    let alert = if conditions.of_alert {
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
    let search = Search::from(query);
    listed(
        connection,
        &search,
        OF_NO_REMOVED,
        "ORDER BY d.id",
        search.limit,
    )
}

/// Returns the ids of the newest dead letters that a query finds: the ones it lists.
pub(super) fn newest_dead_letters(
    connection: &Connection,
    query: &DeadLetterQuery,
) -> Result<Vec<DeliveryId>, StoreError> {
    let search = Search::from(query);
    listed(connection, &search, "", "ORDER BY d.id DESC", search.limit)
}

/// Returns the ids of up to `limit` listed dead letters that a search finds.
fn listed(
    connection: &Connection,
    search: &Search,
    further: &str,
    order: &str,
    limit: usize,
) -> Result<Vec<DeliveryId>, StoreError> {
    let read = || {
        let Some(conditions) = Conditions::of(connection, search)? else {
            return Ok(Vec::new());
        };
        let sql = format!(
            "SELECT {} FROM {ENDED_FROM} LEFT JOIN webhook_alert a ON a.seq = d.alert \
             LEFT JOIN webhook_endpoint e ON e.id = d.endpoint \
             WHERE d.listed = 1{}{further} {order}",
            ended_columns(),
            conditions.sql
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut found = statement.query(params_from_iter(conditions.values))?;
        let mut ids = Vec::new();
        while ids.len() < limit
            && let Some(row) = found.next()?
        {
            if search.asks_why() {
                let letter = delivery(row, true)?;
                let last = letter.last_attempt.and_then(|last| last.failure);
                if !search.finds_end(letter.state, last) {
                    continue;
                }
            }
            ids.push(rows::id(row, 0)?);
        }
        Ok(ids)
    };
    read().map_err(store_error)
}

const OF_NO_REMOVED: &str = " AND d.endpoint NOT IN \
     (SELECT e.id FROM webhook_removed r JOIN webhook_endpoint e ON e.url = r.url)";

/// Returns the number of the endpoint at which a delivery is open; `None` if it is not open.
pub(super) fn open_at(connection: &Connection, id: DeliveryId) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT endpoint FROM webhook_open WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let found = statement.query_row([int(id.get())], |row| row.get(0));
    found.optional().map_err(store_error)
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
