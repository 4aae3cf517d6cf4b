//! A world, drawn from its seed: endpoints, rules, the steps with their times, and the behaviour of
//! the store.

use std::time::Duration;

use actix_webhooks::testing::{Faults, Reply};
use actix_webhooks::transport::{Answer, Failure};
use actix_webhooks::{
    CircuitBreaker, DisablePolicy, Endpoint, EndpointPolicy, Event, FailingRule, Ordering,
    RateLimit, Rule, Timestamp,
};
use fastrand::Rng;

use super::settings::Settings;

/// Everything that is fixed before the simulation begins.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) places: Vec<Place>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) max_in_flight: u32,
    pub(crate) mailbox: usize,
    /// `true` if statuses are watched. Without a watcher, subscribers have fewer turns.
    pub(crate) watches_statuses: bool,
    pub(crate) faults: Faults,
    pub(crate) steps: Vec<(Duration, Step)>,
    /// The changes of the wall clock; `None` if it is never set.
    pub(crate) settings: Option<Settings>,
}

/// A receiver, and the settings of its endpoint. Without settings, the endpoint gets the default
/// policy.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) temper: Temper,
    pub(crate) settings: Option<Endpoint>,
}

/// How a receiver answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Temper {
    Healthy,
    Slow,
    Flaky,
    Refusing,
    RateLimiting,
    Redirecting,
    Looping,
    Hanging,
    Unreachable,
    Panicking,
    Moody,
}

/// An action of the application or of an operator.
pub(crate) enum Step {
    Publish { events: Vec<Event>, as_batch: bool },
    Pause(usize),
    Resume(usize),
    Put(Box<Endpoint>),
    Redeliver(usize),
    Remove(usize),
    Heal,
    Restart(Duration),
}

impl World {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let places: Vec<Place> = (0..rng.usize(3..=12))
            .map(|number| Place::draw(number, &mut rng))
            .collect();
        let rules = (0..rng.usize(2..=6))
            .map(|number| draw_rule(number, &places, &mut rng))
            .collect();
        let faulty = rng.f64() < 0.4;
        let mut share = |most: f64| {
            if faulty && rng.bool() {
                rng.f64() * most
            } else {
                0.0
            }
        };
        let (failing, failing_after, delay) =
            (share(0.4), share(0.4), Duration::from_secs_f64(share(2.0)));
        let steps = draw_steps(&places, faulty, &mut rng);
        Self {
            seed,
            places,
            rules,
            max_in_flight: if rng.bool() { rng.u32(4..=16) } else { 512 },
            mailbox: if rng.f64() < 0.2 {
                rng.usize(1..=8)
            } else {
                256
            },
            // Half of the worlds with one arbiter (even seeds), and half of those with several.
            watches_statuses: (seed / 2).is_multiple_of(2),
            faults: Faults {
                failing,
                failing_after,
                delay,
            },
            steps,
            settings: None,
        }
    }

    pub(crate) fn is_faulty(&self) -> bool {
        self.faults != HEALED
    }

    /// Returns `true` if a step changes a receiver's endpoint by hand.
    pub(crate) fn is_touched(&self, number: usize) -> bool {
        let url = &self.places[number].url;
        self.steps.iter().any(|(_, step)| match step {
            Step::Pause(place) | Step::Resume(place) | Step::Remove(place) => *place == number,
            Step::Put(endpoint) => endpoint.url.as_str() == url,
            _ => false,
        })
    }

    /// Returns the rule and URL of every delivery that an event leads to.
    pub(crate) fn targets<'a>(
        &'a self,
        event: &'a Event,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let matching = self.rules.iter().filter(|rule| {
            (rule.rule_type == "*" || rule.rule_type == event.rule_type)
                && rule
                    .client_id
                    .as_ref()
                    .is_none_or(|client| *client == event.client_id)
                && (rule.company_id.is_none() || rule.company_id == event.company_id)
        });
        matching.flat_map(|rule| {
            rule.webhooks
                .iter()
                .map(|url| (rule.id.as_str(), url.as_str()))
        })
    }
}

impl Place {
    fn draw(number: usize, rng: &mut Rng) -> Self {
        let url = format!("http://receiver-{number}.test/hook");
        let has_settings = rng.f64() < 0.85;
        let ordering = rng
            .choice([
                Ordering::Unordered,
                Ordering::Fifo,
                Ordering::FifoPerCompany,
            ])
            .unwrap();
        Self {
            settings: has_settings.then(|| draw_settings(&url, ordering, rng)),
            url,
            temper: rng.choice(TEMPERS).unwrap(),
        }
    }

    /// Returns `true` if the receiver is always healthy, and its endpoint has no order, rate or
    /// other setting of its own to wait for.
    pub(crate) fn waits_for_nothing(&self) -> bool {
        let policy = self.policy();
        matches!(self.temper, Temper::Healthy)
            && policy.ordering == Ordering::Unordered
            && policy.rate_limit.is_none()
            // The timeout is at least as long as an answer takes.
            && policy.timeout > LONGEST_HEALTHY
    }

    pub(crate) fn policy(&self) -> EndpointPolicy {
        self.settings
            .as_ref()
            .map_or_else(default_policy, |endpoint| endpoint.policy.clone())
    }
}

impl Temper {
    /// Returns the reply of a receiver with this temper to a request to `url`. A receiver that does
    /// not know the time (`now` is `None`) names no dates.
    pub(crate) fn reply(self, url: &str, now: Option<Timestamp>, rng: &mut Rng) -> Reply {
        let status = |rng: &mut Rng, among: &[u16]| {
            Reply::status(rng.choice(among.iter().copied()).unwrap())
        };
        let bad = rng.f64();
        let moved = url.contains("/moved/");
        match self {
            Self::Flaky if bad < 0.5 => status(rng, &TRANSIENT),
            Self::Refusing if bad < 0.7 => status(rng, &PERMANENT),
            Self::RateLimiting if bad < 0.5 => limited(now, rng),
            Self::Redirecting if bad < 0.7 && !moved => redirect(url, rng),
            Self::Looping if bad < 0.7 => {
                Reply::answer(Answer::new(307).location(next_in_circle(url)))
            }
            Self::Hanging if bad < 0.7 => Reply::hang(),
            Self::Unreachable if bad < 0.6 => Reply::fail(rng.choice(FAILURES).unwrap()),
            Self::Panicking if bad < 0.4 => Reply::panic(),
            Self::Slow => status(rng, &[200, 202, 502]).after(wait_ms(rng, 500..5_000)),
            Self::Moody if bad < 0.8 => {
                let other = rng.choice(TEMPERS).unwrap();
                if matches!(other, Self::Moody) {
                    Reply::status(200)
                } else {
                    other.reply(url, now, rng)
                }
            }
            _ => status(rng, &[200, 201, 204]).after(wait_ms(rng, 0..200)),
        }
    }
}

/// Returns `true` if a status is retried.
pub(crate) fn is_transient(status: u16) -> bool {
    TRANSIENT.contains(&status)
}

/// Returns the engine's policy for endpoints without settings of their own.
pub(crate) fn default_policy() -> EndpointPolicy {
    let mut policy = EndpointPolicy::alert_service();
    policy.timeout = Duration::from_secs(3);
    policy.max_in_flight = 5;
    policy
}

fn draw_settings(url: &str, ordering: Ordering, rng: &mut Rng) -> Endpoint {
    let mut endpoint = Endpoint::new(url).unwrap().ordering(ordering);
    if rng.f64() < 0.3 {
        let breaker = CircuitBreaker::after(rng.u32(1..=4));
        endpoint = endpoint
            .circuit_breaker(breaker.waits(wait_ms(rng, 1..8_000), wait_ms(rng, 1..60_000)));
    }
    if rng.f64() < 0.2 {
        endpoint = endpoint.rate_limit(RateLimit::new(rng.u32(1..=20), wait_ms(rng, 100..5_000)));
    }
    if rng.f64() < 0.2 {
        let mut policy = DisablePolicy::never();
        policy.on_gone = rng.bool();
        policy.when_failing = vec![FailingRule::new(wait_ms(rng, 1..60_000), rng.u32(1..=6))];
        endpoint = endpoint.disable(policy);
    }
    endpoint
        .timeout(wait_ms(rng, 300..6_000))
        .max_in_flight(rng.u32(1..=8))
}

fn draw_rule(number: usize, places: &[Place], rng: &mut Rng) -> Rule {
    let mut rule = Rule::new(
        format!("rule-{number}"),
        rng.choice(["*", "paid", "sent"]).unwrap(),
    );
    if rng.f64() < 0.3 {
        rule = rule.client(rng.choice(CLIENTS).unwrap());
    }
    if rng.f64() < 0.2 {
        rule = rule.company(rng.choice(COMPANIES).unwrap());
    }
    for _ in 0..rng.usize(1..=3) {
        rule = rule
            .webhook(&places[rng.usize(..places.len())].url)
            .unwrap();
    }
    rule
}

fn draw_steps(places: &[Place], faulty: bool, rng: &mut Rng) -> Vec<(Duration, Step)> {
    let mut left = if rng.f64() < 0.8 {
        rng.usize(20..=50)
    } else {
        rng.usize(50..=120)
    };
    let (mut published, mut steps): (Vec<Event>, Vec<_>) = (Vec::new(), Vec::new());
    let burst = if rng.f64() < 0.1 { 60 } else { 8 };
    let removes = rng.f64() < 0.15;
    while left > 0 {
        let wait = if rng.f64() < 0.1 {
            wait_ms(rng, 10_000..60_000)
        } else {
            wait_ms(rng, 0..5_000)
        };
        let place = rng.usize(..places.len());
        let step = match rng.u32(..100) {
            0..6 => Step::Pause(place),
            6..12 => Step::Resume(place),
            12..18 => Step::Put(Box::new(draw_settings(
                &places[place].url,
                places[place].policy().ordering,
                rng,
            ))),
            18..28 => Step::Redeliver(rng.usize(..)),
            28..32 if removes => Step::Remove(place),
            _ => {
                let count = rng.usize(1..=burst).min(left);
                left -= count;
                let mut events: Vec<Event> = (0..count)
                    .map(|n| draw_event(published.len() + n, rng))
                    .collect();
                published.extend(events.iter().cloned());
                if rng.f64() < 0.2 {
                    events.extend(rng.choice(published.iter().cloned()));
                }
                Step::Publish {
                    events,
                    as_batch: rng.bool(),
                }
            }
        };
        steps.push((wait, step));
    }
    if faulty {
        let at = rng.usize(steps.len() / 3..=steps.len());
        steps.insert(at, (wait_ms(rng, 0..5_000), Step::Heal));
    }
    if rng.f64() < 0.3 {
        let restart = Step::Restart(wait_ms(rng, 0..2_000));
        let at = rng.usize(steps.len() / 4..=steps.len());
        steps.insert(at, (wait_ms(rng, 0..5_000), restart));
    }
    steps
}

fn draw_event(number: usize, rng: &mut Rng) -> Event {
    let rule_type = rng.choice(["paid", "sent", "other"]).unwrap();
    let event = Event::identified(
        format!("event-{number:03}"),
        Timestamp::from_unix_millis(0),
        rule_type,
        rng.choice(CLIENTS).unwrap(),
    );
    if rng.f64() < 0.7 {
        event.company(rng.choice(COMPANIES).unwrap())
    } else {
        event
    }
}

/// Returns an answer of an overloaded receiver, with a `Retry-After` of any kind or none.
fn limited(now: Option<Timestamp>, rng: &mut Rng) -> Reply {
    let seconds = rng.choice([0, 1, 5, 20, 40, 90, 300, 1_800]).unwrap();
    let date = now.map(|now| {
        let now = Duration::from_millis(now.unix_millis().unsigned_abs());
        std::time::UNIX_EPOCH + now + Duration::from_secs(seconds)
    });
    let answer = Answer::new(rng.choice([503, 429, 502]).unwrap());
    Reply::answer(match (rng.u32(..4), date) {
        (0, Some(date)) => answer.retry_after(httpdate::fmt_http_date(date)),
        (1, _) => answer.retry_after(
            rng.choice(["soon", "-5", "", "1e3", "12 s", "5, 5"])
                .unwrap(),
        ),
        _ => answer.retry_after(seconds.to_string()),
    })
    .after(wait_ms(rng, 0..300))
}

fn redirect(url: &str, rng: &mut Rng) -> Reply {
    let host = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next())
        .unwrap();
    let location = match rng.u32(..4) {
        0 => "/moved/here".to_owned(),
        1 => format!("http://elsewhere.test/moved/{host}"),
        2 => format!("https://elsewhere.test/moved/{host}"),
        _ => "ftp://elsewhere.test/".to_owned(),
    };
    Reply::answer(Answer::new(rng.choice([301, 302, 307, 308]).unwrap()).location(location))
        .after(wait_ms(rng, 0..300))
}

fn next_in_circle(url: &str) -> &'static str {
    match url {
        _ if url.ends_with("/one") => "/moved/two",
        _ if url.ends_with("/two") => "/hook",
        _ => "/moved/one",
    }
}

fn wait_ms(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

/// The longest time that a healthy receiver takes to answer.
pub(crate) const LONGEST_HEALTHY: Duration = Duration::from_millis(200);

/// The longest timeout of an endpoint here.
pub(crate) const LONGEST_TIMEOUT: Duration = Duration::from_secs(6);

/// A store without faults.
pub(crate) const HEALED: Faults = Faults {
    failing: 0.0,
    failing_after: 0.0,
    delay: Duration::ZERO,
};

const CLIENTS: [&str; 3] = ["client-1", "client-2", "client-3"];
const COMPANIES: [&str; 4] = ["company-1", "company-2", "company-3", "company-4"];
const TRANSIENT: [u16; 9] = [408, 420, 429, 460, 502, 503, 504, 522, 524];
const PERMANENT: [u16; 6] = [400, 401, 404, 410, 500, 501];
const FAILURES: [Failure; 6] = [
    Failure::Connect,
    Failure::Dns,
    Failure::Tls,
    Failure::ConnectionClosed,
    Failure::Malformed,
    Failure::Certificate,
];
const TEMPERS: [Temper; 14] = [
    Temper::Healthy,
    Temper::Healthy,
    Temper::Healthy,
    Temper::Slow,
    Temper::Flaky,
    Temper::Refusing,
    Temper::RateLimiting,
    Temper::RateLimiting,
    Temper::Redirecting,
    Temper::Looping,
    Temper::Hanging,
    Temper::Unreachable,
    Temper::Panicking,
    Temper::Moody,
];
