//! The two clocks of an engine: the time it lives by, and the wall clock that it shows.
//!
//! The engine's time starts at the wall clock and advances with tokio's monotonic clock alone: setting the wall clock moves
//! nothing that is under way, and under tokio's paused clock the whole engine runs in simulated time. How far the wall clock
//! is from it is an offset, looked at every second, applied to what is shown and kept in the store: an engine that is
//! started again goes on with the time of the one before, so that stored deadlines mean what they meant.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::value::time::Timestamp;
use crate::domain::value::wall::WallOffset;
use crate::store::StoredClock;

/// A clock that all actors of an engine share.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<EngineTime>);

#[derive(Debug)]
struct EngineTime {
    wall: Wall,
    /// The engine's time at the wall clock's anchor.
    start: Timestamp,
    /// How far the wall clock is ahead, in milliseconds: as it was seen last, and as the store has it.
    offset: AtomicI64,
    kept: AtomicI64,
}

/// The wall clock, of the system or of a simulation.
#[derive(Clone, Debug)]
pub(crate) struct Wall(Arc<Anchor>);

/// A moment by the clocks that are not set.
#[derive(Debug)]
struct Anchor {
    /// What the wall clock said then, rounded down.
    wall: Timestamp,
    tokio: Instant,
    /// How far behind the wall clock this may be: what it was cut by, and what passed while the clocks were read.
    behind: Duration,
    source: Source,
}

#[derive(Debug)]
enum Source {
    System {
        real: std::time::Instant,
    },
    /// Time is simulated from a given start, and the wall clock is set by hand.
    #[cfg_attr(
        not(any(test, feature = "test-util")),
        expect(dead_code, reason = "only tests make one")
    )]
    Simulated {
        /// By how much it was set in all, in milliseconds.
        set_by: watch::Sender<i64>,
        /// How often the simulation asked for the time since it last moved on, to `moved_at`.
        steps: AtomicU64,
        moved_at: AtomicI64,
    },
}

impl Wall {
    /// Returns the system's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell that owns the clock"
    )]
    pub(crate) fn system() -> Self {
        // The wall clock first, and cut to milliseconds: the engine's time is behind it by what lies in between, and so
        // never reaches a date before the wall clock does.
        let before = SystemTime::now();
        let real = std::time::Instant::now();
        let tokio = Instant::now();
        let passed = SystemTime::now().duration_since(before);
        let behind = CUT + passed.unwrap_or_default();
        Self::anchored(before.into(), tokio, behind, Source::System { real })
    }

    /// Returns a clock that is only simulated, for simulations that must be repeatable.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn simulated(start: Timestamp) -> Self {
        let source = Source::Simulated {
            set_by: watch::Sender::new(0),
            steps: AtomicU64::new(0),
            moved_at: AtomicI64::new(0),
        };
        Self::anchored(start, Clock::instant(), Duration::ZERO, source)
    }

    fn anchored(wall: Timestamp, tokio: Instant, behind: Duration, source: Source) -> Self {
        Self(Arc::new(Anchor {
            wall,
            tokio,
            // Somebody may have set the wall clock in between.
            behind: behind.min(MOST_BEHIND),
            source,
        }))
    }

    /// Sets a simulated clock by so many milliseconds.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn set_by(&self, millis: i64) {
        if let Source::Simulated { set_by, .. } = &self.0.source {
            set_by.send_modify(|set_by| *set_by = set_by.saturating_add(millis));
        }
    }

    /// Returns the time that has passed since the anchor, by the clock that is not set.
    #[cfg(feature = "test-util")]
    pub(crate) fn elapsed(&self) -> Duration {
        let elapsed = self.0.elapsed(Clock::instant());
        self.0.count_step(elapsed);
        elapsed
    }

    /// Returns what the wall clock says.
    #[cfg(feature = "test-util")]
    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = self.elapsed();
        self.0.undisturbed(elapsed)
    }
}

impl Anchor {
    fn elapsed(&self, now: Instant) -> Duration {
        now.duration_since(self.tokio)
    }

    /// Returns what the wall clock says if nobody has set the system's.
    fn undisturbed(&self, elapsed: Duration) -> Timestamp {
        let set_by = match &self.source {
            Source::System { .. } => 0,
            Source::Simulated { set_by, .. } => *set_by.borrow(),
        };
        self.wall.moved(set_by).moved(whole(elapsed))
    }

    /// Returns the time that has passed since the anchor, and what the wall clock said in the same millisecond; `None` if
    /// that cannot be told.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell that owns the clock"
    )]
    fn read(&self) -> Option<(Duration, Timestamp)> {
        let Source::System { real } = &self.source else {
            let elapsed = self.elapsed(Instant::now());
            return Some((elapsed, self.undisturbed(elapsed)));
        };
        // Where the thread is held up in between, the next try will do.
        for _ in 0..READS {
            let elapsed = self.elapsed(Instant::now());
            let wall = Timestamp::from(SystemTime::now());
            let passed = real.elapsed();
            if passed.abs_diff(elapsed) < READ_WITHIN {
                return Some((elapsed, wall));
            }
        }
        // Or tokio's clock was paused by somebody whose wall clock goes on.
        None
    }

    /// Ends a simulation in which time no longer moves on: something spins, and would do so for ever.
    fn count_step(&self, elapsed: Duration) {
        let Source::Simulated {
            steps, moved_at, ..
        } = &self.source
        else {
            return;
        };
        let millis = whole(elapsed);
        if moved_at.swap(millis, Ordering::Relaxed) != millis {
            steps.store(0, Ordering::Relaxed);
        }
        let steps = steps.fetch_add(1, Ordering::Relaxed);
        assert!(
            steps < MOST_STEPS,
            "simulated time stands still: something is woken again and again without effect"
        );
    }
}

impl Clock {
    /// Returns the time of an engine that starts now, which goes on with the time in which its store was written.
    pub(crate) fn starting(wall: Wall, stored: StoredClock) -> Self {
        let elapsed = wall.0.elapsed(Self::instant());
        let now = wall.0.undisturbed(elapsed);
        let kept = WallOffset::from_millis(stored.wall_ahead_ms);
        // It was cut to milliseconds, twice, and may be less by that.
        let cut = i64::from(kept.millis() != 0 && !wall.0.behind.is_zero());
        let continued = kept.to_engine(now).moved(-cut);
        // Where the clock was set back while no engine ran, no time has passed: nothing waits until it has caught up.
        let set_back = |latest: &Timestamp| *latest > continued.moved(SET_BEYOND_MS);
        let engine = stored.latest.filter(set_back).unwrap_or(continued);
        Self(Arc::new(EngineTime {
            wall,
            start: engine.moved(-whole(elapsed)),
            offset: AtomicI64::new(WallOffset::between(now, engine).millis()),
            kept: AtomicI64::new(kept.millis()),
        }))
    }

    /// Returns the engine's time, rounded down: what is due by it is due.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell that owns the clock"
    )]
    pub(crate) fn now(&self) -> Timestamp {
        let anchor = &*self.0.wall.0;
        let elapsed = anchor.elapsed(Instant::now());
        anchor.count_step(elapsed);
        self.0.start.moved(whole(elapsed))
    }

    /// Returns the engine's time at a moment, rounded up to what it may be in an engine that goes on with the store: each is a
    /// little behind the wall clock, and the next one may be less so. What is to come some time after the moment is not early when
    /// it comes so long after this.
    pub(crate) fn at_latest(&self, moment: Instant) -> Timestamp {
        let anchor = &*self.0.wall.0;
        self.0.start + (anchor.elapsed(moment) + anchor.behind)
    }

    /// Returns the moment by tokio's clock, which never goes back and is not set: for deadlines that do not outlive the process.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell that owns the clock"
    )]
    pub(crate) fn instant() -> Instant {
        Instant::now()
    }

    /// Returns the moment at which it will be `at`.
    pub(crate) fn moment(&self, at: Timestamp) -> Instant {
        let elapsed = at.since(self.0.start);
        self.0.wall.0.tokio + elapsed.min(FARTHEST)
    }

    /// Returns how far the wall clock was ahead when it was last looked at.
    pub(crate) fn offset(&self) -> WallOffset {
        WallOffset::from_millis(self.0.offset.load(Ordering::Relaxed))
    }

    /// Looks at the wall clock, and returns how far it is ahead of the engine's time rounded up: a date is not reached by
    /// that before the wall clock says so. Where it was set, what is shown follows from now on.
    pub(crate) fn look_at_wall(&self) -> WallOffset {
        let Some((elapsed, wall)) = self.0.wall.0.read() else {
            return self.offset();
        };
        let engine = self.0.start.moved(whole(elapsed));
        let seen = WallOffset::between(wall, engine);
        if seen.differs_from(self.offset(), SET_BEYOND_MS) {
            self.0.offset.store(seen.millis(), Ordering::Relaxed);
        }
        WallOffset::between(wall, self.0.start + (elapsed + self.0.wall.0.behind))
    }

    /// Waits until it is time to look at the wall clock again. Where nobody but a simulation can set it, there is no need to before.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that looks at a clock at regular times"
    )]
    pub(crate) fn next_look(&self) -> impl Future<Output = ()> + use<> {
        let set = match &self.0.wall.0.source {
            Source::System { .. } => None,
            Source::Simulated { set_by, .. } => Some(set_by.subscribe()),
        };
        async move {
            if let Some(mut set) = set {
                // A simulation that has ended sets no clock.
                let _ = set.changed().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Returns how far the wall clock is ahead where the store does not know; `None` where it does.
    pub(crate) fn not_kept(&self) -> Option<WallOffset> {
        let offset = self.offset();
        offset
            .differs_from(self.kept(), SET_BEYOND_MS)
            .then_some(offset)
    }

    /// Returns how far the wall clock is ahead as the store has it.
    pub(crate) fn kept(&self) -> WallOffset {
        WallOffset::from_millis(self.0.kept.load(Ordering::Relaxed))
    }

    /// Notes that the store has kept an offset.
    pub(crate) fn note_kept(&self, offset: WallOffset) {
        self.0.kept.store(offset.millis(), Ordering::Relaxed);
    }
}

/// Returns the milliseconds that are over.
fn whole(elapsed: Duration) -> i64 {
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// How much a time loses that is cut to milliseconds, at most.
const CUT: Duration = Duration::from_millis(1);

/// How far behind the wall clock an engine's time may be.
const MOST_BEHIND: Duration = Duration::from_millis(100);

/// How long a wall clock that was set goes unnoticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How far the wall clock is moved when it counts as set. What is less is a clock that is being brought into step.
const SET_BEYOND_MS: i64 = 100;

/// How far apart three clocks are read that are read one after the other, and how often it is tried.
const READ_WITHIN: Duration = Duration::from_millis(1);
const READS: usize = 3;

/// How often the time may be asked for at one instant of a simulation.
const MOST_STEPS: u64 = 2_000_000;

/// Moments that are farther away are all the same.
const FARTHEST: Duration = Duration::from_hours(24 * 365 * 100);

#[cfg(test)]
mod tests;
