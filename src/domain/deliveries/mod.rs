//! Records of sending: alerts, deliveries, attempts, dead letters.
//!
//! `machine` decides what happens next.

pub(crate) mod alert;
pub(crate) mod answer;
pub(crate) mod attempt;
pub(crate) mod content_type;
pub(crate) mod dead_letter;
pub(crate) mod delivery;
pub(crate) mod failure_filter;
pub(crate) mod outcome;
pub(crate) mod reason_kind;
pub(crate) mod trace;
