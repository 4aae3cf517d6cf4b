//! Attempts of one endpoint over time, from those that the store knows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FailureCounts, SeriesWindow, Sum, Tally};
use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::value::time::Timestamp;
use crate::domain::value::wall::{OnWall, WallOffset};

/// Attempts of one endpoint over time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointStatistics {
    /// The length of a step: 1 s or 1 min.
    #[serde(rename = "stepMs", with = "crate::domain::value::millis::exact")]
    pub step: Duration,
    /// One point per step, oldest first. The last step has not ended yet.
    pub points: Vec<StatisticsPoint>,
    /// The attempts of all steps together.
    pub total: AttemptCounts,
    /// Set if not all attempts were looked at: the time of the oldest one that was. Earlier ones
    /// are not counted, and later ones only of the deliveries that were looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub searched_to: Option<Timestamp>,
}

/// The attempts that ended in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StatisticsPoint {
    /// When the step began.
    pub at: Timestamp,
    /// The attempts.
    #[serde(flatten)]
    pub counts: AttemptCounts,
}

/// Numbers and durations of attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AttemptCounts {
    /// Number of attempts.
    pub attempts: u64,
    /// Number of them that delivered.
    pub delivered: u64,
    /// Number of them that failed, by kind.
    pub failed: FailureCounts,
    /// The median duration of these attempts, estimated; `None` without an attempt.
    #[serde(
        rename = "p50Ms",
        with = "crate::domain::value::millis::maybe",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub p50: Option<Duration>,
    /// The duration that 99 of 100 of these attempts do not exceed, estimated.
    #[serde(
        rename = "p99Ms",
        with = "crate::domain::value::millis::maybe",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub p99: Option<Duration>,
}

impl EndpointStatistics {
    /// Returns what these attempts come to in a window that ends now. Those outside it are left
    /// out.
    pub(crate) fn of(
        attempts: &[AttemptSummary],
        window: SeriesWindow,
        now: Timestamp,
        searched_to: Option<Timestamp>,
    ) -> Self {
        let mut steps = Sum::new(window, now);
        let mut total = Tally::default();
        for attempt in attempts {
            if let Some(tally) = steps.at(attempt.at) {
                tally.count_attempt(attempt);
                total.count_attempt(attempt);
            }
        }
        let series = steps.tallies();
        let points = series.map(|(at, tally)| StatisticsPoint {
            at,
            counts: AttemptCounts::of(tally),
        });
        Self {
            step: steps.step.length(),
            points: points.collect(),
            total: AttemptCounts::of(&total),
            searched_to,
        }
    }
}

impl AttemptCounts {
    fn of(tally: &Tally) -> Self {
        let failed = tally.failures();
        Self {
            attempts: u64::from(tally.delivered) + failed.total(),
            delivered: tally.delivered.into(),
            failed,
            p50: tally.durations.quantile(50),
            p99: tally.durations.quantile(99),
        }
    }
}

impl OnWall for StatisticsPoint {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            at: self.at.on_wall(offset),
            ..self
        }
    }
}

impl OnWall for EndpointStatistics {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            points: self.points.on_wall(offset),
            searched_to: self.searched_to.on_wall(offset),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deliveries::outcome::Failure;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_unix_millis(second * 1_000)
    }

    fn attempt(at: i64, failure: Option<Failure>, millis: u64) -> AttemptSummary {
        let took = Duration::from_millis(millis);
        AttemptSummary {
            failure,
            ..AttemptSummary::new(1, second(at), took)
        }
    }

    #[test]
    fn attempts_are_counted_in_the_step_in_which_they_ended() {
        let attempts = [
            attempt(7_261, None, 20),
            attempt(7_262, Some(Failure::Status(503)), 20),
            attempt(7_199, Some(Failure::Timeout), 15_000),
            // Before the window, and after it.
            attempt(3_659, None, 20),
            attempt(7_320, None, 20),
        ];
        let hour = EndpointStatistics::of(&attempts, SeriesWindow::Hour, second(7_265), None);
        assert_eq!((hour.step, hour.points.len()), (Duration::from_mins(1), 60));
        let [first, .., before, empty, last] = &hour.points[..] else {
            panic!("{hour:?}");
        };
        assert_eq!(
            (first.at, before.at, last.at),
            (second(3_720), second(7_140), second(7_260))
        );
        let counts = &last.counts;
        assert_eq!((counts.attempts, counts.delivered), (2, 1));
        assert_eq!(counts.failed.server_error, 1);
        assert!(counts.p99.unwrap() <= Duration::from_millis(25));
        assert_eq!(before.counts.failed.timeout, 1);
        assert_eq!(empty.counts, AttemptCounts::default());
        assert_eq!((hour.total.attempts, hour.total.failed.total()), (3, 2));
        assert!(hour.total.p50.unwrap() <= Duration::from_millis(25));
        assert!(hour.total.p99.unwrap() > Duration::from_secs(10));
    }

    #[test]
    fn a_minute_is_shown_by_second_and_what_is_shown_is_in_wall_time() {
        let attempts = [attempt(100, None, 1)];
        let searched = Some(second(99));
        let minute = EndpointStatistics::of(&attempts, SeriesWindow::Minute, second(101), searched);
        let shown = minute.on_wall(WallOffset::from_millis(60_000));
        assert_eq!(shown.step, Duration::from_secs(1));
        let counted = shown
            .points
            .iter()
            .filter(|point| point.counts.attempts > 0);
        let counted: Vec<_> = counted.map(|point| point.at).collect();
        assert_eq!(counted, [second(160)]);
        assert_eq!(shown.searched_to, Some(second(159)));
    }
}
