//! The router's position in the store's outbox, and the endpoints whose backlog is full.
//!
//! The outbox is read from its head. If every endpoint of an event refuses it for now, the event
//! stays in place and its endpoints are held. Later events for held endpoints only are passed over.
//! So no event overtakes another, and events for other endpoints are not delayed. After a wait the
//! events of a held endpoint are read again, starting with the first refused one. If that is
//! refused again, the wait doubles.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::store_call::StoreCall;
use crate::domain::value::backoff::Backoff;
use crate::domain::value::url::WebhookUrl;
use crate::store::{OutboxEntry, Store};

/// The position in the outbox, and the events to read again.
#[derive(Default)]
pub(crate) struct Outbox {
    /// The position up to which events were taken or passed over.
    head: u64,
    /// `true` if there may be events after the head.
    wanted: bool,
    /// `true` if the next read starts at the event where the store failed.
    rewind: bool,
    back_to: Option<u64>,
    /// `true` after a failure of the store; nothing is read before the next look.
    stopped: bool,
    held: BTreeMap<WebhookUrl, Held>,
    /// The times at which held endpoints are read again.
    due: BTreeSet<(Instant, WebhookUrl)>,
    /// The number of pages that may be read again before the next sweep.
    pages_left: u32,
    sweep: Option<Interval>,
    reading: Option<(StoreCall<Vec<OutboxEntry>>, usize)>,
    scan: Scan,
    progress: Progress,
}

/// The purpose of a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scan {
    /// New events.
    #[default]
    Head,
    /// Events that were refused or passed over for this endpoint.
    Again(WebhookUrl),
}

/// The progress of a page's events.
#[derive(Debug, Default)]
struct Progress {
    /// The position of its last event.
    last: u64,
    /// `true` if there may be more events after the page.
    full: bool,
    /// The number of its events being stored.
    under_way: usize,
    any_accepted: bool,
}

/// An endpoint whose backlog is full.
#[derive(Debug)]
struct Held {
    /// The first event that it refused.
    from: u64,
    /// The position up to which its events were read again.
    after: u64,
    /// `true` if it has refused an event during the current rescan.
    refused: bool,
    again_at: Instant,
    wait: Duration,
}

impl Outbox {
    /// Reads the outbox now, and again every `period`.
    pub(crate) fn sweep_every(&mut self, period: Duration) {
        let mut sweep = tokio::time::interval(period);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.sweep = Some(sweep);
    }

    /// Reads the outbox at the next poll.
    pub(crate) fn look(&mut self) {
        self.wanted = true;
        self.rewind = true;
        self.stopped = false;
    }

    /// Stops reading until the next look, which reads this event again.
    ///
    /// Returns `true` if reading was not stopped yet since the last look.
    pub(crate) fn stop_at(&mut self, seq: u64) -> bool {
        self.come_back_to(seq);
        !std::mem::replace(&mut self.stopped, true)
    }

    /// Reads an event again at the next look.
    pub(crate) fn come_back_to(&mut self, seq: u64) {
        self.back_to = Some(self.back_to.map_or(seq, |earlier| earlier.min(seq)));
    }

    /// Returns `true` if an event with these destination `urls` is passed over for now.
    pub(crate) fn passes_over<'a>(
        &self,
        scan: &Scan,
        mut urls: impl Iterator<Item = &'a WebhookUrl>,
    ) -> bool {
        match scan {
            Scan::Head if self.held.is_empty() => false,
            Scan::Head => {
                let mut any = false;
                urls.all(|url| {
                    any = true;
                    self.held.contains_key(url)
                }) && any
            }
            Scan::Again(held) => !urls.any(|url| url == held),
        }
    }

    /// Notes that an event of the page is being stored.
    pub(crate) fn begin(&mut self) {
        self.progress.under_way += 1;
    }

    /// Notes that an event was accepted or set aside.
    pub(crate) fn on_accepted(&mut self, now: Instant) {
        self.progress.any_accepted = true;
        self.on_answered(now);
    }

    /// Notes that the store failed, so that the event is read again.
    ///
    /// Returns `true` if it is the first failure since the last look.
    pub(crate) fn on_failed(&mut self, seq: u64, now: Instant) -> bool {
        let first = self.stop_at(seq);
        if let Scan::Again(url) = self.scan.clone()
            && let Some(held) = self.held.get_mut(&url)
        {
            // The rescan resumes from this event.
            held.after = held.after.min(seq.saturating_sub(1));
            self.progress.full = true;
            self.progress.last = self.progress.last.min(held.after);
        }
        self.on_answered(now);
        first
    }

    /// Notes that every endpoint of an event has a full backlog.
    ///
    /// Returns `true` if at least one of them was not held before.
    pub(crate) fn on_full<'a>(
        &mut self,
        seq: u64,
        urls: impl Iterator<Item = &'a WebhookUrl>,
        now: Instant,
    ) -> bool {
        let mut any_new = false;
        for url in urls {
            if let Some(held) = self.held.get_mut(url) {
                if self.scan == Scan::Again(url.clone()) {
                    let first = if held.refused { held.from } else { seq };
                    held.from = first.min(seq);
                    held.refused = true;
                } else {
                    held.from = held.from.min(seq);
                    held.after = held.after.min(seq.saturating_sub(1));
                }
            } else if self.held.len() < MAX_HELD {
                any_new = true;
                let held = Held {
                    from: seq,
                    after: seq.saturating_sub(1),
                    refused: false,
                    again_at: now + FIRST_WAIT,
                    wait: FIRST_WAIT,
                };
                self.due.insert((held.again_at, url.clone()));
                self.held.insert(url.clone(), held);
            } else {
                self.stop_at(seq);
            }
        }
        self.on_answered(now);
        any_new
    }

    fn on_answered(&mut self, now: Instant) {
        self.progress.under_way = self.progress.under_way.saturating_sub(1);
        self.end_page(now);
    }

    /// Ends a page once all of its events are answered, and reschedules or releases the endpoint
    /// that was rescanned.
    pub(crate) fn end_page(&mut self, now: Instant) {
        if self.progress.under_way > 0 {
            return;
        }
        let Scan::Again(url) = std::mem::take(&mut self.scan) else {
            return;
        };
        let Some(held) = self.held.get_mut(&url) else {
            return;
        };
        let old = (held.again_at, url.clone());
        if held.refused {
            held.wait = if self.progress.any_accepted {
                FIRST_WAIT
            } else {
                WAITS.longer_than(held.wait)
            };
            held.again_at = now + held.wait;
            held.after = held.from.saturating_sub(1);
            held.refused = false;
        } else if self.progress.full && self.progress.last < self.head {
            held.after = self.progress.last;
            if self.progress.any_accepted {
                held.wait = FIRST_WAIT;
            }
        } else {
            self.due.remove(&old);
            self.held.remove(&url);
            return;
        }
        let again_at = held.again_at;
        self.due.remove(&old);
        self.due.insert((again_at, url));
    }

    /// Returns the next scan, its start position and its limit.
    fn next_scan(&mut self, now: Instant, most: usize) -> Option<(Scan, u64, usize)> {
        if self.reading.is_some() || self.progress.under_way > 0 || self.stopped {
            return None;
        }
        if let Some((_, url)) = self.due.first().filter(|(at, _)| *at <= now)
            && self.pages_left > 0
            && let Some(held) = self.held.get(url)
        {
            self.pages_left -= 1;
            let begins = held.after < held.from;
            let limit = if begins { most.min(PROBE) } else { most };
            return Some((Scan::Again(url.clone()), held.after, limit));
        }
        if !self.wanted {
            return None;
        }
        self.wanted = false;
        if std::mem::take(&mut self.rewind)
            && let Some(seq) = self.back_to.take()
        {
            // Events after it that were taken meanwhile are no longer in the outbox.
            self.head = self.head.min(seq.saturating_sub(1));
        }
        Some((Scan::Head, self.head, most))
    }

    /// Reads on and returns the page.
    ///
    /// Returns `None` if there is nothing to read, or while the last page is being stored.
    pub(crate) fn read(
        &mut self,
        store: &dyn Store,
        limit: usize,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Option<(Scan, Vec<OutboxEntry>)> {
        while self
            .sweep
            .as_mut()
            .is_some_and(|sweep| sweep.poll_tick(cx).is_ready())
        {
            self.look();
            self.pages_left = PAGES_PER_SWEEP;
        }
        if let Some((scan, after, limit)) = self.next_scan(now, limit) {
            self.scan = scan;
            self.reading = Some((StoreCall::begin(|| store.outbox(after, limit)), limit));
        }
        let (call, limit) = self.reading.as_mut()?;
        let Poll::Ready(result) = call.poll_unpin(cx) else {
            return None;
        };
        let limit = *limit;
        self.reading = None;
        match result {
            Ok(entries) => Some((self.scan.clone(), self.take_page(entries, limit))),
            Err(error) => {
                log::error!(
                    error:? = error;
                    "outbox could not be read and will be read again: {}", error.with_causes()
                );
                self.stopped = true;
                self.scan = Scan::Head;
                None
            }
        }
    }

    /// Notes the extent of a page, and returns the events that belong to the scan.
    fn take_page(&mut self, mut entries: Vec<OutboxEntry>, limit: usize) -> Vec<OutboxEntry> {
        let full = entries.len() == limit;
        let last = entries.last().map_or(0, |last| last.seq);
        self.progress = Progress {
            last,
            full,
            ..Progress::default()
        };
        match self.scan {
            Scan::Head => {
                self.wanted |= full;
                self.head = self.head.max(last);
            }
            // Events after the head belong to the next head scan.
            Scan::Again(_) => entries.retain(|entry| entry.seq <= self.head),
        }
        entries
    }
}

/// The first and the longest wait before the events of a held endpoint are read again.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const WAITS: Backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);

/// The number of events in the first page of a rescan. It is small, because the endpoint probably
/// refuses them again.
const PROBE: usize = 16;

/// The number of rescan pages between two sweeps.
const PAGES_PER_SWEEP: u32 = 32;

/// The maximum number of held endpoints. Past it, the outbox waits for the next look.
const MAX_HELD: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::actor::clock::Clock;
    use crate::store::MemoryStore;

    fn url(text: &str) -> WebhookUrl {
        WebhookUrl::parse(text).unwrap()
    }

    fn entries(seqs: &[u64]) -> Vec<OutboxEntry> {
        let entry = |seq: &u64| OutboxEntry {
            seq: *seq,
            event: Err(String::new()),
        };
        seqs.iter().map(entry).collect()
    }

    /// Reads a page with `limit`, and returns the events that belong to the scan.
    fn page(outbox: &mut Outbox, now: Instant, seqs: &[u64], limit: usize) -> (Scan, Vec<u64>) {
        let (scan, _, _) = outbox
            .next_scan(now, limit)
            .expect("there is something to be read");
        outbox.scan = scan.clone();
        let page = outbox.take_page(entries(seqs), limit);
        (scan, page.iter().map(|entry| entry.seq).collect())
    }

    #[actix_rt::test]
    async fn an_event_that_failed_while_others_were_being_read_is_read_again() {
        let (sender, read) = tokio::sync::oneshot::channel();
        let call = StoreCall::begin(|| Box::pin(async move { Ok(read.await.unwrap()) }));
        let mut outbox = Outbox {
            head: 10,
            reading: Some((call, 256)),
            ..Outbox::default()
        };
        assert!(outbox.stop_at(5));
        assert!(!outbox.stop_at(7), "told once");
        outbox.look();
        sender.send(entries(&[20])).unwrap();
        let (store, mut cx) = (MemoryStore::new(), Context::from_waker(Waker::noop()));
        let now = Clock::instant();
        let found = outbox.read(&store, 256, now, &mut cx);
        assert_eq!(found.map(|(_, read)| read.len()), Some(1));
        outbox.end_page(now);
        let found = outbox.read(&store, 256, now, &mut cx);
        assert_eq!(found, Some((Scan::Head, Vec::new())));
        assert_eq!(outbox.head, 4, "from the event that failed");
    }

    #[actix_rt::test]
    async fn what_an_endpoint_refuses_is_gone_over_again_ever_more_rarely_and_from_the_first() {
        let (a, b, now) = (
            url("http://a.test/"),
            url("http://b.test/"),
            Clock::instant(),
        );
        let mut outbox = Outbox {
            wanted: true,
            pages_left: 100,
            ..Outbox::default()
        };
        let full = |outbox: &mut Outbox, seq, now| {
            outbox.begin();
            outbox.on_full(seq, [&a].into_iter(), now)
        };
        page(&mut outbox, now, &[1, 2], 256);
        assert!(full(&mut outbox, 1, now), "told once");
        assert!(!full(&mut outbox, 2, now));
        assert!(outbox.passes_over(&Scan::Head, [&a].into_iter()));
        assert!(!outbox.passes_over(&Scan::Head, [&a, &b].into_iter()));
        assert!(!outbox.passes_over(&Scan::Head, [].into_iter()));
        let mut at = now;
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            let wait = Duration::from_secs(wait);
            assert!(
                outbox
                    .next_scan(at + wait - Duration::from_millis(1), 256)
                    .is_none()
            );
            at += wait;
            let (scan, seqs) = page(&mut outbox, at, &[1, 2, 3], 3);
            assert_eq!(
                (scan, seqs),
                (Scan::Again(a.clone()), vec![1, 2]),
                "3 is for the head"
            );
            full(&mut outbox, 1, at);
        }
        // One event was accepted, so the wait is short again.
        at += LONGEST_WAIT;
        page(&mut outbox, at, &[1, 2], 256);
        outbox.begin();
        outbox.begin();
        outbox.on_accepted(at);
        outbox.on_full(2, [&a].into_iter(), at);
        at += FIRST_WAIT;
        let (scan, seqs) = page(&mut outbox, at, &[2], 256);
        assert_eq!((scan, seqs), (Scan::Again(a.clone()), vec![2]));
        outbox.begin();
        outbox.on_accepted(at);
        assert!(outbox.held.is_empty() && outbox.due.is_empty());
        assert!(!outbox.passes_over(&Scan::Head, [&a].into_iter()));
    }

    #[actix_rt::test]
    async fn a_store_that_fails_while_events_are_gone_over_again_releases_nothing() {
        let (a, now) = (url("http://a.test/"), Clock::instant());
        let mut outbox = Outbox {
            wanted: true,
            pages_left: 100,
            ..Outbox::default()
        };
        page(&mut outbox, now, &[1, 2], 256);
        outbox.begin();
        outbox.on_full(1, [&a].into_iter(), now);
        let later = now + FIRST_WAIT;
        page(&mut outbox, later, &[1, 2], 256);
        outbox.begin();
        assert!(outbox.on_failed(1, later));
        assert!(outbox.passes_over(&Scan::Head, [&a].into_iter()));
        assert!(
            outbox.next_scan(later, 256).is_none(),
            "before the next look"
        );
        outbox.look();
        let (scan, after, _) = outbox.next_scan(later, 256).unwrap();
        assert_eq!((scan, after), (Scan::Again(a), 0));
    }
}
