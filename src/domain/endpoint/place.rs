//! Where an open delivery is.

use serde::{Deserialize, Serialize};

use crate::domain::value::id::DeliveryId;
use crate::domain::value::tagged::{Has, tagged};
use crate::domain::value::time::Timestamp;
use crate::domain::value::wall::{OnWall, WallOffset};

/// Where an open delivery is. In JSON an object: `{"place":"queued","ahead":3}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum Place {
    /// An attempt is in flight.
    InFlight {
        /// When it started.
        since: Timestamp,
    },
    /// An attempt has ended, and is being recorded.
    Recording,
    /// The endpoint keeps an order, and an earlier delivery has not ended.
    Behind {
        /// That delivery.
        first: DeliveryId,
    },
    /// It may start when its turn comes.
    Queued {
        /// Number of deliveries before it.
        ahead: u64,
    },
    /// A failed attempt will be retried.
    Waiting {
        /// When the retry is due.
        until: Timestamp,
    },
    /// It is only in the store: further deliveries come before it, or the endpoint cannot start
    /// any.
    Stored,
}

tagged!(
    Place,
    "place",
    [
        ("in_flight", Has::Fields(&["since"])),
        ("behind", Has::Fields(&["first"])),
        ("queued", Has::Fields(&["ahead"])),
        ("waiting", Has::Fields(&["until"])),
    ]
);

impl OnWall for Place {
    fn on_wall(self, offset: WallOffset) -> Self {
        match self {
            Self::InFlight { since } => Self::InFlight {
                since: since.on_wall(offset),
            },
            Self::Waiting { until } => Self::Waiting {
                until: until.on_wall(offset),
            },
            Self::Recording | Self::Behind { .. } | Self::Queued { .. } | Self::Stored => self,
        }
    }
}
