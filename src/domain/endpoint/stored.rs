//! What a store knows of an endpoint that nobody runs for.

use crate::domain::endpoint::status::{EndpointState, EndpointStatus};
use crate::domain::policy::agreed::{Agreed, Hold};
use crate::domain::policy::health::Health;
use crate::domain::value::time::Timestamp;

/// What a store knows of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredEndpoint {
    /// How many of its deliveries are open.
    pub open: u64,
    /// Until when its receiver asked that nothing be sent; it may be over.
    pub held_until: Option<Timestamp>,
    /// Since when it has only failed.
    pub health: Health,
    /// Its other agreements with its receiver, from the latest record or
    /// [`DeliveryStore::agree`](crate::store::DeliveryStore::agree).
    pub agreed: Agreed,
}

impl StoredEndpoint {
    /// Shows in a status what is known of an endpoint that nobody has run for in this process.
    pub(crate) fn show(&self, status: &mut EndpointStatus, now: Timestamp) {
        status.failing_since = self.health.failing_since;
        status.warned_at = self.health.warned_at;
        status.held = self.hold().filter(|hold| hold.until > now);
        let held = status.held.map(|hold| hold.until);
        let open_until = self.agreed.circuit().open_until();
        let open_until = open_until.filter(|until| *until > now);
        status.next_attempt_at = held.max(open_until);
        if let Some(until) = status.next_attempt_at {
            status.state = match held {
                Some(_) => EndpointState::RateLimited { until },
                None => EndpointState::CircuitOpen { until },
            };
        }
    }

    /// Returns the hold, with the answer that it comes from as far as that is known.
    pub(crate) fn hold(&self) -> Option<Hold> {
        let until = self.held_until?;
        let known = self.agreed.hold().filter(|hold| hold.until == until);
        known.or_else(|| Some(Hold::until(until)))
    }
}
