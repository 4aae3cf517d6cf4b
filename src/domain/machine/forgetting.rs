//! Deliveries that are ended by hand: those in memory are dropped, those on their way into it are not let in.

use std::collections::BTreeSet;

use super::EndpointMachine;
use crate::domain::value::id::DeliveryId;

/// Deliveries that were forgotten of late, which a read that was under way may still bring.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    latest: BTreeSet<DeliveryId>,
    /// Those of the time before. What was read before that has long come.
    before: BTreeSet<DeliveryId>,
}

impl Forgotten {
    pub(super) fn contains(&self, id: DeliveryId) -> bool {
        !self.latest.is_empty() && (self.latest.contains(&id) || self.before.contains(&id))
    }
}

impl EndpointMachine {
    /// Forgets deliveries that are about to be ended in the store, and returns those that are in flight or not on record yet, which are kept.
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
        self.tally.open = self.tally.open.saturating_sub(count);
        self.tally.dead_lettered += count;
        self.waiting.retain(|(_, id), _| !forgotten.contains(id));
        self.due.retain(|id, _| !forgotten.contains(id));
        self.forgotten.before = std::mem::replace(&mut self.forgotten.latest, forgotten);
        // Those that were held back by one of them go on.
        self.reorder(self.policy.ordering);
        self.rest_at = None;
        kept
    }
}
