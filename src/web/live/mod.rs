//! `/live`: what changes, as server-sent events.
//!
//! One [`Hub`] looks once a second at whatever somebody watches, and hands what has changed to all
//! who watch it. So ten open pages cost no more than one, and nobody costs nothing. A listener that
//! is slower gets the latest state; what it missed is counted ([`held::Held`]).
//!
//! Attempts are a sample. Up to twenty a second are shown of each topic; the others are counted
//! where they happen, without being built.

mod held;
mod hub;
mod look;
mod stream;
mod topic;

use std::time::Duration;

use actix::{Actor as _, Addr};
use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;

use self::hub::{Hub, Listen};
pub(super) use self::topic::{Topic, Topics};
use super::problems::{Code, Problem};
use crate::engine::Engine;

/// The way to the hub of a scope, which is started for the first listener.
pub(super) struct Live {
    hub: Mutex<Option<Addr<Hub>>>,
    max_listeners: usize,
}

impl Live {
    pub(super) fn new(max_listeners: usize) -> Self {
        Self {
            hub: Mutex::default(),
            max_listeners,
        }
    }

    /// Returns one with the same settings, and a hub of its own.
    pub(super) fn unused(&self) -> Self {
        Self::new(self.max_listeners)
    }

    /// Returns the events of these topics: first their present state, then each change.
    pub(super) async fn listen(
        &self,
        engine: &Engine,
        Topics(topics): Topics,
    ) -> Result<impl Stream<Item = Bytes> + use<>, Problem> {
        let asked = self.hub(engine).send(Listen { topics }).await;
        let ended = |_| Problem::new(Code::Internal, "the hub of live events has ended");
        let listener = asked.map_err(ended)??;
        Ok(stream::events(listener))
    }

    /// Returns the hub. The worker in which an earlier one ran may have ended, and its listeners
    /// with it.
    fn hub(&self, engine: &Engine) -> Addr<Hub> {
        let mut hub = self.hub.lock();
        if let Some(addr) = hub.as_ref().filter(|addr| addr.connected()) {
            return addr.clone();
        }
        let addr = Hub::new(engine.clone(), self.max_listeners).start();
        hub.insert(addr).clone()
    }
}

/// How often the hub looks.
const TICK: Duration = Duration::from_secs(1);

/// The most attempts of one topic that are shown in a tick.
const SAMPLE: usize = 20;
