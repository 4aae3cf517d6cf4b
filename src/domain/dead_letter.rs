//! Deliveries that were given up, kept to be listed and redelivered.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::attempt::{AttemptSummary, Failure};
use super::id::{AlertId, ClientId, DeliveryId, EventId, RuleId};
use super::tagged::{Has, tagged};
use super::time::Timestamp;
use super::url::WebhookUrl;

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

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeadLetter {
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// The alert that was not delivered.
    pub alert_id: AlertId,
    /// The event that raised it.
    pub event_id: EventId,
    /// The rule that raised it.
    pub rule_id: RuleId,
    /// The event's type.
    pub rule_type: String,
    /// Whose event it is.
    pub client_id: ClientId,
    /// Where it should have gone.
    pub url: WebhookUrl,
    /// Why it was given up.
    pub reason: DeadLetterReason,
    /// When it was given up.
    pub at: Timestamp,
    /// How many attempts were made.
    pub attempts_made: u32,
    /// The last attempt; `None` when there was none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_attempt: Option<AttemptSummary>,
}
