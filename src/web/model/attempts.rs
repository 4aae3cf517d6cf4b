//! The attempts of all deliveries of an endpoint.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page::{Limit, always};
use super::reshape;
use super::status::AttemptView;
use crate::domain::deliveries::attempt::EndpointAttempt;
use crate::store::{AttemptCursor, AttemptQuery};
use crate::web::cursor;
use crate::web::problems::Problem;

/// Which attempts are listed.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct AttemptFilter {
    /// `true` for attempts that failed only, `false` for those that delivered only.
    failed: Option<bool>,
    /// The most things on the page: 1 to 200, 50 by default.
    #[serde(skip_serializing_if = "always", default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Limit,
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "always")]
    cursor: Option<String>,
}

impl AttemptFilter {
    /// Returns the query of the filter, for the endpoint with an id.
    pub(in crate::web) fn query(&self, endpoint: &str) -> Result<AttemptQuery, Problem> {
        let place = |given: &String| {
            let place = cursor::place(&(endpoint, self), given)?.parse();
            place.map_err(|_| cursor::malformed())
        };
        Ok(AttemptQuery {
            failed: self.failed,
            before: self.cursor.as_ref().map(place).transpose()?,
            limit: self.limit.get(),
        })
    }

    /// Returns the cursor of the page that begins after `place`.
    pub(in crate::web) fn after(&self, endpoint: &str, place: AttemptCursor) -> String {
        cursor::after(&(endpoint, self), &place.to_string())
    }
}

/// A finished attempt, and what it delivered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndpointAttempt)]
pub(in crate::web) struct EndpointAttemptView {
    #[schema(example = "42")]
    delivery_id: String,
    event_id: String,
    rule_type: String,
    client_id: String,
    #[serde(flatten)]
    attempt: AttemptView,
}

impl EndpointAttemptView {
    /// Returns the view of an attempt. What the receiver answered is left out unless `with_bodies`.
    pub(in crate::web) fn new(found: &EndpointAttempt, with_bodies: bool) -> Result<Self, Problem> {
        let attempt: AttemptView = reshape(&found.attempt)?;
        Ok(Self {
            delivery_id: found.delivery_id.to_string(),
            event_id: found.event_id.to_string(),
            rule_type: found.rule_type.clone(),
            client_id: found.client_id.to_string(),
            attempt: if with_bodies {
                attempt
            } else {
                attempt.without_body()
            },
        })
    }
}
