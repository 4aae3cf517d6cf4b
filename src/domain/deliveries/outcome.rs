//! How an attempt ended, and why a delivery was given up.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::policy::redirect::RedirectRefusal;
use crate::domain::value::tagged::{Has, tagged};

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

/// Why a delivery was given up. In JSON an object: `{"kind":"attempts_exhausted","failure":{"kind":"timeout"}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// A failure that trying again cannot mend.
    Permanent(Failure),
    /// The last attempt that the retry policy allows failed like this.
    AttemptsExhausted(Failure),
    /// An attempt failed like this when the deadline for retries had passed.
    #[serde(alias = "window_over")]
    DeadlinePassed(Failure),
    /// An attempt failed like this, and the receiver asked by `webhook-delivery: abort-message` not to try again.
    AbortedByReceiver(Failure),
    /// Its endpoint was removed.
    EndpointRemoved,
    /// Its endpoint had as many open deliveries as it may, and others took the event, or the store was told to give up what exceeds that.
    BacklogFull,
    /// The open deliveries of its rule were ended.
    RuleEnded,
    /// The open deliveries of its client were ended.
    ClientEnded,
    /// Its row in the store cannot be read. It was set aside, so that the endpoint's other deliveries go on; what could not be read of it is shown as
    /// `unreadable`. The log says what was wrong; once that is mended, it can be redelivered.
    Unreadable,
}

tagged!(
    DeadLetterReason,
    "kind",
    [
        ("permanent", Has::One("failure")),
        ("attempts_exhausted", Has::One("failure")),
        ("deadline_passed", Has::One("failure")),
        // As earlier versions wrote it.
        ("window_over", Has::One("failure")),
        ("aborted_by_receiver", Has::One("failure")),
    ]
);

impl DeadLetterReason {
    /// Returns how the last attempt failed; `None` when it was not a failed attempt that ended the delivery.
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
}

impl fmt::Display for DeadLetterReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permanent(failure) => write!(f, "{failure}, which is permanent"),
            Self::AttemptsExhausted(failure) => write!(f, "{failure} on the last attempt"),
            Self::DeadlinePassed(failure) => {
                write!(f, "{failure} when the deadline for retries had passed")
            }
            Self::AbortedByReceiver(failure) => {
                write!(f, "{failure}, and the receiver asked not to try again")
            }
            Self::EndpointRemoved => f.write_str("endpoint was removed"),
            Self::BacklogFull => f.write_str("backlog full"),
            Self::RuleEnded => f.write_str("deliveries of its rule were ended"),
            Self::ClientEnded => f.write_str("deliveries of its client were ended"),
            Self::Unreadable => f.write_str("its row in the store cannot be read"),
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
}
