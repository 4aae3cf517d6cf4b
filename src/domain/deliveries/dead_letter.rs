//! Deliveries that were given up, kept to be listed and redelivered.

use serde::{Deserialize, Serialize};

use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::value::id::{AlertId, ClientId, DeliveryId, EventId, RuleId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::{OnWall, WallOffset};

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeadLetter {
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// The alert that was not delivered.
    pub alert_id: AlertId,
    /// The event that raised the alert.
    pub event_id: EventId,
    /// The rule that raised the alert.
    pub rule_id: RuleId,
    /// The event's type.
    pub rule_type: String,
    /// The client whose event it is.
    pub client_id: ClientId,
    /// The URL that it was for.
    pub url: WebhookUrl,
    /// Why it was given up.
    pub reason: DeadLetterReason,
    /// When it was given up.
    pub at: Timestamp,
    /// Number of attempts made.
    pub attempts_made: u32,
    /// The last attempt; `None` if there was none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_attempt: Option<AttemptSummary>,
}

impl OnWall for DeadLetter {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            at: self.at.on_wall(offset),
            last_attempt: self.last_attempt.on_wall(offset),
            ..self
        }
    }
}
