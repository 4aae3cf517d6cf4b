//! Message handlers: events wait in the inbox for the next poll; changes of the configuration are
//! stored before they are applied.

use std::future::ready;
use std::rc::Rc;
use std::sync::Arc;

use actix::fut::wrap_future;
use actix::{ActorContext as _, AsyncContext as _, Context, Handler};
use futures_util::FutureExt as _;

use super::RouterActor;
use super::publisher::{BatchAnswer, Publisher};
use crate::actor::acting::Act;
use crate::actor::message::{
    CheckEndpoints, Close, EndClient, EndDeliveries, EndOpen, EndRule, KnowEndpoints,
    LookIntoOutbox, Publish, PublishAtOnce, PublishBatch, PublishInLine, PutClient, PutRule,
    Receipt, RemoveClient, RemoveRule, RuleError, Terminate,
};
use crate::actor::reply::{Answerer, Deferred};
use crate::domain::events::event::Event;
use crate::domain::value::id::{ClientId, RuleId};
use crate::error::PublishError;
use crate::store::{Change, PastCredential, Setting};

impl Handler<LookIntoOutbox> for RouterActor {
    type Result = ();

    fn handle(&mut self, _: LookIntoOutbox, _: &mut Context<Self>) {
        self.outbox.look();
    }
}

impl Handler<Publish> for RouterActor {
    type Result = Deferred<Result<Receipt, PublishError>>;

    fn handle(&mut self, Publish { event }: Publish, _: &mut Context<Self>) -> Self::Result {
        let (answerer, deferred) = Deferred::new();
        self.take_or_refuse(event, Publisher::One(answerer));
        deferred
    }
}

impl Handler<PublishAtOnce> for RouterActor {
    type Result = ();

    fn handle(&mut self, PublishAtOnce { event, answer }: PublishAtOnce, _: &mut Context<Self>) {
        self.take_or_refuse(event, Publisher::Sent(answer));
    }
}

impl Handler<PublishInLine> for RouterActor {
    type Result = Deferred<Result<Receipt, PublishError>>;

    fn handle(
        &mut self,
        PublishInLine { event, until }: PublishInLine,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let (answerer, deferred) = Deferred::new();
        self.line_up(event, until, answerer);
        deferred
    }
}

impl RouterActor {
    fn take_or_refuse(&mut self, event: Event, publisher: Publisher) {
        match self.admit() {
            Ok(()) => self.take_in(event, publisher),
            Err(error) => {
                event.discard();
                publisher.answer(Err(error));
            }
        }
    }
}

impl Handler<PublishBatch> for RouterActor {
    type Result = Deferred<Vec<Result<Receipt, PublishError>>>;

    fn handle(
        &mut self,
        PublishBatch { events }: PublishBatch,
        _: &mut Context<Self>,
    ) -> Self::Result {
        if events.is_empty() {
            return Deferred::ready(Vec::new());
        }
        let (answerer, deferred) = Deferred::new();
        let batch = BatchAnswer::new(events.len(), answerer);
        let admitted = self.admit().is_ok();
        for (place, event) in events.into_iter().enumerate() {
            let publisher = Publisher::Part(Rc::clone(&batch), place);
            if admitted {
                self.take_in(event, publisher);
            } else {
                self.take_or_refuse(event, publisher);
            }
        }
        deferred
    }
}

impl Act<PutRule> for RouterActor {
    type Response = Deferred<Result<(), RuleError>>;

    fn act(&mut self, PutRule(rule): PutRule, ctx: &mut Context<Self>) -> Self::Response {
        let rule = match rule.checked() {
            Ok(rule) => rule,
            Err(error) => return Deferred::ready(Err(error.into())),
        };
        let check = self.supervisor.send(CheckEndpoints {
            urls: Arc::clone(&rule.webhooks),
            client: rule.client_id.clone(),
        });
        // Without a supervisor nothing is called, so there is nothing to refuse.
        let checked = check.map(|checked| checked.unwrap_or(Ok(())));
        let ending = self.before_rule(&rule.id, Some(&rule));
        let change = Change::PutRule(rule.clone());
        self.change(ctx, checked, ending, change, move |router| {
            let id = rule.id.clone();
            router.shared.set_aside.forget(&Setting::Rule { id });
            router.tell_supervisor(KnowEndpoints(Arc::clone(&rule.webhooks)));
            let credentials = &router.shared.credentials;
            credentials.write(|book| book.put_rule(rule.clone()));
            router.rules.put(rule);
        })
    }
}

impl Act<RemoveRule> for RouterActor {
    type Response = Deferred<Result<bool, RuleError>>;

    fn act(&mut self, RemoveRule(id): RemoveRule, ctx: &mut Context<Self>) -> Self::Response {
        let setting = Setting::Rule { id: id.clone() };
        let set_aside = self.shared.set_aside.contains(&setting);
        if self.rules.get(&id).is_none() && !set_aside {
            return Deferred::ready(Ok(false));
        }
        let ending = self.before_rule(&id, None);
        let change = Change::RemoveRule(id.clone());
        self.change(ctx, ready(Ok(())), ending, change, move |router| {
            router.forget_rule(&id) || set_aside
        })
    }
}

impl Act<EndRule> for RouterActor {
    type Response = Deferred<Result<u64, RuleError>>;

    fn act(&mut self, EndRule(id): EndRule, ctx: &mut Context<Self>) -> Self::Response {
        let (answerer, deferred) = Deferred::new();
        let ending = self.before_rule(&id, None);
        let change = Change::RemoveRule(id.clone());
        self.change_then(
            ctx,
            ready(Ok(())),
            ending,
            change,
            move |router, ctx, kept| {
                if let Err(error) = kept {
                    return answerer.send(Err(error));
                }
                router.forget_rule(&id);
                router.end_deliveries(ctx, EndDeliveries::of_rule(id), answerer);
            },
        );
        deferred
    }
}

impl RouterActor {
    /// Ends deliveries once everything prepared before is stored, and answers with their number.
    fn end_deliveries(
        &mut self,
        ctx: &mut Context<Self>,
        which: EndDeliveries,
        answerer: Answerer<Result<u64, RuleError>>,
    ) {
        let barrier = self.barrier();
        let supervisor = self.supervisor.clone();
        ctx.spawn(wrap_future(async move {
            // An error means that the router has stopped. The supervisor's answer covers that case.
            let _ = barrier.await;
            let ended = supervisor.send(EndOpen(which)).await;
            let ended = ended.map_err(|_| RuleError::ShuttingDown);
            answerer.send(ended.and_then(|ended| ended.map_err(RuleError::Store)));
        }));
    }

    /// Returns the credentials that end when a client is removed.
    fn before_client_goes(&self, id: &ClientId) -> Vec<PastCredential> {
        let now = self.shared.clock.now();
        let credentials = &self.shared.credentials;
        let ending = credentials.read(|book| book.before_client(id, None, now));
        ending.into_iter().collect()
    }

    /// Forgets a removed client. Returns `true` if it was known.
    fn forget_client(&mut self, id: &ClientId) -> bool {
        let setting = Setting::Client { id: id.clone() };
        let set_aside = self.shared.set_aside.contains(&setting);
        self.shared.set_aside.forget(&setting);
        let credentials = &self.shared.credentials;
        credentials.write(|book| book.remove_client(id));
        self.clients.remove(id).is_some() || set_aside
    }

    /// Forgets a removed rule. Returns `true` if it was known.
    fn forget_rule(&mut self, id: &RuleId) -> bool {
        self.shared
            .set_aside
            .forget(&Setting::Rule { id: id.clone() });
        let credentials = &self.shared.credentials;
        credentials.write(|book| book.remove_rule(id));
        self.rules.remove(id).is_some()
    }
}

impl Act<PutClient> for RouterActor {
    type Response = Deferred<Result<(), RuleError>>;

    fn act(&mut self, PutClient(client): PutClient, ctx: &mut Context<Self>) -> Self::Response {
        if let Err(error) = client.check() {
            return Deferred::ready(Err(error.into()));
        }
        let now = self.shared.clock.now();
        let credentials = &self.shared.credentials;
        let ending = credentials.read(|book| book.before_client(&client.id, Some(&client), now));
        let ending = ending.into_iter().collect();
        let change = Change::PutClient(client.clone());
        self.change(ctx, ready(Ok(())), ending, change, move |router| {
            let id = client.id.clone();
            router.shared.set_aside.forget(&Setting::Client { id });
            let credentials = &router.shared.credentials;
            credentials.write(|book| book.put_client(&client));
            router.clients.insert(client.id.clone(), client);
        })
    }
}

impl Act<RemoveClient> for RouterActor {
    type Response = Deferred<Result<bool, RuleError>>;

    fn act(&mut self, RemoveClient(id): RemoveClient, ctx: &mut Context<Self>) -> Self::Response {
        let ending = self.before_client_goes(&id);
        let change = Change::RemoveClient(id.clone());
        self.change(ctx, ready(Ok(())), ending, change, move |router| {
            router.forget_client(&id)
        })
    }
}

impl Act<EndClient> for RouterActor {
    type Response = Deferred<Result<u64, RuleError>>;

    fn act(&mut self, EndClient(id): EndClient, ctx: &mut Context<Self>) -> Self::Response {
        let (answerer, deferred) = Deferred::new();
        let ending = self.before_client_goes(&id);
        let change = Change::RemoveClient(id.clone());
        self.change_then(
            ctx,
            ready(Ok(())),
            ending,
            change,
            move |router, ctx, kept| {
                if let Err(error) = kept {
                    return answerer.send(Err(error));
                }
                router.forget_client(&id);
                router.end_deliveries(ctx, EndDeliveries::of_client(id), answerer);
            },
        );
        deferred
    }
}

impl Handler<Terminate> for RouterActor {
    type Result = ();

    fn handle(&mut self, _: Terminate, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl Handler<Close> for RouterActor {
    type Result = Deferred<()>;

    fn handle(&mut self, _: Close, _: &mut Context<Self>) -> Deferred<()> {
        self.closed = true;
        let (answerer, deferred) = Deferred::new();
        self.closing.push(answerer);
        deferred
    }
}
