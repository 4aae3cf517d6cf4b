//! The settings of a webhook URL, and its status.
//!
//! `policy` and `machine` decide what follows from them.

pub(crate) mod action;
pub(crate) mod address;
pub(crate) mod due;
pub(crate) mod header;
pub(crate) mod id;
pub(crate) mod invalid;
pub(crate) mod place;
pub(crate) mod policy;
pub(crate) mod recent;
pub(crate) mod settings;
pub(crate) mod shard;
mod signing;
pub(crate) mod standing;
pub(crate) mod status;
pub(crate) mod stored;
