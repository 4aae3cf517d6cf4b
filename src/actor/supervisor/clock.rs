//! Reading the wall clock once a second.
//!
//! If it was set, displayed times follow it, and its offset is stored for the next engine.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};

use super::SupervisorActor;
use crate::actor::shared::EngineContext;
use crate::domain::value::wall::WallOffset;
use crate::store::StoreError;

/// The handling of a wall clock that was set.
#[derive(Debug, Default)]
pub(super) struct WallWatch {
    /// The offset logged last.
    told: Option<WallOffset>,
    /// `true` while the offset is being stored.
    keeping: bool,
}

impl SupervisorActor {
    /// Reads the wall clock now and at every following look.
    pub(super) fn watch_wall(&mut self, ctx: &mut Context<Self>) {
        self.look_at_wall(ctx);
        self.report_given_up();
        let now = self.shared.clock.now();
        self.shared.board.attention().pass(now, PASSED_AT_ONCE);
        let next = wrap_future::<_, Self>(self.shared.clock.next_look());
        ctx.spawn(next.map(|(), supervisor, ctx| supervisor.watch_wall(ctx)));
    }

    fn look_at_wall(&mut self, ctx: &mut Context<Self>) {
        self.shared.clock.look_at_wall();
        let clock = &self.shared.clock;
        let (offset, told) = (clock.offset(), self.wall_watch.told.unwrap_or(clock.kept()));
        if offset != told {
            self.wall_watch.told = Some(offset);
            tell(offset.millis().saturating_sub(told.millis()));
        }
        if clock.not_kept().is_none() || self.wall_watch.keeping || self.draining {
            return;
        }
        self.wall_watch.keeping = true;
        let keep = keep_clock(Arc::clone(&self.shared));
        let kept = wrap_future::<_, Self>(keep).map(|kept, supervisor, _| {
            supervisor.wall_watch.keeping = false;
            if let Err(error) = kept {
                log::error!(error:? = error; "new offset of the wall clock could not be saved; retrying in a second: {}", error.with_causes());
            }
        });
        ctx.spawn(kept);
    }
}

/// Stores the wall clock's offset, unless the store has it already.
pub(super) async fn keep_clock(shared: Arc<EngineContext>) -> Result<(), StoreError> {
    let Some(offset) = shared.clock.not_kept() else {
        return Ok(());
    };
    shared
        .call(|store| store.keep_clock(offset.millis()))
        .await?;
    shared.clock.note_kept(offset);
    Ok(())
}

/// The maximum number of endpoints whose deliveries given up an hour ago are forgotten per second.
const PASSED_AT_ONCE: usize = 2_000;

fn tell(set_by_ms: i64) {
    let by = Duration::from_millis(set_by_ms.unsigned_abs());
    let way = if set_by_ms < 0 { "back" } else { "forward" };
    log::warn!(
        set_by_ms;
        "wall clock was set {way} by {by:?}; retries and holds do not move, displayed times do"
    );
}
