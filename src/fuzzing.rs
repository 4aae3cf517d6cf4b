//! Doors into private parts of the crate, for the properties in `fuzz/`. Not for applications; it
//! may change at any time.
//!
//! They only forward, and check nothing. The door into the rows of the durable store is
//! `src/store/sqlite/fuzzing.rs`.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Join};

use crate::domain::deliveries::alert::Alert;
use crate::domain::deliveries::outcome::Failure;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::events::event::Event;
use crate::domain::policy::redirect::{self, RedirectRefusal};
use crate::domain::policy::retry::{Progress, Retry, RetryPolicy};
use crate::domain::policy::retry_after;
use crate::domain::routing::explain::Explanation;
use crate::domain::routing::rule::Rule;
use crate::domain::routing::table;
use crate::domain::value::id::RuleId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
#[cfg(feature = "sqlite")]
pub use crate::store::sqlite_fuzzing::{Rows, create_tables};
#[cfg(feature = "awc")]
use crate::transport::AwcTransport;
use crate::transport::{
    Authority, ByteStream, Channel, Connect, HttpTransport, Request, StatusSeen,
};

/// The URLs of one attempt.
#[derive(Debug)]
pub struct Route(redirect::Route);

impl Route {
    /// Returns the route of an attempt that starts at `url`.
    pub fn starting_at(url: WebhookUrl) -> Self {
        Self(redirect::Route::starting_at(url))
    }

    /// Moves on to `location`, resolved against the current URL.
    ///
    /// # Errors
    /// [`RedirectRefusal`] if the redirect is not followed.
    pub fn follow(&mut self, location: Option<&str>) -> Result<(), RedirectRefusal> {
        self.0.follow(location)
    }

    /// Returns the URL that the attempt has reached.
    pub fn current(&self) -> &WebhookUrl {
        self.0.current()
    }

    /// Returns `true` if no secret may be sent any more.
    pub fn left_origin(&self) -> bool {
        self.0.left_origin()
    }

    /// Returns the number of redirects followed.
    pub fn hops(&self) -> usize {
        self.0.hops()
    }
}

/// Returns the wait that a `Retry-After` value asks for, at most `cap`.
pub fn parse_retry_after(value: &str, now: Timestamp, cap: Duration) -> Option<Duration> {
    retry_after::parse_retry_after(value, None, now, cap)
}

/// Returns the time of the first retry and the end of all retrying, for a first attempt that starts
/// and fails at `now`. The first is `None` if there is no retry.
pub fn first_retry(
    policy: &RetryPolicy,
    now: Timestamp,
    retry_after: Option<Duration>,
) -> (Option<Timestamp>, Option<Timestamp>) {
    let mut progress = Progress::default();
    policy.begin_attempt(&mut progress, now, Duration::ZERO);
    let mut rng = fastrand::Rng::with_seed(1);
    let due_at = match policy.after_failure(&mut progress, now, retry_after, &mut rng) {
        Retry::At(due_at) => Some(due_at),
        Retry::AttemptsExhausted | Retry::DeadlinePassed => None,
    };
    (due_at, progress.deadline)
}

/// The rules, indexed by the events that they match.
#[derive(Debug, Default)]
pub struct RoutingTable(table::RoutingTable);

impl RoutingTable {
    /// Adds a rule, or replaces the one with its id.
    pub fn put(&mut self, rule: Rule) {
        self.0.put(rule);
    }

    /// Removes the rule and returns it; `None` if there was none.
    pub fn remove(&mut self, id: &RuleId) -> Option<Arc<Rule>> {
        self.0.remove(id)
    }

    /// Returns the rule with this id.
    pub fn get(&self, id: &RuleId) -> Option<&Rule> {
        self.0.get(id).map(|rule| &**rule)
    }

    /// Returns every rule, ordered by id.
    pub fn rules(&self) -> Vec<&Rule> {
        self.0.iter().map(|rule| &**rule).collect()
    }

    /// Returns the enabled rules that the event matches, ordered by rule id.
    pub fn matches(&self, event: &Event) -> Vec<Arc<Rule>> {
        let mut matches = Vec::new();
        self.0.matches(event.into(), &mut matches);
        matches
    }

    /// Returns the rules that the event matches, and the nearest that it does not match.
    pub fn explain(&self, event: &Event) -> Explanation {
        self.0.explain(event.into())
    }
}

/// Opens a channel over a single connection: it reads answers from one half and writes requests to
/// the other.
pub fn open_http<R, W>(
    transport: &HttpTransport,
    url: &WebhookUrl,
    connection: Join<R, W>,
) -> Box<dyn Channel>
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    let connectors = OneConnection(Cell::new(Some(connection)));
    transport.open_over(connectors, &Endpoint::at(url.clone()), "Client-Id")
}

/// Does the same as [`open_http`], over awc.
#[cfg(feature = "awc")]
pub fn open_awc<R, W>(
    transport: &AwcTransport,
    url: &WebhookUrl,
    connection: Join<R, W>,
) -> Box<dyn Channel>
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    let connectors = OneConnection(Cell::new(Some(connection)));
    transport.open_over(connectors, &Endpoint::at(url.clone()), "Client-Id")
}

/// Returns the request of a first attempt.
pub fn request(url: WebhookUrl, alert: Arc<Alert>) -> Request {
    Request {
        url,
        alert,
        attempt: 1,
        sent_at: Timestamp::from_unix_millis(0),
        authorization: None,
        left_origin: false,
        shows_credentials: false,
        seen: StatusSeen::default(),
    }
}

/// Hands out one connection, and then fails.
struct OneConnection<W>(Cell<Option<W>>);

impl<W: ByteStream> Connect for OneConnection<W> {
    type Wire = W;

    async fn connect(&self, _: &Authority) -> Result<W, Failure> {
        self.0.take().ok_or(Failure::Connect)
    }
}

impl<R, W> ByteStream for Join<R, W>
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    fn may_hold_back(&self) -> bool {
        false
    }

    fn has_unread(&self) -> bool {
        false
    }

    fn peer(&self) -> Option<SocketAddr> {
        None
    }
}
