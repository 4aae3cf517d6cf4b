//! `cargo bench` measures, in turn and in one run, a bare awc loop and the engine against one local receiver in a process of its own;
//! then memory per idle endpoint; then healthy endpoints beside hanging ones.
//!
//! `cargo bench -- quick` takes a minute and is for looking whether everything runs; `cargo bench -- 2000` sets the milliseconds per measurement.
//! `cargo bench -- engine 100 1 5000` (or `bare`) makes one measurement alone, for a profiler: endpoints, arbiters, milliseconds.

mod bare;
mod delivering;
mod idle;
mod isolation;
mod measure;
mod receiver;

use std::time::Duration;

use self::delivering::Kept;
use self::measure::{Sample, median};
use self::receiver::Receiver;

/// Attempts in flight, in both.
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
    if let [which, endpoints, arbiters, millis] = &arguments[..] {
        alone(
            which,
            endpoints.parse().expect("a count"),
            arbiters.parse().expect("a count"),
            Duration::from_millis(millis.parse().expect("milliseconds")),
        );
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "quick");
    let millis = arguments
        .iter()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(if quick { 300 } else { 2_000 });
    let run = Duration::from_millis(millis);
    let rounds = if quick { 1 } else { 5 };

    println!(
        "1 KiB bodies, {IN_FLIGHT} attempts in flight, receiver in its own process on the same machine,"
    );
    println!(
        "{rounds} rounds of {} ms in turn (bare, engine, bare, engine, …), medians\n",
        run.as_millis()
    );
    throughput(run, rounds);
    idle::run_apart(if quick { 10_000 } else { 100_000 });
    isolation::run(run, rounds);
}

/// One measurement of one of the two, for a profiler.
fn alone(which: &str, endpoints: usize, arbiters: usize, run: Duration) {
    let receiver = Receiver::start(endpoints, 0);
    let measured = match which {
        "bare" => bare::run(&receiver.urls, arbiters, run),
        "durable" => delivering::run(&receiver.urls, arbiters, run, Kept::OnDisk),
        _ => delivering::run(&receiver.urls, arbiters, run, Kept::InMemory),
    };
    println!(
        "{which} {endpoints} {arbiters}: {:.0}/s, {:.1} CPU µs",
        measured.per_second, measured.cpu_micros
    );
}

fn throughput(run: Duration, rounds: usize) {
    println!(
        "{:>9} {:>8} | {:>10} {:>8} | {:>10} {:>8} | {:>6} {:>13}",
        "endpoints", "arbiters", "bare/s", "CPU µs", "engine/s", "CPU µs", "ratio", "worst … best"
    );
    for endpoints in [1, 100, 1_000] {
        let receiver = Receiver::start(endpoints, 0);
        for arbiters in [1, 2] {
            let mut pairs: Vec<(Sample, Sample)> = Vec::new();
            for _ in 0..rounds {
                let bare = bare::run(&receiver.urls, arbiters, run);
                let engine = delivering::run(&receiver.urls, arbiters, run, Kept::InMemory);
                pairs.push((bare, engine));
            }
            let ratios: Vec<f64> = pairs
                .iter()
                .map(|(bare, engine)| engine.per_second / bare.per_second)
                .collect();
            let of = |pick: fn(&(Sample, Sample)) -> f64| median(pairs.iter().map(pick).collect());
            println!(
                "{endpoints:>9} {arbiters:>8} | {:>10.0} {:>8.1} | {:>10.0} {:>8.1} | {:>6.2} {:>6.2} … {:.2}",
                of(|(bare, _)| bare.per_second),
                of(|(bare, _)| bare.cpu_micros),
                of(|(_, engine)| engine.per_second),
                of(|(_, engine)| engine.cpu_micros),
                median(ratios.clone()),
                ratios.iter().copied().fold(f64::MAX, f64::min),
                ratios.iter().copied().fold(0.0, f64::max)
            );
        }
    }
}
