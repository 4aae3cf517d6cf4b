//! Which look-ups are under way.
//!
//! For a name there is one look-up at a time, whose answer is for all who wait. How many there are
//! is bounded, and those that are not answered leave room for the others: a look-up has one second
//! of its own, and then only few may go on; a zone begins only so many at once; and names that were
//! found before come first, with slots that no others take.

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

/// Answers questions, each by the cache, by a look-up that is under way, or by one of its own.
pub(super) struct Flights<L> {
    look_up: L,
    cache: Cache,
    /// Who waits for which name, whether its look-up has begun or not.
    callers: HashMap<String, Vec<oneshot::Sender<Answer>>>,
    under_way: FuturesUnordered<LocalBoxFuture<'static, FlightStep>>,
    zones: HashMap<String, Zone>,
    total: Load,
    /// How many questions have had to wait, ever: the order in which they do.
    queued: u64,
}

/// What is under way, and waits, below one domain.
#[derive(Default)]
struct Zone {
    load: Load,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    name: String,
    /// Whether the name was found the last time.
    proven: bool,
    /// Which it was of all that have waited.
    number: u64,
}

impl Waiting {
    /// Returns how many look-ups may be in their first second for this one to begin.
    fn slots(&self) -> usize {
        if self.proven { MAX_YOUNG } else { MAX_UNPROVEN }
    }
}

#[derive(Clone, Copy, Default)]
struct Load {
    /// Look-ups in their first second.
    young: usize,
    /// Look-ups that are older.
    slow: usize,
}

/// What comes of a look-up that is under way.
enum FlightStep {
    /// It is a second old and not answered.
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

    /// Answers questions until nobody can ask any more.
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
            // Whoever does not listen any more needs no answer.
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

    /// Takes the name whose look-up begins next: one that was found before, in the zone that has
    /// the fewest under way, that has waited longest.
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

    /// Changes what is under way, in the zone of a name and in all. A zone without is forgotten.
    fn load(&mut self, name: &str, change: impl Fn(&mut Load)) {
        change(&mut self.total);
        let zone = self.zones.entry(zone_of(name).to_owned()).or_default();
        change(&mut zone.load);
        if zone.load.young + zone.load.slow + zone.waiting.len() == 0 {
            self.zones.remove(zone_of(name));
        }
    }
}

/// Returns the last labels of a name, which are likely to be answered by the same name servers:
/// two, and three below a country's second level, such as `co.uk`.
fn zone_of(name: &str) -> &str {
    let name = name.trim_end_matches('.');
    let mut labels = name.rsplit('.');
    let shared = labels.next().is_some_and(|country| country.len() == 2)
        && labels.next().is_some_and(|second| second.len() <= 3);
    let dot = name.rmatch_indices('.').nth(if shared { 2 } else { 1 });
    dot.map_or(name, |(at, _)| name.get(at + 1..).unwrap_or(name))
}

fn unanswered() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no name server answers for it")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the thread of look-ups has a runtime and a clock of its own"
)]
fn now() -> Instant {
    Instant::now()
}

/// For how long a look-up counts as one that will be answered: three sendings of its question.
const GRACE: Duration = Duration::from_secs(1);

/// For how long a look-up may go on: the default connect timeout. A retry asks anew.
const LONGEST: Duration = Duration::from_secs(5);

/// How many look-ups may be in their first second. A name server that answers within 20 ms is asked
/// 1,600 times a second. Each look-up has up to six sockets for each of two name servers.
const MAX_YOUNG: usize = 48;

/// How many of them may begin for names that were not found before.
const MAX_UNPROVEN: usize = 32;

/// How many of them may belong to one zone.
const MAX_YOUNG_OF_ZONE: usize = 16;

/// How many look-ups may go on after their first second.
const MAX_SLOW: usize = 16;

/// How many of them may belong to one zone.
const MAX_SLOW_OF_ZONE: usize = 4;

#[cfg(test)]
mod tests;
