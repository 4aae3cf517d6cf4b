//! An order and its event commit or roll back together, in the application's own transaction.
//!
//! `cargo run --example transactional_outbox` places five orders, two of which fail half-way. The
//! exit status is 0 only if exactly the three placed orders were delivered.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use actix_webhooks::store::SqliteStore;
use actix_webhooks::{AddressRange, Engine, Event, Rule};
use rusqlite::{Connection, TransactionBehavior};
use serde_json::json;

/// Writes an order and its event. A later failure rolls both back.
fn place_order(
    shop: &mut Connection,
    number: u32,
    in_stock: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let order = shop.transaction_with_behavior(TransactionBehavior::Immediate)?;
    order.execute("INSERT INTO orders (number) VALUES (?1)", [number])?;
    let event = Event::new("order.placed", "client-1").data(json!({ "number": number }));
    SqliteStore::publish_in(&order, &event)?;
    if !in_stock {
        // Dropping the transaction rolls it back.
        return Err("not in stock".into());
    }
    order.commit()?;
    Ok(())
}

#[actix_web::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    env_logger::init();
    let told = Arc::<Mutex<Vec<u64>>>::default();
    let url = start_receiver(Arc::clone(&told))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("shop.db");

    // The same file: the store keeps its tables beside the shop's.
    let engine = Engine::builder()
        // For receivers on this machine: by default only public addresses are called.
        .allow_addresses(AddressRange::loopback())
        .store(SqliteStore::open(&file)?)
        .rule(Rule::new("orders", "order.*").webhook(&url)?)
        .start()
        .await?;
    let mut shop = Connection::open(&file)?;
    shop.execute("CREATE TABLE orders (number INTEGER)", [])?;

    for (number, in_stock) in [(1, true), (2, false), (3, true), (4, false), (5, true)] {
        match place_order(&mut shop, number, in_stock) {
            // Without the notice the engine finds the event within a second.
            Ok(()) => engine.notify_outbox(),
            Err(error) => println!("order {number}: {error}; neither order nor event remains"),
        }
    }

    let deadline = Duration::from_secs(5);
    #[expect(
        clippy::disallowed_methods,
        reason = "an example that waits for its own receiver"
    )]
    let all_told = async {
        while told.lock().is_ok_and(|told| told.len() < 3) {
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = actix_rt::time::timeout(deadline, all_told).await.is_ok();
    let report = engine.shutdown(Duration::from_secs(1)).await;

    let mut told = told.lock().map_err(|_| "the receiver panicked")?.clone();
    told.sort_unstable();
    let placed: Vec<u64> = shop
        .prepare("SELECT number FROM orders ORDER BY number")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    println!(
        "orders in the shop: {placed:?}; orders the customer was told of: {told:?}; pending: {}",
        report.pending
    );
    Ok(if in_time && told == placed && placed == [1, 3, 5] {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Starts a customer's receiver, which notes the order numbers it receives.
fn start_receiver(told: Arc<Mutex<Vec<u64>>>) -> std::io::Result<String> {
    let told = web::Data::from(told);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(told.clone())
            .default_service(web::post().to(receive))
    })
    .workers(1)
    .bind(("127.0.0.1", 0))?;
    let url = format!("http://{}/orders", server.addrs()[0]);
    actix_rt::spawn(server.run());
    Ok(url)
}

async fn receive(
    alert: web::Json<serde_json::Value>,
    told: web::Data<Mutex<Vec<u64>>>,
) -> HttpResponse {
    let number = alert["Data"]["number"].as_u64();
    if let (Some(number), Ok(mut told)) = (number, told.lock()) {
        told.push(number);
    }
    HttpResponse::Ok().finish()
}
