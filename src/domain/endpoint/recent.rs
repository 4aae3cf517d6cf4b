//! The results of an endpoint's last attempts, in eight bytes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::deliveries::outcome::Outcome;

/// The result of one of the last attempts. In JSON a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecentResult {
    /// The attempt delivered.
    Delivered,
    /// The attempt failed, and its delivery is retried.
    Failed,
    /// The attempt failed, and its delivery was given up.
    DeadLettered,
}

/// The results of the last 20 attempts of an endpoint, oldest first. In JSON a list of strings.
///
/// A shift register of two bits per result.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct RecentResults(u64);

impl RecentResults {
    /// The maximum number of results kept.
    pub const MAX: u32 = 20;

    /// Adds the result of an attempt, and forgets the oldest one if there are too many.
    pub(crate) fn push(&mut self, outcome: Outcome) {
        self.add(match outcome {
            Outcome::Delivered => RecentResult::Delivered,
            Outcome::Failed { .. } => RecentResult::Failed,
            Outcome::DeadLettered { .. } => RecentResult::DeadLettered,
        });
    }

    fn add(&mut self, result: RecentResult) {
        let bits = match result {
            RecentResult::Delivered => 1,
            RecentResult::Failed => 2,
            RecentResult::DeadLettered => 3,
        };
        self.0 = (self.0 << 2 | bits) & KEPT;
    }

    /// Returns the results, oldest first.
    pub fn iter(self) -> impl Iterator<Item = RecentResult> {
        let places = (0..Self::MAX).rev();
        places.filter_map(move |place| match self.0 >> (2 * place) & 3 {
            1 => Some(RecentResult::Delivered),
            2 => Some(RecentResult::Failed),
            3 => Some(RecentResult::DeadLettered),
            _ => None,
        })
    }

    /// Returns the number of results, 0 to [`MAX`](Self::MAX).
    pub fn len(self) -> usize {
        self.iter().count()
    }

    /// Returns `true` if there was no attempt since the engine started.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<RecentResult> for RecentResults {
    /// Collects results, oldest first, and keeps the newest ones.
    fn from_iter<T: IntoIterator<Item = RecentResult>>(results: T) -> Self {
        let mut recent = Self::default();
        results.into_iter().for_each(|result| recent.add(result));
        recent
    }
}

impl fmt::Debug for RecentResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Shows one character per result: `+` delivered, `-` failed, `x` given up.
impl fmt::Display for RecentResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|result| {
            f.write_str(match result {
                RecentResult::Delivered => "+",
                RecentResult::Failed => "-",
                RecentResult::DeadLettered => "x",
            })
        })
    }
}

impl Serialize for RecentResults {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for RecentResults {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Vec::<RecentResult>::deserialize(from)?
            .into_iter()
            .collect())
    }
}

/// The bits of all results that are kept.
const KEPT: u64 = (1 << (2 * RecentResults::MAX)) - 1;

#[cfg(test)]
mod tests {
    use super::RecentResult::{DeadLettered, Delivered, Failed};
    use super::*;

    #[test]
    fn results_are_kept_in_their_order() {
        let recent: RecentResults = [Delivered, Failed, DeadLettered].into_iter().collect();
        let results: Vec<_> = recent.iter().collect();
        assert_eq!(results, [Delivered, Failed, DeadLettered]);
        assert_eq!((recent.len(), recent.is_empty()), (3, false));
        assert_eq!(recent.to_string(), "+-x");
        assert!(RecentResults::default().is_empty());
    }

    #[test]
    fn the_newest_twenty_are_kept() {
        let failed = std::iter::repeat_n(Failed, 5);
        let recent: RecentResults = failed.chain([Delivered; 17]).collect();
        assert_eq!(recent.to_string(), format!("---{}", "+".repeat(17)));
        assert_eq!(recent.len(), 20);
        assert_eq!(recent, recent.iter().collect(), "older ones leave no trace");
        assert!(size_of::<RecentResults>() <= 8);
    }

    #[test]
    fn results_are_a_list_in_json() {
        let recent: RecentResults = [Failed, DeadLettered].into_iter().collect();
        let written = serde_json::to_value(recent).unwrap();
        assert_eq!(written, serde_json::json!(["failed", "dead_lettered"]));
        assert_eq!(
            serde_json::from_value::<RecentResults>(written).unwrap(),
            recent
        );
    }
}
