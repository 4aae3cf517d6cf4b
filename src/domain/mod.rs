//! Pure rules, without clock, randomness, runtime or I/O of their own.
//!
//! They take `now` and a seeded rng, and return decisions.
//!
//! A module imports only from the modules above it in this list.

pub(crate) mod value;

pub(crate) mod events;
pub(crate) mod policy;
pub(crate) mod signing;

pub(crate) mod deliveries;

pub(crate) mod authorisation;

pub(crate) mod routing;

pub(crate) mod endpoint;

pub(crate) mod credentials;

pub(crate) mod machine;

pub(crate) mod watch;
pub(crate) mod why;
