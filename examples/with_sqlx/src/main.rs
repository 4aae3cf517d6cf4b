//! An application that keeps its own tables with sqlx, beside an engine whose store is a file. Both
//! link the same SQLite.
//!
//! `cargo run --manifest-path examples/with_sqlx/Cargo.toml`

use std::time::Duration;

use actix_webhooks::store::SqliteStore;
use actix_webhooks::{Engine, Event};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("orders.db"))
        .create_if_missing(true);
    let mut orders = SqliteConnection::connect_with(&options).await?;
    sqlx::query("CREATE TABLE orders (number INTEGER PRIMARY KEY)")
        .execute(&mut orders)
        .await?;

    let store = SqliteStore::open(folder.path().join("webhooks.db"))?;
    let engine = Engine::builder().store(store).start().await?;
    sqlx::query("INSERT INTO orders (number) VALUES (?)")
        .bind(42)
        .execute(&mut orders)
        .await?;
    let receipt = engine
        .publish(Event::new("order.placed", "client-1").id("order-42"))
        .await?;
    println!("order 42 is stored, event {} too", receipt.event_id);
    engine.shutdown(Duration::from_secs(1)).await;
    orders.close().await?;
    Ok(())
}
