//! A redelivery of many dead letters by filter, killed and stopped on its way.
//!
//! The first life makes the dead letters. Then children redeliver them: each is killed when it has
//! come as far as a random number; one of them stops the redelivery and begins another one, of what
//! is left. The last life finishes, and writes what is on record.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{
    DeadLetterQuery, DeliveryQuery, DeliveryStage, RedeliveryJob, RedeliveryState, SqliteStore,
};
use actix_webhooks::{Engine, StartRedelivery};

use super::child::{IN_FLIGHT, LETTERS, event, say};
use super::receiver::{Receiver, Request};
use super::{Child, PATIENCE, alert_of, lines_of};

/// Prefix of the lives of this round.
pub(crate) const LIFE: &str = "letters-";

/// Makes the dead letters.
const MAKE: &str = "make";

/// Redelivers until it is killed.
const GO_ON: &str = "go on";

/// Stops the redelivery under way, begins another one, and redelivers until it is killed.
const BEGIN_AGAIN: &str = "begin again";

/// Redelivers until nothing is left.
const FINISH: &str = "finish";

/// Prefixes of the lines with a redelivery's progress, and with a delivered event.
const PROGRESS: &str = "progress ";
const DELIVERED: &str = "delivered ";

/// Returns the number of dead letters: `CRASH_LETTERS`, or 2,000.
fn letters() -> usize {
    std::env::var("CRASH_LETTERS").map_or(2_000, |text| {
        text.parse().expect("CRASH_LETTERS is a number")
    })
}

fn name(number: usize) -> String {
    format!("{LETTERS}/{number:06}")
}

// --- The child ---

/// Does the work of one life.
pub(crate) async fn work(engine: &Engine, store: &SqliteStore, what: &str) {
    match what {
        MAKE => make(engine, store).await,
        GO_ON => {
            if engine.redeliveries().await.expect("it answers").is_empty() {
                begin(engine).await;
            }
            tell_progress(engine).await;
        }
        BEGIN_AGAIN => {
            let job = latest(engine).await;
            let stopped = engine.stop_redelivery(job.id).await.expect("it answers");
            say_progress(&stopped.expect("it is known"));
            begin(engine).await;
            tell_progress(engine).await;
        }
        FINISH => finish(engine, store).await,
        other => panic!("no life {other}"),
    }
}

async fn make(engine: &Engine, store: &SqliteStore) {
    let all: Vec<usize> = (0..letters()).collect();
    for some in all.chunks(1_000) {
        let events = some.iter().map(|number| event(LETTERS, &name(*number)));
        for receipt in engine.publish_all(events).await.expect("it runs") {
            assert_eq!(receipt.expect("it is accepted").deliveries, 1);
        }
    }
    while store.open_total().await.expect("the store answers") > 0 {
        actix_rt::time::sleep(Duration::from_millis(20)).await;
    }
    engine.shutdown(Duration::from_secs(5)).await;
}

async fn begin(engine: &Engine) {
    let all = StartRedelivery::dead_letters(DeadLetterQuery::default());
    let job = engine.start_redelivery(all).await.expect("it begins");
    say_progress(&job);
}

async fn latest(engine: &Engine) -> RedeliveryJob {
    let jobs = engine.redeliveries().await.expect("it answers");
    jobs.into_iter().last().expect("one was begun")
}

fn say_progress(job: &RedeliveryJob) {
    let (id, total, done, skipped) = (job.id, job.total, job.done, job.skipped);
    say(&format!("{PROGRESS}{id} {total} {done} {skipped}"));
}

async fn tell_progress(engine: &Engine) {
    loop {
        say_progress(&latest(engine).await);
        actix_rt::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn finish(engine: &Engine, store: &SqliteStore) {
    while latest(engine).await.state != RedeliveryState::Finished
        || store.open_total().await.expect("the store answers") > 0
    {
        actix_rt::time::sleep(Duration::from_millis(20)).await;
    }
    let letters = store.dead_letters(DeadLetterQuery::default()).await;
    assert_eq!(letters.expect("the store answers").len(), 0);
    for job in engine.redeliveries().await.expect("it answers") {
        say_progress(&job);
    }
    let mut query = DeliveryQuery {
        stage: Some(DeliveryStage::Delivered),
        limit: 1_000,
        ..DeliveryQuery::default()
    };
    loop {
        let page = engine.deliveries(query.clone()).await.expect("it answers");
        for delivery in &page {
            say(&format!("{DELIVERED}{}", delivery.event_id));
        }
        query.before = page.last().map(|delivery| delivery.id);
        if query.before.is_none() {
            break;
        }
    }
    engine.shutdown(Duration::from_secs(5)).await;
}

// --- The parent ---

/// The progress of a redelivery, as a child wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    id: usize,
    total: usize,
    done: usize,
    skipped: usize,
}

impl Progress {
    fn read(line: &str) -> Option<Self> {
        let numbers = line.strip_prefix(PROGRESS)?.split(' ');
        let numbers: Vec<usize> = numbers
            .map(|number| number.parse().expect("it is a number"))
            .collect();
        let &[id, total, done, skipped] = &numbers[..] else {
            panic!("not the progress of a redelivery: {line}");
        };
        Some(Self {
            id,
            total,
            done,
            skipped,
        })
    }
}

/// Runs the round, and checks that each dead letter is redelivered once, oldest first.
pub(crate) fn run_round(receiver: &Receiver, rng: &mut fastrand::Rng) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("webhooks.db");
    let letters = letters();
    let life = |what: &str| Child {
        file: &file,
        url: &receiver.url,
        life: format!("{LIFE}{what}"),
        sealed: false,
        disk: None,
    };
    ended(&life(MAKE));
    let refused = receiver.take();
    assert_eq!(refused.len(), letters, "each is refused once");
    receiver.mend();

    let mut places: Vec<usize> = (0..rng.usize(3..=5))
        .map(|_| rng.usize(0..letters))
        .collect();
    places.sort_unstable();
    let mut seen = BTreeMap::<usize, Progress>::new();
    for (number, place) in places.iter().enumerate() {
        let (what, begun) = match number {
            0 => (GO_ON, 1),
            1 => (BEGIN_AGAIN, 2),
            _ => (GO_ON, 2),
        };
        killed_at(&life(what), *place, begun, &mut seen);
    }
    let said = ended(&life(FINISH));
    let jobs: Vec<Progress> = said
        .iter()
        .filter_map(|line| Progress::read(line))
        .collect();
    check_jobs(&jobs, &seen, letters);
    let delivered: Vec<&str> = said
        .iter()
        .filter_map(|line| line.strip_prefix(DELIVERED))
        .collect();
    let newest_first: Vec<String> = (0..letters).rev().map(name).collect();
    assert_eq!(delivered, newest_first, "each once, oldest first");
    let again = check_requests(&receiver.take(), letters, places.len());
    println!(
        "crash test: {letters} dead letters redelivered by filter, stopped once at {}, killed {} times, {again} sent again: each once on record, oldest first",
        jobs[0].done,
        places.len(),
    );
}

/// Kills a child when the redeliveries together have come to a place, and as many as `begun` are
/// known.
fn killed_at(child: &Child<'_>, place: usize, begun: usize, seen: &mut BTreeMap<usize, Progress>) {
    let mut process = child.spawn();
    let lines = lines_of(process.stdout.take().expect("its output is piped"));
    let (mut done, mut since) = (0, Instant::now());
    while done <= place || seen.len() < begun {
        let line = lines.recv_timeout(PATIENCE).expect("it tells its progress");
        note(&line, seen);
        let now = seen.values().map(|job| job.done).sum();
        if now > done {
            (done, since) = (now, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "it stays at {done}");
    }
    process.kill().expect("it can be killed");
    process.wait().expect("it has ended");
    for line in &lines {
        note(&line, seen);
    }
}

/// Notes the progress of a redelivery, which never goes back.
fn note(line: &str, seen: &mut BTreeMap<usize, Progress>) {
    let now = Progress::read(line).expect("it tells its progress");
    let before = seen.insert(now.id, now).unwrap_or_default();
    assert!(now.done >= before.done, "{now:?} after {before:?}");
    assert_eq!(now.skipped, 0);
}

/// Runs a child until it ends by itself, and returns its output.
fn ended(child: &Child<'_>) -> Vec<String> {
    let mut process = child.spawn();
    let lines = lines_of(process.stdout.take().expect("its output is piped"));
    let said = lines.iter().collect();
    let status = process.wait().expect("it has ended");
    assert!(status.success(), "life {} failed: {status}", child.life);
    said
}

/// The first redelivery was stopped; the second one did what was left, and nothing else.
fn check_jobs(jobs: &[Progress], seen: &BTreeMap<usize, Progress>, letters: usize) {
    let &[first, second] = jobs else {
        panic!("not two redeliveries: {jobs:?}");
    };
    assert_eq!(first.total, letters);
    assert_eq!(first, seen[&first.id], "nothing happens after the stop");
    assert_eq!(second.total, letters - first.done, "what was left");
    assert_eq!((second.done, second.skipped), (second.total, 0));
}

/// Only what was in flight or being recorded at a kill is sent again. Returns the number of those
/// requests.
fn check_requests(requests: &[Request], letters: usize, kills: usize) -> usize {
    let mut by_alert = BTreeMap::<&str, usize>::new();
    for request in requests {
        *by_alert.entry(&request.alert).or_default() += 1;
    }
    for number in 0..letters {
        let event = name(number);
        assert!(by_alert.contains_key(&*alert_of(&event)), "{event} is lost");
    }
    let again = requests.len() - letters;
    let bound = kills * (usize::try_from(IN_FLIGHT).expect("it is small") + UNRECORDED);
    assert!(
        again <= bound,
        "{again} requests were sent again, more than {bound}"
    );
    again
}

/// The most attempts of an endpoint that have ended and are being recorded.
const UNRECORDED: usize = 1_024;
