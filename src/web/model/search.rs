//! What is found by a text.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page::Limit;

/// What is searched for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct Searched {
    /// A part of the URL of an endpoint, of the id of a client, or of the id or type of a rule,
    /// regardless of the case of ASCII letters; the beginning of the id of an endpoint; or the
    /// whole id of an event, a delivery or an alert (`webhook-id`). 1 to 8,192 bytes.
    #[param(min_length = 1, max_length = 8_192)]
    pub(in crate::web) q: String,
    /// The most hits: 1 to 20, 20 by default.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 20)]
    pub(in crate::web) limit: Limit<20>,
}

/// A thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SearchHit)]
pub(in crate::web) struct Hit {
    pub(in crate::web) kind: HitKind,
    /// Its id, for the next request: `GET /{kind}s/{id}`, and for an alert
    /// `GET /deliveries?webhookId={id}`.
    pub(in crate::web) id: String,
    /// A line that tells it from others.
    pub(in crate::web) text: String,
}

super::words! {
    /// The kind of a thing that was found.
    #[schema(as = SearchHitKind)]
    HitKind {
        /// The text is its id.
        Delivery,
        /// The text is its id, which receivers see as `webhook-id`.
        Alert,
        /// The text is its id.
        Event,
        /// The text is a part of its URL, or the beginning of its id.
        Endpoint,
        /// The text is a part of its id.
        Client,
        /// The text is a part of its id or of its type.
        Rule,
    }
}

impl Hit {
    pub(in crate::web) fn new(kind: HitKind, id: &impl ToString, text: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.to_string(),
            text: text.into(),
        }
    }
}
