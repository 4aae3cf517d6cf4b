//! The one clock of an engine: wall-clock time that advances with tokio's clock.
//!
//! Time starts at the wall clock and advances with tokio's monotonic clock, so that under tokio's paused clock the whole engine runs in
//! simulated time. In real time it is compared with the wall clock every few seconds and follows it when that was set
//! (or the machine slept), because timestamps are stored and sent to receivers who compare them with their own clocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::domain::time::Timestamp;

/// A clock that all actors of an engine share.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<Anchors>);

#[derive(Debug)]
struct Anchors {
    start: Timestamp,
    tokio: Instant,
    /// `None` when time is simulated from a given start and never follows the wall clock.
    real: Option<std::time::Instant>,
    /// What is added to the time since the start, in milliseconds.
    correction: AtomicI64,
    compared_at: AtomicI64,
    /// How often a simulation asked for the time since it last moved on.
    steps: AtomicU64,
}

impl Clock {
    /// Returns a clock that starts at the wall clock's time.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell that owns the clock"
    )]
    pub(crate) fn system() -> Self {
        Self::anchored(
            Timestamp::from(SystemTime::now()),
            Some(std::time::Instant::now()),
        )
    }

    #[cfg(any(test, feature = "test-util"))]
    /// Returns a clock that starts at a given time, for simulations that must be repeatable.
    pub(crate) fn starting_at(start: Timestamp) -> Self {
        Self::anchored(start, None)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell that owns the clock"
    )]
    fn anchored(start: Timestamp, real: Option<std::time::Instant>) -> Self {
        let (correction, compared_at) = (AtomicI64::new(0), AtomicI64::new(0));
        Self(Arc::new(Anchors {
            start,
            tokio: Instant::now(),
            real,
            correction,
            compared_at,
            steps: AtomicU64::new(0),
        }))
    }

    /// Returns the time.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell that owns the clock"
    )]
    pub(crate) fn now(&self) -> Timestamp {
        let anchors = &*self.0;
        let elapsed = Instant::now().duration_since(anchors.tokio);
        let millis = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        if anchors.real.is_some()
            && millis.saturating_sub(anchors.compared_at.load(Ordering::Relaxed))
                >= COMPARE_EVERY_MS
        {
            anchors.compared_at.store(millis, Ordering::Relaxed);
            anchors.follow_wall_clock(elapsed, millis);
        }
        if anchors.real.is_none() {
            anchors.count_step(millis);
        }
        let correction = anchors.correction.load(Ordering::Relaxed);
        Timestamp::from_unix_millis(
            anchors
                .start
                .unix_millis()
                .saturating_add(millis)
                .saturating_add(correction),
        )
    }

    /// Returns the moment by tokio's clock, which never goes back and is not set: for deadlines that do not outlive the process.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell that owns the clock"
    )]
    pub(crate) fn instant() -> Instant {
        Instant::now()
    }

    /// Returns the moment at which it will be `at`, as far as is known now.
    pub(crate) fn moment(&self, at: Timestamp) -> Instant {
        let anchors = &*self.0;
        let correction = anchors.correction.load(Ordering::Relaxed);
        let elapsed = at
            .unix_millis()
            .saturating_sub(anchors.start.unix_millis())
            .saturating_sub(correction);
        let elapsed = Duration::from_millis(u64::try_from(elapsed).unwrap_or(0));
        anchors.tokio + elapsed.min(FARTHEST)
    }

    /// Returns the moment, or an earlier one when it is far away: whoever waits looks at the clock again.
    pub(crate) fn not_far(moment: Instant) -> Instant {
        moment.min(Self::instant() + LONGEST_SLEEP)
    }
}

impl Anchors {
    /// Ends a simulation in which time no longer moves on: something spins, and would do so for ever.
    fn count_step(&self, millis: i64) {
        if self.compared_at.swap(millis, Ordering::Relaxed) != millis {
            self.steps.store(0, Ordering::Relaxed);
        }
        let steps = self.steps.fetch_add(1, Ordering::Relaxed);
        assert!(
            steps < MOST_STEPS,
            "simulated time stands still: something is woken again and again without effect"
        );
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell that owns the clock"
    )]
    fn follow_wall_clock(&self, elapsed: Duration, millis: i64) {
        let Some(real) = self.real else { return };
        if real.elapsed().abs_diff(elapsed) > SIMULATED_BEYOND {
            return;
        }
        let wall = Timestamp::from(SystemTime::now()).unix_millis();
        let correction = wall
            .saturating_sub(self.start.unix_millis())
            .saturating_sub(millis);
        let before = self.correction.load(Ordering::Relaxed);
        if correction.abs_diff(before) >= FOLLOW_BEYOND_MS {
            log::warn!(from_ms = before, to_ms = correction; "wall clock was set; deadlines follow it");
            self.correction.store(correction, Ordering::Relaxed);
        }
    }
}

/// How often the wall clock is looked at.
const COMPARE_EVERY_MS: i64 = 5_000;

/// How far the wall clock may be off before deadlines follow it.
const FOLLOW_BEYOND_MS: u64 = 500;

/// A difference between tokio's time and real time that only a simulation has.
const SIMULATED_BEYOND: Duration = Duration::from_millis(250);

/// How often the time may be asked for at one instant of a simulation.
const MOST_STEPS: u64 = 2_000_000;

/// Moments that are farther away are all the same.
const FARTHEST: Duration = Duration::from_hours(24 * 365 * 100);

/// No timer sleeps longer, so that a wall clock that was set forward is noticed.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn it_advances_with_tokios_paused_clock() {
        tokio::time::pause();
        let clock = Clock::starting_at(Timestamp::from_unix_millis(1_000));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.now(), Timestamp::from_unix_millis(4_000));
        tokio::time::sleep_until(clock.moment(Timestamp::from_unix_millis(9_500))).await;
        // Tokio rounds up to its own milliseconds, which began before this test paused it.
        let late = clock.now().since(Timestamp::from_unix_millis(9_500));
        assert!(
            clock.now() >= Timestamp::from_unix_millis(9_500) && late <= Duration::from_millis(1),
            "{late:?}"
        );
    }

    #[actix_rt::test]
    async fn a_moment_follows_when_the_wall_clock_is_set() {
        tokio::time::pause();
        let clock = Clock::starting_at(Timestamp::from_unix_millis(0));
        let due = Timestamp::from_unix_millis(3_600_000);
        let before = clock.moment(due);
        assert_eq!(clock.moment(clock.now()) + Duration::from_hours(1), before);
        clock.0.correction.store(1_800_000, Ordering::Relaxed);
        assert_eq!(clock.moment(due) + Duration::from_mins(30), before);
        assert!(clock.moment(Timestamp::NEVER) > before, "it is far away");
    }

    #[actix_rt::test]
    async fn a_simulation_is_not_dragged_back_to_the_wall_clock() {
        tokio::time::pause();
        let clock = Clock::system();
        let before = clock.now();
        tokio::time::advance(Duration::from_hours(24)).await;
        assert_eq!(clock.now().since(before), Duration::from_hours(24));
    }
}
