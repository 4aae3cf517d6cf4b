//! A call to the store whose panic does not reach the caller.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::store::{StoreError, StoreFuture};

/// A call under way. A panic in the store's code becomes an ordinary error, so that only this call
/// fails.
pub(crate) struct StoreCall<T>(Option<StoreFuture<T>>);

impl<T> StoreCall<T> {
    /// Starts the call.
    pub(crate) fn begin(call: impl FnOnce() -> StoreFuture<T>) -> Self {
        Self(catch_unwind(AssertUnwindSafe(call)).ok())
    }
}

impl<T> Future for StoreCall<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let call = self.0.as_mut();
        let polled = call.map(|call| catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))));
        if let Some(Ok(poll)) = polled {
            poll
        } else {
            self.0 = None;
            Poll::Ready(Err(StoreError::unavailable("the store panicked")))
        }
    }
}
