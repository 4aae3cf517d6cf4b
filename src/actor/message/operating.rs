//! Operators: who sends a message, and which messages they have sent.

use actix::Message;
use serde::{Deserialize, Serialize};

use super::{
    AttemptNow, DisableEndpoint, DiscardDeadLetters, EndClient, EndDeliveries, EndRule,
    PauseEndpoint, PutClient, PutEndpoint, PutRule, Redeliver, RemoveClient, RemoveEndpoint,
    RemoveRule, ResumeEndpoint, SendTest, StartRedelivery, StopRedelivery,
};
use crate::domain::endpoint::action::{ActionKind, OperatorAction};
use crate::domain::value::id::{ClientId, DeliveryId, RuleId};
use crate::domain::value::operator::{Note, Operator};
use crate::domain::value::url::{WebhookUrl, shown};
use crate::store::{DeadLetterQuery, Redelivery};

/// A message that changes the engine's state, with the operator who sends it: application → the
/// actor that takes the message.
///
/// The answer is the message's own. Every message that changes the state of endpoints, rules,
/// clients or deliveries can be sent so. Sent alone, it is carried out in the same way, and nobody
/// is named. In both cases the action is logged (`operator action`) and kept for [`ListActions`].
///
/// ```
/// use actix_webhooks::{By, Engine, ListActions, Operator, PutRule, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::builder().start().await?;
/// let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
/// let put = By::new(Operator::new("alice")?, PutRule::new(rule));
/// engine.router().send(put).await??;
/// let actions = engine.supervisor().send(ListActions::default()).await?;
/// assert_eq!(actions[0].operator.as_ref().unwrap(), "alice");
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct By<M> {
    /// The operator.
    pub operator: Operator,
    /// The message. If it names an operator itself, as [`PauseEndpoint::by`] does, that one counts.
    pub message: M,
}

impl<M> By<M> {
    /// Returns the message with its operator.
    pub fn new(operator: Operator, message: M) -> Self {
        Self { operator, message }
    }
}

impl<M: Message> Message for By<M> {
    type Result = M::Result;
}

/// Lists the last actions of operators, newest first: application →
/// [`SupervisorActor`](crate::SupervisorActor).
///
/// The last 1,000 of all are kept, and the last 20 of each of the 1,000 endpoints acted on most
/// recently. They are in memory only: a restart forgets them.
///
/// ```
/// use actix_webhooks::{Engine, ListActions, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rule = Rule::new("invoices", "invoice.*").webhook("https://example.com/hooks")?;
/// # let engine = Engine::builder().rule(rule).start().await?;
/// let endpoint = engine.endpoint("https://example.com/hooks").by("alice");
/// endpoint.clone().note("flooding us").pause().await?;
/// endpoint.resume().await?;
/// for action in engine.actions(ListActions::about("https://example.com/hooks")).await? {
///     println!("{} {:?} {}: {}", action.at, action.operator, action.action, action.result);
/// }
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ListActions {
    /// Only actions about this target: an endpoint's URL in any spelling, or an id as in
    /// [`OperatorAction::target`]. Actions on one delivery are also listed at its endpoint.
    /// Defaults to all. `Debug` omits user info and query of a URL.
    pub target: Option<String>,
    /// The maximum number of results. 0 means 100; more than 1,000 means 1,000.
    pub limit: usize,
}

impl ListActions {
    /// Returns the message for the actions about one endpoint, rule, client or delivery.
    pub fn about(target: impl Into<String>) -> Self {
        Self {
            target: Some(target.into()),
            limit: 0,
        }
    }

    /// Sets the maximum number of results. 0 means 100; more than 1,000 means 1,000.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }
}

impl std::fmt::Debug for ListActions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let target = self.target.as_deref();
        let target = target.map(|text| match WebhookUrl::parse(text) {
            Ok(_) => shown(text),
            Err(_) => text.to_owned(),
        });
        let mut debug = f.debug_struct("ListActions");
        debug.field("target", &target).field("limit", &self.limit);
        debug.finish()
    }
}

impl Message for ListActions {
    type Result = Vec<OperatorAction>;
}

/// What a message that changes the engine's state says about itself, for the record.
pub(crate) trait OperatorMessage: Message {
    const KIND: ActionKind;

    /// Returns what it is about, as [`OperatorAction::target`].
    fn target(&self) -> String;

    /// Returns the URL of the endpoint it is about, in any spelling.
    fn endpoint(&self) -> Option<&str> {
        None
    }

    /// Returns the delivery it is about, if it is about one. Its endpoint then counts as the
    /// action's.
    fn delivery(&self) -> Option<DeliveryId> {
        None
    }

    /// Returns the operator that the message itself names, after it was given one if it names
    /// none.
    fn named(&mut self, given: Option<Operator>) -> Option<Operator> {
        given
    }

    fn written(&self) -> Option<Note> {
        None
    }
}

macro_rules! about_an_endpoint {
    ($($name:ident)*) => {$(
        impl OperatorMessage for $name {
            const KIND: ActionKind = ActionKind::$name;

            fn target(&self) -> String {
                shown(&self.url)
            }

            fn endpoint(&self) -> Option<&str> {
                Some(&self.url)
            }

            fn named(&mut self, given: Option<Operator>) -> Option<Operator> {
                self.by = self.by.take().or(given);
                self.by.clone()
            }

            fn written(&self) -> Option<Note> {
                self.note.clone()
            }
        }
    )*};
}

about_an_endpoint!(PauseEndpoint DisableEndpoint ResumeEndpoint);

macro_rules! about_an_id {
    ($($name:ident($pattern:pat) => $id:expr;)*) => {$(
        impl OperatorMessage for $name {
            const KIND: ActionKind = ActionKind::$name;

            fn target(&self) -> String {
                let $pattern = self;
                $id.as_str().to_owned()
            }
        }
    )*};
}

about_an_id! {
    PutRule(Self(rule)) => rule.id;
    RemoveRule(Self(id)) => id;
    EndRule(Self(id)) => id;
    PutClient(Self(client)) => client.id;
    RemoveClient(Self(id)) => id;
    EndClient(Self(id)) => id;
}

impl OperatorMessage for PutEndpoint {
    const KIND: ActionKind = ActionKind::PutEndpoint;

    fn target(&self) -> String {
        self.0.url.without_query().to_owned()
    }

    fn endpoint(&self) -> Option<&str> {
        Some(self.0.url.as_str())
    }
}

impl OperatorMessage for RemoveEndpoint {
    const KIND: ActionKind = ActionKind::RemoveEndpoint;

    fn target(&self) -> String {
        shown(&self.url)
    }

    fn endpoint(&self) -> Option<&str> {
        Some(&self.url)
    }
}

impl OperatorMessage for SendTest {
    const KIND: ActionKind = ActionKind::SendTest;

    fn target(&self) -> String {
        shown(&self.url)
    }

    fn endpoint(&self) -> Option<&str> {
        Some(&self.url)
    }
}

impl OperatorMessage for Redeliver {
    const KIND: ActionKind = ActionKind::Redeliver;

    fn target(&self) -> String {
        match &self.0 {
            Redelivery::One(id) => id.to_string(),
            Redelivery::DeadLetters(query) => target_of(query),
            Redelivery::Ended(_) => "deliveries".to_owned(),
        }
    }

    fn endpoint(&self) -> Option<&str> {
        endpoint_of(&self.0)
    }

    fn delivery(&self) -> Option<DeliveryId> {
        delivery_of(&self.0)
    }
}

impl OperatorMessage for StartRedelivery {
    const KIND: ActionKind = ActionKind::StartRedelivery;

    fn target(&self) -> String {
        match &self.0 {
            Redelivery::One(id) => id.to_string(),
            Redelivery::DeadLetters(query) => target_of(query),
            Redelivery::Ended(query) => {
                let url = query.url.as_ref().map(WebhookUrl::without_query);
                url.unwrap_or("deliveries").to_owned()
            }
        }
    }

    fn endpoint(&self) -> Option<&str> {
        endpoint_of(&self.0)
    }

    fn delivery(&self) -> Option<DeliveryId> {
        delivery_of(&self.0)
    }
}

impl OperatorMessage for StopRedelivery {
    const KIND: ActionKind = ActionKind::StopRedelivery;

    fn target(&self) -> String {
        self.id.to_string()
    }
}

fn endpoint_of(which: &Redelivery) -> Option<&str> {
    let url = match which {
        Redelivery::One(_) => None,
        Redelivery::DeadLetters(query) => query.url.as_ref(),
        Redelivery::Ended(query) => query.url.as_ref(),
    };
    url.map(WebhookUrl::as_str)
}

fn delivery_of(which: &Redelivery) -> Option<DeliveryId> {
    match which {
        Redelivery::One(id) => Some(*id),
        Redelivery::DeadLetters(_) | Redelivery::Ended(_) => None,
    }
}

impl OperatorMessage for DiscardDeadLetters {
    const KIND: ActionKind = ActionKind::DiscardDeadLetters;

    fn target(&self) -> String {
        target_of(&self.0)
    }

    fn endpoint(&self) -> Option<&str> {
        self.0.url.as_ref().map(WebhookUrl::as_str)
    }
}

impl OperatorMessage for AttemptNow {
    const KIND: ActionKind = ActionKind::AttemptNow;

    fn target(&self) -> String {
        self.id.to_string()
    }

    fn delivery(&self) -> Option<DeliveryId> {
        Some(self.id)
    }
}

impl OperatorMessage for EndDeliveries {
    const KIND: ActionKind = ActionKind::EndDeliveries;

    fn target(&self) -> String {
        let rule = self.rule_id.as_ref().map(RuleId::as_str);
        let client = self.client_id.as_ref().map(ClientId::as_str);
        rule.or(client).unwrap_or("open deliveries").to_owned()
    }
}

fn target_of(query: &DeadLetterQuery) -> String {
    let url = query.url.as_ref().map(WebhookUrl::without_query);
    url.unwrap_or("dead letters").to_owned()
}
