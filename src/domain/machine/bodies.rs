//! The total bytes of bodies that the endpoints of one engine have read from the store.
//!
//! A limit per endpoint is not enough: there may be thousands. Once the total reaches its limit,
//! each endpoint still reads a little, so that all make progress, however many endpoints hang with
//! large bodies.

/// The total over all endpoints.
#[derive(Debug)]
pub(crate) struct BodyBook {
    limit: usize,
    used: usize,
}

impl BodyBook {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: 0 }
    }

    /// Returns `true` if the limit is used up, so that each endpoint reads only a little.
    pub(crate) fn is_tight(&self) -> bool {
        self.used >= self.limit
    }

    /// Counts and returns the number of bytes that may be read, at most `wanted`.
    pub(crate) fn reserve(&mut self, wanted: usize) -> usize {
        let free = self.limit.saturating_sub(self.used);
        let granted = wanted.min(free.max(A_LITTLE));
        self.used = self.used.saturating_add(granted);
        granted
    }

    /// Counts `now` bytes in place of `before`.
    pub(crate) fn recount(&mut self, before: usize, now: usize) {
        self.used = self.used.saturating_sub(before).saturating_add(now);
    }
}

/// How many bytes an endpoint may always read: one large body, or a page of small ones.
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
