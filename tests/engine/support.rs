//! An engine on a simulated clock, with scripted receivers and a watcher that records everything.

use std::time::Duration;

use actix_webhooks::store::DeadLetterQuery;
use actix_webhooks::testing::{Recorder, ScriptedTransport, SimClock};
use actix_webhooks::{
    DeadLetter, DeliveryReport, Endpoint, EndpointState, EndpointStatus, Engine, EngineBuilder,
    Event, Outcome, RetryPolicy, Rule,
};

pub(crate) const HOOK: &str = "http://receiver.test/hook";

/// A running simulation.
pub(crate) struct Sim {
    pub(crate) engine: Engine,
    pub(crate) clock: SimClock,
    pub(crate) receivers: ScriptedTransport,
    pub(crate) recorder: Recorder,
}

/// Runs a test with an engine that has one rule for everything, to [`HOOK`], and no jitter.
pub(crate) fn simulate(test: impl AsyncFnOnce(Sim)) {
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    simulate_with(
        move |builder| builder.rule(rule).endpoint(plain(HOOK)),
        test,
    );
}

/// Runs a test with an engine that has the test's own settings.
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
        let recorder = Recorder::new();
        recorder.watch(&engine).await.unwrap();
        test(Sim {
            engine,
            clock,
            receivers,
            recorder,
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
        self.recorder.reports()
    }

    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.reports()
            .into_iter()
            .map(|report| report.outcome)
            .collect()
    }

    pub(crate) fn states(&self) -> Vec<EndpointState> {
        let statuses = self.recorder.statuses().into_iter();
        statuses.map(|status| status.state).collect()
    }

    pub(crate) async fn status(&self, url: &str) -> EndpointStatus {
        let status = self.engine.endpoint(url).status().await;
        status.unwrap().expect("the endpoint is known")
    }

    pub(crate) async fn dead_letters(&self) -> Vec<DeadLetter> {
        let letters = self.engine.dead_letters(DeadLetterQuery::default());
        letters.await.unwrap().items
    }
}
