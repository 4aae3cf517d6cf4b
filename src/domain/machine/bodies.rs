//! How many bytes of bodies the endpoints of one engine have read from the store, all together.
//!
//! Each endpoint's own bound is not enough: there may be thousands. When what all of them have read reaches the limit, each still reads a little, so that
//! everything goes on, however many endpoints hang with large bodies.

/// The sum over all endpoints.
#[derive(Debug)]
pub(crate) struct BodyBook {
    limit: usize,
    used: usize,
}

impl BodyBook {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: 0 }
    }

    /// Returns `true` if nobody reads more than a little.
    pub(crate) fn is_tight(&self) -> bool {
        self.used >= self.limit
    }

    /// Returns how many bytes may be read of those wanted, and counts them.
    pub(crate) fn reserve(&mut self, wanted: usize) -> usize {
        let free = self.limit.saturating_sub(self.used);
        let granted = wanted.min(free.max(A_LITTLE));
        self.used = self.used.saturating_add(granted);
        granted
    }

    /// Counts so many bytes instead of those counted before.
    pub(crate) fn recount(&mut self, before: usize, now: usize) {
        self.used = self.used.saturating_sub(before).saturating_add(now);
    }
}

/// How many bytes an endpoint may read, whatever the others have read: one large body, or a page of small ones.
pub(crate) const A_LITTLE: usize = 64 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_it_is_used_up_everybody_still_gets_a_little() {
        let mut book = BodyBook::new(10 * A_LITTLE);
        assert_eq!(book.reserve(8 * A_LITTLE), 8 * A_LITTLE);
        assert_eq!(book.reserve(8 * A_LITTLE), 2 * A_LITTLE, "what is left");
        assert!(book.is_tight());
        assert_eq!(book.reserve(8 * A_LITTLE), A_LITTLE);
        assert_eq!(book.reserve(1), 1);
        book.recount(8 * A_LITTLE, A_LITTLE);
        assert!(!book.is_tight());
        book.recount(usize::MAX, 0);
        assert_eq!(book.used, 0);
    }
}
