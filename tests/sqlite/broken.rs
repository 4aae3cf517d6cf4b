//! Files that cannot be used, disks that are full, pages that are corrupt: a clear error at the call, and nothing acknowledged is lost.

use std::io::{Seek as _, SeekFrom, Write as _};

use actix_webhooks::store::{SqliteStore, StoreError};

use super::support::Life;

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let life = Life::new();
    drop(SqliteStore::open(life.file()).unwrap());
    let file = rusqlite::Connection::open(life.file()).unwrap();
    file.execute("UPDATE webhook_store SET version = 99", [])
        .unwrap();
    drop(file);
    let opened = SqliteStore::open(life.file());
    assert!(
        matches!(
            opened,
            Err(StoreError::NewerSchema {
                found: 99,
                known: 1
            })
        ),
        "{opened:?}"
    );
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let life = Life::new();
    let text = "this is not a database, whatever its name says. ".repeat(100);
    std::fs::write(life.file(), &text).unwrap();
    let opened = SqliteStore::open(life.file());
    assert!(matches!(opened, Err(StoreError::Damaged(_))), "{opened:?}");
    assert_eq!(std::fs::read_to_string(life.file()).unwrap(), text);
}

#[test]
fn a_folder_that_is_not_there_is_named_in_the_error() {
    let opened = SqliteStore::open("/nowhere/at/all/webhooks.db");
    let error = opened.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

#[test]
fn the_tables_of_the_application_are_left_alone() {
    let life = Life::new();
    let shop = rusqlite::Connection::open(life.file()).unwrap();
    shop.execute_batch("CREATE TABLE orders (number INTEGER); PRAGMA user_version = 7;")
        .unwrap();
    drop(SqliteStore::open(life.file()).unwrap());
    drop(SqliteStore::open(life.file()).unwrap());
    let version: i64 = shop
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 7);
}

#[test]
fn a_corrupt_page_is_an_error_at_the_call_that_meets_it() {
    let life = Life::new();
    drop(SqliteStore::open(life.file()).unwrap());
    let size = std::fs::metadata(life.file()).unwrap().len();
    let mut file = std::fs::File::options()
        .write(true)
        .open(life.file())
        .unwrap();
    // Everything but the first page, which says what the file is.
    file.seek(SeekFrom::Start(8_192)).unwrap();
    let garbage = vec![0xA5; usize::try_from(size - 8_192).unwrap()];
    file.write_all(&garbage).unwrap();
    drop(file);
    let opened = SqliteStore::open(life.file());
    assert!(matches!(opened, Err(StoreError::Damaged(_))), "{opened:?}");
}
