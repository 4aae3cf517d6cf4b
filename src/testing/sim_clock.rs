//! Simulated time for an engine and its test.

use std::time::Duration;

use actix::System;

use crate::actor::clock::Wall;
use crate::domain::value::time::Timestamp;
use crate::engine::EngineBuilder;

/// The clock of a simulation: time stands still while any work is left, then jumps to the next
/// timer.
///
/// As outside a simulation, there are two times. Elapsed time passes ([`elapsed`](Self::elapsed),
/// [`sleep`](Self::sleep)). The wall clock ([`now`](Self::now)) can also be set
/// ([`set_forward`](Self::set_forward), [`set_back`](Self::set_back)); engines notice this within a
/// second of elapsed time.
///
/// [`SimClock::run`] creates it. Time starts at 2026-01-01T00:00:00Z. Never use real sockets or
/// threads with it: while they work, the simulation sees no work left, and every timeout fires at
/// once.
#[derive(Clone, Debug)]
pub struct SimClock {
    wall: Wall,
}

impl SimClock {
    /// Runs a test in its own actix system, on this thread, with a simulated clock.
    ///
    /// # Panics
    /// If the test panics, or no runtime can be created.
    pub fn run<T>(test: impl AsyncFnOnce(Self) -> T) -> T {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder
                .enable_all()
                .start_paused(true)
                .build()
                .expect("a runtime can be made")
        };
        let system = System::with_tokio_rt(runtime);
        system.block_on(async {
            test(Self {
                wall: Wall::simulated(START),
            })
            .await
        })
    }

    /// Returns the time of the simulated wall clock.
    pub fn now(&self) -> Timestamp {
        self.wall.now()
    }

    /// Returns how much simulated time has passed, regardless of the wall clock.
    pub fn elapsed(&self) -> Duration {
        self.wall.elapsed()
    }

    /// Sets the wall clock forward. No time passes.
    pub fn set_forward(&self, by: Duration) {
        self.wall.set_by(millis(by));
    }

    /// Sets the wall clock back. No time passes.
    pub fn set_back(&self, by: Duration) {
        self.wall.set_by(-millis(by));
    }

    /// Lets simulated time pass, together with everything due in it.
    #[expect(
        clippy::disallowed_methods,
        reason = "in a simulation this waits for nobody"
    )]
    pub async fn sleep(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }
}

impl EngineBuilder {
    /// Runs the engine on a simulated clock and on the calling thread. All random choices are drawn
    /// from `seed`: the same seed gives the same run.
    #[must_use]
    pub fn simulated(self, clock: &SimClock, seed: u64) -> Self {
        self.arbiters(0).clocked(clock.wall.clone(), seed)
    }

    /// Polls the subscribers of a simulated engine as several arbiters would: a request that they
    /// start is sent in the next poll.
    #[must_use]
    pub fn as_on_several_arbiters(self) -> Self {
        self.polled_as_on_several_arbiters()
    }
}

fn millis(by: Duration) -> i64 {
    i64::try_from(by.as_millis()).unwrap_or(i64::MAX)
}

/// 2026-01-01T00:00:00Z.
const START: Timestamp = Timestamp::from_unix_millis(1_767_225_600_000);
