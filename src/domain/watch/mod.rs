//! The state of all endpoints together, kept up to date by every change: nothing here is scanned.

pub(crate) mod attention;
pub(crate) mod durations;
pub(crate) mod given_up;
pub(crate) mod overview;
pub(crate) mod rank;
pub(crate) mod series;
pub(crate) mod waits;
