//! The order of endpoints by the attention that they need.

use std::fmt;
use std::str::FromStr;

use crate::domain::value::time::Timestamp;

/// The position of an endpoint among those that need attention: the lowest rank comes first.
///
/// Packed into eight bytes: first the deliveries given up in the last hour, then the open ones if
/// their number has grown, both in powers of two, so that the order moves only when a number
/// doubles. Then comes the age of the trouble, the oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(u64);

impl Rank {
    pub(crate) fn new(given_up: u64, backlog: Backlog, since: Timestamp) -> Self {
        let given_up = 63_u64.saturating_sub(bits(given_up).into());
        let grown = if backlog.grown { backlog.level } else { 0 };
        let open = 127_u64.saturating_sub(grown.into());
        let since = u64::try_from(since.unix_millis()).unwrap_or(0) & AGE;
        Self(given_up << 58 | open << 51 | since)
    }
}

/// Shows 16 hexadecimal digits.
impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Rank {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// The open deliveries of an endpoint in powers of two, and whether they have become more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// The number of binary digits of the number of open deliveries, 0 to 64.
    level: u8,
    /// `true` if the level was last raised, `false` if it was last lowered.
    grown: bool,
}

impl Backlog {
    /// Returns the backlog with this number of open deliveries.
    ///
    /// The level is lowered only when the number has fallen below half of where it begins. An
    /// endpoint whose number goes up and down by a few therefore keeps its level.
    #[must_use]
    pub(crate) fn with(self, open: u64) -> Self {
        let level = bits(open);
        if level > self.level {
            Self { level, grown: true }
        } else if level.saturating_add(1) < self.level || (level == 0 && self.level > 0) {
            Self {
                level,
                grown: false,
            }
        } else {
            self
        }
    }
}

/// Returns the number of binary digits: 0 for 0, 1 for 1, 2 for 2 and 3, up to 64.
fn bits(count: u64) -> u8 {
    u8::try_from(u64::BITS - count.leading_zeros()).unwrap_or(u8::MAX)
}

/// The bits of the time in a rank.
const AGE: u64 = (1 << 51) - 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    fn grown(open: u64) -> Backlog {
        Backlog::default().with(open)
    }

    #[test]
    fn what_was_given_up_comes_before_what_is_open_and_that_before_age() {
        let ordered = [
            Rank::new(1_000, grown(0), at(9)),
            Rank::new(3, grown(500), at(9)),
            Rank::new(2, grown(70), at(1)),
            Rank::new(2, grown(1), at(1)),
            Rank::new(0, grown(4_120), at(9)),
            Rank::new(0, grown(0), at(7)),
            Rank::new(0, grown(0), at(8)),
            Rank::new(0, grown(0), Timestamp::MAX),
        ];
        assert!(ordered.is_sorted(), "{ordered:?}");
        let same = Rank::new(3, grown(70), at(5));
        assert_eq!(
            Rank::new(2, grown(100), at(5)),
            same,
            "between powers of two"
        );
    }

    #[test]
    fn a_backlog_that_shrinks_does_not_count_until_it_grows_again() {
        let full = grown(1_000);
        let less = full.with(300);
        assert_eq!(less, full, "not yet below half of 512");
        let fallen = less.with(255);
        assert_eq!(Rank::new(0, fallen, at(1)), Rank::new(0, grown(0), at(1)));
        assert_eq!(
            Rank::new(0, fallen.with(256), at(1)),
            Rank::new(0, grown(256), at(1))
        );
        assert_eq!(
            grown(1).with(0),
            Backlog {
                level: 0,
                grown: false
            }
        );
    }

    #[test]
    fn a_rank_is_read_as_it_is_shown() {
        let rank = Rank::new(17, grown(3), at(1_614_265_330_250));
        assert_eq!(rank.to_string().parse(), Ok(rank));
        assert_eq!(rank.to_string().len(), 16);
        assert!("rank".parse::<Rank>().is_err());
        assert_eq!(size_of::<Rank>(), 8);
    }

    proptest! {
        #[test]
        fn no_part_of_a_rank_reaches_into_another(
            a in (any::<u64>(), any::<u64>(), 0..=Timestamp::MAX.unix_millis()),
            b in (any::<u64>(), any::<u64>(), 0..=Timestamp::MAX.unix_millis()),
        ) {
            let rank = |(given_up, open, since)| Rank::new(given_up, grown(open), at(since));
            let order = |(given_up, open, since): (u64, u64, i64)| {
                (64 - bits(given_up).min(63), 64 - bits(open), since)
            };
            prop_assert_eq!(rank(a).cmp(&rank(b)), order(a).cmp(&order(b)));
        }
    }
}
