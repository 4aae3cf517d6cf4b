//! Exponential backoff for restarts, fetches, probes and other repeated work.

use std::time::Duration;

/// Backoff from the first wait to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// Returns the wait after `failures` in a row: the first wait for 0 or 1, then doubled for each
    /// further failure.
    pub(crate) fn after(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1);
        let times = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.first.saturating_mul(times).min(self.longest)
    }

    /// Returns the wait that follows one of this length.
    pub(crate) fn longer_than(self, wait: Duration) -> Duration {
        wait.saturating_mul(2).max(self.first).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

    #[test]
    fn it_doubles_to_its_longest_wait() {
        let waits = [0, 1, 2, 3, 5, 6, 33, u32::MAX].map(|failures| BACKOFF.after(failures));
        assert_eq!(
            waits.map(|wait| wait.as_secs()),
            [1, 1, 2, 4, 16, 30, 30, 30]
        );
    }

    #[test]
    fn it_goes_on_from_a_wait_and_stays_within_its_bounds() {
        let longer = |seconds: u64| {
            let wait = BACKOFF.longer_than(Duration::from_secs(seconds));
            wait.as_secs()
        };
        assert_eq!([0, 1, 8, 16, u64::MAX].map(longer), [1, 2, 16, 30, 30]);
    }

    #[test]
    fn a_first_wait_beyond_the_longest_is_cut() {
        let backoff = Backoff::new(Duration::MAX, Duration::from_secs(1));
        assert_eq!(backoff.after(9), Duration::from_secs(1));
        assert_eq!(backoff.longer_than(Duration::MAX), Duration::from_secs(1));
    }
}
