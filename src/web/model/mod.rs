//! The API's own types. Only this folder knows utoipa; the rules stay free of it.
//!
//! Their JSON is that of the engine's types (`docs/json.md`), with three differences: delivery ids
//! are strings, endpoints also have an id, and secrets are described instead of being `null`. So a
//! type of the engine becomes one of these by way of its JSON ([`reshape`]), and back.

pub(super) mod attempts;
pub(super) mod auth;
pub(super) mod client;
pub(super) mod delivery;
pub(super) mod document;
pub(super) mod event;
pub(super) mod live;
pub(super) mod meta;
pub(super) mod overview;
pub(super) mod page;
pub(super) mod policy;
pub(super) mod problem;
pub(super) mod redelivery;
pub(super) mod rule;
pub(super) mod search;
pub(super) mod secret;
pub(super) mod settings;
pub(super) mod status;
mod webhooks;
pub(super) mod why;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problems::{Code, Problem};

/// Turns a value into another type with the same JSON.
///
/// It fails only for a value that JSON cannot hold; a test compares the types field by field.
pub(super) fn reshape<T: DeserializeOwned>(value: &impl Serialize) -> Result<T, Problem> {
    let json = serde_json::to_value(value);
    json.and_then(serde_json::from_value).map_err(|error| {
        let detail = format!("value cannot be shown: {error}");
        Problem::new(Code::Internal, detail)
    })
}

/// Names a closed set of words, as the engine writes them.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $word:ident),* $(,)? }) => {
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
            serde::Serialize, serde::Deserialize, utoipa::ToSchema,
        )]
        $(#[$doc])*
        #[serde(rename_all = "snake_case")]
        pub(in crate::web) enum $name {
            $($(#[$of])* $word,)*
        }
    };
}

use words;
