//! The state of an engine on one page.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::endpoint::standing::EndpointCounts;
use crate::domain::endpoint::status::EndpointStatus;
use crate::domain::machine::permits::PermitUse;
use crate::domain::value::time::Timestamp;
use crate::domain::value::wall::{OnWall, WallOffset};
use crate::domain::watch::attention::Trouble;
use crate::domain::watch::series::SeriesPoint;

/// The state of an engine: the answer to [`GetOverview`](crate::GetOverview).
///
/// Everything in it is in memory, and no part is counted by going through all endpoints. Parts of
/// one overview may be a few milliseconds apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Overview {
    /// When it was made.
    pub at: Timestamp,
    /// Number of endpoints in each state.
    pub endpoints: EndpointCounts,
    /// Number of open deliveries, as far as the subscribers that run have read them.
    pub open: u64,
    /// Number of deliveries given up since the engine started.
    pub dead_lettered: u64,
    /// Permits for attempts in flight.
    pub permits: PermitUse,
    /// The longest time that an endpoint has waited for the engine: an attempt could start, but a
    /// permit or an answer of the store is missing. 0 if none waits.
    ///
    /// A receiver that is slow, asks for a wait or fails causes no lag. Time that messages spend in
    /// mailboxes does not count.
    #[serde(rename = "lagMs", with = "crate::domain::value::millis::exact")]
    pub lag: Duration,
    /// Number of endpoints that have waited like this for longer than a second.
    pub late_endpoints: u64,
    /// Attempts of the last ten whole seconds, as rates.
    pub rates: Rates,
    /// Why the last use of the store failed; `None` if the store knows of no problem.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub store_error: Option<Arc<str>>,
    /// The ten endpoints that need most attention, in this order; fewer if fewer are not well.
    pub attention: Vec<ListedEndpoint>,
}

/// Numbers per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Rates {
    /// Attempts that delivered.
    pub delivered_per_second: f64,
    /// Attempts that failed.
    pub failed_per_second: f64,
    /// Deliveries that were given up.
    pub dead_lettered_per_second: f64,
    /// The duration that 99 of 100 attempts do not exceed, estimated; `None` without an attempt.
    #[serde(
        rename = "p99Ms",
        with = "crate::domain::value::millis::maybe",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub p99: Option<Duration>,
}

impl Rates {
    /// Returns the rates of what ended in `seconds`.
    pub(crate) fn of(ended: &SeriesPoint, seconds: u32) -> Self {
        let per_second = |count: u64| {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            f64::from(count) / f64::from(seconds.max(1))
        };
        Self {
            delivered_per_second: per_second(ended.delivered),
            failed_per_second: per_second(ended.failed.total()),
            dead_lettered_per_second: per_second(ended.dead_lettered),
            p99: ended.p99,
        }
    }
}

/// An endpoint in a list, with what makes it need attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ListedEndpoint {
    /// Its status.
    pub status: EndpointStatus,
    /// What makes it need attention; `None` if it is well and has given up nothing in the last
    /// hour.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attention: Option<EndpointAttention>,
}

/// What makes an endpoint need attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointAttention {
    /// Since when it is not well, in whatever way; not earlier than the engine's start, unless the
    /// store knows since when it has been failing.
    pub since: Timestamp,
    /// Number of deliveries given up in the last hour, to within ten minutes. Deliveries that an
    /// operator ended are not counted.
    pub given_up_in_hour: u64,
}

impl From<Trouble> for EndpointAttention {
    fn from(trouble: Trouble) -> Self {
        Self {
            since: trouble.since,
            given_up_in_hour: trouble.given_up,
        }
    }
}

impl OnWall for EndpointAttention {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            since: self.since.on_wall(offset),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second() {
        let mut ended = SeriesPoint {
            delivered: 50,
            dead_lettered: 5,
            p99: Some(Duration::from_millis(7)),
            ..SeriesPoint::default()
        };
        ended.failed.timeout = 1;
        let rates = Rates::of(&ended, 10);
        let expected = Rates {
            delivered_per_second: 5.0,
            failed_per_second: 0.1,
            dead_lettered_per_second: 0.5,
            p99: Some(Duration::from_millis(7)),
        };
        assert_eq!(rates, expected);
        assert_eq!(Rates::of(&SeriesPoint::default(), 0), Rates::default());
    }

    #[test]
    fn the_age_of_a_trouble_is_shown_in_wall_time() {
        let [since, later] = [1_000_000, 1_060_000].map(Timestamp::from_unix_millis);
        let attention = EndpointAttention::from(Trouble { since, given_up: 3 });
        let shown = attention.on_wall(WallOffset::from_millis(60_000));
        assert_eq!((shown.since, shown.given_up_in_hour), (later, 3));
    }
}
