//! The pace at which a receiver takes deliveries, found out where it has said that it got too many.
//!
//! A 429 speaks of how many come in a time. How many the receiver had
//! taken since the last time, and how long that took together with the wait that it asks for, is its
//! own pace. From then on attempts are spread at a little less than that, and a little faster after
//! every few that went well. See `docs/adr/0014-pace-after-an-overload.md`.

use std::time::Duration;

use crate::domain::value::time::Timestamp;

/// What an endpoint's attempts have taught about its receiver's pace. One that never says that it
/// has too many is counted for, and no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The time between two attempts; `None` while nothing had to be slowed down.
    interval: Option<Duration>,
    /// The one at which it was too much.
    too_fast: Duration,
    /// When the receiver had too much the last time.
    overloaded_at: Option<Timestamp>,
    /// What is counted: how many were taken, since when.
    since: Timestamp,
    taken: u32,
    /// When the last of what is counted was answered.
    last_at: Timestamp,
    /// How many went well since the pace was last changed, and when that was.
    well: u32,
    changed_at: Timestamp,
    /// Whether the receiver takes nothing at the moment, and has not said until when.
    drought: Option<Drought>,
}

/// What follows when a receiver takes something again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drought {
    /// Its pace is found out: it took so many since then.
    Since(Timestamp, u32),
    /// It is known.
    Then(Duration),
}

/// An attempt that was refused because it was too much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) started_at: Timestamp,
    pub(crate) status: u16,
    /// Until when the receiver asked for a pause.
    pub(crate) until: Option<Timestamp>,
}

impl Pace {
    /// Returns what is known again after a restart.
    pub(crate) fn known(interval: Option<Duration>, overloaded_at: Timestamp) -> Self {
        Self {
            interval,
            too_fast: interval.unwrap_or_default(),
            overloaded_at: Some(overloaded_at),
            since: overloaded_at,
            last_at: overloaded_at,
            changed_at: overloaded_at,
            ..Self::default()
        }
    }

    /// Returns the time to be kept between two attempts, if any.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.interval
    }

    pub(crate) fn overloaded_at(&self) -> Option<Timestamp> {
        self.overloaded_at
    }

    /// Returns `true` if an attempt was under way already when the receiver said that it had too
    /// much: what becomes of it says nothing new.
    pub(crate) fn was_under_way(&self, started_at: Timestamp) -> bool {
        self.overloaded_at.is_some_and(|at| started_at <= at)
    }

    /// Returns `true` if nothing was taken since the receiver had too much: it is out of order
    /// rather than busy.
    pub(crate) fn took_nothing(&self) -> bool {
        self.overloaded_at.is_some() && self.taken == 0
    }

    /// Notes that an attempt was taken.
    pub(crate) fn on_taken(&mut self, started_at: Timestamp, now: Timestamp) {
        if self.was_under_way(started_at) {
            return;
        }
        self.leave_idle_time_out(started_at, now);
        let counted_for = now.since(self.since);
        if counted_for > COUNTED_FOR * 4 {
            (self.since, self.taken) = (started_at, 0);
        } else if counted_for > COUNTED_FOR && self.taken > FEW {
            // What was long ago counts ever less.
            self.since = now.before(counted_for / 2);
            self.taken /= 2;
        }
        self.taken = self.taken.saturating_add(1);
        self.end_drought(now);
        if let Some(interval) = self.interval {
            self.grow(interval, now);
        }
    }

    /// Leaves the time out of what is counted in which there was nothing to send: it says nothing of the receiver, and with few
    /// events it would be nearly all of the time.
    fn leave_idle_time_out(&mut self, started_at: Timestamp, now: Timestamp) {
        let waited = started_at.since(self.last_at);
        let idle = waited.saturating_sub(self.interval.unwrap_or_default());
        if idle > IDLE {
            self.since = (self.since + idle).min(now);
        }
        self.last_at = self.last_at.max(now);
    }

    /// Becomes a little faster after every few that went well; twice as fast each time where it is
    /// far beyond what was too much once, and in the end as fast as may be.
    fn grow(&mut self, interval: Duration, now: Timestamp) {
        self.well += 1;
        if self.well < FASTER_AFTER || now.since(self.changed_at) < FASTER_EVERY {
            return;
        }
        (self.well, self.changed_at) = (0, now);
        let beyond = interval * 2 < self.too_fast;
        let interval = if beyond {
            interval / 2
        } else {
            interval.mul_f64(FASTER)
        };
        self.interval = Some(interval).filter(|interval| *interval >= NOT_WORTH_KEEPING);
    }

    /// Notes that an attempt was too much. The pace is changed only where that
    /// [says something new](Self::was_under_way), and where it is about how many come in a time.
    pub(crate) fn on_overload(&mut self, refused: Refused, now: Timestamp) {
        if self.was_under_way(refused.started_at) {
            return;
        }
        self.leave_idle_time_out(refused.started_at, now);
        // A 503 says that the receiver is out of order for a while: it is held for that long, and what it takes afterwards is
        // no slower.
        if refused.status == 429 {
            match refused.until {
                Some(until) => self.slow_down(until.max(now)),
                None => self.slow_down_unasked(),
            }
        }
        let until = refused.until.unwrap_or(now).max(now);
        self.overloaded_at = Some(now);
        (self.since, self.taken, self.last_at) = (until, 0, until);
        (self.changed_at, self.well) = (until, 0);
    }

    /// Finds out the pace of a receiver that has said when it takes more.
    fn slow_down(&mut self, until: Timestamp) {
        let measured = self.measured(until);
        let interval = match (self.interval, measured) {
            // It went well for a while, so that a little slower is slow enough.
            (Some(interval), _) if self.taken >= SETTLED => Some(interval.mul_f64(SLOWER)),
            (Some(interval), Some(measured)) => Some(interval.mul_f64(SLOWER).max(measured)),
            (interval, None) => interval,
            (None, measured) => measured,
        };
        self.too_fast = self.interval.or(interval).unwrap_or_default();
        self.interval = interval.map(|interval| interval.min(SLOWEST));
        self.drought = None;
    }

    /// Tries ever more rarely when a receiver takes more, which has not said so: how long it takes
    /// none belongs to its pace.
    fn slow_down_unasked(&mut self) {
        let settled = self.taken >= SETTLED;
        match self.interval {
            _ if self.taken == 0 => {}
            Some(interval) if settled => {
                self.drought = Some(Drought::Then(interval.mul_f64(SLOWER)));
            }
            _ => self.drought = Some(Drought::Since(self.since, self.taken)),
        }
        let interval = match self.interval {
            // Once is no habit.
            None if self.overloaded_at.is_none() => None,
            None => Some(FIRST),
            Some(interval) if settled => Some(interval.mul_f64(SLOWER)),
            Some(interval) => Some(interval * 2),
        };
        self.too_fast = self.interval.or(interval).unwrap_or_default();
        self.interval = interval.map(|interval| interval.min(SLOWEST_UNASKED));
    }

    /// Goes on at the receiver's pace when it takes something again.
    fn end_drought(&mut self, now: Timestamp) {
        let (Some(drought), Some(_)) = (self.drought.take(), self.interval) else {
            return;
        };
        let interval = match drought {
            Drought::Then(interval) => interval,
            Drought::Since(since, taken) => (now.since(since) / taken.max(1)).mul_f64(BELOW),
        };
        let interval = interval.min(SLOWEST_UNASKED);
        (self.interval, self.too_fast) = (Some(interval), interval);
    }

    /// Returns the time that the receiver took for each since counting began, the wait that it asks
    /// for included, and a little more; `None` if it has taken nothing.
    fn measured(&self, until: Timestamp) -> Option<Duration> {
        let lasted = until.since(self.since);
        (self.taken > 0).then(|| (lasted / self.taken).mul_f64(BELOW))
    }

    /// Forgets all of it a while after the last overload. Returns `true` if that is now.
    pub(crate) fn on_wake(&mut self, now: Timestamp) -> bool {
        let over = |at: Timestamp| now.since(at) >= FORGOTTEN_AFTER;
        let forgets = self.overloaded_at.is_some_and(over);
        if forgets {
            *self = Self::default();
        }
        forgets
    }
}

/// For how long is counted before what was counted is halved. After four times as long without
/// anything, counting begins again.
const COUNTED_FOR: Duration = Duration::from_secs(5);

/// So few are not halved.
const FEW: u32 = 10;

/// A pause between two attempts that is longer, and that no pace asks for, is one in which there was nothing to send.
const IDLE: Duration = Duration::from_millis(100);

/// After how many that went well the pace changes, how often at most, and to which share of the time
/// between two. A receiver that lets some be saved up has time to say that it is too fast.
const FASTER_AFTER: u32 = 20;
const FASTER_EVERY: Duration = Duration::from_secs(1);
const FASTER: f64 = 0.95;

/// How much longer the time between two gets by an overload.
const SLOWER: f64 = 1.15;

/// How much longer than what was measured the time between two is.
const BELOW: f64 = 1.05;

/// After so many that were taken, the pace was nearly right.
const SETTLED: u32 = 10;

/// The time between two after a 429 that says nothing else, of a receiver of which nothing else is known.
const FIRST: Duration = Duration::from_secs(1);

/// The longest time between two, where receivers name a time for their pauses and where they do not.
const SLOWEST: Duration = Duration::from_mins(1);
const SLOWEST_UNASKED: Duration = Duration::from_secs(10);

/// With less between two, they need no spreading.
const NOT_WORTH_KEEPING: Duration = Duration::from_millis(2);

/// After how long without an overload it is as if there had been none.
pub(crate) const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);

    fn after(millis: u64) -> Timestamp {
        NOW + Duration::from_millis(millis)
    }

    fn refused(at: u64, until: Option<u64>) -> Refused {
        Refused {
            started_at: after(at),
            status: 429,
            until: until.map(after),
        }
    }

    fn interval(pace: &Pace) -> u128 {
        pace.interval().unwrap().as_millis()
    }

    #[test]
    fn the_pace_is_what_was_taken_in_the_time_that_ends_with_the_pause() {
        let mut pace = Pace::default();
        (0..5).for_each(|_| pace.on_taken(NOW, NOW));
        assert_eq!(pace.interval(), None, "nobody has asked for one");
        pace.on_overload(refused(0, Some(2_000)), NOW);
        assert_eq!(
            interval(&pace),
            420,
            "five in two seconds, and a little less"
        );
        pace.on_overload(refused(0, Some(1_900)), NOW);
        assert_eq!(interval(&pace), 420, "it was under way already");
    }

    #[test]
    fn it_grows_slowly_to_where_it_was_too_much_and_fast_beyond() {
        let mut pace = Pace::known(Some(Duration::from_millis(400)), NOW);
        let mut steps = Vec::new();
        for number in 0..2_000 {
            let now = after(number * 60 + 1);
            pace.on_taken(now, now);
            if number % 20 == 19 {
                steps.extend(pace.interval().map(|interval| interval.as_millis()));
            }
        }
        assert_eq!(steps[..3], [380, 361, 342]);
        assert_eq!(steps[11..], [216, 205, 195, 97, 48, 24, 12, 6, 3]);
        assert_eq!(pace.interval(), None, "as fast as may be");
    }

    #[test]
    fn a_little_slower_where_it_went_well_for_long_and_much_where_it_did_not() {
        let mut pace = Pace::known(Some(Duration::from_millis(100)), NOW);
        (1..=15).for_each(|at| pace.on_taken(after(at), after(at)));
        pace.on_overload(refused(20, Some(30)), after(20));
        assert_eq!(interval(&pace), 115);
        pace.on_taken(after(31), after(31));
        pace.on_overload(refused(40, Some(1_030)), after(40));
        assert_eq!(interval(&pace), 1_050, "one a second is what it takes");
        pace.on_overload(refused(50, None), after(50));
        assert_eq!(interval(&pace), 2_100, "nothing was taken at all");
        pace.on_taken(after(60), after(60));
        assert_eq!(
            interval(&pace),
            2_100,
            "and nothing is known of how much may be"
        );
    }

    /// A receiver that got an event every few seconds and asked for one pause was then sent a backlog at the rate at which the
    /// events had come, one every few seconds.
    #[test]
    fn time_in_which_there_was_nothing_to_send_says_nothing_of_the_pace() {
        let mut pace = Pace::default();
        for number in 0..4 {
            let at = 4_000 * number;
            pace.on_taken(after(at), after(at + 50));
        }
        let mut later = pace;
        pace.on_overload(refused(12_050, Some(13_100)), after(12_100));
        assert_eq!(interval(&pace), 328, "four in 0.2 s, and a pause of 1.05 s");
        later.on_overload(refused(17_050, Some(18_100)), after(17_100));
        assert_eq!(interval(&later), 328);
        // And while a pace is kept, what it asks for is no idle time.
        let mut paced = Pace::known(Some(Duration::from_secs(2)), NOW);
        (1..=4).for_each(|number| paced.on_taken(after(2_000 * number), after(2_000 * number)));
        paced.on_overload(refused(10_000, Some(20_000)), after(10_000));
        assert_eq!(interval(&paced), 5_250, "four in twenty seconds");
    }

    /// A receiver that was out of order for a second now and then, and fast otherwise, was sent its backlog at one every
    /// 1.6 s for minutes.
    #[test]
    fn a_503_says_nothing_of_the_pace_with_a_time_or_without() {
        for until in [None, Some(1_000)] {
            let mut pace = Pace::default();
            pace.on_taken(NOW, NOW);
            let refused = Refused {
                status: 503,
                ..refused(0, until)
            };
            pace.on_overload(refused, NOW);
            assert_eq!(pace.interval(), None);
            assert!(pace.took_nothing());
        }
    }

    #[test]
    fn a_single_429_without_a_time_slows_nothing_down() {
        let mut pace = Pace::default();
        (0..100).for_each(|at| pace.on_taken(after(at), after(at)));
        pace.on_overload(refused(100, None), after(100));
        assert_eq!(pace.interval(), None);
        pace.on_overload(refused(101, None), after(101));
        assert_eq!(interval(&pace), 1_000, "nothing was taken since");
        pace.on_overload(refused(1_100, None), after(1_100));
        assert_eq!(interval(&pace), 2_000);
        pace.on_taken(after(3_100), after(3_100));
        assert_eq!(
            interval(&pace),
            32,
            "a hundred in that time, and a little less"
        );
    }

    #[test]
    fn ten_minutes_later_it_is_forgotten() {
        let mut pace = Pace::known(Some(Duration::from_secs(1)), NOW);
        assert!(!pace.on_wake(NOW + Duration::from_secs(599)));
        assert!(pace.on_wake(NOW + Duration::from_mins(10)));
        assert_eq!(pace, Pace::default());
        assert!(!pace.on_wake(NOW + Duration::from_mins(10)));
    }
}
