//! The attempts of one endpoint, each from its start until it is recorded.

use std::sync::Arc;

use foldhash::HashMap;

use crate::domain::deliveries::alert::Alert;
use crate::domain::deliveries::delivery::OpenDelivery;
use crate::domain::endpoint::place::Place;
use crate::domain::machine::permits::Charge;
use crate::domain::policy::retry::Progress;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;

/// One table for both stages, so that the entry needed at an attempt's end was touched at its
/// start.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    attempts: HashMap<DeliveryId, UnderWayAttempt>,
    in_flight: usize,
    /// Number of tests among them.
    tests: usize,
    /// Total number of bytes of their bodies.
    bytes: usize,
}

#[derive(Debug)]
struct UnderWayAttempt {
    alert: Arc<Alert>,
    /// `None` once the attempt has ended and is to be recorded.
    in_flight: Option<InFlight>,
}

/// An attempt that has not ended yet.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) progress: Progress,
    pub(super) started_at: Timestamp,
    /// The permit's charge.
    pub(super) permit: Charge,
    pub(super) late: bool,
    /// Whether it is a test, which says nothing about the endpoint.
    pub(super) is_test: bool,
    /// Number of attempts in flight when it started, including itself.
    pub(super) at_once: u32,
}

impl UnderWay {
    /// Records that an attempt has started.
    pub(super) fn start(&mut self, delivery: OpenDelivery, started_at: Timestamp, permit: Charge) {
        let at_once = u32::try_from(self.in_flight + 1).unwrap_or(u32::MAX);
        let in_flight = Some(InFlight {
            progress: delivery.progress,
            started_at,
            permit,
            late: false,
            is_test: delivery.alert.is_test(),
            at_once,
        });
        let alert = delivery.alert;
        let is_test = alert.is_test();
        self.bytes += alert.body.len();
        let attempt = UnderWayAttempt { alert, in_flight };
        let before = self.attempts.insert(delivery.id, attempt);
        debug_assert!(
            before.is_none(),
            "a delivery has one attempt under way at most"
        );
        let was_in_flight = before.is_some_and(|attempt| attempt.in_flight.is_some());
        self.in_flight += usize::from(!was_in_flight);
        self.tests += usize::from(!was_in_flight && is_test);
    }

    /// Marks an attempt as ended and to be recorded, and returns its data; `None` if none was in
    /// flight.
    pub(super) fn end(&mut self, id: DeliveryId) -> Option<InFlight> {
        let ended = self.attempts.get_mut(&id)?.in_flight.take()?;
        self.in_flight -= 1;
        self.tests = self.tests.saturating_sub(usize::from(ended.is_test));
        Some(ended)
    }

    /// Forgets the attempts in flight and returns their permits.
    pub(super) fn break_off(&mut self) -> Vec<Charge> {
        let mut permits = Vec::with_capacity(self.in_flight);
        self.attempts.retain(|_, attempt| {
            let Some(in_flight) = &attempt.in_flight else {
                return true;
            };
            permits.push(in_flight.permit);
            self.bytes = self.bytes.saturating_sub(attempt.alert.body.len());
            false
        });
        (self.in_flight, self.tests) = (0, 0);
        permits
    }

    /// Removes a recorded attempt and returns the alert sent; `None` if the attempt was not to be
    /// recorded.
    pub(super) fn take_recorded(&mut self, id: DeliveryId) -> Option<Arc<Alert>> {
        let ended = |attempt: &UnderWayAttempt| attempt.in_flight.is_none();
        if !self.attempts.get(&id).is_some_and(ended) {
            return None;
        }
        let alert = self.attempts.remove(&id)?.alert;
        self.bytes = self.bytes.saturating_sub(alert.body.len());
        Some(alert)
    }

    /// Returns where a delivery is that has an attempt under way.
    pub(super) fn locate(&self, id: DeliveryId) -> Option<Place> {
        let attempt = self.attempts.get(&id)?;
        Some(match &attempt.in_flight {
            Some(in_flight) => Place::InFlight {
                since: in_flight.started_at,
            },
            None => Place::Recording,
        })
    }

    /// Returns the number of attempts in flight or to be recorded.
    pub(super) fn len(&self) -> usize {
        self.attempts.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Returns the number of attempts in flight that are no tests.
    pub(super) fn in_window(&self) -> usize {
        self.in_flight.saturating_sub(self.tests)
    }

    /// Returns the number of ended attempts that are not recorded yet.
    pub(super) fn unrecorded(&self) -> usize {
        self.attempts.len().saturating_sub(self.in_flight)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn contains(&self, id: DeliveryId) -> bool {
        self.attempts.contains_key(&id)
    }

    pub(super) fn alerts(&self) -> impl Iterator<Item = (DeliveryId, &Alert)> {
        let attempts = self.attempts.iter();
        attempts.map(|(id, attempt)| (*id, &*attempt.alert))
    }

    /// Returns the attempts in flight, in no particular order.
    pub(super) fn in_flight_mut(&mut self) -> impl Iterator<Item = &mut InFlight> {
        self.attempts
            .values_mut()
            .filter_map(|attempt| attempt.in_flight.as_mut())
    }
}
