//! Whether attempts of an endpoint may start, as operators and its receiver have said.

use crate::domain::endpoint::status::EndpointState;
use crate::domain::policy::health::DisabledReason;

/// Whether attempts may start. The subscriber owns it while it runs, and leaves it to the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) paused: bool,
    pub(crate) disabled: Option<DisabledReason>,
}

/// A change that operators ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunChange {
    Pause,
    Disable(DisabledReason),
    /// Ends a pause, a disabling and a hold.
    Resume,
}

impl Run {
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

    /// Returns this for an endpoint whose settings cannot be read, if `withheld`.
    pub(crate) fn or_withheld(self, withheld: bool) -> Self {
        let unreadable = withheld.then_some(DisabledReason::Unreadable);
        Self {
            disabled: unreadable.or(self.disabled),
            ..self
        }
    }

    /// Returns the state that an endpoint has by this; `None` while attempts may start.
    pub(crate) fn state(self) -> Option<EndpointState> {
        let disabled = self.disabled;
        let disabled = disabled.map(|reason| EndpointState::Disabled { reason });
        disabled.or(self.paused.then_some(EndpointState::Paused))
    }
}
