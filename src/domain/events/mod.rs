//! The events that applications publish, and the bodies made of them.
//!
//! An event knows no rule and no endpoint.

pub(crate) mod content;
pub(crate) mod event;
pub(crate) mod payload;
pub(crate) mod projection;
