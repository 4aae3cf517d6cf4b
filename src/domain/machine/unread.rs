//! Deliveries of one endpoint that are in the store but not in its subscriber's memory.

use std::collections::BTreeSet;

use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;

/// A kind of read for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadKind {
    /// The stored state of the endpoint itself.
    Endpoint,
    /// Deliveries that were never attempted.
    Queued,
    /// Deliveries that wait for a retry.
    Waiting,
}

/// Deliveries that are only in the store; the subscriber knows at most a lowest id and a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Missed {
    #[default]
    None,
    /// The lowest id and the number of these deliveries.
    From { first: DeliveryId, count: u64 },
}

impl Missed {
    /// Returns the lowest of `ids` and their number.
    pub(crate) fn these(ids: impl IntoIterator<Item = DeliveryId>) -> Self {
        ids.into_iter().fold(Self::None, |all, id| {
            all.and(Self::From {
                first: id,
                count: 1,
            })
        })
    }

    /// Returns deliveries with unknown ids, if there are any at all. None is counted before it is
    /// found.
    pub(crate) fn unknown() -> Self {
        let (first, count) = (DeliveryId::new(0), 0);
        Self::From { first, count }
    }

    /// Returns both together: the lower id and the sum of the counts.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (missed, Self::None) | (Self::None, missed) => missed,
            (
                Self::From { first, count },
                Self::From {
                    first: other,
                    count: more,
                },
            ) => Self::From {
                first: first.min(other),
                count: count + more,
            },
        }
    }
}

/// The reads of each kind: whether more remains, the position reached, and reads in progress.
///
/// Never-attempted deliveries are read in pages of ascending ids. A lower id may become visible
/// later; it moves the page start back. A read may miss deliveries that become known while it is
/// in progress, so it is then repeated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread {
    kinds: [Pages; 3],
    /// The next page starts after this id.
    page_start: DeliveryId,
    /// Upper bound for the start of the next page, set by deliveries that became known during a
    /// read.
    back_to: Option<DeliveryId>,
    /// The highest id taken in; a higher one cannot be in memory.
    highest: DeliveryId,
    again_at: Option<Timestamp>,
}

/// The reads of one kind.
#[derive(Clone, Debug, Default)]
struct Pages {
    more: bool,
    reading: bool,
    grew_meanwhile: bool,
    /// Deliveries with an attempt recorded since the read began; the read may find their earlier
    /// state.
    recorded: BTreeSet<DeliveryId>,
}

impl Pages {
    fn note(&mut self) {
        self.more = true;
        self.grew_meanwhile = self.reading;
    }

    fn end(&mut self, more: bool) {
        self.more = more || self.grew_meanwhile;
        self.reading = false;
        self.recorded = BTreeSet::new();
    }
}

impl Unread {
    /// Returns the state of an endpoint of which nothing has been read yet.
    pub(crate) fn of_everything() -> Self {
        let unread = Pages {
            more: true,
            ..Pages::default()
        };
        Self {
            kinds: [unread.clone(), unread.clone(), unread],
            ..Self::default()
        }
    }

    fn pages(&self, kind: ReadKind) -> &Pages {
        let [endpoint, queued, waiting] = &self.kinds;
        match kind {
            ReadKind::Endpoint => endpoint,
            ReadKind::Queued => queued,
            ReadKind::Waiting => waiting,
        }
    }

    fn pages_mut(&mut self, kind: ReadKind) -> &mut Pages {
        let [endpoint, queued, waiting] = &mut self.kinds;
        match kind {
            ReadKind::Endpoint => endpoint,
            ReadKind::Queued => queued,
            ReadKind::Waiting => waiting,
        }
    }

    /// Returns `true` if the store may hold more of this kind.
    pub(crate) fn has_more(&self, kind: ReadKind) -> bool {
        self.pages(kind).more
    }

    /// Returns `true` if the store holds nothing more and nothing is being read.
    pub(crate) fn is_read(&self) -> bool {
        self.kinds.iter().all(|pages| !pages.more && !pages.reading)
    }

    /// Records that the store holds more of this kind.
    pub(crate) fn note(&mut self, kind: ReadKind) {
        self.pages_mut(kind).note();
    }

    /// Records that never-attempted deliveries from this id on are only in the store.
    pub(crate) fn note_from(&mut self, id: DeliveryId) {
        self.note(ReadKind::Queued);
        let before = DeliveryId::new(id.get().saturating_sub(1));
        self.page_start = self.page_start.min(before);
        self.back_to = Some(self.back_to.map_or(before, |back_to| back_to.min(before)));
    }

    /// Returns `true` if a delivery with this id may be or may have been in memory.
    pub(crate) fn may_have_seen(&self, id: DeliveryId) -> bool {
        id <= self.highest
    }

    /// Records that a delivery was put into memory without a read.
    pub(crate) fn see(&mut self, id: DeliveryId) {
        self.highest = self.highest.max(id);
        if !self.has_more(ReadKind::Queued) {
            self.page_start = self.page_start.max(id);
        }
    }

    /// Returns `true` if a read is in progress that may return deliveries.
    pub(crate) fn reads_deliveries(&self) -> bool {
        let kinds = [ReadKind::Queued, ReadKind::Waiting];
        kinds.iter().any(|kind| self.pages(*kind).reading)
    }

    pub(crate) fn may_read(&self, kind: ReadKind, now: Timestamp) -> bool {
        let Pages { more, reading, .. } = self.pages(kind);
        *more && !*reading && self.again_at.is_none_or(|at| at <= now)
    }

    /// Begins a read, and returns the id after which never-attempted deliveries are read.
    pub(crate) fn begin(&mut self, kind: ReadKind) -> DeliveryId {
        self.again_at = None;
        if kind == ReadKind::Queued {
            self.back_to = None;
        }
        let pages = self.pages_mut(kind);
        pages.reading = true;
        pages.grew_meanwhile = false;
        self.page_start
    }

    /// Ends a read; `more` if the store may hold more.
    pub(crate) fn end(&mut self, kind: ReadKind, more: bool) {
        self.pages_mut(kind).end(more);
    }

    /// Ends the read of a page of never-attempted deliveries, of which `last` is the last.
    pub(crate) fn end_page(&mut self, last: Option<DeliveryId>, more: bool) {
        if let Some(last) = last {
            self.highest = self.highest.max(last);
            self.page_start = self.page_start.max(last);
        }
        if let Some(back_to) = self.back_to {
            self.page_start = self.page_start.min(back_to);
        }
        self.end(ReadKind::Queued, more);
    }

    /// Ends a failed read; it may be repeated at `again_at`.
    pub(crate) fn failed(&mut self, kind: ReadKind, again_at: Timestamp) {
        self.end(kind, true);
        self.again_at = Some(again_at);
    }

    /// Notes that an attempt of a delivery was recorded.
    pub(crate) fn note_recorded(&mut self, id: DeliveryId) {
        for pages in self.kinds.iter_mut().filter(|pages| pages.reading) {
            pages.recorded.insert(id);
        }
    }

    /// Returns `true` if a read may have found an earlier state of a delivery: an attempt was
    /// recorded since the read began.
    pub(crate) fn is_outdated(&self, kind: ReadKind, id: DeliveryId) -> bool {
        self.pages(kind).recorded.contains(&id)
    }

    /// Clears `again_at` once it has passed. Otherwise it would cause wake-up after wake-up while
    /// something else delays the read.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        self.again_at = self.again_at.filter(|at| *at > now);
    }

    /// Returns when a failed read is repeated.
    pub(crate) fn again_at(&self) -> Option<Timestamp> {
        self.again_at
    }
}

#[cfg(test)]
mod tests {
    use super::ReadKind::{Endpoint, Queued, Waiting};
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(0);

    fn id(number: u64) -> DeliveryId {
        DeliveryId::new(number)
    }

    #[test]
    fn what_arrives_during_a_read_has_it_repeated() {
        let mut unread = Unread::of_everything();
        assert_eq!(unread.begin(Queued), id(0));
        assert!(!unread.may_read(Queued, NOW), "one read at a time");
        unread.note(Queued);
        unread.end_page(Some(id(7)), false);
        assert!(unread.may_read(Queued, NOW));
        assert_eq!(unread.begin(Queued), id(7));
        unread.end_page(None, false);
        assert!(!unread.has_more(Queued));
    }

    #[test]
    fn an_id_that_becomes_visible_late_moves_the_page_start_back() {
        let mut unread = Unread::of_everything();
        unread.begin(Queued);
        unread.end_page(Some(id(9)), false);
        unread.note_from(id(4));
        assert_eq!(unread.begin(Queued), id(3));
        // The same during the read of that page.
        unread.note_from(id(6));
        unread.end_page(Some(id(9)), false);
        assert!(unread.may_read(Queued, NOW));
        assert_eq!(unread.begin(Queued), id(5));
        unread.note_from(id(2));
        unread.end_page(Some(id(9)), false);
        assert_eq!(unread.begin(Queued), id(1));
        assert!(unread.may_have_seen(id(9)) && !unread.may_have_seen(id(10)));
    }

    #[test]
    fn it_is_read_once_every_kind_is() {
        let kinds = [Endpoint, Queued, Waiting];
        let read = |unread: &mut Unread, kind| {
            unread.begin(kind);
            unread.end(kind, false);
        };
        for last in kinds {
            let mut unread = Unread::of_everything();
            for kind in kinds.into_iter().filter(|kind| *kind != last) {
                read(&mut unread, kind);
            }
            assert!(!unread.is_read(), "{last:?} is not");
            read(&mut unread, last);
            assert!(unread.is_read());
        }
        let mut unread = Unread::of_everything();
        for kind in kinds {
            read(&mut unread, kind);
        }
        unread.begin(Queued);
        assert!(!unread.is_read(), "something is being read");
    }

    #[test]
    fn a_failed_read_waits_before_it_is_tried_again() {
        let mut unread = Unread::of_everything();
        unread.begin(Waiting);
        let later = Timestamp::from_unix_millis(5);
        unread.failed(Waiting, later);
        assert!(!unread.may_read(Waiting, NOW));
        assert!(unread.may_read(Waiting, later));
        assert_eq!(unread.again_at(), Some(later));
        unread.pass(later);
        let none = "nothing wakes for an instant that has passed";
        assert_eq!(unread.again_at(), None, "{none}");
        assert!(unread.may_read(Waiting, later));
    }

    #[test]
    fn a_failed_read_of_one_kind_leaves_the_other_under_way() {
        let mut unread = Unread::of_everything();
        unread.begin(Queued);
        unread.begin(Waiting);
        unread.failed(Waiting, NOW);
        assert!(!unread.may_read(Queued, NOW));
        assert!(unread.may_read(Waiting, NOW));
    }
}
