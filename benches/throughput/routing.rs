//! The cost of finding the rules of an event among 100,000, with and without filters.
//!
//! Only the routing table is measured: no actor, no store, no body.

use std::hint::black_box;
use std::time::{Duration, Instant};

use actix_webhooks::fuzzing::RoutingTable;
use actix_webhooks::{Condition, Event, Filter, Rule, Timestamp};
use serde_json::json;

use crate::measure::{median, resident_bytes};

/// The argument that selects this measurement alone.
pub(crate) const COMMAND: &str = "routing";

const RULES: usize = 100_000;
/// Rules of each client, one for each type.
const TYPES: usize = 10;
const CLIENTS: usize = RULES / TYPES;

/// Which rules have a filter of three conditions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filtered {
    None,
    /// Only rules that no event of the measurement finds.
    Unused,
    All,
}

/// Prints the medians of `rounds` measurements of `run` each, taken in turn.
pub(crate) fn run(run: Duration, rounds: usize) {
    let before = resident_bytes();
    let started = now();
    let plain = table(Filtered::None);
    let (put, bytes) = (started.elapsed(), resident_bytes().saturating_sub(before));
    let tables = [plain, table(Filtered::Unused), table(Filtered::All)];
    let events = events();
    let mut rates = [const { Vec::new() }; 3];
    let mut explained = Vec::new();
    for _ in 0..rounds {
        for (rates, table) in rates.iter_mut().zip(&tables) {
            rates.push(rate(&events, run, |event| table.matches(event).len()));
        }
        let [.., filtered] = &tables;
        let misses = |event: &Event| filtered.explain(event).misses.len();
        explained.push(rate(&events, run, misses));
    }
    let [none, unused, all] = rates.map(median);
    println!(
        "\nrouting among {RULES} rules of {CLIENTS} clients, two of which match, one thread, medians of {rounds}"
    );
    println!("  without filters                   {none:>10.0} events/s");
    let share = |rate: f64| rate / none;
    println!(
        "  filters, but not of its rules     {unused:>10.0} events/s  {:.2}",
        share(unused)
    );
    println!(
        "  three conditions on every rule    {all:>10.0} events/s  {:.2}",
        share(all)
    );
    println!(
        "  explained, as in the line above   {:>10.0} events/s",
        median(explained)
    );
    println!(
        "  {} bytes for each rule, {:.0} ms to put all",
        bytes / u64::try_from(RULES).unwrap_or(1),
        put.as_secs_f64() * 1e3
    );
}

/// Every client has a rule for `kind-0.*` to `kind-9.*`; events are of the first five kinds. One
/// more rule is for every event.
fn table(filtered: Filtered) -> RoutingTable {
    let mut table = RoutingTable::default();
    let webhook = |rule: Rule| rule.webhook("https://example.com/hooks").expect("a URL");
    let large = Filter::all([
        Condition::equals("/customer/country", "DE"),
        Condition::gte("/amount", 1_000),
        Condition::exists("/lines/0/sku"),
    ]);
    for number in 0..RULES {
        let (client, kind) = (number / TYPES, number % TYPES);
        let mut rule = webhook(Rule::new(
            format!("rule-{number}"),
            format!("kind-{kind}.*"),
        ));
        rule = rule.client(format!("client-{client}"));
        let is_found = kind < TYPES / 2;
        let has_filter = match filtered {
            Filtered::None => false,
            Filtered::Unused => !is_found,
            Filtered::All => true,
        };
        if has_filter {
            rule = rule.filter(large.clone());
        }
        table.put(rule);
    }
    let mut audit = webhook(Rule::new("audit", "*"));
    if filtered == Filtered::All {
        audit = audit.filter(large);
    }
    table.put(audit);
    table
}

/// Returns events that two rules match, with data as an application has it.
fn events() -> Vec<Event> {
    let event = |number: usize| {
        // A prime step, so that neighbouring events are of distant clients.
        let (client, kind) = (number * 7_919 % CLIENTS, number % (TYPES / 2));
        let at = Timestamp::from_unix_millis(0);
        let (rule_type, client) = (format!("kind-{kind}.paid"), format!("client-{client}"));
        Event::identified("e", at, rule_type, client).data(json!({
            "id": "invoice-1", "amount": 1_000 + number, "currency": "EUR", "note": null,
            "customer": { "name": "Bank of Dave", "country": "DE", "email": "d@example.com" },
            "lines": [{ "sku": "a", "count": 1 }, { "sku": "b", "count": 2 }],
        }))
    };
    (0..1_000).map(event).collect()
}

/// Returns how often a second `matched` can be done, over the events in turn.
fn rate(events: &[Event], run: Duration, matched: impl Fn(&Event) -> usize) -> f64 {
    let (started, mut count) = (now(), 0_u32);
    while started.elapsed() < run {
        for event in events {
            black_box(matched(black_box(event)));
        }
        count += 1;
    }
    let events = f64::from(count) * f64::from(u32::try_from(events.len()).expect("few"));
    events / started.elapsed().as_secs_f64()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
fn now() -> Instant {
    Instant::now()
}
