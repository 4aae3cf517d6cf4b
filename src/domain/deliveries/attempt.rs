//! One HTTP request for a delivery, and how it ended.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::deliveries::answer::Answer;
use crate::domain::deliveries::outcome::{Failure, Outcome};
use crate::domain::policy::agreed::Agreed;
use crate::domain::policy::health::{DisabledReason, Health};
use crate::domain::policy::retry::Progress;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::{OnWall, WallOffset};

/// A finished attempt in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AttemptSummary {
    /// Which attempt of its delivery it was, from 1.
    pub number: u32,
    /// When it ended.
    pub at: Timestamp,
    /// How long it took, redirects included.
    #[serde(
        rename = "durationMs",
        alias = "duration",
        with = "crate::domain::value::millis::exact"
    )]
    pub duration: Duration,
    /// The receiver's status, as far as it was read: it is there even if the rest of the answer was
    /// cut short or did not end in time, which `failure` then says. `None` when there was no
    /// answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// Why it failed; `None` when it delivered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<Failure>,
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
        }
    }
}

/// Says how it ended, with the status even where the rest of the answer failed: `answered 200, then
/// cut short`.
impl fmt::Display for AttemptSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, self.failure) {
            (Some(status), None) => write!(f, "delivered, answered {status}"),
            (None, None) => f.write_str("delivered"),
            (Some(_), Some(failure @ (Failure::Status(_) | Failure::CredentialsDropped(_)))) => {
                failure.fmt(f)
            }
            // It led to where this happened, or is the answer that failed.
            (Some(status @ 300..=399), Some(failure)) => write!(f, "{failure} after {status}"),
            (Some(status), Some(Failure::ConnectionClosed)) => {
                write!(f, "answered {status}, then cut short")
            }
            (Some(status), Some(Failure::Timeout)) => {
                write!(f, "answered {status}, which did not end in time")
            }
            (Some(status), Some(Failure::Malformed)) => {
                write!(
                    f,
                    "answered {status}, of which it is not clear where it ends"
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
    /// The final answer, or why there is none.
    pub(crate) result: Result<Answer, Failure>,
    /// The last status that was seen, a redirect's included.
    pub(crate) status: Option<u16>,
    /// How many redirects were followed.
    pub(crate) redirects: u32,
    /// Whether a request went out a second time on a new connection.
    pub(crate) sent_twice: bool,
    /// Whether a redirect led to where what shows who calls was not sent.
    pub(crate) credentials_dropped: bool,
}

impl Exchange {
    /// Returns one that has failed before there was an answer.
    pub(crate) fn failed(failure: Failure) -> Self {
        Self {
            result: Err(failure),
            status: None,
            redirects: 0,
            sent_twice: false,
            credentials_dropped: false,
        }
    }

    /// Returns `true` if the answer says when to come again.
    pub(crate) fn asks_for_a_wait(&self) -> bool {
        let answer = self.result.as_ref().ok();
        answer.is_some_and(|answer| answer.retry_after.is_some())
    }

    /// Returns the failure that an answer with this status is.
    pub(crate) fn refused_with(&self, status: u16) -> Failure {
        if self.credentials_dropped && matches!(status, 401 | 403) {
            Failure::CredentialsDropped(status)
        } else {
            Failure::Status(status)
        }
    }
}

/// A finished attempt as the store keeps it: written before anything that follows depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The delivery that was attempted.
    pub delivery_id: DeliveryId,
    /// Its endpoint.
    pub url: WebhookUrl,
    /// The attempt.
    pub summary: AttemptSummary,
    /// How it ended for the delivery.
    pub outcome: Outcome,
    /// What the delivery remembers from now on.
    pub progress: Progress,
    /// When it is tried again; `None` when the outcome is final.
    pub next_attempt_at: Option<Timestamp>,
    /// How many redirects were followed.
    pub redirects: u32,
    /// Whether the request went out a second time on a new connection.
    pub sent_twice: bool,
    /// Until when the receiver asked that nothing be sent to the endpoint; `None` when it did not. Kept with the attempt, so that a restart does
    /// not forget it.
    pub hold_until: Option<Timestamp>,
    /// What the endpoint has agreed on with its receiver, where this attempt has changed it; `None`
    /// where it has not, as of nearly all. It replaces what was kept before.
    pub agreed: Option<Box<Agreed>>,
    /// The endpoint's health, where it has changed and a policy depends on it.
    pub health: Option<Health>,
    /// Why the endpoint is disabled from now on; `None` when it is not because of this attempt.
    pub disabled: Option<DisabledReason>,
    /// The beginning of the answer's body.
    pub excerpt: Bytes,
}

/// A finished attempt as it is shown to operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Attempt {
    /// When, how long, and how it ended.
    #[serde(flatten)]
    pub summary: AttemptSummary,
    /// How many redirects were followed.
    pub redirects: u32,
    /// Whether the request went out a second time on a new connection.
    pub sent_twice: bool,
    /// The beginning of the answer's body, at most [`EXCERPT_BYTES`]; what is not UTF-8 is replaced.
    pub excerpt: String,
}

impl From<&AttemptRecord> for Attempt {
    fn from(record: &AttemptRecord) -> Self {
        Self {
            summary: record.summary,
            redirects: record.redirects,
            sent_twice: record.sent_twice,
            excerpt: String::from_utf8_lossy(&record.excerpt).into_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

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
                "answered 200, then cut short",
            ),
            (
                Some(200),
                Some(Timeout),
                "answered 200, which did not end in time",
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
            "answered 200, of which it is not clear where it ends"
        );
        let dropped = CredentialsDropped(401);
        assert_eq!(said(Some(401), Some(dropped)), dropped.to_string());
    }
}
