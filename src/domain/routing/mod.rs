//! Who gets which event: clients, rules, and the table of both.
//!
//! A rule names URLs; the settings of these are not known here.

pub(crate) mod client;
pub(crate) mod rule;
pub(crate) mod table;
