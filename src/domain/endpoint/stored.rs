//! The stored state of an endpoint without a subscriber.

use crate::domain::endpoint::status::{EndpointState, EndpointStatus};
use crate::domain::policy::agreed::{Agreed, Hold};
use crate::domain::policy::health::Health;
use crate::domain::value::time::Timestamp;

/// The state of an endpoint in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEndpoint {
    /// The number of its open deliveries.
    pub open: u64,
    /// The end of the pause that its receiver asked for; it may have passed.
    pub held_until: Option<Timestamp>,
    /// Its health: since when it has only failed.
    pub health: Health,
    /// The rest of its agreement with its receiver, from the latest record or
    /// [`DeliveryStore::agree`](crate::store::DeliveryStore::agree).
    pub agreed: Agreed,
}

impl StoredEndpoint {
    /// Adds the stored state to the status of an endpoint that has had no subscriber in this
    /// process.
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

    /// Returns `true` if the endpoint is in trouble: on hold, failing, or with an open circuit.
    pub(crate) fn is_in_trouble(&self, now: Timestamp) -> bool {
        let later = |until: Option<Timestamp>| until.is_some_and(|until| until > now);
        self.health.failing_since.is_some()
            || later(self.held_until)
            || later(self.agreed.circuit().open_until())
    }

    /// Returns the hold, with the answer that caused it if known.
    pub(crate) fn hold(&self) -> Option<Hold> {
        let until = self.held_until?;
        let known = self.agreed.hold().filter(|hold| hold.until == until);
        known.or_else(|| Some(Hold::until(until)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_in_trouble_while_it_fails_or_is_stopped() {
        let [now, next] = [1_000_000, 1_000_001].map(Timestamp::from_unix_millis);
        let mut stored = StoredEndpoint::default();
        assert!(!stored.is_in_trouble(now));
        stored.held_until = Some(next);
        assert_eq!(
            [now, next].map(|now| stored.is_in_trouble(now)),
            [true, false]
        );
        let mut stored = StoredEndpoint::default();
        stored.health.failing_since = Some(now);
        assert!(stored.is_in_trouble(next));
        let mut stored = StoredEndpoint::default();
        let circuit = serde_json::json!({ "circuit": { "until": next, "waitMs": 5_000 } });
        stored.agreed = serde_json::from_value(circuit).unwrap();
        assert_eq!(
            [now, next].map(|now| stored.is_in_trouble(now)),
            [true, false]
        );
    }

    #[test]
    fn a_hold_or_an_open_circuit_is_shown_until_it_is_over() {
        let now = Timestamp::from_unix_millis(1_000_000);
        let next = Timestamp::from_unix_millis(1_000_001);
        let shown = |stored: StoredEndpoint| {
            let url = crate::domain::value::url::WebhookUrl::parse("http://a.test/").unwrap();
            let mut status = EndpointStatus::untouched(url);
            stored.show(&mut status, now);
            (status.state, status.next_attempt_at)
        };
        let held = |until| StoredEndpoint {
            held_until: Some(until),
            ..StoredEndpoint::default()
        };
        let open = |until: Timestamp| StoredEndpoint {
            agreed: serde_json::from_value(serde_json::json!({
                "circuit": { "until": until, "waitMs": 5_000 }
            }))
            .unwrap(),
            ..StoredEndpoint::default()
        };
        let idle = (EndpointState::Idle, None);
        assert_eq!(shown(held(now)), idle);
        let limited = EndpointState::RateLimited { until: next };
        assert_eq!(shown(held(next)), (limited, Some(next)));
        assert_eq!(shown(open(now)), idle);
        let opened = EndpointState::CircuitOpen { until: next };
        assert_eq!(shown(open(next)), (opened, Some(next)));
    }
}
