//! Pause and disabling of an endpoint.

use std::sync::Arc;

use crate::domain::endpoint::standing::Standing;
use crate::domain::endpoint::status::{EndpointState, Stopped};
use crate::domain::policy::health::DisabledReason;

/// Obstacles to new attempts: a pause and a disabling.
///
/// Owned by the subscriber while it runs, then left to the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) paused: Option<Arc<Stopped>>,
    pub(crate) disabled: Option<Disabling>,
}

/// Why an endpoint is disabled, since when, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disabling {
    pub(crate) reason: DisabledReason,
    pub(crate) stopped: Arc<Stopped>,
}

/// Everything that keeps attempts from starting, whatever the deliveries are.
#[derive(Clone, Debug, Default)]
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
    pub(super) fn is_on(&self) -> bool {
        self.run.is_on() && !self.withheld
    }
}

/// A change requested by operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunChange {
    Pause(Arc<Stopped>),
    Disable(Disabling),
    /// Ends a pause, a disabling and a hold.
    Resume,
}

impl Run {
    /// Returns `true` if the endpoint is neither paused nor disabled.
    pub(crate) fn is_on(&self) -> bool {
        self.paused.is_none() && self.disabled.is_none()
    }

    /// Applies a change. What is repeated keeps its first time, operator and note.
    pub(crate) fn apply(&mut self, change: RunChange) {
        match change {
            RunChange::Pause(stopped) => {
                self.paused.get_or_insert(stopped);
            }
            RunChange::Disable(disabling) => {
                let same = |known: &Disabling| known.reason == disabling.reason;
                if !self.disabled.as_ref().is_some_and(same) {
                    self.disabled = Some(disabling);
                }
            }
            RunChange::Resume => *self = Self::default(),
        }
    }

    /// Returns this state or, if `withheld`, that of an endpoint whose settings cannot be read.
    pub(crate) fn or_withheld(&self, withheld: bool) -> Self {
        let unreadable = withheld.then(|| Disabling {
            reason: DisabledReason::Unreadable,
            stopped: Arc::default(),
        });
        Self {
            disabled: unreadable.or_else(|| self.disabled.clone()),
            paused: self.paused.clone(),
        }
    }

    /// Returns the standing of an endpoint that has had no subscriber. `withheld` is `true` if its
    /// settings cannot be read.
    pub(crate) fn standing(&self, withheld: bool) -> Standing {
        Standing {
            kind: self
                .or_withheld(withheld)
                .state()
                .unwrap_or_default()
                .kind(),
            failing: false,
        }
    }

    /// Returns the state of a disabled or paused endpoint; `None` if it is neither.
    pub(crate) fn state(&self) -> Option<EndpointState> {
        let reason = self.disabled.as_ref().map(|disabling| disabling.reason);
        let disabled = reason.map(|reason| EndpointState::Disabled { reason });
        disabled.or_else(|| self.paused.as_ref().map(|_| EndpointState::Paused))
    }

    /// Returns when and by whom the [`state`](Self::state) was caused; `None` if it is neither, or
    /// if the settings cannot be read.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        let stopped = match &self.disabled {
            Some(disabling) if disabling.reason == DisabledReason::Unreadable => return None,
            Some(disabling) => &disabling.stopped,
            None => self.paused.as_ref()?,
        };
        Some(Stopped::clone(stopped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::value::operator::Operator;
    use crate::domain::value::time::Timestamp;

    fn by(name: &str, at: i64) -> Arc<Stopped> {
        let stopped = Stopped::at(Timestamp::from_unix_millis(at));
        Arc::new(stopped.by(Operator::new(name).ok()))
    }

    fn disabling(reason: DisabledReason, stopped: Arc<Stopped>) -> RunChange {
        RunChange::Disable(Disabling { reason, stopped })
    }

    #[test]
    fn a_repeated_pause_or_disabling_keeps_the_first() {
        let mut run = Run::default();
        run.apply(RunChange::Pause(by("alice", 1)));
        run.apply(RunChange::Pause(by("bob", 2)));
        assert_eq!(run.stopped(), Some(Stopped::clone(&by("alice", 1))));
        run.apply(disabling(DisabledReason::Gone, by("engine", 3)));
        run.apply(disabling(DisabledReason::Gone, by("engine", 4)));
        assert_eq!(run.stopped(), Some(Stopped::clone(&by("engine", 3))));
        run.apply(disabling(DisabledReason::Application, by("bob", 5)));
        assert_eq!(
            run.stopped(),
            Some(Stopped::clone(&by("bob", 5))),
            "for another reason"
        );
        run.apply(RunChange::Resume);
        assert_eq!((run.is_on(), run.stopped()), (true, None));
    }

    #[test]
    fn unreadable_settings_are_nobodys_doing() {
        let mut run = Run::default();
        run.apply(RunChange::Pause(by("alice", 1)));
        assert_eq!(run.or_withheld(true).stopped(), None);
        assert_eq!(run.or_withheld(false), run);
    }
}
