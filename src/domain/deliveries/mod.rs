//! What is sent and what became of it: alerts, deliveries, attempts, dead letters.
//!
//! The record of each; what happens next is decided in `machine`.

pub(crate) mod alert;
pub(crate) mod answer;
pub(crate) mod attempt;
pub(crate) mod dead_letter;
pub(crate) mod delivery;
pub(crate) mod outcome;
