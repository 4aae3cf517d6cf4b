//! How many attempts one endpoint may have in flight.

/// A window that starts at one attempt, doubles on success and falls back to one on a transient failure.
///
/// After an overload (where a circuit breaker is wanted) it doubles to half of what was too many, and grows by one a round from there.
///
/// A receiver that recovers is not knocked out again by everything that queued up, and one that never fails is at full
/// width after a handful of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConcurrencyWindow {
    size: u32,
    max: u32,
    /// Beyond this it grows by one at a time: the receiver was overloaded at twice as many.
    careful_beyond: Option<u32>,
    /// Successes since it last grew by one.
    successes: u32,
}

impl ConcurrencyWindow {
    /// Returns a window of one attempt that can grow to `max`, which counts as at least one.
    pub(crate) fn new(max: u32) -> Self {
        Self {
            size: 1,
            max: max.max(1),
            careful_beyond: None,
            successes: 0,
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
        let doubled = self.size.saturating_mul(2).min(self.max);
        self.size = match self.careful_beyond {
            None => doubled,
            Some(careful_beyond) if self.size < careful_beyond => doubled.min(careful_beyond),
            Some(_) => {
                self.successes += 1;
                let grows = self.successes >= self.size;
                if grows {
                    self.successes = 0;
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

    /// Falls back to one attempt, and remembers how many were too many: a slow start (RFC 5681 §3.1).
    pub(crate) fn on_overload(&mut self) {
        if self.size > 1 {
            self.careful_beyond = Some(self.size / 2);
        }
        self.restart();
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
    fn after_an_overload_it_is_careful_where_it_was_too_many() {
        let mut window = ConcurrencyWindow::new(32);
        (0..5).for_each(|_| window.on_success());
        assert_eq!(window.size(), 32);
        window.on_overload();
        let mut sizes = vec![window.size()];
        for _ in 0..40 {
            window.on_success();
            sizes.push(window.size());
        }
        assert_eq!(sizes[..6], [1, 2, 4, 8, 16, 16]);
        assert_eq!((sizes[20], sizes[37]), (17, 18));
        window.on_overload();
        window.on_overload();
        (0..4).for_each(|_| window.on_success());
        assert_eq!(
            window.size(),
            9,
            "a failure at one attempt says nothing about how many are too many"
        );
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
}
