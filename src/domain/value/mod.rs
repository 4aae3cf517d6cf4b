//! Values that every module uses: ids, times, URLs, secrets, places in JSON, and their serialised
//! forms.
//!
//! They know nothing of events, deliveries or endpoints.

pub(crate) mod backoff;
pub(crate) mod id;
pub(crate) mod millis;
pub(crate) mod number;
pub(crate) mod operator;
pub(crate) mod pointer;
pub(crate) mod secret;
pub(crate) mod tagged;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod url;
pub(crate) mod wall;
