//! How many attempts one endpoint may have in flight.

/// A window that starts at one attempt, doubles on success and falls back to one on a transient failure.
///
/// A receiver that recovers is not knocked out again by everything that queued up, and one that never fails is at full
/// width after a handful of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConcurrencyWindow {
    size: u32,
    max: u32,
}

impl ConcurrencyWindow {
    /// Returns a window of one attempt that can grow to `max`, which counts as at least one.
    pub(crate) fn new(max: u32) -> Self {
        Self {
            size: 1,
            max: max.max(1),
        }
    }

    /// Returns the window as it is under another maximum.
    pub(crate) fn with_max(mut self, max: u32) -> Self {
        self.set_max(max);
        self
    }

    pub(crate) fn size(self) -> u32 {
        self.size
    }

    pub(crate) fn on_success(&mut self) {
        self.size = self.size.saturating_mul(2).min(self.max);
    }

    pub(crate) fn on_transient_failure(&mut self) {
        self.size = 1;
    }

    /// Takes a new maximum; the window shrinks to it at once and grows to it by successes.
    pub(crate) fn set_max(&mut self, max: u32) {
        self.max = max.max(1);
        self.size = self.size.min(self.max);
    }
}

impl Default for ConcurrencyWindow {
    fn default() -> Self {
        Self::new(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_its_maximum_and_falls_to_one() {
        let mut window = ConcurrencyWindow::new(20);
        let mut sizes = vec![window.size()];
        for _ in 0..6 {
            window.on_success();
            sizes.push(window.size());
        }
        assert_eq!(sizes, [1, 2, 4, 8, 16, 20, 20]);
        window.on_transient_failure();
        assert_eq!(window.size(), 1);
        window.on_success();
        window.set_max(0);
        assert_eq!(
            window.size(),
            1,
            "a window of nothing would deliver nothing"
        );
    }
}
