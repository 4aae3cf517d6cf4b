//! What applications publish, and the bodies that are made of it.
//!
//! An event knows no rule and no endpoint.

pub(crate) mod content;
pub(crate) mod event;
pub(crate) mod payload;
