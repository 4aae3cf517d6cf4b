//! Secrets in the file: sealed with a key, sealed again with another, and never opened without a
//! key.

use std::time::Duration;

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{
    Change, Configuration, Encryption, EncryptionKey, SqliteOptions, SqliteStore, StoreError,
};
use actix_webhooks::testing::{Reply, SimClock};
use actix_webhooks::{Auth, Client, Endpoint, PutClient, PutEndpoint, PutRule, Rule};
use rusqlite::Connection;

use super::support::{HOOK, Life, crash, event};

const SECRET: &str = "open-sesame-4711";

fn key(byte: u8) -> EncryptionKey {
    EncryptionKey::from_bytes([byte; 32])
}

fn with(encryption: Encryption) -> SqliteOptions {
    SqliteOptions {
        encryption: Some(encryption),
        ..SqliteOptions::default()
    }
}

fn sealed_with(byte: u8) -> SqliteOptions {
    with(Encryption::new(key(byte)))
}

fn rule(id: &str) -> Rule {
    let rule = Rule::new(id, "*").webhook(HOOK).unwrap();
    rule.auth(Auth::bearer(SECRET))
}

fn client() -> Client {
    Client::new("client").auth(Auth::basic("user", SECRET))
}

fn endpoint() -> Endpoint {
    let endpoint = Endpoint::new(HOOK).unwrap().header("X-Team", SECRET);
    endpoint
        .secret_header("X-Key", SECRET)
        .auth(Auth::raw(SECRET))
}

/// Opens the file, stores changes, and closes it.
fn keep(life: &Life, options: SqliteOptions, changes: impl IntoIterator<Item = Change>) {
    let store = SqliteStore::open_with(life.file(), options).unwrap();
    actix_rt::System::new().block_on(async {
        let kept: Vec<_> = changes
            .into_iter()
            .map(|change| store.apply(change))
            .collect();
        for kept in kept {
            kept.await.unwrap();
        }
    });
}

fn everything() -> [Change; 3] {
    [
        Change::PutRule(rule("rule")),
        Change::PutClient(client()),
        Change::PutEndpoint(endpoint()),
    ]
}

fn configuration(life: &Life, options: SqliteOptions) -> Configuration {
    let store = SqliteStore::open_with(life.file(), options).unwrap();
    actix_rt::System::new()
        .block_on(store.configuration())
        .unwrap()
}

#[track_caller]
fn has_everything(life: &Life, options: SqliteOptions) {
    let found = configuration(life, options);
    assert_eq!(found.rules, [rule("rule")]);
    assert_eq!(found.clients, [client()]);
    assert_eq!(found.endpoints, [endpoint()]);
}

/// Returns the suffixes of the files that contain a text.
fn found_in(life: &Life, text: &str) -> Vec<&'static str> {
    let files = ["", "-wal", "-shm", "-lock", "-journal"];
    let holds = |suffix: &&str| {
        let bytes = std::fs::read(format!("{}{suffix}", life.file().display()));
        let bytes = bytes.unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    files.into_iter().filter(holds).collect()
}

#[track_caller]
fn refused(life: &Life, options: SqliteOptions) -> StoreError {
    // The rest of the log is moved into the file when the last connection is closed.
    let file = Connection::open(life.file()).unwrap();
    file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(file);
    let before = std::fs::read(life.file()).unwrap();
    let error = SqliteStore::open_with(life.file(), options).unwrap_err();
    let same = std::fs::read(life.file()).unwrap() == before;
    assert!(same, "the file was changed: {error}");
    assert!(!error.is_transient());
    error
}

#[test]
fn an_engine_with_a_key_writes_no_secret_and_has_all_of_them_again() {
    let life = Life::new();
    life.receivers.on(HOOK, [Reply::status(200)]);
    SimClock::run(async |clock| {
        let engine = life.start_on(sealed_with(1), &clock).await;
        let (router, supervisor) = (engine.router(), engine.supervisor());
        router
            .send(PutRule::new(rule("mine")))
            .await
            .unwrap()
            .unwrap();
        router
            .send(PutClient::new(client()))
            .await
            .unwrap()
            .unwrap();
        let put = PutEndpoint::new(endpoint());
        supervisor.send(put).await.unwrap().unwrap();
        assert_eq!(found_in(&life, SECRET), Vec::<&str>::new());
        assert_eq!(found_in(&life, "mine"), ["-wal"], "ids are not sealed");
        crash(engine).await;
        assert_eq!(found_in(&life, SECRET), Vec::<&str>::new());

        let engine = life.start_on(sealed_with(1), &clock).await;
        engine.publish(event("e")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        let sent = life.receivers.requests();
        let mut headers: Vec<String> = sent
            .iter()
            .map(|sent| sent.request.authorization.clone().unwrap().expose().into())
            .collect();
        headers.sort();
        let basic = client().auth.unwrap().header_value().unwrap();
        assert_eq!(headers, [basic.expose(), &format!("Bearer {SECRET}")]);
        crash(engine).await;
    });
}

/// Rules were replaced and removed while the file was plain. Secrets are therefore left in free
/// pages, and in pages that now hold other rows.
#[test]
fn nothing_plain_is_left_when_a_plain_store_is_sealed() {
    let life = Life::new();
    let shop = Connection::open(life.file()).unwrap();
    shop.execute_batch("CREATE TABLE orders (number INTEGER PRIMARY KEY, what TEXT)")
        .unwrap();
    let many = |range: std::ops::Range<u32>| range.map(|number| format!("rule-{number}"));
    let put = |id: String| Change::PutRule(rule(&id));
    keep(&life, SqliteOptions::default(), many(0..500).map(put));
    let remove = |id: String| Change::RemoveRule(id.as_str().into());
    keep(&life, SqliteOptions::default(), many(0..400).map(remove));
    shop.execute_batch(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 50)
         INSERT INTO orders SELECT x, hex(randomblob(100)) FROM n",
    )
    .unwrap();
    keep(&life, SqliteOptions::default(), everything());
    assert!(!found_in(&life, SECRET).is_empty());

    let store = SqliteStore::open_with(life.file(), sealed_with(1)).unwrap();
    assert_eq!(found_in(&life, SECRET), Vec::<&str>::new());
    drop(store);
    assert_eq!(found_in(&life, SECRET), Vec::<&str>::new());
    drop(shop);
    assert_eq!(found_in(&life, SECRET), Vec::<&str>::new());
    let found = configuration(&life, sealed_with(1));
    assert_eq!(found.rules.len(), 101);
    assert!(found.rules.iter().all(|found| found.auth == rule("r").auth));
    let shop = Connection::open(life.file()).unwrap();
    let orders: i64 = shop
        .query_row("SELECT COUNT(*) FROM orders", [], |row| row.get(0))
        .unwrap();
    assert_eq!(orders, 50, "the application's rows are left alone");
}

#[test]
fn cleaning_that_was_broken_off_is_done_at_the_next_opening() {
    let life = Life::new();
    keep(&life, sealed_with(1), everything());
    let file = Connection::open(life.file()).unwrap();
    file.execute_batch(&format!(
        "CREATE TABLE left (text TEXT);
         INSERT INTO left VALUES ('{SECRET}');
         DROP TABLE left;
         INSERT INTO webhook_sealed VALUES ('unclean', 'plain text may be left');"
    ))
    .unwrap();
    drop(file);
    assert_eq!(found_in(&life, SECRET), [""]);
    has_everything(&life, sealed_with(1));
    assert_eq!(found_in(&life, SECRET), Vec::<&str>::new());
    let file = Connection::open(life.file()).unwrap();
    let sql = "SELECT COUNT(*) FROM webhook_sealed WHERE id = 'unclean'";
    let notes: i64 = file.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(notes, 0, "it is not cleaned every time");
}

#[test]
fn a_key_is_changed_by_reading_the_old_one_once() {
    let life = Life::new();
    keep(&life, sealed_with(1), everything());
    has_everything(&life, with(Encryption::new(key(2)).also_reads(key(1))));
    has_everything(&life, sealed_with(2));
    let old = refused(&life, sealed_with(1));
    let StoreError::Sealed(id) = &old else {
        panic!("{old:?}");
    };
    assert_eq!(*id, key(2).id());
}

#[test]
fn a_sealed_store_is_not_opened_without_its_key_and_left_as_it_is() {
    for changes in [everything().to_vec(), Vec::new()] {
        let life = Life::new();
        keep(&life, sealed_with(1), changes);
        for options in [SqliteOptions::default(), sealed_with(2)] {
            let error = refused(&life, options);
            let text = error.to_string();
            assert!(matches!(error, StoreError::Sealed(_)), "{error:?}");
            assert!(
                text.contains(&key(1).id()) && text.contains("SqliteOptions::encryption"),
                "{text}"
            );
        }
    }
}

/// The row of a lost key is among others that could be sealed again.
#[test]
fn a_row_that_no_key_opens_stops_everything_else() {
    let life = Life::new();
    keep(&life, sealed_with(1), [Change::PutRule(rule("b"))]);
    let file = Connection::open(life.file()).unwrap();
    file.execute_batch("CREATE TABLE saved AS SELECT * FROM webhook_rule")
        .unwrap();
    let both = Encryption::new(key(2)).also_reads(key(1));
    assert_eq!(configuration(&life, with(both)).rules, [rule("b")]);
    let more = [Change::PutRule(rule("a")), Change::PutRule(rule("c"))];
    keep(&life, sealed_with(2), more);
    file.execute_batch("INSERT OR REPLACE INTO webhook_rule SELECT * FROM saved")
        .unwrap();
    drop(file);
    let error = refused(&life, with(Encryption::new(key(3)).also_reads(key(2))));
    assert!(
        matches!(&error, StoreError::Sealed(id) if *id == key(1).id()),
        "{error:?}"
    );
    let all = Encryption::new(key(3))
        .also_reads(key(2))
        .also_reads(key(1));
    let error = refused(&life, with(all.clone()));
    assert!(
        matches!(error, StoreError::Damaged(_)),
        "an older row: {error}"
    );
    let found = configuration(&life, with(all.takes_as_found()));
    assert_eq!(found.rules.len(), 3);
}

#[test]
fn a_row_that_was_changed_or_moved_is_damaged() {
    for damage in [
        "UPDATE webhook_rule SET json = substr(json, 1, length(json) - 1)",
        "UPDATE webhook_rule SET json = zeroblob(80)",
        "UPDATE webhook_rule SET json = x''",
        "UPDATE webhook_rule SET json = (SELECT json FROM webhook_client)",
        "UPDATE webhook_rule SET id = 'another'",
    ] {
        let life = Life::new();
        keep(&life, sealed_with(1), everything());
        let file = Connection::open(life.file()).unwrap();
        file.execute_batch(damage).unwrap();
        drop(file);
        let error = refused(&life, sealed_with(1));
        assert!(
            matches!(error, StoreError::Damaged(_)),
            "{damage}: {error:?}"
        );
    }
}

#[test]
fn a_plain_row_that_cannot_be_read_is_not_shown() {
    let life = Life::new();
    keep(&life, SqliteOptions::default(), everything());
    let file = Connection::open(life.file()).unwrap();
    let damage = format!("UPDATE webhook_rule SET json = '{{\"auth\": \"{SECRET}\"}}'");
    file.execute_batch(&damage).unwrap();
    drop(file);
    let store = SqliteStore::open(life.file()).unwrap();
    let read = actix_rt::System::new().block_on(store.configuration());
    let shown = format!("{:?}", read.unwrap_err());
    assert!(
        shown.contains("webhook_rule") && shown.contains("line 1"),
        "{shown}"
    );
    assert!(!shown.contains(SECRET), "{shown}");
}

/// Anyone able to write to the file, but without a key, must not cause requests in our name.
#[test]
fn a_plain_row_in_a_file_that_was_sealed_is_refused() {
    let life = Life::new();
    keep(&life, sealed_with(1), everything());
    let file = Connection::open(life.file()).unwrap();
    let planted = serde_json::to_string(&Rule::new("planted", "*").webhook(HOOK).unwrap()).unwrap();
    let sql = "INSERT INTO webhook_rule VALUES ('planted', ?1)";
    file.execute(sql, [planted]).unwrap();
    drop(file);
    let error = refused(&life, sealed_with(1));
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    let file = Connection::open(life.file()).unwrap();
    file.execute("DELETE FROM webhook_rule WHERE id = 'planted'", [])
        .unwrap();
    drop(file);
    has_everything(&life, sealed_with(1));
}

/// Changes the file like someone who can write to it but has no key.
fn tamper(life: &Life, sql: &str) {
    let file = Connection::open(life.file()).unwrap();
    file.execute_batch(sql).unwrap();
}

#[track_caller]
fn is_noticed(life: &Life, options: SqliteOptions, why: &str) {
    let error = refused(life, options);
    let StoreError::Damaged(cause) = &error else {
        panic!("{error:?}");
    };
    assert!(cause.to_string().contains(why), "{cause}");
}

/// A token was revoked. Someone restored the older sealed row, and the token was used again.
#[test]
fn an_older_row_that_is_put_back_is_noticed() {
    let life = Life::new();
    keep(&life, sealed_with(1), everything());
    let saved = "CREATE TABLE saved AS SELECT * FROM";
    let tables = ["webhook_rule", "webhook_client", "webhook_setting"];
    for (number, table) in tables.into_iter().enumerate() {
        let life = Life::new();
        keep(&life, sealed_with(1), everything());
        tamper(&life, &format!("{saved} {table}"));
        let changed = [
            Change::PutRule(rule("rule").auth(Auth::bearer("new"))),
            Change::PutClient(client().auth(Auth::bearer("new"))),
            Change::PutEndpoint(endpoint().auth(Auth::bearer("new"))),
        ];
        keep(&life, sealed_with(1), [changed[number].clone()]);
        configuration(&life, sealed_with(1));
        tamper(
            &life,
            &format!("INSERT OR REPLACE INTO {table} SELECT * FROM saved"),
        );
        is_noticed(&life, sealed_with(1), "replaced by an older copy");
        has_everything(&life, with(Encryption::new(key(1)).takes_as_found()));
        has_everything(&life, sealed_with(1));
    }
}

#[test]
fn a_row_that_is_removed_or_added_is_noticed() {
    for sql in [
        "DELETE FROM webhook_setting",
        "DELETE FROM webhook_rule; DELETE FROM webhook_client; DELETE FROM webhook_setting",
        "DELETE FROM webhook_sealed WHERE id = 'manifest'",
    ] {
        let life = Life::new();
        keep(&life, sealed_with(1), everything());
        tamper(&life, sql);
        is_noticed(&life, sealed_with(1), "not those last sealed");
    }
    let life = Life::new();
    keep(&life, sealed_with(1), everything());
    tamper(&life, "CREATE TABLE saved AS SELECT * FROM webhook_rule");
    keep(&life, sealed_with(1), [Change::RemoveRule("rule".into())]);
    tamper(&life, "INSERT INTO webhook_rule SELECT * FROM saved");
    is_noticed(&life, sealed_with(1), "not those last sealed");
}

/// Someone dropped the note that the file is sealed and added plain rules, which were then sealed
/// like all others.
#[test]
fn a_file_without_the_note_that_it_is_sealed_is_not_taken_for_a_new_one() {
    let planted = serde_json::to_string(&Rule::new("planted", "*").webhook(HOOK).unwrap()).unwrap();
    let plant = format!(
        "DROP TABLE webhook_sealed; INSERT INTO webhook_rule VALUES ('planted', '{planted}');"
    );
    let life = Life::new();
    keep(&life, sealed_with(1), everything());
    tamper(&life, &plant);
    is_noticed(&life, sealed_with(1), "table webhook_sealed was removed");

    // With no sealed row left, the file looks like one that was never sealed. An application that
    // knows better can set `only_sealed`.
    let life = Life::new();
    keep(&life, sealed_with(1), [Change::PutRule(rule("rule"))]);
    tamper(&life, &format!("DELETE FROM webhook_rule; {plant}"));
    let only_sealed = with(Encryption::new(key(1)).only_sealed());
    is_noticed(&life, only_sealed.clone(), "never sealed");
    let life = Life::new();
    keep(&life, only_sealed.clone(), everything());
    has_everything(&life, only_sealed);
}

/// Someone added an open delivery of a sealed rule to a URL of their own, and was sent the rule's
/// token at the next start.
#[test]
fn a_delivery_that_somebody_added_is_shown_no_secret() {
    const EVIL: &str = "http://evil.test/";
    let life = Life::new();
    life.receivers.on(HOOK, [Reply::status(503)]);
    life.receivers.on(EVIL, [Reply::status(200)]);
    SimClock::run(async |clock| {
        let engine = life.start_on(sealed_with(1), &clock).await;
        let (router, supervisor) = (engine.router(), engine.supervisor());
        router
            .send(PutRule::new(rule("mine")))
            .await
            .unwrap()
            .unwrap();
        router
            .send(PutClient::new(client()))
            .await
            .unwrap()
            .unwrap();
        let put = PutEndpoint::new(endpoint());
        supervisor.send(put).await.unwrap().unwrap();
        engine.publish(event("e")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        crash(engine).await;
        tamper(
            &life,
            &format!(
                "INSERT INTO webhook_endpoint (id, url) VALUES (99, '{EVIL}');
                 INSERT INTO webhook_open (endpoint, id, alert, accepted_at, bytes)
                 SELECT 99, 100 + id, alert, accepted_at, bytes FROM webhook_open;
                 UPDATE webhook_store SET last_delivery = 1000;"
            ),
        );
        let engine = life.start_on(sealed_with(1), &clock).await;
        clock.sleep(Duration::from_secs(20)).await;
        let sent = life.receivers.requests();
        let to = |url: &str| -> Vec<_> {
            let to_url = |sent: &&_| -> bool {
                let sent: &actix_webhooks::testing::SentRequest = sent;
                sent.request.url.as_str() == url
            };
            sent.iter().filter(to_url).collect()
        };
        assert_eq!(to(EVIL).len(), 2, "one for each rule");
        for planted in to(EVIL) {
            assert_eq!(planted.request.authorization, None);
            assert_eq!(planted.headers, Vec::<String>::new());
        }
        let real = to(HOOK);
        assert!(real.len() > 2 && real.iter().all(|sent| sent.request.authorization.is_some()));
        crash(engine).await;
    });
}
