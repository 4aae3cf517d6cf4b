//! The main use case: events of two clients are delivered to receivers that behave like real
//! customers.
//!
//! `cargo run --example quickstart` exits with status 0 only if every delivery ended as expected.

mod receivers;
mod watch;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use actix_webhooks::store::SqliteStore;
use actix_webhooks::{
    AddressRange, Auth, Client, Endpoint, Engine, Event, InvalidUrl, RetryPolicy, Rule,
};

use self::receivers::{Customer, Receivers};
use self::watch::Watch;

const CLIENT_A: &str = "bae0c1d2-0000-4000-8000-00000000000a";
const CLIENT_B: &str = "bae0c1d2-0000-4000-8000-00000000000b";

#[actix_web::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    env_logger::init();
    let receivers = Receivers::start()?;
    // A new file for each run; an application uses a permanent one.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("webhooks.db");
    println!("events live in {}", file.display());
    let engine = start_engine(&receivers, SqliteStore::open(&file)?).await?;

    let mut watch = Watch::of(&engine).await?;

    let events: Vec<Event> = include_str!("../events.jsonl")
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    println!("publishing {} events of two clients\n", events.len());
    let mut deliveries = 0;
    for receipt in engine.publish_all(events).await? {
        deliveries += receipt?.deliveries;
    }

    watch.all_ended(deliveries, Duration::from_secs(18)).await;
    let report = engine.shutdown(Duration::from_secs(1)).await;
    println!(
        "\nshut down: {} deliveries pending, {} attempts broken off",
        report.pending, report.aborted
    );
    Ok(print_table(&receivers, &watch.ended, deliveries))
}

async fn start_engine(
    receivers: &Receivers,
    store: SqliteStore,
) -> Result<Engine, Box<dyn std::error::Error>> {
    let url = |customer: Customer| receivers.url(customer);
    let rule = |id: &str, rule_type: &str, customer: Customer| -> Result<Rule, InvalidUrl> {
        Rule::new(id, rule_type).webhook(&url(customer))
    };
    let hanging = Endpoint::new(&url(Customer::Hanging))?
        .timeout(Duration::from_secs(1))
        .retry(RetryPolicy::custom([
            Duration::from_secs(1),
            Duration::from_secs(2),
        ]));
    let engine = Engine::builder()
        // For receivers on this machine: by default only public addresses are called.
        .allow_addresses(AddressRange::loopback())
        .store(store)
        .client(Client::new(CLIENT_A).name("Bank of Dave"))
        .client(
            Client::new(CLIENT_B)
                .name("Bank of Erin")
                .auth(Auth::bearer("erins-token")),
        )
        .rule(rule("everything", "*", Customer::Plain)?)
        .rule(rule("busy", "Data sync completed", Customer::Busy)?)
        .rule(rule("moved", "Dataset data changed", Customer::Moved)?)
        .rule(rule("strict", "Sync Failed", Customer::Strict)?)
        .rule(rule("basic", "Sync Completed", Customer::Basic)?.auth(Auth::basic("dave", "secret")))
        .rule(rule("bearer", "DataConnectionStatusChanged", Customer::Bearer)?.client(CLIENT_B))
        .rule(rule("shared-a", "invoice.*", Customer::Shared)?.client(CLIENT_A))
        .rule(rule("shared-b", "invoice.*", Customer::Shared)?.client(CLIENT_B))
        .rule(rule("hanging", "Rate Limit Reached", Customer::Hanging)?)
        .endpoint(hanging)
        .start()
        .await?;
    Ok(engine)
}

/// Prints what each receiver got, and returns `true` if everything is as expected.
fn print_table(
    receivers: &Receivers,
    ended: &BTreeMap<String, watch::Ended>,
    deliveries: usize,
) -> ExitCode {
    println!(
        "\n{:<10} {:<46} {:>9} {:>9} {:>12} {:>9}  as it should",
        "receiver", "behaves", "requests", "delivered", "dead letters", "accepted"
    );
    let mut all_well = true;
    let mut total = 0;
    for customer in Customer::ALL {
        let got = receivers.got(customer);
        let ended = ended
            .get(&receivers.url(customer))
            .copied()
            .unwrap_or_default();
        let well = customer.is_well(got, ended);
        all_well &= well;
        total += ended.delivered + ended.dead_lettered;
        println!(
            "{:<10} {:<46} {:>9} {:>9} {:>12} {:>9}  {}",
            customer.name(),
            customer.behaviour(),
            got.requests,
            ended.delivered,
            ended.dead_lettered,
            got.accepted,
            if well { "yes" } else { "NO" }
        );
    }
    println!("\n{total} of {deliveries} deliveries ended");
    if all_well && total == deliveries {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
