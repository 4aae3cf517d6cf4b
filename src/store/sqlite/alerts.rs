//! Alerts in memory that several deliveries share. A large alert that goes to a thousand endpoints
//! is read once, not a thousand times.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::store::Alert;

/// The alerts in memory, by their numbers in the file. The references are weak: they keep no alert
/// in memory.
#[derive(Debug, Default)]
pub(super) struct Alerts(Mutex<CachedAlert>);

#[derive(Debug, Default)]
struct CachedAlert {
    alerts: HashMap<i64, Weak<Alert>>,
    /// The number of entries at which those of dropped alerts are removed.
    look_at: usize,
}

impl Alerts {
    /// Returns an alert that is in memory, or reads it. Other callers wait meanwhile: they may want
    /// the same alert (single-flight).
    pub(super) fn share(
        &self,
        seq: i64,
        read: impl FnOnce() -> rusqlite::Result<Alert>,
    ) -> rusqlite::Result<Arc<Alert>> {
        let mut known = self.0.lock();
        if let Some(alert) = known.alerts.get(&seq).and_then(Weak::upgrade) {
            return Ok(alert);
        }
        let alert = Arc::new(read()?);
        if known.alerts.len() >= known.look_at {
            known.alerts.retain(|_, alert| alert.strong_count() > 0);
            known.look_at = 2 * known.alerts.len() + FEW;
        }
        known.alerts.insert(seq, Arc::downgrade(&alert));
        Ok(alert)
    }
}

/// The number of entries of dropped alerts that does no harm.
const FEW: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_read_again_only_when_nobody_has_it_and_forgotten_then() {
        let alerts = Alerts::default();
        let mut reads = 0;
        let mut share = |seq| {
            alerts.share(seq, || {
                reads += 1;
                Ok(Alert::example(None))
            })
        };
        let first = share(1).unwrap();
        assert!(Arc::ptr_eq(&first, &share(1).unwrap()));
        drop(first);
        drop(share(1).unwrap());
        for seq in 0..1_000 {
            drop(share(seq).unwrap());
        }
        assert_eq!(reads, 1_002);
        assert!(alerts.0.lock().alerts.len() <= FEW + 1);
    }
}
