//! Searches over deliveries, newest first.
//!
//! A search picks the source with the fewest candidates (an index, or all deliveries), walks their
//! ids downwards, and reads and compares each delivery. It stops when the page is full, or after a
//! bounded number of candidates; the page then says how far it looked.

mod conditions;
mod source;
mod terms;

use std::iter::once;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::types::{ToSql, Value};
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, params_from_iter};

pub(super) use self::conditions::Conditions;
use self::source::Source;
pub(super) use self::terms::{INSERT as INSERT_TERM, Terms, index_all};
use super::alerts::Alerts;
use super::error::store_error;
use super::query::{ENDED_FROM, OPEN_FROM, delivery, ended_columns, open_columns};
use super::rows::{self, int, uint};
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::Delivery;
use crate::domain::events::payload::PayloadFormat;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::store::search::Search;
use crate::store::{
    Alert, Count, DeadLetterQuery, DeliveryDetails, DeliveryQuery, DeliveryStage, Page, StoreError,
};

/// Returns a page of deliveries.
pub(super) fn deliveries(
    connection: &Connection,
    query: &DeliveryQuery,
) -> Result<Page<Delivery>, StoreError> {
    let search = Search::from(query);
    page(connection, &search).map_err(store_error)
}

/// Returns a page of dead letters.
pub(super) fn dead_letters(
    connection: &Connection,
    query: &DeadLetterQuery,
) -> Result<Page<DeadLetter>, StoreError> {
    let search = Search::from(query);
    let page = page(connection, &search).map_err(store_error)?;
    Ok(Page {
        next: page.next,
        searched_to: page.searched_to,
        items: page.into_iter().filter_map(DeadLetter::of).collect(),
    })
}

/// Counts what a search finds, up to `at_most`.
pub(super) fn count(
    connection: &Connection,
    search: &Search,
    at_most: u64,
) -> Result<Count, StoreError> {
    let mut count = 0;
    let mut add = |_: Delivery| {
        count += 1;
        count > at_most
    };
    let stopped = walk(connection, search, COUNTED, &mut add).map_err(store_error)?;
    Ok(Count::new(
        count.min(at_most),
        count > at_most || stopped.is_some(),
    ))
}

/// Returns everything stored of a delivery, apart from its attempts.
pub(super) fn details(
    connection: &Connection,
    id: DeliveryId,
) -> Result<Option<DeliveryDetails>, StoreError> {
    let read = || {
        let _snapshot = connection.unchecked_transaction()?;
        let found = Reader::new(connection, &Conditions::default())?.read(int(id.get()))?;
        found.map(|found| with_alert(connection, found)).transpose()
    };
    read().map_err(store_error)
}

fn with_alert(connection: &Connection, delivery: Delivery) -> rusqlite::Result<DeliveryDetails> {
    let id = int(delivery.id.get());
    let sql = format!(
        "SELECT {} FROM webhook_alert a WHERE a.seq = \
         COALESCE((SELECT alert FROM webhook_ended WHERE id = ?1), (SELECT alert FROM webhook_open WHERE id = ?1))",
        rows::ALERT
    );
    let read = |row: &Row<'_>| {
        Ok((
            row.get::<_, i64>(0)?,
            rows::alert(row, 0, &Alerts::default()),
        ))
    };
    let found = connection.prepare_cached(&sql)?.query_row([id], read);
    let (seq, alert) = match found.optional()? {
        Some((seq, Ok(alert))) => (seq, alert),
        // An unreadable alert is shown without its body.
        Some((seq, Err(_))) => (seq, shown(&delivery)),
        None => return Ok(DeliveryDetails::new(delivery.clone(), shown(&delivery))),
    };
    let sql = "SELECT id, of FROM webhook_redelivered WHERE alert = ?1 AND (id = ?2 OR of = ?2) ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut repeats = statement.query([seq, id])?;
    let mut details = DeliveryDetails::new(delivery, alert);
    while let Some(row) = repeats.next()? {
        if row.get::<_, i64>(0)? == id {
            let of: Option<i64> = row.get(1)?;
            details.redelivery_of = of.map(|of| DeliveryId::new(uint(of)));
        } else {
            details.redelivered_as.push(rows::id(row, 0)?);
        }
    }
    Ok(details)
}

/// Returns an alert with the readable parts of a delivery and no body.
fn shown(delivery: &Delivery) -> Arc<Alert> {
    Arc::new(Alert {
        id: delivery.alert_id,
        event_id: delivery.event_id.clone(),
        rule_id: delivery.rule_id.clone(),
        rule_type: delivery.rule_type.clone(),
        client_id: delivery.client_id.clone(),
        company_id: delivery.company_id.clone(),
        format: PayloadFormat::default(),
        body: Bytes::new(),
    })
}

fn page(connection: &Connection, search: &Search) -> rusqlite::Result<Page<Delivery>> {
    let mut found = Vec::new();
    let mut add = |delivery| {
        found.push(delivery);
        found.len() > search.limit
    };
    let stopped = walk(connection, search, LOOKED_AT, &mut add)?;
    let mut page = Page::cut(found, search.limit, |delivery| delivery.id);
    if let Some(id) = stopped {
        page.next = Some(DeliveryId::new(uint(id)));
        let at = first_from(connection, id)?.map(|(_, at)| at);
        page.searched_to = at.map(Timestamp::from_unix_millis);
    }
    Ok(page)
}

/// Calls `add` with the deliveries that a search finds, newest first, until it returns `true`.
/// Returns the id of the last candidate if there were more than `most`.
pub(super) fn walk(
    connection: &Connection,
    search: &Search,
    most: usize,
    add: &mut dyn FnMut(Delivery) -> bool,
) -> rusqlite::Result<Option<i64>> {
    // All reads see the same state, in which a delivery is either open or ended.
    let _snapshot = connection.unchecked_transaction()?;
    let Some(conditions) = Conditions::of(connection, search)? else {
        return Ok(None);
    };
    let range = range(connection, search)?;
    let source = Source::of(connection, search, conditions.endpoint, &range)?;
    let mut reader = Reader::new(connection, &conditions)?;
    let (mut looked_at, mut stopped) = (0, None);
    let mut visit = |id: i64| {
        looked_at += 1;
        if let Some(delivery) = reader.read(id)? {
            let last = delivery.last_attempt.and_then(|last| last.failure);
            if search.finds_end(delivery.state, last) && add(delivery) {
                return Ok(ControlFlow::Break(()));
            }
        }
        if looked_at < most {
            return Ok(ControlFlow::Continue(()));
        }
        stopped = Some(id);
        Ok(ControlFlow::Break(()))
    };
    source.walk(connection, &range, &mut visit)?;
    Ok(stopped)
}

/// Reads deliveries by their ids, if they meet conditions.
struct Reader<'c> {
    ended: Option<Statement<'c>>,
    open: Option<Statement<'c>>,
    values: Vec<Value>,
}

impl<'c> Reader<'c> {
    fn new(connection: &'c Connection, conditions: &Conditions) -> rusqlite::Result<Self> {
        let prepare = |columns: &str, from: &str, further: &str| {
            let sql = format!(
                "SELECT {columns} FROM {from} \
                 LEFT JOIN webhook_alert a ON a.seq = d.alert \
                 LEFT JOIN webhook_endpoint e ON e.id = d.endpoint WHERE d.id = ?{further}{}",
                conditions.sql
            );
            connection.prepare(&sql)
        };
        let listed = if conditions.listed {
            " AND d.listed = 1"
        } else {
            ""
        };
        let open = conditions
            .stage
            .is_none_or(|stage| stage == DeliveryStage::Open);
        let ended = conditions.stage != Some(DeliveryStage::Open);
        Ok(Self {
            ended: ended
                .then(|| prepare(&ended_columns(), ENDED_FROM, listed))
                .transpose()?,
            open: open
                .then(|| prepare(&open_columns(), OPEN_FROM, ""))
                .transpose()?,
            values: conditions.values.clone(),
        })
    }

    fn read(&mut self, id: i64) -> rusqlite::Result<Option<Delivery>> {
        for (statement, ended) in [(&mut self.ended, true), (&mut self.open, false)] {
            let Some(statement) = statement else { continue };
            let values = self.values.iter().map(|value| value as &dyn ToSql);
            let parameters = params_from_iter(once(&id as &dyn ToSql).chain(values));
            let found = statement.query_row(parameters, |row| delivery(row, ended));
            if let Some(found) = found.optional()? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Returns the range of ids in which a search can find anything.
///
/// Ids ascend with the time of acceptance, apart from small differences between threads.
fn range(connection: &Connection, search: &Search) -> rusqlite::Result<Range<i64>> {
    let mut range = 0..i64::MAX;
    if let Some(since) = search.accepted.since {
        range.start = first_accepted(connection, since.unix_millis().saturating_sub(SLACK))?;
    }
    // Nothing is given up before it is accepted.
    let until = [search.accepted.until, search.given_up.until];
    if let Some(until) = until.into_iter().flatten().min() {
        range.end = first_accepted(connection, until.unix_millis().saturating_add(SLACK))?;
    }
    if let Some(before) = search.before {
        range.end = range.end.min(int(before.get()));
    }
    Ok(range)
}

/// Returns the first id accepted at or after a time, or the id after the last one.
fn first_accepted(connection: &Connection, at: i64) -> rusqlite::Result<i64> {
    let last = "SELECT last_delivery + 1 FROM webhook_store";
    let mut range = 0..connection.query_row(last, [], |row| row.get::<_, i64>(0))?;
    while range.start < range.end {
        let middle = range.start + (range.end - range.start) / 2;
        match first_from(connection, middle)? {
            Some((id, accepted_at)) if accepted_at < at => range.start = id + 1,
            Some(_) | None => range.end = middle,
        }
    }
    Ok(range.start)
}

/// Returns the first delivery from an id on, and when it was accepted.
pub(super) fn first_from(connection: &Connection, id: i64) -> rusqlite::Result<Option<(i64, i64)>> {
    let first = |table: &str| {
        let sql = format!("SELECT id, accepted_at FROM {table} WHERE id >= ?1 ORDER BY id LIMIT 1");
        let mut statement = connection.prepare_cached(&sql)?;
        let found = statement.query_row([id], |row| {
            Ok((row.get(0)?, row.get(1).unwrap_or_default()))
        });
        found.optional()
    };
    let (ended, open) = (first("webhook_ended")?, first("webhook_open")?);
    Ok(ended.into_iter().chain(open).min())
}

/// The most candidates that one page looks at.
const LOOKED_AT: usize = 10_000;

/// The most candidates that a count looks at.
pub(super) const COUNTED: usize = 50_000;

/// The milliseconds by which the times of acceptance of neighbours may be out of order.
const SLACK: i64 = 60_000;
