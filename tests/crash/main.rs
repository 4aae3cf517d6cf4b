//! Kills a process that publishes and delivers, again and again, at random moments, and checks that nothing it acknowledged is lost.
//!
//! Each round has a file of its own: a child process works on it and is killed with SIGKILL, several times, and a last one delivers what is
//! left. `CRASH_ROUNDS` sets how many rounds there are (default 2). Every second round loses power too: what the child had not synced when it was
//! killed is taken away from its files. One more round has the disk full for a while in the middle of it. (Both on Linux only.)

#![expect(
    clippy::disallowed_methods,
    reason = "a test of real processes, at real moments"
)]

mod child;
mod disk;
mod receiver;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver as Lines, RecvTimeoutError, channel};
use std::time::Duration;

use actix_webhooks::{AlertId, EventId, RuleId};

use self::child::{IN_FLIGHT, RULE, WAITS};
use self::disk::Disk;
use self::receiver::{Receiver, Request};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, file, url, life] = &arguments[..]
        && command == child::COMMAND
    {
        child::run(Path::new(file), url, life);
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
    println!(
        "crash test: {} acknowledged, {} delivered, {} dead letters, {} sent again after {} kills, {} files cut back to what was synced: nothing lost",
        all.acknowledged, all.delivered, all.dead, all.duplicates, all.kills, all.cut
    );
}

/// What one round, or all of them, came to.
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
    let (mut acknowledged, mut cut) = (BTreeSet::new(), 0);
    for life in 0..kills {
        let after = Duration::from_millis(rng.u64(0..400));
        acknowledged.extend(killed_child(
            &file,
            &receiver.url,
            life,
            after,
            disk.as_ref(),
        ));
        cut += disk.as_ref().map_or(0, |_| Disk::cut(&file));
    }
    let dead = last_child(&file, &receiver.url, disk.as_ref());
    check(&acknowledged, &dead, &receiver.take(), kills, cut)
}

/// The disk is full for a while: what is published then is refused with a reason, what was accepted is delivered when there is room again.
fn run_full_round(receiver: &Receiver, rng: &mut fastrand::Rng) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("webhooks.db");
    let Some(disk) = Disk::prepare(folder.path()) else {
        return;
    };
    let mut child = command(&file, &receiver.url, child::FULL_LIFE, Some(&disk))
        .spawn()
        .expect("a child");
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
    let dead = last_child(&file, &receiver.url, Some(&disk));
    // While nothing can be recorded, whatever was sent is sent once more.
    let bound = 1 + acknowledged.len();
    check(&acknowledged, &dead, &receiver.take(), bound, 0);
    println!(
        "crash test: disk full under load: {refused} refused, {} acknowledged before and after, nothing lost",
        acknowledged.len()
    );
}

/// Runs a child, kills it so long after its first acknowledgement, and returns what it had acknowledged.
fn killed_child(
    file: &Path,
    url: &str,
    life: usize,
    after: Duration,
    disk: Option<&Disk>,
) -> BTreeSet<String> {
    let mut child = command(file, url, &life.to_string(), disk)
        .spawn()
        .expect("a child");
    let lines = lines_of(child.stdout.take().expect("its output is piped"));
    let mut acknowledged = BTreeSet::new();
    let first = lines
        .recv_timeout(PATIENCE)
        .expect("it acknowledges something");
    acknowledged.insert(first);
    std::thread::sleep(after);
    child.kill().expect("it can be killed");
    child.wait().expect("it has ended");
    // What stands in the pipe was acknowledged before the end.
    acknowledged.extend(lines.iter());
    acknowledged
}

/// Runs a child that publishes nothing more, until nothing is open, and returns the events of the dead letters.
fn last_child(file: &Path, url: &str, disk: Option<&Disk>) -> BTreeSet<String> {
    let mut child = command(file, url, child::LAST_LIFE, disk)
        .spawn()
        .expect("a child");
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

fn command(file: &Path, url: &str, life: &str, disk: Option<&Disk>) -> Command {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command
        .arg(child::COMMAND)
        .arg(file)
        .args([url, life])
        .stdout(Stdio::piped());
    if let Some(disk) = disk {
        disk.watch(&mut command);
    }
    command
}

/// Returns the complete lines that a child writes; the sender is gone when it has ended.
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
    acknowledged: &BTreeSet<String>,
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
    let rule = RuleId::from(RULE);
    let mut delivered = 0;
    for event in acknowledged {
        let alert = AlertId::new(&EventId::from(event.as_str()), &rule).to_string();
        let reached = by_alert
            .get(alert.as_str())
            .is_some_and(|all| is_delivered(all));
        delivered += usize::from(reached);
        assert!(
            reached || dead.contains(event),
            "event {event} was acknowledged, and is neither delivered nor a dead letter"
        );
    }
    let mut duplicates = 0;
    for (alert, all) in &by_alert {
        let distinct: BTreeSet<u32> = all.iter().map(|request| request.attempt).collect();
        duplicates += all.len() - distinct.len();
        check_times(alert, all);
    }
    // An attempt is in flight until it is on record: those on the wire, and those whose record was being synced.
    let bound = kills * 2 * usize::try_from(IN_FLIGHT).expect("it is small");
    assert!(
        duplicates <= bound,
        "{duplicates} requests were sent again after {kills} kills, more than {bound}"
    );
    Sum {
        acknowledged: acknowledged.len(),
        delivered,
        dead: dead.len(),
        duplicates,
        kills,
        cut,
    }
}

/// No retry comes before its time, and none after the last.
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

/// For how long a child may do nothing that is seen.
const PATIENCE: Duration = Duration::from_mins(1);
