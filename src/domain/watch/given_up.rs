//! The number of deliveries that an endpoint has given up in the last hour.

use crate::domain::value::time::Timestamp;

/// A count over a sliding window, in blocks of ten minutes.
///
/// The window ends with the current block, so it covers the last 50 to 60 minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GivenUp {
    /// The number of the newest block.
    newest: i64,
    /// The counts of the blocks, the newest one last.
    blocks: [u32; BLOCKS],
}

impl GivenUp {
    /// Adds `count` deliveries given up now.
    pub(crate) fn add(&mut self, count: u64, now: Timestamp) {
        self.pass(now);
        if let Some(last) = self.blocks.last_mut() {
            *last = last.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// Forgets the blocks that have left the window.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        let block = now.unix_millis().div_euclid(BLOCK_MS);
        let ended = block.saturating_sub(self.newest);
        if ended <= 0 {
            return;
        }
        let ended = usize::try_from(ended).unwrap_or(BLOCKS).min(BLOCKS);
        self.blocks.rotate_left(ended);
        let kept = BLOCKS - ended;
        self.blocks
            .iter_mut()
            .skip(kept)
            .for_each(|count| *count = 0);
        self.newest = block;
    }

    /// Returns the number of deliveries in the window.
    pub(crate) fn count(&self) -> u64 {
        self.blocks.iter().copied().map(u64::from).sum()
    }

    /// Returns when the oldest deliveries leave the window; `None` if there are none.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        let oldest = self.blocks.iter().position(|count| *count > 0)?;
        let left = i64::try_from(oldest).unwrap_or(0) + 1;
        let block = self.newest.saturating_add(left);
        Some(Timestamp::from_unix_millis(block.saturating_mul(BLOCK_MS)))
    }
}

/// The number of blocks of the window.
const BLOCKS: usize = 6;

/// The length of a block in milliseconds.
const BLOCK_MS: i64 = 10 * 60 * 1_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_unix_millis(minute * 60_000)
    }

    #[test]
    fn a_count_is_kept_for_fifty_to_sixty_minutes() {
        let mut given_up = GivenUp::default();
        given_up.add(3, minute(109));
        assert_eq!(given_up.until(), Some(minute(160)));
        given_up.add(2, minute(125));
        given_up.pass(minute(159));
        assert_eq!(given_up.count(), 5);
        given_up.pass(minute(160));
        assert_eq!((given_up.count(), given_up.until()), (2, Some(minute(180))));
        given_up.pass(minute(10_000));
        assert_eq!((given_up.count(), given_up.until()), (0, None));
    }

    #[test]
    fn a_time_before_the_newest_block_changes_nothing() {
        let mut given_up = GivenUp::default();
        given_up.add(1, minute(100));
        given_up.pass(minute(50));
        given_up.add(1, minute(99));
        assert_eq!(given_up.count(), 2);
    }

    proptest! {
        #[test]
        fn the_window_has_what_a_list_of_all_has(
            steps in prop::collection::vec((0_i64..30, 0_u64..5), 1..60)
        ) {
            let (mut given_up, mut all, mut now) = (GivenUp::default(), Vec::new(), 0);
            for (wait, count) in steps {
                now += wait;
                given_up.add(count, minute(now));
                all.push((now, count));
                let begins = (now / 10 - 5) * 10;
                let inside = all.iter().filter(|(at, _)| *at >= begins);
                let expected: u64 = inside.map(|(_, count)| count).sum();
                prop_assert_eq!(given_up.count(), expected);
            }
        }
    }
}
