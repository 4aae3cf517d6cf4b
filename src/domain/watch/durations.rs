//! A histogram of durations with fixed buckets.

use std::time::Duration;

/// The number of durations in each bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Durations([u32; BOUNDS_MS.len() + 1]);

impl Durations {
    pub(crate) fn count(&mut self, duration: Duration) {
        let millis = duration.as_millis();
        let bucket = BOUNDS_MS.partition_point(|bound| u128::from(*bound) < millis);
        if let Some(count) = self.0.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(count);
        }
    }

    /// Returns an estimate of the duration that `percent` of 100 do not exceed; `None` without any.
    ///
    /// Within a bucket, durations count as evenly spread, so an estimate lies in the bucket of the
    /// true value. Durations beyond the last bound count as twice that bound at most.
    pub(crate) fn quantile(&self, percent: u64) -> Option<Duration> {
        let total: u64 = self.0.iter().copied().map(u64::from).sum();
        // Of `total` durations in order, this one is asked for, from 1.
        let wanted = (total * percent).div_ceil(100).max(1);
        let (mut below, mut from) = (0, 0);
        let last = BOUNDS_MS.last().map_or(0, |last| 2 * last);
        for (count, to) in self.0.iter().zip(BOUNDS_MS.iter().copied().chain([last])) {
            let count = u64::from(*count);
            if count > 0 && wanted <= below + count {
                let micros = 1_000 * (to - from) * (wanted - below) / count;
                return Some(Duration::from_micros(1_000 * from + micros));
            }
            below += count;
            from = to;
        }
        None
    }
}

/// The upper bounds of the buckets in milliseconds. The last bucket has none.
const BOUNDS_MS: [u64; 14] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 15_000, 30_000, 60_000,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_durations_there_is_no_quantile() {
        assert_eq!(Durations::default().quantile(50), None);
    }

    #[test]
    fn a_duration_at_a_bound_is_in_the_bucket_below_it() {
        let mut durations = Durations::default();
        durations.count(Duration::from_secs(15));
        assert_eq!(durations.quantile(99), Some(Duration::from_secs(15)));
        durations.count(Duration::from_millis(15_001));
        assert_eq!(durations.quantile(99), Some(Duration::from_secs(30)));
        assert_eq!(durations.quantile(50), Some(Duration::from_secs(15)));
    }

    #[test]
    fn endless_durations_count_in_the_last_bucket() {
        let mut durations = Durations::default();
        durations.count(Duration::MAX);
        assert_eq!(durations.quantile(1), Some(Duration::from_mins(2)));
    }

    proptest! {
        #[test]
        fn an_estimate_is_in_the_bucket_of_the_true_value(
            mut millis in prop::collection::vec(0_u64..60_000, 1..200),
            percent in 1_u64..=100,
        ) {
            let (mut one, mut other) = (Durations::default(), Durations::default());
            for (number, length) in millis.iter().enumerate() {
                let half = if number % 2 == 0 { &mut one } else { &mut other };
                half.count(Duration::from_millis(*length));
            }
            one.add(&other);
            millis.sort_unstable();
            let place = (millis.len() as u64 * percent).div_ceil(100).max(1);
            let truth = millis[usize::try_from(place).unwrap() - 1];
            let bucket = BOUNDS_MS.partition_point(|bound| *bound < truth);
            let from = if bucket == 0 { 0 } else { BOUNDS_MS[bucket - 1] };
            let estimate = one.quantile(percent).unwrap();
            prop_assert!(estimate >= Duration::from_millis(from));
            prop_assert!(estimate <= Duration::from_millis(BOUNDS_MS[bucket]));
        }
    }
}
