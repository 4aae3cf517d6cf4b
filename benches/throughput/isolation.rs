//! A hundred endpoints with ten of them hanging, compared with none hanging.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, System};
use actix_webhooks::{DeliveryReport, Outcome, PublishBatch, WatchDeliveries};

use crate::delivering::{Over, engine, event, in_memory, pause};
use crate::measure::{median, percentile};
use crate::receiver::Receiver;

const HEALTHY: usize = 90;
const OTHERS: usize = 10;

/// The results of the healthy endpoints in one run.
struct Healthy {
    per_second: f64,
    p50: f64,
    p99: f64,
}

pub(crate) fn run(run: Duration, rounds: usize) {
    println!(
        "\n{} endpoints on 2 arbiters, {HEALTHY} healthy; the other {OTHERS} answer, or hang with 100 events queued each",
        HEALTHY + OTHERS
    );
    let receiver = Receiver::start(HEALTHY + OTHERS, OTHERS);
    let (answering, mut hanging) = (receiver.urls.clone(), receiver.urls[..HEALTHY].to_vec());
    hanging.extend(receiver.hanging.iter().cloned());
    for (load, outstanding) in [
        ("as fast as it goes, 2,000 open", 2_000),
        ("a light load, 20 open", 20),
    ] {
        let mut pairs = Vec::new();
        for _ in 0..rounds {
            pairs.push((
                measure(&answering, run, outstanding),
                measure(&hanging, run, outstanding),
            ));
        }
        let of =
            |pick: &dyn Fn(&(Healthy, Healthy)) -> f64| median(pairs.iter().map(pick).collect());
        println!("  {load}:");
        println!(
            "    none hanging  {:>8.0}/s  p50 {:>7.2} ms  p99 {:>7.2} ms",
            of(&|pair| pair.0.per_second),
            of(&|pair| pair.0.p50),
            of(&|pair| pair.0.p99)
        );
        println!(
            "    ten hanging   {:>8.0}/s  p50 {:>7.2} ms  p99 {:>7.2} ms",
            of(&|pair| pair.1.per_second),
            of(&|pair| pair.1.p50),
            of(&|pair| pair.1.p99)
        );
        println!(
            "    ratio         {:>8.2}    {:>15.2} {:>14.2}",
            of(&|pair| pair.1.per_second / pair.0.per_second),
            of(&|pair| pair.1.p50 / pair.0.p50),
            of(&|pair| pair.1.p99 / pair.0.p99)
        );
    }
}

/// The publishing times of events, and the durations of deliveries.
#[derive(Clone, Default)]
struct Times(Arc<Mutex<(Published, Vec<f64>)>>);

type Published = HashMap<String, Instant>;

struct Watcher(Times);

impl Actor for Watcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(65_536);
    }
}

impl Handler<DeliveryReport> for Watcher {
    type Result = ();

    fn handle(&mut self, report: DeliveryReport, _: &mut Context<Self>) {
        if report.outcome == Outcome::Delivered {
            let mut times = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(published) = times.0.remove(report.event_id.as_str()) {
                times.1.push(published.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
}

fn measure(urls: &[String], run: Duration, outstanding: usize) -> Healthy {
    System::new().block_on(async {
        let engine = engine(urls, 2, Over::Awc)
            .store(in_memory(MOST_OPEN))
            .max_in_flight(512)
            .start()
            .await
            .expect("the engine starts");
        for _ in 0..10 {
            let others =
                PublishBatch::new((0..OTHERS * 10).map(|number| event(HEALTHY + number % OTHERS)));
            engine.router().send(others).await.expect("the router runs");
        }
        // Hanging endpoints have been detected when the measurement begins, or are being detected
        // during it.
        let times = Times::default();
        let watcher = Watcher(times.clone()).start();
        engine
            .supervisor()
            .send(WatchDeliveries::new(watcher.recipient()))
            .await
            .expect("the supervisor runs");
        #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
        let since = Instant::now();
        let mut next = 0;
        while since.elapsed() < run {
            let open = times
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .0
                .len();
            let room = outstanding.saturating_sub(open).min(64);
            if room == 0 {
                pause().await;
                continue;
            }
            let events: Vec<_> = (0..room)
                .map(|number| event((next + number) % HEALTHY))
                .collect();
            next += room;
            #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
            let now = Instant::now();
            let ids = events
                .iter()
                .map(|event| (event.id.as_str().to_owned(), now));
            times
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .0
                .extend(ids);
            engine
                .router()
                .send(PublishBatch::new(events))
                .await
                .expect("the router runs");
        }
        let elapsed = since.elapsed().as_secs_f64();
        let mut taken = times
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .clone();
        engine.shutdown(Duration::ZERO).await;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let per_second = taken.len() as f64 / elapsed;
        Healthy {
            per_second,
            p50: percentile(&mut taken, 0.5),
            p99: percentile(&mut taken, 0.99),
        }
    })
}

/// The maximum number of open deliveries.
const MOST_OPEN: u64 = 4_096;
