//! The coarse state of an endpoint: small enough to be counted on every change.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::endpoint::status::EndpointState;

/// The kind of an [`EndpointState`], without its times and reasons. In JSON a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StateKind {
    /// There is nothing to send.
    #[default]
    Idle,
    /// Attempts are in flight or about to start.
    Delivering,
    /// Every open delivery waits for a retry.
    BackingOff,
    /// The receiver asked for a pause.
    RateLimited,
    /// The circuit breaker is open.
    CircuitOpen,
    /// The application paused it.
    Paused,
    /// It is no longer attempted.
    Disabled,
}

impl StateKind {
    /// All kinds, in the order of their declaration.
    pub(crate) const ALL: [Self; 7] = [
        Self::Idle,
        Self::Delivering,
        Self::BackingOff,
        Self::RateLimited,
        Self::CircuitOpen,
        Self::Paused,
        Self::Disabled,
    ];

    /// Returns `true` if nothing starts in this state, whatever is to be sent.
    pub(crate) fn is_stopped(self) -> bool {
        match self {
            Self::Idle | Self::Delivering | Self::BackingOff => false,
            Self::RateLimited | Self::CircuitOpen | Self::Paused | Self::Disabled => true,
        }
    }
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Delivering => "delivering",
            Self::BackingOff => "backing off",
            Self::RateLimited => "on hold",
            Self::CircuitOpen => "circuit open",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        })
    }
}

impl EndpointState {
    /// Returns the kind of the state.
    pub fn kind(&self) -> StateKind {
        match self {
            Self::Idle => StateKind::Idle,
            Self::Delivering => StateKind::Delivering,
            Self::BackingOff { .. } => StateKind::BackingOff,
            Self::RateLimited { .. } => StateKind::RateLimited,
            Self::CircuitOpen { .. } => StateKind::CircuitOpen,
            Self::Paused => StateKind::Paused,
            Self::Disabled { .. } => StateKind::Disabled,
        }
    }
}

/// How an endpoint is counted: the kind of its state, and whether its last attempt failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) kind: StateKind,
    pub(crate) failing: bool,
}

impl Standing {
    /// The number of different standings.
    pub(crate) const COUNT: usize = 2 * StateKind::ALL.len();

    /// Returns `true` if attempts may start and the last one did not fail.
    pub(crate) fn is_well(self) -> bool {
        !self.failing && !self.kind.is_stopped()
    }

    /// Returns its number, below [`COUNT`](Self::COUNT).
    pub(crate) fn number(self) -> u8 {
        2 * self.kind as u8 + u8::from(self.failing)
    }

    /// Returns the standing with this number; `None` if there is none.
    pub(crate) fn of_number(number: u8) -> Option<Self> {
        let kind = StateKind::ALL.get(usize::from(number / 2))?;
        Some(Self {
            kind: *kind,
            failing: number % 2 == 1,
        })
    }
}

/// The number of endpoints in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointCounts {
    /// All endpoints that the engine knows.
    pub total: u64,
    /// Endpoints that are idle.
    pub idle: u64,
    /// Endpoints with attempts in flight or about to start.
    pub delivering: u64,
    /// Endpoints whose open deliveries all wait for a retry.
    pub backing_off: u64,
    /// Endpoints on hold.
    pub rate_limited: u64,
    /// Endpoints with an open circuit.
    pub circuit_open: u64,
    /// Paused endpoints.
    pub paused: u64,
    /// Disabled endpoints.
    pub disabled: u64,
    /// Endpoints whose last attempt failed, in any state. They are counted in their states too.
    pub failing: u64,
}

impl EndpointCounts {
    /// Adds `count` endpoints of a standing.
    pub(crate) fn add(&mut self, standing: Standing, count: u64) {
        self.total += count;
        if standing.failing {
            self.failing += count;
        }
        let of_kind = match standing.kind {
            StateKind::Idle => &mut self.idle,
            StateKind::Delivering => &mut self.delivering,
            StateKind::BackingOff => &mut self.backing_off,
            StateKind::RateLimited => &mut self.rate_limited,
            StateKind::CircuitOpen => &mut self.circuit_open,
            StateKind::Paused => &mut self.paused,
            StateKind::Disabled => &mut self.disabled,
        };
        *of_kind += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standing_has_a_number_of_its_own() {
        let numbers = 0..=u8::MAX;
        let standings = numbers.map_while(Standing::of_number);
        let numbers: Vec<u8> = standings.map(Standing::number).collect();
        assert_eq!(numbers, (0..14).collect::<Vec<u8>>());
        assert_eq!(numbers.len(), Standing::COUNT);
    }

    #[test]
    fn an_endpoint_is_well_unless_it_fails_or_is_stopped() {
        let well = |kind, failing| Standing { kind, failing }.is_well();
        let fine = StateKind::ALL.map(|kind| well(kind, false));
        assert_eq!(fine, [true, true, true, false, false, false, false]);
        assert_eq!(StateKind::ALL.map(|kind| well(kind, true)), [false; 7]);
    }

    #[test]
    fn a_count_has_every_endpoint_once_and_the_failing_ones_besides() {
        let mut counts = EndpointCounts::default();
        for number in 0..14 {
            let standing = Standing::of_number(number).unwrap();
            counts.add(standing, u64::from(number) + 1);
        }
        assert_eq!(counts.total, 105);
        assert_eq!((counts.idle, counts.disabled), (1 + 2, 13 + 14));
        assert_eq!(counts.failing, 2 + 4 + 6 + 8 + 10 + 12 + 14);
        let states = [
            counts.idle,
            counts.delivering,
            counts.backing_off,
            counts.rate_limited,
            counts.circuit_open,
            counts.paused,
            counts.disabled,
        ];
        assert_eq!(states.iter().sum::<u64>(), counts.total);
    }
}
