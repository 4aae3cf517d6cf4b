//! Conversion of times that enter or leave the engine.
//!
//! Everything inside, including the store, uses the engine's time. It starts at the wall clock and
//! advances with the monotonic clock alone, so that setting the wall clock moves no deadline, no
//! hold and no age. People and receivers read and state wall time. The two differ by an offset,
//! which is checked every second. It is applied here and nowhere else, so that a record is always
//! shown by the current clock.

use crate::domain::value::time::Timestamp;

/// Difference from the engine's time to the wall clock, in milliseconds; negative if the wall clock
/// is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WallOffset(i64);

impl WallOffset {
    pub(crate) const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub(crate) const fn millis(self) -> i64 {
        self.0
    }

    /// Returns the offset for a wall clock at `wall` and an engine's time of `engine`.
    pub(crate) const fn between(wall: Timestamp, engine: Timestamp) -> Self {
        Self(wall.unix_millis().saturating_sub(engine.unix_millis()))
    }

    /// Returns `true` if the two offsets differ by more than `millis` milliseconds.
    pub(crate) const fn differs_from(self, other: Self, millis: i64) -> bool {
        self.0.abs_diff(other.0) > millis.unsigned_abs()
    }

    /// Returns the wall time of an instant of the engine's time.
    pub(crate) const fn to_wall(self, at: Timestamp) -> Timestamp {
        at.moved(self.0)
    }

    /// Returns the engine's time for the wall time `wall`.
    pub(crate) const fn to_engine(self, wall: Timestamp) -> Timestamp {
        wall.moved(self.0.saturating_neg())
    }
}

/// A shown record with its times.
pub(crate) trait OnWall {
    /// Converts every time in it from the engine's time to wall time.
    #[must_use]
    fn on_wall(self, offset: WallOffset) -> Self;
}

impl OnWall for Timestamp {
    fn on_wall(self, offset: WallOffset) -> Self {
        offset.to_wall(self)
    }
}

impl<T: OnWall> OnWall for Option<T> {
    fn on_wall(self, offset: WallOffset) -> Self {
        self.map(|shown| shown.on_wall(offset))
    }
}

impl<T: OnWall> OnWall for Vec<T> {
    fn on_wall(self, offset: WallOffset) -> Self {
        let shown = self.into_iter().map(|shown| shown.on_wall(offset));
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_in_wall_time_comes_back_as_it_was_said() {
        for millis in [0, 3_600_000, -3_600_000] {
            let offset = WallOffset::from_millis(millis);
            let wall = Timestamp::from_unix_millis(1_000_000_000);
            assert_eq!(offset.to_engine(wall).on_wall(offset), wall);
            assert_eq!(WallOffset::between(wall, offset.to_engine(wall)), offset);
        }
    }

    #[test]
    fn no_offset_overflows() {
        for millis in [i64::MIN, i64::MAX] {
            let offset = WallOffset::from_millis(millis);
            for at in [i64::MIN, 0, i64::MAX].map(Timestamp::from_unix_millis) {
                let _ = (offset.to_wall(at), offset.to_engine(at));
                let _ = WallOffset::between(at, Timestamp::from_unix_millis(millis));
            }
        }
    }

    #[test]
    fn offsets_differ_by_more_than_so_much() {
        let [one, other] = [-40, 60].map(WallOffset::from_millis);
        assert_eq!((one.millis(), other.millis()), (-40, 60));
        assert!(!one.differs_from(other, 100) && !other.differs_from(one, 100));
        assert!(one.differs_from(other, 99) && !one.differs_from(one, 0));
    }
}
