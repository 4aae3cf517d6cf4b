//! Unusable files, full disks, corrupt pages: the call returns a clear error, and nothing
//! acknowledged is lost.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{SqliteStore, StoreError};
use actix_webhooks::testing::{Reply, SimClock};
use actix_webhooks::{
    DeadLetterReason, DeliveryId, ListAttempts, ListDeadLetters, ListDeliveries, PublishBatch,
    Redeliver, RemoveEndpoint, WebhookUrl,
};

use super::retention::new_event;
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
                known: 5
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
    // Moves the whole log into the file, whichever connection was closed last.
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
    // Overwrites everything but the beginning, which identifies the file.
    file.seek(SeekFrom::Start(8_192)).unwrap();
    let garbage = vec![0xA5; usize::try_from(size - 8_192).unwrap()];
    file.write_all(&garbage).unwrap();
    drop(file);
    let opened = SqliteStore::open(life.file());
    assert!(matches!(opened, Err(StoreError::Damaged(_))), "{opened:?}");
}

/// Of 999 good deliveries beside one damaged row, 427 went out. Then the endpoint stopped for good.
#[test]
fn a_row_that_cannot_be_read_is_set_aside_and_the_others_go_on() {
    const OF_ALERT: &str = "WHERE event_id = 'e-428'";
    let life = Life::new();
    let damages = [
        format!("UPDATE webhook_alert SET format = 'nonsense' {OF_ALERT}"),
        format!("UPDATE webhook_alert SET id = x'00' {OF_ALERT}"),
        format!("UPDATE webhook_alert SET body = 17 {OF_ALERT}"),
        format!("UPDATE webhook_alert SET rule_type = x'ff' {OF_ALERT}"),
        format!("DELETE FROM webhook_alert {OF_ALERT}"),
        "UPDATE webhook_open SET attempts_made = 'many' WHERE alert = 429".to_owned(),
        "UPDATE webhook_open SET attempts_made = -1, bytes = 'big' WHERE alert = 429".to_owned(),
        "UPDATE webhook_open SET accepted_at = 'now', window_ends_at = 'x' WHERE alert = 429"
            .to_owned(),
    ];
    for (round, damage) in damages.iter().enumerate() {
        let life = if round == 0 { &life } else { &Life::new() };
        life.receivers.on(HOOK, [Reply::hang()]);
        SimClock::run(async |clock| {
            let engine = life.start(&clock).await;
            let events = (0..1_000).map(|number| event(&format!("e-{number}")));
            let batch = engine
                .router()
                .send(PublishBatch::new(events.collect::<Vec<_>>()));
            assert!(batch.await.unwrap().iter().all(Result::is_ok));
            crash(engine).await;
            life.receivers.on(HOOK, [Reply::status(200)]);
            let file = rusqlite::Connection::open(life.file()).unwrap();
            assert_eq!(file.execute(damage, []).unwrap(), 1, "{damage}");

            let engine = life.start(&clock).await;
            clock.sleep(Duration::from_mins(1)).await;
            let shown = status(&engine).await;
            assert_eq!((shown.delivered, shown.queued), (999, 0), "{damage}");
            assert_eq!(shown.store_error, None, "{damage}");
            let letters = engine.supervisor().send(ListDeadLetters::default()).await;
            let letters = letters.unwrap().unwrap();
            assert_eq!(letters.len(), 1, "{damage}");
            assert_eq!(letters[0].reason, DeadLetterReason::Unreadable, "{damage}");
            assert_eq!(letters[0].url.as_str(), HOOK, "{damage}");
            let listed = engine.supervisor().send(ListDeliveries::default()).await;
            assert_eq!(listed.unwrap().unwrap().len(), 100, "{damage}");
            if round == 0 {
                let mend = format!("UPDATE webhook_alert SET format = 'alert' {OF_ALERT}");
                file.execute(&mend, []).unwrap();
                let again = Redeliver::one(letters[0].delivery_id);
                engine.supervisor().send(again).await.unwrap().unwrap();
                clock.sleep(Duration::from_secs(1)).await;
                assert_eq!(
                    status(&engine).await.delivered,
                    1_000,
                    "mended, it goes out"
                );
            }
            crash(engine).await;
        });
    }
}

#[actix_rt::test]
async fn what_the_store_sets_aside_is_told_once() {
    let life = Life::new();
    let store = SqliteStore::open(life.file()).unwrap();
    let events: Vec<_> = ["a", "b"].map(|id| new_event(id, 1, 10)).into();
    store.append(events.into()).await.unwrap();
    drop(store);
    let file = rusqlite::Connection::open(life.file()).unwrap();
    let damage = "UPDATE webhook_alert SET body = 17 WHERE event_id = 'b'";
    file.execute(damage, []).unwrap();
    let store = SqliteStore::open(life.file()).unwrap();
    let hook = WebhookUrl::parse(HOOK).unwrap();
    let open = store.queued(&hook, DeliveryId::new(0), 10).await.unwrap();
    assert_eq!(open.len(), 1);
    let told = store.take_given_up();
    let told: Vec<_> = told
        .iter()
        .map(|one| {
            (
                &one.url,
                one.delivery.id,
                one.delivery.event_id.as_str(),
                one.reason,
            )
        })
        .collect();
    assert_eq!(
        told,
        [(&hook, DeliveryId::new(2), "b", DeadLetterReason::Unreadable)]
    );
    assert_eq!(store.take_given_up(), []);
}

/// Related cases: a retry, the removal of an endpoint, and an operator's queries.
#[test]
fn a_damaged_row_hides_nothing_from_operators_and_stops_no_removal() {
    let life = Life::new();
    life.receivers.on(HOOK, [Reply::status(503)]);
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        for id in ["a", "b", "c"] {
            engine.publish(event(id)).await.unwrap();
        }
        clock.sleep(Duration::from_secs(5)).await;
        crash(engine).await;
        let file = rusqlite::Connection::open(life.file()).unwrap();
        let damage = "UPDATE webhook_open SET due_at = 'soon' WHERE id = 1; \
                      UPDATE webhook_attempt SET failure = 'none', status = 'bad' WHERE delivery = 2; \
                      UPDATE webhook_endpoint SET health = '{', held_until = 'long'; \
                      INSERT INTO webhook_endpoint (url) VALUES ('no url'); \
                      INSERT INTO webhook_open (endpoint, id, alert, accepted_at, bytes) SELECT id, 99, 1, 1, 1 \
                        FROM webhook_endpoint WHERE url = 'no url';";
        file.execute_batch(damage).unwrap();
        let engine = life.start(&clock).await;
        clock.sleep(Duration::from_secs(1)).await;
        let page = engine.supervisor().send(ListDeliveries::default()).await;
        assert_eq!(page.unwrap().unwrap().len(), 4);
        let attempts = engine
            .supervisor()
            .send(ListAttempts::new(DeliveryId::new(2)));
        assert_eq!(attempts.await.unwrap().unwrap(), []);
        let shown = status(&engine).await;
        assert_eq!((shown.queued, shown.store_error), (2, None));
        let damage = "UPDATE webhook_open SET accepted_at = 'then' WHERE id = 3";
        file.execute(damage, []).unwrap();
        let removed = engine.supervisor().send(RemoveEndpoint::new(HOOK)).await;
        assert_eq!(removed.unwrap().unwrap(), 2);
        let letters = engine.supervisor().send(ListDeadLetters::default()).await;
        let reasons: Vec<_> = letters
            .unwrap()
            .unwrap()
            .iter()
            .map(|one| one.reason)
            .collect();
        let removed = DeadLetterReason::EndpointRemoved;
        assert_eq!(reasons, [removed, removed, DeadLetterReason::Unreadable]);
        crash(engine).await;
    });
}

/// The files contain bodies and secrets.
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
