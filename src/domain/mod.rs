//! The rules, pure: no clock, no chance of their own, no runtime, no I/O. They take `now` and a seeded rng and return what
//! is to be done.

pub(crate) mod address;
pub(crate) mod alert;
pub(crate) mod attempt;
pub(crate) mod auth;
pub(crate) mod backlog;
pub(crate) mod breaker;
pub(crate) mod client;
pub(crate) mod dead_letter;
pub(crate) mod delivery;
pub(crate) mod endpoint;
pub(crate) mod endpoint_state;
pub(crate) mod event;
pub(crate) mod health;
pub(crate) mod id;
pub(crate) mod oauth2;
pub(crate) mod payload;
pub(crate) mod places;
pub(crate) mod queue;
pub(crate) mod rate;
pub(crate) mod redirect;
pub(crate) mod response;
pub(crate) mod retry;
pub(crate) mod retry_after;
pub(crate) mod routing;
pub(crate) mod rule;
pub(crate) mod secret;
pub(crate) mod signature;
pub(crate) mod signing;
pub(crate) mod status;
pub(crate) mod tally;
pub(crate) mod time;
pub(crate) mod token_answer;
pub(crate) mod token_cache;
pub(crate) mod url;
pub(crate) mod window;
