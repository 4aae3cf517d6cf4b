//! Files of earlier versions of the schema are opened, migrated to the newest version, and used.
//!
//! The fixtures are such files as SQL: one plain, and one sealed with a key of 32 bytes of 1. In
//! each, three events were published for a client with a token. They went to an endpoint that
//! accepted them, one that refused them for good, one that is busy (its retries wait; its rule has
//! a token of its own), one that is paused and one that is disabled. One more event is in the
//! outbox. `v4.sql` is the plain one as version 4 had left it after all of that was delivered.

use std::path::Path;
use std::time::Duration;

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{DeliveryQuery, Encryption, EncryptionKey, SqliteOptions, SqliteStore};
use actix_webhooks::testing::{Blocking, Reply, ScriptedTransport, SimClock};
use actix_webhooks::{
    AnswerTrace, ContentType, DeliveryId, EndpointState, Engine, Event, GetStatus, ListDeadLetters,
    ListRules, ResumeEndpoint,
};
use rusqlite::Connection;

use super::support::crash;

const PLAIN: &str = include_str!("../fixtures/files/v2.sql");
const SEALED: &str = include_str!("../fixtures/files/v2-sealed.sql");
const FOUR: &str = include_str!("../fixtures/files/v4.sql");

fn options(sealed: bool) -> SqliteOptions {
    SqliteOptions {
        encryption: sealed.then(|| Encryption::new(EncryptionKey::from_bytes([1; 32]))),
        ..SqliteOptions::default()
    }
}

fn write(path: &Path, sql: &str) {
    let file = Connection::open(path).unwrap();
    file.execute_batch(sql).unwrap();
}

#[test]
fn a_file_of_the_version_before_is_gone_on_with() {
    for (sql, sealed) in [(PLAIN, false), (SEALED, true)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("webhooks.db");
        write(&path, sql);
        let receivers = ScriptedTransport::new();
        receivers.decide(|request| {
            Reply::status(match request.url.as_str() {
                "http://gone.test/" => 400,
                _ => 200,
            })
        });
        SimClock::run(async |clock| {
            let store = SqliteStore::open_with(&path, options(sealed)).unwrap();
            let engine = Engine::builder()
                .simulated(&clock, 1)
                .store(Blocking(store))
                .transport(receivers.clone());
            let engine = engine.start().await.unwrap();
            clock.sleep(Duration::from_mins(3)).await;
            goes_on(&engine, &clock, &receivers).await;
            let again = Event::new("thing.happened", "client").id("e1");
            let again = engine.publish(again.company("company").data(serde_json::json!({"n": 1})));
            assert_eq!(again.await.unwrap().deliveries, 5, "its id is remembered");
            crash(engine).await;
        });
        let store = SqliteStore::open_with(&path, options(sealed)).unwrap();
        let all = store.deliveries(DeliveryQuery::default());
        let all = actix_rt::System::new().block_on(all).unwrap();
        assert_eq!(all.len(), 20, "four events to five endpoints");
    }
}

/// Version 4 kept no traces of answers.
#[test]
fn attempts_of_a_file_of_version_4_are_listed_and_later_ones_have_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("webhooks.db");
    write(&path, FOUR);
    let receivers = ScriptedTransport::new();
    let trace = AnswerTrace::new()
        .content_type(ContentType::parse(b"text/html"))
        .address("203.0.113.7:80".parse().ok());
    receivers.on(
        "http://gone.test/",
        [Reply::status(400).traced(trace.clone())],
    );
    SimClock::run(async |clock| {
        let store = SqliteStore::open(&path).unwrap();
        let engine = Engine::builder().simulated(&clock, 1);
        let engine = engine.store(Blocking(store)).transport(receivers.clone());
        let engine = engine.start().await.unwrap();
        let event = Event::new("thing.happened", "client").id("later");
        engine.publish(event).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        crash(engine).await;
    });
    let store = SqliteStore::open(&path).unwrap();
    let attempts = |id| {
        let attempts = store.attempts(DeliveryId::new(id));
        let attempts = actix_rt::System::new().block_on(attempts).unwrap();
        let traces = attempts.into_iter().map(|attempt| attempt.trace);
        traces.collect::<Vec<_>>()
    };
    let unknown = AnswerTrace::new();
    assert_eq!(
        attempts(1),
        vec![unknown.clone(); 3],
        "the one that was busy"
    );
    assert_eq!(attempts(3), vec![unknown; 1], "the dead letter");
    let later: Vec<_> = (21..26).flat_map(attempts).collect();
    assert_eq!(later.len(), 5);
    assert_eq!(later.iter().filter(|found| **found == trace).count(), 1);
}

async fn goes_on(engine: &Engine, clock: &SimClock, receivers: &ScriptedTransport) {
    let status = async |url: &str| {
        let status = engine.supervisor().send(GetStatus::new(url)).await;
        status.unwrap().unwrap()
    };
    let shown = |url: &str| -> Vec<String> {
        let sent = receivers.requests().into_iter();
        let sent = sent.filter(|sent| sent.request.url.as_str() == url);
        let shown = sent.map(|sent| sent.request.authorization.unwrap().expose().to_owned());
        shown.collect()
    };
    let rules = engine.router().send(ListRules).await.unwrap();
    assert_eq!(rules.len(), 5);
    assert_eq!(shown("http://busy.test/"), ["token of the rule"; 4]);
    assert_eq!(shown("http://ok.test/"), ["Bearer token of the client"]);
    let last = receivers.requests().pop().unwrap();
    assert_eq!(last.request.attempt, 3, "two failed before: at 0 and 15 s");
    let letters = engine.supervisor().send(ListDeadLetters::default()).await;
    assert_eq!(letters.unwrap().unwrap().len(), 4);
    let disabled = status("http://disabled.test/").await;
    assert!(matches!(disabled.state, EndpointState::Disabled { .. }));
    for (url, queued) in [("http://paused.test/", 4), ("http://disabled.test/", 4)] {
        let shown = status(url).await;
        assert_eq!(shown.queued, queued, "{url}");
        let unknown = shown.stopped.expect("it is stopped");
        assert_eq!((unknown.at, unknown.by, unknown.note), (None, None, None));
        let resume = engine.supervisor().send(ResumeEndpoint::new(url)).await;
        resume.unwrap().unwrap();
    }
    while status("http://disabled.test/").await.queued > 0 {
        clock.sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(shown("http://disabled.test/").len(), 4);
}
