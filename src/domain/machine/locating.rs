//! Where a delivery of an endpoint is.

use crate::domain::endpoint::place::Place;
use crate::domain::machine::EndpointMachine;
use crate::domain::value::id::DeliveryId;

impl EndpointMachine {
    /// Returns where a delivery is; [`Place::Stored`] if it is not in memory. Searches the queue.
    pub(crate) fn locate(&self, id: DeliveryId) -> Place {
        if let Some(place) = self.under_way.locate(id) {
            return place;
        }
        if let Some(place) = self.queue.locate(id) {
            return place;
        }
        let waiting = self.waiting.keys().find(|(_, waiting)| *waiting == id);
        if let Some((until, _)) = waiting {
            return Place::Waiting { until: *until };
        }
        if self.due.contains_key(&id) {
            return Place::Queued { ahead: 0 };
        }
        Place::Stored
    }
}
