//! Events, and the answers to publishing them.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::delivery::DeliveryView;
use super::problem::ProblemDocument;
use super::reshape;
use crate::actor::message::Receipt;
use crate::domain::deliveries::delivery::Delivery;
use crate::domain::events::event::Event;
use crate::domain::value::id::{ClientId, CompanyId, DataConnectionId, EventId, RuleId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::{OutboxSummary, RefusedEntry, StoredEvent};
use crate::web::problems::{Code, Problem};

/// An event to publish.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Event)]
pub(in crate::web) struct EventGiven {
    /// The id within the client, for publishing it once. Generated if left out.
    #[schema(value_type = Option<String>, max_length = 256)]
    id: Option<EventId>,
    /// The type that rules match.
    #[schema(min_length = 1, max_length = 256)]
    rule_type: String,
    /// The client whose event it is.
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    client_id: ClientId,
    /// The client's company that it is about.
    #[schema(value_type = Option<String>, max_length = 256)]
    company_id: Option<CompanyId>,
    /// The data connection that it is about.
    #[schema(value_type = Option<String>, max_length = 256)]
    data_connection_id: Option<DataConnectionId>,
    /// A sentence for people.
    message: Option<String>,
    /// Data of any shape, nested at most 126 levels deep.
    #[serde(default, deserialize_with = "given")]
    data: Option<Value>,
    /// When it happened. Now, if left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    occurred_at: Option<Timestamp>,
}

/// Reads data that is present. A `null` would otherwise be read as no data.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

impl EventGiven {
    /// Returns the event. `key` is the `Idempotency-Key`, which is its id if it has none.
    pub(in crate::web) fn event(self, key: Option<&str>) -> Result<Event, Problem> {
        let id = match (self.id, key) {
            (Some(id), Some(key)) if id != *key => {
                let why = "id differs from the Idempotency-Key; send one of them";
                return Err(Problem::part(Code::InvalidEvent, "/id", why));
            }
            (Some(id), _) => Some(id),
            (None, key) => key.map(EventId::from),
        };
        let mut event = Event::new(self.rule_type, self.client_id);
        if let Some(id) = id {
            event = event.id(id);
        }
        if let Some(at) = self.occurred_at {
            event = event.occurred_at(at);
        }
        event.company_id = self.company_id;
        event.data_connection_id = self.data_connection_id;
        event.message = self.message;
        event.data = self.data;
        Ok(event)
    }
}

/// The answer to a publisher once its event is stored.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Receipt)]
pub(in crate::web) struct ReceiptView {
    #[schema(value_type = String)]
    event_id: EventId,
    /// The number of deliveries; 0 if no rule matched.
    deliveries: usize,
    /// Whether the client had published the event before. Nothing is then delivered again.
    duplicate: bool,
    /// The rules that matched. Empty for a duplicate, for which they are not known.
    #[schema(value_type = Vec<String>)]
    rules: Vec<RuleId>,
    /// The endpoints whose deliveries were given up at once, because their backlog is full or they
    /// were removed.
    #[schema(value_type = Vec<String>)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    given_up: Vec<WebhookUrl>,
}

impl From<Receipt> for ReceiptView {
    fn from(receipt: Receipt) -> Self {
        Self {
            event_id: receipt.event_id,
            deliveries: receipt.deliveries,
            duplicate: receipt.duplicate,
            rules: receipt.rules,
            given_up: receipt.given_up,
        }
    }
}

/// The answer about one line of a batch: the status that it would have had alone, with a receipt or
/// a problem.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct LineResult {
    /// 202, 200 for a duplicate, or the status of the problem.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemDocument>,
}

impl From<Result<Receipt, Problem>> for LineResult {
    fn from(result: Result<Receipt, Problem>) -> Self {
        match result {
            Ok(receipt) => Self {
                status: if receipt.duplicate { 200 } else { 202 },
                receipt: Some(receipt.into()),
                problem: None,
            },
            Err(problem) => Self {
                status: problem.code().status(),
                receipt: None,
                problem: Some(problem.document(None)),
            },
        }
    }
}

/// An event that was published.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PublishedEvent)]
pub(in crate::web) struct EventView {
    id: String,
    /// When each client published it, oldest first. Empty if its id is forgotten.
    accepted: Vec<AcceptedView>,
    /// Its deliveries, newest first, at most 100.
    deliveries: Vec<DeliveryView>,
}

/// An event as a client published it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AcceptedEvent)]
pub(in crate::web) struct AcceptedView {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Timestamp,
    /// Number of its deliveries then; 0 if no rule matched.
    deliveries: u64,
}

impl EventView {
    pub(in crate::web) fn new(
        id: &str,
        events: &[StoredEvent],
        deliveries: &[Delivery],
    ) -> Result<Self, Problem> {
        let accepted = events.iter().map(|event| AcceptedView {
            client_id: event.client_id.as_ref().map(ToString::to_string),
            accepted_at: event.accepted_at,
            deliveries: event.deliveries,
        });
        let shown = deliveries.iter().map(DeliveryView::new);
        Ok(Self {
            id: id.to_owned(),
            accepted: accepted.collect(),
            deliveries: shown.collect::<Result<_, _>>()?,
        })
    }
}

/// The events in the outbox.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Outbox)]
pub(in crate::web) struct OutboxView {
    /// Number of events that were not routed yet.
    waiting: u64,
    /// Whether more may wait: counting stopped.
    at_least: bool,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<OldestView>,
    /// Number of events that were set aside: `GET outbox/refused` lists them.
    refused: u64,
    /// Whether more may have been set aside.
    refused_at_least: bool,
}

/// The first event that waits in the outbox.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OldestInOutbox)]
pub(in crate::web) struct OldestView {
    /// Its place in the outbox.
    seq: u64,
    /// Its id, if it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    /// When it happened, as its publisher says.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<Timestamp>,
}

impl OutboxView {
    pub(in crate::web) fn new(outbox: &OutboxSummary) -> Result<Self, Problem> {
        let oldest = outbox.oldest.as_ref();
        Ok(Self {
            waiting: outbox.waiting.count,
            at_least: outbox.waiting.at_least,
            oldest: oldest.map(reshape).transpose()?,
            refused: outbox.refused.count,
            refused_at_least: outbox.refused.at_least,
        })
    }
}

/// An event that was set aside in the outbox.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RefusedEvent)]
pub(in crate::web) struct RefusedView {
    /// Its place in the outbox.
    seq: u64,
    /// Its id, if it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    reason: String,
}

impl From<RefusedEntry> for RefusedView {
    fn from(entry: RefusedEntry) -> Self {
        Self {
            seq: entry.seq,
            event_id: entry.event_id.map(|id| id.to_string()),
            reason: entry.reason,
        }
    }
}

/// A test event.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = TestEvent)]
pub(in crate::web) struct TestGiven {
    /// Its type. `webhook.test` by default.
    #[schema(max_length = 256)]
    pub(in crate::web) rule_type: Option<String>,
    /// Its data. An example by default.
    pub(in crate::web) data: Option<Value>,
}

/// A note of the operator.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct Noted {
    /// Why: shown with the endpoint, and kept with the action.
    #[param(max_length = 512)]
    pub(in crate::web) note: Option<String>,
}
