//! What was found, for as long as it holds.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Answer;

/// The last answer for each name. Never older than its time to live, which the domain's owner gave;
/// where it leads is judged for every connection anew.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<String, CachedName>,
}

struct CachedName {
    answer: Answer,
    until: Instant,
}

impl Cache {
    /// Remembers an answer. `ttl` is for how long the addresses hold; errors have their own time.
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

    /// Returns what is known of a name and still holds.
    pub(super) fn get(&self, name: &str, now: Instant) -> Option<Answer> {
        let entry = self.entries.get(name)?;
        (now < entry.until).then(|| entry.answer.clone())
    }

    /// Returns `true` if the last look-up of a name found it, however long ago.
    pub(super) fn was_found(&self, name: &str) -> bool {
        let entry = self.entries.get(name);
        entry.is_some_and(|entry| entry.answer.is_ok())
    }

    /// Drops what no longer holds, or, where all does, what will hold no longer first.
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

/// How many names are remembered: some hundred bytes each.
pub(super) const MAX_NAMES: usize = 4_096;

/// Owners set a time to live of 0 to be asked by everyone; a burst of connections is one of them.
const SHORTEST: Duration = Duration::from_secs(1);

/// A receiver that moves is found again within this, whatever its zone says.
const LONGEST: Duration = Duration::from_mins(5);

/// For how long nobody asks again for what was not found: a first retry does.
pub(super) const AFTER_ERROR: Duration = Duration::from_secs(3);
