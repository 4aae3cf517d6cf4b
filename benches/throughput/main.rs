//! Throughput benchmarks.
//!
//! `cargo bench` measures in one run, in turn: a bare awc loop and the engine, each with a new
//! local receiver in its own process; memory per idle endpoint; healthy endpoints beside hanging
//! ones; routing among 100,000 rules.
//!
//! `cargo bench -- quick` takes a minute and only checks that everything runs. `cargo bench --
//! 2000` sets the milliseconds per measurement. `cargo bench -- memory 100 1 5000` (or `bare`, or
//! `disk`) makes a single measurement for a profiler; the arguments are endpoints, arbiters and
//! milliseconds. `cargo bench -- routing` measures routing alone, `cargo bench -- live` the
//! listeners of `/live`, `cargo bench -- asking 1000000` operators' questions.

mod asking;
mod bare;
mod delivering;
mod durable;
mod idle;
mod isolation;
mod live;
mod measure;
mod receiver;
mod routing;

use std::time::Duration;

use self::delivering::{Kept, Over};
use self::live::Listeners;
use self::measure::{Sample, median};
use self::receiver::Receiver;

/// Used for both, as in a service with much to send: memory allocated for a delivery is freed much
/// later, often by another thread. `RUSTFLAGS="--cfg system_allocator"` selects the system's
/// allocator.
#[cfg(not(system_allocator))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Makes the allocator request large pages; read when the process starts. Without them much of the
/// time is spent on address translation.
pub(crate) const LARGE_PAGES: &str = "MIMALLOC_ALLOW_LARGE_OS_PAGES";

/// The delay in milliseconds until the allocator returns unused memory. The default of 10 returns
/// memory that is needed again a moment later.
pub(crate) const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// Attempts in flight, for both the loop and the engine.
const IN_FLIGHT: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    if let [command, listeners, hanging] = &arguments[..]
        && command == receiver::COMMAND
    {
        receiver::run(
            listeners.parse().expect("a count"),
            hanging.parse().expect("a count"),
        );
        return;
    }
    if let [command, endpoints] = &arguments[..]
        && command == idle::COMMAND
    {
        idle::run(endpoints.parse().expect("a count"));
        return;
    }
    if let [command, port] = &arguments[..]
        && command == live::COMMAND
    {
        live::run_listeners(port.parse().expect("a port"));
        return;
    }
    if let [command, deliveries] = &arguments[..]
        && command == asking::COMMAND
    {
        asking::run(deliveries.parse().expect("a count"));
        return;
    }
    if let [command, which, scale] = &arguments[..]
        && command == durable::COMMAND
    {
        durable::run(which, scale);
        return;
    }
    if std::env::var_os(LARGE_PAGES).is_none() {
        start_again_with_large_pages();
        return;
    }
    if let [which, endpoints, arbiters, millis] = &arguments[..] {
        alone(
            which,
            endpoints.parse().expect("a count"),
            arbiters.parse().expect("a count"),
            Duration::from_millis(millis.parse().expect("milliseconds")),
        );
        return;
    }
    if let [command] = &arguments[..]
        && command == routing::COMMAND
    {
        routing::run(Duration::from_millis(500), 7);
        return;
    }
    if let [command] = &arguments[..]
        && command == "live"
    {
        live::run(Duration::from_secs(2), 11);
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "quick");
    let millis = arguments
        .iter()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(if quick { 300 } else { 2_000 });
    let run = Duration::from_millis(millis);
    let rounds = if quick { 1 } else { 5 };

    let allocator = if cfg!(system_allocator) {
        "the system's allocator"
    } else {
        "mimalloc with large pages, which keeps unused memory for 1 s,"
    };
    println!(
        "1 KiB bodies, {IN_FLIGHT} attempts in flight, each measurement of throughput in a process of its own with a new receiver in another on the same machine,"
    );
    println!(
        "{allocator} for all, at most {} deliveries open in memory and {} on disk,",
        delivering::OPEN_IN_MEMORY,
        delivering::OPEN_ON_DISK
    );
    println!(
        "{rounds} rounds of {} ms in turn (bare, in memory, on disk, bare, …), medians\n",
        run.as_millis()
    );
    throughput(run, rounds);
    routing::run(run.min(Duration::from_millis(500)), rounds);
    idle::run_apart(if quick { 10_000 } else { 100_000 });
    isolation::run(run, rounds);
    live::run(run, rounds);
    durable::run_apart(quick);
    asking::run_apart(quick);
}

fn start_again_with_large_pages() {
    let program = std::env::current_exe().expect("this program has a path");
    let status = std::process::Command::new(program)
        .args(std::env::args().skip(1))
        .env(LARGE_PAGES, "1")
        .env(PURGE_DELAY, "1000")
        .status()
        .expect("this program starts again");
    std::process::exit(status.code().unwrap_or(1));
}

/// Makes one measurement with its own receiver.
fn alone(which: &str, endpoints: usize, arbiters: usize, run: Duration) {
    let receiver = Receiver::start(endpoints, 0);
    let urls = &receiver.urls;
    let deliver = |kept, over| delivering::run(urls, arbiters, run, kept, over, |_| ());
    let watched = |kept| delivering::run(urls, arbiters, run, kept, Over::Awc, Listeners::start);
    let measured = match which {
        "bare" => bare::run(&receiver.urls, arbiters, run),
        "memory" => deliver(Kept::InMemory, Over::Awc),
        "disk" => deliver(Kept::OnDisk, Over::Awc),
        "memory-http" => deliver(Kept::InMemory, Over::Http),
        "disk-http" => deliver(Kept::OnDisk, Over::Http),
        "memory-watched" => watched(Kept::InMemory),
        "disk-watched" => watched(Kept::OnDisk),
        other => {
            panic!("there is bare, and memory and disk, also with -http or -watched; not {other}")
        }
    };
    println!("{measured}");
}

/// Makes one measurement in its own process, so that earlier ones do not affect the memory or the
/// receiver.
fn apart(which: &str, endpoints: usize, arbiters: usize, run: Duration) -> Sample {
    let program = std::env::current_exe().expect("this program has a path");
    let output = std::process::Command::new(program)
        .arg(which)
        .args([endpoints.to_string(), arbiters.to_string()])
        .arg(run.as_millis().to_string())
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("this program starts again");
    let line = String::from_utf8_lossy(&output.stdout);
    line.parse().expect("the measurement succeeds")
}

fn throughput(run: Duration, rounds: usize) {
    const COLUMNS: [&str; 5] = ["bare", "memory", "disk", "memory-http", "disk-http"];
    println!(
        "{:>9} {:>8} | {:>8} {:>6} | {:>33} | {:>33} | {:>33} | {:>33}",
        "",
        "",
        "bare awc",
        "",
        "over awc, in memory",
        "over awc, on disk",
        "HttpTransport, in memory",
        "HttpTransport, on disk",
    );
    let column = format!(
        "{:>8} {:>6} {:>5} {:>11}",
        "/s", "CPU µs", "ratio", "worst…best"
    );
    println!(
        "{:>9} {:>8} | {:>8} {:>6} | {column} | {column} | {column} | {column}",
        "endpoints", "arbiters", "/s", "CPU µs",
    );
    for endpoints in [1, 100, 1_000] {
        for arbiters in [1, 2] {
            let rows: Vec<[Sample; 5]> = (0..rounds)
                .map(|_| COLUMNS.map(|which| apart(which, endpoints, arbiters, run)))
                .collect();
            let columns = [1, 2, 3, 4].map(|column| Column::of(&rows, column).to_string());
            let bare = Column::of(&rows, 0);
            println!(
                "{endpoints:>9} {arbiters:>8} | {:>8.0} {:>6.1} | {}",
                bare.per_second,
                bare.cpu_micros,
                columns.join(" | ")
            );
        }
    }
}

/// The medians of one column, and their ratios to the first column.
struct Column {
    per_second: f64,
    cpu_micros: f64,
    ratios: Vec<f64>,
}

impl Column {
    fn of(rows: &[[Sample; 5]], column: usize) -> Self {
        let ratio = |row: &[Sample; 5]| row[column].per_second / row[0].per_second;
        Self {
            per_second: median(rows.iter().map(|row| row[column].per_second).collect()),
            cpu_micros: median(rows.iter().map(|row| row[column].cpu_micros).collect()),
            ratios: rows.iter().map(ratio).collect(),
        }
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let worst = self.ratios.iter().copied().fold(f64::MAX, f64::min);
        let best = self.ratios.iter().copied().fold(0.0, f64::max);
        write!(
            f,
            "{:>8.0} {:>6.1} {:>5.2} {:>11}",
            self.per_second,
            self.cpu_micros,
            median(self.ratios.clone()),
            format!("{worst:.2}…{best:.2}")
        )
    }
}
