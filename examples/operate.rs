//! An actix-web service with the API for operators, and three receivers on this machine. One of
//! them fails. Find out why its customer got nothing:
//!
//! ```text
//! cargo run --example operate --features web
//!
//! api=http://127.0.0.1:8080/webhooks/api/v1
//! alice="Authorization: Bearer not-for-production-5f1dbb2f6a2e"
//!
//! # Pay an invoice of each customer. The receipt names the rules that matched.
//! for client in acme bolt cat; do
//!   curl -s -H "$alice" -H 'Content-Type: application/json' $api/events \
//!     -d "{\"ruleType\":\"invoice.paid\",\"clientId\":\"$client\",\"data\":{\"number\":42}}"; echo
//! done
//!
//! # Bolt says that nothing arrived. Why?
//! curl -s -H "$alice" -H 'Accept: text/plain' "$api/why?client=bolt&since=15m"
//! # What became of its deliveries? (`reason` tells.)
//! curl -s -H "$alice" "$api/deliveries?client=bolt&since=15m"
//! # What did each attempt get? (The id is that of the delivery above.)
//! curl -s -H "$alice" $api/deliveries/2
//! # Is it only this delivery, or is the endpoint in trouble? Are others?
//! curl -s -H "$alice" "$api/overview"
//! # …and as it changes, until Ctrl-C:
//! curl -sN -H "$alice" "$api/live?topics=overview,attempts"
//! # What would be called how? Secrets are named, never shown.
//! curl -s -H "$alice" $api/endpoints/<id of the endpoint>
//! # Once the receiver is repaired: deliver it again.
//! curl -s -H "$alice" -H 'Content-Type: application/json' $api/deliveries/2/redeliver -d '{}'
//!
//! # No rule matches this type: the receipt says `"deliveries":0,"rules":[]`. Why?
//! curl -s -H "$alice" -H 'Content-Type: application/json' $api/events \
//!   -d '{"id":"order-1","ruleType":"order.paid","clientId":"acme"}'; echo
//! curl -s -H "$alice" "$api/why?event=order-1"
//! # Everything else that the API can do, for people and for programs:
//! curl -s -H "$alice" $api/openapi.json
//! ```

use std::time::Duration;

use actix_web::rt::signal;
use actix_web::web::{Data, post};
use actix_web::{App, HttpResponse, HttpServer};
use actix_webhooks::web::{self, Access, Capability, Token};
use actix_webhooks::{AddressRange, Client, Endpoint, Engine, Rule};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Starts a receiver that answers every call with `status`.
fn receiver(port: u16, status: u16, says: &'static str) -> std::io::Result<()> {
    let server = HttpServer::new(move || {
        let answer = move |status: Data<u16>| async move {
            let status = actix_web::http::StatusCode::from_u16(**status).unwrap();
            HttpResponse::build(status).body(says)
        };
        App::new()
            .app_data(Data::new(status))
            .route("/hooks", post().to(answer))
    });
    let server = server
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", port))?;
    actix_web::rt::spawn(server.run());
    Ok(())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();
    let receivers = [
        ("acme", 9001, 204, ""),
        ("bolt", 9002, 500, "table orders is locked"),
        ("cat", 9003, 200, "thank you"),
    ];
    let mut engine = Engine::builder()
        // For receivers on this machine: by default only public addresses are called.
        .allow_addresses(AddressRange::loopback());
    for (client, port, status, says) in receivers {
        receiver(port, status, says)?;
        let url = format!("http://127.0.0.1:{port}/hooks");
        engine = engine
            .client(Client::new(client))
            .endpoint(Endpoint::new(&url)?.client(client).secret(SECRET)?)
            .rule(
                Rule::new(format!("invoices of {client}"), "invoice.*")
                    .client(client)
                    .webhook(&url)?,
            );
    }
    let engine = engine.start().await?;

    let alice = Token::new("alice", "not-for-production-5f1dbb2f6a2e", Capability::ALL);
    let access = Access::tokens([alice])?;
    let api = web::scope(engine.clone(), access);
    let probes = web::probes(engine.clone());
    let server = HttpServer::new(move || {
        let mounted = actix_web::web::scope("/webhooks").service(api.clone());
        App::new().service(mounted).service(probes.clone())
    });
    let server = server
        .workers(2)
        .disable_signals()
        .bind(("127.0.0.1", 8080))?
        .run();
    println!("the API is at http://127.0.0.1:8080/webhooks/api/v1; Ctrl-C ends it");
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    signal::ctrl_c().await?;
    // First the engine, which ends the streams of `/live`: the server waits for open connections.
    engine.shutdown(Duration::from_secs(5)).await;
    handle.stop(true).await;
    serving.await??;
    Ok(())
}
