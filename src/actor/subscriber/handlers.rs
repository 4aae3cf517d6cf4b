//! Messages: they only tell the state machine what happened; the work is done in the next turn.

use std::sync::Arc;

use actix::{ActorContext, Context, Handler, MessageResult};

use super::{Draining, SubscriberActor};
use crate::actor::message::{
    Abort, Configure, Deliver, Describe, Drain, Drained, Gate, Leave, Nudge, Redelivered,
};
use crate::actor::reply::Deferred;
use crate::domain::tally::Past;

impl Handler<Deliver> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, Deliver(deliveries): Deliver, _: &mut Context<Self>) {
        // What was missed came before, and later ids must not pass it.
        self.take_missed();
        self.machine.on_deliveries(deliveries);
        self.feed.changed = true;
    }
}

impl Handler<Nudge> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, Nudge(count): Nudge, _: &mut Context<Self>) {
        if count > 0 {
            self.machine.on_backlog(count);
            self.feed.changed = true;
        }
    }
}

impl Handler<Redelivered> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, Redelivered(ids): Redelivered, _: &mut Context<Self>) {
        self.machine.on_redelivered(ids, &mut self.actions);
        self.feed.changed = true;
    }
}

impl Handler<Describe> for SubscriberActor {
    type Result = MessageResult<Describe>;

    fn handle(&mut self, _: Describe, _: &mut Context<Self>) -> MessageResult<Describe> {
        MessageResult(self.status())
    }
}

impl Handler<Configure> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, Configure { endpoint, policy }: Configure, _: &mut Context<Self>) {
        self.endpoint = endpoint;
        self.policy = Arc::clone(&policy);
        self.machine.configure(policy);
        if let Some(active) = &mut self.active {
            // The next attempt opens one with the new settings.
            active.channel = None;
        }
    }
}

impl Handler<Gate> for SubscriberActor {
    type Result = ();

    fn handle(&mut self, gate: Gate, _: &mut Context<Self>) {
        match gate {
            Gate::Pause => self.machine.pause(),
            Gate::Resume => self.machine.resume(),
        }
        self.feed.changed = true;
    }
}

impl Handler<Drain> for SubscriberActor {
    type Result = Deferred<()>;

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) -> Deferred<()> {
        self.machine.drain();
        let (answer, deferred) = Deferred::new();
        let delivered_before = self.machine.status().delivered;
        self.drain = Some(Draining {
            delivered_before,
            answer: Some(answer),
        });
        deferred
    }
}

impl Handler<Leave> for SubscriberActor {
    type Result = MessageResult<Leave>;

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) -> MessageResult<Leave> {
        self.take_missed();
        if !self.may_leave() {
            return MessageResult(None);
        }
        self.guard.armed = false;
        ctx.stop();
        MessageResult(Some(Past {
            reports_lost: self.feed.lost,
            ..self.machine.past()
        }))
    }
}

impl Handler<Abort> for SubscriberActor {
    type Result = MessageResult<Abort>;

    fn handle(&mut self, _: Abort, ctx: &mut Context<Self>) -> MessageResult<Abort> {
        self.active = None;
        ctx.stop();
        let delivered = self.machine.status().delivered;
        let before = self
            .drain
            .as_ref()
            .map_or(delivered, |draining| draining.delivered_before);
        let aborted = u64::from(self.machine.in_flight());
        MessageResult(Drained {
            delivered: delivered.saturating_sub(before),
            aborted,
        })
    }
}
