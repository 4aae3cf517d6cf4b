//! A delivery as the memory store keeps it, and as it is shown.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::deliveries::delivery::{Delivery, DeliveryState, EndedDelivery};
use crate::domain::deliveries::trace::AnswerTrace;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::search::Facts;
use crate::store::{Alert, Attempt, AttemptRecord, OpenDelivery, Progress};

/// A delivery.
#[derive(Clone, Debug)]
pub(super) struct StoredDelivery {
    pub(super) alert: Arc<Alert>,
    pub(super) url: WebhookUrl,
    pub(super) accepted_at: Timestamp,
    pub(super) state: DeliveryState,
    pub(super) progress: Progress,
    /// The number of the endpoint's queue.
    pub(super) queue: u64,
    /// The delivery that this one repeats.
    pub(super) redelivery_of: Option<DeliveryId>,
    /// The last attempt.
    last: Option<StoredAttempt>,
    /// The attempts before the last one. Most deliveries have none.
    earlier: Vec<StoredAttempt>,
}

#[derive(Clone, Debug)]
struct StoredAttempt {
    summary: AttemptSummary,
    /// It becomes text only when it is shown.
    excerpt: Bytes,
    trace: Option<Box<AnswerTrace>>,
}

impl StoredDelivery {
    pub(super) fn new(
        alert: Arc<Alert>,
        url: WebhookUrl,
        queue: u64,
        accepted_at: Timestamp,
    ) -> Self {
        Self {
            alert,
            url,
            accepted_at,
            state: DeliveryState::Queued,
            progress: Progress::default(),
            queue,
            redelivery_of: None,
            last: None,
            earlier: Vec::new(),
        }
    }

    /// Returns the delivery to be attempted; `None` if it has ended.
    pub(super) fn open(&self, id: DeliveryId) -> Option<OpenDelivery> {
        let due_at = match self.state {
            DeliveryState::Waiting { due_at } => Some(due_at),
            DeliveryState::Queued => None,
            DeliveryState::Delivered { .. } | DeliveryState::DeadLettered { .. } => return None,
        };
        Some(OpenDelivery {
            id,
            alert: Arc::clone(&self.alert),
            progress: self.progress,
            due_at,
        })
    }

    /// Returns the bytes that count towards the limits.
    pub(super) fn size(&self) -> u64 {
        size(&self.alert)
    }

    pub(super) fn shown(&self, id: DeliveryId) -> Delivery {
        Delivery {
            id,
            alert_id: self.alert.id,
            event_id: self.alert.event_id.clone(),
            rule_id: self.alert.rule_id.clone(),
            rule_type: self.alert.rule_type.clone(),
            client_id: self.alert.client_id.clone(),
            company_id: self.alert.company_id.clone(),
            url: self.url.clone(),
            accepted_at: self.accepted_at,
            state: self.state,
            attempts_made: self.progress.attempts_made,
            last_attempt: self.last_attempt(),
        }
    }

    pub(super) fn ended(&self, id: DeliveryId) -> EndedDelivery {
        EndedDelivery::new(id, &self.alert, self.progress.attempts_made)
    }

    pub(super) fn last_attempt(&self) -> Option<AttemptSummary> {
        self.last.as_ref().map(|last| last.summary)
    }

    /// Returns the finished attempts, oldest first.
    pub(super) fn attempts(&self) -> Vec<Attempt> {
        let all = self.earlier.iter().chain(&self.last);
        all.map(StoredAttempt::shown).collect()
    }

    pub(super) fn add_attempt(&mut self, record: &AttemptRecord) {
        let attempt = StoredAttempt {
            summary: record.summary,
            excerpt: record.excerpt.clone(),
            trace: record.trace.clone(),
        };
        self.earlier.extend(self.last.replace(attempt));
        self.progress = record.progress;
    }

    /// Returns the parts that a search compares.
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            alert: &self.alert,
            url: &self.url,
            accepted_at: self.accepted_at,
            state: self.state,
            last_failure: self.last_attempt().and_then(|last| last.failure),
        }
    }
}

impl StoredAttempt {
    fn shown(&self) -> Attempt {
        let trace = self.trace.as_deref().cloned();
        Attempt::new(self.summary, &self.excerpt).trace(trace.unwrap_or_default())
    }
}

pub(super) fn size(alert: &Alert) -> u64 {
    u64::try_from(alert.body.len()).unwrap_or(u64::MAX)
}
