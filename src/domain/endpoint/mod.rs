//! The settings of a webhook URL, and what is shown of it.
//!
//! What they lead to is decided in `policy` and `machine`.

pub(crate) mod address;
pub(crate) mod header;
pub(crate) mod invalid;
pub(crate) mod policy;
pub(crate) mod settings;
mod signing;
pub(crate) mod status;
