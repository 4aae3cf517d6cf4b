//! Files that cannot be used, disks that are full, pages that are corrupt: a clear error at the call, and nothing acknowledged is lost.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use actix_webhooks::store::{SqliteStore, StoreError};
use actix_webhooks::testing::{Reply, SimClock};
use actix_webhooks::{EngineBuilder, GetStatus, Rule};

use super::support::{HOOK, Life, crash, event, status};

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
                known: 3
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
    // Everything into the file, whichever connection was closed last.
    let connection = rusqlite::Connection::open(life.file()).unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(connection);
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

#[test]
fn a_row_that_cannot_be_read_holds_back_its_endpoint_and_no_other() {
    let life = Life::new();
    let other = "http://other.test/";
    let both =
        |builder: EngineBuilder| builder.rule(Rule::new("other", "*").webhook(other).unwrap());
    life.receivers.on(HOOK, [Reply::hang(), Reply::status(200)]);
    life.receivers
        .on(other, [Reply::hang(), Reply::status(200)]);
    SimClock::run(async |clock| {
        let engine = life.start_with(&clock, both).await;
        engine.publish(event("e")).await.unwrap();
        crash(engine).await;
        let file = rusqlite::Connection::open(life.file()).unwrap();
        let damage = "UPDATE webhook_alert SET format = 'nonsense' WHERE rule_id = 'rule'";
        assert_eq!(file.execute(damage, []).unwrap(), 1);

        let engine = life.start_with(&clock, both).await;
        clock.sleep(Duration::from_mins(1)).await;
        let supervisor = engine.supervisor();
        let well = supervisor
            .send(GetStatus::new(other))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((well.delivered, well.store_error), (1, None));
        let held = status(&engine).await;
        assert_eq!(held.delivered, 0);
        assert_eq!(held.queued, 1, "it is known that something is there");
        let error = held.store_error.unwrap();
        assert!(
            error.contains("damaged") && error.contains("nonsense"),
            "{error}"
        );
        let mend = "UPDATE webhook_alert SET format = 'alert' WHERE rule_id = 'rule'";
        file.execute(mend, []).unwrap();
        clock.sleep(Duration::from_mins(1)).await;
        let mended = status(&engine).await;
        assert_eq!((mended.delivered, mended.store_error), (1, None));
        crash(engine).await;
    });
}

/// Bodies and secrets are in it.
#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;

    let life = Life::new();
    let store = SqliteStore::open(life.file()).unwrap();
    for suffix in ["", "-wal", "-shm", "-lock"] {
        let path = format!("{}{suffix}", life.file().display());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{path}: {mode:o}");
    }
    drop(store);
}

#[test]
fn a_path_at_which_there_can_be_no_file_is_named_and_nothing_is_made_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [
        folder.path().join("missing").join("webhooks.db"),
        file.join("webhooks.db"),
        folder.path().to_owned(),
        PathBuf::new(),
        PathBuf::from(":memory:"),
    ] {
        let error = SqliteStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::BadPath { .. }), "{error:?}");
        assert!(!error.is_transient());
        assert!(error.to_string().contains(&*path.to_string_lossy()));
    }
    let made: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(made.len(), 1, "{made:?}");
}
