//! The log while everything goes wrong.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_webhooks::store::MemoryStore;
use actix_webhooks::testing::{Faults, FaultyStore, Reply, ScriptedTransport, SimClock};
use actix_webhooks::transport::{Answer, Failure};
use actix_webhooks::{
    AddressRange, Auth, CircuitBreaker, Client, DisablePolicy, Endpoint, Engine, EngineBuilder,
    Event, ListDeadLetters, RetryPolicy, Rule,
};
use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use serde_json::json;

use crate::{HOOK, QUERY, SECRET, hides};

/// The data of events.
const BODY: &str = "told-4713";

/// Keeps every record with its fields. Other tests of this program log too, and their records must
/// not show a secret either.
struct Records(Mutex<Vec<String>>);

impl Records {
    fn all(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static RECORDS: Records = Records(Mutex::new(Vec::new()));

/// The messages alone.
static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Fields(String);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        write!(self.0, " {key}={value} {value:?}")?;
        Ok(())
    }
}

impl Log for Records {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut fields = Fields(format!("{} {}", record.target(), record.args()));
        record.key_values().visit(&mut fields).unwrap();
        let messages = MESSAGES.lock();
        let message = record.args().to_string();
        messages
            .unwrap_or_else(PoisonError::into_inner)
            .push(message);
        self.all().push(fields.0);
    }

    fn flush(&self) {}
}

fn capture() {
    // Only the first test can set the logger.
    let _ = log::set_logger(&RECORDS);
    log::set_max_level(LevelFilter::Trace);
}

/// Checks everything logged so far, and that it contains the expected messages.
#[track_caller]
fn check(messages: &[&str]) {
    // Works on a copy without the lock, because a failed assertion must not stop tests that still
    // log.
    let records = RECORDS.all().clone();
    for record in &records {
        hides("log", record);
        assert!(!record.contains(BODY), "{record}");
    }
    for message in messages {
        let found = records.iter().any(|record| record.contains(message));
        assert!(found, "{message:?} was not logged");
    }
}

fn event(number: usize) -> Event {
    Event::new("thing.happened", "client")
        .id(format!("event-{number}"))
        .data(json!({ "told": BODY }))
}

fn settings(builder: EngineBuilder, hook: &str) -> EngineBuilder {
    let endpoint = Endpoint::new(hook)
        .unwrap()
        .retry(RetryPolicy::none())
        .header("X-Team", SECRET)
        .secret_header("X-Key", SECRET)
        .auth(Auth::bearer(SECRET));
    builder
        .rule(Rule::new("rule", "*").webhook(hook).unwrap())
        .client(Client::new("client").auth(Auth::basic("user", SECRET)))
        .endpoint(endpoint)
}

#[test]
fn nothing_secret_is_logged_while_receivers_and_store_fail() {
    capture();
    SimClock::run(async |clock| {
        let receivers = ScriptedTransport::new();
        let elsewhere = format!("http://elsewhere.test/?{QUERY}");
        let user = format!("http://{SECRET}:{SECRET}@elsewhere.test/");
        receivers.decide(move |request| match request.alert.event_id.as_str() {
            "event-0" => Reply::status(503),
            "event-1" => Reply::answer(Answer::new(307).location(elsewhere.as_str())),
            "event-2" => Reply::answer(Answer::new(307).location(format!("nowhere:{QUERY}"))),
            "event-3" => Reply::hang(),
            "event-4" => Reply::fail(Failure::Certificate),
            "event-6" => Reply::answer(Answer::new(307).location(user.as_str())),
            "event-5" => Reply::fail(Failure::Unsendable),
            _ => Reply::status(410),
        });
        let faults = Faults {
            failing: 0.3,
            failing_after: 0.2,
            delay: Duration::from_millis(10),
        };
        let store = FaultyStore::new(MemoryStore::new(), faults, 7);
        let builder = Engine::builder().simulated(&clock, 1).store(store);
        let builder = builder.transport(receivers.clone());
        let engine = settings(builder, HOOK).start().await.unwrap();
        for number in 0..20 {
            while engine.publish(event(number)).await.is_err() {}
        }
        clock.sleep(Duration::from_mins(10)).await;
        let dead = engine.supervisor().send(ListDeadLetters::default()).await;
        assert_eq!(dead.unwrap().unwrap().len(), 20);
        engine.shutdown(Duration::from_secs(1)).await;
    });
    check(&["finished: ", "delivery store failed"]);
}

#[test]
fn nothing_secret_is_logged_by_a_real_connection_that_fails() {
    capture();
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = refusing.local_addr().unwrap().port();
    drop(refusing);
    actix_rt::System::new().block_on(async {
        let builder = Engine::builder().allow_addresses(AddressRange::loopback());
        let hook = format!("https://127.0.0.1:{port}/hook?token={QUERY}");
        let engine = settings(builder, &hook).start().await.unwrap();
        let mut reports = engine.watch_deliveries(10).await.unwrap();
        engine.publish(event(0)).await.unwrap();
        assert!(reports.next().await.unwrap().outcome.is_final());
        engine.shutdown(Duration::from_secs(1)).await;
    });
    check(&["finished: ", "connection to 127.0.0.1:"]);
}

/// Loggers such as `env_logger` show only the message.
#[test]
fn a_message_says_which_endpoint_which_delivery_and_what_happened() {
    const TOLD: &str = "http://told.test/hook";
    capture();
    SimClock::run(async |clock| {
        let receivers = ScriptedTransport::new();
        let hook = format!("{TOLD}?{QUERY}");
        receivers.on(
            &hook,
            [
                Reply::status(502),
                Reply::status(200),
                Reply::status(410).after(Duration::from_secs(1)),
            ],
        );
        let mut policy = DisablePolicy::never();
        policy.on_gone = true;
        let endpoint = Endpoint::new(&hook)
            .unwrap()
            .circuit_breaker(CircuitBreaker::after(1))
            .disable(policy);
        let faults = Faults {
            failing: 0.0,
            failing_after: 0.0,
            delay: Duration::ZERO,
        };
        let store = FaultyStore::new(MemoryStore::new(), faults, 7);
        let builder = Engine::builder().simulated(&clock, 1).store(store.clone());
        let builder = builder.transport(receivers.clone()).endpoint(endpoint);
        let rule = Rule::new("rule", "*").webhook(&hook).unwrap();
        let engine = builder.rule(rule).start().await.unwrap();
        engine.publish(event(0)).await.unwrap();
        clock.sleep(Duration::from_mins(1)).await;
        engine.publish(event(1)).await.unwrap();
        store.set(Faults {
            failing: 1.0,
            ..faults
        });
        clock.sleep(Duration::from_secs(2)).await;
        store.set(faults);
        clock.sleep(Duration::from_secs(5)).await;
        let alice = engine.endpoint(&hook).by("alice").note(QUERY);
        alice.pause().await.unwrap();
        engine.shutdown(Duration::from_secs(1)).await;
    });
    let told = |what: &str| {
        let found = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<_> = found
            .iter()
            .filter(|message| message.contains(TOLD) && message.contains(what))
            .cloned()
            .collect();
        assert!(!found.is_empty(), "{what:?} is not said of {TOLD}");
        found
    };
    for what in [
        "attempt 1 of delivery 1 to ",
        " finished: answered 502; next attempt at 20",
        "attempt 2 of delivery 1 to ",
        " finished: delivered, answered 200",
        " finished: answered 410; the delivery is now a dead letter",
        "circuit of endpoint ",
        " opened; attempts wait until 20",
        " disabled: receiver answered 410 (Gone); its events are kept",
        "operator action: alice sent pause_endpoint for http://told.test/hook: done",
        "delivery store failed for endpoint ",
        "delivery store is unavailable; try again later: scripted fault",
    ] {
        for message in told(what) {
            hides("message", &message);
            assert!(!message.contains('?'), "{message}");
        }
    }
}
