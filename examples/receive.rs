//! Receives webhooks from any sender that follows Standard Webhooks, and prints those with a valid
//! signature.
//!
//! ```text
//! cargo run --features verify --example receive -- whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
//! ```

use actix_web::{App, HttpResponse, HttpServer, web};
use actix_webhooks::verify::{VerifiedWebhook, Verifier};

/// Called with verified webhooks only. A real receiver remembers the id, because the same alert may
/// come twice.
async fn receive(webhook: VerifiedWebhook) -> HttpResponse {
    println!("{} sent at {}", webhook.id, webhook.timestamp);
    println!("{}", String::from_utf8_lossy(&webhook.body));
    HttpResponse::NoContent().finish()
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();
    let secret = std::env::args().nth(1);
    let secret = secret.ok_or("give the secret (whsec_…) or public key (whpk_…) of the sender")?;
    let verifier = web::Data::new(Verifier::new(&secret)?);
    let app = move || {
        App::new()
            .app_data(verifier.clone())
            .route("/hooks", web::post().to(receive))
    };
    HttpServer::new(app).bind("127.0.0.1:9000")?.run().await?;
    Ok(())
}
