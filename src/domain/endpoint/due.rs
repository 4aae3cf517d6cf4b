//! The answer to an operator who wants a delivery attempted now.

use serde::{Deserialize, Serialize};

use crate::domain::endpoint::status::EndpointState;
use crate::domain::value::tagged::{Has, tagged};
use crate::domain::value::wall::{OnWall, WallOffset};

/// What became of a delivery that was to be attempted now. In JSON an object:
/// `{"answer":"blocked","by":{"state":"paused"}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum AttemptNowAnswer {
    /// It waited for a retry, and is due now. That is stored.
    Started,
    /// It is queued, due or being attempted already. Nothing changed.
    UnderWay,
    /// Its endpoint attempts nothing at present. Nothing changed.
    Blocked {
        /// The state of the endpoint: paused, disabled, on hold, or behind an open circuit.
        by: EndpointState,
    },
    /// It is no longer open: delivered, or a dead letter.
    NotOpen,
    /// The store knows no delivery with this id.
    Unknown,
}

tagged!(
    AttemptNowAnswer,
    "answer",
    [("blocked", Has::Fields(&["by"]))]
);

impl OnWall for AttemptNowAnswer {
    fn on_wall(self, offset: WallOffset) -> Self {
        match self {
            Self::Blocked { by } => Self::Blocked {
                by: by.on_wall(offset),
            },
            Self::Started | Self::UnderWay | Self::NotOpen | Self::Unknown => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::value::time::Timestamp;

    #[test]
    fn the_end_of_what_blocks_is_shown_in_wall_time() {
        let blocked = |seconds: i64| AttemptNowAnswer::Blocked {
            by: EndpointState::RateLimited {
                until: Timestamp::from_unix_millis(seconds * 1_000),
            },
        };
        let shown = blocked(5).on_wall(WallOffset::from_millis(60_000));
        assert_eq!(shown, blocked(65));
    }
}
