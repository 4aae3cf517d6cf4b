//! The endpoints that are not well, in the order of the attention that they need.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::domain::endpoint::standing::Standing;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::watch::given_up::GivenUp;
use crate::domain::watch::rank::{Backlog, Rank};

/// The state of an endpoint as far as it decides about attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) standing: Standing,
    pub(crate) backlog: Backlog,
}

impl Note {
    /// Returns the note of an endpoint with this standing and number of open deliveries, which had
    /// this note before.
    ///
    /// Of an endpoint that is well there is nothing to note: its notes are all equal.
    #[must_use]
    pub(crate) fn with(self, standing: Standing, open: u64) -> Self {
        if standing.is_well() {
            return Self::default();
        }
        Self {
            standing,
            backlog: self.backlog.with(open),
        }
    }
}

/// What makes an endpoint need attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// When it was last well, as far as the engine knows: the age of the trouble.
    pub(crate) since: Timestamp,
    /// The number of deliveries given up in the last hour.
    pub(crate) given_up: u64,
}

/// The endpoints that are not well: those whose attempts are stopped or fail, and those that have
/// given up deliveries in the last hour.
///
/// Every change costs a few steps in ordered maps. Endpoints that are well take no place.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    entries: BTreeMap<WebhookUrl, Entry>,
    order: BTreeSet<(Rank, WebhookUrl)>,
    /// When deliveries given up by an endpoint leave the last hour.
    leaving: BTreeSet<(Timestamp, WebhookUrl)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    note: Note,
    since: Timestamp,
    given_up: GivenUp,
    rank: Rank,
    leaves_at: Option<Timestamp>,
}

impl Attention {
    /// Notes the state of an endpoint, which has been failing since `failing_since`, if that is
    /// known to be earlier than now.
    pub(crate) fn note(
        &mut self,
        url: &WebhookUrl,
        note: Note,
        failing_since: Option<Timestamp>,
        now: Timestamp,
    ) {
        let known = self.entries.get(url).copied();
        let well = note.standing.is_well();
        let was_well = known.is_none_or(|known| known.note.standing.is_well());
        if well && known.is_none() {
            return;
        }
        let since = failing_since.map_or(now, |since| since.min(now));
        let mut entry = known.unwrap_or_else(|| Entry::new(since));
        if was_well && !well && entry.given_up.count() == 0 {
            entry.since = since;
        }
        entry.note = note;
        self.put(url, known, entry, now);
    }

    /// Adds deliveries that an endpoint has given up now.
    pub(crate) fn give_up(&mut self, url: &WebhookUrl, count: u64, now: Timestamp) {
        let known = self.entries.get(url).copied();
        let mut entry = known.unwrap_or_else(|| Entry::new(now));
        entry.given_up.add(count, now);
        self.put(url, known, entry, now);
    }

    /// Forgets an endpoint.
    pub(crate) fn remove(&mut self, url: &WebhookUrl) {
        if let Some(known) = self.entries.remove(url) {
            self.unlink(url, &known);
        }
    }

    /// Moves on to this time: deliveries given up longer ago than an hour no longer count.
    ///
    /// Takes in `most` endpoints per call, so that a call takes little time.
    pub(crate) fn pass(&mut self, now: Timestamp, most: usize) {
        for _ in 0..most {
            let due = self.leaving.first().filter(|(at, _)| *at <= now);
            let Some((_, url)) = due.cloned() else {
                break;
            };
            let known = self.entries.get(&url).copied();
            let Some(entry) = known else {
                self.leaving.pop_first();
                continue;
            };
            self.put(&url, known, entry, now);
        }
    }

    /// Returns the endpoints that come after this one, those that need most attention first.
    pub(crate) fn after<'a>(
        &'a self,
        last: Option<&'a (Rank, WebhookUrl)>,
    ) -> impl Iterator<Item = &'a (Rank, WebhookUrl)> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.order.range((from, Bound::Unbounded))
    }

    /// Returns the URLs of all endpoints that come after this one, ordered by URL.
    pub(crate) fn urls_after<'a>(
        &'a self,
        last: Option<&'a WebhookUrl>,
    ) -> impl Iterator<Item = &'a WebhookUrl> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.entries.range((from, Bound::Unbounded));
        range.map(|(url, _)| url)
    }

    /// Returns the rank of an endpoint and what makes it need attention; `None` if nothing does.
    pub(crate) fn of(&self, url: &WebhookUrl) -> Option<(Rank, Trouble)> {
        let entry = self.entries.get(url)?;
        let trouble = Trouble {
            since: entry.since,
            given_up: entry.given_up.count(),
        };
        Some((entry.rank, trouble))
    }

    fn put(&mut self, url: &WebhookUrl, known: Option<Entry>, mut entry: Entry, now: Timestamp) {
        entry.given_up.pass(now);
        let count = entry.given_up.count();
        entry.rank = Rank::new(count, entry.note.backlog, entry.since);
        entry.leaves_at = entry.given_up.until();
        if entry.note.standing.is_well() && count == 0 {
            self.remove(url);
            return;
        }
        let moved = known.is_none_or(|known| known.place() != entry.place());
        if moved {
            if let Some(known) = known {
                self.unlink(url, &known);
            }
            self.order.insert((entry.rank, url.clone()));
            if let Some(at) = entry.leaves_at {
                self.leaving.insert((at, url.clone()));
            }
        }
        match self.entries.get_mut(url) {
            Some(before) => *before = entry,
            None => drop(self.entries.insert(url.clone(), entry)),
        }
    }

    fn unlink(&mut self, url: &WebhookUrl, entry: &Entry) {
        self.order.remove(&(entry.rank, url.clone()));
        if let Some(at) = entry.leaves_at {
            self.leaving.remove(&(at, url.clone()));
        }
    }
}

impl Entry {
    fn new(since: Timestamp) -> Self {
        Self {
            note: Note::default(),
            since,
            given_up: GivenUp::default(),
            rank: Rank::default(),
            leaves_at: None,
        }
    }

    fn place(&self) -> (Rank, Option<Timestamp>) {
        (self.rank, self.leaves_at)
    }
}

#[cfg(test)]
mod tests;
