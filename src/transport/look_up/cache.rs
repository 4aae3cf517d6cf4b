//! A cache of lookup results.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Answer;

/// The last answer for each name, kept no longer than its TTL.
///
/// The address guard still checks the cached addresses for every connection.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<String, CachedName>,
}

struct CachedName {
    answer: Answer,
    until: Instant,
}

impl Cache {
    /// Stores an answer. `ttl` applies to addresses; errors are kept for [`AFTER_ERROR`].
    pub(super) fn put(&mut self, name: String, answer: Answer, ttl: Duration, now: Instant) {
        if self.entries.len() >= MAX_NAMES && !self.entries.contains_key(&name) {
            self.make_room(now);
        }
        let kept = if answer.is_ok() {
            ttl.clamp(SHORTEST, LONGEST)
        } else {
            AFTER_ERROR
        };
        let until = now + kept;
        self.entries.insert(name, CachedName { answer, until });
    }

    /// Returns the answer for a name if it has not expired.
    pub(super) fn get(&self, name: &str, now: Instant) -> Option<Answer> {
        let entry = self.entries.get(name)?;
        (now < entry.until).then(|| entry.answer.clone())
    }

    /// Returns `true` if the last lookup of a name found it, however long ago.
    pub(super) fn was_found(&self, name: &str) -> bool {
        let entry = self.entries.get(name);
        entry.is_some_and(|entry| entry.answer.is_ok())
    }

    /// Drops expired answers; if there are none, drops the answer that expires first.
    fn make_room(&mut self, now: Instant) {
        self.entries.retain(|_, entry| now < entry.until);
        if self.entries.len() < MAX_NAMES {
            return;
        }
        let soonest = self.entries.iter().min_by_key(|(_, entry)| entry.until);
        if let Some(name) = soonest.map(|(name, _)| name.clone()) {
            self.entries.remove(&name);
        }
    }
}

/// The maximum number of cached names, some hundred bytes each.
pub(super) const MAX_NAMES: usize = 4_096;

/// The minimum time in the cache. A TTL of 0 asks every client to query again; a burst of
/// connections counts as one client.
const SHORTEST: Duration = Duration::from_secs(1);

/// The maximum time in the cache: the longest delay until a receiver's new address is found,
/// regardless of its zone's TTL.
const LONGEST: Duration = Duration::from_mins(5);

/// How long a failed lookup is cached. Short enough for a delivery's first retry to query again.
pub(super) const AFTER_ERROR: Duration = Duration::from_secs(3);
