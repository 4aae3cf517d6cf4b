//! The meaning of an answer and its consequences: retries, redirects, and relief for a receiver in
//! trouble.
//!
//! Implements the alert service's protocol and the options beyond it. Nothing here knows which
//! receiver an answer came from.

pub(crate) mod agreed;
pub(crate) mod breaker;
pub(crate) mod health;
pub(crate) mod pace;
pub(crate) mod rate;
pub(crate) mod redirect;
pub(crate) mod response;
pub(crate) mod retry;
pub(crate) mod retry_after;
pub(crate) mod window;
