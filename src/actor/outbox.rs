//! Where the router stands in the store's outbox, and which endpoints have as much open as they may.
//!
//! The outbox is read from its head on. An event that every one of its endpoints refuses for now stays where it is, and its endpoints are held: what comes
//! after it for them alone is passed over, so that nothing passes it and nobody else waits for it. After a while the events of a held endpoint are gone
//! over again, from the first that was refused; where that is refused again, the wait doubles.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::store_call::StoreCall;
use crate::domain::value::backoff::Backoff;
use crate::domain::value::url::WebhookUrl;
use crate::store::{OutboxEntry, Store};

/// How far the outbox was read, and what is to be read again.
#[derive(Default)]
pub(crate) struct Outbox {
    /// The place up to which events were taken out or passed over.
    head: u64,
    /// Whether there may be something behind the head.
    wanted: bool,
    /// Whether the next read begins where the store had failed.
    rewind: bool,
    back_to: Option<u64>,
    /// Whether the store failed: nothing is read before the next look.
    stopped: bool,
    held: BTreeMap<WebhookUrl, Held>,
    /// When held endpoints are gone over again.
    due: BTreeSet<(Instant, WebhookUrl)>,
    /// How many pages may be gone over again before the next sweep.
    pages_left: u32,
    sweep: Option<Interval>,
    reading: Option<(StoreCall<Vec<OutboxEntry>>, usize)>,
    scan: Scan,
    progress: Progress,
}

/// What is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scan {
    /// What is new.
    #[default]
    Head,
    /// What was refused or passed over for this endpoint.
    Again(WebhookUrl),
}

/// How far the events of a page have come.
#[derive(Debug, Default)]
struct Progress {
    /// The place of its last event.
    last: u64,
    /// Whether there may be more behind it.
    full: bool,
    /// How many of its events are being stored.
    under_way: usize,
    any_accepted: bool,
}

/// An endpoint that has as much open as it may.
#[derive(Debug)]
struct Held {
    /// The first event that it refused.
    from: u64,
    /// The place up to which its events were gone over again.
    after: u64,
    /// Whether it has refused again since it is gone over.
    refused: bool,
    again_at: Instant,
    wait: Duration,
}

impl Outbox {
    /// Has the outbox read now, and again every so often.
    pub(crate) fn sweep_every(&mut self, period: Duration) {
        let mut sweep = tokio::time::interval(period);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.sweep = Some(sweep);
    }

    /// Has the outbox read at the next poll.
    pub(crate) fn look(&mut self) {
        self.wanted = true;
        self.rewind = true;
        self.stopped = false;
    }

    /// Has an event read again at the next look, before which nothing more is read. Returns `true` if it is the first since the last look.
    pub(crate) fn stop_at(&mut self, seq: u64) -> bool {
        self.come_back_to(seq);
        !std::mem::replace(&mut self.stopped, true)
    }

    /// Has an event read again at the next look.
    pub(crate) fn come_back_to(&mut self, seq: u64) {
        self.back_to = Some(self.back_to.map_or(seq, |earlier| earlier.min(seq)));
    }

    /// Returns `true` if an event is passed over for now. Its `urls` are where it goes to.
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

    /// Notes that an event was taken in, or set aside.
    pub(crate) fn on_accepted(&mut self, now: Instant) {
        self.progress.any_accepted = true;
        self.on_answered(now);
    }

    /// Notes that the store failed, so that the event is read again. Returns `true` if it is the first since the last look.
    pub(crate) fn on_failed(&mut self, seq: u64, now: Instant) -> bool {
        let first = self.stop_at(seq);
        if let Scan::Again(url) = self.scan.clone()
            && let Some(held) = self.held.get_mut(&url)
        {
            // It is gone over again from here.
            held.after = held.after.min(seq.saturating_sub(1));
            self.progress.full = true;
            self.progress.last = self.progress.last.min(held.after);
        }
        self.on_answered(now);
        first
    }

    /// Notes that all endpoints of an event have as much open as they may. Returns `true` if that is new of one of them.
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

    /// Ends a page once all of its events are answered, and decides what becomes of the endpoint that was gone over again.
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

    /// Returns what is read next, from where on, and how much of it.
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
            // Whatever follows it and was taken out meanwhile is there no longer.
            self.head = self.head.min(seq.saturating_sub(1));
        }
        Some((Scan::Head, self.head, most))
    }

    /// Reads on, and returns what was found; `None` while there is nothing to be read, or while what was found before is being stored.
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
                    "outbox could not be read; it is looked into again: {}", error.with_causes()
                );
                self.stopped = true;
                self.scan = Scan::Head;
                None
            }
        }
    }

    /// Notes how far a page goes, and returns what of it belongs to the scan.
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
            // What is behind the head is for the head.
            Scan::Again(_) => entries.retain(|entry| entry.seq <= self.head),
        }
        entries
    }
}

/// After how long the events of an endpoint that has refused them are tried again at first, and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const WAITS: Backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);

/// How many events are read at first of those of a held endpoint: most likely it refuses them again.
const PROBE: usize = 16;

/// How many pages are gone over again between two sweeps.
const PAGES_PER_SWEEP: u32 = 32;

/// How many endpoints are held at most. With more of them the outbox waits for the next look.
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

    /// Has a page read of which so much was asked for, and returns which of its events are for the scan.
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
        // There is room for one: the next is not far then.
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
