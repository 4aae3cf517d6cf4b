//! An application of actors that uses the engine by messages only: `cargo run --example
//! by_messages`.
//!
//! Events go to the router as messages, statuses and reports come to the application's actor as
//! messages, and requests to the supervisor are messages too. The exit status is 0 only if both
//! invoices were delivered.

use std::time::Duration;

use actix::{
    Actor, ActorFutureExt as _, Addr, Context, Handler, Message, ResponseActFuture, WrapFuture as _,
};
use actix_web::{App, HttpResponse, HttpServer, web};
use actix_webhooks::{
    AddressRange, DeliveryReport, EndpointStatus, Engine, Event, Outcome, Publish, PublishError,
    PutRule, Receipt, RouterActor, Rule, WatchDeliveries, WatchStatus,
};
use tokio::sync::oneshot;

/// The application's own message: an invoice was paid.
#[derive(Message)]
#[rtype(result = "Result<Receipt, PublishError>")]
struct InvoicePaid {
    number: u32,
}

/// The application's actor.
struct Invoices {
    router: Addr<RouterActor>,
    /// The number of undelivered invoices, and the channel to notify when there are none left.
    open: usize,
    all_told: Option<oneshot::Sender<()>>,
}

impl Actor for Invoices {
    type Context = Context<Self>;
}

impl Handler<InvoicePaid> for Invoices {
    type Result = ResponseActFuture<Self, Result<Receipt, PublishError>>;

    fn handle(&mut self, paid: InvoicePaid, _: &mut Context<Self>) -> Self::Result {
        let event = Event::new("invoice.paid", "client-1")
            .id(format!("invoice-{}", paid.number))
            .data(serde_json::json!({ "number": paid.number }));
        let publish = self.router.send(Publish::new(event));
        Box::pin(publish.into_actor(self).map(|answer, _, _| {
            // The mailbox is closed once the engine has stopped.
            answer.unwrap_or(Err(PublishError::ShuttingDown))
        }))
    }
}

impl Handler<DeliveryReport> for Invoices {
    type Result = ();

    fn handle(&mut self, report: DeliveryReport, _: &mut Context<Self>) {
        println!(
            "{} to {}: {:?}",
            report.event_id, report.url, report.outcome
        );
        self.open -= usize::from(report.outcome == Outcome::Delivered);
        if self.open == 0
            && let Some(all_told) = self.all_told.take()
        {
            // The send fails only if the program is already ending.
            let _ = all_told.send(());
        }
    }
}

impl Handler<EndpointStatus> for Invoices {
    type Result = ();

    fn handle(&mut self, status: EndpointStatus, _: &mut Context<Self>) {
        println!("{} is {:?}", status.url, status.state);
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();
    let server = HttpServer::new(|| App::new().default_service(web::to(HttpResponse::Ok)))
        .workers(1)
        .bind("127.0.0.1:0")?;
    let url = format!("http://{}/hooks", server.addrs()[0]);
    actix_web::rt::spawn(server.run());
    let engine = Engine::builder()
        .allow_addresses(AddressRange::loopback())
        .start()
        .await?;

    let rule = Rule::new("invoices", "invoice.*").webhook(&url)?;
    engine.router().send(PutRule::new(rule)).await??;
    let (all_told, told) = oneshot::channel();
    let invoices = Invoices {
        router: engine.router(),
        open: 2,
        all_told: Some(all_told),
    };
    let invoices = invoices.start();
    let supervisor = engine.supervisor();
    let statuses = WatchStatus::new(invoices.clone().recipient());
    supervisor.send(statuses).await?;
    let reports = WatchDeliveries::new(invoices.clone().recipient());
    supervisor.send(reports).await?;
    for number in [1, 2] {
        let receipt = invoices.send(InvoicePaid { number }).await??;
        println!("{} is stored", receipt.event_id);
    }
    tokio::time::timeout(Duration::from_secs(10), told).await??;
    engine.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
