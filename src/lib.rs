//! Sends webhooks from an actix application.
//!
//! Events go in as actor messages; a router actor fans them out by rule and client; a supervisor actor runs one subscriber actor per
//! webhook URL, each with its own retry timer, backoff and connections; the state of every endpoint comes out as status messages.

mod actor;
mod domain;
mod engine;
mod error;
pub mod store;
#[cfg(feature = "test-util")]
pub mod testing;
pub mod transport;

pub use crate::actor::message::{
    EndpointError, GetStatus, ListDeadLetters, ListDeliveries, ListRules, ListStatus,
    PauseEndpoint, Publish, PublishBatch, PutClient, PutEndpoint, PutRule, Receipt, Redeliver,
    RemoveEndpoint, RemoveRule, ResumeEndpoint, RuleError, StatusFilter, StatusPage,
    WatchDeliveries, WatchStatus,
};
pub use crate::actor::reply::Deferred;
pub use crate::actor::router::RouterActor;
pub use crate::actor::supervisor::SupervisorActor;
pub use crate::domain::attempt::{AttemptSummary, Failure, Outcome};
pub use crate::domain::auth::{Auth, Secret};
pub use crate::domain::client::Client;
pub use crate::domain::dead_letter::{DeadLetter, DeadLetterReason};
pub use crate::domain::delivery::{Delivery, DeliveryState};
pub use crate::domain::endpoint::{
    Endpoint, EndpointHeader, EndpointPolicy, InvalidEndpoint, Ordering,
};
pub use crate::domain::event::{Event, InvalidEvent};
pub use crate::domain::id::{
    AlertId, ClientId, CompanyId, DataConnectionId, DeliveryId, EventId, InvalidText, RuleId,
    TextProblem,
};
pub use crate::domain::payload::PayloadFormat;
pub use crate::domain::redirect::RedirectRefusal;
pub use crate::domain::response::{ResponseClass, ResponsePolicy};
pub use crate::domain::retry::RetryPolicy;
pub use crate::domain::rule::{InvalidRule, Rule};
pub use crate::domain::status::{DeliveryReport, EndpointState, EndpointStatus};
pub use crate::domain::time::Timestamp;
pub use crate::domain::url::{InvalidUrl, WebhookUrl};
pub use crate::engine::{Engine, EngineBuilder, ShutdownReport};
pub use crate::error::{BuildError, PublishError};
