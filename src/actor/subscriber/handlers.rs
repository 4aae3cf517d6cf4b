//! Message handlers: they tell the state machine what happened; the next poll does the work.

use std::sync::Arc;
use std::task::{Context as TaskContext, Waker};

use actix::{ActorContext, Context, Handler, MessageResult};

use super::{Draining, SubscriberActor};
use crate::actor::message::{
    Abort, AttemptTest, BreakOff, ChangeRun, Configure, CountEnded, Deliver, Describe, Drain,
    Drained, Forget, Leave, Locate, Redelivered,
};
use crate::actor::reply::Deferred;
use crate::domain::credentials::Authorization;
use crate::store::StoreError;

impl SubscriberActor {
    /// Takes in recorded attempts, because a message may arrive before the poll that does so.
    fn catch_up(&mut self) {
        let now = self.shared.clock.now();
        let mut later = TaskContext::from_waker(Waker::noop());
        self.feed.changed |= self.take_recorded(now, &mut later);
    }
}

impl Handler<Deliver> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, _: &mut Context<Self>) {
        let Deliver { deliveries, missed } = deliver;
        self.machine.on_deliveries(deliveries, missed);
        self.feed.changed = true;
    }
}

impl Handler<Redelivered> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, Redelivered(ids): Redelivered, _: &mut Context<Self>) {
        self.machine.on_redelivered(ids);
        self.feed.changed = true;
    }
}

impl Handler<AttemptTest> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, AttemptTest(id): AttemptTest, _: &mut Context<Self>) {
        self.catch_up();
        self.machine.on_test(id, &mut self.actions);
        self.feed.changed = true;
    }
}

impl Handler<Forget> for SubscriberActor {
    type Result = MessageResult<Forget>;

    fn handle(
        &mut self,
        Forget { ids, .. }: Forget,
        _: &mut Context<Self>,
    ) -> MessageResult<Forget> {
        self.catch_up();
        self.feed.changed = true;
        MessageResult(self.machine.forget(&ids))
    }
}

impl Handler<CountEnded> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, CountEnded { count, .. }: CountEnded, _: &mut Context<Self>) {
        self.machine.count_ended(count);
        self.feed.changed = true;
    }
}

impl Handler<Describe> for SubscriberActor {
    type Result = MessageResult<Describe>;

    fn handle(&mut self, _: Describe, _: &mut Context<Self>) -> MessageResult<Describe> {
        self.catch_up();
        MessageResult(self.status())
    }
}

impl Handler<Locate> for SubscriberActor {
    type Result = MessageResult<Locate>;

    fn handle(&mut self, Locate(id): Locate, _: &mut Context<Self>) -> MessageResult<Locate> {
        self.catch_up();
        MessageResult(self.machine.locate(id))
    }
}

impl Handler<Configure> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, Configure { endpoint, policy }: Configure, _: &mut Context<Self>) {
        self.catch_up();
        self.authorization = Authorization::of(endpoint.as_deref());
        self.endpoint = endpoint;
        self.policy = Arc::clone(&policy);
        self.machine.configure(policy);
        if let Some(active) = &mut self.active {
            // The next attempt opens a channel with the new settings.
            active.channel = None;
        }
    }
}

impl Handler<ChangeRun> for SubscriberActor {
    type Result = Deferred<Result<(), StoreError>>;

    fn handle(&mut self, ChangeRun(change): ChangeRun, _: &mut Context<Self>) -> Self::Result {
        self.machine.begin_change();
        let (answerer, deferred) = Deferred::new();
        self.changes.push_back((change, answerer));
        deferred
    }
}

impl Handler<Drain> for SubscriberActor {
    type Result = Deferred<()>;

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) -> Deferred<()> {
        self.catch_up();
        self.machine.drain();
        let (answer, deferred) = Deferred::new();
        let delivered_before = self.machine.status().delivered;
        let draining = self.drain.get_or_insert(Draining {
            delivered_before,
            answers: Vec::new(),
        });
        draining.answers.push(answer);
        deferred
    }
}

impl Handler<BreakOff> for SubscriberActor {
    type Result = Deferred<()>;

    fn handle(&mut self, _: BreakOff, ctx: &mut Context<Self>) -> Deferred<()> {
        if let Some(active) = &mut self.active {
            active.break_off();
        }
        for permit in self.machine.break_off() {
            self.holdings.give_back(permit);
        }
        self.handle(Drain, ctx)
    }
}

impl Handler<Leave> for SubscriberActor {
    type Result = MessageResult<Leave>;

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) -> MessageResult<Leave> {
        if !self.may_leave() {
            return MessageResult(None);
        }
        self.guard.armed = false;
        ctx.stop();
        MessageResult(Some(self.past()))
    }
}

impl Handler<Abort> for SubscriberActor {
    type Result = MessageResult<Abort>;

    fn handle(&mut self, _: Abort, ctx: &mut Context<Self>) -> MessageResult<Abort> {
        self.active = None;
        self.guard.armed = false;
        ctx.stop();
        let status = self.machine.status();
        let (delivered, aborted) = (status.delivered, u64::from(status.in_flight));
        let before = self
            .drain
            .as_ref()
            .map_or(delivered, |draining| draining.delivered_before);
        MessageResult(Drained {
            past: self.past(),
            delivered: delivered.saturating_sub(before),
            aborted,
            open: status.queued + aborted,
        })
    }
}
