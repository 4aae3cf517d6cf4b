//! A store whose calls have ended when they return.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::store::forwarding::{CallKind, StoreLayer, forward_store};
use crate::store::{Store, StoreFuture};

/// Wraps a store and makes the caller's thread wait for every answer.
///
/// A store that answers from threads of its own takes real time, during which simulated time would run on: wrapped in this one it takes none, and
/// simulations with it are repeatable.
#[derive(Clone, Debug)]
pub struct Blocking<S>(pub S);

/// Wakes a thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for the answer, and returns it as a future that is ready.
fn block<T: Send + 'static>(call: StoreFuture<T>) -> StoreFuture<T> {
    // With the budget of the task spent it would be told "not yet", and be woken only when the task gives way, which it does not.
    let mut call = pin!(tokio::task::unconstrained(call));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(answer) = call.as_mut().poll(&mut cx) {
            return Box::pin(std::future::ready(answer));
        }
        thread::park();
    }
}

impl<S: Store> StoreLayer for Blocking<S> {
    fn behind(&self) -> &dyn Store {
        &self.0
    }

    fn around<T: Send + 'static>(
        &self,
        _: CallKind,
        call: impl FnOnce(&dyn Store) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        block(call(self.behind()))
    }
}

forward_store!(impl [S: Store] for Blocking<S>);
