//! Redeliveries of everything that a filter finds, step by step.

use std::collections::BTreeMap;

use super::MemoryLimits;
use super::entry::StoredDelivery;
use super::state::State;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::store::search::Search;
use crate::store::{
    REMEMBERED, Redelivery, RedeliveryId, RedeliveryJob, RedeliveryState, RedeliveryStep,
    StoreError, Survey, Surveyor,
};

/// The redeliveries, and the number of the last one.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    last: u64,
    jobs: BTreeMap<RedeliveryId, RedeliveryJob>,
}

impl Jobs {
    pub(super) fn list(&self) -> Vec<RedeliveryJob> {
        self.jobs.values().cloned().collect()
    }

    pub(super) fn stop(&mut self, id: RedeliveryId, now: Timestamp) -> Option<RedeliveryJob> {
        let job = self.jobs.get_mut(&id)?;
        job.end(RedeliveryState::Stopped, now);
        Some(job.clone())
    }

    fn forget_oldest(&mut self) {
        let ended = self.jobs.iter().find(|(_, job)| !job.is_on());
        let oldest = ended.map(|(id, _)| *id);
        if self.jobs.len() > REMEMBERED
            && let Some(oldest) = oldest
        {
            self.jobs.remove(&oldest);
        }
    }
}

impl State {
    pub(super) fn begin_redelivery(
        &mut self,
        which: Redelivery,
        now: Timestamp,
    ) -> Result<RedeliveryJob, StoreError> {
        let through = DeliveryId::new(self.last_id);
        let found = self.to_redeliver(&which, DeliveryId::default(), through)?;
        let total = u64::try_from(found.len()).unwrap_or(u64::MAX);
        self.jobs.last += 1;
        let id = RedeliveryId::new(self.jobs.last);
        let mut job = RedeliveryJob::new(id, which, now, through, total);
        if found.is_empty() {
            job.end(RedeliveryState::Finished, now);
        }
        self.jobs.jobs.insert(id, job.clone());
        self.jobs.forget_oldest();
        Ok(job)
    }

    /// Redelivers up to `limit` further deliveries.
    pub(super) fn go_on(
        &mut self,
        limits: &MemoryLimits,
        id: RedeliveryId,
        limit: usize,
        now: Timestamp,
    ) -> Result<Option<RedeliveryStep>, StoreError> {
        let Some(mut job) = self.jobs.jobs.get(&id).cloned() else {
            return Ok(None);
        };
        let mut fresh = Vec::new();
        if !job.is_on() {
            return Ok(Some((job, fresh)));
        }
        let found = self.to_redeliver(&job.which, job.after, job.through)?;
        job.state = RedeliveryState::Running;
        for delivery in found.iter().take(limit) {
            match self.redeliver(limits, &Redelivery::One(*delivery), now) {
                Ok(again) => {
                    job.done += 1;
                    fresh.extend(again);
                }
                Err(StoreError::Full(_)) => {
                    job.state = RedeliveryState::WaitingForRoom;
                    break;
                }
                Err(_) => job.skipped += 1,
            }
            job.after = *delivery;
        }
        if job.state == RedeliveryState::Running && found.len() <= limit {
            job.end(RedeliveryState::Finished, now);
        }
        self.jobs.jobs.insert(id, job.clone());
        Ok(Some((job, fresh)))
    }

    /// Looks at the deliveries that a redelivery finds, the newest first, up to `at_most`.
    pub(super) fn survey(&self, which: &Redelivery, at_most: u64) -> Result<Survey, StoreError> {
        let all = (DeliveryId::default(), DeliveryId::new(self.last_id));
        let found = self.to_redeliver(which, all.0, all.1)?;
        let mut surveyor = Surveyor::new(&Search::of_redelivery(which)?, at_most);
        let newest_first = found.iter().rev();
        let mut shown = newest_first.filter_map(|id| Some(self.find(*id)?.shown(*id)));
        // It stops at the first one too many.
        let _ = shown.any(|delivery| surveyor.is_over_with(&delivery));
        Ok(surveyor.survey())
    }

    /// Returns the deliveries after `after` that a redelivery finds, oldest first.
    fn to_redeliver(
        &self,
        which: &Redelivery,
        after: DeliveryId,
        through: DeliveryId,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let search = Search::of_redelivery(which)?;
        let wanted = |(id, entry): &(&DeliveryId, &StoredDelivery)| {
            **id > after
                && **id <= through
                && !entry.state.is_open()
                && (!search.listed || self.is_listed(**id))
                && search.finds(**id, &entry.facts())
        };
        let found = self.entries().filter(wanted);
        let mut found: Vec<DeliveryId> = found.map(|(id, _)| *id).collect();
        found.sort_unstable();
        Ok(found)
    }
}
