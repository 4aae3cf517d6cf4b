//! Entry points for fuzzers. Not for applications; it may change at any time.
//!
//! Each takes bytes as a receiver, a caller or a damaged file may supply them, processes them as
//! the crate would, and panics if a property does not hold. `fuzz/` calls them with inputs from
//! libFuzzer, `tests/corpus.rs` with earlier finds. To add a target: a function here, a line in
//! [`TARGETS`], a file in `fuzz/fuzz_targets` with its `[[bin]]`, and a folder in `fuzz/corpus`.

mod redirect;
mod retry_after;
mod routing;
#[cfg(feature = "verify")]
mod signature;
mod source;

pub use self::redirect::redirect;
pub use self::retry_after::retry_after;
pub use self::routing::routing;
#[cfg(feature = "verify")]
pub use self::signature::signature;

/// Reads an answer from the bytes of a receiver.
///
/// # Panics
/// If a property does not hold: the answer depends neither on how its bytes are cut nor on the
/// transport, and a reused connection gives the next exchange its own answer.
pub fn answer(data: &[u8]) {
    crate::transport::fuzzing::answer(data);
}

/// Reads the records of the durable store from columns with arbitrary values.
///
/// # Panics
/// If a property does not hold: a written value is read back equal, and an unreadable value gives
/// an error that says so.
#[cfg(feature = "sqlite")]
pub fn stored(data: &[u8]) {
    crate::store::sqlite_fuzzing::stored(data);
}

/// An entry point.
pub type Target = fn(&[u8]);

/// Every entry point with the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("answer", answer),
    ("redirect", redirect),
    ("retry_after", retry_after),
    ("routing", routing),
    #[cfg(feature = "verify")]
    ("signature", signature),
    #[cfg(feature = "sqlite")]
    ("stored", stored),
];
