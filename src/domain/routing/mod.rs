//! Routing of events: clients, rules, and the table of both.
//!
//! A rule names URLs. Their settings are not known here.

pub(crate) mod client;
pub(crate) mod rule;
pub(crate) mod table;
