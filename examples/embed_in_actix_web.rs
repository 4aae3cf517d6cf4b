//! An actix-web service that publishes from a handler and shows the status of its endpoints. It
//! shuts down cleanly on Ctrl-C and on a termination signal: attempts in flight finish first.
//!
//! ```text
//! cargo run --example embed_in_actix_web -- http://127.0.0.1:9000/hooks webhooks.db
//! curl -X POST http://127.0.0.1:8080/invoices/42/pay
//! curl http://127.0.0.1:8080/webhooks
//! ```

use std::time::Duration;

use actix_web::rt::signal;
use actix_web::{App, HttpResponse, HttpServer, Responder, get, post, web};
use actix_webhooks::store::SqliteStore;
use actix_webhooks::{AddressRange, Client, Engine, Event, ListStatus, PublishError, Rule};
use serde_json::json;

/// Pays an invoice and notifies the webhooks of matching rules. A receipt means that the event is
/// in the store.
#[post("/invoices/{number}/pay")]
async fn pay(number: web::Path<u32>, engine: web::Data<Engine>) -> impl Responder {
    let event = Event::new("invoice.paid", "client-1")
        .message("An invoice was paid")
        .data(json!({ "number": *number }));
    match engine.publish(event).await {
        Ok(receipt) => HttpResponse::Accepted().json(receipt),
        // The caller may try again later, with the same event id to avoid a second alert.
        Err(
            error @ (PublishError::Overloaded(_)
            | PublishError::Store(_)
            | PublishError::ShuttingDown),
        ) => HttpResponse::ServiceUnavailable().body(error.to_string()),
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}

/// Shows the status of every endpoint.
#[get("/webhooks")]
async fn webhooks(query: web::Query<ListStatus>, engine: web::Data<Engine>) -> impl Responder {
    match engine.endpoints(query.into_inner()).await {
        Ok(page) => HttpResponse::Ok().json(page),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

/// Returns on Ctrl-C and on a termination signal.
async fn asked_to_end() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    signal::ctrl_c().await
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();
    let webhook = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "http://127.0.0.1:9000/hooks".to_owned());
    let file = std::env::args()
        .nth(2)
        .unwrap_or_else(|| "webhooks.db".to_owned());
    let engine = Engine::builder()
        // For receivers on this machine: by default only public addresses are called.
        .allow_addresses(AddressRange::loopback())
        .store(SqliteStore::open(&file)?)
        .client(Client::new("client-1").name("Bank of Dave"))
        .rule(Rule::new("invoices", "invoice.*").webhook(&webhook)?)
        .start()
        .await?;

    let data = web::Data::new(engine.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .service(pay)
            .service(webhooks)
    })
    .workers(2)
    // With its own signal handler the server would stop the actix system, and the engine's threads
    // with it, before the engine is shut down.
    .disable_signals()
    .bind(("127.0.0.1", 8080))?
    .run();
    println!("listening on http://127.0.0.1:8080, sending to {webhook}, events live in {file}");
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    asked_to_end().await?;
    // The requests under way are answered before the engine stops taking events.
    handle.stop(true).await;
    serving.await??;

    let report = engine.shutdown(Duration::from_secs(10)).await;
    println!(
        "delivered {} while shutting down, {} pending, {} broken off",
        report.delivered, report.pending, report.aborted
    );
    Ok(())
}
