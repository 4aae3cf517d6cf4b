//! One alert to one endpoint: its states, and what is said about it to operators.

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
pub struct OpenDelivery {
    /// Which delivery it is.
    pub id: DeliveryId,
    /// What is sent.
    pub alert: Arc<Alert>,
    /// What happened to it so far.
    pub progress: Progress,
    /// Not before this instant; `None` before the first attempt.
    pub due_at: Option<Timestamp>,
}

/// Where a page of open deliveries ends: with whichever is reached first, but never before its first delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// The most deliveries.
    pub deliveries: usize,
    /// The page ends with the delivery by which its bodies have so many bytes.
    pub bytes: usize,
}

/// A page of open deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenPage {
    /// The deliveries, in the order of their ids.
    pub deliveries: Vec<OpenDelivery>,
    /// Whether more may follow.
    pub more: bool,
}

impl OpenPage {
    /// Returns a page of deliveries that are in memory already.
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

/// Deliveries that were read back by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Those that are open, in the order asked for.
    pub deliveries: Vec<OpenDelivery>,
    /// Those that were not looked at, because the page was full.
    pub rest: Vec<DeliveryId>,
}

/// An open delivery that waits for a retry, without its alert: that stays in the store until it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingDelivery {
    /// Which delivery it is.
    pub id: DeliveryId,
    /// Not before this instant.
    pub due_at: Timestamp,
    /// The company by which order is kept.
    pub company_id: Option<CompanyId>,
}

/// A delivery that was given up without an attempt, as much of it as a report tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedDelivery {
    /// Which delivery it was.
    pub id: DeliveryId,
    /// The alert that was not delivered.
    pub alert_id: AlertId,
    /// The event that raised it.
    pub event_id: EventId,
    /// The rule that raised it.
    pub rule_id: RuleId,
    /// How many attempts were made before.
    pub attempts_made: u32,
}

/// Where a delivery stands. In JSON an object: `{"state":"waiting","dueAt":"…"}`.
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
    /// A failed attempt is tried again at this instant.
    Waiting {
        /// Not before this instant.
        #[serde(alias = "due_at")]
        due_at: Timestamp,
    },
    /// The receiver has it.
    Delivered {
        /// Since when.
        at: Timestamp,
    },
    /// Given up.
    DeadLettered {
        /// Since when.
        at: Timestamp,
        /// Why.
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
    /// Says whether attempts may still follow.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Waiting { .. })
    }
}

/// A delivery as it is shown to operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Delivery {
    /// Which delivery it is.
    pub id: DeliveryId,
    /// The alert that is delivered.
    pub alert_id: AlertId,
    /// The event that raised it.
    pub event_id: EventId,
    /// The rule that raised it.
    pub rule_id: RuleId,
    /// The event's type.
    pub rule_type: String,
    /// Whose event it is.
    pub client_id: ClientId,
    /// Where it goes.
    pub url: WebhookUrl,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Where it stands. In JSON its fields are among those of the delivery.
    #[serde(flatten)]
    pub state: DeliveryState,
    /// How many attempts have finished.
    pub attempts_made: u32,
    /// The last of them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_attempt: Option<AttemptSummary>,
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
}
