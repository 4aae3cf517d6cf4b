//! Bringing a file to the key that it is opened with: what is plain is sealed, and what an older key sealed is sealed again.
//!
//! That a file is sealed stands in a table of its own, so that one without any rules is not written to in plain by a process that was not given the key.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

use super::error::store_error;
use super::query::all;
use super::seal::{Encryption, Place, no_key};
use crate::store::StoreError;

/// The tables whose values are sealed, each with the column that names a row. Ours comes last.
const TABLES: [(&str, &str); 5] = [
    ("webhook_rule", "id"),
    ("webhook_client", "id"),
    ("webhook_setting", "url"),
    ("webhook_past", "id"),
    (SEALED, "id"),
];

/// Notes that a file is sealed, and whether plain text may be left in it. It is there only once a file was sealed.
const SEALED: &str = "webhook_sealed";

/// Returns the text of a value, which stands in column 1 with its row's key in column 0.
pub(super) fn text(
    row: &Row<'_>,
    table: &'static str,
    encryption: Option<&Encryption>,
) -> Result<Zeroizing<String>, StoreError> {
    let key = row.get_ref(0).map_err(store_error)?;
    let key = key.as_str().map_err(|error| store_error(error.into()))?;
    let place = Place { table, key };
    match (row.get_ref(1).map_err(store_error)?, encryption) {
        (ValueRef::Blob(sealed), Some(encryption)) => encryption.open(place, sealed),
        (ValueRef::Blob(sealed), None) => Err(no_key(place, sealed)),
        (ValueRef::Text(plain), _) => {
            let plain = std::str::from_utf8(plain).map_err(|_| place.damaged("is not a text"))?;
            Ok(Zeroizing::new(plain.to_owned()))
        }
        _ => Err(place.damaged("is neither a text nor sealed")),
    }
}

/// Has everything sealed with the key, inside the transaction that opens the file. Without a key nothing may be sealed.
pub(super) fn seal_all(
    connection: &Connection,
    encryption: Option<&Encryption>,
) -> Result<(), StoreError> {
    let Some(encryption) = encryption else {
        return refuse_sealed(connection);
    };
    let known = connection.table_exists(None, SEALED).map_err(store_error)?;
    if !known {
        execute(
            connection,
            "CREATE TABLE webhook_sealed (id TEXT PRIMARY KEY, json BLOB NOT NULL) WITHOUT ROWID;
             INSERT INTO webhook_sealed VALUES ('store', 'sealed');",
        )?;
    }
    for (table, key) in TABLES {
        let found_plain = seal_table(connection, table, key, encryption)?;
        if found_plain && table != SEALED {
            if known {
                // Whoever has no key could have written it, to have calls made in our name.
                let why = "a row is in plain, though the file was sealed; remove what somebody else has written";
                return Err(StoreError::Damaged(format!("{table}: {why}").into()));
            }
            note_unclean(connection)?;
        }
    }
    if !known {
        note_unclean(connection)?;
    }
    // What was noted just now is plain.
    seal_table(connection, SEALED, "id", encryption).map(drop)
}

/// Takes out of the file and its log what is left there of plain text, if any was sealed: in pages that are free, and between the rows of others.
/// Done again at the next opening if it fails.
pub(super) fn clean(connection: &Connection) -> Result<(), StoreError> {
    let unclean = "SELECT 1 FROM webhook_sealed WHERE id = 'unclean'";
    let unclean = connection.query_row(unclean, [], |_| Ok(())).optional();
    if unclean.map_err(store_error)?.is_none() {
        return Ok(());
    }
    // The file may be larger than the memory.
    execute(connection, "PRAGMA temp_store = FILE")?;
    execute(connection, "VACUUM")?;
    empty_log(connection)?;
    execute(connection, "PRAGMA temp_store = MEMORY")?;
    execute(
        connection,
        "DELETE FROM webhook_sealed WHERE id = 'unclean'",
    )
}

/// Has what is deleted overwritten, or not.
pub(super) fn overwrite_deleted(connection: &Connection, on: bool) -> Result<(), StoreError> {
    let text = if on { "ON" } else { "OFF" };
    execute(connection, &format!("PRAGMA secure_delete = {text}"))
}

fn empty_log(connection: &Connection) -> Result<(), StoreError> {
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy: bool = connection
        .query_row(sql, [], |row| row.get(0))
        .map_err(store_error)?;
    if busy {
        let why = "the file is being read by another connection; secrets are sealed once it has ended its transaction";
        return Err(StoreError::Unavailable(why.into()));
    }
    Ok(())
}

fn refuse_sealed(connection: &Connection) -> Result<(), StoreError> {
    if !connection.table_exists(None, SEALED).map_err(store_error)? {
        return Ok(());
    }
    let sql = "SELECT id, json FROM webhook_sealed LIMIT 1";
    let found = connection
        .query_row(sql, [], |row| Ok(text(row, SEALED, None).map(drop)))
        .optional();
    found.map_err(store_error)?.unwrap_or(Ok(()))
}

/// Seals the rows of a table that do not have the key, and says whether any was plain. Every row is opened, so that a key that is missing is
/// noticed now and not when it is too late.
fn seal_table(
    connection: &Connection,
    table: &'static str,
    column: &str,
    encryption: &Encryption,
) -> Result<bool, StoreError> {
    let select = format!(
        "SELECT {column}, json FROM {table} WHERE {column} > ?1 ORDER BY {column} LIMIT {STEP}"
    );
    let update = format!("UPDATE {table} SET json = ?2 WHERE {column} = ?1");
    let (mut after, mut found_plain) = (String::new(), false);
    loop {
        let step = all(connection, &select, [&after], |row| {
            let sealed = row.get_ref(1)?.as_blob().ok();
            let current = sealed.is_some_and(|sealed| encryption.is_current(sealed));
            let key: String = row.get(0)?;
            Ok((
                key,
                text(row, table, Some(encryption)),
                current,
                sealed.is_none(),
            ))
        })?;
        let Some((last, ..)) = step.last() else {
            return Ok(found_plain);
        };
        after.clone_from(last);
        for (key, text, current, plain) in step {
            let text = text?;
            found_plain |= plain;
            if !current {
                let place = Place { table, key: &key };
                let sealed = encryption.seal(place, &text)?;
                let mut statement = connection.prepare_cached(&update).map_err(store_error)?;
                let done = statement.execute(params![key, sealed]);
                done.map_err(store_error)?;
            }
        }
    }
}

fn note_unclean(connection: &Connection) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO webhook_sealed VALUES ('unclean', 'plain text may be left')";
    execute(connection, sql)
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.execute_batch(sql).map_err(store_error)
}

/// How many rows are in memory at once.
const STEP: usize = 500;
