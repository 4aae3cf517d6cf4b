//! Redeliveries of everything that a filter finds, step by step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::page::Count;
use super::queries::Redelivery;
use super::search::Search;
use crate::domain::deliveries::delivery::{Delivery, DeliveryState};
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

/// The deliveries that a redelivery by filter finds, taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// Their number, counted up to a bound.
    pub count: Count,
    /// The endpoints of those counted, ordered by URL, with the number of deliveries to each.
    pub endpoints: Vec<(WebhookUrl, u64)>,
    /// The time of the oldest of those counted: when it was given up, if dead letters are
    /// redelivered, otherwise when it was accepted. It is the time that the filter's `since` and
    /// `until` compare.
    pub oldest: Option<Timestamp>,
    /// The same of the newest.
    pub newest: Option<Timestamp>,
}

/// Makes a [`Survey`] of deliveries, one after the other.
#[derive(Debug)]
pub(crate) struct Surveyor {
    at_most: u64,
    of_dead_letters: bool,
    count: Count,
    endpoints: BTreeMap<WebhookUrl, u64>,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
}

impl Surveyor {
    /// Returns the surveyor of a search, who counts up to `at_most`.
    pub(crate) fn new(search: &Search, at_most: u64) -> Self {
        Self {
            at_most,
            of_dead_letters: search.listed,
            count: Count::default(),
            endpoints: BTreeMap::new(),
            oldest: None,
            newest: None,
        }
    }

    /// Counts a delivery. Returns `true` if it is one too many, so that no more need to follow.
    pub(crate) fn is_over_with(&mut self, delivery: &Delivery) -> bool {
        if self.count.count >= self.at_most {
            self.stop();
            return true;
        }
        self.count.count += 1;
        let at = match delivery.state {
            DeliveryState::DeadLettered { at, .. } if self.of_dead_letters => at,
            DeliveryState::DeadLettered { .. }
            | DeliveryState::Delivered { .. }
            | DeliveryState::Queued
            | DeliveryState::Waiting { .. } => delivery.accepted_at,
        };
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        self.newest = self.newest.max(Some(at));
        match self.endpoints.get_mut(&delivery.url) {
            Some(count) => *count += 1,
            None => drop(self.endpoints.insert(delivery.url.clone(), 1)),
        }
        false
    }

    /// Notes that there may be more than were counted.
    pub(crate) fn stop(&mut self) {
        self.count.at_least = true;
    }

    /// Returns the survey.
    pub(crate) fn survey(self) -> Survey {
        Survey {
            count: self.count,
            endpoints: self.endpoints.into_iter().collect(),
            oldest: self.oldest,
            newest: self.newest,
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
    use crate::domain::deliveries::outcome::DeadLetterReason;
    use crate::domain::value::id::AlertId;
    use crate::store::DeadLetterQuery;

    #[test]
    fn a_survey_stops_at_its_bound_and_has_the_endpoints_and_times_of_those_counted() {
        let delivery = |id, to: &str, accepted_at, given_up_at| {
            let state = DeliveryState::DeadLettered {
                at: Timestamp::from_unix_millis(given_up_at),
                reason: DeadLetterReason::BacklogFull,
            };
            let url = WebhookUrl::parse(to).unwrap();
            let accepted_at = Timestamp::from_unix_millis(accepted_at);
            Delivery {
                id: DeliveryId::new(id),
                alert_id: AlertId::from_uuid(uuid::Uuid::nil()),
                event_id: "e".into(),
                rule_id: "r".into(),
                rule_type: "t".to_owned(),
                client_id: "c".into(),
                company_id: None,
                url,
                accepted_at,
                state,
                attempts_made: 0,
                last_attempt: None,
            }
        };
        let (a, b) = ("http://a.test/", "http://b.test/");
        let found = [
            delivery(4, b, 4, 14),
            delivery(3, a, 3, 23),
            delivery(2, b, 2, 12),
            delivery(1, a, 1, 11),
        ];
        let survey = |listed, at_most| {
            let search = Search {
                listed,
                ..Search::default()
            };
            let mut surveyor = Surveyor::new(&search, at_most);
            let over = found.iter().filter(|found| surveyor.is_over_with(found));
            (over.count(), surveyor.survey())
        };
        let at = |millis| Some(Timestamp::from_unix_millis(millis));
        let (over, all) = survey(true, 4);
        assert_eq!((over, all.count), (0, Count::new(4, false)));
        assert_eq!((all.oldest, all.newest), (at(11), at(23)));
        let (over, some) = survey(false, 3);
        assert_eq!((over, some.count), (1, Count::new(3, true)));
        assert_eq!((some.oldest, some.newest), (at(2), at(4)));
        let of = |url: &str, count| (WebhookUrl::parse(url).unwrap(), count);
        assert_eq!(some.endpoints, [of(a, 1), of(b, 2)]);
    }

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
