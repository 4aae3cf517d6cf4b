//! Tools for testing an application's webhooks, or your own store or transport, without sockets or
//! waiting.
//!
//! - [`SimClock`] runs an engine in simulated time: days of retries pass in milliseconds,
//!   repeatably.
//! - [`ScriptedTransport`] plays the receivers and records every request.
//! - [`FaultyStore`] makes a store fail and delay.
//! - [`Blocking`] makes a store answer at once, so that simulated time stands still meanwhile.
//! - [`Recorder`] records the statuses and reports of an engine.
//! - [`store_conformance`] checks that a store keeps the contract of
//!   [`Store`](crate::store::Store).
//!
//! ```
//! use std::time::Duration;
//! use actix_webhooks::testing::{Reply, ScriptedTransport, SimClock};
//! use actix_webhooks::{Engine, Event, Rule};
//!
//! SimClock::run(async |clock| {
//!     let receivers = ScriptedTransport::new();
//!     receivers.on("https://example.com/hooks", [Reply::status(503), Reply::status(200)]);
//!     let engine = Engine::builder()
//!         .simulated(&clock, 1)
//!         .transport(receivers.clone())
//!         .rule(Rule::new("r", "*").webhook("https://example.com/hooks").unwrap())
//!         .start()
//!         .await
//!         .unwrap();
//!     engine.publish(Event::new("invoice.paid", "client-1")).await.unwrap();
//!     clock.sleep(Duration::from_secs(60)).await;
//!     assert_eq!(receivers.requests().len(), 2, "one retry");
//! });
//! ```

mod blocking;
mod conformance;
mod faulty;
mod recorder;
mod scripted;
mod shards;
mod sim_clock;

pub use self::blocking::Blocking;
pub use self::conformance::store_conformance;
pub use self::faulty::{Faults, FaultyStore, RareFault};
pub use self::recorder::Recorder;
pub use self::scripted::{Reply, ScriptedTransport, SentRequest, SentTokenRequest};
pub use self::shards::{lay_down, take_up};
pub use self::sim_clock::SimClock;
