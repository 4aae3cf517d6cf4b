//! Answering a message later, without a task for the wait.

use std::cell::RefCell;
use std::rc::Rc;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Message};

/// The result of an actor's handlers when the answer comes later.
///
/// The sender of the message receives the answer itself.
#[derive(Debug)]
pub struct Deferred<T>(Rc<RefCell<Slot<T>>>);

/// The other end of a [`Deferred`].
#[derive(Debug)]
pub(crate) struct Answerer<T>(Rc<RefCell<Slot<T>>>);

#[derive(Debug)]
enum Slot<T> {
    Empty,
    Answer(T),
    Asker(Option<OneshotSender<T>>),
}

impl<T> Deferred<T> {
    /// Returns both ends.
    pub(crate) fn new() -> (Answerer<T>, Self) {
        let slot = Rc::new(RefCell::new(Slot::Empty));
        (Answerer(Rc::clone(&slot)), Self(slot))
    }

    /// Returns an answer that is already there.
    pub(crate) fn ready(answer: T) -> Self {
        Self(Rc::new(RefCell::new(Slot::Answer(answer))))
    }
}

impl<T> Answerer<T> {
    /// Sends the answer. It is not an error if the sender of the message no longer waits.
    pub(crate) fn send(self, answer: T) {
        let mut slot = self.0.borrow_mut();
        match std::mem::replace(&mut *slot, Slot::Empty) {
            Slot::Asker(Some(asker)) => drop(asker.send(answer)),
            Slot::Asker(None) => {}
            Slot::Empty | Slot::Answer(_) => *slot = Slot::Answer(answer),
        }
    }
}

impl<A, M> MessageResponse<A, M> for Deferred<M::Result>
where
    A: Actor,
    M: Message,
{
    fn handle(self, _: &mut A::Context, asker: Option<OneshotSender<M::Result>>) {
        let mut slot = self.0.borrow_mut();
        match std::mem::replace(&mut *slot, Slot::Empty) {
            Slot::Answer(answer) => {
                if let Some(asker) = asker {
                    drop(asker.send(answer));
                }
            }
            Slot::Empty | Slot::Asker(_) => *slot = Slot::Asker(asker),
        }
    }
}
