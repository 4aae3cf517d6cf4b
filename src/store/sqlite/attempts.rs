//! The attempts of all deliveries of an endpoint.

use rusqlite::{Connection, Row, params};

use super::error::store_error;
use super::query;
use super::rows::{self, int};
use super::search::first_from;
use crate::domain::deliveries::attempt::{Attempt, EndpointAttempt};
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::attempts::{Found, find};
use crate::store::{AttemptPage, AttemptQuery, StoreError};

/// Returns a page of the attempts of an endpoint, the latest first.
pub(super) fn attempts_of(
    connection: &Connection,
    url: &WebhookUrl,
    query: &AttemptQuery,
) -> Result<AttemptPage, StoreError> {
    // All reads see the same state, in which a delivery is either open or ended.
    let _snapshot = connection.unchecked_transaction().map_err(store_error)?;
    let found = found(connection, url, query)?;
    let page = || {
        let searched_to = match found.searched_to {
            Some(id) => first_from(connection, int(id.get()))?,
            None => None,
        };
        let items = found.attempts.into_iter();
        let items = items.map(|found| shown(connection, url, found));
        Ok(AttemptPage {
            items: items.collect::<rusqlite::Result<_>>()?,
            next: found.next,
            searched_to: searched_to.map(|(_, at)| Timestamp::from_unix_millis(at)),
        })
    };
    page().map_err(store_error)
}

fn found(
    connection: &Connection,
    url: &WebhookUrl,
    query: &AttemptQuery,
) -> Result<Found, StoreError> {
    // Both parts are read from an index alone. Deliveries that were never attempted are left out:
    // there may be a million of them.
    let sql = "SELECT id FROM webhook_ended INDEXED BY webhook_ended_by_endpoint \
                 WHERE endpoint = (SELECT id FROM webhook_endpoint WHERE url = ?1) AND id <= ?2 \
               UNION ALL SELECT id FROM webhook_open INDEXED BY webhook_waiting \
                 WHERE endpoint = (SELECT id FROM webhook_endpoint WHERE url = ?1) AND id <= ?2 \
                 AND due_at IS NOT NULL \
               ORDER BY id DESC";
    let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
    let through = int(query.through().get());
    let ids = statement.query_map(params![url.as_str(), through], |row| rows::id(row, 0));
    let attempted = ids.map_err(store_error)?.map(|id| {
        let id = id.map_err(store_error)?;
        Ok((id, query::attempts(connection, id)?))
    });
    find(query, attempted)
}

/// Returns an attempt with what it delivered. Unreadable parts are replaced.
fn shown(
    connection: &Connection,
    url: &WebhookUrl,
    (id, attempt): (DeliveryId, Attempt),
) -> rusqlite::Result<EndpointAttempt> {
    let sql = "SELECT event_id, rule_type, client_id FROM (SELECT 1) LEFT JOIN webhook_alert ON seq = COALESCE( \
                 (SELECT alert FROM webhook_ended WHERE id = ?1), \
                 (SELECT alert FROM webhook_open WHERE id = ?1 \
                  AND endpoint = (SELECT id FROM webhook_endpoint WHERE url = ?2)))";
    let texts = |row: &Row<'_>| Ok([0, 1, 2].map(|column| rows::shown_text(row, column)));
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row(params![int(id.get()), url.as_str()], texts);
    let [event, rule_type, client] = found?;
    let (event, client) = (event.into(), client.into());
    Ok(EndpointAttempt::new(id, event, rule_type, client, attempt))
}
