//! Deliveries ended by hand: they are dropped from memory, and pending reads do not bring them
//! back.

use std::collections::BTreeSet;

use super::{EndpointMachine, Rest};
use crate::domain::value::id::DeliveryId;

/// Recently forgotten deliveries, which a read in progress may still return.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    latest: BTreeSet<DeliveryId>,
    /// The batch before, and all since the reads in progress began.
    before: BTreeSet<DeliveryId>,
}

impl Forgotten {
    pub(super) fn contains(&self, id: DeliveryId) -> bool {
        !self.latest.is_empty() && (self.latest.contains(&id) || self.before.contains(&id))
    }
}

impl EndpointMachine {
    /// Forgets deliveries that are about to be ended in the store. Those in flight or not recorded
    /// yet are kept and returned.
    pub(crate) fn forget(&mut self, ids: &[DeliveryId]) -> Vec<DeliveryId> {
        let (kept, forgotten): (Vec<DeliveryId>, BTreeSet<DeliveryId>) = {
            let under_way = |id: &&DeliveryId| self.under_way.contains(**id);
            let kept = ids.iter().filter(under_way).copied().collect();
            let others = ids.iter().filter(|id| !under_way(id)).copied();
            (kept, others.collect())
        };
        if forgotten.is_empty() {
            return kept;
        }
        let count = u64::try_from(forgotten.len()).unwrap_or(u64::MAX);
        self.waiting.retain(|(_, id), _| !forgotten.contains(id));
        self.due.retain(|id, _| !forgotten.contains(id));
        self.by_hand.retain(|test| !forgotten.contains(&test.id));
        if !self.reads_deliveries() {
            self.forgotten.before = BTreeSet::new();
        }
        let latest = std::mem::replace(&mut self.forgotten.latest, forgotten);
        self.forgotten.before.extend(latest);
        // Deliveries that one of them held back go on.
        self.reorder(self.policy.ordering);
        if self.has_read_all() {
            // Some of them may have ended, and been counted, since they were looked for.
            self.correct_count();
        } else {
            self.tally.open = self.tally.open.saturating_sub(count);
        }
        self.rest = Rest::Awake;
        kept
    }

    /// Counts deliveries that were forgotten and that the store has ended.
    pub(crate) fn count_ended(&mut self, count: u64) {
        self.tally.dead_lettered += count;
    }

    /// Returns `true` if a read is in progress that may return deliveries.
    pub(super) fn reads_deliveries(&self) -> bool {
        self.loading > 0 || self.unread.reads_deliveries()
    }
}
