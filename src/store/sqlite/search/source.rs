//! The ids that a search looks at, newest first.

use std::ops::{ControlFlow, Range};

use rusqlite::Connection;
use rusqlite::types::Value;

use super::terms::{self, Term};
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::store::DeliveryStage;
use crate::store::search::Search;
use crate::store::sqlite::rows;

/// A set of ids, of which a search finds a part.
#[derive(Debug)]
pub(super) enum Source<'a> {
    Term(Term<'a>),
    Table(Table),
}

/// Ids from indexes of the tables, merged.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Selections of ids, without their range.
    parts: Vec<String>,
    values: Vec<Value>,
}

type Visit<'v> = dyn FnMut(i64) -> rusqlite::Result<ControlFlow<()>> + 'v;

impl<'a> Source<'a> {
    /// Returns the source with the fewest candidates for a search.
    pub(super) fn of(
        connection: &Connection,
        search: &'a Search,
        endpoint: Option<i64>,
        range: &Range<i64>,
    ) -> rusqlite::Result<Self> {
        let mut sources = Self::by_terms(search);
        sources.extend(endpoint.map(|id| Self::Table(Table::of_endpoint(search, id))));
        if search.asks_why() {
            let reasons = Table::of_reasons(connection, search)?;
            sources.extend(reasons.map(Self::Table));
        }
        let all = Self::Table(Table::all(search));
        if sources.is_empty() {
            return Ok(all);
        }
        if search
            .stage
            .is_some_and(|stage| stage != DeliveryStage::Delivered)
        {
            sources.push(all);
        }
        let mut fewest: Option<(usize, Self)> = None;
        for source in sources {
            let most = fewest
                .as_ref()
                .map_or(super::LOOKED_AT, |(count, _)| *count);
            let count = source.count(connection, range, most)?;
            if fewest.is_none() || count < most {
                fewest = Some((count, source));
            }
            if count <= FEW {
                break;
            }
        }
        Ok(fewest.map_or_else(|| Self::Table(Table::all(search)), |(_, source)| source))
    }

    /// Returns the sources by client, company, event, alert and rule; what is rare as a rule comes
    /// first.
    fn by_terms(search: &'a Search) -> Vec<Self> {
        let terms = [
            search.alert_id.map(Term::Alert),
            search.event_id.as_ref().map(|id| Term::Event(id.as_str())),
            search
                .company_id
                .as_ref()
                .map(|id| Term::Company(id.as_str())),
            search.rule_id.as_ref().map(|id| Term::Rule(id.as_str())),
            search
                .client_id
                .as_ref()
                .map(|id| Term::Client(id.as_str())),
        ];
        terms.into_iter().flatten().map(Self::Term).collect()
    }

    /// Counts the ids in a range, up to `most`.
    fn count(
        &self,
        connection: &Connection,
        range: &Range<i64>,
        most: usize,
    ) -> rusqlite::Result<usize> {
        let mut count = 0;
        let mut visit = |_| {
            count += 1;
            Ok(if count < most {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        };
        self.walk(connection, range, &mut visit)?;
        Ok(count)
    }

    /// Calls `visit` with the ids in a range, newest first, until it breaks off.
    pub(super) fn walk(
        &self,
        connection: &Connection,
        range: &Range<i64>,
        visit: &mut Visit<'_>,
    ) -> rusqlite::Result<()> {
        match self {
            Self::Term(term) => terms::walk(connection, *term, range, visit),
            Self::Table(table) => table.walk(connection, range, visit),
        }
    }
}

impl Table {
    /// Returns all deliveries that may be in the stage of a search.
    fn all(search: &Search) -> Self {
        let mut table = Self::default();
        if may_be_open(search) {
            table.add("webhook_open INDEXED BY webhook_open_by_id WHERE 1", []);
        }
        if search.listed {
            table.add(
                "webhook_ended INDEXED BY webhook_dead_letter WHERE listed = 1",
                [],
            );
        } else if search.stage == Some(DeliveryStage::DeadLettered) {
            table.add(
                "webhook_ended INDEXED BY webhook_given_up_by_id WHERE reason IS NOT NULL",
                [],
            );
        } else if search.stage != Some(DeliveryStage::Open) {
            table.add("webhook_ended WHERE 1", []);
        }
        table
    }

    /// Returns the deliveries of an endpoint.
    fn of_endpoint(search: &Search, endpoint: i64) -> Self {
        let mut table = Self::default();
        if may_be_open(search) {
            table.add("webhook_open WHERE endpoint = ?", [endpoint.into()]);
        }
        if search.listed {
            let listed = "webhook_ended INDEXED BY webhook_dead_letter_by_endpoint WHERE listed = 1 AND endpoint = ?";
            table.add(listed, [endpoint.into()]);
        } else if search.stage != Some(DeliveryStage::Open) {
            let ended = "webhook_ended INDEXED BY webhook_ended_by_endpoint WHERE endpoint = ?";
            table.add(ended, [endpoint.into()]);
        }
        table
    }

    /// Returns the deliveries that were given up for the reasons of a search, and the open ones if
    /// they may have failed as asked for. `None` if there are too many reasons.
    fn of_reasons(connection: &Connection, search: &Search) -> rusqlite::Result<Option<Self>> {
        if search.stage == Some(DeliveryStage::Open)
            || search.stage == Some(DeliveryStage::Delivered)
        {
            return Ok(None);
        }
        let mut table = Self::default();
        if search.reason.is_none() && may_be_open(search) {
            table.add("webhook_open INDEXED BY webhook_open_by_id WHERE 1", []);
        }
        let Some(reasons) = reasons(connection)? else {
            return Ok(None);
        };
        for text in reasons {
            let reason = serde_json::from_str(&text).unwrap_or(DeadLetterReason::Unreadable);
            let asked = search.reason.is_none_or(|kind| reason.kind() == kind);
            // Without a failure in the reason, an earlier attempt may have failed like this.
            let failed = search.failure.zip(reason.failure());
            if asked && failed.is_none_or(|(failure, is)| failure.finds(is)) {
                let given_up = "webhook_ended INDEXED BY webhook_given_up WHERE reason IS NOT NULL AND reason = ?";
                table.add(given_up, [text.into()]);
            }
        }
        if table.parts.is_empty() {
            table.add("webhook_open WHERE 0", []);
        }
        Ok((table.parts.len() <= MERGED).then_some(table))
    }

    fn add<const N: usize>(&mut self, from: &str, values: [Value; N]) {
        self.parts.push(format!("SELECT id FROM {from}"));
        self.values.extend(values);
    }

    fn walk(
        &self,
        connection: &Connection,
        range: &Range<i64>,
        visit: &mut Visit<'_>,
    ) -> rusqlite::Result<()> {
        let bounds = format!(" AND id >= {} AND id < {}", range.start, range.end);
        let parts: Vec<String> = self
            .parts
            .iter()
            .map(|part| format!("{part}{bounds}"))
            .collect();
        let sql = format!("{} ORDER BY id DESC", parts.join(" UNION ALL "));
        let mut statement = connection.prepare(&sql)?;
        let mut found = statement.query(rusqlite::params_from_iter(&self.values))?;
        while let Some(row) = found.next()? {
            if visit(row.get(0)?)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn may_be_open(search: &Search) -> bool {
    search
        .stage
        .is_none_or(|stage| stage == DeliveryStage::Open)
}

/// Returns the reasons for which deliveries were given up, as they are stored: one look-up for
/// each. `None` if one of them is unreadable.
fn reasons(connection: &Connection) -> rusqlite::Result<Option<Vec<String>>> {
    let sql = "SELECT MIN(reason) FROM webhook_ended INDEXED BY webhook_given_up \
               WHERE reason IS NOT NULL AND reason > ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut reasons: Vec<String> = Vec::new();
    loop {
        let after = reasons.last().map_or("", String::as_str);
        let next = statement.query_row([after], |row| row.get::<_, Option<String>>(0));
        match next {
            Ok(Some(reason)) => reasons.push(reason),
            Ok(None) => return Ok(Some(reasons)),
            Err(error) if rows::is_of_row(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// The number of candidates that is few enough to look no further.
const FEW: usize = 200;

/// The most indexes that are merged.
const MERGED: usize = 64;
