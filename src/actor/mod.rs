//! The shells around the rules: mailboxes, timers and wiring. Decisions belong to the rules.

pub(crate) mod acting;
pub(crate) mod board;
pub(crate) mod bodies;
pub(crate) mod clock;
pub(crate) mod credentials;
pub(crate) mod message;
mod outbox;
pub(crate) mod permits;
pub(crate) mod reply;
pub(crate) mod router;
pub(crate) mod set_aside;
pub(crate) mod shared;
pub(crate) mod store_call;
pub(crate) mod subscriber;
pub(crate) mod supervisor;
pub(crate) mod tokens;
pub(crate) mod watchers;
