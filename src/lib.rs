//! Sends webhooks from an actix application.
//!
//! Events go in as actor messages; a router actor fans them out by rule and client; a supervisor actor runs one subscriber actor per
//! webhook URL, each with its own retry timer, backoff and connections; the state of every endpoint comes out as status messages.
//! There is no server, broker or database to run.
//!
//! It is not a message broker, not a receiver of webhooks (it has what receivers verify them with), and not a cron.
//!
//! ```
//! use std::time::Duration;
//! use actix_webhooks::{AddressRange, Auth, Client, Engine, Event, Rule};
//! use serde_json::json;
//!
//! # #[actix_rt::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::builder()
//!     .allow_addresses(AddressRange::loopback()) // only public addresses are called otherwise
//!     .client(Client::new("client-1").name("Bank of Dave").auth(Auth::bearer("token")))
//!     // Rules that are stored under other ids stay in force: see `EngineBuilder::exactly_these_rules`.
//!     .rule(Rule::new("rule-1", "invoice.*").client("client-1").webhook("http://127.0.0.1:9/hooks")?)
//!     .start()
//!     .await?;
//!
//! let receipt = engine.publish(Event::new("invoice.paid", "client-1").data(json!({ "number": 42 }))).await?;
//! assert_eq!(receipt.deliveries, 1);
//!
//! engine.shutdown(Duration::from_secs(1)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//! An event whose [`Receipt`] was returned is attempted until it is delivered or is a dead letter that can be listed and redelivered: at
//! least once. With a `store::SqliteStore` that holds across crashes of the process and the system; **without one, an engine keeps events in a
//! [`MemoryStore`](store::MemoryStore), whose promise ends with the process**.
//!
//! # Where to begin
//! - [`Engine`] and [`EngineBuilder`]: start, publish, shut down.
//! - [`Event`], [`Rule`], [`Client`], [`Endpoint`], [`EndpointPolicy`]: what is said about events and receivers.
//! - [`RouterActor`] and [`SupervisorActor`]: the messages they answer.
//! - [`EndpointStatus`] and [`DeliveryReport`]: what comes out.
//! - [`limits`]: every bound on input.
//!
//! # Features
//! | feature | default | what it adds |
//! |---|---|---|
//! | `awc` | on | `transport::AwcTransport`, the default transport, over the HTTP client awc |
//! | `sqlite` | on | `store::SqliteStore`: everything durable in one file |
//! | `platform-roots` | off | the operating system's root certificates: `transport::TransportBuilder::platform_roots` |
//! | `test-util` | off | `testing`: simulated time, scripted receivers, a faulty and a blocking store, the store conformance suite |
//! | `verify` | off | `verify`: checks signatures for receivers, with an extractor for actix-web |
//!
//! # Log events
//! | level | message | fields | when |
//! |---|---|---|---|
//! | debug | `attempt … of delivery … to … finished: …` | `endpoint`, `delivery_id`, `attempt`, `outcome` | every attempt that is on record |
//! | debug | `subscriber has just ended` | `endpoint` | a delivery met a subscriber that is being started again |
//! | info | `rules of the store …: …` | `count` | at a start, the rules of the store that the builder does not name, has otherwise, or has removed |
//! | error | `… cannot be used: …; it is set aside until it is put again` | `setting`, `reason` | at a start, a stored setting that cannot be read |
//! | warn | `access token could not be fetched` | `token_url`, `reason` | a fetch failed; further ones wait for 1 to 30 s |
//! | warn | `wall clock was set forward by …; …` (or `back`) | `set_by_ms` | the system clock was moved by 100 ms or more, or the machine slept |
//! | error | `that the wall clock was set could not be kept; …` | `error` | a store call failed |
//! | warn | `circuit opened; attempts wait` | `endpoint`, `until` | an endpoint with a circuit breaker fails |
//! | warn | `endpoint disabled; …` | `endpoint`, `reason` | its receiver or its policy said so |
//! | warn | `dead letter forgotten: …` | `delivery_id`, `limit` | the memory store holds as many dead letters as it may |
//! | error | `subscriber panicked; it is started again` | `endpoint`, `restarts` | a bug in this crate |
//! | error | `delivery store failed; asking again` | `endpoint`, `error` | a store call failed |
//! | debug | `old deliveries forgotten` | `forgotten` | once a minute, if there were any |
//! | warn | `event stays in the outbox for now, …` | `seq`, `error` | it was refused for a reason that may pass; told once a look |
//! | error | `event in the outbox cannot be routed; it is set aside` | `seq`, `reason` | it is too large, or unreadable |
//! | error | `event in the outbox could not be set aside; …` | `seq`, `error` | a store call failed |
//! | error | `outbox could not be read; it is looked into again` | `error` | a store call failed |
//! | error | `old deliveries could not be forgotten; …` | `error` | a store call failed |
//! | warn | `log could not be moved into the file; it grows until it can` | `error` | SQLite could not checkpoint |
//! | error | `transaction could not be rolled back` | `error` | SQLite refused a rollback |
//! | error | `no Verifier in the application's data; …` | | a `verify::VerifiedWebhook` was to be extracted |
//! | error | `store could not be …` | `error` | a store call failed at shutdown |
//!
//! URLs are logged without user info and queries; secrets and bodies are never logged.

mod actor;
mod domain;
mod engine;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod store;
#[cfg(feature = "test-util")]
pub mod testing;
pub mod transport;
#[cfg(feature = "verify")]
pub mod verify;

/// Every bound on input. What exceeds one is refused with an error that names it, save that waits of a [`RetryPolicy`] beyond
/// [`MAX_RETRIES`](limits::MAX_RETRIES) are left out and longer ones count as [`MAX_WAIT`](limits::MAX_WAIT).
pub mod limits {
    pub use crate::domain::auth::MAX_SECRET_BYTES;
    pub use crate::domain::endpoint::{MAX_HEADERS, MAX_IN_FLIGHT};
    pub use crate::domain::event::{MAX_DATA_DEPTH, MAX_MESSAGE_BYTES};
    pub use crate::domain::id::MAX_TEXT_BYTES;
    pub use crate::domain::oauth2::MAX_FORM_PARAMETERS;
    pub use crate::domain::redirect::MAX_REDIRECTS;
    pub use crate::domain::retry::{MAX_RETRIES, MAX_WAIT};
    pub use crate::domain::signature::MAX_SIGNING_SECRETS;
    pub use crate::domain::token_answer::{MAX_TOKEN_ANSWER_BYTES, MAX_TOKEN_BYTES};
    pub use crate::domain::url::MAX_URL_BYTES;
}

/// The version of `rusqlite` that [`SqliteStore::publish_in`](crate::store::SqliteStore::publish_in) takes transactions of.
#[cfg(feature = "sqlite")]
pub use rusqlite;

pub use crate::actor::message::{
    DisableEndpoint, DiscardDeadLetters, EndClient, EndDeliveries, EndRule, EndpointError,
    GetStatus, ListAttempts, ListDeadLetters, ListDeliveries, ListRules, ListStatus,
    ListUnreadable, PauseEndpoint, Publish, PublishBatch, PutClient, PutEndpoint, PutRule, Receipt,
    Redeliver, Redeliveries, RemoveClient, RemoveEndpoint, RemoveRule, ResumeEndpoint, RuleError,
    StatusFilter, StatusPage, WatchDeliveries, WatchStatus,
};
pub use crate::actor::reply::Deferred;
pub use crate::actor::router::RouterActor;
pub use crate::actor::supervisor::SupervisorActor;
pub use crate::domain::address::{AddressRange, InvalidAddressRange};
pub use crate::domain::agreed::Hold;
pub use crate::domain::attempt::{Attempt, AttemptSummary, Failure, Outcome};
pub use crate::domain::auth::{Auth, Secret};
pub use crate::domain::breaker::CircuitBreaker;
pub use crate::domain::client::Client;
pub use crate::domain::dead_letter::{DeadLetter, DeadLetterReason};
pub use crate::domain::delivery::{Delivery, DeliveryState};
pub use crate::domain::endpoint::{
    ClientIdentity, Endpoint, EndpointHeader, EndpointPolicy, InvalidEndpoint, Ordering,
};
pub use crate::domain::event::{Event, InvalidEvent};
pub use crate::domain::health::{DisablePolicy, DisabledReason, FailingRule};
pub use crate::domain::id::{
    AlertId, ClientId, CompanyId, DataConnectionId, DeliveryId, EventId, InvalidText, RuleId,
    TextProblem,
};
pub use crate::domain::oauth2::{ClientCredentials, CredentialsPlacement, FormParameter};
pub use crate::domain::payload::PayloadFormat;
pub use crate::domain::rate::RateLimit;
pub use crate::domain::redirect::RedirectRefusal;
pub use crate::domain::response::{ResponseClass, ResponsePolicy};
pub use crate::domain::retry::RetryPolicy;
pub use crate::domain::rule::{InvalidRule, Rule};
pub use crate::domain::signature::{InvalidSecret, SigningSecret};
pub use crate::domain::signing::{EndpointSecret, SignatureHeaders};
pub use crate::domain::status::{DeliveryReport, EndpointState, EndpointStatus, ShutdownReport};
pub use crate::domain::time::Timestamp;
pub use crate::domain::url::{InvalidUrl, WebhookUrl};
pub use crate::engine::{Engine, EngineBuilder};
pub use crate::error::{BuildError, PublishError};

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
