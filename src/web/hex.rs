//! Bytes as hexadecimal digits.

use std::fmt::Write as _;

/// Returns the first `count` bytes as hexadecimal digits; all, if there are fewer.
pub(super) fn first(count: usize, bytes: &[u8]) -> String {
    let bytes = bytes.iter().take(count);
    bytes.fold(String::with_capacity(2 * count), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
