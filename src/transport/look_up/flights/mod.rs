//! Scheduling of lookups.
//!
//! Lookups are single-flight: each name has at most one, and all callers share its answer. The
//! number of lookups is bounded, and unanswered ones leave room for others:
//!
//! - Each lookup has one second of its own; after that only a few may continue.
//! - Each zone may have a limited number under way.
//! - Names that were found before come first, with slots reserved for them.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::cache::Cache;
use super::{Answer, LookUp, LookUpFound, Question};

/// Answers each question from the cache, from a lookup under way, or from a new one.
pub(super) struct Flights<L> {
    look_up: L,
    cache: Cache,
    /// The callers of each name, whether its lookup is under way or queued.
    callers: HashMap<String, Vec<oneshot::Sender<Answer>>>,
    under_way: FuturesUnordered<LocalBoxFuture<'static, FlightStep>>,
    zones: HashMap<String, Zone>,
    total: Load,
    /// The number of questions ever queued; it gives each its place in the queue.
    queued: u64,
}

/// The lookups of one zone, under way and queued.
#[derive(Default)]
struct Zone {
    load: Load,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    name: String,
    /// `true` if the last lookup of the name found it.
    proven: bool,
    /// Its place in the queue of all names.
    number: u64,
}

impl Waiting {
    /// Returns the limit of young lookups below which this one may start.
    fn slots(&self) -> usize {
        if self.proven { MAX_YOUNG } else { MAX_UNPROVEN }
    }
}

#[derive(Clone, Copy, Default)]
struct Load {
    /// Lookups in their first second.
    young: usize,
    /// Lookups past their first second.
    slow: usize,
}

/// A step of a lookup under way.
enum FlightStep {
    /// It is one second old and unanswered.
    Slow(String, LocalBoxFuture<'static, io::Result<LookUpFound>>),
    Ended {
        name: String,
        result: io::Result<LookUpFound>,
        slow: bool,
    },
}

enum Happened {
    Asked(Question),
    Stepped(FlightStep),
    NobodyIsLeft,
}

impl<L: LookUp> Flights<L> {
    pub(super) fn new(look_up: L) -> Self {
        Self {
            look_up,
            cache: Cache::default(),
            callers: HashMap::new(),
            under_way: FuturesUnordered::new(),
            zones: HashMap::new(),
            total: Load::default(),
            queued: 0,
        }
    }

    /// Answers questions until every sender is dropped.
    pub(super) async fn run(mut self, mut questions: mpsc::UnboundedReceiver<Question>) {
        loop {
            match poll_fn(|cx| self.poll_happened(&mut questions, cx)).await {
                Happened::Asked(question) => self.asked(question),
                Happened::Stepped(FlightStep::Slow(name, look_up)) => {
                    self.became_slow(name, look_up);
                }
                Happened::Stepped(FlightStep::Ended { name, result, slow }) => {
                    self.ended_under_way(name, result, slow);
                }
                Happened::NobodyIsLeft => return,
            }
            while let Some(name) = self.next_to_begin() {
                self.begin(name);
            }
        }
    }

    fn poll_happened(
        &mut self,
        questions: &mut mpsc::UnboundedReceiver<Question>,
        cx: &mut Context<'_>,
    ) -> Poll<Happened> {
        if let Poll::Ready(Some(step)) = self.under_way.poll_next_unpin(cx) {
            return Poll::Ready(Happened::Stepped(step));
        }
        let asked = questions.poll_recv(cx);
        asked.map(|question| question.map_or(Happened::NobodyIsLeft, Happened::Asked))
    }

    fn asked(&mut self, Question { name, answer }: Question) {
        if let Some(known) = self.cache.get(&name, now()) {
            // The send fails only if the caller is gone.
            let _ = answer.send(known);
            return;
        }
        if let Some(callers) = self.callers.get_mut(&name) {
            callers.retain(|caller| !caller.is_closed());
            callers.push(answer);
            return;
        }
        self.callers.insert(name.clone(), vec![answer]);
        self.queued += 1;
        let proven = self.cache.was_found(&name);
        let zone = self.zones.entry(zone_of(&name).to_owned()).or_default();
        let waiting = Waiting {
            name,
            proven,
            number: self.queued,
        };
        let mut others = zone.waiting.iter();
        let first_unproven = others.position(|other| proven && !other.proven);
        let at = first_unproven.unwrap_or(zone.waiting.len());
        zone.waiting.insert(at, waiting);
    }

    /// Takes the name to look up next.
    ///
    /// Names found before come first, then names in the zone with the fewest young lookups, then
    /// names in queue order.
    fn next_to_begin(&mut self) -> Option<String> {
        let total = self.total.young;
        let may_begin = |zone: &&mut Zone| {
            let first = zone.waiting.front();
            let has_slot = first.is_some_and(|first| total < first.slots());
            has_slot && zone.load.young < MAX_YOUNG_OF_ZONE
        };
        let rank = |zone: &&mut Zone| {
            let first = zone.waiting.front();
            first.map(|first| (!first.proven, zone.load.young, first.number))
        };
        let zone = self.zones.values_mut().filter(may_begin).min_by_key(rank)?;
        zone.waiting.pop_front().map(|first| first.name)
    }

    fn begin(&mut self, name: String) {
        let callers = self.callers.get(&name);
        if callers.is_some_and(|callers| callers.iter().all(oneshot::Sender::is_closed)) {
            self.callers.remove(&name);
            self.load(&name, |_| {});
            return;
        }
        self.load(&name, |load| load.young += 1);
        let mut look_up = self.look_up.look_up(&name);
        let begun = async move {
            match timeout(GRACE, &mut look_up).await {
                Ok(result) => FlightStep::Ended {
                    name,
                    result,
                    slow: false,
                },
                Err(_) => FlightStep::Slow(name, look_up),
            }
        };
        self.under_way.push(begun.boxed_local());
    }

    fn became_slow(
        &mut self,
        name: String,
        look_up: LocalBoxFuture<'static, io::Result<LookUpFound>>,
    ) {
        self.load(&name, |load| load.young -= 1);
        let zone = self.zones.get(zone_of(&name));
        let slow_of_zone = zone.map_or(0, |zone| zone.load.slow);
        if self.total.slow >= MAX_SLOW || slow_of_zone >= MAX_SLOW_OF_ZONE {
            self.ended(name, Err(unanswered()));
            return;
        }
        self.load(&name, |load| load.slow += 1);
        let going_on = async move {
            let ended = timeout(LONGEST.saturating_sub(GRACE), look_up).await;
            FlightStep::Ended {
                name,
                result: ended.unwrap_or_else(|_| Err(unanswered())),
                slow: true,
            }
        };
        self.under_way.push(going_on.boxed_local());
    }

    fn ended_under_way(&mut self, name: String, result: io::Result<LookUpFound>, slow: bool) {
        if slow {
            self.load(&name, |load| load.slow -= 1);
        } else {
            self.load(&name, |load| load.young -= 1);
        }
        self.ended(name, result);
    }

    fn ended(&mut self, name: String, result: io::Result<LookUpFound>) {
        let ttl = result.as_ref().map_or(Duration::ZERO, |found| found.ttl);
        let answer: Answer = match result {
            Ok(found) => Ok(found.addresses.into()),
            Err(error) => Err(Arc::new(error)),
        };
        for caller in self.callers.remove(&name).unwrap_or_default() {
            let _ = caller.send(answer.clone());
        }
        self.cache.put(name, answer, ttl, now());
    }

    /// Changes the load of a name's zone and the total load. A zone without lookups is removed.
    fn load(&mut self, name: &str, change: impl Fn(&mut Load)) {
        change(&mut self.total);
        let zone = self.zones.entry(zone_of(name).to_owned()).or_default();
        change(&mut zone.load);
        if zone.load.young + zone.load.slow + zone.waiting.len() == 0 {
            self.zones.remove(zone_of(name));
        }
    }
}

/// Returns the last labels of a name, which probably share name servers.
///
/// These are two labels, or three below a country's second-level domain such as `co.uk`.
fn zone_of(name: &str) -> &str {
    let name = name.trim_end_matches('.');
    let mut labels = name.rsplit('.');
    let shared = labels.next().is_some_and(|country| country.len() == 2)
        && labels.next().is_some_and(|second| second.len() <= 3);
    let dot = name.rmatch_indices('.').nth(if shared { 2 } else { 1 });
    dot.map_or(name, |(at, _)| name.get(at + 1..).unwrap_or(name))
}

fn unanswered() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no name server answered")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the thread of look-ups has a runtime and a clock of its own"
)]
fn now() -> Instant {
    Instant::now()
}

/// How long a lookup counts as young, that is, as likely to be answered: long enough to send its
/// query three times.
const GRACE: Duration = Duration::from_secs(1);

/// The maximum duration of a lookup: the default connect timeout. A retry starts a new lookup.
const LONGEST: Duration = Duration::from_secs(5);

/// The maximum number of young lookups. With a name server that answers within 20 ms, this still
/// allows 1,600 lookups per second. Each lookup has up to six sockets for each of two name servers.
const MAX_YOUNG: usize = 48;

/// The number of young lookups below which one for a name not found before may start.
const MAX_UNPROVEN: usize = 32;

/// The young lookups that may belong to one zone.
const MAX_YOUNG_OF_ZONE: usize = 16;

/// The maximum number of lookups that continue after their first second.
const MAX_SLOW: usize = 16;

/// The slow lookups that may belong to one zone.
const MAX_SLOW_OF_ZONE: usize = 4;

#[cfg(test)]
mod tests;
