//! Redeliveries of everything that a filter finds, step by step.

use serde::{Deserialize, Serialize};

use super::queries::Redelivery;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::{OnWall, WallOffset};

/// The id of a redelivery by filter: a number from the store, ascending.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RedeliveryId(u64);

impl RedeliveryId {
    /// Returns the id with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for RedeliveryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A redelivery of everything that a filter finds, oldest first, and its progress.
///
/// It redelivers what was there when it began: a delivery that fails again meanwhile is not
/// redelivered twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RedeliveryJob {
    /// Its id.
    #[serde(default)]
    pub id: RedeliveryId,
    /// What it redelivers. Its limit and its `before` are ignored.
    pub which: Redelivery,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it finished or was stopped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<Timestamp>,
    /// Whether it goes on.
    pub state: RedeliveryState,
    /// The last delivery that was there when it began.
    pub through: DeliveryId,
    /// The delivery after which it goes on.
    pub after: DeliveryId,
    /// Number of deliveries that it found when it began. Unless they are dead letters, they are
    /// counted only up to a bound.
    pub total: u64,
    /// Number of deliveries that it has redelivered.
    pub done: u64,
    /// Number of deliveries that it passed over: their endpoints were removed, or somebody else
    /// redelivered or discarded them first.
    pub skipped: u64,
}

/// A redelivery after a step, and the fresh deliveries of that step, each with its endpoint.
pub type RedeliveryStep = (RedeliveryJob, Vec<(DeliveryId, WebhookUrl)>);

/// The state of a [`RedeliveryJob`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RedeliveryState {
    /// It goes on.
    Running,
    /// It goes on once there is room for further open deliveries.
    WaitingForRoom,
    /// Everything was redelivered.
    Finished,
    /// An operator stopped it. What is left was not touched.
    Stopped,
}

impl RedeliveryJob {
    /// Returns a redelivery that has just begun.
    pub fn new(
        id: RedeliveryId,
        which: Redelivery,
        now: Timestamp,
        through: DeliveryId,
        total: u64,
    ) -> Self {
        Self {
            id,
            which,
            started_at: now,
            ended_at: None,
            state: RedeliveryState::Running,
            through,
            after: DeliveryId::default(),
            total,
            done: 0,
            skipped: 0,
        }
    }

    /// Returns `true` if it goes on.
    pub fn is_on(&self) -> bool {
        matches!(
            self.state,
            RedeliveryState::Running | RedeliveryState::WaitingForRoom
        )
    }

    /// Returns the number of deliveries that it has not dealt with.
    pub fn left(&self) -> u64 {
        self.total.saturating_sub(self.done + self.skipped)
    }

    /// Ends it, unless it has ended already.
    pub(crate) fn end(&mut self, state: RedeliveryState, now: Timestamp) {
        if self.is_on() {
            self.state = state;
            self.ended_at = Some(now);
        }
        if self.state == RedeliveryState::Finished {
            // Discarded or redelivered by others before their turn, they were not found again.
            self.skipped = self.skipped.max(self.total.saturating_sub(self.done));
        }
    }
}

impl OnWall for RedeliveryJob {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            started_at: self.started_at.on_wall(offset),
            ended_at: self.ended_at.on_wall(offset),
            ..self
        }
    }
}

/// What [`Redeliver`](crate::Redeliver) cannot do.
pub(crate) const ENDED_AT_ONCE: &str =
    "redelivering deliveries of a query at once; start a redelivery step by step";

/// The most redeliveries that a store remembers after their ends.
pub(crate) const REMEMBERED: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DeadLetterQuery;

    fn job(total: u64) -> RedeliveryJob {
        let which = Redelivery::DeadLetters(DeadLetterQuery::default());
        let (id, through) = (RedeliveryId::new(1), DeliveryId::new(9));
        RedeliveryJob::new(id, which, Timestamp::default(), through, total)
    }

    #[test]
    fn nothing_is_left_of_a_finished_redelivery_although_others_took_some() {
        let mut job = job(5);
        job.done = 3;
        job.end(RedeliveryState::Finished, Timestamp::default());
        assert_eq!((job.skipped, job.left()), (2, 0));
    }

    #[test]
    fn what_a_stopped_redelivery_did_not_reach_is_left() {
        let mut job = job(5);
        job.done = 3;
        job.end(RedeliveryState::Stopped, Timestamp::default());
        assert_eq!((job.skipped, job.left()), (0, 2));
        job.end(RedeliveryState::Finished, Timestamp::default());
        assert_eq!(job.state, RedeliveryState::Stopped, "it had ended");
    }
}
