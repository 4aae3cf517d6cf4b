//! A store whose calls are complete when they return.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::store::forwarding::{CallKind, StoreLayer, forward_store};
use crate::store::{Store, StoreFuture};

/// Wraps a store and blocks the caller's thread until each answer is there.
///
/// A store that answers from threads of its own takes real time, and simulated time would run on
/// meanwhile. Wrapped in this, it takes no simulated time, and simulations with it are repeatable.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it holds the store and nothing else"
)]
pub struct Blocking<S>(pub S);

/// Unparks a waiting thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks for the answer, and returns it as a ready future.
fn block<T: Send + 'static>(call: StoreFuture<T>) -> StoreFuture<T> {
    // A task whose coop budget is spent gets `Pending`, and is woken only when it yields; this one
    // never yields.
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
