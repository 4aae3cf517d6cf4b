//! Sealing a file with the key that it is opened with: plain values are sealed, and values of an
//! older key are sealed again.
//!
//! A table of its own marks a file as sealed. Without it, a process without the key could write
//! plain rows to a sealed file that has no rules yet.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

use super::error::store_error;
use super::manifest::Manifest;
use super::query::all;
use super::seal::{Encryption, SealedField, no_key};
use crate::store::StoreError;

/// A table of settings, and the column of its keys.
pub(super) type Table = (&'static str, &'static str);

pub(super) const RULE: Table = ("webhook_rule", "id");
pub(super) const CLIENT: Table = ("webhook_client", "id");
pub(super) const ENDPOINT: Table = ("webhook_setting", "url");
pub(super) const PAST: Table = ("webhook_past", "id");

/// The tables whose values are sealed.
pub(super) const SETTINGS: [Table; 4] = [RULE, CLIENT, ENDPOINT, PAST];

/// The table that marks a file as sealed, holds the manifest, and notes whether plain text may be
/// left. It exists only in a file that was sealed.
pub(super) const SEALED: &str = "webhook_sealed";

/// The value of row `store` if there is a manifest. Files sealed before manifests existed have
/// another value.
const WITH_MANIFEST: &str = "sealed, with a manifest";

/// Returns the text of the value in column 1; column 0 is the row's key.
pub(super) fn text(
    row: &Row<'_>,
    table: &'static str,
    encryption: Option<&Encryption>,
) -> Result<Zeroizing<String>, StoreError> {
    let key = row.get_ref(0).map_err(store_error)?;
    let key = key.as_str().map_err(|error| store_error(error.into()))?;
    let field = SealedField { table, key };
    match (row.get_ref(1).map_err(store_error)?, encryption) {
        (ValueRef::Blob(sealed), Some(encryption)) => encryption.open(field, sealed),
        (ValueRef::Blob(sealed), None) => Err(no_key(field, sealed)),
        (ValueRef::Text(plain), _) => {
            let plain = std::str::from_utf8(plain).map_err(|_| field.damaged("is not text"))?;
            Ok(Zeroizing::new(plain.to_owned()))
        }
        _ => Err(field.damaged("is neither text nor sealed")),
    }
}

/// Seals everything with the key, inside the transaction that opens the file. Without a key, a
/// sealed file is refused.
pub(super) fn seal_all(
    connection: &Connection,
    encryption: Option<&Encryption>,
) -> Result<(), StoreError> {
    let Some(encryption) = encryption else {
        return refuse_sealed(connection);
    };
    let known = connection.table_exists(None, SEALED).map_err(store_error)?;
    if known {
        check_manifest(connection, encryption)?;
    } else {
        check_never_sealed(connection, encryption)?;
        execute(
            connection,
            "CREATE TABLE webhook_sealed (id TEXT PRIMARY KEY, json BLOB NOT NULL) WITHOUT ROWID;",
        )?;
        note_unclean(connection)?;
    }
    for (table, key) in SETTINGS {
        if seal_table(connection, table, key, encryption)? {
            if known {
                // Somebody without the key could have written it, to have calls made in our name.
                let why = "a row is plain text in a sealed file, so it was written without the key; remove it";
                return Err(StoreError::damaged(format!("{table}: {why}")));
            }
            note_unclean(connection)?;
        }
    }
    let sql =
        "INSERT INTO webhook_sealed VALUES ('store', ?1) ON CONFLICT (id) DO UPDATE SET json = ?1";
    let noted = connection.execute(sql, [WITH_MANIFEST]);
    noted.map_err(store_error)?;
    Manifest::of(connection)?.write(connection, encryption)?;
    // The notes just written are plain.
    seal_table(connection, SEALED, "id", encryption).map(drop)
}

/// Checks that the settings are the ones that were last sealed.
fn check_manifest(connection: &Connection, encryption: &Encryption) -> Result<(), StoreError> {
    // First check that every row can be opened: a missing key is the likelier cause, with another
    // remedy.
    for (table, key) in SETTINGS.into_iter().chain([(SEALED, "id")]) {
        for_each(connection, table, key, encryption, |_, _, _| Ok(()))?;
    }
    let sql = "SELECT id, json FROM webhook_sealed WHERE id = 'store'";
    let store = connection
        .query_row(sql, [], |row| Ok(text(row, SEALED, Some(encryption))))
        .optional();
    let store = store.map_err(store_error)?.transpose()?;
    let with_manifest = store.as_ref().is_none_or(|store| **store == WITH_MANIFEST);
    let manifest = Manifest::read(connection, encryption)?;
    let as_sealed = match manifest {
        Some(manifest) => manifest.matches(connection)?,
        None => !with_manifest,
    };
    if as_sealed || encryption.takes_as_found {
        return Ok(());
    }
    let why = "the settings are not those last sealed: without the key, a row was removed, added or replaced by an \
               older copy; restore the file, or check the settings and open it once with Encryption::takes_as_found";
    Err(StoreError::damaged(why))
}

/// Checks that a file that is not marked as sealed never was.
fn check_never_sealed(connection: &Connection, encryption: &Encryption) -> Result<(), StoreError> {
    for (table, _) in SETTINGS {
        let kinds = all(
            connection,
            &format!("SELECT DISTINCT typeof(json) FROM {table}"),
            [],
            |row| row.get::<_, String>(0),
        )?;
        if kinds.iter().any(|kind| kind == "blob") {
            let why = "the file holds sealed settings, but table webhook_sealed was removed; restore the file";
            return Err(StoreError::damaged(why));
        }
        if !kinds.is_empty() && !encryption.seals_plain {
            let why = "the file holds plain settings and was never sealed, but Encryption::only_sealed is set; \
                       if the file is yours, open it once without that option";
            return Err(StoreError::damaged(why));
        }
    }
    Ok(())
}

/// Removes plain text left in the file and its log, in free pages and between rows, if any was
/// sealed. If it fails, the next opening does it again.
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

/// Sets whether SQLite overwrites deleted content.
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
        let why = "another connection is reading the file; end its transaction, so that plain secrets can be removed";
        return Err(StoreError::unavailable(why));
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

/// Seals the rows of a table that the current key did not seal, and returns `true` if any was
/// plain. It opens every row, so that a missing key is noticed now and not when it is too late.
fn seal_table(
    connection: &Connection,
    table: &'static str,
    column: &str,
    encryption: &Encryption,
) -> Result<bool, StoreError> {
    let update = format!("UPDATE {table} SET json = ?2 WHERE {column} = ?1");
    let mut found_plain = false;
    for_each(connection, table, column, encryption, |key, text, how| {
        found_plain |= how == How::Plain;
        if how != How::Sealed {
            let sealed = encryption.seal(SealedField { table, key }, text)?;
            let mut statement = connection.prepare_cached(&update).map_err(store_error)?;
            let done = statement.execute(params![key, sealed]);
            done.map_err(store_error)?;
        }
        Ok(())
    })?;
    Ok(found_plain)
}

/// The form of a value in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Plain,
    SealedWithAnOlderKey,
    Sealed,
}

/// Opens every row of a table, a few at a time.
fn for_each(
    connection: &Connection,
    table: &'static str,
    column: &str,
    encryption: &Encryption,
    mut look: impl FnMut(&str, &str, How) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let select = format!(
        "SELECT {column}, json FROM {table} WHERE {column} > ?1 ORDER BY {column} LIMIT {STEP}"
    );
    let mut after = String::new();
    loop {
        let step = all(connection, &select, [&after], |row| {
            let how = match row.get_ref(1)?.as_blob() {
                Ok(sealed) if encryption.is_current(sealed) => How::Sealed,
                Ok(_) => How::SealedWithAnOlderKey,
                Err(_) => How::Plain,
            };
            let key: String = row.get(0)?;
            Ok((key, text(row, table, Some(encryption)), how))
        })?;
        let Some((last, ..)) = step.last() else {
            return Ok(());
        };
        after.clone_from(last);
        for (key, text, how) in step {
            look(&key, &text?, how)?;
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

/// The number of rows in memory at once.
const STEP: usize = 500;
