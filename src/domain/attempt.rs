//! One HTTP request for a delivery, and how it ended.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::agreed::Agreed;
use super::dead_letter::DeadLetterReason;
use super::health::{DisabledReason, Health};
use super::id::DeliveryId;
use super::redirect::RedirectRefusal;
use super::retry::Progress;
use super::tagged::{Has, tagged};
use super::time::Timestamp;
use super::url::{WebhookUrl, shown_location};

/// A final answer of a receiver, as the transport read it. `Debug` leaves out the query and user info of `location`, and of the body all but its length.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The status, 100 to 999.
    pub status: u16,
    /// The `Location` header, if there was exactly one that is text.
    pub location: Option<String>,
    /// The `Retry-After` header; several are joined by commas, which makes them unreadable and so ignored.
    pub retry_after: Option<String>,
    /// The `Date` header of an answer that has a `Retry-After`, with which a date in that is compared;
    /// several are joined by commas, which makes them unreadable and so ignored.
    pub date: Option<String>,
    /// The beginning of the body, at most [`EXCERPT_BYTES`].
    pub excerpt: Bytes,
    /// What the receiver asks for in the `webhook-delivery` header; honoured where the endpoint's policy says so.
    pub directive: Option<Directive>,
}

/// What a receiver can ask for in the `webhook-delivery` header of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Directive {
    /// `disable`: send nothing more to this endpoint.
    Disable,
    /// `abort-message`: do not try this delivery again.
    AbortMessage,
}

impl Directive {
    /// Reads the header; anything else than the two values is no directive.
    pub fn parse(value: &[u8]) -> Option<Self> {
        match value.trim_ascii() {
            b"disable" => Some(Self::Disable),
            b"abort-message" => Some(Self::AbortMessage),
            _ => None,
        }
    }
}

impl Answer {
    /// Returns an answer with this status and nothing else.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// Sets the `Location` header.
    #[must_use]
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// Sets what the receiver asks for.
    #[must_use]
    pub fn directive(mut self, directive: Directive) -> Self {
        self.directive = Some(directive);
        self
    }

    /// Sets the `Retry-After` header.
    #[must_use]
    pub fn retry_after(mut self, value: impl Into<String>) -> Self {
        self.retry_after = Some(value.into());
        self
    }

    /// Sets the `Date` header, which counts where there is a `Retry-After`.
    #[must_use]
    pub fn date(mut self, value: impl Into<String>) -> Self {
        self.date = Some(value.into());
        self
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("location", &self.location.as_deref().map(shown_location))
            .field("retry_after", &self.retry_after)
            .field("date", &self.date)
            .field("directive", &self.directive)
            .field("excerpt", &format_args!("{} bytes", self.excerpt.len()))
            .finish()
    }
}

/// How much of an answer's body is kept for the delivery record.
pub const EXCERPT_BYTES: usize = 1_024;

/// Why an attempt did not deliver. In JSON an object: `{"kind":"timeout"}`, `{"kind":"status","status":503}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum Failure {
    /// The receiver answered with this status; the [`ResponsePolicy`](crate::ResponsePolicy) says whether it is transient.
    Status(u16),
    /// The receiver answered with this status, 401 or 403, where a redirect to another origin led,
    /// and what shows who calls was not sent there: `Authorization`, secret headers, the client
    /// certificate. What the status means is said by the [`ResponsePolicy`](crate::ResponsePolicy).
    CredentialsDropped(u16),
    /// The whole exchange (connect, TLS, headers and body) took longer than the endpoint's timeout. Transient.
    Timeout,
    /// No connection could be made: refused, unreachable, or not within the connect timeout. Transient.
    Connect,
    /// The host name could not be resolved. Transient.
    Dns,
    /// The TLS handshake broke off. Transient.
    Tls,
    /// The TLS handshake found nothing that both sides can do: no version, cipher suite, kind of
    /// key or protocol. Some old receivers say the same when they want a client certificate.
    /// Transient, because a receiver, or a proxy in front of it, may be configured otherwise later.
    TlsIncompatible,
    /// The receiver's certificate is not valid, for another reason than those below. Permanent.
    Certificate,
    /// The receiver's certificate has expired, or one that it depends on. Permanent.
    CertificateExpired,
    /// The receiver's certificate is not valid yet, or one that it depends on. Permanent.
    CertificateNotYetValid,
    /// The receiver's certificate is for another name than the URL's host. Permanent.
    CertificateWrongName,
    /// The receiver's certificate leads to no root that is trusted, or was not signed by the one it
    /// names. Permanent.
    CertificateUntrusted,
    /// The receiver's certificates have a kind of key or signature that the TLS provider cannot
    /// check, such as P-521 keys or ECDSA with SHA-512; see
    /// [`crypto_provider`](crate::transport::TransportBuilder::crypto_provider). Permanent.
    CertificateUnsupported,
    /// The connection was closed or reset before the answer was complete. Its status is on record
    /// if it was read. Transient.
    ConnectionClosed,
    /// What came back is not HTTP, its head is too large, or it is not clear where it ends.
    /// Transient.
    Malformed,
    /// A redirect was refused. Permanent.
    Redirect(RedirectRefusal),
    /// The host has no address that calls may go to; see [`EngineBuilder::allow_addresses`](crate::EngineBuilder::allow_addresses). Permanent.
    Blocked,
    /// The URL is plain `http`, and the endpoint's policy wants `https`. Permanent.
    NotHttps,
    /// The request cannot be sent as configured. Permanent.
    Unsendable,
    /// The rule or the client that says how it is authorised is kept and cannot be read, so that nothing was sent. Put it again, then redeliver.
    /// Permanent.
    Unreadable,
    /// The endpoint is kept to the events of another client ([`Endpoint::client`](crate::Endpoint::client)), so that nothing was sent. Permanent.
    OtherClient,
    /// The access token could not be fetched from the token endpoint, so that nothing was sent, or nothing more after a 401. Transient.
    Token,
    /// The code that makes attempts panicked: a bug, contained to this attempt. Transient.
    Panicked,
}

impl Failure {
    /// Returns `true` if trying again can help, for failures that are not an answer; `None` for
    /// [`Failure::Status`] and [`Failure::CredentialsDropped`].
    pub fn is_transient(self) -> Option<bool> {
        match self {
            Self::Status(_) | Self::CredentialsDropped(_) => None,
            Self::Timeout
            | Self::Connect
            | Self::Dns
            | Self::Tls
            | Self::TlsIncompatible
            | Self::ConnectionClosed
            | Self::Malformed
            | Self::Token
            | Self::Panicked => Some(true),
            Self::Certificate
            | Self::CertificateExpired
            | Self::CertificateNotYetValid
            | Self::CertificateWrongName
            | Self::CertificateUntrusted
            | Self::CertificateUnsupported
            | Self::Redirect(_)
            | Self::Blocked
            | Self::NotHttps
            | Self::Unsendable
            | Self::Unreadable
            | Self::OtherClient => Some(false),
        }
    }

    /// Returns the receiver's status, if there was an answer.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Status(status) | Self::CredentialsDropped(status) => Some(status),
            Self::Timeout
            | Self::Connect
            | Self::Dns
            | Self::Tls
            | Self::TlsIncompatible
            | Self::Certificate
            | Self::CertificateExpired
            | Self::CertificateNotYetValid
            | Self::CertificateWrongName
            | Self::CertificateUntrusted
            | Self::CertificateUnsupported
            | Self::ConnectionClosed
            | Self::Malformed
            | Self::Redirect(_)
            | Self::Blocked
            | Self::NotHttps
            | Self::Unsendable
            | Self::Unreadable
            | Self::OtherClient
            | Self::Token
            | Self::Panicked => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "answered {status}"),
            Self::CredentialsDropped(status) => write!(
                f,
                "answered {status} after a redirect to another origin, where credentials are not sent"
            ),
            Self::Timeout => f.write_str("timed out"),
            Self::Connect => f.write_str("could not connect"),
            Self::Dns => f.write_str("host name could not be resolved"),
            Self::Tls => f.write_str("TLS handshake failed"),
            Self::TlsIncompatible => {
                f.write_str("TLS handshake found nothing that both sides support")
            }
            Self::Certificate => f.write_str("certificate is not valid"),
            Self::CertificateExpired => f.write_str("certificate has expired"),
            Self::CertificateNotYetValid => f.write_str("certificate is not valid yet"),
            Self::CertificateWrongName => f.write_str("certificate is for another name"),
            Self::CertificateUntrusted => f.write_str("certificate is not from a trusted issuer"),
            Self::CertificateUnsupported => {
                f.write_str("certificate has a key or signature algorithm that is not supported")
            }
            Self::ConnectionClosed => {
                f.write_str("connection was closed before the answer was complete")
            }
            Self::Malformed => f.write_str("answer is not readable as HTTP"),
            Self::Redirect(refusal) => refusal.fmt(f),
            Self::Blocked => f.write_str("host has no address that may be called"),
            Self::NotHttps => f.write_str("URL is not https"),
            Self::Unsendable => f.write_str("request cannot be sent as configured"),
            Self::Unreadable => f.write_str("its rule or client cannot be read; put it again"),
            Self::OtherClient => f.write_str("endpoint is kept to the events of another client"),
            Self::Token => f.write_str("access token could not be fetched"),
            Self::Panicked => f.write_str("the sending code panicked"),
        }
    }
}

/// How an attempt ended for its delivery. In JSON an object: `{"outcome":"failed","failure":{"kind":"timeout"}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum Outcome {
    /// The receiver has it. Final.
    Delivered,
    /// It failed and will be tried again.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// It failed and will not be tried again; it is listed as a dead letter. Final.
    DeadLettered {
        /// Why.
        reason: DeadLetterReason,
    },
}

tagged!(
    Failure,
    "kind",
    [
        ("status", Has::One("status")),
        ("credentials_dropped", Has::One("status")),
        ("redirect", Has::One("refusal")),
    ]
);

tagged!(
    Outcome,
    "outcome",
    [
        ("failed", Has::Fields(&["failure"])),
        ("dead_lettered", Has::Fields(&["reason"])),
    ]
);

impl Outcome {
    /// Says whether no further attempt follows.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Failed { .. })
    }
}

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
        with = "super::millis::exact"
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Under these names failures are in the records of stores: none may change, whatever is added.
    #[test]
    fn failures_are_stored_under_names_that_last() {
        let names = [
            (Failure::Status(503), r#"{"status":503}"#),
            (
                Failure::CredentialsDropped(401),
                r#"{"credentials_dropped":401}"#,
            ),
            (Failure::Timeout, r#""timeout""#),
            (Failure::Connect, r#""connect""#),
            (Failure::Dns, r#""dns""#),
            (Failure::Tls, r#""tls""#),
            (Failure::TlsIncompatible, r#""tls_incompatible""#),
            (Failure::Certificate, r#""certificate""#),
            (Failure::CertificateExpired, r#""certificate_expired""#),
            (
                Failure::CertificateNotYetValid,
                r#""certificate_not_yet_valid""#,
            ),
            (Failure::CertificateWrongName, r#""certificate_wrong_name""#),
            (Failure::CertificateUntrusted, r#""certificate_untrusted""#),
            (
                Failure::CertificateUnsupported,
                r#""certificate_unsupported""#,
            ),
            (Failure::ConnectionClosed, r#""connection_closed""#),
            (Failure::Malformed, r#""malformed""#),
            (
                Failure::Redirect(RedirectRefusal::Loop),
                r#"{"redirect":"loop"}"#,
            ),
            (Failure::Blocked, r#""blocked""#),
            (Failure::NotHttps, r#""not_https""#),
            (Failure::Unsendable, r#""unsendable""#),
            (Failure::Token, r#""token""#),
            (Failure::Panicked, r#""panicked""#),
        ];
        for (failure, name) in names {
            // What earlier versions have stored is read; what is written has the same name.
            assert_eq!(serde_json::from_str::<Failure>(name).unwrap(), failure);
            let written = serde_json::to_value(failure).unwrap();
            let kind = written["kind"].to_string();
            assert!(name.contains(&kind), "{written}");
            assert_eq!(serde_json::from_value::<Failure>(written).unwrap(), failure);
        }
    }

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

    #[test]
    fn a_directive_is_one_of_two_texts() {
        let parsed = |text: &str| Directive::parse(text.as_bytes());
        assert_eq!(parsed("disable"), Some(Directive::Disable));
        assert_eq!(parsed(" abort-message "), Some(Directive::AbortMessage));
        assert_eq!(parsed("Disable"), None);
        assert_eq!(parsed("abort-messages"), None);
        assert_eq!(parsed(""), None);
    }
}
