//! Questions of operators at 1,000,000 stored deliveries for 100,000 endpoints, while deliveries go
//! on, and what they cost those.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::System;
use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{
    Alert, Appended, AttemptQuery, AttemptRecord, DeadLetterQuery, DeliveryQuery, DeliveryStage,
    NewAlert, NewEvent, SqliteOptions, SqliteStore,
};
use actix_webhooks::{
    AlertId, AskWhy, AttemptSummary, DeadLetterReason, EndpointSort, Engine, Event, Failure,
    FindEndpoints, ListEndpointAttempts, ListEndpoints, Outcome, PlanRedelivery, Rule, Timestamp,
    WebhookUrl,
};
use bytes::Bytes;

use crate::delivering::Over;
use crate::measure::percentile;

/// The argument that selects this measurement. It runs in a process of its own.
pub(crate) const COMMAND: &str = "asking";

pub(crate) fn run_apart(quick: bool) {
    let program = std::env::current_exe().expect("this program has a path");
    let deliveries = if quick { "20000" } else { "1000000" };
    let status = std::process::Command::new(program)
        .args([COMMAND, deliveries])
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "questions could not be measured"
    );
}

pub(crate) fn run(deliveries: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    System::new().block_on(ask_all(folder.path(), deliveries));
}

async fn ask_all(folder: &Path, deliveries: usize) {
    let endpoints = deliveries / 10;
    println!(
        "\nquestions about {deliveries} stored deliveries of 1 KiB for {endpoints} endpoints, while others are appended and recorded"
    );
    let store = SqliteStore::open_with(folder.join("webhooks.db"), SqliteOptions::default())
        .expect("the store opens");
    let begun = now();
    fill(&store, deliveries, endpoints).await;
    println!("  filled in {:.0} s", begun.elapsed().as_secs_f64());
    let engine = start(&store, endpoints).await;
    fail(&engine, endpoints / 100).await;
    let each = Duration::from_secs(if deliveries < 100_000 { 1 } else { 5 });
    for questions in [&OFTEN[..], &SELDOM[..]] {
        measure(&store, &engine, each, questions).await;
    }
    engine.shutdown(Duration::ZERO).await;
}

/// Measures questions, and what they cost appends and records, in turn with these alone.
async fn measure(store: &SqliteStore, engine: &Engine, each: Duration, questions: &[&'static str]) {
    let (mut alone, mut asked) = (Vec::new(), Vec::new());
    let mut taken: Vec<_> = questions.iter().map(|name| (*name, Vec::new())).collect();
    for _ in 0..3 {
        alone.push(load(store, each, None, &mut taken).await);
        asked.push(load(store, each, Some(engine), &mut taken).await);
    }
    for (name, times) in &mut taken {
        let (count, half, most) = (times.len(), percentile(times, 0.5), percentile(times, 0.99));
        println!("  {name:<40} p50 {half:>7.2} ms  p99 {most:>7.2} ms  ({count} times)");
    }
    let times: usize = taken.iter().map(|(_, times)| times.len()).sum();
    let times = f64::from(u32::try_from(times).expect("it is small"));
    let (alone, asked) = (percentile(&mut alone, 0.5), percentile(&mut asked, 0.5));
    println!(
        "  {alone:.0} deliveries/s appended and recorded alone, {asked:.0} while asked {:.0} such questions a second: ratio {:.2}",
        times / 3.0 / each.as_secs_f64(),
        asked / alone
    );
}

/// Stores deliveries that have ended: one in a hundred was given up.
async fn fill(store: &SqliteStore, deliveries: usize, endpoints: usize) {
    for first in (0..deliveries).step_by(BATCH) {
        let numbers = first..first + BATCH;
        let client = |number| match number {
            10 => "rare".to_owned(),
            other => format!("client-{}", other % (endpoints / 20)),
        };
        let events = numbers
            .clone()
            .map(|number| event(number, &client(number), &url(number % endpoints)));
        let appended = store.append(events.collect()).await.expect("there is room");
        let ids = appended.into_iter().flat_map(ids);
        let records = ids.zip(numbers).map(|(id, number)| {
            let mut summary = AttemptSummary::new(1, at(number), Duration::from_millis(3));
            let outcome = if number % 100 == 1 {
                summary.failure = Some(Failure::Status(503));
                let reason = DeadLetterReason::AttemptsExhausted(Failure::Status(503));
                Outcome::DeadLettered { reason }
            } else {
                Outcome::Delivered
            };
            AttemptRecord::new(id, url(number % endpoints), summary, outcome)
        });
        store
            .record(records.collect())
            .await
            .expect("it is recorded");
    }
}

async fn start(store: &SqliteStore, endpoints: usize) -> Engine {
    let builder = Engine::builder()
        .arbiters(2)
        .transport(Over::Http.transport(64))
        .store(store.clone());
    let rule = |number: usize| {
        let rule = Rule::new(format!("rule-{number}"), format!("type-{number}"));
        rule.webhook(url(number).as_str()).expect("a URL")
    };
    let builder = (0..endpoints).fold(builder, |builder, number| builder.rule(rule(number)));
    builder.start().await.expect("the engine starts")
}

/// Publishes an event to each of some endpoints, and waits until all of them fail: nobody listens.
async fn fail(engine: &Engine, endpoints: usize) {
    let events = (0..endpoints).map(|number| Event::new(format!("type-{number}"), "client"));
    for receipt in engine.publish_all(events).await.expect("it runs") {
        receipt.expect("it is accepted");
    }
    let failing = async || {
        let overview = engine.overview().await.expect("an answer");
        few(overview.endpoints.failing)
    };
    while failing().await < endpoints {
        pause().await;
    }
}

/// Appends and records batches for a while, and returns how many deliveries a second. Meanwhile
/// asks the engine, if there is one.
async fn load(
    store: &SqliteStore,
    run: Duration,
    engine: Option<&Engine>,
    taken: &mut [(&str, Vec<f64>)],
) -> f64 {
    let (begun, mut made) = (now(), 0_u32);
    let asking = async {
        while let Some(engine) = engine.filter(|_| begun.elapsed() < run) {
            for (name, times) in taken.iter_mut() {
                let asked = now();
                ask(engine, name).await;
                times.push(asked.elapsed().as_secs_f64() * 1e3);
            }
            pause().await;
        }
    };
    let loading = async {
        while begun.elapsed() < run {
            let number = now_number();
            let events = (0..BATCH).map(|offset| event(number + offset, "load", &url(0)));
            let appended = store.append(events.collect()).await.expect("there is room");
            let summary = AttemptSummary::new(1, at(number), Duration::from_millis(3));
            let records = appended.into_iter().flat_map(ids);
            let records =
                records.map(|id| AttemptRecord::new(id, url(0), summary, Outcome::Delivered));
            store
                .record(records.collect())
                .await
                .expect("it is recorded");
            made += 1;
        }
        f64::from(made) * 500.0 / begun.elapsed().as_secs_f64()
    };
    futures_util::join!(loading, asking).0
}

/// What an operator asks all the time.
const OFTEN: [&str; 10] = [
    "overview",
    "endpoints by attention",
    "deliveries of a rare client",
    "deliveries given up",
    "dead letters that failed with 503",
    "delivery by webhook-id",
    "deliveries of an endpoint",
    "count of a client's deliveries",
    "attempts of an endpoint",
    "why, by event",
];

/// Larger questions.
const SELDOM: [&str; 3] = [
    "status of a client",
    "endpoints by a part of their URL",
    "plan of redelivering all dead letters",
];

async fn ask(engine: &Engine, question: &str) {
    let all = DeliveryQuery::default;
    let limit = 50;
    let found = match question {
        "overview" => {
            let overview = engine.overview().await.expect("an answer");
            few(overview.endpoints.failing)
        }
        "endpoints by attention" => {
            let query = ListEndpoints {
                sort: EndpointSort::Attention,
                limit,
                ..ListEndpoints::default()
            };
            let page = engine.endpoints_by(query).await.expect("an answer");
            page.endpoints.len()
        }
        "status of a client" => {
            let status = engine.client_status("client-1").await.expect("an answer");
            few(status.dead_letters.count)
        }
        "deliveries of a rare client" => {
            let client_id = Some("rare".into());
            let query = DeliveryQuery {
                client_id,
                limit,
                ..all()
            };
            engine.deliveries(query).await.expect("an answer").len()
        }
        "deliveries given up" => {
            let stage = Some(DeliveryStage::DeadLettered);
            let query = DeliveryQuery {
                stage,
                limit,
                ..all()
            };
            engine.deliveries(query).await.expect("an answer").len()
        }
        "dead letters that failed with 503" => {
            let failure = Some(Failure::Status(503).into());
            let query = DeadLetterQuery {
                failure,
                limit,
                ..DeadLetterQuery::default()
            };
            engine.dead_letters(query).await.expect("an answer").len()
        }
        "delivery by webhook-id" => {
            let alert_id = Some(AlertId::new(&"event-77".into(), &"rule".into()));
            let query = DeliveryQuery {
                alert_id,
                limit,
                ..all()
            };
            engine.deliveries(query).await.expect("an answer").len()
        }
        "deliveries of an endpoint" => {
            let query = DeliveryQuery {
                url: Some(url(1_234)),
                limit,
                ..all()
            };
            engine.deliveries(query).await.expect("an answer").len()
        }
        "count of a client's deliveries" => {
            let client_id = Some("client-1".into());
            let query = DeliveryQuery { client_id, ..all() };
            let count = engine.count_deliveries(query).await.expect("an answer");
            few(count.count)
        }
        "attempts of an endpoint" => {
            let latest = ListEndpointAttempts::new(url(1_234), AttemptQuery::default());
            let page = engine.endpoint_attempts(latest).await.expect("an answer");
            page.items.len()
        }
        "plan of redelivering all dead letters" => {
            let all = PlanRedelivery::dead_letters(DeadLetterQuery::default());
            let plan = engine.plan_redelivery(all).await.expect("an answer");
            few(plan.endpoints)
        }
        "endpoints by a part of their URL" => by_part(engine, "9/1234").await,
        _ => {
            let why = engine.why(AskWhy::event("event-101")).await;
            why.expect("an answer").findings.len()
        }
    };
    assert!(found > 0, "{question} found nothing");
}

/// Returns the number of endpoints whose URL has a part, from as many pages as there are.
async fn by_part(engine: &Engine, part: &str) -> usize {
    let (mut page, mut found) = (FindEndpoints::new(part), 0);
    loop {
        let answer = engine.find_endpoints(page).await.expect("an answer");
        found += answer.urls.len();
        page = FindEndpoints::new(part);
        page.after = answer.next;
        if page.after.is_none() {
            return found;
        }
    }
}

fn few(count: u64) -> usize {
    usize::try_from(count).expect("it is small")
}

fn ids(appended: Appended) -> Vec<actix_webhooks::DeliveryId> {
    match appended {
        Appended::Stored(ids) => ids,
        other => panic!("{other:?}"),
    }
}

fn event(number: usize, client: &str, url: &WebhookUrl) -> NewEvent {
    let id = format!("event-{number}");
    let body = Bytes::from_static(&[b'x'; 1_024]);
    let alert = Alert::new(
        id.as_str().into(),
        "rule".into(),
        "type",
        client.into(),
        body,
    );
    let alerts = vec![NewAlert::new(Arc::new(alert), vec![url.clone()])];
    NewEvent::new(id.as_str().into(), client.into(), at(number), alerts)
}

fn url(number: usize) -> WebhookUrl {
    WebhookUrl::parse(&format!("http://127.0.0.1:9/{number}")).expect("a URL")
}

fn at(number: usize) -> Timestamp {
    Timestamp::from_unix_millis(i64::try_from(number).expect("it is small"))
}

/// Returns a number that no earlier call has returned, nor any within 500 of it.
fn now_number() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(10_000_000);
    NEXT.fetch_add(BATCH, Ordering::Relaxed)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "an operator that waits a moment")]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// The number of events or records per call to the store.
const BATCH: usize = 500;
