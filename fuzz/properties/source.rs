//! Values read from a fuzzer's bytes.

/// Bytes that are consumed one by one; zeros follow them.
pub(crate) struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Returns one of the values, chosen by the next byte.
    pub(crate) fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        let at = usize::from(self.byte()) % values.len().max(1);
        *values.get(at).expect("there is something to pick from")
    }
}
