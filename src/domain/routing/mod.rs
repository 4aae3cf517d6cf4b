//! Routing of events: clients, rules with their filters, and the table of both.
//!
//! A rule names URLs. Their settings are not known here.

pub(crate) mod client;
pub(crate) mod explain;
pub(crate) mod filter;
mod neighbours;
pub(crate) mod query;
pub(crate) mod rule;
pub(crate) mod table;
