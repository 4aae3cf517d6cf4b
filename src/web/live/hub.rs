//! The actor that looks for all listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{
    Actor, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, ResponseActFuture,
};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::held::{End, Held, Latest};
use super::look::{Seen, look};
use super::stream::Listener;
use super::topic::Topic;
use super::{SAMPLE, TICK};
use crate::actor::clock::Clock;
use crate::domain::endpoint::status::DeliveryReport;
use crate::engine::{Engine, OperateError, Updates};
use crate::web::model::live::AttemptRow;
use crate::web::problems::{Code, Problem};

/// Looks at what is watched, and hands it to those who watch it.
pub(super) struct Hub {
    engine: Engine,
    max_listeners: usize,
    listeners: Vec<Watcher>,
    topics: BTreeMap<Topic, Watched>,
    /// Whether the next tick is coming.
    ticking: bool,
}

/// The hub's side of a listener.
struct Watcher {
    topics: BTreeSet<Topic>,
    held: Arc<Mutex<Held>>,
    wake: mpsc::Sender<()>,
    since: Instant,
    ending: bool,
}

/// A topic that is watched.
#[derive(Default)]
struct Watched {
    /// What was shown last.
    shown: Option<Latest>,
    sample: Option<Sample>,
}

/// Attempts of a topic, and the number of those left out.
struct Sample {
    reports: Updates<DeliveryReport>,
    left_out: Arc<AtomicU64>,
}

/// Watches topics: route → hub.
#[derive(Message)]
#[rtype(result = "Result<Listener, Problem>")]
pub(super) struct Listen {
    pub(super) topics: BTreeSet<Topic>,
}

impl Hub {
    pub(super) fn new(engine: Engine, max_listeners: usize) -> Self {
        Self {
            engine,
            max_listeners,
            listeners: Vec::new(),
            topics: BTreeMap::new(),
            ticking: false,
        }
    }

    /// Hands out what has been found, if it is news.
    fn show(&mut self, topic: Topic, found: Result<Seen, Problem>) {
        let latest = match found {
            Ok(seen) => match seen.state {
                Some(state) => Latest::State(state),
                None => return,
            },
            Err(problem) if problem.code().status() == 404 => Latest::Gone,
            // The store cannot answer at present; the overview says so. The next tick asks again.
            Err(_) => return,
        };
        let watched = self.topics.entry(topic).or_default();
        if watched.shown.as_ref() == Some(&latest) {
            return;
        }
        watched.shown = Some(latest.clone());
        self.each_of(topic, |held| held.put(topic, latest.clone()));
    }

    /// Changes what is held for each listener to a topic.
    fn each_of(&self, topic: Topic, change: impl Fn(&mut Held)) {
        let listeners = self.listeners.iter();
        for listener in listeners.filter(|one| one.topics.contains(&topic)) {
            listener.hold(&change);
        }
    }

    /// Hands out the attempts of a topic since the last tick.
    fn show_attempts(&mut self, topic: Topic) {
        let sample = self.topics.get_mut(&topic);
        let Some(sample) = sample.and_then(|watched| watched.sample.as_mut()) else {
            return;
        };
        let reports = std::iter::from_fn(|| sample.reports.try_next()).take(SAMPLE);
        let rows: Vec<_> = reports
            .filter_map(|report| AttemptRow::new(&report).ok().map(Arc::new))
            .collect();
        let left_out = sample.left_out.swap(0, Ordering::Relaxed);
        if rows.is_empty() && left_out == 0 {
            return;
        }
        self.each_of(topic, |held| held.add(topic, &rows, left_out));
    }

    /// Ends streams that are old, and forgets listeners that are gone and topics that nobody
    /// watches.
    fn tidy_up(&mut self) {
        let now = Clock::instant();
        for listener in &mut self.listeners {
            if now.duration_since(listener.since) >= LONGEST {
                listener.end(End::Renew);
            }
        }
        self.listeners
            .retain(|listener| !listener.ending && !listener.wake.is_closed());
        let listeners = &self.listeners;
        self.topics
            .retain(|topic, _| listeners.iter().any(|one| one.topics.contains(topic)));
    }

    fn end_all(&mut self) {
        for listener in &mut self.listeners {
            listener.end(End::ShuttingDown);
        }
        self.listeners.clear();
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.tidy_up();
        self.ticking = !self.listeners.is_empty();
        if !self.ticking {
            return;
        }
        let (engine, topics) = (self.engine.clone(), self.topics.keys().copied());
        let looks: Vec<_> = topics.collect();
        let look_at_all = async move {
            if is_ending(&engine).await {
                return None;
            }
            let looks = stream::iter(looks).map(|topic| {
                let engine = &engine;
                async move { (topic, in_time(look(engine, topic)).await) }
            });
            Some(looks.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await)
        };
        let shown = wrap_future::<_, Self>(look_at_all).map(|found, hub, ctx| {
            match found {
                None => hub.end_all(),
                Some(found) => {
                    for (topic, found) in found {
                        hub.show(topic, found);
                        hub.show_attempts(topic);
                    }
                }
            }
            ctx.run_later(TICK, Self::tick);
        });
        ctx.spawn(shown);
    }

    /// Adds a listener, and returns its other side.
    fn add(&mut self, topics: BTreeSet<Topic>) -> Listener {
        let (wake, woken) = mpsc::channel(1);
        let held = Arc::default();
        self.listeners.push(Watcher {
            topics,
            held: Arc::clone(&held),
            wake,
            since: Clock::instant(),
            ending: false,
        });
        Listener { held, woken }
    }
}

impl Watcher {
    /// Changes what is held for the listener, and wakes it.
    fn hold(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.held.lock());
        // If there is no room, it is awake already; if it is gone, the next tick forgets it.
        let _ = self.wake.try_send(());
    }

    fn end(&mut self, end: End) {
        self.ending = true;
        self.hold(|held| held.end(end));
    }
}

impl Actor for Hub {
    type Context = Context<Self>;
}

impl Handler<Listen> for Hub {
    type Result = ResponseActFuture<Self, Result<Listener, Problem>>;

    fn handle(&mut self, Listen { topics }: Listen, _: &mut Context<Self>) -> Self::Result {
        self.tidy_up();
        let full = self.listeners.len() >= self.max_listeners;
        // Its place is taken from now on, and free again if a topic is unknown.
        let listener = (!full).then(|| self.add(topics.clone()));
        let sampled = self.topics.iter().filter(|(_, one)| one.sample.is_some());
        let sampled: BTreeSet<_> = sampled.map(|(topic, _)| *topic).collect();
        let (engine, max) = (self.engine.clone(), self.max_listeners);
        let begin = async move {
            let listener = listener.ok_or_else(|| too_many(max))?;
            if is_ending(&engine).await {
                return Err(OperateError::Stopped.into());
            }
            let mut found = Vec::new();
            for topic in topics {
                let seen = in_time(look(&engine, topic)).await?;
                let sample = if topic.has_attempts() && !sampled.contains(&topic) {
                    let asked = engine.sample_deliveries(seen.url.clone(), SAMPLE).await?;
                    let (reports, left_out) = asked;
                    Some(Sample { reports, left_out })
                } else {
                    None
                };
                found.push((topic, seen, sample));
            }
            Ok((listener, found))
        };
        let begun = wrap_future::<_, Self>(begin).map(|begun: Result<_, Problem>, hub, ctx| {
            let (listener, found) = begun?;
            for (topic, seen, sample) in found {
                let state = seen.state.clone();
                hub.show(topic, Ok(seen));
                let watched = hub.topics.entry(topic).or_default();
                watched.sample = watched.sample.take().or(sample);
                // What is no news to others is news to this one.
                if let Some(state) = state {
                    listener.held.lock().begin(topic, state);
                }
            }
            if !hub.ticking {
                hub.ticking = true;
                ctx.run_later(TICK, Self::tick);
            }
            Ok(listener)
        });
        Box::pin(begun)
    }
}

/// Gives up a look that takes too long, so that one topic cannot hold up the others.
async fn in_time(look: impl Future<Output = Result<Seen, Problem>>) -> Result<Seen, Problem> {
    let late = |_| {
        let detail = "the delivery store does not answer at present";
        Problem::new(Code::StoreUnavailable, detail).retry_after(LATE)
    };
    timeout(LATE, look).await.map_err(late)?
}

/// Returns `true` if the engine has stopped or is about to.
async fn is_ending(engine: &Engine) -> bool {
    engine.status().await.map_or(true, |status| status.draining)
}

fn too_many(max: usize) -> Problem {
    let detail = format!("{max} streams are open, which is the most; close one first");
    Problem::new(Code::TooManyListeners, detail).retry_after(Duration::from_secs(5))
}

/// The longest that a look may take.
const LATE: Duration = Duration::from_secs(5);

/// How many topics are looked at at once.
const AT_ONCE: usize = 8;

/// How long a stream lasts. The client connects again, so that its credentials are checked again.
const LONGEST: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// A tick waits for all its looks: a store that hangs would stop every stream.
    #[actix_rt::test]
    async fn a_look_that_does_not_end_is_given_up() {
        tokio::time::pause();
        let hanging = in_time(std::future::pending());
        let given_up = timeout(Duration::from_mins(1), hanging).await;
        let problem = given_up.expect("within a minute").err().unwrap();
        assert_eq!(problem.code(), Code::StoreUnavailable);
    }
}
