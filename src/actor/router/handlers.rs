//! Messages: events wait in the inbox for the next turn, changes of the configuration are kept first.

use std::future::ready;
use std::rc::Rc;
use std::sync::Arc;

use actix::{ActorContext as _, Context, Handler};
use futures_util::FutureExt as _;

use super::publisher::{BatchAnswer, Publisher};
use super::{Known, RouterActor};
use crate::actor::message::{
    CheckEndpoints, Close, KnowEndpoints, ListRules, LookIntoOutbox, Publish, PublishBatch,
    PutClient, PutRule, Reach, Receipt, RemoveRule, RuleError, Terminate,
};
use crate::actor::reply::Deferred;
use crate::domain::rule::Rule;
use crate::error::PublishError;
use crate::store::Change;

impl Handler<LookIntoOutbox> for RouterActor {
    type Result = ();

    fn handle(&mut self, _: LookIntoOutbox, _: &mut Context<Self>) {
        self.outbox.look();
    }
}

impl Handler<Publish> for RouterActor {
    type Result = Deferred<Result<Receipt, PublishError>>;

    fn handle(&mut self, Publish { event }: Publish, _: &mut Context<Self>) -> Self::Result {
        let now = self.shared.clock.now();
        match self.admit().and_then(|()| self.prepare(&event, now)) {
            Err(error) => {
                event.discard();
                Deferred::ready(Err(error))
            }
            Ok(prepared) => {
                let (answerer, deferred) = Deferred::new();
                self.inbox.push_back((prepared, Publisher::One(answerer)));
                deferred
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
        let (admitted, now) = (self.admit().is_ok(), self.shared.clock.now());
        for (place, event) in events.into_iter().enumerate() {
            let publisher = Publisher::Part(Rc::clone(&batch), place);
            let prepared = if admitted {
                self.prepare(&event, now)
            } else {
                self.admit().and_then(|()| self.prepare(&event, now))
            };
            match prepared {
                Ok(prepared) => self.inbox.push_back((prepared, publisher)),
                Err(error) => {
                    event.discard();
                    self.answer(publisher, Err(error));
                }
            }
        }
        deferred
    }
}

impl Handler<PutRule> for RouterActor {
    type Result = Deferred<Result<(), RuleError>>;

    fn handle(&mut self, PutRule(rule): PutRule, ctx: &mut Context<Self>) -> Self::Result {
        if let Err(error) = rule.check() {
            return Deferred::ready(Err(error.into()));
        }
        let check = self
            .supervisor
            .send(CheckEndpoints(Arc::clone(&rule.webhooks)));
        // Without a supervisor nothing is called any more.
        let checked = check.map(|checked| checked.unwrap_or(Ok(())));
        let ending = self.before_rule(&rule.id, Some(&rule));
        let change = Change::PutRule(rule.clone());
        self.change(ctx, checked, ending, change, move |router| {
            router.tell_supervisor(KnowEndpoints(Arc::clone(&rule.webhooks)), Vec::new());
            let credentials = &router.shared.credentials;
            credentials.write(|book| book.put_rule(rule.clone()));
            router.rules.put(rule);
        })
    }
}

impl Handler<RemoveRule> for RouterActor {
    type Result = Deferred<Result<bool, RuleError>>;

    fn handle(&mut self, RemoveRule(id): RemoveRule, ctx: &mut Context<Self>) -> Self::Result {
        if self.rules.get(&id).is_none() {
            return Deferred::ready(Ok(false));
        }
        let ending = self.before_rule(&id, None);
        let change = Change::RemoveRule(id.clone());
        self.change(ctx, ready(Ok(())), ending, change, move |router| {
            router
                .shared
                .credentials
                .write(|book| book.remove_rule(&id));
            router.rules.remove(&id).is_some()
        })
    }
}

impl Handler<ListRules> for RouterActor {
    type Result = Vec<Rule>;

    fn handle(&mut self, _: ListRules, _: &mut Context<Self>) -> Vec<Rule> {
        self.rules.iter().map(|rule| Rule::clone(rule)).collect()
    }
}

impl Handler<PutClient> for RouterActor {
    type Result = Deferred<Result<(), RuleError>>;

    fn handle(&mut self, PutClient(client): PutClient, ctx: &mut Context<Self>) -> Self::Result {
        if let Err(error) = client.check() {
            return Deferred::ready(Err(error.into()));
        }
        let now = self.shared.clock.now();
        let credentials = &self.shared.credentials;
        let ending = credentials.read(|book| book.before_client(&client.id, Some(&client), now));
        let ending = ending.into_iter().collect();
        let change = Change::PutClient(client.clone());
        self.change(ctx, ready(Ok(())), ending, change, move |router| {
            let credentials = &router.shared.credentials;
            credentials.write(|book| book.put_client(&client));
            router.clients.insert(client.id.clone(), client);
        })
    }
}

impl Handler<Reach> for RouterActor {
    type Result = ();

    fn handle(&mut self, Reach { url, handle }: Reach, _: &mut Context<Self>) {
        let Some(handle) = handle else {
            self.subscribers.remove(&url);
            return;
        };
        self.subscribers.insert(
            url,
            Known {
                handle,
                touched: (0, 0),
            },
        );
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
