//! One alert to one endpoint: its states, and its records for operators.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::deliveries::alert::Alert;
use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::policy::retry::Progress;
use crate::domain::value::id::{AlertId, ClientId, CompanyId, DeliveryId, EventId, RuleId};
use crate::domain::value::tagged::{Has, tagged};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::{OnWall, WallOffset};

/// An open delivery with its alert, ready to be attempted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenDelivery {
    /// The delivery's id.
    pub id: DeliveryId,
    /// The alert to send.
    pub alert: Arc<Alert>,
    /// The attempts so far.
    pub progress: Progress,
    /// The earliest instant of the next attempt; `None` before the first attempt.
    pub due_at: Option<Timestamp>,
}

impl OpenDelivery {
    /// Returns a delivery that was not attempted yet.
    pub fn new(id: DeliveryId, alert: Arc<Alert>) -> Self {
        Self {
            id,
            alert,
            progress: Progress::default(),
            due_at: None,
        }
    }
}

/// Limits of a page of open deliveries.
///
/// It ends at the first limit reached, but holds at least one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageLimit {
    /// The most deliveries.
    pub deliveries: usize,
    /// The page ends with the delivery at which the bodies add up to this many bytes.
    pub bytes: usize,
}

impl PageLimit {
    /// Returns a limit of this many deliveries, and this many bytes of bodies.
    pub fn new(deliveries: usize, bytes: usize) -> Self {
        Self { deliveries, bytes }
    }
}

/// A page of open deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenPage {
    /// The deliveries, ordered by id.
    pub deliveries: Vec<OpenDelivery>,
    /// Whether more may follow.
    pub more: bool,
}

impl OpenPage {
    /// Returns a page after which nothing follows.
    pub fn last(deliveries: Vec<OpenDelivery>) -> Self {
        Self {
            deliveries,
            more: false,
        }
    }

    /// Returns a page of deliveries that are already in memory.
    pub(crate) fn of(deliveries: impl Iterator<Item = OpenDelivery>, limit: PageLimit) -> Self {
        let mut page = Self::default();
        let mut bytes = 0;
        for delivery in deliveries.take(limit.deliveries) {
            bytes += delivery.alert.body.len();
            page.deliveries.push(delivery);
            page.more = bytes >= limit.bytes;
            if page.more {
                break;
            }
        }
        page.more |= page.deliveries.len() == limit.deliveries;
        page
    }
}

/// Deliveries read back by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded {
    /// The open ones, in the order asked for.
    pub deliveries: Vec<OpenDelivery>,
    /// The ids not looked up because the page was full.
    pub rest: Vec<DeliveryId>,
}

impl Loaded {
    /// Returns the deliveries found, and the ids not looked up.
    pub fn new(deliveries: Vec<OpenDelivery>, rest: Vec<DeliveryId>) -> Self {
        Self { deliveries, rest }
    }
}

/// An open delivery that waits for a retry, without its alert, which stays in the store until the
/// retry is due.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitingDelivery {
    /// The delivery's id.
    pub id: DeliveryId,
    /// The earliest instant of the next attempt.
    pub due_at: Timestamp,
    /// The company by which order is kept.
    pub company_id: Option<CompanyId>,
}

impl WaitingDelivery {
    /// Returns a delivery of no company that is retried at `due_at`.
    pub fn new(id: DeliveryId, due_at: Timestamp) -> Self {
        Self {
            id,
            due_at,
            company_id: None,
        }
    }
}

/// The reported part of a delivery that was given up without an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndedDelivery {
    /// The delivery's id.
    pub id: DeliveryId,
    /// The alert that was not delivered.
    pub alert_id: AlertId,
    /// The event that raised the alert.
    pub event_id: EventId,
    /// The rule that raised the alert.
    pub rule_id: RuleId,
    /// Number of attempts made before.
    pub attempts_made: u32,
}

impl EndedDelivery {
    /// Returns the reported part of a delivery of this alert.
    pub fn new(id: DeliveryId, alert: &Alert, attempts_made: u32) -> Self {
        Self {
            id,
            alert_id: alert.id,
            event_id: alert.event_id.clone(),
            rule_id: alert.rule_id.clone(),
            attempts_made,
        }
    }
}

/// The state of a delivery. In JSON an object: `{"state":"waiting","dueAt":"…"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "snake_case",
    rename_all_fields = "camelCase",
    remote = "Self"
)]
#[non_exhaustive]
pub enum DeliveryState {
    /// Accepted, not attempted yet.
    Queued,
    /// A failed attempt will be retried.
    Waiting {
        /// The earliest instant of the retry.
        #[serde(alias = "due_at")]
        due_at: Timestamp,
    },
    /// The receiver accepted it.
    Delivered {
        /// When it was delivered.
        at: Timestamp,
    },
    /// It was given up.
    DeadLettered {
        /// When it was given up.
        at: Timestamp,
        /// Why it was given up.
        reason: DeadLetterReason,
    },
}

tagged!(
    DeliveryState,
    "state",
    [
        ("waiting", Has::Fields(&["dueAt"])),
        ("delivered", Has::Fields(&["at"])),
        ("dead_lettered", Has::Fields(&["at", "reason"])),
    ]
);

impl DeliveryState {
    /// Returns `true` if attempts may still follow.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Waiting { .. })
    }
}

/// A delivery as shown to operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Delivery {
    /// The delivery's id.
    pub id: DeliveryId,
    /// The alert that is delivered.
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
    /// The URL that it goes to.
    pub url: WebhookUrl,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Its state. In JSON its fields are flattened into the delivery.
    #[serde(flatten)]
    pub state: DeliveryState,
    /// Number of finished attempts.
    pub attempts_made: u32,
    /// The last finished attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_attempt: Option<AttemptSummary>,
}

/// Everything stored of one delivery, apart from its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryDetails {
    /// The delivery.
    pub delivery: Delivery,
    /// The alert, with the body as it is sent.
    pub alert: Arc<Alert>,
    /// The delivery that this one repeats; `None` if it repeats none, or if that is unknown.
    pub redelivery_of: Option<DeliveryId>,
    /// The deliveries that repeat this one, oldest first.
    pub redelivered_as: Vec<DeliveryId>,
}

impl DeliveryDetails {
    /// Returns the details of a delivery that was not redelivered and repeats none.
    pub fn new(delivery: Delivery, alert: Arc<Alert>) -> Self {
        Self {
            delivery,
            alert,
            redelivery_of: None,
            redelivered_as: Vec::new(),
        }
    }
}

impl OnWall for DeliveryDetails {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            delivery: self.delivery.on_wall(offset),
            ..self
        }
    }
}

impl OnWall for DeliveryState {
    fn on_wall(self, offset: WallOffset) -> Self {
        match self {
            Self::Queued => Self::Queued,
            Self::Waiting { due_at } => Self::Waiting {
                due_at: due_at.on_wall(offset),
            },
            Self::Delivered { at } => Self::Delivered {
                at: at.on_wall(offset),
            },
            Self::DeadLettered { at, reason } => Self::DeadLettered {
                at: at.on_wall(offset),
                reason,
            },
        }
    }
}

impl OnWall for Delivery {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            accepted_at: self.accepted_at.on_wall(offset),
            state: self.state.on_wall(offset),
            last_attempt: self.last_attempt.on_wall(offset),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_page_ends_with_the_delivery_that_fills_it() {
        let open = |id: u64| OpenDelivery {
            id: DeliveryId::new(id),
            alert: Arc::new(Alert {
                body: "12345678".into(),
                ..Alert::example(None)
            }),
            progress: Progress::default(),
            due_at: None,
        };
        let body = 8;
        let page = |deliveries, bytes| {
            let page = OpenPage::of((1..=5).map(open), PageLimit { deliveries, bytes });
            (page.deliveries.len(), page.more)
        };
        assert_eq!(page(9, usize::MAX), (5, false));
        assert_eq!(page(5, usize::MAX), (5, true), "more may follow");
        assert_eq!(page(3, usize::MAX), (3, true));
        assert_eq!(page(9, 2 * body), (2, true));
        assert_eq!(page(9, 2 * body + 1), (3, true));
        assert_eq!(page(9, 0), (1, true), "one at least");
    }

    #[test]
    fn a_delivery_is_shown_in_wall_time() {
        let [now, later] = [1_000_000, 1_060_000].map(Timestamp::from_unix_millis);
        let delivery = Delivery {
            id: DeliveryId::new(1),
            alert_id: AlertId::new(&"e".into(), &"r".into()),
            event_id: "e".into(),
            rule_id: "r".into(),
            rule_type: "t".to_owned(),
            client_id: "c".into(),
            company_id: None,
            url: WebhookUrl::parse("http://a.test/").unwrap(),
            accepted_at: now,
            state: DeliveryState::Waiting { due_at: now },
            attempts_made: 1,
            last_attempt: Some(AttemptSummary::new(1, now, std::time::Duration::ZERO)),
        };
        let shown = delivery.on_wall(WallOffset::from_millis(60_000));
        assert_eq!(shown.accepted_at, later);
        assert_eq!(shown.state, DeliveryState::Waiting { due_at: later });
        assert_eq!(shown.last_attempt.map(|attempt| attempt.at), Some(later));
    }
}
