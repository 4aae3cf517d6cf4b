//! Publishers that wait for room in the inbox, first come, first served.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::Context as TaskContext;

use tokio::time::{Instant, Sleep, sleep_until};

use super::RouterActor;
use super::publisher::Publisher;
use crate::actor::clock::Clock;
use crate::actor::message::Receipt;
use crate::actor::reply::Answerer;
use crate::domain::events::event::Event;
use crate::error::PublishError;

/// Events that wait for room, each with its publisher and the time until which it waits.
#[derive(Default)]
pub(super) struct Line {
    waiting: VecDeque<InLine>,
    /// Armed for the first event's time.
    timer: Option<Pin<Box<Sleep>>>,
}

struct InLine {
    event: Event,
    answerer: Answerer<Result<Receipt, PublishError>>,
    until: Instant,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Removes and returns the first event if its time is over or if there is room.
    fn pop(&mut self, now: Instant, has_room: bool) -> Option<InLine> {
        let first = self.waiting.front()?;
        if has_room || first.until <= now {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    /// Arms the timer to wake the task when the first event's time is over.
    fn arm(&mut self, cx: &mut TaskContext<'_>) {
        let Some(first) = self.waiting.front() else {
            self.timer = None;
            return;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(first.until)));
        if timer.deadline() != first.until {
            timer.as_mut().reset(first.until);
        }
        // Once the task's coop budget is spent, a constrained poll would not register the waker.
        let _ = std::pin::pin!(tokio::task::unconstrained(timer.as_mut())).poll(cx);
    }
}

impl RouterActor {
    /// Takes an event if there is room; otherwise the event waits for room until `until`.
    pub(super) fn line_up(
        &mut self,
        event: Event,
        until: Instant,
        answerer: Answerer<Result<Receipt, PublishError>>,
    ) {
        match self.admit() {
            Ok(()) => self.take_in(event, Publisher::One(answerer)),
            Err(PublishError::Overloaded(_)) if until > Clock::instant() => {
                self.line.waiting.push_back(InLine {
                    event,
                    answerer,
                    until,
                });
            }
            Err(error) => {
                event.discard();
                answerer.send(Err(error));
            }
        }
    }

    /// Takes waiting events while there is room, and refuses those whose time is over.
    ///
    /// Returns `true` if there were any.
    pub(super) fn serve_line(&mut self, cx: &mut TaskContext<'_>) -> bool {
        if self.line.is_empty() {
            return false;
        }
        let (now, mut any) = (Clock::instant(), false);
        while let Some(first) = self.line.pop(now, self.has_room() || self.closed) {
            any = true;
            if self.closed {
                first.event.discard();
                first.answerer.send(Err(PublishError::ShuttingDown));
            } else if self.has_room() {
                self.take_in(first.event, Publisher::One(first.answerer));
            } else {
                first.event.discard();
                first.answerer.send(Err(self.overloaded()));
            }
        }
        self.line.arm(cx);
        any
    }
}
