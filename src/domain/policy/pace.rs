//! The pace at which a receiver takes deliveries, measured after it has reported an overload.
//!
//! A 429 concerns the number of attempts in a period. The receiver's pace is the number of attempts
//! it took since its last overload, over that time plus the wait that it asks for. From then on
//! attempts are sent at slightly below that pace, and a little faster after every few successes.
//! See `docs/adr/0014-pace-after-an-overload.md`.

use std::time::Duration;

use crate::domain::value::time::Timestamp;

/// What an endpoint's attempts have revealed about its receiver's pace. Until the receiver reports
/// an overload, attempts are only counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Time between two attempts; `None` while nothing needs to be slowed down.
    interval: Option<Duration>,
    /// The interval that last overloaded the receiver.
    too_fast: Duration,
    /// When the receiver last reported an overload.
    overloaded_at: Option<Timestamp>,
    /// Start of the count, and number of attempts taken since.
    since: Timestamp,
    taken: u32,
    /// When the last counted attempt was answered.
    last_at: Timestamp,
    /// Number of successes since the pace last changed, and when it changed.
    well: u32,
    changed_at: Timestamp,
    /// Set while the receiver takes nothing and has not said for how long.
    drought: Option<Drought>,
}

/// The pace to use once the receiver takes an attempt again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drought {
    /// To be measured: the receiver took this many attempts since this instant.
    Since(Timestamp, u32),
    /// Known already.
    Then(Duration),
}

/// An attempt that the receiver refused because of an overload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) started_at: Timestamp,
    pub(crate) status: u16,
    /// End of the pause that the receiver asked for.
    pub(crate) until: Option<Timestamp>,
}

impl Pace {
    /// Returns the pace as restored after a restart.
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

    /// Returns the time to keep between two attempts, if any.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.interval
    }

    pub(crate) fn overloaded_at(&self) -> Option<Timestamp> {
        self.overloaded_at
    }

    /// Returns `true` if an attempt that started at `started_at` was already in flight at the last
    /// overload: its outcome reveals nothing new.
    pub(crate) fn was_under_way(&self, started_at: Timestamp) -> bool {
        self.overloaded_at.is_some_and(|at| started_at <= at)
    }

    /// Returns `true` if the receiver has taken nothing since its overload: it is out of order
    /// rather than busy.
    pub(crate) fn took_nothing(&self) -> bool {
        self.overloaded_at.is_some() && self.taken == 0
    }

    /// Records that the receiver took an attempt.
    pub(crate) fn on_taken(&mut self, started_at: Timestamp, now: Timestamp) {
        if self.was_under_way(started_at) {
            return;
        }
        self.leave_idle_time_out(started_at, now);
        let counted_for = now.since(self.since);
        if counted_for > COUNTED_FOR * 4 {
            (self.since, self.taken) = (started_at, 0);
        } else if counted_for > COUNTED_FOR && self.taken > FEW {
            // Halve the count, so that old attempts weigh ever less.
            self.since = now.before(counted_for / 2);
            self.taken /= 2;
        }
        self.taken = self.taken.saturating_add(1);
        self.end_drought(now);
        if let Some(interval) = self.interval {
            self.grow(interval, now);
        }
    }

    /// Excludes time in which there was nothing to send. It reveals nothing about the receiver, and
    /// with few events it would be nearly all of the time.
    fn leave_idle_time_out(&mut self, started_at: Timestamp, now: Timestamp) {
        let waited = started_at.since(self.last_at);
        let idle = waited.saturating_sub(self.interval.unwrap_or_default());
        if idle > IDLE {
            self.since = (self.since + idle).min(now);
        }
        self.last_at = self.last_at.max(now);
    }

    /// Shortens the interval after enough successes: slightly at first, to half once the interval
    /// is far below the one that overloaded the receiver. Finally drops it altogether.
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

    /// Records an overload. Changes the pace only on a 429, and only if the attempt [was not in
    /// flight already](Self::was_under_way) at the last one.
    pub(crate) fn on_overload(&mut self, refused: Refused, now: Timestamp) {
        if self.was_under_way(refused.started_at) {
            return;
        }
        self.leave_idle_time_out(refused.started_at, now);
        // A 503 means that the receiver is out of order for a while. It is held for that long; its
        // pace afterwards is unchanged.
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

    /// Measures the pace of a receiver whose answer names the end of its pause.
    fn slow_down(&mut self, until: Timestamp) {
        let measured = self.measured(until);
        let interval = match (self.interval, measured) {
            // After enough successes the pace was nearly right, so a small step is enough.
            (Some(interval), _) if self.taken >= SETTLED => Some(interval.mul_f64(SLOWER)),
            (Some(interval), Some(measured)) => Some(interval.mul_f64(SLOWER).max(measured)),
            (interval, None) => interval,
            (None, measured) => measured,
        };
        self.too_fast = self.interval.or(interval).unwrap_or_default();
        self.interval = interval.map(|interval| interval.min(SLOWEST));
        self.drought = None;
    }

    /// Slows down for a receiver whose answer names no pause. The time in which it takes nothing
    /// counts into its pace.
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
            // A single 429 is no pattern yet.
            None if self.overloaded_at.is_none() => None,
            None => Some(FIRST),
            Some(interval) if settled => Some(interval.mul_f64(SLOWER)),
            Some(interval) => Some(interval * 2),
        };
        self.too_fast = self.interval.or(interval).unwrap_or_default();
        self.interval = interval.map(|interval| interval.min(SLOWEST_UNASKED));
    }

    /// Resumes at the receiver's pace once it takes an attempt again.
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

    /// Returns the average time per attempt taken since counting began, including the requested
    /// wait and a margin of 5%; `None` if none was taken.
    fn measured(&self, until: Timestamp) -> Option<Duration> {
        let lasted = until.since(self.since);
        (self.taken > 0).then(|| (lasted / self.taken).mul_f64(BELOW))
    }

    /// Forgets the pace once `FORGOTTEN_AFTER` has passed since the last overload. Returns `true`
    /// if that happens now.
    pub(crate) fn on_wake(&mut self, now: Timestamp) -> bool {
        let over = |at: Timestamp| now.since(at) >= FORGOTTEN_AFTER;
        let forgets = self.overloaded_at.is_some_and(over);
        if forgets {
            *self = Self::default();
        }
        forgets
    }
}

/// How long attempts are counted before the count is halved. After four times this period counting
/// restarts.
const COUNTED_FOR: Duration = Duration::from_secs(5);

/// Counts up to this size are not halved.
const FEW: u32 = 10;

/// A longer gap between two attempts, beyond the pace's own interval, means that there was nothing
/// to send.
const IDLE: Duration = Duration::from_millis(100);

/// After `FASTER_AFTER` successes, at most once per `FASTER_EVERY`, the interval is multiplied by
/// `FASTER`. A receiver with a token bucket gets time to object.
const FASTER_AFTER: u32 = 20;
const FASTER_EVERY: Duration = Duration::from_secs(1);
const FASTER: f64 = 0.95;

/// Factor on the interval after an overload.
const SLOWER: f64 = 1.15;

/// Factor on the measured interval.
const BELOW: f64 = 1.05;

/// After this many attempts taken, the pace was nearly right.
const SETTLED: u32 = 10;

/// The interval after a 429 without `Retry-After` from a receiver whose pace is unknown.
const FIRST: Duration = Duration::from_secs(1);

/// The longest intervals: for receivers whose answers name a pause, and for those whose answers do
/// not.
const SLOWEST: Duration = Duration::from_mins(1);
const SLOWEST_UNASKED: Duration = Duration::from_secs(10);

/// Shorter intervals are not worth spreading attempts for.
const NOT_WORTH_KEEPING: Duration = Duration::from_millis(2);

/// How long after its last overload a receiver's pace is forgotten.
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

    /// A receiver got an event every few seconds and asked for one pause. Its backlog was then sent
    /// at the rate of the events, one every few seconds.
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
        // The interval that a pace asks for is not idle time.
        let mut paced = Pace::known(Some(Duration::from_secs(2)), NOW);
        (1..=4).for_each(|number| paced.on_taken(after(2_000 * number), after(2_000 * number)));
        paced.on_overload(refused(10_000, Some(20_000)), after(10_000));
        assert_eq!(interval(&paced), 5_250, "four in twenty seconds");
    }

    /// A receiver was out of order for a second now and then, and fast otherwise. Its backlog was
    /// sent at one every 1.6 s for minutes.
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

    /// Takes one attempt every `gap` milliseconds, until `last` inclusive.
    fn taken(pace: &mut Pace, gap: u64, last: u64) {
        for at in (gap..=last).step_by(usize::try_from(gap).unwrap()) {
            pace.on_taken(after(at), after(at));
        }
    }

    #[test]
    fn the_count_is_halved_after_more_than_five_seconds() {
        let mut pace = Pace::default();
        pace.on_taken(NOW, NOW);
        taken(&mut pace, 100, 5_000);
        let mut later = pace;
        pace.on_overload(refused(5_000, Some(10_200)), after(5_000));
        assert_eq!(interval(&pace), 210, "51 in 10.2 s");
        later.on_taken(after(5_100), after(5_100));
        later.on_overload(refused(5_100, Some(10_350)), after(5_100));
        assert_eq!(interval(&later), 315, "26 in 7.8 s");
    }

    #[test]
    fn a_count_of_ten_is_not_halved_and_settles_the_pace() {
        let mut pace = Pace::known(Some(Duration::from_millis(600)), NOW);
        taken(&mut pace, 600, 6_600);
        let mut later = pace;
        pace.on_overload(refused(6_600, Some(20_000)), after(6_600));
        assert_eq!(interval(&pace), 690, "11 were taken");
        later.on_taken(after(7_200), after(7_200));
        later.on_overload(refused(7_200, Some(20_000)), after(7_200));
        assert_eq!(interval(&later), 2_870, "6 in 16.4 s");
    }

    #[test]
    fn a_count_begins_again_after_more_than_twenty_seconds() {
        let of = |last| {
            let mut pace = Pace::known(Some(Duration::from_secs(2)), NOW);
            taken(&mut pace, 2_000, last);
            pace.on_overload(refused(last, Some(60_000)), after(last));
            interval(&pace)
        };
        assert_eq!(of(20_000), 2_300, "ten were taken in twenty seconds");
        assert_eq!(of(22_000), 39_900, "one was taken, and then none for 38 s");
    }

    #[test]
    fn it_grows_at_most_once_a_second() {
        let mut pace = Pace::known(Some(Duration::from_millis(100)), NOW);
        taken(&mut pace, 40, 960);
        assert_eq!(interval(&pace), 100, "24 were taken, in less than a second");
        pace.on_taken(after(1_000), after(1_000));
        assert_eq!(interval(&pace), 95);
        let mut pace = Pace::known(Some(Duration::from_millis(100)), NOW);
        pace.too_fast = Duration::from_millis(200);
        taken(&mut pace, 50, 1_000);
        assert_eq!(
            interval(&pace),
            95,
            "half is not far below what was too fast"
        );
    }

    #[test]
    fn after_a_drought_it_goes_on_as_before_if_it_had_settled() {
        let mut settled = Pace::known(Some(Duration::from_millis(100)), NOW);
        let mut unsettled = settled;
        (1..=15).for_each(|at| settled.on_taken(after(at), after(at)));
        settled.on_overload(refused(20, None), after(20));
        assert_eq!(interval(&settled), 115);
        settled.on_taken(after(10_000), after(10_000));
        assert_eq!(interval(&settled), 115);
        (1..=5).for_each(|at| unsettled.on_taken(after(at), after(at)));
        unsettled.on_overload(refused(20, None), after(20));
        assert_eq!(interval(&unsettled), 200);
        unsettled.on_taken(after(1_000), after(1_000));
        assert_eq!(interval(&unsettled), 210, "five in a second");
    }
}
