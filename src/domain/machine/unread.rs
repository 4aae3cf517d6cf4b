//! What one endpoint has in the store beyond what its subscriber holds in memory.

use std::collections::BTreeSet;

use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;

/// Whether the store holds more, how far it was read, and which reads are under way.
///
/// Deliveries are read in ascending order of their ids, so that one position tells what was seen. Whatever becomes known to be in
/// the store while a read is under way may have been missed by it, and has it done again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread {
    position: DeliveryId,
    /// What the store knows of the endpoint itself.
    endpoint: Pages,
    queued: Pages,
    waiting: Pages,
    /// What was recorded while those that wait are being read: what the read finds of it is older.
    recorded: BTreeSet<DeliveryId>,
    again_at: Option<Timestamp>,
}

/// One kind of page.
#[derive(Clone, Copy, Debug, Default)]
struct Pages {
    more: bool,
    reading: bool,
    grew_meanwhile: bool,
}

impl Pages {
    fn note(&mut self) {
        self.more = true;
        self.grew_meanwhile = self.reading;
    }

    fn begin(&mut self) {
        self.reading = true;
        self.grew_meanwhile = false;
    }

    fn end(&mut self, full_page: bool) {
        self.more = full_page || self.grew_meanwhile;
        self.reading = false;
    }

    fn may_begin(self) -> bool {
        self.more && !self.reading
    }
}

impl Unread {
    /// Returns the backlog of an endpoint of whose deliveries nothing was read yet.
    pub(crate) fn of_everything() -> Self {
        let unread = Pages {
            more: true,
            ..Pages::default()
        };
        Self {
            endpoint: unread,
            queued: unread,
            waiting: unread,
            ..Self::default()
        }
    }

    pub(crate) fn more_queued(&self) -> bool {
        self.queued.more
    }

    pub(crate) fn more_waiting(&self) -> bool {
        self.waiting.more
    }

    /// Says whether the store holds nothing more, and nothing is being read.
    pub(crate) fn is_read(&self) -> bool {
        let idle = |pages: Pages| !pages.more && !pages.reading;
        idle(self.endpoint) && idle(self.queued) && idle(self.waiting)
    }

    /// Says whether the store was asked about the endpoint itself. Before, nothing may start: it may be held back.
    pub(crate) fn endpoint_is_read(&self) -> bool {
        !self.endpoint.more
    }

    pub(crate) fn may_read_endpoint(&self, now: Timestamp) -> bool {
        self.endpoint.may_begin() && self.again_at.is_none_or(|at| at <= now)
    }

    pub(crate) fn begin_endpoint_read(&mut self) {
        self.again_at = None;
        self.endpoint.begin();
    }

    pub(crate) fn endpoint_read(&mut self) {
        self.endpoint.end(false);
    }

    pub(crate) fn endpoint_read_failed(&mut self, again_at: Timestamp) {
        self.endpoint.end(true);
        self.again_at = Some(again_at);
    }

    /// Says whether a delivery was taken in before.
    pub(crate) fn has_seen(&self, id: DeliveryId) -> bool {
        id <= self.position
    }

    pub(crate) fn see(&mut self, id: DeliveryId) {
        self.position = self.position.max(id);
    }

    pub(crate) fn note_queued(&mut self) {
        self.queued.note();
    }

    pub(crate) fn note_waiting(&mut self) {
        self.waiting.note();
    }

    pub(crate) fn may_read_queued(&self, now: Timestamp) -> bool {
        self.queued.may_begin() && self.again_at.is_none_or(|at| at <= now)
    }

    pub(crate) fn may_read_waiting(&self, now: Timestamp) -> bool {
        self.waiting.may_begin() && self.again_at.is_none_or(|at| at <= now)
    }

    /// Begins reading and returns the position after which to read.
    pub(crate) fn begin_queued_read(&mut self) -> DeliveryId {
        self.again_at = None;
        self.queued.begin();
        self.position
    }

    pub(crate) fn begin_waiting_read(&mut self) {
        self.again_at = None;
        self.recorded.clear();
        self.waiting.begin();
    }

    /// Notes that an attempt of a delivery is on record.
    pub(crate) fn note_recorded(&mut self, id: DeliveryId) {
        if self.waiting.reading {
            self.recorded.insert(id);
        }
    }

    pub(crate) fn queued_read(&mut self, full_page: bool) {
        self.queued.end(full_page);
    }

    /// Ends reading, and returns of which deliveries something was recorded meanwhile.
    pub(crate) fn waiting_read(&mut self, full_page: bool) -> BTreeSet<DeliveryId> {
        self.waiting.end(full_page);
        std::mem::take(&mut self.recorded)
    }

    /// Notes that a read of deliveries that were never attempted failed and may be tried again at `again_at`.
    pub(crate) fn queued_read_failed(&mut self, again_at: Timestamp) {
        self.queued.end(true);
        self.again_at = Some(again_at);
    }

    /// Notes that a read of waiting deliveries failed and may be tried again at `again_at`.
    pub(crate) fn waiting_read_failed(&mut self, again_at: Timestamp) {
        self.waiting.end(true);
        self.again_at = Some(again_at);
    }

    /// Forgets an instant that has come: a read that is not made now for another reason must not be woken for again and again.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        self.again_at = self.again_at.filter(|at| *at > now);
    }

    /// Returns when a failed read is tried again.
    pub(crate) fn again_at(&self) -> Option<Timestamp> {
        self.again_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(0);

    #[test]
    fn what_arrives_during_a_read_has_it_done_again() {
        let mut backlog = Unread::of_everything();
        assert_eq!(backlog.begin_queued_read(), DeliveryId::new(0));
        assert!(!backlog.may_read_queued(NOW), "one read at a time");
        backlog.note_queued();
        backlog.queued_read(false);
        assert!(backlog.may_read_queued(NOW));
        backlog.see(DeliveryId::new(7));
        assert_eq!(backlog.begin_queued_read(), DeliveryId::new(7));
        backlog.queued_read(false);
        assert!(!backlog.more_queued());
    }

    #[test]
    fn it_is_read_once_every_kind_is() {
        let read = |unread: &mut Unread, kind: usize| match kind {
            0 => {
                unread.begin_endpoint_read();
                unread.endpoint_read();
            }
            1 => {
                unread.begin_queued_read();
                unread.queued_read(false);
            }
            _ => {
                unread.begin_waiting_read();
                unread.waiting_read(false);
            }
        };
        for last in 0..3 {
            let mut unread = Unread::of_everything();
            for kind in (0..3).filter(|kind| *kind != last) {
                read(&mut unread, kind);
            }
            assert!(!unread.is_read(), "kind {last} is not");
            read(&mut unread, last);
            assert!(unread.is_read());
        }
        let mut unread = Unread::of_everything();
        (0..3).for_each(|kind| read(&mut unread, kind));
        unread.begin_queued_read();
        assert!(!unread.is_read(), "something is being read");
    }

    #[test]
    fn a_failed_read_waits_before_it_is_tried_again() {
        let mut backlog = Unread::of_everything();
        backlog.begin_waiting_read();
        let later = Timestamp::from_unix_millis(5);
        backlog.waiting_read_failed(later);
        assert!(!backlog.may_read_waiting(NOW));
        assert!(backlog.may_read_waiting(later));
        assert_eq!(backlog.again_at(), Some(later));
        backlog.pass(later);
        assert_eq!(
            backlog.again_at(),
            None,
            "nothing wakes for an instant that has passed"
        );
        assert!(backlog.may_read_waiting(later));
    }

    #[test]
    fn a_failed_read_of_one_kind_leaves_the_other_under_way() {
        let mut backlog = Unread::of_everything();
        backlog.begin_queued_read();
        backlog.begin_waiting_read();
        backlog.waiting_read_failed(NOW);
        assert!(!backlog.may_read_queued(NOW));
        assert!(backlog.may_read_waiting(NOW));
    }
}
