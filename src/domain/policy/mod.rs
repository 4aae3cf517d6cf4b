//! What an answer means and what follows from it: retries, redirects, and what a receiver in trouble is spared.
//!
//! The alert service's protocol, and the options beyond it. Nothing here knows whose answer it is.

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
