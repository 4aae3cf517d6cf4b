//! Every store keeps the one contract.

use actix_webhooks::store::MemoryStore;
use actix_webhooks::testing::store_conformance;

#[actix_rt::test]
async fn the_memory_store_keeps_the_contract() {
    store_conformance(async || MemoryStore::new()).await;
}
