//! An engine on a simulated clock, with scripted receivers and a watcher that notes everything.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler};
use actix_webhooks::testing::{ScriptedTransport, SimClock};
use actix_webhooks::{
    DeadLetter, DeliveryReport, Endpoint, EndpointState, EndpointStatus, Engine, EngineBuilder,
    Event, GetStatus, ListDeadLetters, Outcome, RetryPolicy, Rule, WatchDeliveries, WatchStatus,
};

pub(crate) const HOOK: &str = "http://receiver.test/hook";

/// A running simulation.
pub(crate) struct Sim {
    pub(crate) engine: Engine,
    pub(crate) clock: SimClock,
    pub(crate) receivers: ScriptedTransport,
    pub(crate) notes: Notes,
}

/// What a watcher was told.
#[derive(Clone, Default)]
pub(crate) struct Notes {
    reports: Arc<Mutex<Vec<DeliveryReport>>>,
    states: Arc<Mutex<Vec<EndpointState>>>,
}

struct Watcher(Notes);

impl Actor for Watcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(100_000);
    }
}

impl Handler<DeliveryReport> for Watcher {
    type Result = ();

    fn handle(&mut self, report: DeliveryReport, _: &mut Context<Self>) {
        self.0.reports.lock().unwrap().push(report);
    }
}

impl Handler<EndpointStatus> for Watcher {
    type Result = ();

    fn handle(&mut self, status: EndpointStatus, _: &mut Context<Self>) {
        self.0.states.lock().unwrap().push(status.state);
    }
}

/// Runs a test with an engine that has one rule for everything, to [`HOOK`], and no jitter.
pub(crate) fn simulate(test: impl AsyncFnOnce(Sim)) {
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    simulate_with(
        move |builder| builder.rule(rule).endpoint(plain(HOOK)),
        test,
    );
}

/// Runs a test with an engine of the test's own settings.
pub(crate) fn simulate_with(
    settings: impl FnOnce(EngineBuilder) -> EngineBuilder,
    test: impl AsyncFnOnce(Sim),
) {
    SimClock::run(async |clock| {
        let receivers = ScriptedTransport::new();
        let builder = Engine::builder()
            .simulated(&clock, 1)
            .transport(receivers.clone());
        let engine = settings(builder).start().await.unwrap();
        let notes = Notes::default();
        let watcher = Watcher(notes.clone()).start();
        engine
            .supervisor()
            .send(WatchDeliveries::new(watcher.clone().recipient()))
            .await
            .unwrap();
        engine
            .supervisor()
            .send(WatchStatus::new(watcher.recipient()))
            .await
            .unwrap();
        test(Sim {
            engine,
            clock,
            receivers,
            notes,
        })
        .await;
    });
}

/// Returns an endpoint with the default policy, but without jitter.
pub(crate) fn plain(url: &str) -> Endpoint {
    Endpoint::new(url)
        .unwrap()
        .retry(RetryPolicy::three_in_two_minutes().without_jitter())
}

pub(crate) fn event(id: &str) -> Event {
    Event::new("thing.happened", "client").id(id)
}

impl Sim {
    pub(crate) async fn publish(&self, id: &str) {
        self.engine.publish(event(id)).await.unwrap();
    }

    pub(crate) async fn sleep(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }

    /// Returns when each request was sent, in seconds since the simulation began.
    pub(crate) fn sent_at(&self) -> Vec<f64> {
        let now = self.clock.elapsed();
        let seconds = |request: &actix_webhooks::testing::SentRequest| {
            now.saturating_sub(request.at.elapsed()).as_secs_f64()
        };
        self.receivers.requests().iter().map(seconds).collect()
    }

    /// Returns the URLs of all requests, in order.
    pub(crate) fn sent_to(&self) -> Vec<String> {
        self.receivers
            .requests()
            .iter()
            .map(|sent| sent.request.url.as_str().to_owned())
            .collect()
    }

    pub(crate) fn reports(&self) -> Vec<DeliveryReport> {
        self.notes.reports.lock().unwrap().clone()
    }

    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.reports()
            .into_iter()
            .map(|report| report.outcome)
            .collect()
    }

    pub(crate) fn states(&self) -> Vec<EndpointState> {
        self.notes.states.lock().unwrap().clone()
    }

    pub(crate) async fn status(&self, url: &str) -> EndpointStatus {
        self.engine
            .supervisor()
            .send(GetStatus::new(url))
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) async fn dead_letters(&self) -> Vec<DeadLetter> {
        self.engine
            .supervisor()
            .send(ListDeadLetters::default())
            .await
            .unwrap()
            .unwrap()
    }
}
