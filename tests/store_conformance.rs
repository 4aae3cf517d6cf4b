//! Every store keeps the same contract.

use std::sync::Arc;

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{Agreed, Alert, MemoryStore, NewAlert, NewEvent, SqliteStore};
use actix_webhooks::testing::store_conformance;

#[actix_rt::test]
async fn the_memory_store_keeps_the_contract() {
    Box::pin(store_conformance(async || MemoryStore::new())).await;
}

/// The contract also holds for a store that the application shares, and so for every store that
/// forwards calls.
#[actix_rt::test]
async fn a_shared_store_keeps_the_contract() {
    Box::pin(store_conformance(async || Arc::new(MemoryStore::new()))).await;
}

#[actix_rt::test]
async fn the_sqlite_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    Box::pin(store_conformance(async || {
        let file = folder.path().join(format!("{}.db", fastrand::u64(..)));
        SqliteStore::open(file).unwrap()
    }))
    .await;
}

/// A store may leave out what was agreed on with a receiver. These do not.
async fn keeps_what_was_agreed_on(store: &impl Store) {
    let url = actix_webhooks::WebhookUrl::parse("http://a.test/").unwrap();
    let at = actix_webhooks::Timestamp::from_unix_millis(1_000);
    let alert = Alert::new("e".into(), "r".into(), "t", "c".into(), "{}".into());
    let alerts = vec![NewAlert::new(alert, [url.clone()])];
    let event = NewEvent::new("e".into(), "c".into(), at, alerts);
    store.append(Arc::new([event])).await.unwrap();
    let agreed: Agreed =
        serde_json::from_str(r#"{"lastTurn":"1970-01-01T00:00:07.000Z"}"#).unwrap();
    store.agree(&url, agreed.clone()).await.unwrap();
    assert_eq!(store.endpoint_summary(&url).await.unwrap().agreed, agreed);
}

#[actix_rt::test]
async fn both_stores_keep_what_was_agreed_on() {
    keeps_what_was_agreed_on(&MemoryStore::new()).await;
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("agreed.db")).unwrap();
    keeps_what_was_agreed_on(&store).await;
}
