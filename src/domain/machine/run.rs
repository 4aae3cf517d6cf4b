//! Pause and disabling of an endpoint.

use crate::domain::endpoint::status::EndpointState;
use crate::domain::policy::health::DisabledReason;

/// Obstacles to new attempts: a pause and a disabling.
///
/// Owned by the subscriber while it runs, then left to the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) paused: bool,
    pub(crate) disabled: Option<DisabledReason>,
}

/// Everything that keeps attempts from starting, whatever the deliveries are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Control {
    pub(super) run: Run,
    /// Set while the stored settings cannot be read.
    pub(super) withheld: bool,
    /// Set once the engine shuts down or the subscriber is ended: attempts in flight end, and no
    /// other starts.
    pub(super) draining: bool,
    /// Set while a change of `run` is being written. Until then no attempt is recorded, so that the
    /// order in the store is the order here.
    pub(super) changing: bool,
}

impl Control {
    /// Returns `true` if attempts may start as far as operators, the receiver and the settings say.
    pub(super) fn is_on(self) -> bool {
        self.run.is_on() && !self.withheld
    }
}

/// A change requested by operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunChange {
    Pause,
    Disable(DisabledReason),
    /// Ends a pause, a disabling and a hold.
    Resume,
}

impl Run {
    /// Returns `true` if the endpoint is neither paused nor disabled.
    pub(crate) fn is_on(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn apply(&mut self, change: RunChange) {
        match change {
            RunChange::Pause => self.paused = true,
            RunChange::Disable(reason) => self.disabled = Some(reason),
            RunChange::Resume => *self = Self::default(),
        }
    }

    /// Returns this state or, if `withheld`, that of an endpoint whose settings cannot be read.
    pub(crate) fn or_withheld(self, withheld: bool) -> Self {
        let unreadable = withheld.then_some(DisabledReason::Unreadable);
        Self {
            disabled: unreadable.or(self.disabled),
            ..self
        }
    }

    /// Returns the state of a disabled or paused endpoint; `None` if it is neither.
    pub(crate) fn state(self) -> Option<EndpointState> {
        let disabled = self.disabled;
        let disabled = disabled.map(|reason| EndpointState::Disabled { reason });
        disabled.or(self.paused.then_some(EndpointState::Paused))
    }
}
