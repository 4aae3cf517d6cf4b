//! The index of deliveries by client, company, event, alert and rule.
//!
//! A row says that `count` deliveries, from the id `first` on, have a term. Rows are ordered by
//! blocks of ids first, then by term: new rows go into the few pages of the newest block, however
//! many clients and rules there are, while an index by term alone would write to a page of its own
//! for nearly every row. A search asks each block for the term, newest first, at the cost of one
//! look-up per 1,024 deliveries.

use std::ops::{ControlFlow, Range};

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sha1::{Digest as _, Sha1};

use crate::domain::deliveries::alert::Alert;
use crate::domain::value::id::AlertId;
use crate::store::StoreError;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::store_error;
use crate::store::sqlite::rows;
use crate::store::sqlite::writer::Writer;

/// Something that a delivery is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::sqlite) enum Term<'a> {
    Client(&'a str),
    Company(&'a str),
    Event(&'a str),
    Alert(AlertId),
    Rule(&'a str),
}

impl Term<'_> {
    /// Returns the number that stands for the term in the file: 64 bits of a digest. Two terms may
    /// share one, so a search compares the delivery itself.
    fn key(self) -> i64 {
        let id;
        let (kind, text) = match self {
            Self::Client(client) => (b'c', client.as_bytes()),
            Self::Company(company) => (b'k', company.as_bytes()),
            Self::Event(event) => (b'e', event.as_bytes()),
            Self::Alert(alert) => {
                id = *alert.as_uuid().as_bytes();
                (b'a', &id[..])
            }
            Self::Rule(rule) => (b'r', rule.as_bytes()),
        };
        let digest = Sha1::new()
            .chain_update([kind])
            .chain_update(text)
            .finalize();
        let mut key = [0; 8];
        for (byte, from) in key.iter_mut().zip(digest) {
            *byte = from;
        }
        i64::from_be_bytes(key)
    }
}

/// The terms of an alert's deliveries.
#[derive(Clone, Debug)]
pub(in crate::store::sqlite) struct Terms(Vec<i64>);

impl Terms {
    pub(in crate::store::sqlite) fn of(alert: &Alert) -> Self {
        let company = alert.company_id.as_ref();
        let company = company.map(|company| Term::Company(company.as_str()));
        let always = [
            Term::Alert(alert.id),
            Term::Client(alert.client_id.as_str()),
            Term::Event(alert.event_id.as_str()),
            Term::Rule(alert.rule_id.as_str()),
        ];
        Self(always.into_iter().chain(company).map(Term::key).collect())
    }

    /// Reads the terms of a stored alert from the columns [`COLUMNS`], which begin at `first`.
    /// Unreadable parts are left out: nothing can ask for them.
    fn read(row: &Row<'_>, first: usize) -> Self {
        let text = |offset: usize| row.get_ref(first + offset).ok()?.as_str().ok();
        let alert = rows::alert_id(row, first).ok().map(Term::Alert);
        let terms = [
            alert,
            text(1).map(Term::Client),
            text(2).map(Term::Event),
            text(3).map(Term::Rule),
            text(4).map(Term::Company),
        ];
        Self(terms.into_iter().flatten().map(Term::key).collect())
    }
}

/// The columns of an alert `a` that [`Terms::read`] reads.
const COLUMNS: &str = "a.id, a.client_id, a.event_id, a.rule_id, a.company_id";

impl Writer<'_> {
    /// Adds `count` deliveries of an alert, from the id `first` on, to the index.
    pub(in crate::store::sqlite) fn index(
        &mut self,
        terms: &Terms,
        first: i64,
        count: usize,
    ) -> rusqlite::Result<()> {
        let insert = self.hot.insert_term.get(self.connection)?;
        for term in &terms.0 {
            insert.execute(params![first / BLOCK, term, first, count])?;
        }
        Ok(())
    }

    /// Adds one delivery of a stored alert to the index.
    pub(in crate::store::sqlite) fn index_again(
        &mut self,
        alert: i64,
        id: i64,
    ) -> rusqlite::Result<()> {
        let sql = format!("SELECT {COLUMNS} FROM webhook_alert a WHERE a.seq = ?1");
        let terms = {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let read = |row: &Row<'_>| Ok(Terms::read(row, 0));
            statement.query_row([alert], read).optional()?
        };
        terms.map_or(Ok(()), |terms| self.index(&terms, id, 1))
    }

    /// Forgets the index of a block of deliveries.
    fn forget_block(&self, block: i64) -> rusqlite::Result<()> {
        let sql = "DELETE FROM webhook_term WHERE block = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute([block]).map(drop)
    }
}

/// Adds all deliveries of a file of an earlier version to the index.
pub(in crate::store::sqlite) fn index_all(connection: &Connection) -> rusqlite::Result<()> {
    let mut insert = connection.prepare(INSERT)?;
    let sql = format!(
        "SELECT d.id, {COLUMNS} FROM \
         (SELECT id, alert FROM webhook_ended UNION ALL SELECT id, alert FROM webhook_open ORDER BY 1) d \
         JOIN webhook_alert a ON a.seq = d.alert"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let id: i64 = row.get(0)?;
        for term in &Terms::read(row, 1).0 {
            insert.execute(params![id / BLOCK, term, id, 1])?;
        }
    }
    Ok(())
}

pub(in crate::store::sqlite) const INSERT: &str =
    "INSERT OR IGNORE INTO webhook_term (block, term, first, count) VALUES (?1, ?2, ?3, ?4)";

/// Calls `visit` with the ids of deliveries in a range that have a term, newest first, until it
/// breaks off.
pub(super) fn walk(
    connection: &Connection,
    term: Term<'_>,
    range: &Range<i64>,
    visit: &mut dyn FnMut(i64) -> rusqlite::Result<ControlFlow<()>>,
) -> rusqlite::Result<()> {
    let oldest: Option<i64> =
        connection.query_row("SELECT MIN(block) FROM webhook_term", [], |row| row.get(0))?;
    let Some(oldest) = oldest else { return Ok(()) };
    // A row of an earlier block may reach into the range.
    let newest: Option<i64> =
        connection.query_row("SELECT MAX(block) FROM webhook_term", [], |row| row.get(0))?;
    let newest = newest
        .unwrap_or(oldest)
        .min((range.end - 1).div_euclid(BLOCK));
    let sql =
        "SELECT first, count FROM webhook_term WHERE block = ?1 AND term = ?2 ORDER BY first DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let key = term.key();
    for block in (oldest..=newest).rev() {
        let mut found = statement.query(params![block, key])?;
        while let Some(row) = found.next()? {
            let (first, count): (i64, i64) = (row.get(0)?, row.get(1)?);
            if first + count <= range.start && block * BLOCK + BLOCK <= range.start {
                return Ok(());
            }
            let ids = first.max(range.start)..first.saturating_add(count).min(range.end);
            for id in ids.rev() {
                if visit(id)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Returns blocks of the index without deliveries.
fn empty_blocks(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let next = "SELECT MIN(block) FROM webhook_term WHERE block > ?1";
    let mut next = connection.prepare_cached(next)?;
    let full = "SELECT EXISTS (SELECT 1 FROM webhook_ended WHERE id >= ?1 AND id < ?2) \
                OR EXISTS (SELECT 1 FROM webhook_open WHERE id >= ?1 AND id < ?2)";
    let mut full = connection.prepare_cached(full)?;
    let last = "SELECT MAX(first + count) FROM webhook_term WHERE block = ?1";
    let mut last = connection.prepare_cached(last)?;
    let mut empty = Vec::new();
    let mut block = -1;
    while let Some(found) = next.query_row([block], |row| row.get(0))? {
        block = found;
        let begin = block * BLOCK;
        if full.query_row([begin, begin + BLOCK], |row| row.get(0))? {
            continue;
        }
        let end: i64 = last.query_row([block], |row| row.get(0))?;
        if !full.query_row([begin, end], |row| row.get::<_, bool>(0))? {
            empty.push(block);
        }
    }
    Ok(empty)
}

impl SqliteStore {
    /// Forgets the index of deliveries that are forgotten, a block at a time. The newest block
    /// stays: deliveries may be added to it.
    pub(in crate::store::sqlite) async fn prune_terms(&self) -> Result<(), StoreError> {
        let empty = self.inquire(|connection| empty_blocks(connection).map_err(store_error));
        for block in empty.await? {
            let forget = move |writer: &mut Writer<'_>| {
                if block < writer.last.delivery / BLOCK {
                    writer.forget_block(block).map_err(store_error)?;
                }
                Ok(())
            };
            self.write(0, forget).await?;
        }
        Ok(())
    }
}

/// The number of delivery ids in a block.
const BLOCK: i64 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    /// The file keeps these numbers, so they must never change.
    #[test]
    fn the_number_of_a_term_lasts() {
        assert_eq!(Term::Client("c").key(), -4_777_051_612_061_718_804);
        assert_ne!(Term::Client("c").key(), Term::Rule("c").key());
    }
}
