//! Counts of one endpoint, and the state that its subscriber leaves behind.

use crate::domain::deliveries::attempt::{AttemptRecord, AttemptSummary};
use crate::domain::deliveries::outcome::Outcome;
use crate::domain::endpoint::recent::RecentResults;
use crate::domain::endpoint::standing::Standing;
use crate::domain::endpoint::status::{EndpointState, EndpointStatus};
use crate::domain::machine::permits::PermitClass;
use crate::domain::machine::run::Run;
use crate::domain::policy::agreed::Hold;
use crate::domain::policy::breaker::Circuit;
use crate::domain::policy::health::Health;
use crate::domain::policy::pace::Pace;
use crate::domain::policy::rate::Pacer;
use crate::domain::policy::window::ConcurrencyWindow;
use crate::domain::value::url::WebhookUrl;

/// Counts since the engine started, and the endpoint's health.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Open deliveries, in memory and in the store.
    pub(crate) open: u64,
    pub(crate) delivered: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) attempts: u64,
    pub(crate) consecutive_failures: u32,
    pub(crate) consecutive_transient: u32,
    pub(crate) last_attempt: Option<AttemptSummary>,
    pub(crate) recent: RecentResults,
    pub(crate) health: Health,
}

/// The state that a subscriber leaves to the endpoint's next one when it retires or panics.
#[derive(Clone, Debug, Default)]
pub(crate) struct RetiredState {
    pub(crate) run: Run,
    pub(crate) tally: Tally,
    pub(crate) window: ConcurrencyWindow,
    pub(crate) circuit: Circuit,
    pub(crate) pacer: Pacer,
    /// Set for a receiver that was overloaded; most endpoints have none.
    pub(crate) pace: Option<Box<Pace>>,
    pub(crate) hold: Option<Box<Hold>>,
    /// The permit class shown by the endpoint's last attempt.
    pub(crate) class: PermitClass,
    pub(crate) reports_lost: u64,
    /// `true` if a subscriber has read the stored state; this state is then newer than that one.
    pub(crate) is_known: bool,
}

impl RetiredState {
    /// Returns the status of an endpoint without a subscriber.
    pub(crate) fn status(&self, url: WebhookUrl) -> EndpointStatus {
        let hold = self.hold.as_deref().copied();
        EndpointStatus {
            stopped: self.run.stopped(),
            state: self.state(),
            window: self.window.size(),
            held: hold,
            reports_lost: self.reports_lost,
            ..self.tally.status(url)
        }
    }
}

impl RetiredState {
    fn state(&self) -> EndpointState {
        let held = |hold: &Hold| EndpointState::RateLimited { until: hold.until };
        let held = self.hold.as_deref().map(held);
        self.run.state().or(held).unwrap_or_default()
    }

    /// Returns the standing of an endpoint without a subscriber. `withheld` is `true` if its
    /// settings cannot be read.
    pub(crate) fn standing(&self, withheld: bool) -> Standing {
        let shut = self.run.or_withheld(withheld).state();
        Standing {
            kind: shut.unwrap_or_else(|| self.state()).kind(),
            failing: self.tally.is_failing(),
        }
    }
}

impl Tally {
    /// Returns the status of an endpoint that has nothing to do.
    pub(crate) fn status(&self, url: WebhookUrl) -> EndpointStatus {
        EndpointStatus {
            queued: self.open,
            delivered: self.delivered,
            dead_lettered: self.dead_lettered,
            attempts: self.attempts,
            consecutive_failures: self.consecutive_failures,
            last_attempt: self.last_attempt,
            recent: self.recent,
            failing_since: self.health.failing_since,
            warned_at: self.health.warned_at,
            ..EndpointStatus::untouched(url)
        }
    }

    /// Returns `true` if the last attempt failed, also if that was before the engine started.
    pub(crate) fn is_failing(&self) -> bool {
        self.consecutive_failures > 0 || self.health.failing_since.is_some()
    }

    /// Counts an attempt that delivered.
    pub(crate) fn succeeded(&mut self) {
        self.consecutive_failures = 0;
        self.consecutive_transient = 0;
    }

    /// Counts a failed attempt. A permanent failure is a definite answer, so it ends a run of
    /// transient failures.
    pub(crate) fn failed(&mut self, transient: bool) {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.consecutive_transient = if transient {
            self.consecutive_transient.saturating_add(1)
        } else {
            0
        };
    }

    /// Counts a recorded attempt.
    pub(crate) fn count(&mut self, record: &AttemptRecord) {
        self.attempts += 1;
        self.last_attempt = Some(record.summary);
        self.recent.push(record.outcome);
        match record.outcome {
            Outcome::Failed { .. } => return,
            Outcome::Delivered => self.delivered += 1,
            Outcome::DeadLettered { .. } => self.dead_lettered += 1,
        }
        self.open = self.open.saturating_sub(1);
    }
}
