//! The receivers' view, and the promises that can be judged the moment a request begins.
//!
//! Broken promises are noted instead of causing a panic, because the engine would take a panic for
//! one of the transport's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_webhooks::testing::{ScriptedTransport, SimClock};
use actix_webhooks::transport::{Answer, Channel, Failure, Request, Sent, Transport};
use actix_webhooks::{
    AlertId, CompanyId, Endpoint, EndpointPolicy, Ordering, Timestamp, WebhookUrl,
};
use futures_util::future::LocalBoxFuture;

use super::world::is_transient;

/// All deliveries of one alert to one endpoint: the first, and one for each redelivery.
pub(crate) type Key = (WebhookUrl, AlertId);

/// A transport that notes all traffic of the scripted one.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) receivers: ScriptedTransport,
    pub(crate) ledger: Ledger,
}

/// The notes, shared by everything in a world.
#[derive(Clone)]
pub(crate) struct Ledger {
    clock: SimClock,
    begun: (Timestamp, tokio::time::Instant),
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) problems: Vec<String>,
    pub(crate) lines: Vec<String>,
    pub(crate) keys: BTreeMap<Key, Seen>,
    pub(crate) endpoints: BTreeMap<WebhookUrl, Bounds>,
    /// Endpoints that were removed at some time: they lost their settings, and their open
    /// deliveries were given up.
    pub(crate) removed: BTreeSet<WebhookUrl>,
    /// The endpoints that were resumed, when, and until when they had been held.
    pub(crate) resumed: Vec<(WebhookUrl, Timestamp, Timestamp)>,
    /// When the current engine was started.
    pub(crate) started_at: Option<Timestamp>,
}

/// The observations of one alert at one endpoint.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) starts: u32,
    /// Attempts that were made but are not on record, because the engine ended first.
    pub(crate) lost: u32,
    pub(crate) redelivered: u32,
    in_flight: u32,
    first_start: Option<Timestamp>,
    not_before: Option<Timestamp>,
    /// The latest time at which it is due, because a policy's own waits have jitter.
    due_by: Option<Timestamp>,
    /// `true` if the receiver asked for this wait.
    told_to_wait: bool,
    ended: bool,
}

/// The limits of an endpoint at this moment.
pub(crate) struct Bounds {
    pub(crate) max_in_flight: u32,
    pub(crate) paused: bool,
    pub(crate) ordering: Ordering,
    held_until: Option<Timestamp>,
    /// The end of the longest hold that its receiver asked for since the last resume, whichever
    /// engine received the request.
    asked_until: Option<Timestamp>,
    /// When it was last told to wait. An attempt that began at that same instant may have begun
    /// before.
    told_at: Option<Timestamp>,
    in_flight: u32,
    lanes: BTreeMap<Option<CompanyId>, u32>,
}

/// A request under way.
struct UnderWay {
    ledger: Ledger,
    key: Key,
    company: Option<CompanyId>,
    attempt: u32,
    finished: bool,
}

impl Ledger {
    #[expect(clippy::disallowed_methods, reason = "this is the test's own clock")]
    pub(crate) fn new(clock: &SimClock) -> Self {
        Self {
            clock: clock.clone(),
            begun: (clock.now(), tokio::time::Instant::now()),
            notes: Arc::default(),
        }
    }

    /// Returns the simulated time. The clock itself panics when time stands still, which must not
    /// happen in a destructor.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(
            self.begun.0.unix_millis()
                + i64::try_from(self.elapsed().as_millis()).unwrap_or(i64::MAX),
        )
    }

    fn elapsed(&self) -> Duration {
        self.begun.1.elapsed()
    }

    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn problem(&self, text: impl Into<String>) {
        let text = format!("at {:?}: {}", self.elapsed(), text.into());
        self.line(&format!("PROBLEM {text}"));
        self.notes().problems.push(text);
    }

    /// Adds a line to the trace.
    pub(crate) fn line(&self, text: &str) {
        let at = self.elapsed().as_millis();
        self.notes().lines.push(format!("{at:>9} {text}"));
    }

    fn begin(&self, request: &Request, endpoint: &WebhookUrl) -> UnderWay {
        let (alert, attempt) = (&request.alert, request.attempt);
        self.line(&format!(
            "-> {} {} {} attempt {attempt}",
            request.url, alert.event_id, alert.id
        ));
        let key = (endpoint.clone(), alert.id);
        let is_first_hop = request.url == *endpoint;
        let problems = self.notes().begin(
            &key,
            alert.company_id.clone(),
            attempt,
            is_first_hop,
            self.now(),
        );
        for problem in problems {
            self.problem(format!(
                "{problem}: {} of {} to {endpoint}, attempt {attempt}",
                alert.event_id, alert.rule_id
            ));
        }
        UnderWay {
            ledger: self.clone(),
            key,
            company: alert.company_id.clone(),
            attempt,
            finished: false,
        }
    }
}

impl Notes {
    fn begin(
        &mut self,
        key: &Key,
        company: Option<CompanyId>,
        attempt: u32,
        is_first_hop: bool,
        now: Timestamp,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, text: &str| {
            if !holds {
                problems.push(text.to_owned());
            }
        };
        let removed = self.removed.contains(&key.0);
        let bounds = self
            .endpoints
            .get_mut(&key.0)
            .expect("only endpoints of this world are called");
        let lane = bounds.lanes.entry(company).or_default();
        let seen = self.keys.entry(key.clone()).or_default();
        (bounds.in_flight, *lane, seen.in_flight) =
            (bounds.in_flight + 1, *lane + 1, seen.in_flight + 1);
        check(
            seen.in_flight <= 1 + seen.redelivered,
            "a delivery is attempted twice at once",
        );
        if !is_first_hop {
            return problems;
        }
        seen.starts += 1;
        check(
            (1..=4).contains(&attempt),
            "there are four attempts at most",
        );
        check(!bounds.paused, "a paused endpoint is called");
        check(
            bounds.held_until.is_none_or(|until| now >= until) || bounds.told_at == Some(now),
            "an endpoint is called before the time it asked for",
        );
        if !removed {
            check(
                bounds.in_flight <= bounds.max_in_flight,
                "more is in flight than the endpoint allows",
            );
            let in_lane = match bounds.ordering {
                Ordering::Fifo => bounds.in_flight,
                Ordering::FifoPerCompany => *lane,
                _ => 1,
            };
            check(in_lane == 1, "two are in flight where order is kept");
        }
        if seen.redelivered == 0 {
            check(
                seen.not_before.is_none_or(|at| now >= at),
                "a retry begins early",
            );
            check(!seen.ended, "an attempt follows the final one");
        }
        seen.first_start.get_or_insert(now);
        problems
    }

    /// Notes how an attempt ended. `None` if it was broken off, usually by its timeout.
    fn end(
        &mut self,
        key: &Key,
        attempt: u32,
        result: Option<&Result<Answer, Failure>>,
        now: Timestamp,
    ) {
        let seen = self.keys.entry(key.clone()).or_default();
        let answer = match result {
            Some(Ok(answer)) if (300..400).contains(&answer.status) => return,
            Some(Ok(answer)) => Some(answer),
            Some(Err(_)) | None => None,
        };
        let transient = match result {
            Some(Ok(answer)) => is_transient(answer.status),
            Some(Err(failure)) => failure.is_transient() == Some(true),
            None => true,
        };
        if !transient {
            seen.ended = true;
            return;
        }
        let asked = answer.and_then(|answer| asked_for(answer.retry_after.as_deref()?, now));
        let last = seen.first_start.unwrap_or(now) + Duration::from_mins(2);
        let wait = [12, 24, 48]
            .get(attempt as usize - 1)
            .map_or(Duration::ZERO, |seconds| Duration::from_secs(*seconds));
        let soonest = now + Duration::from_secs(1);
        let status = answer.map(|answer| answer.status);
        seen.told_to_wait = asked.is_some() && matches!(status, Some(429 | 503));
        let asked_for = asked.map(|asked| asked.max(soonest));
        seen.not_before = Some(asked_for.unwrap_or_else(|| (now + wait).min(last)));
        // Jitter is 0.8 to 1.2 of a wait.
        seen.due_by = Some(asked_for.unwrap_or(now + wait.mul_f64(1.5)));
        if let (Some(until), Some(429 | 503)) = (asked, status) {
            let bounds = self
                .endpoints
                .get_mut(&key.0)
                .expect("only endpoints of this world are called");
            bounds.held_until = bounds.held_until.max(Some(until));
            bounds.asked_until = bounds.asked_until.max(Some(until));
            bounds.told_at = Some(now);
        }
    }

    /// Notes that an endpoint was resumed. Its hold is lifted. Deliveries that waited for the hold
    /// continue, and so do those due in its last second for another reason.
    pub(crate) fn resume(&mut self, url: &WebhookUrl, now: Timestamp) {
        let Some(bounds) = self.endpoints.get_mut(url) else {
            return;
        };
        let held_until = bounds.asked_until.take().unwrap_or(now);
        self.resumed.push((url.clone(), now, held_until));
        bounds.paused = false;
        bounds.release();
        let seen = self.keys.iter_mut().filter(|((to, _), _)| to == url);
        let last = held_until.before(Duration::from_secs(1))..=held_until;
        let with_it = |seen: &Seen| {
            let due = seen.not_before.zip(seen.due_by);
            due.is_some_and(|(from, until)| from <= *last.end() && until >= *last.start())
        };
        for (_, seen) in seen.filter(|(_, seen)| seen.told_to_wait || with_it(seen)) {
            seen.not_before = None;
        }
    }

    /// Forgets the attempts that ended with an engine, given the number of recorded attempts per
    /// key. Returns the number of lost attempts.
    pub(crate) fn forget_unrecorded(&mut self, recorded: &BTreeMap<Key, u32>) -> u32 {
        let mut lost = 0;
        for (key, seen) in &mut self.keys {
            let on_record = recorded.get(key).copied().unwrap_or(0);
            let newly_lost = seen.starts.saturating_sub(on_record + seen.lost);
            if newly_lost > 0 {
                lost += newly_lost;
                *seen = Seen {
                    starts: seen.starts,
                    lost: seen.lost + newly_lost,
                    redelivered: seen.redelivered,
                    ..Seen::default()
                };
            }
        }
        // The ledger does not expect a hold to outlive its engine. Only the delivery that was told
        // of it keeps its own time.
        for bounds in self.endpoints.values_mut() {
            bounds.held_until = None;
        }
        lost
    }
}

impl Bounds {
    pub(crate) fn of(policy: &EndpointPolicy) -> Self {
        let (max_in_flight, ordering) = (policy.max_in_flight, policy.ordering);
        Self {
            max_in_flight,
            paused: false,
            ordering,
            held_until: None,
            asked_until: None,
            told_at: None,
            in_flight: 0,
            lanes: BTreeMap::new(),
        }
    }

    pub(crate) fn release(&mut self) {
        self.held_until = None;
    }
}

impl UnderWay {
    fn finish(&mut self, result: &Result<Answer, Failure>) {
        self.finished = true;
        let told = match result {
            Ok(answer) => format!(
                "{} {:?} {:?}",
                answer.status, answer.retry_after, answer.location
            ),
            Err(failure) => failure.to_string(),
        };
        self.ledger
            .line(&format!("<- {} {} {told}", self.key.0, self.key.1));
        self.ledger
            .notes()
            .end(&self.key, self.attempt, Some(result), self.ledger.now());
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.finished {
            self.ledger
                .line(&format!("<- {} {} broken off", self.key.0, self.key.1));
            self.ledger
                .notes()
                .end(&self.key, self.attempt, None, self.ledger.now());
        }
        let mut notes = self.ledger.notes();
        notes.keys.entry(self.key.clone()).or_default().in_flight -= 1;
        if let Some(bounds) = notes.endpoints.get_mut(&self.key.0) {
            bounds.in_flight -= 1;
            *bounds.lanes.entry(self.company.take()).or_default() -= 1;
        }
    }
}

impl Transport for Watched {
    fn open(&self, endpoint: &Endpoint, client_id_header: &str) -> Box<dyn Channel> {
        let channel = self.receivers.open(endpoint, client_id_header);
        Box::new(WatchedChannel {
            channel,
            ledger: self.ledger.clone(),
            endpoint: endpoint.url.clone(),
        })
    }
}

struct WatchedChannel {
    channel: Box<dyn Channel>,
    ledger: Ledger,
    endpoint: WebhookUrl,
}

impl Channel for WatchedChannel {
    fn send(&self, request: Request) -> LocalBoxFuture<'static, Sent> {
        let mut under_way = self.ledger.begin(&request, &self.endpoint);
        let answer = self.channel.send(request);
        // Watchers are not connected yet in the instant in which an engine starts, so no attempt
        // may end in it.
        let clock = self.ledger.clock.clone();
        let starting = self.ledger.notes().started_at == Some(clock.now());
        Box::pin(async move {
            if starting {
                clock.sleep(Duration::from_millis(1)).await;
            }
            let result = answer.await;
            under_way.finish(&result.result);
            result
        })
    }
}

/// Returns the instant that a `Retry-After` asks for. The receivers here use whole seconds, dates
/// and garbage.
fn asked_for(value: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(seconds) = value.parse() {
        return Some(now + Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(Timestamp::from(date).max(now))
}
