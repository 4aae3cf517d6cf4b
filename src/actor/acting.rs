//! Operators' messages: each is carried out, logged and kept, whoever sends it.

use std::sync::Arc;
use std::time::Duration;

use actix::dev::MessageResponse;
use actix::fut::wrap_future;
use actix::{Actor, AsyncContext as _, Context, Handler, Message};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::message::{
    AttemptNow, By, DisableEndpoint, DiscardDeadLetters, EndClient, EndDeliveries, EndRule,
    ListActions, OperatorMessage, PauseEndpoint, PutClient, PutEndpoint, PutRule, Redeliver,
    Redeliveries, RemoveClient, RemoveEndpoint, RemoveRule, ResumeEndpoint, SendTest,
    StartRedelivery, StopRedelivery,
};
use super::reply::Deferred;
use super::router::RouterActor;
use super::shared::EngineContext;
use super::store_call::StoreCall;
use super::supervisor::SupervisorActor;
use crate::domain::deliveries::delivery::DeliveryDetails;
use crate::domain::endpoint::action::{ActionKind, ActionLog, ActionResult, OperatorAction};
use crate::domain::endpoint::due::AttemptNowAnswer;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::operator::{Note, Operator};
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::OnWall as _;
use crate::store::{RedeliveryJob, page_limit};

/// The last actions of operators.
#[derive(Debug, Default)]
pub(crate) struct Actions(Mutex<ActionLog>);

/// An actor that carries out an operator's message.
pub(crate) trait Act<M: Message>: Actor {
    type Response: MessageResponse<Self, M>;

    fn act(&mut self, message: M, ctx: &mut Self::Context) -> Self::Response;
}

/// An action that is being carried out.
struct Begun {
    operator: Option<Operator>,
    kind: ActionKind,
    target: String,
    endpoint: Option<WebhookUrl>,
    note: Option<Note>,
}

impl Begun {
    /// Returns what is known of an action before it is carried out, and gives the operator to the
    /// message.
    fn new<M: OperatorMessage>(message: &mut M, operator: Option<Operator>) -> Self {
        let endpoint = message.endpoint().map(WebhookUrl::parse);
        // An id in a message may be any text, and nobody has checked it yet.
        let mut target = message.target().replace(char::is_control, "\u{fffd}");
        target.truncate(target.floor_char_boundary(MAX_TARGET_BYTES));
        Self {
            endpoint: endpoint.and_then(Result::ok),
            target,
            operator: message.named(operator),
            kind: M::KIND,
            note: message.written(),
        }
    }

    /// Looks up the endpoint of an action on one delivery.
    ///
    /// The look-up is begun before the action is carried out, so that it delays nothing.
    async fn at_endpoint_of(
        mut self,
        delivery: Option<StoreCall<Option<DeliveryDetails>>>,
    ) -> Self {
        if let Some(found) = delivery
            && let Ok(Ok(Some(found))) = tokio::time::timeout(FOUND_WITHIN, found).await
        {
            self.endpoint = Some(found.delivery.url);
        }
        self
    }

    /// Logs and keeps the action with its result.
    fn end(self, shared: &EngineContext, count: Option<u64>, result: ActionResult) {
        let (target, action) = (self.target, self.kind);
        let operator = self.operator.as_ref().map_or(NOBODY, Operator::as_str);
        log::info!(
            operator, action:% = action, target = target.as_str(), count, result:% = result;
            "operator action: {operator} sent {action} for {target}: {result}"
        );
        let action = OperatorAction {
            at: shared.clock.now(),
            operator: self.operator,
            action,
            target,
            count,
            note: self.note,
            result,
        };
        shared.actions.0.lock().keep(self.endpoint, action);
    }
}

/// An answer to an operator's message, as far as the record shows it.
trait Told {
    /// Returns the number of things acted on, if the answer has one.
    fn count(&self) -> Option<u64>;

    fn result(&self) -> ActionResult;
}

impl<T: Counted, E: std::error::Error + 'static> Told for Result<T, E> {
    fn count(&self) -> Option<u64> {
        self.as_ref().ok()?.counted()
    }

    fn result(&self) -> ActionResult {
        match self {
            Ok(_) => ActionResult::Done,
            Err(error) => ActionResult::failed(error),
        }
    }
}

trait Counted {
    fn counted(&self) -> Option<u64>;
}

impl Counted for () {
    fn counted(&self) -> Option<u64> {
        None
    }
}

impl Counted for u64 {
    fn counted(&self) -> Option<u64> {
        Some(*self)
    }
}

/// Whether there was anything to remove.
impl Counted for bool {
    fn counted(&self) -> Option<u64> {
        Some(u64::from(*self))
    }
}

impl Counted for Redeliveries {
    fn counted(&self) -> Option<u64> {
        u64::try_from(self.fresh.len()).ok()
    }
}

/// Number of deliveries that a redelivery by filter finds.
impl Counted for RedeliveryJob {
    fn counted(&self) -> Option<u64> {
        Some(self.total)
    }
}

impl Counted for Option<RedeliveryJob> {
    fn counted(&self) -> Option<u64> {
        self.as_ref().map(RedeliveryJob::left)
    }
}

/// The delivery that was made.
impl Counted for DeliveryId {
    fn counted(&self) -> Option<u64> {
        Some(1)
    }
}

/// Whether anything changed.
impl Counted for AttemptNowAnswer {
    fn counted(&self) -> Option<u64> {
        Some(u64::from(*self == Self::Started))
    }
}

/// Carries out an operator's message, then logs and keeps the action, then answers.
fn carry_out<A, M>(
    actor: &mut A,
    shared: Arc<EngineContext>,
    (operator, mut message): (Option<Operator>, M),
    ctx: &mut Context<A>,
) -> Deferred<M::Result>
where
    A: Act<M> + Actor<Context = Context<A>>,
    M: OperatorMessage<Result: Told>,
{
    let begun = Begun::new(&mut message, operator);
    let delivery = message.delivery();
    let delivery = delivery.map(|id| shared.call(|store| store.delivery(id)));
    let (answer, answered) = oneshot::channel();
    actor.act(message, ctx).handle(ctx, Some(answer));
    let (answerer, deferred) = Deferred::new();
    ctx.spawn(wrap_future(async move {
        // Without an answer the engine has stopped, and the sender learns that.
        if let Ok(answer) = answered.await {
            let begun = begun.at_endpoint_of(delivery).await;
            begun.end(&shared, answer.count(), answer.result());
            answerer.send(answer);
        }
    }));
    deferred
}

macro_rules! acts {
    ($actor:ident: $($message:ident)*) => {$(
        impl Handler<$message> for $actor {
            type Result = Deferred<<$message as Message>::Result>;

            fn handle(&mut self, message: $message, ctx: &mut Context<Self>) -> Self::Result {
                let shared = Arc::clone(&self.shared);
                carry_out(self, shared, (None, message), ctx)
            }
        }

        impl Handler<By<$message>> for $actor {
            type Result = Deferred<<$message as Message>::Result>;

            fn handle(&mut self, by: By<$message>, ctx: &mut Context<Self>) -> Self::Result {
                let shared = Arc::clone(&self.shared);
                carry_out(self, shared, (Some(by.operator), by.message), ctx)
            }
        }
    )*};
}

acts!(SupervisorActor: PauseEndpoint DisableEndpoint ResumeEndpoint PutEndpoint RemoveEndpoint
    Redeliver StartRedelivery StopRedelivery DiscardDeadLetters EndDeliveries AttemptNow SendTest);

acts!(RouterActor: PutRule RemoveRule EndRule PutClient RemoveClient EndClient);

impl Handler<ListActions> for SupervisorActor {
    type Result = Vec<OperatorAction>;

    fn handle(&mut self, asked: ListActions, _: &mut Context<Self>) -> Vec<OperatorAction> {
        let limit = page_limit(asked.limit);
        let kept = self.shared.actions.0.lock();
        let found = match asked.target {
            None => kept.all(limit),
            Some(target) => match WebhookUrl::parse(&target) {
                Ok(url) => kept.of_endpoint(&url, limit),
                Err(_) => kept.about(&target, limit),
            },
        };
        found.on_wall(self.shared.clock.offset())
    }
}

/// The name in the log of an operator that was not named.
const NOBODY: &str = "(unnamed)";

/// The longest wait for the endpoint of an action's delivery, which holds up the answer.
const FOUND_WITHIN: Duration = Duration::from_secs(1);

/// The longest target of an action, in bytes.
const MAX_TARGET_BYTES: usize = 512;
