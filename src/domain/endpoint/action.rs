//! What operators did, and to what: the last actions, in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::value::operator::{Note, Operator};
use crate::domain::value::tagged::{Has, tagged};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::{OnWall, WallOffset};

/// An action of an operator that changed, or was to change, the engine's state.
///
/// The engine keeps the last 1,000 in memory, and the last 20 of each of the 1,000 endpoints acted
/// on most recently. A restart forgets them; the log has them all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OperatorAction {
    /// When it ended.
    pub at: Timestamp,
    /// The operator; `None` if none was named.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub operator: Option<Operator>,
    /// The kind of action.
    pub action: ActionKind,
    /// What it was about: the endpoint's URL without user info and query, the id of a rule, a
    /// client or a delivery, or `dead letters` for a query without an endpoint.
    pub target: String,
    /// The number of things acted on, where the answer has one: deliveries ended, dead letters
    /// redelivered or discarded, rules or clients removed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u64>,
    /// The operator's note.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<Note>,
    /// How it ended. In JSON its fields are flattened into the action.
    #[serde(flatten)]
    pub result: ActionResult,
}

/// The kind of an operator's action, named after its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActionKind {
    /// `PauseEndpoint`.
    PauseEndpoint,
    /// `DisableEndpoint`.
    DisableEndpoint,
    /// `ResumeEndpoint`.
    ResumeEndpoint,
    /// `PutEndpoint`.
    PutEndpoint,
    /// `RemoveEndpoint`.
    RemoveEndpoint,
    /// `PutRule`.
    PutRule,
    /// `RemoveRule`.
    RemoveRule,
    /// `EndRule`.
    EndRule,
    /// `PutClient`.
    PutClient,
    /// `RemoveClient`.
    RemoveClient,
    /// `EndClient`.
    EndClient,
    /// `Redeliver`.
    Redeliver,
    /// `DiscardDeadLetters`.
    DiscardDeadLetters,
    /// `EndDeliveries`.
    EndDeliveries,
    /// `AttemptNow`.
    AttemptNow,
    /// `SendTest`.
    SendTest,
    /// `StartRedelivery`.
    StartRedelivery,
    /// `StopRedelivery`.
    StopRedelivery,
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PauseEndpoint => "pause_endpoint",
            Self::DisableEndpoint => "disable_endpoint",
            Self::ResumeEndpoint => "resume_endpoint",
            Self::PutEndpoint => "put_endpoint",
            Self::RemoveEndpoint => "remove_endpoint",
            Self::PutRule => "put_rule",
            Self::RemoveRule => "remove_rule",
            Self::EndRule => "end_rule",
            Self::PutClient => "put_client",
            Self::RemoveClient => "remove_client",
            Self::EndClient => "end_client",
            Self::Redeliver => "redeliver",
            Self::DiscardDeadLetters => "discard_dead_letters",
            Self::EndDeliveries => "end_deliveries",
            Self::AttemptNow => "attempt_now",
            Self::SendTest => "send_test",
            Self::StartRedelivery => "start_redelivery",
            Self::StopRedelivery => "stop_redelivery",
        })
    }
}

/// How an operator's action ended. In JSON an object: `{"result":"failed","error":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum ActionResult {
    /// It was carried out.
    Done,
    /// It was refused, or failed.
    Failed {
        /// The error, cut off at 256 bytes.
        error: String,
    },
}

tagged!(
    ActionResult,
    "result",
    [("failed", Has::Fields(&["error"]))]
);

impl ActionResult {
    /// Returns the result of an action that failed with this error.
    pub(crate) fn failed(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text.truncate(text.floor_char_boundary(MAX_ERROR_BYTES));
        Self::Failed { error: text }
    }
}

impl fmt::Display for ActionResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed { error } => write!(f, "failed: {error}"),
        }
    }
}

impl OnWall for OperatorAction {
    fn on_wall(self, offset: WallOffset) -> Self {
        Self {
            at: self.at.on_wall(offset),
            ..self
        }
    }
}

/// The last actions, of all and of each endpoint.
#[derive(Debug, Default)]
pub(crate) struct ActionLog {
    all: VecDeque<Arc<OperatorAction>>,
    endpoints: BTreeMap<WebhookUrl, OfEndpoint>,
    /// The endpoints in the order of their last actions.
    order: BTreeSet<(u64, WebhookUrl)>,
    /// The number of actions so far.
    count: u64,
}

#[derive(Debug, Default)]
struct OfEndpoint {
    actions: VecDeque<Arc<OperatorAction>>,
    /// The number of the last one.
    last: u64,
}

impl ActionLog {
    /// Keeps an action, and forgets the oldest beyond the limits. `endpoint` is the one it was
    /// about, if it was about one.
    pub(crate) fn keep(&mut self, endpoint: Option<WebhookUrl>, action: OperatorAction) {
        let action = Arc::new(action);
        push(&mut self.all, Arc::clone(&action), MAX_ACTIONS);
        let Some(url) = endpoint else { return };
        self.count += 1;
        let kept = self.endpoints.entry(url.clone()).or_default();
        self.order.remove(&(kept.last, url.clone()));
        kept.last = self.count;
        push(&mut kept.actions, action, MAX_OF_ENDPOINT);
        self.order.insert((self.count, url));
        if self.endpoints.len() > MAX_ENDPOINTS
            && let Some((_, url)) = self.order.pop_first()
        {
            self.endpoints.remove(&url);
        }
    }

    /// Returns the last `limit` actions, newest first.
    pub(crate) fn all(&self, limit: usize) -> Vec<OperatorAction> {
        newest(&self.all, limit)
    }

    /// Returns the last `limit` actions about an endpoint, newest first.
    pub(crate) fn of_endpoint(&self, url: &WebhookUrl, limit: usize) -> Vec<OperatorAction> {
        let kept = self.endpoints.get(url);
        kept.map(|kept| newest(&kept.actions, limit))
            .unwrap_or_default()
    }

    /// Returns the last `limit` of all kept actions with this target, newest first.
    pub(crate) fn about(&self, target: &str, limit: usize) -> Vec<OperatorAction> {
        let found = self.all.iter().rev();
        let found = found.filter(|action| action.target == target);
        found
            .take(limit)
            .map(|action| OperatorAction::clone(action))
            .collect()
    }
}

fn push(kept: &mut VecDeque<Arc<OperatorAction>>, action: Arc<OperatorAction>, most: usize) {
    if kept.len() >= most {
        kept.pop_front();
    }
    kept.push_back(action);
}

fn newest(kept: &VecDeque<Arc<OperatorAction>>, limit: usize) -> Vec<OperatorAction> {
    let newest = kept.iter().rev().take(limit);
    newest.map(|action| OperatorAction::clone(action)).collect()
}

/// The most actions kept in all.
const MAX_ACTIONS: usize = 1_000;

/// The most actions kept of one endpoint.
const MAX_OF_ENDPOINT: usize = 20;

/// The most endpoints whose own actions are kept.
const MAX_ENDPOINTS: usize = 1_000;

/// The longest text of an error, in bytes.
const MAX_ERROR_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn action(number: i64, target: &str) -> OperatorAction {
        OperatorAction {
            at: Timestamp::from_unix_millis(number),
            operator: Operator::new("alice").ok(),
            action: ActionKind::PauseEndpoint,
            target: target.to_owned(),
            count: None,
            note: None,
            result: ActionResult::Done,
        }
    }

    fn url(number: i64) -> WebhookUrl {
        WebhookUrl::parse(&format!("http://{number}.test/")).unwrap()
    }

    fn times(actions: &[OperatorAction]) -> Vec<i64> {
        actions.iter().map(|it| it.at.unix_millis()).collect()
    }

    #[test]
    fn the_last_actions_are_kept_in_all_and_for_each_endpoint() {
        let mut log = ActionLog::default();
        for number in 0..1_030 {
            log.keep((number < 30).then(|| url(0)), action(number, "a"));
        }
        assert_eq!(log.all(usize::MAX).len(), 1_000);
        assert_eq!(times(&log.all(2)), [1_029, 1_028]);
        let kept = times(&log.of_endpoint(&url(0), usize::MAX));
        let last: Vec<i64> = (10..30).rev().collect();
        assert_eq!(kept, last, "though all of them have newer ones after them");
        assert!(log.of_endpoint(&url(1), 9).is_empty());
        log.keep(None, action(2_000, "rule-1"));
        assert_eq!(times(&log.about("rule-1", 9)), [2_000]);
    }

    #[test]
    fn the_endpoint_acted_on_longest_ago_is_forgotten_first() {
        let mut log = ActionLog::default();
        for number in 0..1_000 {
            log.keep(Some(url(number)), action(number, "a"));
        }
        log.keep(Some(url(0)), action(1_000, "a"));
        log.keep(Some(url(1_000)), action(1_001, "a"));
        assert_eq!(times(&log.of_endpoint(&url(0), 9)), [1_000, 0]);
        assert!(log.of_endpoint(&url(1), 9).is_empty());
        assert_eq!(log.of_endpoint(&url(2), 9).len(), 1);
        assert_eq!((log.endpoints.len(), log.order.len()), (1_000, 1_000));
    }

    #[test]
    fn an_error_is_kept_with_its_causes_and_within_its_bound() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Outer(String, #[source] fmt::Error);
        let failed = |text: String| ActionResult::failed(&Outer(text, fmt::Error));
        let error = failed("not saved".to_owned()).to_string();
        assert!(error.starts_with("failed: not saved: an error"), "{error}");
        let ActionResult::Failed { error } = failed("ü".repeat(400)) else {
            panic!("it failed");
        };
        assert_eq!(error.len(), 256);
    }

    #[test]
    fn a_kind_is_shown_as_it_is_written() {
        for kind in [
            ActionKind::PauseEndpoint,
            ActionKind::DiscardDeadLetters,
            ActionKind::EndRule,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
        }
    }
}
