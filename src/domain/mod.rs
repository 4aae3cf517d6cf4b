//! The rules, pure: no clock, no chance of their own, no runtime, no I/O. They take `now` and a
//! seeded rng and return what is to be done.
//!
//! A room imports only from those above it in this list.

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
