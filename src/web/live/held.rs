//! What is held for a listener until it takes it: the latest state of each topic, and a few
//! attempts. So a listener that takes nothing costs a bounded amount of memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::SAMPLE;
use super::topic::Topic;
use crate::web::model::live::{AttemptRow, Update};

/// What a listener has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    topics: BTreeMap<Topic, OfTopic>,
    end: Option<End>,
}

#[derive(Debug, Default)]
struct OfTopic {
    latest: Option<Latest>,
    /// Number of states that a later one has replaced.
    replaced: u64,
    attempts: VecDeque<Arc<AttemptRow>>,
    /// Number of attempts that are not among those.
    left_out: u64,
}

/// The latest that is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Latest {
    State(Arc<Value>),
    /// There is no such thing any more.
    Gone,
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The engine is shutting down.
    ShuttingDown,
    /// It is old enough for the credentials to be checked again.
    Renew,
}

/// Something to send.
#[derive(Debug)]
pub(super) enum Event {
    /// The name of the event, and its data.
    Update(&'static str, Update),
    /// The stream ends.
    End(End),
}

impl Held {
    /// Holds the latest of a topic, in place of something earlier that was not taken.
    pub(super) fn put(&mut self, topic: Topic, latest: Latest) {
        let held = self.topics.entry(topic).or_default();
        if held.latest.replace(latest).is_some() {
            held.replaced += 1;
        }
    }

    /// Holds the state that a listener begins with. What was before that, it has not missed.
    pub(super) fn begin(&mut self, topic: Topic, state: Arc<Value>) {
        let held = self.topics.entry(topic).or_default();
        held.latest = Some(Latest::State(state));
        held.replaced = 0;
    }

    /// Holds attempts, the newest at the cost of the oldest. `left_out` more are only counted.
    pub(super) fn add(&mut self, topic: Topic, attempts: &[Arc<AttemptRow>], left_out: u64) {
        let held = self.topics.entry(topic).or_default();
        held.left_out += left_out;
        for attempt in attempts {
            if held.attempts.len() == SAMPLE {
                held.attempts.pop_front();
                held.left_out += 1;
            }
            held.attempts.push_back(Arc::clone(attempt));
        }
    }

    pub(super) fn end(&mut self, end: End) {
        self.end = Some(end);
    }

    /// Takes everything that is held, in the order of the topics.
    pub(super) fn take(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for (topic, held) in std::mem::take(&mut self.topics) {
            if let Some(latest) = held.latest {
                let (kind, state) = match latest {
                    Latest::State(state) => (topic.kind(), Some(state)),
                    Latest::Gone => ("gone", None),
                };
                let update = Update::state(topic, held.replaced, state);
                events.push(Event::Update(kind, update));
            }
            if !held.attempts.is_empty() || held.left_out > 0 {
                let update = Update::attempts(topic, held.left_out, held.attempts.into());
                events.push(Event::Update("attempts", update));
            }
        }
        events.extend(self.end.map(Event::End));
        events
    }
}

impl End {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ShuttingDown => "shutting_down",
            Self::Renew => "renew",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::deliveries::delivery::EndedDelivery;
    use crate::domain::deliveries::outcome::DeadLetterReason;
    use crate::domain::endpoint::status::DeliveryReport;
    use crate::domain::value::id::{AlertId, DeliveryId};
    use crate::domain::value::time::Timestamp;
    use crate::domain::value::url::WebhookUrl;

    fn row(id: u64) -> Arc<AttemptRow> {
        let ended = EndedDelivery {
            id: DeliveryId::new(id),
            alert_id: AlertId::new(&"event".into(), &"rule".into()),
            event_id: "event".into(),
            rule_id: "rule".into(),
            attempts_made: 0,
        };
        let url = WebhookUrl::parse("https://a.test/").unwrap();
        let (reason, at) = (DeadLetterReason::BacklogFull, Timestamp::default());
        let report = DeliveryReport::given_up(&url, &ended, reason, at);
        Arc::new(AttemptRow::new(&report).unwrap())
    }

    fn taken(held: &mut Held) -> Vec<(String, Value)> {
        let events = held.take().into_iter().map(|event| match event {
            Event::Update(kind, update) => (kind.to_owned(), serde_json::to_value(update).unwrap()),
            Event::End(end) => ("end".to_owned(), json!(end.as_str())),
        });
        events.collect()
    }

    #[test]
    fn a_later_state_takes_the_place_of_an_earlier_one_which_is_counted() {
        let mut held = Held::default();
        for state in 1..=3 {
            held.put(Topic::Overview, Latest::State(Arc::new(json!(state))));
        }
        held.put(Topic::Actions, Latest::Gone);
        let expected = [
            (
                "overview".to_owned(),
                json!({ "topic": "overview", "missed": 2, "state": 3 }),
            ),
            (
                "gone".to_owned(),
                json!({ "topic": "actions", "missed": 0 }),
            ),
        ];
        assert_eq!(taken(&mut held), expected);
        assert_eq!(taken(&mut held), []);
    }

    #[test]
    fn the_newest_attempts_are_held_and_the_others_counted() {
        let mut held = Held::default();
        let rows: Vec<_> = (1..=u64::try_from(SAMPLE).unwrap() + 5).map(row).collect();
        held.add(Topic::Attempts, &rows, 100);
        let [(kind, update)] = &taken(&mut held)[..] else {
            panic!()
        };
        assert_eq!(
            (kind.as_str(), &update["missed"]),
            ("attempts", &json!(105))
        );
        let shown = update["attempts"].as_array().unwrap();
        assert_eq!(shown.len(), SAMPLE);
        assert_eq!(shown[0]["deliveryId"], "6");
        // A count alone is told as well.
        held.add(Topic::Attempts, &[], 7);
        assert_eq!(taken(&mut held)[0].1["missed"], 7);
    }

    /// Two that begin at once are shown what each other has found.
    #[test]
    fn a_listener_has_missed_nothing_when_it_begins() {
        let mut held = Held::default();
        for state in 1..=2 {
            held.put(Topic::Overview, Latest::State(Arc::new(json!(state))));
        }
        held.begin(Topic::Overview, Arc::new(json!(3)));
        let [(_, update)] = &taken(&mut held)[..] else {
            panic!()
        };
        assert_eq!(
            (&update["missed"], &update["state"]),
            (&json!(0), &json!(3))
        );
    }

    #[test]
    fn the_end_comes_last() {
        let mut held = Held::default();
        held.end(End::Renew);
        held.put(Topic::Overview, Latest::State(Arc::new(json!(1))));
        let taken = taken(&mut held);
        assert_eq!(taken.last().unwrap(), &("end".to_owned(), json!("renew")));
        assert_eq!(taken.len(), 2);
    }
}
