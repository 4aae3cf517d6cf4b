//! The window of an endpoint: how many attempts may be in flight at once.

/// A window that starts at one attempt, doubles on success and falls back to one on a transient
/// failure.
///
/// After an overload it doubles up to half the size that overloaded the receiver, then grows by one
/// per round (slow start with a threshold, RFC 5681 §3.1). The overloading size is tried again only
/// after `PATIENCE` successes, and is forgotten once the window has grown past it.
///
/// A recovering receiver is not knocked out again by its queued deliveries. An endpoint that never
/// fails reaches full width after a handful of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConcurrencyWindow {
    size: u32,
    max: u32,
    /// Window size that overloaded the receiver, at least 2.
    too_many: Option<u32>,
    /// Successes since the window last grew by one.
    successes: u32,
}

impl ConcurrencyWindow {
    /// Returns a window of one attempt that can grow to `max`; 0 counts as 1.
    pub(crate) fn new(max: u32) -> Self {
        Self {
            size: 1,
            max: max.max(1),
            too_many: None,
            successes: 0,
        }
    }

    /// Returns the same window with another maximum.
    pub(crate) fn with_max(mut self, max: u32) -> Self {
        self.set_max(max);
        self
    }

    pub(crate) fn size(self) -> u32 {
        self.size
    }

    /// Returns the number of attempts in flight that overloaded the receiver, if any did.
    pub(crate) fn too_many(self) -> Option<u32> {
        self.too_many
    }

    pub(crate) fn on_success(&mut self) {
        let doubled = self.size.saturating_mul(2).min(self.max);
        self.size = match self.too_many {
            None => doubled,
            Some(too_many) if self.size < too_many / 2 => doubled.min(too_many / 2),
            Some(too_many) => {
                self.successes += 1;
                let patience = if self.size + 1 < too_many {
                    0
                } else {
                    PATIENCE
                };
                let grows = self.successes >= self.size.max(patience);
                if grows {
                    self.successes = 0;
                }
                if grows && self.size >= too_many {
                    self.too_many = None;
                }
                self.size.saturating_add(u32::from(grows)).min(self.max)
            }
        };
    }

    /// Falls back to one attempt.
    pub(crate) fn restart(&mut self) {
        self.size = 1;
        self.successes = 0;
    }

    /// Falls back to one attempt and records `at_once` as the slow-start threshold (RFC 5681 §3.1).
    /// A failure with one attempt in flight reveals no threshold.
    pub(crate) fn on_overload(&mut self, at_once: u32) {
        if at_once > 1 {
            self.too_many = Some(at_once);
        }
        self.restart();
    }

    /// Records another overload, from an attempt that was in flight at the same time. The
    /// smallest count is kept.
    pub(crate) fn on_overload_beside(&mut self, at_once: u32) {
        let fewest = self
            .too_many
            .map_or(at_once, |too_many| too_many.min(at_once.max(2)));
        self.on_overload(fewest);
    }

    /// Forgets the recorded overload.
    pub(crate) fn forget(&mut self) {
        self.too_many = None;
        self.successes = 0;
    }

    /// Sets the maximum. The window shrinks to it at once, and grows to it by successes.
    pub(crate) fn set_max(&mut self, max: u32) {
        self.max = max.max(1);
        self.size = self.size.min(self.max);
    }
}

/// Number of successes needed before the overloading size is tried again.
const PATIENCE: u32 = 50;

impl Default for ConcurrencyWindow {
    fn default() -> Self {
        Self::new(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_overload_it_is_careful_where_it_was_too_many() {
        let mut window = ConcurrencyWindow::new(32);
        (0..5).for_each(|_| window.on_success());
        assert_eq!(window.size(), 32);
        window.on_overload(32);
        let mut sizes = vec![window.size()];
        for _ in 0..40 {
            window.on_success();
            sizes.push(window.size());
        }
        assert_eq!(sizes[..6], [1, 2, 4, 8, 16, 16]);
        assert_eq!((sizes[20], sizes[37]), (17, 18));
        window.on_overload(18);
        window.on_overload(1);
        (0..4).for_each(|_| window.on_success());
        assert_eq!(
            window.size(),
            9,
            "a failure at one attempt says nothing about how many are too many"
        );
    }

    #[test]
    fn what_was_too_many_is_tried_again_after_a_while_and_forgotten_if_it_goes_well() {
        let mut window = ConcurrencyWindow::new(32);
        window.on_overload(9);
        window.on_overload_beside(4);
        window.on_overload_beside(1);
        assert_eq!(
            window.too_many(),
            Some(2),
            "one at a time is never too many"
        );
        window.on_overload(4);
        let mut sizes = Vec::new();
        for _ in 0..110 {
            window.on_success();
            sizes.push(window.size());
        }
        assert_eq!(sizes[..3], [2, 2, 3]);
        assert_eq!((sizes[51], sizes[52]), (3, 4));
        assert_eq!((sizes[101], sizes[102], sizes[103]), (4, 5, 10));
        assert_eq!(window.too_many(), None);
    }

    #[test]
    fn it_doubles_to_its_maximum_and_falls_to_one() {
        let mut window = ConcurrencyWindow::new(20);
        let mut sizes = vec![window.size()];
        for _ in 0..6 {
            window.on_success();
            sizes.push(window.size());
        }
        assert_eq!(sizes, [1, 2, 4, 8, 16, 20, 20]);
        window.restart();
        assert_eq!(window.size(), 1);
        window.on_success();
        window.set_max(0);
        assert_eq!(
            window.size(),
            1,
            "a window of nothing would deliver nothing"
        );
    }

    #[test]
    fn a_window_that_has_forgotten_its_overload_grows_as_if_there_had_been_none() {
        let mut window = ConcurrencyWindow::new(32);
        window.on_overload(4);
        window.forget();
        (0..5).for_each(|_| window.on_success());
        assert_eq!(window.size(), 32);
    }
}
