//! The two clocks of an engine: the engine's time, and the wall clock shown beside it.
//!
//! The engine's time starts at the wall clock and then advances only with tokio's monotonic clock.
//! So setting the wall clock does not move any schedule, and under tokio's paused clock the whole
//! engine runs in simulated time. The wall clock's offset from the engine's time is read every
//! second, applied to displayed times, and kept in the store. A restarted engine continues the time
//! of the one before, so that stored deadlines keep their meaning.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::value::time::Timestamp;
use crate::domain::value::wall::WallOffset;
use crate::store::StoredClock;

/// A clock shared by all actors of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<EngineTime>);

#[derive(Debug)]
struct EngineTime {
    wall: Wall,
    /// The engine's time at the wall clock's anchor.
    start: Timestamp,
    /// The wall clock's offset in milliseconds, positive if it is ahead: as last read, and as kept
    /// in the store.
    offset: AtomicI64,
    kept: AtomicI64,
}

/// A wall clock, real or simulated.
#[derive(Clone, Debug)]
pub(crate) struct Wall(Arc<Anchor>);

/// One moment as read from all clocks.
#[derive(Debug)]
struct Anchor {
    /// The wall clock at that moment, rounded down.
    wall: Timestamp,
    tokio: Instant,
    /// The maximum by which this lags behind the wall clock: the truncation, plus the time taken to
    /// read the clocks.
    behind: Duration,
    source: Source,
}

#[derive(Debug)]
enum Source {
    System {
        real: std::time::Instant,
    },
    /// Time is simulated from a given start, and the wall clock is set by tests.
    #[cfg_attr(
        not(any(test, feature = "test-util")),
        expect(dead_code, reason = "only tests make one")
    )]
    Simulated {
        /// The sum of all changes to the wall clock, in milliseconds.
        set_by: watch::Sender<i64>,
        /// The number of times that the time was read since it last advanced, to `moved_at`.
        steps: AtomicU64,
        moved_at: AtomicI64,
    },
}

impl Timestamp {
    /// Returns the wall-clock time, for applications: the rules are given the engine's time.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where clocks are read"
    )]
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }
}

impl Wall {
    /// Returns the system's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell that owns the clock"
    )]
    pub(crate) fn system() -> Self {
        // The wall clock is read first and truncated to milliseconds. So the engine's time lags by
        // the time in between, and never reaches a date before the wall clock does.
        let before = SystemTime::now();
        let real = std::time::Instant::now();
        let tokio = Instant::now();
        let passed = SystemTime::now().duration_since(before);
        let behind = CUT + passed.unwrap_or_default();
        Self::anchored(before.into(), tokio, behind, Source::System { real })
    }

    /// Returns a simulated clock, for repeatable simulations.
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
            // The wall clock may have been set between the two readings.
            behind: behind.min(MOST_BEHIND),
            source,
        }))
    }

    /// Moves a simulated wall clock by `millis`.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn set_by(&self, millis: i64) {
        if let Source::Simulated { set_by, .. } = &self.0.source {
            set_by.send_modify(|set_by| *set_by = set_by.saturating_add(millis));
        }
    }

    /// Returns the time since the anchor by the monotonic clock.
    #[cfg(feature = "test-util")]
    pub(crate) fn elapsed(&self) -> Duration {
        let elapsed = self.0.elapsed(Clock::instant());
        self.0.count_step(elapsed);
        elapsed
    }

    /// Returns the wall clock's time.
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

    /// Returns the wall clock's time, assuming that the system's clock was not set.
    fn undisturbed(&self, elapsed: Duration) -> Timestamp {
        let set_by = match &self.source {
            Source::System { .. } => 0,
            Source::Simulated { set_by, .. } => *set_by.borrow(),
        };
        self.wall.moved(set_by).moved(whole(elapsed))
    }

    /// Returns the time since the anchor, and the wall clock's time in the same millisecond.
    ///
    /// Returns `None` if the two cannot be read close enough together.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell that owns the clock"
    )]
    fn read(&self) -> Option<(Duration, Timestamp)> {
        let Source::System { real } = &self.source else {
            let elapsed = self.elapsed(Instant::now());
            return Some((elapsed, self.undisturbed(elapsed)));
        };
        // If the thread is suspended between the readings, the next try may succeed.
        for _ in 0..READS {
            let elapsed = self.elapsed(Instant::now());
            let wall = Timestamp::from(SystemTime::now());
            let passed = real.elapsed();
            if passed.abs_diff(elapsed) < READ_WITHIN {
                return Some((elapsed, wall));
            }
        }
        // Either every try was too slow, or tokio's clock is paused while the wall clock runs.
        None
    }

    /// Panics if simulated time no longer advances: an endless loop would otherwise run forever.
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
    /// Returns the time of an engine that starts now, continuing the time of its store.
    pub(crate) fn starting(wall: Wall, stored: StoredClock) -> Self {
        let elapsed = wall.0.elapsed(Self::instant());
        let now = wall.0.undisturbed(elapsed);
        let kept = WallOffset::from_millis(stored.wall_ahead_ms);
        // The offset comes from two values truncated to milliseconds, so it may be 1 ms off. The
        // earlier time is assumed.
        let cut = i64::from(kept.millis() != 0 && !wall.0.behind.is_zero());
        let continued = kept.to_engine(now).moved(-cut);
        // If the clock was set back while no engine ran, the time continues from the latest stored
        // time. Nothing then waits for the clock to catch up.
        let set_back = |latest: &Timestamp| *latest > continued.moved(SET_BEYOND_MS);
        let engine = stored.latest.filter(set_back).unwrap_or(continued);
        Self(Arc::new(EngineTime {
            wall,
            start: engine.moved(-whole(elapsed)),
            offset: AtomicI64::new(WallOffset::between(now, engine).millis()),
            kept: AtomicI64::new(kept.millis()),
        }))
    }

    /// Returns the engine's time, rounded down, so that nothing is due early.
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

    /// Returns the engine's time at `moment`, rounded up for deadlines that outlive the engine.
    ///
    /// Each engine lags slightly behind the wall clock, and the next one may lag less. A deadline
    /// counted from this time is not early in any of them.
    pub(crate) fn at_latest(&self, moment: Instant) -> Timestamp {
        let anchor = &*self.0.wall.0;
        self.0.start + (anchor.elapsed(moment) + anchor.behind)
    }

    /// Returns the current moment of tokio's monotonic clock, for deadlines that do not outlive the
    /// process.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell that owns the clock"
    )]
    pub(crate) fn instant() -> Instant {
        Instant::now()
    }

    /// Returns the moment when the engine's time will be `at`.
    pub(crate) fn moment(&self, at: Timestamp) -> Instant {
        let elapsed = at.since(self.0.start);
        self.0.wall.0.tokio + elapsed.min(FARTHEST)
    }

    /// Returns the wall clock's offset as last read.
    pub(crate) fn offset(&self) -> WallOffset {
        WallOffset::from_millis(self.0.offset.load(Ordering::Relaxed))
    }

    /// Reads the wall clock, and returns its offset from the engine's time rounded up.
    ///
    /// With that offset no date is reached before the wall clock shows it. If the wall clock was
    /// set, displayed times follow from now on.
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

    /// Waits until the next reading of the wall clock is due.
    ///
    /// A simulated wall clock need not be read before the simulation sets it.
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
                // The error means that the simulation has ended and will not set the clock.
                let _ = set.changed().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Returns the wall clock's offset if the store does not have it yet, otherwise `None`.
    pub(crate) fn not_kept(&self) -> Option<WallOffset> {
        let offset = self.offset();
        offset
            .differs_from(self.kept(), SET_BEYOND_MS)
            .then_some(offset)
    }

    /// Returns the wall clock's offset as kept in the store.
    pub(crate) fn kept(&self) -> WallOffset {
        WallOffset::from_millis(self.0.kept.load(Ordering::Relaxed))
    }

    /// Notes that the store has saved an offset.
    pub(crate) fn note_kept(&self, offset: WallOffset) {
        self.0.kept.store(offset.millis(), Ordering::Relaxed);
    }
}

/// Returns the number of whole milliseconds.
fn whole(elapsed: Duration) -> i64 {
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// The maximum loss by truncation to milliseconds.
const CUT: Duration = Duration::from_millis(1);

/// The maximum by which an engine's time may lag behind the wall clock.
const MOST_BEHIND: Duration = Duration::from_millis(100);

/// The interval between readings of the wall clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The minimum jump, in milliseconds, for the wall clock to count as set. Smaller ones are clock
/// synchronisation.
const SET_BEYOND_MS: i64 = 100;

/// The maximum time between readings of different clocks that still belong together, and the number
/// of tries.
const READ_WITHIN: Duration = Duration::from_millis(1);
const READS: usize = 3;

/// The number of times that simulated time may be read without advancing.
const MOST_STEPS: u64 = 2_000_000;

/// A century: moments further away are treated alike.
const FARTHEST: Duration = Duration::from_hours(24 * 365 * 100);

#[cfg(test)]
mod tests;
