//! A search over deliveries: what [`DeliveryQuery`] and [`DeadLetterQuery`] ask for, in one form.

use super::error::StoreError;
use super::queries::{DeadLetterQuery, DeliveryQuery, DeliveryStage, Redelivery, page_limit};
use crate::domain::deliveries::alert::Alert;
use crate::domain::deliveries::delivery::DeliveryState;
use crate::domain::deliveries::failure_filter::FailureFilter;
use crate::domain::deliveries::outcome::Failure;
use crate::domain::deliveries::reason_kind::ReasonKind;
use crate::domain::value::id::{AlertId, ClientId, CompanyId, DeliveryId, EventId, RuleId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;

/// A search over deliveries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    pub(crate) url: Option<WebhookUrl>,
    pub(crate) client_id: Option<ClientId>,
    pub(crate) company_id: Option<CompanyId>,
    pub(crate) event_id: Option<EventId>,
    pub(crate) alert_id: Option<AlertId>,
    pub(crate) rule_id: Option<RuleId>,
    pub(crate) rule_type: Option<String>,
    pub(crate) stage: Option<DeliveryStage>,
    /// Only dead letters that were neither redelivered nor discarded.
    pub(crate) listed: bool,
    pub(crate) failure: Option<FailureFilter>,
    pub(crate) reason: Option<ReasonKind>,
    pub(crate) accepted: Span,
    pub(crate) given_up: Span,
    pub(crate) before: Option<DeliveryId>,
    pub(crate) limit: usize,
}

/// A span of time: from an instant on, and before another one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

/// The parts of a delivery that a search compares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) alert: &'a Alert,
    pub(crate) url: &'a WebhookUrl,
    pub(crate) accepted_at: Timestamp,
    pub(crate) state: DeliveryState,
    pub(crate) last_failure: Option<Failure>,
}

impl From<&DeliveryQuery> for Search {
    fn from(query: &DeliveryQuery) -> Self {
        let query = query.clone();
        Self {
            url: query.url,
            client_id: query.client_id,
            company_id: query.company_id,
            event_id: query.event_id,
            alert_id: query.alert_id,
            rule_id: query.rule_id,
            rule_type: query.rule_type,
            stage: query.stage,
            listed: false,
            failure: query.failure,
            reason: query.reason,
            accepted: Span {
                since: query.since,
                until: query.until,
            },
            given_up: Span::default(),
            before: query.before,
            limit: page_limit(query.limit),
        }
    }
}

impl From<&DeadLetterQuery> for Search {
    fn from(query: &DeadLetterQuery) -> Self {
        let query = query.clone();
        Self {
            url: query.url,
            client_id: query.client_id,
            company_id: query.company_id,
            event_id: query.event_id,
            alert_id: query.alert_id,
            rule_id: query.rule_id,
            rule_type: query.rule_type,
            stage: Some(DeliveryStage::DeadLettered),
            listed: true,
            failure: query.failure,
            reason: query.reason,
            accepted: Span::default(),
            given_up: Span {
                since: query.since,
                until: query.until,
            },
            before: query.before,
            limit: page_limit(query.limit),
        }
    }
}

impl Search {
    /// Returns the search of a redelivery by filter.
    pub(crate) fn of_redelivery(which: &Redelivery) -> Result<Self, StoreError> {
        let search = match which {
            Redelivery::DeadLetters(query) => Self::from(query),
            Redelivery::Ended(query) => Self::from(query),
            Redelivery::One(_) => {
                let single = "redelivering a single delivery step by step";
                return Err(StoreError::Unsupported(single));
            }
        };
        Ok(Self {
            before: None,
            ..search
        })
    }

    /// Returns `true` if the search finds a delivery. Whether it is listed is not compared.
    pub(crate) fn finds(&self, id: DeliveryId, facts: &Facts<'_>) -> bool {
        let alert = facts.alert;
        self.before.is_none_or(|before| id < before)
            && self.accepted.holds(facts.accepted_at)
            && is_or_any(self.url.as_ref(), facts.url)
            && is_or_any(self.client_id.as_ref(), &alert.client_id)
            && is_or_any(self.event_id.as_ref(), &alert.event_id)
            && is_or_any(self.alert_id.as_ref(), &alert.id)
            && is_or_any(self.rule_id.as_ref(), &alert.rule_id)
            && is_or_any(self.rule_type.as_ref(), &alert.rule_type)
            && (self.company_id.is_none() || self.company_id == alert.company_id)
            && self.finds_end(facts.state, facts.last_failure)
    }

    /// Returns `true` if the search finds deliveries in this state whose last attempt failed like
    /// this.
    pub(crate) fn finds_end(&self, state: DeliveryState, last_failure: Option<Failure>) -> bool {
        let in_stage = match self.stage {
            None => true,
            Some(DeliveryStage::Open) => state.is_open(),
            Some(DeliveryStage::Delivered) => matches!(state, DeliveryState::Delivered { .. }),
            Some(DeliveryStage::DeadLettered) => {
                matches!(state, DeliveryState::DeadLettered { .. })
            }
        };
        let given_up = match state {
            DeliveryState::DeadLettered { at, reason } => Some((at, reason.kind())),
            DeliveryState::Queued
            | DeliveryState::Waiting { .. }
            | DeliveryState::Delivered { .. } => None,
        };
        in_stage
            && self
                .reason
                .is_none_or(|kind| given_up.is_some_and(|(_, reason)| reason == kind))
            && (self.given_up.is_all() || given_up.is_some_and(|(at, _)| self.given_up.holds(at)))
            && self
                .failure
                .is_none_or(|failure| last_failure.is_some_and(|last| failure.finds(last)))
    }

    /// Returns `true` if the end of a delivery must be looked at beyond its stage and time.
    #[cfg(feature = "sqlite")]
    pub(crate) fn asks_why(&self) -> bool {
        self.failure.is_some() || self.reason.is_some()
    }
}

impl Span {
    fn is_all(self) -> bool {
        self.since.is_none() && self.until.is_none()
    }

    pub(crate) fn holds(self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }
}

fn is_or_any<T: PartialEq>(asked: Option<&T>, is: &T) -> bool {
    asked.is_none_or(|asked| asked == is)
}
