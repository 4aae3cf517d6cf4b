//! Deliveries that were given up, kept to be listed and redelivered.

use serde::{Deserialize, Serialize};

use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::deliveries::delivery::{Delivery, DeliveryState};
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::value::id::{AlertId, ClientId, CompanyId, DeliveryId, EventId, RuleId};
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
    /// The client's company that it is about; `None` for events about the client as a whole.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub company_id: Option<CompanyId>,
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

impl DeadLetter {
    /// Returns a delivery as a dead letter; `None` if it was not given up.
    pub(crate) fn of(delivery: Delivery) -> Option<Self> {
        let DeliveryState::DeadLettered { at, reason } = delivery.state else {
            return None;
        };
        Some(Self {
            delivery_id: delivery.id,
            alert_id: delivery.alert_id,
            event_id: delivery.event_id,
            rule_id: delivery.rule_id,
            rule_type: delivery.rule_type,
            client_id: delivery.client_id,
            company_id: delivery.company_id,
            url: delivery.url,
            reason,
            at,
            attempts_made: delivery.attempts_made,
            last_attempt: delivery.last_attempt,
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_is_shown_in_wall_time() {
        let now = Timestamp::from_unix_millis(1_000_000);
        let later = Timestamp::from_unix_millis(1_060_000);
        let letter = DeadLetter {
            delivery_id: DeliveryId::new(1),
            alert_id: AlertId::new(&"e".into(), &"r".into()),
            event_id: "e".into(),
            rule_id: "r".into(),
            rule_type: "t".to_owned(),
            client_id: "c".into(),
            company_id: None,
            url: WebhookUrl::parse("http://a.test/").unwrap(),
            reason: DeadLetterReason::EndpointRemoved,
            at: now,
            attempts_made: 1,
            last_attempt: Some(AttemptSummary::new(1, now, std::time::Duration::ZERO)),
        };
        let shown = letter.on_wall(WallOffset::from_millis(60_000));
        let last = shown.last_attempt.map(|attempt| attempt.at);
        assert_eq!((shown.at, last), (later, Some(later)));
    }
}
