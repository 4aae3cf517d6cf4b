//! How an attempt ended, and why a delivery was given up.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::policy::redirect::RedirectRefusal;
use crate::domain::value::tagged::{Has, tagged};

/// Why an attempt did not deliver.
///
/// In JSON an object: `{"kind":"timeout"}`, `{"kind":"status","status":503}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum Failure {
    /// The receiver answered with this status.
    ///
    /// The [`ResponsePolicy`](crate::ResponsePolicy) decides whether it is transient.
    Status(u16),
    /// The receiver answered 401 or 403 after a redirect to another origin, where credentials were
    /// not sent: `Authorization`, secret headers, the client certificate.
    ///
    /// The [`ResponsePolicy`](crate::ResponsePolicy) decides what the status means.
    CredentialsDropped(u16),
    /// The whole exchange (connect, TLS, headers and body) took longer than the endpoint's timeout.
    /// Transient.
    Timeout,
    /// No connection could be made: refused, unreachable, or not within the connect timeout.
    /// Transient.
    Connect,
    /// The host name could not be resolved. Transient.
    Dns,
    /// The TLS handshake was aborted. Transient.
    Tls,
    /// The TLS handshake found no version, cipher suite, key type or protocol that both sides
    /// support. Transient, because the receiver, or a proxy in front of it, may be reconfigured
    /// later.
    ///
    /// Some old receivers report the same if they require a client certificate.
    TlsIncompatible,
    /// The receiver's certificate is not valid, for a reason other than those below. Permanent.
    Certificate,
    /// The receiver's certificate, or one that it depends on, has expired. Permanent.
    CertificateExpired,
    /// The receiver's certificate, or one that it depends on, is not valid yet. Permanent.
    CertificateNotYetValid,
    /// The receiver's certificate is for a name other than the URL's host. Permanent.
    CertificateWrongName,
    /// The receiver's certificate leads to no trusted root, or was not signed by the issuer it
    /// names. Permanent.
    CertificateUntrusted,
    /// The receiver's certificates have a key or signature algorithm that the TLS provider cannot
    /// check. Permanent.
    ///
    /// Examples are P-521 keys and ECDSA with SHA-512; see
    /// [`crypto_provider`](crate::transport::TransportBuilder::crypto_provider).
    CertificateUnsupported,
    /// The connection was closed or reset before the answer was complete. Transient.
    ///
    /// The status is on record if it was read.
    ConnectionClosed,
    /// The answer is not HTTP, its head is too large, or its end is ambiguous. Transient.
    Malformed,
    /// A redirect was refused. Permanent.
    Redirect(RedirectRefusal),
    /// The host has no address that calls may go to; see
    /// [`EngineBuilder::allow_addresses`](crate::EngineBuilder::allow_addresses). Permanent.
    Blocked,
    /// The URL is plain `http`, and the endpoint's policy requires `https`. Permanent.
    NotHttps,
    /// The request cannot be sent as configured. Permanent.
    Unsendable,
    /// The stored rule or client that authorises the call cannot be read, so nothing was sent.
    /// Permanent.
    ///
    /// Put it again, then redeliver.
    Unreadable,
    /// The endpoint is restricted to the events of another client
    /// ([`Endpoint::client`](crate::Endpoint::client)), so nothing was sent. Permanent.
    OtherClient,
    /// The access token could not be fetched from the token endpoint. Transient.
    ///
    /// Nothing was sent, or nothing more after a 401.
    Token,
    /// The code that makes attempts panicked: a bug, contained to this attempt. Transient.
    Panicked,
}

impl Failure {
    /// Returns `true` if a retry can help; `None` for [`Failure::Status`] and
    /// [`Failure::CredentialsDropped`], which the policy decides.
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
                f.write_str("TLS handshake failed: no protocol, cipher or key type in common")
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
            Self::Malformed => f.write_str("answer could not be read as HTTP"),
            Self::Redirect(refusal) => refusal.fmt(f),
            Self::Blocked => f.write_str("host has no address that may be called"),
            Self::NotHttps => f.write_str("URL is not https"),
            Self::Unsendable => f.write_str("request cannot be sent as configured"),
            Self::Unreadable => f.write_str("stored rule or client cannot be read; put it again"),
            Self::OtherClient => f.write_str("endpoint is restricted to another client's events"),
            Self::Token => f.write_str("access token could not be fetched"),
            Self::Panicked => f.write_str("the sending code panicked"),
        }
    }
}

/// The outcome of an attempt for its delivery.
///
/// In JSON an object: `{"outcome":"failed","failure":{"kind":"timeout"}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum Outcome {
    /// The receiver accepted the delivery. Final.
    Delivered,
    /// The attempt failed and the delivery will be retried.
    Failed {
        /// Why the attempt failed.
        failure: Failure,
    },
    /// The delivery was given up and is listed as a dead letter. Final.
    DeadLettered {
        /// Why the delivery was given up.
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

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered => f.write_str("delivered"),
            Self::Failed { failure } => write!(f, "failed, to be retried: {failure}"),
            Self::DeadLettered { reason } => write!(f, "dead letter: {reason}"),
        }
    }
}

impl Outcome {
    /// Returns `true` if no further attempt follows.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Failed { .. })
    }
}

/// Why a delivery was given up.
///
/// In JSON an object: `{"kind":"attempts_exhausted","failure":{"kind":"timeout"}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// A failure that a retry cannot fix.
    Permanent(Failure),
    /// The last attempt that the retry policy allows failed with this.
    AttemptsExhausted(Failure),
    /// An attempt failed with this after the deadline had passed.
    #[serde(alias = "window_over")]
    DeadlinePassed(Failure),
    /// An attempt failed with this, and the receiver's `webhook-delivery: abort-message` forbade a
    /// retry.
    AbortedByReceiver(Failure),
    /// Its endpoint was removed.
    EndpointRemoved,
    /// Its endpoint already had the maximum of open deliveries.
    ///
    /// Either other endpoints took the event, or the store was told to give up the excess.
    BacklogFull,
    /// The open deliveries of its rule were ended.
    RuleEnded,
    /// The open deliveries of its client were ended.
    ClientEnded,
    /// Its row in the store cannot be read.
    ///
    /// It was set aside, so that the endpoint's other deliveries continue.
    ///
    /// Fields that could not be read are shown as `unreadable`. The log says what is wrong; after
    /// the repair the delivery can be redelivered.
    Unreadable,
}

tagged!(
    DeadLetterReason,
    "kind",
    [
        ("permanent", Has::One("failure")),
        ("attempts_exhausted", Has::One("failure")),
        ("deadline_passed", Has::One("failure")),
        // The name in records of earlier versions.
        ("window_over", Has::One("failure")),
        ("aborted_by_receiver", Has::One("failure")),
    ]
);

impl DeadLetterReason {
    /// Returns how the last attempt failed; `None` if something other than a failed attempt ended
    /// the delivery.
    pub fn failure(self) -> Option<Failure> {
        match self {
            Self::Permanent(failure)
            | Self::AttemptsExhausted(failure)
            | Self::DeadlinePassed(failure)
            | Self::AbortedByReceiver(failure) => Some(failure),
            Self::EndpointRemoved
            | Self::BacklogFull
            | Self::RuleEnded
            | Self::ClientEnded
            | Self::Unreadable => None,
        }
    }

    /// Returns `true` if an operator asked for it, so that it is no sign of trouble.
    pub(crate) fn is_requested(self) -> bool {
        matches!(
            self,
            Self::EndpointRemoved | Self::RuleEnded | Self::ClientEnded
        )
    }
}

impl fmt::Display for DeadLetterReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permanent(failure) => write!(f, "{failure}, which is permanent"),
            Self::AttemptsExhausted(failure) => write!(f, "{failure} on the last attempt"),
            Self::DeadlinePassed(failure) => {
                write!(f, "{failure} after the deadline had passed")
            }
            Self::AbortedByReceiver(failure) => {
                write!(f, "{failure}, and the receiver asked not to try again")
            }
            Self::EndpointRemoved => f.write_str("endpoint was removed"),
            Self::BacklogFull => f.write_str("endpoint's backlog was full"),
            Self::RuleEnded => f.write_str("deliveries of its rule were ended"),
            Self::ClientEnded => f.write_str("deliveries of its client were ended"),
            Self::Unreadable => f.write_str("its row in the store cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores keep failures under these names, so none may ever change.
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
            // Records of earlier versions are still read, and the name written is the same.
            assert_eq!(serde_json::from_str::<Failure>(name).unwrap(), failure);
            let written = serde_json::to_value(failure).unwrap();
            let kind = written["kind"].to_string();
            assert!(name.contains(&kind), "{written}");
            assert_eq!(serde_json::from_value::<Failure>(written).unwrap(), failure);
        }
    }

    #[test]
    fn each_failure_says_whether_trying_again_can_help_and_what_was_answered() {
        for (failure, transient, status) in [
            (Failure::Status(503), None, Some(503)),
            (Failure::CredentialsDropped(401), None, Some(401)),
            (Failure::Timeout, Some(true), None),
            (Failure::Dns, Some(true), None),
            (Failure::TlsIncompatible, Some(true), None),
            (Failure::Token, Some(true), None),
            (Failure::CertificateExpired, Some(false), None),
            (Failure::Redirect(RedirectRefusal::Loop), Some(false), None),
            (Failure::Blocked, Some(false), None),
            (Failure::OtherClient, Some(false), None),
        ] {
            let said = (failure.is_transient(), failure.status());
            assert_eq!(said, (transient, status), "{failure:?}");
        }
    }

    #[test]
    fn only_a_failure_that_is_retried_is_not_final() {
        let failure = Failure::Timeout;
        let reason = DeadLetterReason::EndpointRemoved;
        assert!(Outcome::Delivered.is_final() && Outcome::DeadLettered { reason }.is_final());
        let failed = Outcome::Failed { failure };
        assert!(!failed.is_final());
        assert_eq!(failed.to_string(), "failed, to be retried: timed out");
    }

    #[test]
    fn a_reason_is_shown_in_words() {
        let failure = Failure::Status(503);
        for (reason, words) in [
            (
                DeadLetterReason::Permanent(failure),
                "answered 503, which is permanent",
            ),
            (
                DeadLetterReason::AttemptsExhausted(failure),
                "answered 503 on the last attempt",
            ),
            (DeadLetterReason::EndpointRemoved, "endpoint was removed"),
        ] {
            assert_eq!(reason.to_string(), words);
        }
    }
}
