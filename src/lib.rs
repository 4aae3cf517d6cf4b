//! Sends webhooks from an actix application.
//!
//! Events go in as actor messages. A router actor fans them out by rule and client. A supervisor
//! actor runs one subscriber actor per webhook URL, each with its own retry timer, backoff and
//! connections. The state of every endpoint comes out as status messages. There is no server,
//! broker or database to run.
//!
//! It is not a message broker, not a receiver of webhooks (though receivers can verify signatures
//! with it), and not a cron.
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
//! Delivery is at least once: an event whose [`Receipt`] was returned is attempted until it is
//! delivered, or is a dead letter that can be listed and redelivered. With a `store::SqliteStore`
//! this holds across crashes of the process and the system. **Without one, an engine keeps events
//! in a [`MemoryStore`](store::MemoryStore), whose promise ends with the process.**
//!
//! # Where to begin
//! - [`Engine`] and [`EngineBuilder`]: start, publish, shut down.
//! - [`Event`], [`Rule`], [`Client`], [`Endpoint`], [`EndpointPolicy`]:
//!   descriptions of events and receivers.
//! - [`RouterActor`] and [`SupervisorActor`]: the actors, and the messages that they answer.
//! - [`EndpointStatus`] and [`DeliveryReport`]: the engine's output.
//! - [`limits`]: every bound on input.
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `awc` | on | `transport::AwcTransport`, the default transport, over the HTTP client awc |
//! | `sqlite` | on | `store::SqliteStore`: durable storage in one file |
//! | `platform-roots` | off | the operating system's root certificates: `transport::TransportBuilder::platform_roots` |
//! | `test-util` | off | `testing`: simulated time, scripted receivers, a faulty and a blocking store, the store conformance suite |
//! | `verify` | off | `verify`: signature checks for receivers, with an extractor for actix-web |
//! | `web` | off | `web`: a REST API for operators, mounted into the application's actix-web server |
//!
//! # Log events
//! | level | message | fields | when |
//! |---|---|---|---|
//! | debug | `attempt … of delivery … to … finished: …` | `endpoint`, `delivery_id`, `attempt`, `outcome` | an attempt was recorded |
//! | error | `subscriber of endpoint … panicked; …` | `endpoint`, `restarts` | a bug in this crate; the subscriber is started again |
//! | warn | `circuit of endpoint … opened; attempts wait until …` | `endpoint`, `until` | an endpoint with a circuit breaker failed |
//! | warn | `endpoint … disabled: …` | `endpoint`, `reason` | the receiver's answer or the endpoint's policy disabled it |
//! | warn | `access token could not be fetched from …: …` | `token_url`, `reason` | a fetch failed; the next one waits for 1 to 30 s |
//! | warn | `… reports of dead letters for endpoint … were lost, …` | `endpoint`, `count` | a watcher's mailbox was full |
//! | info | `operator action: … sent … for …: …` | `operator`, `action`, `target`, `count`, `result` | a message that changes the engine's state was answered |
//! | info | `stored rules …: …` | `count` | at start: stored rules that the builder does not name, defines differently, or removes |
//! | error | `… cannot be used: …; set aside until put again` | `setting`, `reason` | at start: a stored setting cannot be read or used |
//! | warn | `wall clock was set … by …; …` (`forward` or `back`) | `set_by_ms` | the system clock was set by 100 ms or more, or the machine slept |
//! | error | `new offset of the wall clock could not be saved; …` | `error` | a store call failed |
//! | error | `delivery store failed for endpoint …; retrying in a second: …` | `endpoint`, `error` | a store call failed |
//! | error | `delivery store failed to flush, …` | `error` | a store call failed at shutdown |
//! | error | `event … in the outbox cannot be routed; it is set aside: …` | `seq`, `reason` | the event is too large or unreadable, or its id is taken |
//! | error | `event … in the outbox could not be set aside …` | `seq`, `error` | a store call failed |
//! | warn | `event … stays in the outbox for now, …` | `endpoint`, `seq`, `error` | there is no room for its deliveries, at its endpoints or in total; logged once per endpoint until it has room |
//! | warn | `event … and all later ones stay in the outbox for now, …` | `seq`, `error` | a store call failed; logged once per look at the outbox |
//! | error | `outbox could not be read and will be read again: …` | `error` | a store call failed |
//! | warn | `oldest … of the events set aside in table webhook_outbox were forgotten, …` | `forgotten` | 10,000 later events have come since |
//! | debug | `… old deliveries forgotten` | `forgotten` | once a minute, if any were forgotten |
//! | error | `old deliveries could not be forgotten; …` | `error` | a store call failed |
//! | warn | `a past credential could not be forgotten; …` | `error` | a store call failed |
//! | warn | `dead letter … forgotten: …` | `delivery_id`, `limit` | the memory store already held its maximum number of dead letters |
//! | warn | `… dead letters forgotten early, …`, `ids of … events forgotten early: …` | | the file is larger than `SqliteOptions::max_bytes` |
//! | warn | `some dead letters were not redelivered, …` | | there was no room to redeliver all dead letters of a query |
//! | info | `redelivery … has ended: … deliveries started again, … left` | `redelivery`, `done`, `left` | a redelivery by filter finished or was stopped |
//! | error | `redelivery … could not go on; …` | `redelivery`, `error` | a store call failed |
//! | error | `redelivery … does not advance: …` | `redelivery`, `delivery_id` | a step of the store did nothing |
//! | error | `delivery … to … cannot be read in the delivery store and is now a dead letter: …` | `endpoint`, `delivery_id` | the delivery's row is damaged |
//! | error | `… in the delivery store cannot be read and is left out: …` | `endpoint`, if there is one | a listed row, or a row about an endpoint, is damaged |
//! | error | `stored rate limit, hold and circuit of endpoint … cannot be read; …` | `endpoint`, `error` | the endpoint's row is damaged |
//! | error | `delivery store's file … was removed or replaced while open; …` | `path` | nothing is accepted until the file is back |
//! | warn | `delivery store's file is back in place; the store continues` | | the file is back |
//! | warn | `delivery store's write-ahead log …` | | a reader blocked checkpoints for a while; the message gives the start and the log's length; the next row follows once checkpoints succeed again |
//! | info | `delivery store's write-ahead log can be checkpointed again` | | checkpoints had been blocked |
//! | warn | `WAL checkpoint failed; …` | `error` | an SQLite checkpoint failed |
//! | warn | `busy timeout of the delivery store's writer could not be set: …` | `error` | SQLite refused it |
//! | error | `transaction of the delivery store could not be rolled back: …` | `error` | SQLite refused a rollback |
//! | warn | `DNS configuration could not be read: …` | `error` | at start, or after the configuration changed |
//! | warn | `this machine's own addresses could not be listed: …` | `error` | the last list stays in use; without one, the machine's own addresses are not refused |
//! | debug | `connection to … failed: …` | `failure`, `error` | the cause of an attempt's `Connect` or `Tls` failure |
//! | info | `operator … called …` | `operator`, `action`, `status`, `request_id` | an operator called a route of the API that changes something |
//! | error | `no Verifier in the application's data, …` | | a request was to be extracted as a `verify::VerifiedWebhook` |
//!
//! URLs are logged without user info and query. Secrets and bodies are never logged.

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
#[cfg(feature = "web")]
pub mod web;

/// Every bound on input.
///
/// Input beyond a bound is refused with an error that names the bound, with one exception: a
/// [`RetryPolicy`] drops waits beyond [`MAX_RETRIES`](limits::MAX_RETRIES), and shortens longer
/// ones to [`MAX_WAIT`](limits::MAX_WAIT).
pub mod limits {
    pub use crate::domain::authorisation::oauth2::MAX_FORM_PARAMETERS;
    pub use crate::domain::authorisation::token_answer::{MAX_TOKEN_ANSWER_BYTES, MAX_TOKEN_BYTES};
    pub use crate::domain::endpoint::invalid::{MAX_HEADERS, MAX_IN_FLIGHT};
    pub use crate::domain::events::event::{MAX_DATA_DEPTH, MAX_MESSAGE_BYTES};
    pub use crate::domain::events::projection::MAX_PROJECTION_POINTERS;
    pub use crate::domain::policy::redirect::MAX_REDIRECTS;
    pub use crate::domain::policy::retry::{MAX_RETRIES, MAX_WAIT};
    pub use crate::domain::routing::filter::{
        MAX_COMPARED_BYTES, MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH, MAX_LISTED_VALUES,
    };
    pub use crate::domain::signing::signature::MAX_SIGNING_SECRETS;
    pub use crate::domain::value::operator::{MAX_NOTE_BYTES, MAX_OPERATOR_BYTES};
    pub use crate::domain::value::pointer::MAX_POINTER_BYTES;
    pub use crate::domain::value::secret::MAX_SECRET_BYTES;
    pub use crate::domain::value::text::MAX_TEXT_BYTES;
    pub use crate::domain::value::url::MAX_URL_BYTES;
}

/// The version of `rusqlite` whose transactions
/// [`SqliteStore::publish_in`](crate::store::SqliteStore::publish_in) accepts.
#[cfg(feature = "sqlite")]
pub use rusqlite;

pub use crate::actor::message::{
    AskWhy, AttemptNow, BlockedEndpoint, By, ClientPage, ClientStatus, CountDeadLetters,
    CountDeliveries, DisableEndpoint, DiscardDeadLetters, EndClient, EndDeliveries, EndRule,
    EndpointCursor, EndpointError, EndpointPage, EndpointSort, EngineStatus, ExplainRouting,
    FindClients, FindEndpoint, FindEndpoints, FindRules, GetClient, GetClientStatus, GetDelivery,
    GetEndpoint, GetEndpointStatistics, GetEngine, GetEvent, GetOutbox, GetOverview, GetRule,
    GetSeries, GetStatus, ListActions, ListAttempts, ListClients, ListDeadLetters, ListDeliveries,
    ListEndpointAttempts, ListEndpoints, ListRedeliveries, ListRefused, ListRules, ListStatus,
    ListUnreadable, PauseEndpoint, PlanRedelivery, Publish, PublishBatch, PutClient, PutEndpoint,
    PutRule, Receipt, Redeliver, Redeliveries, RedeliveryPlan, RemoveClient, RemoveEndpoint,
    RemoveRule, ResumeEndpoint, RuleError, RulePage, SendTest, StartRedelivery, StatusFilter,
    StatusPage, StopRedelivery, TestError, UrlPage, WatchDeliveries, WatchStatus,
};
pub use crate::actor::reply::Deferred;
pub use crate::actor::router::RouterActor;
pub use crate::actor::supervisor::SupervisorActor;
pub use crate::domain::authorisation::auth::Auth;
pub use crate::domain::authorisation::oauth2::{
    ClientCredentials, CredentialsPlacement, FormParameter,
};
pub use crate::domain::deliveries::attempt::{Attempt, AttemptSummary, EndpointAttempt};
pub use crate::domain::deliveries::content_type::{ContentType, InvalidContentType};
pub use crate::domain::deliveries::dead_letter::DeadLetter;
pub use crate::domain::deliveries::delivery::{Delivery, DeliveryDetails, DeliveryState};
pub use crate::domain::deliveries::failure_filter::{FailureFilter, InvalidFailureFilter};
pub use crate::domain::deliveries::outcome::DeadLetterReason;
pub use crate::domain::deliveries::outcome::{Failure, Outcome};
pub use crate::domain::deliveries::reason_kind::ReasonKind;
pub use crate::domain::deliveries::trace::AnswerTrace;
pub use crate::domain::endpoint::action::{ActionKind, ActionResult, OperatorAction};
pub use crate::domain::endpoint::address::{AddressRange, InvalidAddressRange};
pub use crate::domain::endpoint::due::AttemptNowAnswer;
pub use crate::domain::endpoint::id::{EndpointId, InvalidEndpointId};
pub use crate::domain::endpoint::invalid::InvalidEndpoint;
pub use crate::domain::endpoint::place::Place;
pub use crate::domain::endpoint::policy::{EndpointPolicy, Ordering};
pub use crate::domain::endpoint::recent::{RecentResult, RecentResults};
pub use crate::domain::endpoint::settings::{ClientIdentity, Endpoint, EndpointHeader};
pub use crate::domain::endpoint::standing::{EndpointCounts, StateKind};
pub use crate::domain::endpoint::status::{
    DeliveryReport, EndpointState, EndpointStatus, ShutdownReport, Stopped,
};
pub use crate::domain::events::event::{Event, InvalidEvent};
pub use crate::domain::events::payload::PayloadFormat;
pub use crate::domain::events::projection::{InvalidProjection, Projection};
pub use crate::domain::machine::permits::PermitUse;
pub use crate::domain::policy::agreed::Hold;
pub use crate::domain::policy::breaker::CircuitBreaker;
pub use crate::domain::policy::health::{DisablePolicy, DisabledReason, FailingRule};
pub use crate::domain::policy::rate::RateLimit;
pub use crate::domain::policy::redirect::RedirectRefusal;
pub use crate::domain::policy::response::{ResponseClass, ResponsePolicy};
pub use crate::domain::policy::retry::RetryPolicy;
pub use crate::domain::routing::client::Client;
pub use crate::domain::routing::explain::{Explanation, MissReason, RuleMiss};
pub use crate::domain::routing::filter::{Condition, Expected, Filter, InvalidFilter};
pub use crate::domain::routing::query::{ClientQuery, RuleQuery};
pub use crate::domain::routing::rule::{InvalidRule, Rule};
pub use crate::domain::signing::signature::{InvalidSecret, SigningSecret};
pub use crate::domain::signing::signer::{EndpointSecret, SignatureHeaders};
pub use crate::domain::value::id::{
    AlertId, ClientId, CompanyId, DataConnectionId, DeliveryId, EventId, RuleId,
};
pub use crate::domain::value::operator::{Note, Operator};
pub use crate::domain::value::pointer::{InvalidPointer, JsonPointer};
pub use crate::domain::value::secret::Secret;
pub use crate::domain::value::text::{InvalidText, TextProblem};
pub use crate::domain::value::time::{InvalidTimestamp, Timestamp};
pub use crate::domain::value::url::{InvalidUrl, WebhookUrl};
pub use crate::domain::watch::overview::{EndpointAttention, ListedEndpoint, Overview, Rates};
pub use crate::domain::watch::series::{
    AttemptCounts, EndpointStatistics, FailureCounts, Series, SeriesPoint, SeriesWindow,
    StatisticsPoint,
};
pub use crate::domain::why::{Evidence, Finding, FindingCode, Remedy, Why};
pub use crate::engine::{EndpointHandle, Engine, EngineBuilder, OperateError, Updates};
pub use crate::error::{BuildError, InvalidSetting, Overload, PublishError};
pub use crate::store::InvalidCursor;

/// The examples in the README and the guides, compiled and run.
#[cfg(doctest)]
mod pages {
    macro_rules! page {
        ($name:ident, $path:literal) => {
            #[doc = include_str!(concat!("../", $path))]
            struct $name;
        };
    }

    page!(Readme, "README.md");
    page!(Secrets, "docs/guide/secrets.md");
    page!(Signatures, "docs/guide/signatures-and-authorisation.md");
    page!(Requests, "docs/guide/requests.md");
    page!(Rules, "docs/guide/rules.md");
    page!(PoliteSending, "docs/guide/polite-sending.md");
    #[cfg(feature = "web")]
    page!(Api, "docs/guide/api.md");
    page!(Operating, "docs/operating.md");
}
