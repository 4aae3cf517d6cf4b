//! The parts into which endpoints are divided, so that engines can share the work.

use std::fmt;

use sha1::{Digest as _, Sha1};

use crate::domain::value::url::WebhookUrl;

/// One of the 256 parts of all endpoints: the first byte of the SHA-1 of the URL. Every engine, of
/// any version and on any machine, finds the same part for a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard(u8);

impl Shard {
    pub(crate) fn of(url: &WebhookUrl) -> Self {
        let digest: [u8; 20] = Sha1::digest(url.as_str()).into();
        let [first, ..] = digest;
        Self(first)
    }
}

/// A set of shards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shards([bool; 256]);

impl Shards {
    pub(crate) const ALL: Self = Self([true; 256]);
    pub(crate) const NONE: Self = Self([false; 256]);

    pub(crate) fn contains(&self, shard: Shard) -> bool {
        self.0.get(usize::from(shard.0)).is_some_and(|held| *held)
    }

    /// Adds (`true`) or removes (`false`) the shards of another set.
    pub(crate) fn set(&mut self, others: &Self, held: bool) {
        let both = self.0.iter_mut().zip(others.0);
        both.filter(|(_, other)| *other)
            .for_each(|(one, _)| *one = held);
    }
}

#[cfg(any(test, feature = "test-util"))]
impl FromIterator<Shard> for Shards {
    fn from_iter<T: IntoIterator<Item = Shard>>(shards: T) -> Self {
        let mut all = Self::NONE;
        for Shard(number) in shards {
            if let Some(held) = all.0.get_mut(usize::from(number)) {
                *held = true;
            }
        }
        all
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.0.iter().filter(|held| **held);
        write!(f, "{} of 256 shards", held.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(url: &str) -> Shard {
        Shard::of(&WebhookUrl::parse(url).unwrap())
    }

    /// Several versions share a store, so these never change.
    #[test]
    fn a_url_is_in_the_same_shard_for_ever() {
        assert_eq!(shard("http://a.test/"), Shard(89));
        assert_eq!(shard("HTTP://A.test:80"), Shard(89));
        assert_eq!(shard("https://b.test/hook?x=1"), Shard(227));
    }

    #[test]
    fn shards_are_added_and_removed_as_sets() {
        let two: Shards = [Shard(0), Shard(255)].into_iter().collect();
        let mut held = Shards::ALL;
        held.set(&two, false);
        assert!(!held.contains(Shard(0)) && !held.contains(Shard(255)));
        assert!(held.contains(Shard(1)));
        assert_eq!(
            format!("{held:?} {two:?}"),
            "254 of 256 shards 2 of 256 shards"
        );
        held.set(&two, true);
        assert_eq!(held, Shards::ALL);
    }
}
