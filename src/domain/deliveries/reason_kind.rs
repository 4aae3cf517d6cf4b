//! The kinds of reasons why deliveries are given up, for filtering.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::deliveries::outcome::DeadLetterReason;

/// The kind of a [`DeadLetterReason`], without the failure. In JSON its name:
/// `"attempts_exhausted"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReasonKind {
    /// [`DeadLetterReason::Permanent`].
    Permanent,
    /// [`DeadLetterReason::AttemptsExhausted`].
    AttemptsExhausted,
    /// [`DeadLetterReason::DeadlinePassed`].
    DeadlinePassed,
    /// [`DeadLetterReason::AbortedByReceiver`].
    AbortedByReceiver,
    /// [`DeadLetterReason::EndpointRemoved`].
    EndpointRemoved,
    /// [`DeadLetterReason::BacklogFull`].
    BacklogFull,
    /// [`DeadLetterReason::RuleEnded`].
    RuleEnded,
    /// [`DeadLetterReason::ClientEnded`].
    ClientEnded,
    /// [`DeadLetterReason::Unreadable`].
    Unreadable,
}

impl ReasonKind {
    const NAMES: [(Self, &'static str); 9] = [
        (Self::Permanent, "permanent"),
        (Self::AttemptsExhausted, "attempts_exhausted"),
        (Self::DeadlinePassed, "deadline_passed"),
        (Self::AbortedByReceiver, "aborted_by_receiver"),
        (Self::EndpointRemoved, "endpoint_removed"),
        (Self::BacklogFull, "backlog_full"),
        (Self::RuleEnded, "rule_ended"),
        (Self::ClientEnded, "client_ended"),
        (Self::Unreadable, "unreadable"),
    ];
}

impl DeadLetterReason {
    /// Returns the kind of the reason, without the failure.
    pub fn kind(self) -> ReasonKind {
        match self {
            Self::Permanent(_) => ReasonKind::Permanent,
            Self::AttemptsExhausted(_) => ReasonKind::AttemptsExhausted,
            Self::DeadlinePassed(_) => ReasonKind::DeadlinePassed,
            Self::AbortedByReceiver(_) => ReasonKind::AbortedByReceiver,
            Self::EndpointRemoved => ReasonKind::EndpointRemoved,
            Self::BacklogFull => ReasonKind::BacklogFull,
            Self::RuleEnded => ReasonKind::RuleEnded,
            Self::ClientEnded => ReasonKind::ClientEnded,
            Self::Unreadable => ReasonKind::Unreadable,
        }
    }
}

impl fmt::Display for ReasonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMES.iter().find(|(kind, _)| kind == self);
        f.write_str(named.map_or("", |(_, name)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_kind_is_its_json() {
        for (kind, name) in ReasonKind::NAMES {
            assert_eq!(kind.to_string(), name);
            assert_eq!(serde_json::to_value(kind).unwrap(), name);
        }
    }
}
