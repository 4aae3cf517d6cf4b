//! Claims: one engine works on a store at a time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::StoreError;

/// An engine's claim on a store. Dropping it lets another engine claim the store.
#[must_use]
pub struct StoreClaim(Option<Box<dyn FnOnce() + Send + Sync>>);

impl StoreClaim {
    /// Returns a claim that excludes nobody, for a store that several engines may share.
    pub fn none() -> Self {
        Self(None)
    }

    /// Returns a claim that calls `release` when it is dropped.
    pub fn released_by(release: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(release)))
    }
}

impl Drop for StoreClaim {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

impl fmt::Debug for StoreClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreClaim")
            .field("exclusive", &self.0.is_some())
            .finish()
    }
}

/// Set while an engine of this process works on the store.
#[derive(Debug, Default)]
pub(super) struct Claimed(Arc<AtomicBool>);

impl Claimed {
    /// Claims the store; `name` names it in the error if an engine works on it already.
    pub(super) fn claim(&self, name: impl FnOnce() -> String) -> Result<StoreClaim, StoreError> {
        if self.0.swap(true, Ordering::AcqRel) {
            return Err(StoreError::InUse(name()));
        }
        let taken = Arc::clone(&self.0);
        Ok(StoreClaim::released_by(move || {
            taken.store(false, Ordering::Release);
        }))
    }
}
