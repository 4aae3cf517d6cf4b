//! Every store keeps the same contract.

use std::sync::Arc;

use actix_webhooks::store::{MemoryStore, SqliteStore};
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
