//! Counts of attempts per second and per minute, without a query.

mod of_endpoint;

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::of_endpoint::{AttemptCounts, EndpointStatistics, StatisticsPoint};
use crate::domain::deliveries::attempt::{AttemptRecord, AttemptSummary};
use crate::domain::deliveries::outcome::{Failure, Outcome};
use crate::domain::value::time::Timestamp;
use crate::domain::value::wall::{OnWall, WallOffset};
use crate::domain::watch::durations::Durations;

/// The time that a [`Series`] covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SeriesWindow {
    /// The last minute, by second.
    Minute,
    /// The last hour, by minute.
    #[default]
    Hour,
    /// The last day, by minute.
    Day,
}

impl SeriesWindow {
    /// Returns the length of a step and the number of steps.
    pub(crate) fn steps(self) -> (Step, usize) {
        match self {
            Self::Minute => (Step::Second, SECONDS),
            Self::Hour => (Step::Minute, 60),
            Self::Day => (Step::Minute, MINUTES),
        }
    }

    /// Returns when a window that ends now begins.
    pub(crate) fn begin(self, now: Timestamp) -> Timestamp {
        let (step, _) = self.steps();
        step.begin(self.first_step(now))
    }

    /// Returns the number of the first step of a window that ends now.
    fn first_step(self, now: Timestamp) -> i64 {
        let (step, count) = self.steps();
        let back = i64::try_from(count).unwrap_or(0) - 1;
        step.number(now).saturating_sub(back)
    }
}

/// Attempts over time, of all endpoints together. It begins with the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Series {
    /// The length of a step: 1 s or 1 min.
    #[serde(rename = "stepMs", with = "crate::domain::value::millis::exact")]
    pub step: Duration,
    /// One point per step, oldest first. The last step has not ended yet.
    pub points: Vec<SeriesPoint>,
}

/// What ended in one step of a [`Series`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SeriesPoint {
    /// When the step began.
    pub at: Timestamp,
    /// Number of attempts recorded.
    pub attempts: u64,
    /// Number of them that delivered.
    pub delivered: u64,
    /// Number of them that failed, by kind. Attempts whose deliveries were given up count too.
    pub failed: FailureCounts,
    /// Number of deliveries given up, with and without an attempt.
    pub dead_lettered: u64,
    /// The median duration of these attempts, estimated; `None` without an attempt.
    #[serde(
        rename = "p50Ms",
        with = "crate::domain::value::millis::maybe",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub p50: Option<Duration>,
    /// The duration that 99 of 100 of these attempts do not exceed, estimated.
    #[serde(
        rename = "p99Ms",
        with = "crate::domain::value::millis::maybe",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub p99: Option<Duration>,
}

/// Failed attempts by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FailureCounts {
    /// Answers with a status from 400 to 499.
    pub client_error: u64,
    /// Answers with a status from 500 to 599.
    pub server_error: u64,
    /// Answers with another status, and refused redirects.
    pub other_status: u64,
    /// Attempts that ended with their timeout.
    pub timeout: u64,
    /// Connections that were not made or were cut, failed look-ups of names, malformed answers.
    pub connection: u64,
    /// Failures of TLS, certificates included.
    pub tls: u64,
    /// Attempts that the engine did not make as asked: blocked addresses, settings, access tokens.
    pub not_sent: u64,
}

impl FailureCounts {
    /// Returns the number of all failed attempts.
    pub fn total(&self) -> u64 {
        let Self {
            client_error,
            server_error,
            other_status,
            timeout,
            connection,
            tls,
            not_sent,
        } = self;
        client_error + server_error + other_status + timeout + connection + tls + not_sent
    }
}

/// The length of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Second,
    Minute,
}

impl Step {
    pub(crate) fn length(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_mins(1),
        }
    }

    fn millis(self) -> i64 {
        match self {
            Self::Second => 1_000,
            Self::Minute => 60_000,
        }
    }

    /// Returns the number of the step at an instant.
    fn number(self, at: Timestamp) -> i64 {
        at.unix_millis().div_euclid(self.millis())
    }

    /// Returns the instant at which a step begins.
    fn begin(self, number: i64) -> Timestamp {
        Timestamp::from_unix_millis(number.saturating_mul(self.millis()))
    }
}

/// What the endpoints of one arbiter have done: by second, by minute, and since the start.
#[derive(Debug)]
pub(crate) struct Meter {
    seconds: Ring,
    minutes: Ring,
    dead_lettered: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            seconds: Ring::new(Step::Second, SECONDS),
            minutes: Ring::new(Step::Minute, MINUTES),
            dead_lettered: 0,
        }
    }
}

impl Meter {
    /// Counts attempts that were recorded now.
    pub(crate) fn count(&mut self, records: &[AttemptRecord], now: Timestamp) {
        for ring in [&mut self.seconds, &mut self.minutes] {
            if let Some(tally) = ring.at(now) {
                for record in records {
                    tally.count(record);
                }
            }
        }
        self.dead_lettered += given_up(records);
    }

    /// Counts deliveries that were given up now without an attempt.
    pub(crate) fn give_up(&mut self, count: u64, now: Timestamp) {
        for ring in [&mut self.seconds, &mut self.minutes] {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            if let Some(tally) = ring.at(now) {
                tally.dead_lettered = tally.dead_lettered.saturating_add(count);
            }
        }
        self.dead_lettered += count;
    }

    /// Returns the number of deliveries given up since the start.
    pub(crate) fn dead_lettered(&self) -> u64 {
        self.dead_lettered
    }

    fn ring(&self, step: Step) -> &Ring {
        match step {
            Step::Second => &self.seconds,
            Step::Minute => &self.minutes,
        }
    }
}

/// Adds up the meters of several arbiters over one window.
#[derive(Debug)]
pub(crate) struct Sum {
    step: Step,
    /// The number of the first step.
    first: i64,
    tallies: Vec<Tally>,
}

impl Sum {
    /// Returns the sum of no meters over the steps of a window that ends with the current one.
    pub(crate) fn new(window: SeriesWindow, now: Timestamp) -> Self {
        let (step, count) = window.steps();
        Self {
            step,
            first: window.first_step(now),
            tallies: vec![Tally::default(); count],
        }
    }

    pub(crate) fn add(&mut self, meter: &Meter) {
        for (number, tally) in &meter.ring(self.step).tallies {
            if let Some(sum) = self.step(*number) {
                sum.add(tally);
            }
        }
    }

    /// Returns the counts of a step; `None` if it is outside the window.
    fn step(&mut self, number: i64) -> Option<&mut Tally> {
        let place = usize::try_from(number.saturating_sub(self.first)).ok()?;
        self.tallies.get_mut(place)
    }

    /// Returns the counts of the step at an instant; `None` if it is outside the window.
    fn at(&mut self, at: Timestamp) -> Option<&mut Tally> {
        self.step(self.step.number(at))
    }

    /// Returns the counts of each step with the instant at which it begins.
    fn tallies(&self) -> impl Iterator<Item = (Timestamp, &Tally)> {
        let numbers = self.first..;
        let steps = numbers.zip(&self.tallies);
        steps.map(|(number, tally)| (self.step.begin(number), tally))
    }

    /// Returns one point per step.
    pub(crate) fn series(&self) -> Series {
        let points = self.tallies().map(|(at, tally)| tally.point(at));
        Series {
            step: self.step.length(),
            points: points.collect(),
        }
    }

    /// Returns the sum of the last `count` steps that have ended.
    pub(crate) fn last(&self, count: usize) -> SeriesPoint {
        let ended = self.tallies.len().saturating_sub(1);
        let from = ended.saturating_sub(count);
        let mut sum = Tally::default();
        let steps = self.tallies.iter().take(ended).skip(from);
        steps.for_each(|tally| sum.add(tally));
        let from = self.first.saturating_add(i64::try_from(from).unwrap_or(0));
        sum.point(self.step.begin(from))
    }
}

/// Counts of the newest steps in which something ended, each with its number.
#[derive(Debug)]
struct Ring {
    step: Step,
    max: usize,
    tallies: VecDeque<(i64, Tally)>,
}

impl Ring {
    fn new(step: Step, max: usize) -> Self {
        Self {
            step,
            max,
            tallies: VecDeque::new(),
        }
    }

    /// Returns the counts of the step at `now`, or of the newest one if `now` is earlier.
    fn at(&mut self, now: Timestamp) -> Option<&mut Tally> {
        let number = self.step.number(now);
        let newest = self.tallies.back().map(|(newest, _)| *newest);
        if newest.is_none_or(|newest| newest < number) {
            self.tallies.push_back((number, Tally::default()));
            let before = number.saturating_sub(i64::try_from(self.max).unwrap_or(i64::MAX));
            while self.tallies.front().is_some_and(|(old, _)| *old <= before) {
                self.tallies.pop_front();
            }
        }
        self.tallies.back_mut().map(|(_, tally)| tally)
    }
}

/// The counts of one step.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    delivered: u32,
    failed: [u32; KINDS],
    dead_lettered: u32,
    durations: Durations,
}

impl Tally {
    fn count(&mut self, record: &AttemptRecord) {
        self.count_attempt(&record.summary);
        let given_up = u32::from(is_dead_letter(record));
        self.dead_lettered = self.dead_lettered.saturating_add(given_up);
    }

    fn count_attempt(&mut self, summary: &AttemptSummary) {
        match summary.failure {
            None => self.delivered = self.delivered.saturating_add(1),
            Some(failure) => {
                if let Some(count) = self.failed.get_mut(kind(failure)) {
                    *count = count.saturating_add(1);
                }
            }
        }
        self.durations.count(summary.duration);
    }

    fn add(&mut self, other: &Self) {
        self.delivered = self.delivered.saturating_add(other.delivered);
        self.dead_lettered = self.dead_lettered.saturating_add(other.dead_lettered);
        for (sum, count) in self.failed.iter_mut().zip(other.failed) {
            *sum = sum.saturating_add(count);
        }
        self.durations.add(&other.durations);
    }

    fn failures(&self) -> FailureCounts {
        let [
            client_error,
            server_error,
            other_status,
            timeout,
            connection,
            tls,
            not_sent,
        ] = self.failed.map(u64::from);
        FailureCounts {
            client_error,
            server_error,
            other_status,
            timeout,
            connection,
            tls,
            not_sent,
        }
    }

    fn point(&self, at: Timestamp) -> SeriesPoint {
        let failed = self.failures();
        SeriesPoint {
            at,
            attempts: u64::from(self.delivered) + failed.total(),
            delivered: self.delivered.into(),
            failed,
            dead_lettered: self.dead_lettered.into(),
            p50: self.durations.quantile(50),
            p99: self.durations.quantile(99),
        }
    }
}

/// Returns the place of a failure in [`Tally::failed`].
fn kind(failure: Failure) -> usize {
    match failure {
        Failure::Status(400..=499) | Failure::CredentialsDropped(_) => 0,
        Failure::Status(500..=599) => 1,
        Failure::Status(_) | Failure::Redirect(_) => 2,
        Failure::Timeout => 3,
        Failure::Connect | Failure::Dns | Failure::ConnectionClosed | Failure::Malformed => 4,
        Failure::Tls
        | Failure::TlsIncompatible
        | Failure::Certificate
        | Failure::CertificateExpired
        | Failure::CertificateNotYetValid
        | Failure::CertificateWrongName
        | Failure::CertificateUntrusted
        | Failure::CertificateUnsupported => 5,
        Failure::Blocked
        | Failure::NotHttps
        | Failure::Unsendable
        | Failure::Unreadable
        | Failure::OtherClient
        | Failure::Token
        | Failure::Panicked => 6,
    }
}

/// Returns the number of deliveries that these attempts ended without success.
pub(crate) fn given_up(records: &[AttemptRecord]) -> u64 {
    let given_up = records.iter().filter(|record| is_dead_letter(record));
    u64::try_from(given_up.count()).unwrap_or(u64::MAX)
}

fn is_dead_letter(record: &AttemptRecord) -> bool {
    matches!(record.outcome, Outcome::DeadLettered { .. })
}

impl OnWall for SeriesPoint {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            at: self.at.on_wall(offset),
            ..self
        }
    }
}

impl OnWall for Series {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            points: self
                .points
                .into_iter()
                .map(|point| point.on_wall(offset))
                .collect(),
            ..self
        }
    }
}

/// The number of seconds kept.
const SECONDS: usize = 60;

/// The number of minutes kept: those of a day.
const MINUTES: usize = 24 * 60;

/// The number of kinds of failures.
const KINDS: usize = 7;

#[cfg(test)]
mod tests;
