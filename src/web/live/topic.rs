//! What can be watched.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::domain::endpoint::id::EndpointId;
use crate::domain::value::id::DeliveryId;
use crate::store::RedeliveryId;

/// Something to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::web) enum Topic {
    /// The state of the engine.
    Overview,
    /// What operators did last.
    Actions,
    /// Attempts to any endpoint.
    Attempts,
    /// The status of an endpoint, and attempts to it.
    Endpoint(EndpointId),
    /// A delivery and its attempts.
    Delivery(DeliveryId),
    /// The progress of a redelivery.
    Redelivery(RedeliveryId),
}

/// The topics of a listener: 1 to [`MAX_TOPICS`], separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::web) struct Topics(pub(in crate::web) BTreeSet<Topic>);

/// A text that does not name topics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::web) enum InvalidTopics {
    #[error(
        "{0:?} is not a topic; there are overview, actions, attempts, endpoint:<id>, \
         delivery:<id> and redelivery:<id>"
    )]
    Unknown(String),
    #[error("these are more than {MAX_TOPICS} topics; open a second stream for the others")]
    TooMany,
}

/// The most topics of one listener.
pub(in crate::web) const MAX_TOPICS: usize = 20;

impl Topic {
    /// Returns the name of the events with its state.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Actions => "actions",
            Self::Attempts => "attempts",
            Self::Endpoint(_) => "endpoint",
            Self::Delivery(_) => "delivery",
            Self::Redelivery(_) => "redelivery",
        }
    }

    /// Returns `true` if attempts are shown beside its state.
    pub(super) fn has_attempts(self) -> bool {
        matches!(self, Self::Attempts | Self::Endpoint(_))
    }
}

impl FromStr for Topic {
    type Err = InvalidTopics;

    fn from_str(text: &str) -> Result<Self, InvalidTopics> {
        let number = |id: &str| {
            let plain = id.bytes().all(|byte| byte.is_ascii_digit());
            id.parse().ok().filter(|_| plain)
        };
        let topic = match text.split_once(':') {
            None => match text {
                "overview" => Some(Self::Overview),
                "actions" => Some(Self::Actions),
                "attempts" => Some(Self::Attempts),
                _ => None,
            },
            Some(("endpoint", id)) => id.parse().ok().map(Self::Endpoint),
            Some(("delivery", id)) => number(id).map(DeliveryId::new).map(Self::Delivery),
            Some(("redelivery", id)) => number(id).map(RedeliveryId::new).map(Self::Redelivery),
            Some(_) => None,
        };
        topic.ok_or_else(|| InvalidTopics::Unknown(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Overview | Self::Actions | Self::Attempts => f.write_str(kind),
            Self::Endpoint(id) => write!(f, "{kind}:{id}"),
            Self::Delivery(id) => write!(f, "{kind}:{id}"),
            Self::Redelivery(id) => write!(f, "{kind}:{id}"),
        }
    }
}

impl FromStr for Topics {
    type Err = InvalidTopics;

    fn from_str(text: &str) -> Result<Self, InvalidTopics> {
        let mut topics = BTreeSet::new();
        for name in text.split(',') {
            topics.insert(name.trim().parse()?);
            if topics.len() > MAX_TOPICS {
                return Err(InvalidTopics::TooMany);
            }
        }
        Ok(Self(topics))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_as_they_are_written() {
        let id = "ep_0123456789abcdef0123456789abcdef";
        let text = format!("overview,actions,attempts,endpoint:{id},delivery:42,redelivery:7");
        let Topics(topics) = text.parse().unwrap();
        let written: Vec<_> = topics.iter().map(ToString::to_string).collect();
        assert_eq!(written.join(","), text);
    }

    #[test]
    fn what_names_no_topic_is_refused() {
        for text in [
            "",
            "overview,",
            "everything",
            "endpoint",
            "endpoint:1",
            "delivery:+1",
            "delivery:",
            "redelivery:-1",
            "overview:1",
        ] {
            let refused = text.parse::<Topics>().unwrap_err();
            assert!(matches!(refused, InvalidTopics::Unknown(_)), "{text}");
        }
    }

    #[test]
    fn twenty_topics_are_the_most_and_a_topic_counts_once() {
        let many = |count: usize| {
            let names: Vec<_> = (0..count).map(|id| format!("delivery:{id}")).collect();
            names.join(",").parse::<Topics>()
        };
        assert_eq!(many(20).unwrap().0.len(), 20);
        assert_eq!(many(21), Err(InvalidTopics::TooMany));
        let again = "overview, overview".parse::<Topics>().unwrap();
        assert_eq!(again.0.len(), 1);
    }
}
