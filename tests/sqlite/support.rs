//! Engines in simulated time on one file.

use std::path::PathBuf;
use std::time::Duration;

use actix_webhooks::store::{SqliteOptions, SqliteStore};
use actix_webhooks::testing::{Blocking, ScriptedTransport, SimClock};
use actix_webhooks::{
    Endpoint, EndpointStatus, Engine, EngineBuilder, Event, GetStatus, RetryPolicy, Rule,
};

pub(crate) const HOOK: &str = "http://receiver.test/hook";

/// A file that several engines use, one after the other.
pub(crate) struct Life {
    folder: tempfile::TempDir,
    pub(crate) receivers: ScriptedTransport,
}

impl Life {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            receivers: ScriptedTransport::new(),
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("webhooks.db")
    }

    /// Starts an engine on the file, with one rule that sends everything to [`HOOK`]. Its time is
    /// `clock`, which continues from one engine to the next.
    pub(crate) async fn start(&self, clock: &SimClock) -> Engine {
        self.start_with(clock, |builder| builder).await
    }

    pub(crate) async fn start_with(
        &self,
        clock: &SimClock,
        settings: impl FnOnce(EngineBuilder) -> EngineBuilder,
    ) -> Engine {
        self.start_all(clock, SqliteOptions::default(), settings)
            .await
    }

    pub(crate) async fn start_on(&self, options: SqliteOptions, clock: &SimClock) -> Engine {
        self.start_all(clock, options, |builder| builder).await
    }

    /// Starts an engine with its rule alone, so that settings of endpoints come from the file.
    pub(crate) async fn start_bare(&self, clock: &SimClock) -> Engine {
        let store = SqliteStore::open(self.file()).unwrap();
        let builder = Engine::builder()
            .simulated(clock, 1)
            .store(Blocking(store))
            .transport(self.receivers.clone())
            .rule(Rule::new("rule", "*").webhook(HOOK).unwrap());
        builder.start().await.unwrap()
    }

    async fn start_all(
        &self,
        clock: &SimClock,
        options: SqliteOptions,
        settings: impl FnOnce(EngineBuilder) -> EngineBuilder,
    ) -> Engine {
        let store = SqliteStore::open_with(self.file(), options).unwrap();
        let endpoint = Endpoint::new(HOOK)
            .unwrap()
            .retry(RetryPolicy::three_in_two_minutes().without_jitter());
        let builder = Engine::builder()
            .simulated(clock, 1)
            .store(Blocking(store))
            .transport(self.receivers.clone())
            .rule(Rule::new("rule", "*").webhook(HOOK).unwrap())
            .endpoint(endpoint);
        settings(builder).start().await.unwrap()
    }
}

/// Ends an engine without draining it. To the engine this is the same as a crash.
pub(crate) async fn crash(engine: Engine) {
    engine.shutdown(Duration::ZERO).await;
}

pub(crate) fn event(id: &str) -> Event {
    Event::new("thing.happened", "client").id(id)
}

pub(crate) async fn status(engine: &Engine) -> EndpointStatus {
    let status = engine.supervisor().send(GetStatus::new(HOOK)).await;
    status.unwrap().unwrap()
}
