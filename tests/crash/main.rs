//! Kills a process that publishes and delivers, again and again, at random moments, and checks that
//! nothing it acknowledged is lost.
//!
//! Each round has a file of its own. Several child processes in turn work on it and are killed with
//! SIGKILL, and a last one delivers the rest. A child publishes, delivers and retries, also in
//! order, through the outbox and against `Retry-After`; it redelivers, pauses, resumes, removes and
//! prunes. `CRASH_ROUNDS` sets the number of rounds (default 2).
//!
//! Every second round also loses power: all or part of the child's writes that were not synced when
//! it was killed are removed from its files. Of four rounds, two begin with a file of an earlier
//! version and may be killed during its migration, and one is sealed from its second life on. In
//! one more round the disk is full for a while. (Full disks and losses of power on Linux only.)
//! In the last round, a redelivery of `CRASH_LETTERS` dead letters (default 2,000) is killed and
//! stopped on its way.

#![expect(
    clippy::disallowed_methods,
    reason = "a test of real processes, at real moments"
)]

mod child;
mod disk;
mod receiver;
mod redelivery;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver as Lines, RecvTimeoutError, channel};
use std::time::Duration;

use actix_webhooks::{AlertId, EventId, RuleId};

use self::child::{IN_FLIGHT, WAITS};
use self::disk::Disk;
use self::receiver::{Receiver, Request};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, file, url, life, sealed] = &arguments[..]
        && command == child::COMMAND
    {
        child::run(Path::new(file), url, life, sealed == SEALED);
        return;
    }
    let rounds = match std::env::var("CRASH_ROUNDS") {
        Ok(text) => text.parse().expect("CRASH_ROUNDS is a number"),
        Err(_) => 2,
    };
    let seed = std::env::var("CRASH_SEED").map_or_else(
        |_| fastrand::u64(..),
        |text| text.parse().expect("CRASH_SEED is a number"),
    );
    println!("crash test: {rounds} rounds, CRASH_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let receiver = Receiver::start();
    let mut all = Sum::default();
    for round in 0..rounds {
        all.add(&run_round(round, &receiver, &mut rng));
    }
    run_full_round(&receiver, &mut rng);
    redelivery::run_round(&receiver, &mut rng);
    println!(
        "crash test: {} acknowledged, {} delivered, {} dead letters, {} sent again after {} kills, {} files cut back to what was synced: nothing lost",
        all.acknowledged, all.delivered, all.dead, all.duplicates, all.kills, all.cut
    );
}

/// The counts of one round, or of all.
#[derive(Default)]
struct Sum {
    acknowledged: usize,
    delivered: usize,
    dead: usize,
    duplicates: usize,
    kills: usize,
    cut: usize,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.dead += other.dead;
        self.duplicates += other.duplicates;
        self.kills += other.kills;
        self.cut += other.cut;
    }
}

fn run_round(round: usize, receiver: &Receiver, rng: &mut fastrand::Rng) -> Sum {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("webhooks.db");
    let disk = (round % 2 == 1)
        .then(|| Disk::prepare(folder.path()))
        .flatten();
    let kills = rng.usize(1..=4);
    let migrated = round % 4 >= 2;
    if migrated {
        write_earlier_version(&file);
    }
    let (mut said, mut cut) = (Said::default(), 0);
    for life in 0..kills {
        let after = Duration::from_millis(rng.u64(0..400));
        // Sometimes the child is killed before it has acknowledged anything, for example while it
        // opens the file.
        let first = rng.u8(0..4) > 0;
        let child = Child {
            file: &file,
            url: &receiver.url,
            life: life.to_string(),
            sealed: round % 4 == 1 && life > 0,
            disk: disk.as_ref(),
        };
        said.add(child.killed(after, first));
        cut += disk.as_ref().map_or(0, |_| Disk::cut(&file, rng));
    }
    let last = Child {
        file: &file,
        url: &receiver.url,
        life: child::LAST_LIFE.to_owned(),
        sealed: round % 4 == 1 && kills > 1,
        disk: disk.as_ref(),
    };
    let dead = last.last();
    check(&said, &dead, &receiver.take(), kills, cut)
}

/// Writes a file of an earlier version of the crate, with empty tables.
fn write_earlier_version(file: &Path) {
    let earlier = rusqlite::Connection::open(file).expect("a file");
    let fixture = include_str!("../fixtures/files/v2.sql");
    earlier.execute_batch(fixture).expect("its tables");
    let mut tables = earlier
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'webhook%' AND name <> 'webhook_store'")
        .expect("it has tables");
    let names = tables.query_map([], |row| row.get::<_, String>(0));
    for name in names.expect("they have names") {
        let sql = format!("DELETE FROM {}", name.expect("it is text"));
        earlier.execute(&sql, []).expect("they can be emptied");
    }
}

/// The output of the children.
#[derive(Default)]
struct Said {
    /// The events that were acknowledged, in order.
    acknowledged: Vec<String>,
    /// The events whose deliveries were started again.
    again: BTreeSet<String>,
    /// The last known state of the paused endpoint; `None` if it is uncertain.
    paused: Option<bool>,
}

impl Said {
    fn add(&mut self, lines: Vec<String>) {
        let (mut found, mut set) = (false, false);
        for line in lines {
            match line.as_str() {
                child::FOUND_PAUSED | child::FOUND_RESUMED => {
                    let state = line == child::FOUND_PAUSED;
                    if let Some(paused) = self.paused {
                        assert_eq!(
                            state, paused,
                            "the endpoint was paused or not before the kill"
                        );
                    }
                    (found, self.paused) = (true, Some(state));
                }
                child::PAUSE | child::RESUME => {
                    (set, self.paused) = (true, Some(line == child::PAUSE));
                }
                other => match other.strip_prefix(child::REDELIVERED) {
                    Some(event) => drop(self.again.insert(event.to_owned())),
                    None => self.acknowledged.push(line),
                },
            }
        }
        if found && !set {
            // The child may have been killed after the change and before it wrote the line.
            self.paused = None;
        }
    }
}

/// The disk is full for a while. Events published then are refused with a reason, and accepted
/// events are delivered when there is room again.
fn run_full_round(receiver: &Receiver, rng: &mut fastrand::Rng) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("webhooks.db");
    let Some(disk) = Disk::prepare(folder.path()) else {
        return;
    };
    let work = |life: &str| Child {
        file: &file,
        url: &receiver.url,
        life: life.to_owned(),
        sealed: false,
        disk: Some(&disk),
    };
    let mut child = work(child::FULL_LIFE).spawn();
    let lines = lines_of(child.stdout.take().expect("its output is piped"));
    let mut acknowledged = BTreeSet::new();
    acknowledged.insert(lines.recv_timeout(PATIENCE).expect("it accepts something"));
    std::thread::sleep(Duration::from_millis(rng.u64(0..100)));
    Disk::set_full(&file, true);
    let (mut refused, mut told) = (0, 0);
    while refused < 20 || told == 0 {
        match lines
            .recv_timeout(PATIENCE)
            .expect("it says what happens")
            .as_str()
        {
            child::REFUSED => refused += 1,
            child::TOLD => told += 1,
            event => drop(acknowledged.insert(event.to_owned())),
        }
    }
    Disk::set_full(&file, false);
    let again = lines
        .iter()
        .find(|line| line != child::REFUSED && line != child::TOLD);
    acknowledged.extend([again.expect("it accepts events again")]);
    std::thread::sleep(Duration::from_millis(200));
    child.kill().expect("it can be killed");
    child.wait().expect("it has ended");
    let said = lines
        .iter()
        .filter(|line| line != child::REFUSED && line != child::TOLD);
    acknowledged.extend(said);
    let dead = work(child::LAST_LIFE).last();
    // While nothing can be recorded, each request is sent once more.
    let bound = 1 + acknowledged.len();
    let said = Said {
        acknowledged: acknowledged.iter().cloned().collect(),
        ..Said::default()
    };
    check(&said, &dead, &receiver.take(), bound, 0);
    println!(
        "crash test: disk full under load: {refused} refused, {} acknowledged before and after, nothing lost",
        acknowledged.len()
    );
}

/// A process that works on a file.
struct Child<'a> {
    file: &'a Path,
    url: &'a str,
    life: String,
    sealed: bool,
    disk: Option<&'a Disk>,
}

impl Child<'_> {
    fn spawn(&self) -> std::process::Child {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command
            .arg(child::COMMAND)
            .arg(self.file)
            .args([
                self.url,
                &self.life,
                if self.sealed { SEALED } else { "plain" },
            ])
            .stdout(Stdio::piped());
        if let Some(disk) = self.disk {
            disk.watch(&mut command);
        }
        command.spawn().expect("a child")
    }

    /// Runs the child, kills it `after` its start or its first acknowledgement, and returns its
    /// output.
    fn killed(&self, after: Duration, first: bool) -> Vec<String> {
        let mut child = self.spawn();
        let lines = lines_of(child.stdout.take().expect("its output is piped"));
        let mut said = Vec::new();
        if first {
            let line = lines.recv_timeout(PATIENCE);
            said.push(line.expect("it acknowledges something"));
        }
        std::thread::sleep(after);
        child.kill().expect("it can be killed");
        child.wait().expect("it has ended");
        // Lines still in the pipe were written before the end.
        said.extend(lines.iter());
        said
    }

    /// Runs the child without further events until nothing is open, and returns the events of the
    /// dead letters.
    fn last(&self) -> BTreeSet<String> {
        let mut child = self.spawn();
        let lines = lines_of(child.stdout.take().expect("its output is piped"));
        let mut dead = BTreeSet::new();
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(event) => drop(dead.insert(event)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = child.kill();
                    panic!("what was left is not delivered");
                }
            }
        }
        let status = child.wait().expect("it has ended");
        assert!(status.success(), "the last child failed: {status}");
        dead
    }
}

/// Returns the complete lines that a child writes. The channel closes when the child has ended.
fn lines_of(output: std::process::ChildStdout) -> Lines<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|length| length > 0) {
            let Some(complete) = line.strip_suffix('\n') else {
                return;
            };
            if sender.send(complete.to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

fn check(
    said: &Said,
    dead: &BTreeSet<String>,
    requests: &[Request],
    kills: usize,
    cut: usize,
) -> Sum {
    let mut by_alert = BTreeMap::<&str, Vec<&Request>>::new();
    for request in requests {
        by_alert.entry(&request.alert).or_default().push(request);
    }
    let is_delivered = |requests: &[&Request]| requests.iter().any(|request| request.status == 200);
    let mut delivered = 0;
    for event in &said.acknowledged {
        let alert = alert_of(event);
        let reached = by_alert
            .get(alert.as_str())
            .is_some_and(|all| is_delivered(all));
        delivered += usize::from(reached);
        assert!(
            reached || dead.contains(event),
            "event {event} was acknowledged, and is neither delivered nor a dead letter"
        );
        assert!(
            reached || !said.again.contains(event),
            "event {event} was started again, and not delivered"
        );
    }
    let mut duplicates = 0;
    for (alert, all) in &by_alert {
        let distinct: BTreeSet<u32> = all.iter().map(|request| request.attempt).collect();
        // A redelivery by hand repeats the first attempt.
        let by_hand = usize::from(all.iter().all(|request| request.rule == child::AGAIN));
        duplicates += (all.len() - distinct.len()).saturating_sub(by_hand);
        check_times(alert, all);
    }
    check_order(&said.acknowledged, requests);
    check_holds(requests, kills);
    // An attempt is in flight until it is on record. This includes attempts whose record was being
    // synced.
    let bound = kills * 2 * usize::try_from(IN_FLIGHT).expect("it is small");
    assert!(
        duplicates <= bound,
        "{duplicates} requests were sent again after {kills} kills, more than {bound}"
    );
    Sum {
        acknowledged: said.acknowledged.len(),
        delivered,
        dead: dead.len(),
        duplicates,
        kills,
        cut,
    }
}

/// Returns the id of an event's alert. The event's id begins with its rule.
fn alert_of(event: &str) -> String {
    let rule = event.split('/').next().expect("there is a first part");
    AlertId::new(&EventId::from(event), &RuleId::from(rule)).to_string()
}

/// For ordered events, first attempts come in the order of the events, whatever was killed in
/// between.
fn check_order(acknowledged: &[String], requests: &[Request]) {
    let ordered = acknowledged
        .iter()
        .filter(|event| event.starts_with(child::ORDERED));
    let firsts = ordered.filter_map(|event| {
        let alert = alert_of(event);
        let first = requests.iter().position(|request| request.alert == alert)?;
        Some((first, event))
    });
    let firsts: Vec<_> = firsts.collect();
    assert!(firsts.is_sorted(), "out of order: {firsts:?}");
}

/// Nothing is sent to a held endpoint, except attempts that were already in flight and those whose
/// record was lost in a kill.
fn check_holds(requests: &[Request], kills: usize) {
    let to_held = requests
        .iter()
        .filter(|request| request.rule == child::HELD);
    let to_held: Vec<&Request> = to_held.collect();
    let mut early = 0;
    for (number, request) in to_held.iter().enumerate() {
        let held = to_held[..number]
            .iter()
            .filter(|before| before.status == 503);
        let until = held
            .map(|before| before.at + Duration::from_millis(990))
            .max();
        early += usize::from(until.is_some_and(|until| request.at < until));
    }
    let bound = (kills + 1) * 2 * usize::try_from(IN_FLIGHT).expect("it is small");
    assert!(early <= bound, "{early} of {} while held", to_held.len());
}

/// No retry comes early, and none after the last.
fn check_times(alert: &str, requests: &[&Request]) {
    for request in requests {
        let number = usize::try_from(request.attempt).expect("it is small");
        assert!(number <= WAITS.len() + 1, "alert {alert}: attempt {number}");
        let before = requests
            .iter()
            .filter(|earlier| earlier.attempt + 1 == request.attempt)
            .map(|earlier| earlier.at)
            .min();
        if number > 1 {
            let before = before
                .unwrap_or_else(|| panic!("alert {alert}: attempt {number} without one before"));
            let wait = WAITS[number - 2];
            let waited = request.at.duration_since(before);
            assert!(
                waited >= wait,
                "alert {alert}: attempt {number} after {waited:?}, not {wait:?}"
            );
        }
    }
}

/// The argument of a child that seals its settings.
const SEALED: &str = "sealed";

/// How long a child may produce no output.
const PATIENCE: Duration = Duration::from_mins(1);
