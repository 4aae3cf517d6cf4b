//! Sets the wall clock of a process that publishes and delivers over real sockets. Checks that
//! nothing is lost, that no retry is early or late, and that displayed times follow the clock.
//!
//! The clock is set an hour back, then an hour ahead of the system's time, then 2 s to and fro,
//! `CLOCK_SETTINGS` times (default 20), then back once more. Then the process is killed, and
//! another one continues. (On Linux only.)
//! `CLOCK_FAKETIME=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1` uses that library to set
//! the clock.

#![expect(
    clippy::disallowed_methods,
    reason = "a test of real processes, at real moments"
)]

mod child;
mod receiver;
#[cfg(unix)]
mod wall;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use actix_webhooks::{AlertId, EventId, RuleId};

use self::child::{ASKED, HELD, PLAIN, RULE};
use self::receiver::Request;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, file, origin, life] = &arguments[..]
        && command == child::COMMAND
    {
        child::run(Path::new(file), origin, life);
        return;
    }
    #[cfg(target_os = "linux")]
    parent::run();
    #[cfg(not(target_os = "linux"))]
    println!(
        "clock test: no clock that one process can set for another on this system; CI runs it on Linux"
    );
}

#[cfg(target_os = "linux")]
mod parent {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc::{Receiver as Lines, channel};
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::child::{COMMAND, LAST_LIFE, SHOWS};
    use super::receiver::Receiver;
    use super::wall::Wall;
    use super::{BTreeSet, Duration, HOUR_MS, Instant, PATIENCE, Path, STAYS, check};

    pub(super) fn run() {
        let settings = match std::env::var("CLOCK_SETTINGS") {
            Ok(text) => text.parse().expect("CLOCK_SETTINGS is a number"),
            Err(_) => 20,
        };
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("webhooks.db");
        let (wall, receiver) = (Wall::prepare(folder.path()), Receiver::start());
        let mut acknowledged = BTreeSet::new();

        let (mut child, lines) = start(&file, &receiver.origin, "first", &wall);
        for ahead_ms in [0, -HOUR_MS, HOUR_MS] {
            wall.set(ahead_ms);
            wait_until_shown(&lines, ahead_ms, &mut acknowledged);
            std::thread::sleep(STAYS);
        }
        for setting in 0..settings {
            wall.set(if setting % 2 == 0 { -2_000 } else { 2_000 });
            std::thread::sleep(Duration::from_millis(100));
        }
        wall.set(-HOUR_MS);
        wait_until_shown(&lines, -HOUR_MS, &mut acknowledged);
        child.kill().expect("it can be killed");
        child.wait().expect("it has ended");
        let killed_at = Instant::now();
        // Lines still in the pipe were acknowledged before the end.
        acknowledged.extend(lines.iter().filter(|line| !line.starts_with(SHOWS)));

        let (mut child, lines) = start(&file, &receiver.origin, LAST_LIFE, &wall);
        let ended = lines.recv_timeout(PATIENCE);
        let _ = child.kill();
        let status = child.wait().expect("it has ended");
        assert!(
            status.success() && ended.is_err(),
            "what was left is not delivered: {status}"
        );
        check(&acknowledged, &receiver.requests(), killed_at);
    }

    fn start(file: &Path, origin: &str, life: &str, wall: &Wall) -> (Child, Lines<String>) {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.arg(COMMAND).arg(file).args([origin, life]);
        wall.give_to(command.stdout(Stdio::piped()));
        let mut child = command.spawn().expect("a child");
        let output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        (child, lines)
    }

    /// Waits until the engine shows a time by the clock as it was set.
    fn wait_until_shown(lines: &Lines<String>, ahead_ms: i64, acknowledged: &mut BTreeSet<String>) {
        let begun = Instant::now();
        loop {
            let line = lines.recv_timeout(PATIENCE).expect("it says what happens");
            let Some(shown) = line.strip_prefix(SHOWS) else {
                acknowledged.insert(line);
                continue;
            };
            let shown: i64 = shown.parse().expect("milliseconds");
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("after 1970");
            let now = i64::try_from(now.as_millis()).expect("this age");
            if (shown - now - ahead_ms).abs() < HOUR_MS / 2 {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "what is shown does not follow the clock"
            );
        }
    }
}

fn check(acknowledged: &BTreeSet<String>, requests: &[Request], killed_at: Instant) {
    let mut attempts = BTreeMap::<(&str, &str), Vec<&Request>>::new();
    for request in requests {
        let key = (request.path.as_str(), request.alert.as_str());
        attempts.entry(key).or_default().push(request);
    }
    let rule = RuleId::from(RULE);
    for event in acknowledged {
        let alert = AlertId::new(&EventId::from(event.as_str()), &rule).to_string();
        for path in [PLAIN, ASKED, HELD] {
            let sent = attempts.get(&(path, alert.as_str())).into_iter().flatten();
            let delivered = |request: &&&Request| request.again_after.is_none();
            assert!(
                sent.filter(delivered).count() > 0,
                "event {event} is not delivered to {path}"
            );
        }
    }
    let (mut retries, mut worst) = (0, Duration::ZERO);
    for ((path, alert), sent) in &attempts {
        for request in sent.iter().filter(|request| request.attempt > 1) {
            let earlier = sent
                .iter()
                .filter(|earlier| earlier.attempt + 1 == request.attempt);
            // An attempt that was not on record when the process was killed was sent twice.
            let (first, last) = (
                earlier.clone().map(|one| one.at).min(),
                earlier.map(|one| one.at).max(),
            );
            let wait = sent
                .iter()
                .find(|earlier| earlier.attempt + 1 == request.attempt);
            let (Some(first), Some(last), Some(wait)) =
                (first, last, wait.and_then(|one| one.again_after))
            else {
                panic!(
                    "alert {alert} to {path}: attempt {} without a failed one before",
                    request.attempt
                );
            };
            let waited = request.at - first;
            assert!(
                waited >= wait,
                "alert {alert} to {path}: after {waited:?}, not {wait:?}"
            );
            let late = request.at.saturating_duration_since(last + wait);
            assert!(late < LATE, "alert {alert} to {path}: late by {late:?}");
            (retries, worst) = (retries + 1, worst.max(late));
        }
    }
    let holds = check_holds(requests, killed_at);
    println!(
        "clock test: {} acknowledged, {} requests, {retries} retries, none early, the latest by {worst:?}, {holds} holds kept: nothing lost",
        acknowledged.len(),
        requests.len(),
    );
    assert!(retries > 0 && holds > 0, "nothing was tested");
}

/// Checks that a receiver that asked for a hold is left alone for that time. Returns the number of
/// holds.
fn check_holds(requests: &[Request], killed_at: Instant) -> usize {
    let held: Vec<&Request> = requests.iter().filter(|one| one.path == HELD).collect();
    let mut holds = 0;
    for pair in held.windows(2) {
        let Some(wait) = pair[0].again_after else {
            continue;
        };
        // The process may have been killed before the hold was on record.
        if pair[0].at + wait < killed_at {
            let waited = pair[1].at - pair[0].at;
            assert!(
                waited >= wait,
                "it is held, and called again after {waited:?}"
            );
            holds += 1;
        }
    }
    holds
}

const HOUR_MS: i64 = 3_600_000;

/// How long the clock stays as it was set.
const STAYS: Duration = Duration::from_secs(3);

/// The allowed lateness of a retry: a second, plus the delay of a busy machine.
const LATE: Duration = Duration::from_secs(5);

/// How long a child may produce no output.
const PATIENCE: Duration = Duration::from_mins(1);
