//! One file has one engine, by any name of the file, and only while the file stays in its place.

use std::path::Path;
use std::time::Duration;

use actix_webhooks::store::{MemoryStore, SqliteStore, StoreError};
use actix_webhooks::testing::{Blocking, Faults, FaultyStore, Reply, SimClock};
use actix_webhooks::{BuildError, Engine, PublishError, Rule};

use super::support::{HOOK, Life, crash, event, status};

fn in_use(path: impl AsRef<Path>) -> bool {
    matches!(SqliteStore::open(path), Err(StoreError::InUse(_)))
}

/// Two engines delivered everything twice: one had opened the file, the other a link to it.
#[cfg(unix)]
#[test]
fn a_file_is_open_once_by_whatever_name() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let store = SqliteStore::open(at("w.db")).unwrap();
    symlink(at("w.db"), at("absolute.db")).unwrap();
    symlink("absolute.db", at("second.db")).unwrap();
    symlink(folder.path(), at("folder")).unwrap();
    std::fs::hard_link(at("w.db"), at("hard.db")).unwrap();
    let names = [
        "w.db",
        "absolute.db",
        "second.db",
        "folder/w.db",
        "./w.db",
        "hard.db",
    ];
    for name in names {
        assert!(in_use(at(name)), "{name}");
    }
    drop(store);
    for name in names {
        let opened = SqliteStore::open(at(name));
        drop(opened.unwrap_or_else(|error| panic!("{name}: {error}")));
    }
}

#[cfg(unix)]
#[test]
fn a_link_to_a_file_that_is_yet_to_be_made_leads_to_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("w.db", at("link.db")).unwrap();
    let store = SqliteStore::open(at("link.db")).unwrap();
    assert!(in_use(at("w.db")) && at("w.db-wal").exists());
    drop(store);
    std::os::unix::fs::symlink("b.db", at("a.db")).unwrap();
    std::os::unix::fs::symlink("a.db", at("b.db")).unwrap();
    let circle = SqliteStore::open(at("a.db"));
    assert!(circle.is_err(), "{circle:?}");
}

/// The path `file:w.db` was opened as a URI. It meant `w.db`, but had a different lock.
#[test]
fn a_path_is_no_uri() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let first = SqliteStore::open(at("w.db")).unwrap();
    let other = SqliteStore::open(at("file:w.db")).unwrap();
    drop(SqliteStore::open(at("w.db?mode=memory")).unwrap());
    drop((first, other));
    for name in ["w.db", "file:w.db", "w.db?mode=memory"] {
        assert!(at(name).exists(), "{name}");
    }
    // Only a relative path can look like a URI.
    let name = format!("{}.db", fastrand::u64(..));
    let uri = format!("file:{name}");
    drop(SqliteStore::open(&uri).unwrap());
    let made = (Path::new(&uri).exists(), Path::new(&name).exists());
    for left in [&uri, &name] {
        for suffix in ["", "-wal", "-shm", "-lock"] {
            let _ = std::fs::remove_file(format!("{left}{suffix}"));
        }
    }
    assert_eq!(made, (true, false));
}

fn builder(life: &Life, clock: &SimClock) -> actix_webhooks::EngineBuilder {
    Engine::builder()
        .simulated(clock, 1)
        .transport(life.receivers.clone())
        .rule(Rule::new("rule", "*").webhook(HOOK).unwrap())
}

#[test]
fn a_store_has_one_engine_at_a_time_though_its_handles_are_cloned() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let store = SqliteStore::open(life.file()).unwrap();
        let start = async || {
            let builder = builder(&life, &clock).store(Blocking(store.clone()));
            builder.start().await
        };
        let first = start().await.unwrap();
        let second = start().await;
        assert!(
            matches!(&second, Err(BuildError::Store(StoreError::InUse(_)))),
            "{second:?}"
        );
        first.publish(event("e")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(life.receivers.requests().len(), 1, "delivered once");
        crash(first).await;
        crash(start().await.unwrap()).await;
    });
}

#[test]
fn a_store_in_memory_has_one_engine_at_a_time_too() {
    let life = Life::new();
    let well = Faults {
        failing: 0.0,
        failing_after: 0.0,
        delay: Duration::ZERO,
    };
    let store = FaultyStore::new(MemoryStore::new(), well, 1);
    SimClock::run(async |clock| {
        let first = builder(&life, &clock).store(store.clone()).start().await;
        let second = builder(&life, &clock).store(store.clone()).start().await;
        assert!(
            matches!(&second, Err(BuildError::Store(StoreError::InUse(_)))),
            "{second:?}"
        );
        crash(first.unwrap()).await;
        let third = builder(&life, &clock).store(store.clone()).start().await;
        crash(third.unwrap()).await;
    });
}

/// An engine that could not be started must release the store for the next one.
#[test]
fn an_engine_that_did_not_start_holds_nothing() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let store = SqliteStore::open(life.file()).unwrap();
        let wrong = Rule::new("wrong", "*").webhook("ftp://a.test/");
        assert!(wrong.is_err());
        let guarded = Engine::builder()
            .simulated(&clock, 1)
            .store(Blocking(store.clone()))
            .rule(Rule::new("r", "*").webhook("http://127.0.0.1/").unwrap());
        assert!(guarded.start().await.is_err(), "the address is not public");
        let builder = builder(&life, &clock).store(Blocking(store.clone()));
        crash(builder.start().await.unwrap()).await;
    });
}

/// Events were acknowledged, no status reported an error, and at the next start the events were
/// gone.
#[cfg(unix)]
#[test]
fn a_file_that_is_removed_or_replaced_acknowledges_nothing_more() {
    let life = Life::new();
    let (file, aside) = (life.file(), life.file().with_extension("aside"));
    let log = life.file().with_extension("db-wal");
    life.receivers.on(HOOK, [Reply::status(200)]);
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        engine.publish(event("before")).await.unwrap();
        clock.sleep(Duration::from_mins(1)).await;
        assert_eq!(status(&engine).await.store_error, None);
        for (path, replaced) in [(&file, false), (&file, true), (&log, false)] {
            std::fs::rename(path, &aside).unwrap();
            if replaced {
                std::fs::copy(&aside, path).unwrap();
            }
            for number in 0..3 {
                let refused = engine.publish(event(&format!("refused-{number}"))).await;
                let Err(PublishError::Store(error @ StoreError::Replaced(_))) = refused else {
                    panic!("it is not stored: {refused:?}");
                };
                assert!(error.to_string().contains("put it back"), "{error}");
                // The endpoint's subscriber has retired, and the next one cannot read the file.
                let shown = status(&engine).await.store_error.expect("it is told");
                assert!(shown.contains("removed or replaced"), "{shown}");
            }
            std::fs::rename(&aside, path).unwrap();
            clock.sleep(Duration::from_secs(5)).await;
            engine.publish(event("after")).await.unwrap();
            clock.sleep(Duration::from_secs(5)).await;
            assert_eq!(status(&engine).await.store_error, None, "it is back");
        }
        crash(engine).await;
    });
}
