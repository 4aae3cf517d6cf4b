//! What is known of all endpoints together, kept up to date by the subscribers and the supervisor.
//!
//! Counts are gauges per arbiter, which only add: nothing is shared between arbiters while
//! endpoints are well. Only a change of an endpoint that is not well takes the one lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::endpoint::standing::{EndpointCounts, Standing};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::watch::attention::{Attention, Note};
use crate::domain::watch::series::{Meter, SeriesWindow, Sum};
use crate::domain::watch::waits::Waits;

/// The board of one engine.
#[derive(Debug)]
pub(crate) struct Board {
    attention: Mutex<Attention>,
    /// One per arbiter, and one for the supervisor and the router.
    gauges: Vec<Arc<Gauges>>,
    others: Arc<Gauges>,
}

/// The sums over the endpoints of one arbiter.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gauges {
    /// The number of endpoints in each standing. A part may wrap around, the sum does not.
    standings: [AtomicU64; Standing::COUNT],
    open: AtomicU64,
    meter: Mutex<Meter>,
    waits: Mutex<Waits>,
}

impl Board {
    /// Returns the board of an engine with this number of arbiters.
    pub(crate) fn new(arbiters: usize) -> Self {
        let gauges = std::iter::repeat_with(Arc::default);
        Self {
            attention: Mutex::default(),
            gauges: gauges.take(arbiters.max(1)).collect(),
            others: Arc::default(),
        }
    }

    /// Returns the gauges of an arbiter.
    pub(crate) fn of_arbiter(&self, arbiter: usize) -> Arc<Gauges> {
        Arc::clone(self.gauges.get(arbiter).unwrap_or(&self.others))
    }

    /// Returns the gauges of endpoints without a subscriber, and of deliveries that no subscriber
    /// knows.
    pub(crate) fn of_others(&self) -> &Gauges {
        &self.others
    }

    pub(crate) fn attention(&self) -> MutexGuard<'_, Attention> {
        self.attention.lock()
    }

    /// Counts deliveries to an endpoint that were given up without an attempt.
    pub(crate) fn give_up(
        &self,
        url: &WebhookUrl,
        count: u64,
        reason: DeadLetterReason,
        now: Timestamp,
    ) {
        self.others.meter.lock().give_up(count, now);
        if !reason.is_requested() {
            self.attention().give_up(url, count, now);
        }
    }

    /// Returns the number of endpoints in each state.
    pub(crate) fn counts(&self) -> EndpointCounts {
        let mut counts = EndpointCounts::default();
        for number in 0..=u8::MAX {
            let Some(standing) = Standing::of_number(number) else {
                break;
            };
            let place = usize::from(number);
            let count = |gauges: &Gauges| {
                let gauge = gauges.standings.get(place);
                gauge.map_or(0, |gauge| gauge.load(Ordering::Relaxed))
            };
            counts.add(standing, self.sum(count));
        }
        counts
    }

    /// Returns the number of open deliveries that subscribers know.
    pub(crate) fn open(&self) -> u64 {
        self.sum(|gauges| gauges.open.load(Ordering::Relaxed))
    }

    /// Adds up a value of all gauges.
    fn sum(&self, of: impl Fn(&Gauges) -> u64) -> u64 {
        let sum = self.all().map(of).fold(0, u64::wrapping_add);
        // Read while an endpoint moves from one standing to another, a sum may be one too low.
        if sum > u64::MAX / 2 { 0 } else { sum }
    }

    /// Returns the number of deliveries given up since the engine started.
    pub(crate) fn dead_lettered(&self) -> u64 {
        let counts = self.all().map(|gauges| gauges.meter.lock().dead_lettered());
        counts.sum()
    }

    /// Returns what has ended in a window.
    pub(crate) fn series(&self, window: SeriesWindow, now: Timestamp) -> Sum {
        let mut sum = Sum::new(window, now);
        self.all().for_each(|gauges| sum.add(&gauges.meter.lock()));
        sum
    }

    /// Calls `look` with the waits of each arbiter.
    pub(crate) fn each_waits(&self, mut look: impl FnMut(&Waits)) {
        self.all().for_each(|gauges| look(&gauges.waits.lock()));
    }

    /// Returns the longest time that an endpoint has waited for the engine; 0 if none waits.
    pub(crate) fn lag(&self, now: Timestamp) -> Duration {
        let mut lag = Duration::ZERO;
        self.each_waits(|waits| lag = lag.max(waits.longest(now)));
        lag
    }

    fn all(&self) -> impl Iterator<Item = &Gauges> {
        self.gauges
            .iter()
            .map(|gauges| &**gauges)
            .chain([&*self.others])
    }
}

impl Gauges {
    pub(crate) fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock()
    }

    pub(crate) fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock()
    }

    pub(crate) fn count(&self, standing: Standing) {
        if let Some(gauge) = self.standings.get(usize::from(standing.number())) {
            gauge.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn uncount(&self, standing: Standing) {
        if let Some(gauge) = self.standings.get(usize::from(standing.number())) {
            gauge.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The place of an endpoint with a subscriber: how it is counted, until the supervisor closes it.
///
/// The subscriber writes it, the supervisor reads and closes it.
#[derive(Debug)]
pub(crate) struct Place {
    gauges: Arc<Gauges>,
    /// The number of the standing in the highest byte, and the number of open deliveries.
    shown: AtomicU64,
}

impl Place {
    /// Returns the place of an endpoint that counts as this until its subscriber shows more.
    pub(crate) fn open(gauges: Arc<Gauges>, standing: Standing) -> Arc<Self> {
        gauges.count(standing);
        Arc::new(Self {
            gauges,
            shown: AtomicU64::new(pack(standing, 0)),
        })
    }

    pub(crate) fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// Returns the standing; `None` once the place is closed.
    pub(crate) fn standing(&self) -> Option<Standing> {
        unpack(self.shown.load(Ordering::Acquire)).map(|(standing, _)| standing)
    }

    /// Counts the endpoint as this from now on, unless the place is closed.
    fn show(&self, standing: Standing, open: u64) {
        let next = pack(standing, open);
        let change = |shown| unpack(shown).map(|_| next);
        let before = self
            .shown
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
        if let Ok(before) = before {
            self.move_gauges(before, Some(next));
        }
    }

    /// Counts the endpoint no more.
    pub(crate) fn close(&self) {
        let before = self.shown.swap(CLOSED, Ordering::AcqRel);
        self.move_gauges(before, None);
    }

    fn move_gauges(&self, before: u64, next: Option<u64>) {
        let before = unpack(before);
        let next = next.and_then(unpack);
        let standings = [before, next].map(|shown| shown.map(|(standing, _)| standing));
        if let [was, is] = standings
            && was != is
        {
            if let Some(is) = is {
                self.gauges.count(is);
            }
            if let Some(was) = was {
                self.gauges.uncount(was);
            }
        }
        let [was, is] = [before, next].map(|shown| shown.map_or(0, |(_, open)| open));
        if was != is {
            let more = is.wrapping_sub(was);
            self.gauges.open.fetch_add(more, Ordering::Relaxed);
        }
    }
}

/// The subscriber's side of its endpoint's place.
#[derive(Debug)]
pub(crate) struct Showing {
    place: Arc<Place>,
    /// The number that tells its wait from those of others.
    who: u64,
    shown: (Standing, u64),
    note: Note,
    waits_since: Option<Timestamp>,
}

impl Showing {
    pub(crate) fn new(place: Arc<Place>, who: u64) -> Self {
        let standing = place.standing().unwrap_or_default();
        Self {
            place,
            who,
            shown: (standing, 0),
            // Without the number of open deliveries: the first look notes it.
            note: Note::default().with(standing, 0),
            waits_since: None,
        }
    }

    /// Shows the standing of the endpoint and the number of its open deliveries.
    ///
    /// Nothing leaves the arbiter unless the endpoint is not well, or was not until now.
    pub(crate) fn show(
        &mut self,
        (standing, open): (Standing, u64),
        board: &Board,
        note: impl FnOnce(&mut Attention, Note),
    ) {
        if self.shown == (standing, open) {
            return;
        }
        self.shown = (standing, open);
        self.place.show(standing, open);
        let next = self.note.with(standing, open);
        if next != self.note {
            self.note = next;
            let mut attention = board.attention();
            // Once it is closed, the supervisor has noted a later state.
            if self.place.standing().is_some() {
                note(&mut attention, next);
            }
        }
    }

    /// Notes since when the endpoint waits for the engine; `None` if it does not.
    pub(crate) fn wait(&mut self, since: Option<Timestamp>) {
        if since != self.waits_since {
            let mut waits = self.place.gauges.waits();
            waits.change(self.who, self.waits_since, since);
            self.waits_since = since;
        }
    }

    pub(crate) fn waits_since(&self) -> Option<Timestamp> {
        self.waits_since
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

impl Drop for Showing {
    fn drop(&mut self) {
        self.wait(None);
    }
}

fn pack(standing: Standing, open: u64) -> u64 {
    u64::from(standing.number()) << OPEN_BITS | open.min(MAX_OPEN)
}

/// Returns what was packed; `None` for a closed place.
fn unpack(shown: u64) -> Option<(Standing, u64)> {
    let number = u8::try_from(shown >> OPEN_BITS).ok()?;
    Some((Standing::of_number(number)?, shown & MAX_OPEN))
}

/// The bits for the number of open deliveries.
const OPEN_BITS: u32 = 56;

const MAX_OPEN: u64 = (1 << OPEN_BITS) - 1;

/// A place that no longer counts. No standing has such a number.
const CLOSED: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::standing::StateKind;

    const IDLE: Standing = Standing {
        kind: StateKind::Idle,
        failing: false,
    };

    const FAILING: Standing = Standing {
        kind: StateKind::Disabled,
        failing: true,
    };

    #[test]
    fn what_is_packed_is_unpacked() {
        for number in 0..14 {
            let standing = Standing::of_number(number).unwrap();
            for open in [0, 1, MAX_OPEN] {
                assert_eq!(unpack(pack(standing, open)), Some((standing, open)));
            }
        }
        assert_eq!(unpack(pack(IDLE, u64::MAX)), Some((IDLE, MAX_OPEN)));
        assert_eq!(unpack(CLOSED), None);
    }

    #[test]
    fn an_endpoint_counts_once_until_its_place_is_closed() {
        let board = Board::new(2);
        let place = Place::open(board.of_arbiter(1), IDLE);
        assert_eq!((board.counts().total, board.counts().idle), (1, 1));
        place.show(FAILING, 7);
        let counts = board.counts();
        assert_eq!((counts.total, counts.disabled, counts.failing), (1, 1, 1));
        assert_eq!((board.open(), place.standing()), (7, Some(FAILING)));
        place.show(FAILING, 3);
        assert_eq!(board.open(), 3);
        place.close();
        place.show(IDLE, 9);
        place.close();
        assert_eq!(
            (board.counts(), board.open()),
            (EndpointCounts::default(), 0)
        );
        assert_eq!(place.standing(), None);
    }

    #[test]
    fn only_a_change_of_an_endpoint_that_is_not_well_is_noted() {
        let board = Board::new(1);
        let place = Place::open(board.of_arbiter(0), IDLE);
        let mut showing = Showing::new(Arc::clone(&place), 1);
        let mut noted = Vec::new();
        let busy = Standing {
            kind: StateKind::Delivering,
            failing: false,
        };
        let steps = [
            (IDLE, 1),
            (busy, 9),
            (FAILING, 9),
            (FAILING, 10),
            (FAILING, 16),
            (busy, 1),
        ];
        for (standing, open) in steps {
            showing.show((standing, open), &board, |_, note| noted.push(note));
        }
        let standings: Vec<_> = noted.iter().map(|note| note.standing).collect();
        assert_eq!(standings, [FAILING, FAILING, IDLE]);
        place.close();
        showing.show((FAILING, 1), &board, |_, _| panic!("the place is closed"));
    }

    #[test]
    fn a_wait_ends_with_its_subscriber() {
        let board = Board::new(1);
        let at = Timestamp::from_unix_millis;
        let mut showing = Showing::new(Place::open(board.of_arbiter(0), IDLE), 1);
        showing.wait(Some(at(1_000)));
        let longest = || {
            let mut longest = Vec::new();
            board.each_waits(|waits| longest.push(waits.longest(at(3_000)).as_secs()));
            longest
        };
        assert_eq!(longest(), [2, 0]);
        drop(showing);
        assert_eq!(longest(), [0, 0]);
    }
}
