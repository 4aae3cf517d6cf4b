//! Redeliveries of everything that a filter finds.
//!
//! The store does a step and keeps the progress; the supervisor asks for the next step once the
//! subscribers know of the last one, so it never gets ahead of them. Redeliveries under way go on
//! when an engine starts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use actix::fut::{ready, wrap_future};
use actix::{
    ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, ResponseActFuture,
    ResponseFuture,
};
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::SupervisorActor;
use crate::actor::acting::Act;
use crate::actor::message::{ListRedeliveries, StartRedelivery, StopRedelivery};
use crate::domain::value::id::DeliveryId;
use crate::domain::value::wall::OnWall as _;
use crate::store::{RedeliveryId, RedeliveryJob, RedeliveryState, StoreError};

/// Goes on with the redeliveries that an earlier engine began: engine → supervisor, once.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(crate) struct ResumeRedeliveries;

impl Handler<ResumeRedeliveries> for SupervisorActor {
    type Result = ResponseActFuture<Self, Result<(), StoreError>>;

    fn handle(&mut self, _: ResumeRedeliveries, _: &mut Context<Self>) -> Self::Result {
        let listed = self.shared.call(|store| store.redeliveries());
        let resume = wrap_future::<_, Self>(listed).map(|listed, supervisor, ctx| {
            for job in listed?.iter().filter(|job| job.is_on()) {
                supervisor.go_on(job.id, ctx);
            }
            Ok(())
        });
        Box::pin(resume)
    }
}

impl Act<StartRedelivery> for SupervisorActor {
    type Response = ResponseActFuture<Self, Result<RedeliveryJob, StoreError>>;

    fn act(
        &mut self,
        StartRedelivery(which): StartRedelivery,
        _: &mut Context<Self>,
    ) -> Self::Response {
        let (now, offset) = (self.shared.clock.now(), self.shared.clock.offset());
        let which = which.in_engine_time(offset);
        let begun = self.shared.call(|store| store.begin_redelivery(which, now));
        let start = wrap_future::<_, Self>(begun).map(move |begun, supervisor, ctx| {
            let job = begun?;
            if job.is_on() {
                supervisor.go_on(job.id, ctx);
            }
            Ok(job.on_wall(offset))
        });
        Box::pin(start)
    }
}

impl Act<StopRedelivery> for SupervisorActor {
    type Response = ResponseFuture<Result<Option<RedeliveryJob>, StoreError>>;

    fn act(
        &mut self,
        StopRedelivery { id }: StopRedelivery,
        _: &mut Context<Self>,
    ) -> Self::Response {
        let (now, offset) = (self.shared.clock.now(), self.shared.clock.offset());
        let stopped = self.shared.call(|store| store.stop_redelivery(id, now));
        Box::pin(stopped.map(move |stopped| Ok(stopped?.on_wall(offset))))
    }
}

impl Handler<ListRedeliveries> for SupervisorActor {
    type Result = ResponseFuture<Result<Vec<RedeliveryJob>, StoreError>>;

    fn handle(&mut self, _: ListRedeliveries, _: &mut Context<Self>) -> Self::Result {
        let offset = self.shared.clock.offset();
        let listed = self.shared.call(|store| store.redeliveries());
        Box::pin(listed.map(move |listed| Ok(listed?.on_wall(offset))))
    }
}

/// The redeliveries that this engine works on, each with the place that its last step reached.
pub(super) type Redelivering = HashMap<RedeliveryId, Option<DeliveryId>>;

impl SupervisorActor {
    /// Works on a redelivery until it ends or the engine shuts down.
    fn go_on(&mut self, id: RedeliveryId, ctx: &mut Context<Self>) {
        if let Entry::Vacant(new) = self.redelivering.entry(id) {
            new.insert(None);
            self.redeliver_step(id, ctx);
        }
    }

    fn redeliver_step(&mut self, id: RedeliveryId, ctx: &mut Context<Self>) {
        if self.draining {
            self.redelivering.remove(&id);
            return;
        }
        let now = self.shared.clock.now();
        let step = self
            .shared
            .call(|store| store.go_on_redelivering(id, STEP, now));
        let step = wrap_future::<_, Self>(step).then(move |done, supervisor, ctx| {
            let (told, next) = match done {
                Ok(Some((job, fresh))) => {
                    let before = supervisor.redelivering.insert(id, Some(job.after));
                    let next = next_step(&job, before.flatten());
                    (supervisor.tell_redelivered(&fresh, ctx), next)
                }
                Ok(None) => (Vec::new(), None),
                Err(error) => {
                    log::error!(
                        redelivery = id.get(), error:? = error;
                        "redelivery {id} could not go on; retrying in {} s: {}",
                        PAUSE.as_secs(), error.with_causes()
                    );
                    (Vec::new(), Some(PAUSE))
                }
            };
            wrap_future::<_, Self>(join_all(told)).then(move |_, supervisor, ctx| {
                supervisor.after_step(id, next, ctx);
                ready(())
            })
        });
        ctx.spawn(step);
    }

    fn after_step(&mut self, id: RedeliveryId, next: Option<Duration>, ctx: &mut Context<Self>) {
        match next {
            None => drop(self.redelivering.remove(&id)),
            Some(Duration::ZERO) => self.redeliver_step(id, ctx),
            Some(wait) => {
                ctx.run_later(wait, move |supervisor, ctx| {
                    supervisor.redeliver_step(id, ctx);
                });
            }
        }
    }
}

/// Returns the wait before the next step of a redelivery, whose last step began after the delivery
/// `before`; `None` if it has ended.
fn next_step(job: &RedeliveryJob, before: Option<DeliveryId>) -> Option<Duration> {
    let (id, after) = (job.id, job.after);
    match job.state {
        RedeliveryState::Running if before == Some(after) => {
            // A store of the application's own may do this. Without a wait, it would go on at once
            // for ever.
            log::error!(
                redelivery = id.get(), delivery_id = after.get();
                "redelivery {id} does not advance: the store did a step and is still at delivery \
                 {after}; retrying in {} s", PAUSE.as_secs()
            );
            Some(PAUSE)
        }
        RedeliveryState::Running => Some(Duration::ZERO),
        RedeliveryState::WaitingForRoom => Some(PAUSE),
        RedeliveryState::Finished | RedeliveryState::Stopped => {
            let (done, left) = (job.done, job.left());
            log::info!(
                redelivery = id.get(), done, left;
                "redelivery {id} has ended: {done} deliveries started again, {left} left"
            );
            None
        }
    }
}

/// The number of deliveries that one step redelivers.
const STEP: usize = 200;

/// The wait for room, and after an error of the store.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::value::time::Timestamp;
    use crate::store::{DeadLetterQuery, Redelivery};

    #[test]
    fn a_redelivery_that_does_not_advance_waits_before_its_next_step() {
        let which = Redelivery::DeadLetters(DeadLetterQuery::default());
        let (id, through) = (RedeliveryId::new(1), DeliveryId::new(9));
        let mut job = RedeliveryJob::new(id, which, Timestamp::default(), through, 9);
        job.after = DeliveryId::new(3);
        assert_eq!(next_step(&job, None), Some(Duration::ZERO));
        let earlier = Some(DeliveryId::new(2));
        assert_eq!(next_step(&job, earlier), Some(Duration::ZERO));
        assert_eq!(next_step(&job, Some(job.after)), Some(PAUSE));
        job.state = RedeliveryState::Finished;
        assert_eq!(next_step(&job, Some(job.after)), None);
    }
}
