//! Measurements that only apply to a store on disk: the time to a receipt, the growth of the file,
//! the time to restart an engine, and the cost of a dead endpoint.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::System;
use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{
    Alert, Appended, AttemptRecord, NewAlert, NewEvent, SqliteOptions, SqliteStore,
};
use actix_webhooks::{AttemptSummary, EventId, Outcome, RuleId, Timestamp, WebhookUrl};
use bytes::Bytes;

use crate::delivering::{Over, engine, event, on_disk, pause};
use crate::measure::{percentile, resident_bytes};
use crate::receiver::Receiver;

/// The argument that selects one of these measurements. It runs in a process of its own, so that
/// memory used earlier does not count.
pub(crate) const COMMAND: &str = "durable";

pub(crate) fn run_apart(quick: bool) {
    let scale = if quick { "quick" } else { "full" };
    for which in ["receipts", "growth", "restart", "dead"] {
        let program = std::env::current_exe().expect("this program has a path");
        let status = std::process::Command::new(program)
            .args([COMMAND, which, scale])
            .env(crate::LARGE_PAGES, "0")
            .env_remove(crate::PURGE_DELAY)
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "{which} could not be measured"
        );
    }
}

pub(crate) fn run(which: &str, scale: &str) {
    let many = if scale == "quick" { 20_000 } else { 1_000_000 };
    let folder = tempfile::tempdir().expect("a folder");
    System::new().block_on(async {
        match which {
            "receipts" => receipts(folder.path(), if scale == "quick" { 300 } else { 3_000 }).await,
            "growth" => growth(folder.path(), 2 * many).await,
            "restart" => restart(folder.path(), many).await,
            _ => dead(folder.path(), many).await,
        }
    });
}

/// Measures the time from publishing to the receipt, and a bare write and sync of the same size on
/// the same disk.
async fn receipts(folder: &Path, millis: u64) {
    println!(
        "\nfrom publishing to the receipt, events of 1 KiB, store on disk, nothing delivered meanwhile"
    );
    let mut syncs = bare_syncs(folder, Duration::from_millis(millis));
    println!(
        "  bare write and sync  p50 {:>6.2} ms  p99 {:>6.2} ms",
        percentile(&mut syncs, 0.5),
        percentile(&mut syncs, 0.99)
    );
    for publishers in [1, 256] {
        let apart = folder.join(publishers.to_string());
        std::fs::create_dir(&apart).expect("a folder");
        let store = on_disk(&apart, 100_000_000);
        let nobody = vec!["http://127.0.0.1:9/".to_owned()];
        let engine = engine(&nobody, 2, Over::Awc)
            .store(store)
            .start()
            .await
            .expect("it starts");
        let pause = actix_webhooks::PauseEndpoint::new("http://127.0.0.1:9/");
        engine
            .supervisor()
            .send(pause)
            .await
            .expect("it runs")
            .expect("it is known");
        #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
        let until = Instant::now() + Duration::from_millis(millis);
        let tasks: Vec<_> = (0..publishers)
            .map(|_| {
                let engine = engine.clone();
                actix_rt::spawn(async move {
                    let mut taken = Vec::new();
                    #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
                    loop {
                        let begun = Instant::now();
                        if begun >= until {
                            return taken;
                        }
                        engine.publish(event(0)).await.expect("it is accepted");
                        taken.push(begun.elapsed().as_secs_f64() * 1e3);
                    }
                })
            })
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.expect("no publisher panics"));
        }
        println!(
            "  {publishers:>3} publishers       p50 {:>6.2} ms  p99 {:>6.2} ms  {:>8.0} events/s",
            percentile(&mut all, 0.5),
            percentile(&mut all, 0.99),
            per_second(all.len(), Duration::from_millis(millis))
        );
        engine.shutdown(Duration::ZERO).await;
    }
}

fn bare_syncs(folder: &Path, run: Duration) -> Vec<f64> {
    let mut file = File::create(folder.join("bare")).expect("a file");
    let block = vec![b'x'; 1_024];
    let mut taken = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
    let until = Instant::now() + run;
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
    loop {
        let begun = Instant::now();
        if begun >= until {
            return taken;
        }
        file.write_all(&block).expect("there is room");
        file.sync_data().expect("it can be synced");
        taken.push(begun.elapsed().as_secs_f64() * 1e3);
    }
}

/// Measures the file size while many deliveries are made and pruned, using the store alone.
async fn growth(folder: &Path, deliveries: usize) {
    println!(
        "\nthe file over {deliveries} deliveries of 1 KiB, kept for as long as it takes to make a tenth of them"
    );
    let store = SqliteStore::open_with(folder.join("webhooks.db"), SqliteOptions::default())
        .expect("the store opens");
    let mut keep = store.retention().expect("it forgets");
    // Each batch advances the store's time by one second.
    let batches = deliveries / BATCH;
    keep.ended = Duration::from_secs(u64::try_from(batches / 10).expect("it is small"));
    keep.event_ids = keep.ended;
    let (mut sizes, mut taken) = (Vec::new(), Vec::new());
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
    let begun = Instant::now();
    for batch in 0..batches {
        let now = Timestamp::from_unix_millis(i64::try_from(batch).expect("it is small") * 1_000);
        #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
        let batch_begun = Instant::now();
        deliver_batch(&store, batch, now).await;
        taken.push(batch_begun.elapsed().as_secs_f64() * 1e3);
        if batch % (batches / 50).max(1) == 0 {
            store.prune(now, keep).await.expect("it forgets");
        }
        if (batch + 1) % (batches / 10) == 0 {
            let file = std::fs::metadata(folder.join("webhooks.db")).map_or(0, |file| file.len());
            sizes.push(format!("{}", file / 1_024 / 1_024));
        }
    }
    println!("  MiB after each tenth: {}", sizes.join(" "));
    println!(
        "  {:.0} deliveries/s appended, recorded and forgotten again, by one caller in batches of {BATCH}",
        per_second(deliveries, begun.elapsed())
    );
    println!(
        "  such a batch appended and recorded: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        percentile(&mut taken, 0.5),
        percentile(&mut taken, 0.99),
        percentile(&mut taken, 1.0)
    );
    keep.ended = Duration::ZERO;
    keep.event_ids = Duration::ZERO;
    let end = Timestamp::from_unix_millis(i64::try_from(batches).expect("it is small") * 1_000);
    store.prune(end, keep).await.expect("it forgets");
    drop(store);
    let file = std::fs::metadata(folder.join("webhooks.db")).map_or(0, |file| file.len());
    println!("  {} MiB when all is forgotten", file / 1_024 / 1_024);
}

async fn deliver_batch(store: &SqliteStore, batch: usize, now: Timestamp) {
    let events = (0..BATCH).map(|number| new_event(&format!("{batch}-{number}"), now));
    let appended = store.append(events.collect()).await.expect("there is room");
    let ids = appended.into_iter().flat_map(|appended| match appended {
        Appended::Stored(ids) => ids,
        other => panic!("{other:?}"),
    });
    let summary = AttemptSummary::new(1, now, Duration::from_millis(3));
    let records = ids.map(|id| AttemptRecord::new(id, nowhere(), summary, Outcome::Delivered));
    store
        .record(records.collect())
        .await
        .expect("it is recorded");
}

fn nowhere() -> WebhookUrl {
    WebhookUrl::parse("http://127.0.0.1:9/").expect("a URL")
}

fn new_event(id: &str, now: Timestamp) -> NewEvent {
    new_event_for(id, now, &Arc::from([nowhere()]))
}

fn new_event_for(id: &str, now: Timestamp, urls: &Arc<[WebhookUrl]>) -> NewEvent {
    let (event_id, rule_id) = (EventId::from(id), RuleId::from("0"));
    let body = Bytes::from_static(&[b'x'; 1_024]);
    let alert = Alert::new(event_id.clone(), rule_id, "0", "client".into(), body);
    let alerts = vec![NewAlert::new(alert, Arc::clone(urls))];
    NewEvent::new(event_id, "client".into(), now, alerts)
}

/// Measures the time from opening the file to the first delivery, with `open` deliveries for 1,000
/// endpoints.
async fn restart(folder: &Path, open: usize) {
    let receiver = Receiver::start(1_000, 0);
    {
        let store = on_disk(folder, 100_000_000);
        for first in (0..open).step_by(BATCH) {
            let events = (first..first + BATCH).map(|number| {
                let url = &receiver.urls[number % receiver.urls.len()];
                let urls = Arc::from([WebhookUrl::parse(url).expect("a URL")]);
                new_event_for(&number.to_string(), Timestamp::from_unix_millis(0), &urls)
            });
            store.append(events.collect()).await.expect("there is room");
        }
    }
    let before = resident_bytes();
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
    let begun = Instant::now();
    let store = on_disk(folder, 100_000_000);
    let opened = begun.elapsed();
    let engine = engine(&receiver.urls, 2, Over::Awc)
        .store(store.clone())
        .start()
        .await
        .expect("the engine starts");
    let started = begun.elapsed();
    let total = u64::try_from(open).expect("it is small");
    while store.open_total().await.expect("the store answers") == total {
        pause().await;
    }
    println!(
        "\nrestart with {open} open deliveries of 1 KiB for 1,000 endpoints: file open after {:.2} s, engine started after {:.2} s, first delivery on record after {:.2} s, {} MiB more in memory",
        opened.as_secs_f64(),
        started.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
        resident_bytes().saturating_sub(before) / 1_024 / 1_024
    );
    engine.shutdown(Duration::ZERO).await;
}

/// Measures memory while one endpoint does not answer and its events accumulate.
async fn dead(folder: &Path, events: usize) {
    let receiver = Receiver::start(0, 1);
    let store = on_disk(folder, 100_000_000);
    let engine = engine(&receiver.hanging, 2, Over::Awc)
        .store(store.clone())
        .start()
        .await
        .expect("the engine starts");
    let idle = resident_bytes();
    let publishers: Vec<_> = (0..64)
        .map(|_| {
            let engine = engine.clone();
            actix_rt::spawn(async move {
                for _ in 0..events / 64 {
                    engine.publish(event(0)).await.expect("it is accepted");
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.expect("no publisher panics");
    }
    println!(
        "\none endpoint that does not answer, {} events of 1 KiB for it: {} MiB more in memory than idle",
        store.open_total().await.expect("the store answers"),
        resident_bytes().saturating_sub(idle) / 1_024 / 1_024
    );
    engine.shutdown(Duration::ZERO).await;
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The number of events or records per call to the store.
const BATCH: usize = 500;
