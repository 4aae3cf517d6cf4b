//! One HTTP request for a delivery, and how it ended.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::deliveries::answer::Answer;
use crate::domain::deliveries::outcome::{Failure, Outcome};
use crate::domain::deliveries::trace::AnswerTrace;
use crate::domain::policy::agreed::Agreed;
use crate::domain::policy::health::{DisabledReason, Health};
use crate::domain::policy::retry::Progress;
use crate::domain::value::id::{ClientId, DeliveryId, EventId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::{OnWall, WallOffset};

/// The summary of a finished attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AttemptSummary {
    /// Number of the attempt among those of its delivery, from 1.
    pub number: u32,
    /// When it ended.
    pub at: Timestamp,
    /// Duration of the attempt, redirects included.
    #[serde(
        rename = "durationMs",
        alias = "duration",
        with = "crate::domain::value::millis::exact"
    )]
    pub duration: Duration,
    /// The receiver's status; `None` if there was no answer.
    ///
    /// It is set even if the rest of the answer was cut short or did not end in time; `failure`
    /// then has the reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// Why it failed; `None` if it delivered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
    /// Number of redirects followed.
    #[serde(default)]
    pub redirects: u32,
    /// Whether a kept-alive connection turned out to be closed, so that the request was sent a
    /// second time within the attempt.
    #[serde(default)]
    pub sent_twice: bool,
}

impl AttemptSummary {
    /// Returns the summary of an attempt that delivered with a 200.
    pub fn new(number: u32, at: Timestamp, duration: Duration) -> Self {
        Self {
            number,
            at,
            duration,
            status: Some(200),
            failure: None,
            redirects: 0,
            sent_twice: false,
        }
    }

    /// Returns what is kept of the trace of its last answer, whose body began with `excerpt`;
    /// `None` for ordinary successes, of which nothing is kept.
    pub(crate) fn kept(&self, trace: &AnswerTrace, excerpt: &[u8]) -> Option<Box<AnswerTrace>> {
        let kept = self.failure.is_some() || self.redirects > 0 || trace.is_of_page(excerpt);
        (kept && *trace != AnswerTrace::new()).then(|| Box::new(trace.clone()))
    }
}

/// Shows how the attempt ended, with the status even if the rest of the answer failed: `answered
/// 200, but the answer was cut short`.
impl fmt::Display for AttemptSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, self.failure) {
            (Some(status), None) => write!(f, "delivered, answered {status}"),
            (None, None) => f.write_str("delivered"),
            (Some(_), Some(failure @ (Failure::Status(_) | Failure::CredentialsDropped(_)))) => {
                failure.fmt(f)
            }
            // The redirect led to the URL where this happened, or its own answer failed.
            (Some(status @ 300..=399), Some(failure)) => write!(f, "{failure} after {status}"),
            (Some(status), Some(Failure::ConnectionClosed)) => {
                write!(f, "answered {status}, but the answer was cut short")
            }
            (Some(status), Some(Failure::Timeout)) => {
                write!(f, "answered {status}, but the answer did not end in time")
            }
            (Some(status), Some(Failure::Malformed)) => {
                write!(
                    f,
                    "answered {status}, but the end of the answer is ambiguous"
                )
            }
            (Some(status), Some(failure)) => write!(f, "{failure} after {status}"),
            (None, Some(failure)) => failure.fmt(f),
        }
    }
}

/// How an attempt ended on the wire, redirects followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// The final answer, or the reason that there is none.
    pub(crate) result: Result<Answer, Failure>,
    /// The last status received, including a redirect's.
    pub(crate) status: Option<u16>,
    /// Where the answer with that status came from, and what it was.
    pub(crate) trace: AnswerTrace,
    /// Number of redirects followed.
    pub(crate) redirects: u32,
    /// Whether a request was sent a second time on a new connection.
    pub(crate) sent_twice: bool,
    /// Whether a redirect led to another origin, where credentials were not sent.
    pub(crate) credentials_dropped: bool,
}

impl Exchange {
    /// Returns an exchange that failed before there was an answer.
    pub(crate) fn failed(failure: Failure) -> Self {
        Self {
            result: Err(failure),
            status: None,
            trace: AnswerTrace::new(),
            redirects: 0,
            sent_twice: false,
            credentials_dropped: false,
        }
    }

    /// Returns `true` if the answer has a `Retry-After`.
    pub(crate) fn asks_for_a_wait(&self) -> bool {
        let answer = self.result.as_ref().ok();
        answer.is_some_and(|answer| answer.retry_after.is_some())
    }

    /// Returns the failure for an answer with this status.
    pub(crate) fn refused_with(&self, status: u16) -> Failure {
        if self.credentials_dropped && matches!(status, 401 | 403) {
            Failure::CredentialsDropped(status)
        } else {
            Failure::Status(status)
        }
    }
}

/// A finished attempt as the store keeps it. It is written before anything else depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// The delivery that was attempted.
    pub delivery_id: DeliveryId,
    /// The URL of its endpoint.
    pub url: WebhookUrl,
    /// The summary of the attempt.
    pub summary: AttemptSummary,
    /// The outcome for the delivery.
    pub outcome: Outcome,
    /// The delivery's progress after this attempt.
    pub progress: Progress,
    /// When the delivery is retried; `None` if the outcome is final.
    pub next_attempt_at: Option<Timestamp>,
    /// End of the hold that the receiver asked for; `None` if it asked for none.
    ///
    /// Kept with the attempt, so that it survives a restart.
    pub hold_until: Option<Timestamp>,
    /// The endpoint's agreement with its receiver, if this attempt changed it; `None` for nearly
    /// all attempts. It replaces the stored one.
    pub agreed: Option<Box<Agreed>>,
    /// The endpoint's health, if it changed and a policy depends on it.
    pub health: Option<Health>,
    /// Why this attempt disabled the endpoint; `None` if it did not.
    pub disabled: Option<DisabledReason>,
    /// The beginning of the answer's body.
    pub excerpt: Bytes,
    /// Where the last answer came from, and what it was; `None` if there is nothing to keep, as for
    /// nearly all attempts that deliver.
    pub trace: Option<Box<AnswerTrace>>,
}

impl AttemptRecord {
    /// Returns the record of a delivery's only attempt, which changed nothing else.
    pub fn new(
        delivery_id: DeliveryId,
        url: WebhookUrl,
        summary: AttemptSummary,
        outcome: Outcome,
    ) -> Self {
        Self {
            delivery_id,
            url,
            summary,
            outcome,
            progress: Progress {
                attempts_made: summary.number,
                deadline: None,
            },
            next_attempt_at: None,
            hold_until: None,
            agreed: None,
            health: None,
            disabled: None,
            excerpt: Bytes::new(),
            trace: None,
        }
    }
}

/// A finished attempt as shown to operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Attempt {
    /// When it ended, how long it took, and how it ended.
    #[serde(flatten)]
    pub summary: AttemptSummary,
    /// The beginning of the answer's body, at most
    /// [`EXCERPT_BYTES`](crate::transport::EXCERPT_BYTES); invalid UTF-8 is replaced.
    pub excerpt: String,
    /// Where the last answer came from, and what it was, as far as it was kept. In JSON its fields
    /// are flattened into the attempt.
    #[serde(flatten)]
    pub trace: AnswerTrace,
}

impl Attempt {
    /// Returns an attempt whose answer's body began with `excerpt`.
    pub fn new(summary: AttemptSummary, excerpt: &[u8]) -> Self {
        Self {
            summary,
            excerpt: String::from_utf8_lossy(excerpt).into_owned(),
            trace: AnswerTrace::new(),
        }
    }

    /// Sets where its last answer came from, and what it was.
    #[must_use]
    pub fn trace(self, trace: AnswerTrace) -> Self {
        Self { trace, ..self }
    }
}

impl From<&AttemptRecord> for Attempt {
    fn from(record: &AttemptRecord) -> Self {
        let trace = record.trace.as_deref().cloned();
        Self::new(record.summary, &record.excerpt).trace(trace.unwrap_or_default())
    }
}

/// A finished attempt among those of all deliveries of its endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointAttempt {
    /// The delivery that was attempted.
    pub delivery_id: DeliveryId,
    /// The event that it delivers.
    pub event_id: EventId,
    /// The type of the rule that the event matched.
    pub rule_type: String,
    /// The client whose event it is.
    pub client_id: ClientId,
    /// The attempt.
    #[serde(flatten)]
    pub attempt: Attempt,
}

impl EndpointAttempt {
    /// Returns an attempt with what it delivered.
    pub fn new(
        delivery_id: DeliveryId,
        event_id: EventId,
        rule_type: impl Into<String>,
        client_id: ClientId,
        attempt: Attempt,
    ) -> Self {
        Self {
            delivery_id,
            event_id,
            rule_type: rule_type.into(),
            client_id,
            attempt,
        }
    }
}

impl OnWall for AttemptSummary {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            at: self.at.on_wall(offset),
            ..self
        }
    }
}

impl OnWall for Attempt {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            summary: self.summary.on_wall(offset),
            ..self
        }
    }
}

impl OnWall for EndpointAttempt {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            attempt: self.attempt.on_wall(offset),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deliveries::content_type::ContentType;

    #[test]
    fn a_summary_says_in_words_how_an_attempt_ended() {
        use Failure::{Blocked, ConnectionClosed, CredentialsDropped, Malformed, Status, Timeout};

        let said = |status: Option<u16>, failure: Option<Failure>| {
            let now = Timestamp::from_unix_millis(0);
            let summary = AttemptSummary {
                status,
                failure,
                ..AttemptSummary::new(1, now, Duration::ZERO)
            };
            summary.to_string()
        };
        let closed = "connection was closed before the answer was complete";
        let cases = [
            (Some(204), None, "delivered, answered 204"),
            (None, None, "delivered"),
            (Some(503), Some(Status(503)), "answered 503"),
            (
                Some(200),
                Some(ConnectionClosed),
                "answered 200, but the answer was cut short",
            ),
            (
                Some(200),
                Some(Timeout),
                "answered 200, but the answer did not end in time",
            ),
            (None, Some(Timeout), "timed out"),
            (None, Some(ConnectionClosed), closed),
            (Some(307), Some(Timeout), "timed out after 307"),
            (
                Some(307),
                Some(Blocked),
                "host has no address that may be called after 307",
            ),
        ];
        for (status, failure, expected) in cases {
            assert_eq!(said(status, failure), expected);
        }
        let unclear = said(Some(200), Some(Malformed));
        assert_eq!(
            unclear,
            "answered 200, but the end of the answer is ambiguous"
        );
        let dropped = CredentialsDropped(401);
        assert_eq!(said(Some(401), Some(dropped)), dropped.to_string());
    }

    #[test]
    fn of_ordinary_successes_nothing_is_kept() {
        let at = Timestamp::from_unix_millis(0);
        let success = AttemptSummary::new(1, at, Duration::ZERO);
        let trace = AnswerTrace::new().content_type(ContentType::parse(b"text/html"));
        let kept = |summary: &AttemptSummary, excerpt: &str| {
            let kept = summary.kept(&trace, excerpt.as_bytes());
            kept.map(|kept| *kept) == Some(trace.clone())
        };
        assert!(!kept(&success, "ok"));
        assert!(kept(&success, "<p>Log in"));
        let mut redirected = success;
        redirected.redirects = 1;
        assert!(kept(&redirected, "ok"));
        let mut failed = success;
        failed.failure = Some(Failure::Status(403));
        assert!(kept(&failed, ""));
        assert_eq!(failed.kept(&AnswerTrace::new(), b""), None);
    }

    #[test]
    fn an_exchange_says_what_was_asked_and_what_was_dropped() {
        let answered = |answer| Exchange {
            result: Ok(answer),
            ..Exchange::failed(Failure::Timeout)
        };
        assert!(!Exchange::failed(Failure::Timeout).asks_for_a_wait());
        assert!(!answered(Answer::new(503)).asks_for_a_wait());
        assert!(answered(Answer::new(503).retry_after("1")).asks_for_a_wait());
        let mut exchange = answered(Answer::new(401));
        assert_eq!(exchange.refused_with(401), Failure::Status(401));
        exchange.credentials_dropped = true;
        assert_eq!(exchange.refused_with(401), Failure::CredentialsDropped(401));
        assert_eq!(exchange.refused_with(403), Failure::CredentialsDropped(403));
        assert_eq!(exchange.refused_with(404), Failure::Status(404));
    }

    #[test]
    fn an_attempt_is_shown_in_wall_time() {
        let [now, later] = [1_000_000, 1_060_000].map(Timestamp::from_unix_millis);
        let attempt = Attempt::new(AttemptSummary::new(1, now, Duration::ZERO), b"busy \xff");
        let shown = attempt.on_wall(WallOffset::from_millis(60_000));
        assert_eq!(
            (shown.summary.at, shown.excerpt.as_str()),
            (later, "busy \u{fffd}")
        );
    }
}
