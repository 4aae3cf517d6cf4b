//! One event, one receiver, and the outcome: `cargo run --example hello`.

use std::io::{Read as _, Write as _};

use actix_webhooks::{AddressRange, Engine, Event, Rule};

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The customer's server takes one request and answers.
    let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/hooks", server.local_addr()?);
    std::thread::spawn(move || {
        let (mut stream, _) = server.accept()?;
        let read = stream.read(&mut [0; 4_096])?;
        println!("the receiver got {read} bytes");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    });

    let engine = Engine::builder()
        .allow_addresses(AddressRange::loopback()) // only public addresses are called otherwise
        .rule(Rule::new("invoices", "invoice.*").webhook(&url)?)
        .start()
        .await?;
    let mut reports = engine.watch_deliveries(10).await?;
    engine
        .publish(Event::new("invoice.paid", "client-1"))
        .await?;
    let report = reports.next().await.ok_or("the engine has stopped")?;
    println!("attempt {}: {:?}", report.attempt, report.outcome);
    engine.shutdown(std::time::Duration::from_secs(1)).await;
    Ok(())
}
