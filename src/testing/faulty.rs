//! A store that fails and delays.

use std::fmt;
use std::future::{pending, ready};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::store::forwarding::{CallKind, StoreLayer, forward_store};
use crate::store::{Store, StoreError, StoreFuture};

/// The faults of a [`FaultyStore`] in hot calls.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "written with `..default()`, which goes on working with a further field"
)]
pub struct Faults {
    /// The share of calls that fail without doing anything, from 0 to 1.
    pub failing: f64,
    /// The share of calls that do their work and then report a failure, from 0 to 1. Recording and
    /// appending must tolerate this.
    pub failing_after: f64,
    /// The longest delay of a call; each call takes a random part of it.
    pub delay: Duration,
}

/// The fault of a [`FaultyStore`] in rare calls: `apply`, `remove_endpoint`, `open_of`, `end`,
/// `make_due`, `prune`, `open_summaries` and `flush`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RareFault {
    /// The call fails without doing anything.
    Fails,
    /// The call waits this long before it does its work.
    Waits(Duration),
    /// The call does its work at once and answers after this long.
    AnswersAfter(Duration),
    /// The call never answers.
    Hangs,
    /// The call panics when its answer is awaited.
    Panics,
}

/// Wraps a store and makes its hot calls (append, record, and the reads of subscribers) fail and
/// delay.
///
/// Calls reach the wrapped store in order, as the contract requires.
#[derive(Clone)]
pub struct FaultyStore {
    store: Arc<dyn Store>,
    faults: Arc<Mutex<(Faults, fastrand::Rng)>>,
    rare: Arc<Mutex<Option<RareFault>>>,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore")
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl FaultyStore {
    /// Wraps a store; random choices are drawn from `seed`.
    pub fn new(store: impl Store, faults: Faults, seed: u64) -> Self {
        Self {
            store: Arc::new(store),
            faults: Arc::new(Mutex::new((faults, fastrand::Rng::with_seed(seed)))),
            rare: Arc::default(),
        }
    }

    /// Replaces the faults of hot calls from now on.
    pub fn set(&self, faults: Faults) {
        self.faults.lock().0 = faults;
    }

    /// Sets the fault of rare calls from now on; `None` ends it.
    pub fn set_rare(&self, fault: Option<RareFault>) {
        *self.rare.lock() = fault;
    }

    fn rare_call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Store) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let fault = *self.rare.lock();
        match fault {
            None => call(&*self.store),
            Some(RareFault::Fails) => {
                let error = StoreError::unavailable("scripted fault");
                Box::pin(ready(Err(error)))
            }
            Some(RareFault::Waits(time)) => {
                let store = Arc::clone(&self.store);
                Box::pin(async move {
                    #[expect(clippy::disallowed_methods, reason = "a faulty store takes its time")]
                    tokio::time::sleep(time).await;
                    call(&*store).await
                })
            }
            Some(RareFault::AnswersAfter(time)) => {
                let work = call(&*self.store);
                Box::pin(async move {
                    #[expect(clippy::disallowed_methods, reason = "a faulty store takes its time")]
                    tokio::time::sleep(time).await;
                    work.await
                })
            }
            Some(RareFault::Hangs) => Box::pin(pending()),
            #[expect(clippy::panic, reason = "that is what was asked for")]
            Some(RareFault::Panics) => Box::pin(async { panic!("scripted panic of a store") }),
        }
    }

    /// Returns the wrapped store.
    pub fn inner(&self) -> &dyn Store {
        &*self.store
    }

    /// Makes a call or fails it. The work starts at once, so that it keeps the order of the calls.
    fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Store) -> StoreFuture<T>,
    ) -> StoreFuture<T> {
        let mut faults = self.faults.lock();
        let (
            Faults {
                failing,
                failing_after,
                delay,
            },
            rng,
        ) = (faults.0, &mut faults.1);
        let fails = rng.f64() < failing;
        let fails_after = rng.f64() < failing_after;
        let delay = delay.mul_f64(rng.f64());
        drop(faults);
        let work = (!fails).then(|| call(&*self.store));
        Box::pin(async move {
            if !delay.is_zero() {
                #[expect(clippy::disallowed_methods, reason = "a faulty store takes its time")]
                tokio::time::sleep(delay).await;
            }
            let failure = || StoreError::unavailable("scripted fault");
            match work {
                None => Err(failure()),
                Some(work) => {
                    let result = work.await;
                    if fails_after { Err(failure()) } else { result }
                }
            }
        })
    }
}

impl StoreLayer for FaultyStore {
    fn behind(&self) -> &dyn Store {
        &*self.store
    }

    fn around<T: Send + 'static>(
        &self,
        kind: CallKind,
        call: impl FnOnce(&dyn Store) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        match kind {
            CallKind::Hot => self.call(call),
            CallKind::Rare => self.rare_call(call),
            CallKind::Other => call(self.behind()),
        }
    }
}

forward_store!(impl [] for FaultyStore);
